"""Names of a specimen's labels, and the positions of its particles."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tomofilt.errors import InputError
from tomofilt.io.star import read_star

__all__ = ["read_label_names", "read_particles"]

_CENTRED = tuple(f"rlnCenteredCoordinate{axis}Angst" for axis in "XYZ")
#: Columns that may hold the kind of a particle; the first that a file has is used.
_KINDS = ("rlnGroupName", "rlnClassNumber")


def read_label_names(path: Path) -> dict[int, str]:
    """Names of the values of a label volume, from the ``record.json`` beside a simulated one."""
    try:
        record = json.loads((path.parent / "record.json").read_text())
        if record["program"] == "tomofilt simulate":
            return {int(value): str(name) for name, value in record["labels"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        pass
    return {}


def read_particles(
    path: Path, shape: tuple[int, int, int], voxel_angst: float
) -> dict[str, NDArray[np.float64]]:
    """Particles of a RELION 5 particle list, by kind.

    Parameters
    ----------
    path : Path
        STAR file with ``rlnCenteredCoordinate[XYZ]Angst``, in angstrom from voxel N / 2 of a
        tomogram of N voxels, and optionally ``rlnGroupName`` or ``rlnClassNumber`` for the kind.
    shape : (nz, ny, nx)
    voxel_angst : float
        Of the tomogram.

    Returns
    -------
    Mapping of kind to voxel positions (particle, 3) in (z, y, x), inside the volume or not.

    Raises
    ------
    MissingFileError, InputError
        There is no such file, or its columns are missing or empty.
    """
    tables = [
        (name, table)
        for name, table in read_star(path).items()
        if all(column in table for column in _CENTRED)
    ]
    if not tables:
        raise InputError(
            f"{path} has no columns {', '.join(_CENTRED)}: give a particle list of RELION 5, or of "
            "tomofilt simulate"
        )
    name, table = tables[0]
    try:
        x, y, z = (np.array([float(value) for value in table[column]]) for column in _CENTRED)
    except ValueError as error:
        raise InputError(
            f"{path}, block data_{name}: a coordinate is no number ({error})"
        ) from None
    if len(x) == 0:
        raise InputError(f"{path} lists no particles")
    places = np.stack([z, y, x], axis=1) / voxel_angst + np.array(shape) / 2
    column = next((column for column in _KINDS if column in table), None)
    kinds = np.array(table[column] if column else ["particles"] * len(x))
    return {str(kind): places[kinds == kind] for kind in dict.fromkeys(kinds)}
