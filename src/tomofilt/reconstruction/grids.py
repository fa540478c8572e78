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
    """The voxels of a tomogram, from the project's and the user's sizes.

    Raises
    ------
    InputError
        If sizes contradict each other, or leave no voxel.
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
    nz, ny, nx = grid.shape
    if settings.shape_px is not None:
        nx, ny, nz = settings.shape_px
    nz = _planes(settings, pixel, nz)
    resized = grid.resized((nz, ny, nx))
    factor = voxel / pixel
    if factor == 1.0:
        return resized
    if min(int(n / factor + 1e-6) for n in resized.shape) < 1:
        raise InputError(
            f"a tomogram of {nx} x {ny} x {nz} pixels has no voxel left at bin {factor:g}"
        )
    return resized.binned(factor, first_voxel_kept=series.first_voxel_kept)


def _planes(settings: Settings, pixel_angst: float, planes: int) -> int:
    """Thickness of the tomogram in unbinned pixels, the given one if the user wants no other."""
    if settings.thickness_px is not None and settings.thickness_angst is not None:
        raise InputError("--thickness and --thickness-px say the same thing twice: give one")
    if settings.thickness_angst is not None:
        wanted = settings.thickness_angst / pixel_angst
    elif settings.thickness_px is not None:
        wanted = settings.thickness_px
    else:
        return planes
    if not 0.5 < wanted < np.inf:
        raise InputError(
            f"a thickness of {wanted:g} pixels, {wanted * pixel_angst:g} A, leaves no tomogram: "
            "give --thickness or --thickness-px of a pixel or more"
        )
    return round(wanted)


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
