"""Gold beads of a tilt series: filled in its images, and put back into its tomogram."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil, floor

import numpy as np
from numpy.typing import NDArray

from tomofilt.align.edges import level_between, levels
from tomofilt.align.spots import ALL, project
from tomofilt.series.geometry import ImageGrid, LocalGeometry, SliceGeometry, VolumeGrid
from tomofilt.util.jit import kernel

__all__ = ["Beads"]

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Mask = NDArray[np.bool_]
Indices = NDArray[np.intp]

#: A bead is filled with so much around it: what the images' resampling spread of it.
_MARGIN_ANGST, _MARGIN_PX = 10.0, 1.5
#: The grain that it is filled with is from so many radii away, in one of these directions (y, x).
_BESIDE = 2.5
_ANGLES = np.pi * np.arange(8) / 4
_DIRECTIONS = np.stack([np.sin(_ANGLES), np.cos(_ANGLES)], axis=1)
#: Places and local maps are found in turns, which differ less and less.
_LOCAL_ROUNDS = 3


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
    ) -> Float32:
        """The image of a view with its beads filled.

        Each is replaced by what is around it on the mean, and by the grain of another place nearby.

        Parameters
        ----------
        view : int
        image : (y, x) float32
            Is not changed.
        grid : ImageGrid
            Its pixels.
        image_from_aligned : (2, 3), optional
            Of an image as it was taken: where it has what the aligned one has at (u, v).

        Returns
        -------
        (y, x) float32
            The image itself where no bead is in it.
        """
        pixel = np.array(grid.pixel_angst)
        uv = project(self.slices, view, self.places_angst) + self.shifts_angst[:, view].T
        if image_from_aligned is not None:
            uv = image_from_aligned[:, :2] @ uv + image_from_aligned[:, 2:]
        middles = uv[::-1].T / pixel + grid.centre
        radii = (self.radii_angst + _MARGIN_ANGST) / pixel.min() + _MARGIN_PX
        rng = np.random.default_rng(view)
        turns = rng.permuted(np.tile(np.arange(len(_DIRECTIONS)), (len(self), 1)), axis=1)
        filled = image.copy()
        return filled if _fill(filled, middles, radii, turns) else image

    def placed_by(self, local: LocalGeometry) -> Beads:
        """The same beads where a local alignment of the aligned images has them."""
        seen = project(self.slices, ALL, self.places_angst).transpose(1, 2, 0)
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
            window = _window_about(middle, radius / voxel + 1, block.shape)
            if block[window].size:
                # as much in all as in the images: a ball's mean path is 4/3 of its radius
                density = contrast * density_pixel_angst / (4 / 3 * radius)
                inside = np.clip(radius / voxel - _distance_from(window, middle) + 0.5, 0, 1)
                block[window] += (density * inside).astype(np.float32)


def _window_about(middle: Float64, radius: float, shape: tuple[int, ...]) -> tuple[slice, ...]:
    """The box about a place, as far as it is inside an array."""
    return tuple(
        slice(min(max(floor(m - radius), 0), n), min(max(ceil(m + radius) + 1, 0), n))
        for m, n in zip(middle, shape, strict=True)
    )


def _distance_from(window: tuple[slice, ...], middle: Float64) -> Float64:
    """Distance of the elements of a box from a place."""
    squares = np.zeros(1)
    for axis, m in zip(window, middle, strict=True):
        squares = squares[..., None] + (np.arange(axis.start, axis.stop) - m) ** 2
    return np.asarray(np.sqrt(squares[0]))


@kernel
def _fill(image: Float32, middles: Float64, radii: Float64, turns: Indices) -> bool:
    """Fill discs in an image, in place.

    Parameters
    ----------
    image : (y, x) float32
    middles : (disc, 2)
        y, x in pixels.
    radii : (disc,)
    turns : (disc, direction) int
        In which order the directions are tried.

    Returns
    -------
    bool
        Whether any pixel is in them.
    """
    known = image != 0
    count = 0
    for disc in range(len(radii)):
        y, x = _disc(image.shape, middles[disc], radii[disc])
        for n in range(len(y)):
            known[y[n], x[n]] = False
            count += 1
    if count == 0:
        return False
    # as many pixels as from the middle of a disc to its edge
    block = max(2, round(np.sqrt(count / len(radii) / np.pi)))
    level = levels(image, known, block)
    for disc in range(len(radii)):
        y, x = _disc(image.shape, middles[disc], radii[disc])
        from_y, from_x = _beside(y, x, known, turns[disc])
        for n in range(len(y)):
            if image[y[n], x[n]] != 0:
                value = level_between(level, block, y[n], x[n])
                if known[from_y[n], from_x[n]]:
                    value += image[from_y[n], from_x[n]] - level_between(
                        level, block, from_y[n], from_x[n]
                    )
                image[y[n], x[n]] = value
    return True


@kernel
def _disc(shape: tuple[int, int], middle: Float64, radius: float) -> tuple[Indices, Indices]:
    """The pixels y, x of a disc, as far as it is inside an image."""
    most = int(2 * radius + 2) ** 2
    y, x = np.empty(most, np.intp), np.empty(most, np.intp)
    top, left = max(ceil(middle[0] - radius), 0), max(ceil(middle[1] - radius), 0)
    n = 0
    for j in range(top, min(floor(middle[0] + radius) + 1, shape[0])):
        for i in range(left, min(floor(middle[1] + radius) + 1, shape[1])):
            if np.sqrt((j - middle[0]) ** 2 + (i - middle[1]) ** 2) <= radius:
                y[n], x[n] = j, i
                n += 1
    return y[:n], x[:n]


@kernel
def _beside(y: Indices, x: Indices, known: Mask, turns: Indices) -> tuple[Indices, Indices]:
    """Pixels y, x beside a disc, in its shape and mirrored at the image's edges.

    In a direction in which all are known, else in that in which most are.
    """
    far = _BESIDE * np.sqrt(len(y) / np.pi)
    most, found_y, found_x = -1, y, x
    for turn in turns:
        there_y = _moved(y, round(far * _DIRECTIONS[turn, 0]), known.shape[0] - 1)
        there_x = _moved(x, round(far * _DIRECTIONS[turn, 1]), known.shape[1] - 1)
        count = 0
        for n in range(len(y)):
            count += known[there_y[n], there_x[n]]
        if count > most:
            most, found_y, found_x = count, there_y, there_x
        if most == len(y):
            break
    return found_y, found_x


@kernel
def _moved(places: Indices, by: int, last: int) -> Indices:
    """Places along one axis moved, and mirrored at its first and last one."""
    moved = np.empty_like(places)
    for n in range(len(places)):
        moved[n] = min(max(last - abs(last - abs(places[n] + by)), 0), last)
    return moved
