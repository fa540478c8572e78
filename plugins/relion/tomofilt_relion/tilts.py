"""The table of images of a series as RELION 5 has it, and RELION 4's matrices turned into it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tomofilt.errors import InputError
from tomofilt.io.star import Table
from tomofilt_relion.geometry import alignment_from_matrices
from tomofilt_relion.images import NamedImages
from tomofilt_relion.tomograms import TomogramSet

__all__ = ["has_matrices", "read_matrices", "relion5_tilts", "size_of_matrices"]

FloatArray = NDArray[np.float64]

_MATRIX = tuple(f"rlnTomoProj{row}" for row in "XYZW")
_ALIGN = "Align tilt-series"
#: The columns without which nothing can be reconstructed, and the RELION job that writes them.
_NEEDED = {
    "Motion correction": ("rlnMicrographName",),
    _ALIGN: (
        "rlnTomoYTilt",
        "rlnTomoZRot",
        "rlnTomoXShiftAngst",
        "rlnTomoYShiftAngst",
    ),
}


def relion5_tilts(tomograms: TomogramSet, name: str, raw: Table, pixel_angst: float) -> Table:
    """Table of images with RELION 5's columns.

    The matrices of RELION 4 become angles and shifts, and are left out: RELION gives them priority,
    and they speak of a tomogram of their own size.

    Raises
    ------
    InputError
        It has no rows or lacks columns; they are named with the job that writes them.
    """
    where = f"{tomograms.tilts_path(name)}: data_{name}"
    if not len(raw):
        raise InputError(f"{where} has no images")
    if not tomograms.is_relion4:
        _refuse_incomplete(raw, where)
        if not has_matrices(raw):
            return raw
        return _without_matrices(tomograms, name, raw, pixel_angst)
    if not has_matrices(raw):
        raise InputError(
            f"{where} has no rlnTomoProjX, rlnTomoProjY, rlnTomoProjZ and rlnTomoProjW, the "
            "matrices that are RELION 4's alignment: import the tilt series with their alignment"
        )
    frames = tomograms.positive(name, "rlnTomoFrameCount")
    if frames and frames != len(raw):
        raise InputError(
            f"{where} has {len(raw)} rows, but rlnTomoFrameCount is {frames:g}: was an image left "
            "out? Each row must belong to an image of the stack"
        )
    stack = tomograms.rows[name]["rlnTomoTiltSeriesName"]
    references = [f"{number:06d}@{stack}" for number in range(1, len(raw) + 1)]
    named = raw.replaced({"rlnMicrographName": references})
    return _without_matrices(tomograms, name, named, pixel_angst)


def _without_matrices(tomograms: TomogramSet, name: str, tilts: Table, pixel_angst: float) -> Table:
    """Put angles and shifts in the place of matrices."""
    image_shape = NamedImages(tomograms.root, tilts["rlnMicrographName"], pixel_angst).shape[1:]
    matrices = read_matrices(tilts, f"{tomograms.tilts_path(name)}: data_{name}")
    alignment = alignment_from_matrices(matrices, size_of_matrices(tomograms, name), image_shape)
    columns = {
        "rlnTomoXTilt": alignment.xtilt_deg,
        "rlnTomoYTilt": alignment.ytilt_deg,
        "rlnTomoZRot": alignment.zrot_deg,
        "rlnTomoXShiftAngst": alignment.shift_px[:, 0] * pixel_angst,
        "rlnTomoYShiftAngst": alignment.shift_px[:, 1] * pixel_angst,
    }
    texts = {column: [f"{value:.6f}" for value in values] for column, values in columns.items()}
    converted = tilts.replaced(texts)
    return Table({c: values for c, values in converted.columns.items() if c not in _MATRIX})


def _refuse_incomplete(tilts: Table, where: str) -> None:
    missing = {
        job: [column for column in columns if column not in tilts]
        for job, columns in _NEEDED.items()
        if not (job == _ALIGN and has_matrices(tilts))
    }
    missing = {job: columns for job, columns in missing.items() if columns}
    if missing:
        lacks = " and ".join(
            f"{', '.join(columns)} (from RELION's {job} job)" for job, columns in missing.items()
        )
        raise InputError(f"{where} lacks {lacks}: run that first and give the set it writes")


def has_matrices(tilts: Table) -> bool:
    """Whether there are RELION 4's matrices, which count more than angles."""
    return all(column in tilts for column in _MATRIX)


def read_matrices(tilts: Table, where: str) -> FloatArray:
    """Matrices (image, 4, 4) of RELION 4's bracketed vectors."""
    rows = []
    for column in _MATRIX:
        try:
            rows.append([[float(x) for x in text.strip("[]").split(",")] for text in tilts[column]])
        except ValueError:
            raise InputError(f"{where}: {column} holds no vectors such as [1,0,0,0]") from None
    try:
        matrices = np.array(rows, dtype=np.float64).transpose(1, 0, 2)
    except ValueError:
        matrices = np.empty(0)
    if matrices.shape[1:] != (4, 4) or not np.isfinite(matrices).all():
        raise InputError(f"{where}: rlnTomoProjX/Y/Z/W must be vectors of four numbers")
    x, y, z = np.moveaxis(matrices[:, :3, :3] / _length(matrices), 1, 0)
    unlike = np.flatnonzero(~(np.abs(np.cross(x, y) - z).max(axis=1) < 0.05))
    if unlike.size:
        raise InputError(
            f"{where}: the matrix rlnTomoProjX/Y/Z/W in row {unlike[0] + 1} is no rotation: make "
            "the set again with its alignment"
        )
    if not matrices[:, :2, 3].any():
        raise InputError(
            f"{where}: the matrices have no shifts, only rotations, as in what Warp exports with "
            "particles: nothing can be reconstructed from them. Give the tomostack folders of Warp "
            "(with .xf and .tlt) as IMOD folders"
        )
    return matrices


def _length(matrices: FloatArray) -> FloatArray:
    """Length of the rows of each matrix, (image, 3, 1); not a number where it is 0."""
    length = np.linalg.norm(matrices[:, :3, :3], axis=2, keepdims=True)
    return np.where(length > 0, length, np.nan)


def size_of_matrices(tomograms: TomogramSet, name: str) -> tuple[int, int, int]:
    """Unbinned size (x, y, z) of the tomogram whose voxels RELION 4's matrices speak of."""
    sizes = [tomograms.positive(name, f"rlnTomoSize{axis}") for axis in "XYZ"]
    if None in sizes:
        raise InputError(
            f"{tomograms.path}: {name} has no rlnTomoSizeX, rlnTomoSizeY and rlnTomoSizeZ, but "
            "RELION 4's matrices refer to them"
        )
    nx, ny, nz = (round(size) for size in sizes if size is not None)
    return nx, ny, nz
