"""The frame in which the tilt axis of every image is y: its pixels, and where each view looks."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tomofilt.series.geometry import ImageGrid, SliceGeometry, TiltGeometry, VolumeGrid

__all__ = ["AlignedFrame"]

Float64 = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class AlignedFrame:
    """Where the images of a series lie once their tilt axis is y.

    Parameters
    ----------
    volume : VolumeGrid
        The tomogram that is made from them.
    grid : ImageGrid
        Pixels as large as its voxels; row j is voxel row j.
    slices : SliceGeometry
        Where a voxel lands in them.
    image_from_aligned : (view, 2, 3)
        From here to the images as they are, in angstrom: :meth:`TiltGeometry.factor`.
    halo : int
        Rows beyond the grid, on either side, that voxels may need because of x tilt.
    """

    volume: VolumeGrid
    grid: ImageGrid
    slices: SliceGeometry
    image_from_aligned: Float64
    halo: int = 0

    @classmethod
    def for_volume(
        cls, geometry: TiltGeometry, volume: VolumeGrid, width_angst: tuple[float, float]
    ) -> AlignedFrame:
        """Make the frame that the images of a geometry are brought to for a tomogram.

        Parameters
        ----------
        geometry : TiltGeometry
            With a local alignment, whose maps are followed later, the frame has no halo.
        volume : VolumeGrid
        width_angst : (y, x)
            Size of the images as they are. The one across the tilt axis is kept.
        """
        warp, slices = geometry.factor()
        voxel = volume.voxel_angst
        columns = max(1, int(width_angst[_across_axis(warp)] / voxel + 1e-6))
        grid = ImageGrid(
            (volume.shape[1], columns), (voxel, voxel), (volume.centre[1], (columns - 1) / 2)
        )
        halo = 0 if geometry.local is not None else _halo(slices, volume)
        return cls(volume, grid, slices, warp, halo)

    @property
    def across_axis(self) -> int:
        """The axis of the images as they are, 0 (y) or 1 (x), that runs across the tilt axis."""
        return _across_axis(self.image_from_aligned)

    @property
    def padded_grid(self) -> ImageGrid:
        """The pixels with those of the halo."""
        (ny, nx), (yc, xc) = self.grid.shape, self.grid.centre
        return ImageGrid((ny + 2 * self.halo, nx), self.grid.pixel_angst, (yc + self.halo, xc))

    def select(self, views: ArrayLike) -> AlignedFrame:
        """The same frame for some views (indices or a mask)."""
        index = np.asarray(views)
        return replace(
            self,
            slices=self.slices.select(index),
            image_from_aligned=self.image_from_aligned[index],
        )

    def crop_rows(self, start: int, stop: int) -> AlignedFrame:
        """The same frame for rows ``start`` to ``stop`` alone."""
        (nz, _, nx), (zc, yc, xc) = self.volume.shape, self.volume.centre
        volume = replace(self.volume, shape=(nz, stop - start, nx), centre=(zc, yc - start, xc))
        grid = replace(
            self.grid,
            shape=(stop - start, self.grid.shape[1]),
            centre=(self.grid.centre[0] - start, self.grid.centre[1]),
        )
        return replace(self, volume=volume, grid=grid)


def _across_axis(image_from_aligned: Float64) -> int:
    across = np.abs(image_from_aligned[:, :, 0]).mean(axis=0)
    return 1 if across[0] >= across[1] else 0


def _halo(slices: SliceGeometry, volume: VolumeGrid) -> int:
    zc = volume.centre[0]
    reach = max(zc, volume.shape[0] - 1 - zc)
    e = float(np.abs(slices.e).max())
    return int(np.ceil(e * reach)) + 1 if e > 0 else 0
