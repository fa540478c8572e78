"""Gold beads of a tilt series: filled in its images, and put back into its tomogram."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil, floor

import numpy as np
from numpy.typing import NDArray

from tomofilt.align.edges import level_at
from tomofilt.align.spots import project
from tomofilt.series.geometry import ImageGrid, LocalGeometry, SliceGeometry, VolumeGrid

__all__ = ["Beads", "distance_from", "window_about"]

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Mask = NDArray[np.bool_]
Indices = NDArray[np.intp]

#: A bead is filled with so much around it: what the images' resampling spread of it.
_MARGIN_ANGST, _MARGIN_PX = 10.0, 1.5
#: The grain that it is filled with is from so many radii away.
_BESIDE = 2.5
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
        where = np.zeros(image.shape, dtype=np.bool_)
        discs = self._discs(view, grid, image_from_aligned)
        for y, x in discs:
            where[y, x] = True
        if not where.any():
            return image
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
        return filled

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
            window = window_about(middle, radius, grid.shape)
            inside = np.array(np.nonzero(distance_from(window, middle) <= radius))
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
            window = window_about(middle, radius / voxel + 1, block.shape)
            if block[window].size:
                # as much in all as in the images: a ball's mean path is 4/3 of its radius
                density = contrast * density_pixel_angst / (4 / 3 * radius)
                inside = np.clip(radius / voxel - distance_from(window, middle) + 0.5, 0, 1)
                block[window] += (density * inside).astype(np.float32)


def window_about(middle: Float64, radius: float, shape: tuple[int, ...]) -> tuple[slice, ...]:
    """The box about a place, as far as it is inside an array."""
    return tuple(
        slice(min(max(floor(m - radius), 0), n), min(max(ceil(m + radius) + 1, 0), n))
        for m, n in zip(middle, shape, strict=True)
    )


def distance_from(window: tuple[slice, ...], middle: Float64) -> Float64:
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
