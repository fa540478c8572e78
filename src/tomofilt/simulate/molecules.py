"""Molecules that fill specimens: density maps that come with tomofilt, or the user's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import as_file, files
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tomofilt.errors import InputError

__all__ = ["BUNDLED", "Molecule", "bundled", "read_molecule", "read_volume"]

#: PDB entries of the maps that come with tomofilt, from small to large.
BUNDLED = ("1bxn", "1qvr", "4cr2", "4v94", "5mrc")

#: Voxels below this share of a map's largest value are not part of the molecule.
_SURFACE = 0.1


@dataclass(frozen=True, eq=False)
class Molecule:
    """A density map.

    Parameters
    ----------
    name : str
    density : (z, y, x) float32
        Relative to vitreous ice, with protein about 1. Rotations are about the middle, (n - 1) / 2.
    voxel_angst : float
    """

    name: str
    density: NDArray[np.float32]
    voxel_angst: float

    @cached_property
    def radius_angst(self) -> float:
        """Radius about the middle of the map that holds the molecule."""
        inside = np.argwhere(self.density > _SURFACE * self.density.max())
        middle = (np.array(self.density.shape) - 1) / 2
        return float(np.linalg.norm(inside - middle, axis=1).max() + 0.5) * self.voxel_angst


def bundled(names: Sequence[str] = BUNDLED) -> tuple[Molecule, ...]:
    """Molecules that come with tomofilt, at 10 A per voxel.

    Raises
    ------
    InputError
        There is no molecule of that name.
    """
    return tuple(_bundled(name) for name in names)


def _bundled(name: str) -> Molecule:
    if name not in BUNDLED:
        raise InputError(f"there is no molecule {name}: choose from {', '.join(BUNDLED)}")
    with as_file(files("tomofilt.simulate") / "templates" / f"{name}.mrc") as path:
        return read_molecule(path)


def read_molecule(path: Path) -> Molecule:
    """Read a map (bright molecule on dark, cubic voxels), and scale it so that protein is about 1.

    Densities are divided by the 90th percentile of the voxels above a tenth of the maximum, which
    is about the density of the interior.

    Raises
    ------
    MissingFileError, InputError
        As :func:`read_volume`; also when nothing in the map is positive.
    """
    density, voxel_angst = read_volume(path)
    if not density.max() > 0:
        raise InputError(f"{path} holds no positive density: invert its contrast")
    inside = density[density > _SURFACE * density.max()]
    return Molecule(path.stem, density / np.percentile(inside, 90), voxel_angst)


def read_volume(path: Path) -> tuple[NDArray[np.float32], float]:
    """Densities (z, y, x) and voxel size in angstrom of an MRC file.

    Raises
    ------
    MissingFileError, InputError
        The file cannot be read, its voxel size is not plausible, or it holds NaN or infinity.
    """
    from tomofilt.io.mrc import MrcStack

    stack = MrcStack(path)
    x, _, z = stack.header.spacing_angst
    if stack.shape[0] > 1 and abs(z / x - 1) > 0.01:
        raise InputError(
            f"the header of {path} gives voxels of {x:g} A in x but {z:g} A in z: correct it; "
            "voxels must be cubes"
        )
    density = np.stack([stack.read(section) for section in range(stack.shape[0])])
    if not np.isfinite(density).all():
        bad = int(np.count_nonzero(~np.isfinite(density)))
        raise InputError(
            f"{path}: {bad} of {density.size} voxels are NaN or infinite: replace them first"
        )
    return density, stack.pixel_angst
