"""Gold beads: found in the images of a tilt series, filled in them, and put back into the tomogram.

A bead is far darker (or brighter) than everything else. Back-projection draws every bead as a bar
with black wedges, and a measured signal-to-noise ratio tells of beads instead of the specimen. A
spot in one image may be anything; a bead stands at one place in space, where the spots of many
images meet. So spots are found image by image, beads are what the spots agree on, and each bead
is then filled in every image, seen or not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import ceil, floor

import numpy as np
from numpy.typing import NDArray

from tomofilt.align.edges import level_at
from tomofilt.align.spots import (
    APART_ANGST,
    EXACT_ANGST,
    find_spots,
    fitted,
    meet,
    project,
    seen_near,
)
from tomofilt.series.geometry import ImageGrid, LocalGeometry, SliceGeometry, VolumeGrid
from tomofilt.util.threads import run_all

__all__ = ["Beads", "find_beads"]

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Mask = NDArray[np.bool_]
Indices = NDArray[np.intp]

#: Smallest radius of a bead.
_SMALLEST_ANGST = 20.0
#: The radius of a bead in pixels; smaller ones cannot be told from specks.
_FEWEST_PX = 1.5
#: A bead is filled with so much around it: what the images' resampling spread of it.
_MARGIN_ANGST, _MARGIN_PX = 10.0, 1.5
#: The grain that it is filled with is from so many radii away.
_BESIDE = 2.5
#: Radius of beads of which nothing is known.
_USUAL_ANGST = 50.0
#: Places and local maps are found in turns, which differ less and less.
_LOCAL_ROUNDS = 3
#: A bead ends where its profile falls to this: a ball that lets the beam through at 0.94 of its
#: radius, a disc at hardly more than its own.
_RIM = 0.35
#: Rings about a bead from which its size is measured.
_RING_ANGST, _RINGS = 5.0, 60
#: How wide an edge may be, as a share of the radius, for a spot that stands out by so many
#: deviations of an image. Gold that stops all of the beam has an edge of 0.1 to 0.25; a ball that
#: does not, 0.44 and more where others are beside it, but nothing else is as dense. Ribosomes and
#: other particles have 0.6 to 1.1 and seldom stand out by more than 6.
_STANDS_OUT, _EDGE = (4.5, 8.0), (0.35, 0.6)


@dataclass(frozen=True, eq=False)
class Beads:
    """Gold beads of a tilt series.

    Attributes
    ----------
    places_angst : (bead, 3)
        x, y, z about the specimen centre.
    radii_angst : (bead,)
    contrasts : (bead,)
        What an image shows of a bead, on the mean over its disc, above what is around it.
    shifts_angst : (bead, view, 2)
        Where each view shows it beside where its place puts it: (u, v).
    slices : SliceGeometry
        Of all the views.
    told : int
        How many of them, the last, were not found but told of.
    """

    places_angst: Float64
    radii_angst: Float64
    contrasts: Float64
    shifts_angst: Float64
    slices: SliceGeometry
    told: int = 0

    def __len__(self) -> int:
        return len(self.radii_angst)

    def facts(self) -> dict[str, object]:
        """Number and size, for the record."""
        if not len(self):
            return {"beads": 0}
        return {
            "beads": len(self),
            "from_the_project": self.told,
            "diameter_angst": round(2 * float(np.median(self.radii_angst)), 1),
            "places_angst": [[round(float(c), 1) for c in place] for place in self.places_angst],
        }

    def summary(self) -> str:
        """How many, and how large, in words."""
        nanometres = np.median(self.radii_angst) / 5
        told = f" ({self.told} by the project's model alone)" if self.told else ""
        return f"{len(self)} gold bead{'s' * (len(self) != 1)} of {nanometres:.0f} nm found{told}"

    def select(self, which: Mask) -> Beads:
        """Some of the beads."""
        return replace(
            self,
            places_angst=self.places_angst[which],
            radii_angst=self.radii_angst[which],
            contrasts=self.contrasts[which],
            shifts_angst=self.shifts_angst[which],
        )

    def fill(
        self,
        view: int,
        image: Float32,
        grid: ImageGrid,
        image_from_aligned: Float64 | None = None,
    ) -> tuple[Float32, Mask]:
        """The image of a view with its beads filled, and where they were.

        Each is replaced by what is around it on the mean, and by the grain of another place nearby.

        Parameters
        ----------
        view : int
        image : (y, x) float32
            Is not changed.
        grid : ImageGrid
            Its pixels.
        image_from_aligned : (2, 3), optional
            Of an image as it was taken: where it has what the tilt axis' frame has at (u, v).

        Returns
        -------
        filled : (y, x) float32
        mask : (y, x) bool
        """
        where = np.zeros(image.shape, dtype=np.bool_)
        discs = self._discs(view, grid, image_from_aligned)
        for y, x in discs:
            where[y, x] = True
        if not where.any():
            return image, where
        known = ~where & (image != 0)
        rng = np.random.default_rng(view)
        others = [_beside(y, x, known, rng) for y, x in discs]
        y, x = np.concatenate(discs, axis=1)
        # as many pixels as from the middle of a disc to its edge
        block = max(2, round(np.sqrt(y.size / len(discs) / np.pi)))
        from_y, from_x = np.concatenate(others, axis=1)
        level, their_level = np.split(
            level_at(image, known, np.r_[y, from_y], np.r_[x, from_x], block), 2
        )
        grain = np.where(known[from_y, from_x], image[from_y, from_x] - their_level, 0)
        filled = image.copy()
        filled[y, x] = np.where(image[y, x] == 0, 0, level + grain)
        return filled, where

    def _discs(
        self, view: int, grid: ImageGrid, image_from_aligned: Float64 | None
    ) -> list[Indices]:
        """Pixels (2, n) of each bead, and what the images' resampling spread of it."""
        pixel = np.array(grid.pixel_angst)
        uv = project(self.slices, view, self.places_angst) + self.shifts_angst[:, view].T
        if image_from_aligned is not None:
            uv = image_from_aligned[:, :2] @ uv + image_from_aligned[:, 2:]
        middles = uv[::-1].T / pixel + grid.centre
        radii = (self.radii_angst + _MARGIN_ANGST) / pixel.min() + _MARGIN_PX
        discs = []
        for middle, radius in zip(middles, radii, strict=True):
            window = _window(middle, radius, grid.shape)
            inside = np.array(np.nonzero(_distance(window, middle) <= radius))
            discs.append(inside + np.array([[each.start] for each in window]))
        return discs

    def placed_by(self, local: LocalGeometry) -> Beads:
        """The same beads where a local alignment of the aligned images has them."""
        views = range(len(self.slices.a))
        seen = np.stack([project(self.slices, view, self.places_angst).T for view in views])
        seen += self.shifts_angst.transpose(1, 0, 2)
        places = self.places_angst
        for _ in range(_LOCAL_ROUNDS):
            maps = local.maps_at(places[:, 0], places[:, 1])
            rows, rest = maps[..., :3], seen - maps[..., 3]
            normal = np.einsum("vpik,vpil->pkl", rows, rows)
            right = np.einsum("vpik,vpi->pk", rows, rest)
            places = np.linalg.solve(normal, right[..., None])[..., 0]
        return replace(self, places_angst=places)

    def put_back(
        self,
        block: Float32,
        grid: VolumeGrid,
        y_start: int,
        z_start: int,
        density_pixel_angst: float,
    ) -> None:
        """Add the beads, as balls of their own size and density, to a block of a tomogram.

        Parameters
        ----------
        block : (planes, rows, x) float32
            Changed in place.
        grid : VolumeGrid
            Of the whole tomogram.
        y_start, z_start : int
            First row and plane of the block.
        density_pixel_angst : float
            Image values are densities times a path in this unit.
        """
        first = np.array([z_start, y_start, 0])
        voxel = grid.voxel_angst
        for place, radius, contrast in zip(
            self.places_angst, self.radii_angst, self.contrasts, strict=True
        ):
            middle = place[::-1] / voxel + grid.centre - first
            window = _window(middle, radius / voxel + 1, block.shape)
            if block[window].size:
                # as much in all as in the images: a ball's mean path is 4/3 of its radius
                density = contrast * density_pixel_angst / (4 / 3 * radius)
                inside = np.clip(radius / voxel - _distance(window, middle) + 0.5, 0, 1)
                block[window] += (density * inside).astype(np.float32)


def find_beads(
    image_of: Callable[[int], Float32],
    slices: SliceGeometry,
    grid: ImageGrid,
    thickness_angst: float,
    threads: int,
    told: Float64 | None = None,
) -> Beads:
    """Find the gold beads of a series, 5 to 30 nm wide, dark or bright.

    Parameters
    ----------
    image_of : callable
        Gives a view's image (y, x) on the tilt axis, not filtered; zeros count as missing.
    slices : SliceGeometry
    grid : ImageGrid
    thickness_angst : float
        Beads are sought in twice that.
    threads : int
    told : (bead, view, 2), optional
        Where somebody says that beads are (u, v), NaN where nobody does; they are believed.
    """
    count = len(slices.a)
    spots = np.empty(count, dtype=object)

    def look(view: int) -> None:
        spots[view] = find_spots(image_of(view), grid)

    run_all(threads, look, range(count))
    found = []
    for sign in (-1, 1):
        alike = [each[each[:, 2] * sign > 0] for each in spots]
        places = meet(alike, slices, grid, thickness_angst)
        seen = seen_near(places, alike, slices)
        candidates, blurs = _measured(places, seen, image_of, slices, grid, threads)
        smallest = max(_SMALLEST_ANGST, _FEWEST_PX * max(grid.pixel_angst))
        strengths = np.nanmean(np.abs(seen[..., 2]), axis=0) if len(places) else blurs
        sharp = blurs < np.interp(strengths, _STANDS_OUT, _EDGE, left=0.0)
        found.append(candidates.select(sharp & (candidates.radii_angst > smallest)))
    best = max(found, key=len)
    return best if told is None else _with_told(best, told, image_of, grid, threads)


def _with_told(
    found: Beads, told: Float64, image_of: Callable[[int], Float32], grid: ImageGrid, threads: int
) -> Beads:
    """Beads that were found, and those that they were told of besides."""
    seen = told.transpose(1, 0, 2)
    places = np.zeros((len(told), 3))
    for exact_angst in (np.inf, *EXACT_ANGST):
        places = fitted(places, seen, found.slices, exact_angst)
    gaps = np.linalg.norm(places[:, None] - found.places_angst, axis=2)
    new = (np.isfinite(told[..., 0]).sum(axis=1) > 1) & np.all(gaps > APART_ANGST, axis=1)
    more, blurs = _measured(places[new], seen[:, new], image_of, found.slices, grid, threads)
    # where nothing like a bead is seen, it is taken to be as large as the others
    known = found.radii_angst if len(found) else more.radii_angst[blurs < _EDGE[1]]
    usual = float(np.median(known)) if len(known) else _USUAL_ANGST
    like_one = (blurs < _EDGE[1]) & (more.radii_angst > _SMALLEST_ANGST)
    return Beads(
        np.concatenate([found.places_angst, more.places_angst]),
        np.concatenate([found.radii_angst, np.where(like_one, more.radii_angst, usual)]),
        np.concatenate([found.contrasts, more.contrasts]),
        np.concatenate([found.shifts_angst, more.shifts_angst]),
        found.slices,
        told=len(more),
    )


def _measured(
    places: Float64,
    seen: Float64,
    image_of: Callable[[int], Float32],
    slices: SliceGeometry,
    grid: ImageGrid,
    threads: int,
) -> tuple[Beads, Float64]:
    """Beads at places, of the size that they are seen with, and the blur of each.

    Parameters
    ----------
    places : (bead, 3)
    seen : (view, bead, 2 or more)
        u and v first; NaN where a view does not show it.
    image_of, slices, grid, threads
        As for :func:`find_beads`.
    """
    views = range(len(seen) if len(places) else 0)
    shifts = np.zeros((len(places), len(seen), 2))
    profiles = np.zeros((len(seen), 2, len(places), _RINGS))

    def measure(view: int) -> None:
        shifts[:, view] = np.nan_to_num(seen[view, :, :2] - project(slices, view, places).T)
        profiles[view] = _profiles(image_of(view), grid, seen[view, :, :2])

    run_all(threads, measure, views)
    radii, contrasts, blurs = _sizes(profiles.sum(axis=0))
    return Beads(places, radii, contrasts, shifts, slices), blurs


def _profiles(image: Float32, grid: ImageGrid, middles: Float64) -> Float64:
    """Sums and counts of pixels in rings about the beads of a view: (2, bead, ring)."""
    found = np.zeros((2, len(middles), _RINGS))
    pixel = np.array(grid.pixel_angst)
    for bead, (u, v) in enumerate(middles):
        if np.isfinite(u):
            middle = np.array([v, u]) / pixel + grid.centre
            window = _window(middle, _RINGS * _RING_ANGST / pixel.min(), image.shape)
            part = image[window]
            ring = (_distance(window, middle) * pixel[0] / _RING_ANGST).astype(np.intp)
            used = (ring < _RINGS) & (part != 0)
            found[0, bead] = np.bincount(ring[used], part[used], _RINGS)
            found[1, bead] = np.bincount(ring[used], minlength=_RINGS)
    return found


def _sizes(profiles: Float64) -> tuple[Float64, Float64, Float64]:
    """Radius, contrast and blur of each bead from the sums and counts of its rings.

    The blur is the width of the edge, from 0.8 to 0.2 of the height, as a share of the radius:
    gold stops all of the beam or, with less, has a steep edge; large molecules have neither.
    """
    sizes = np.zeros((3, profiles.shape[1]))
    middles = (np.arange(_RINGS) + 0.5) * _RING_ANGST
    for bead, (total, count) in enumerate(profiles.transpose(1, 0, 2)):
        some = count > 0
        if some.sum() < _RINGS // 2:
            continue
        r, profile = middles[some], total[some] / count[some]
        radius, around = 0.0, float(profile[-6:].mean())
        for _ in range(3):
            # large pixels leave the innermost rings empty
            inside = r <= max(0.6 * radius, 1.5 * _RING_ANGST, r[0])
            top = float(profile[inside].mean()) - around
            if top == 0:
                break
            radius = _falls_to(0.5, r, (profile - around) / top)
            ring = (r > 1.5 * radius) & (r < 2.2 * radius)
            if ring.any():
                around = float(profile[ring].mean())
        if top == 0:
            continue
        low, size, high = (
            _falls_to(level, r, (profile - around) / top) for level in (0.2, _RIM, 0.8)
        )
        sizes[:, bead] = size, top, (low - high) / radius
    return sizes[0], sizes[1], sizes[2]


def _falls_to(level: float, r: Float64, profile: Float64) -> float:
    """Where a profile falls below a level for the first time."""
    below = np.flatnonzero(profile < level)
    i = max(int(below[0]) if len(below) else len(r) - 1, 1)
    return float(np.interp(level, profile[[i, i - 1]], r[[i, i - 1]]))


def _window(middle: Float64, radius: float, shape: tuple[int, ...]) -> tuple[slice, ...]:
    """The box about a place, as far as it is inside an array."""
    return tuple(
        slice(min(max(floor(m - radius), 0), n), min(max(ceil(m + radius) + 1, 0), n))
        for m, n in zip(middle, shape, strict=True)
    )


def _distance(window: tuple[slice, ...], middle: Float64) -> Float64:
    """Distance of the elements of a box from a place."""
    squares = np.zeros(1)
    for axis, m in zip(window, middle, strict=True):
        squares = squares[..., None] + (np.arange(axis.start, axis.stop) - m) ** 2
    return np.asarray(np.sqrt(squares[0]))


def _beside(y: Indices, x: Indices, known: Mask, rng: np.random.Generator) -> Indices:
    """Pixels (2, n) beside a disc, in its shape and mirrored at the image's edges.

    In a direction in which all are known, else in that in which most are.
    """
    far = _BESIDE * np.sqrt(len(y) / np.pi)
    most, found = -1.0, np.stack([y, x])
    for turn in rng.permutation(8):
        angle = np.pi * turn / 4
        there = np.stack([y + round(far * np.sin(angle)), x + round(far * np.cos(angle))])
        last = np.array(known.shape)[:, None] - 1
        there = np.clip(last - np.abs(last - np.abs(there)), 0, last)
        share = float(known[there[0], there[1]].mean()) if len(y) else 1.0
        if share > most:
            most, found = share, there
        if most == 1:
            break
    return found
