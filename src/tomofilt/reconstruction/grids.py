"""Which voxels a tomogram has, and which of its planes hold the specimen."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tomofilt.errors import InputError
from tomofilt.reconstruction.settings import Settings
from tomofilt.series.geometry import VolumeGrid
from tomofilt.series.tiltseries import TiltSeries

__all__ = ["plane_weights", "volume_grid"]

#: The planes that count are so many times as thick as the specimen was measured: nothing of it may
#: be lost, and a few empty planes do no harm.
_GENEROUS = 1.4
#: The specimen's surfaces are cut off softly, over so many voxels.
_SOFT_PX = 4.0
#: A specimen is taken to be no thinner than this.
_THINNEST_PX = 8.0


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


def plane_weights(
    grid: VolumeGrid, thickness_angst: float, centre_angst: float
) -> NDArray[np.float32]:
    """Weights (z,) of the planes of a tomogram: 1 in the specimen, 0 outside, softly between.

    Parameters
    ----------
    grid : VolumeGrid
    thickness_angst, centre_angst : float
        Of the specimen, as it was measured, and the height of its middle.
    """
    half = max(_GENEROUS * thickness_angst / grid.voxel_angst, _THINNEST_PX) / 2
    middle = grid.centre[0] + centre_angst / grid.voxel_angst
    depth = half - np.abs(np.arange(grid.shape[0]) - middle)
    return np.asarray(np.clip(depth / _SOFT_PX + 0.5, 0, 1), dtype=np.float32)
