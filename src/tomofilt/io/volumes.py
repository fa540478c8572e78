"""Volumes in one call: a whole MRC file into an array, an array into a new MRC file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tomofilt.errors import InputError
from tomofilt.io.mrc import MrcStack, MrcType, MrcWriter

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["read_volume", "write_volume"]


def read_volume(
    path: str | Path, voxel_angst: float | None = None
) -> tuple[NDArray[np.float32], float]:
    """Read an MRC file.

    Parameters
    ----------
    path : str or Path
    voxel_angst : float, optional
        Edge of a voxel, where the header is not to be believed.

    Returns
    -------
    volume : (z, y, x) float32
    voxel_angst : float
        As given, else the header's.

    Raises
    ------
    InputError, MissingFileError
        If the file is not there, or damaged.
    """
    stack = MrcStack(Path(path), voxel_angst)
    volume = np.empty(stack.shape, dtype=np.float32)
    for section in range(stack.shape[0]):
        volume[section] = stack.read(section)
    return volume, stack.pixel_angst


def write_volume(
    path: str | Path,
    volume: NDArray[np.floating] | Tensor,
    voxel_angst: float,
    *,
    dtype: MrcType = "float32",
    replace: bool = False,
) -> None:
    """Write a volume into an MRC file, which is whole or absent.

    Parameters
    ----------
    path : str or Path
    volume : (z, y, x)
        A numpy array or a torch tensor.
    voxel_angst : float
        Edge of a voxel.
    dtype : "float32", "float16", "int16" or "int8"
    replace : bool
        Whether a file of that name may be replaced.

    Raises
    ------
    InputError
        If the volume does not have three axes.
    OutputExistsError, OutputError
        If the file exists, or cannot be written.
    """
    if not isinstance(volume, np.ndarray):
        volume = volume.detach().cpu().numpy()
    if volume.ndim != 3:
        raise InputError(f"a volume has three axes (z, y, x), not {volume.ndim}: {volume.shape}")
    nz, ny, nx = volume.shape
    with MrcWriter(Path(path), (nz, ny, nx), voxel_angst, dtype=dtype, replace=replace) as writer:
        writer.write(np.asarray(volume, dtype=np.float32), z=0)
        writer.commit()
