"""Which voxels a tomogram has, and which pixels the images that it is made from."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tomofilt.errors import InputError
from tomofilt.reconstruction.settings import Settings
from tomofilt.series.geometry import ImageGrid, VolumeGrid
from tomofilt.series.tiltseries import TiltSeries

__all__ = ["aligned_grid", "volume_grid"]


def volume_grid(series: TiltSeries, settings: Settings) -> VolumeGrid:
    """The voxels of a tomogram: the series' own box, in the voxel size asked for.

    Raises
    ------
    InputError
        If the voxel size is given twice, is smaller than a pixel, or leaves no voxel.
    """
    pixel = series.images.pixel_angst
    if settings.bin is not None and settings.pixel_angst is not None:
        raise InputError("--bin and --pixel-size say the same thing twice: give one of them")
    if settings.pixel_angst is not None:
        voxel = settings.pixel_angst
    else:
        voxel = pixel * (settings.bin or series.binning)
    if voxel < pixel * (1 - 1e-3):
        raise InputError(
            f"a voxel of {voxel:g} A is smaller than the pixel of the images, {pixel:g} A: "
            "give --pixel-size or --bin of at least that"
        )
    if abs(voxel / pixel - 1) < 1e-3:
        voxel = pixel
    grid = series.grid
    factor = voxel / pixel
    if factor == 1.0:
        return grid
    nz, ny, nx = grid.shape
    if min(int(n / factor + 1e-6) for n in grid.shape) < 1:
        raise InputError(
            f"a tomogram of {nx} x {ny} x {nz} pixels has no voxel left at bin {factor:g}"
        )
    return grid.binned(factor, first_voxel_kept=series.first_voxel_kept)


def aligned_grid(
    series: TiltSeries, image_from_aligned: NDArray[np.float64], volume: VolumeGrid
) -> ImageGrid:
    """The pixels of images on the tilt axis, as large as a tomogram's voxels."""
    _, ny, nx = series.images.shape
    if series.aligned_shape is not None:
        width = series.aligned_shape[1]
    else:
        across = np.abs(image_from_aligned[:, :, 0]).mean(axis=0)
        width = nx if across[0] >= across[1] else ny
    factor = volume.voxel_angst / series.images.pixel_angst
    columns = max(1, int(width / factor + 1e-6))
    voxel = volume.voxel_angst
    return ImageGrid(
        (volume.shape[1], columns), (voxel, voxel), (volume.centre[1], (columns - 1) / 2)
    )
