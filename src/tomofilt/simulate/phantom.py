"""A generated specimen: molecules, membranes and gold in a slab of ice, as densities on voxels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tomofilt.errors import InputError
from tomofilt.series.geometry import VolumeGrid
from tomofilt.simulate.molecules import Molecule
from tomofilt.util.threads import available_threads

__all__ = ["Contents", "Particle", "Phantom", "make_phantom"]

Float32 = NDArray[np.float32]
FloatArray = NDArray[np.float64]

#: The two leaflets of a membrane: their distance, and the sigma of their Gaussian profiles.
LEAFLETS_ANGST, LEAFLET_SIGMA_ANGST = 38.0, 8.0
_MEMBRANE_GAP_ANGST = 80.0  # membranes come no closer to each other
#: Densities relative to vitreous ice, where protein is 1: from mean inner potentials of about 4.9 V
#: (ice), 7.4 V (protein), 6.4 V (head groups of lipids, at the shell's centre) and 25 V (gold).
LIPID_DENSITY, GOLD_DENSITY = 0.6, 8.0
MEMBRANE, GOLD = "membrane", "gold"
_INSIDE = 0.25  # density above which a voxel belongs to a molecule


@dataclass(frozen=True)
class Contents:
    """What a specimen is filled with.

    Parameters
    ----------
    molecules : sequence of Molecule
    crowding : float
        Part of the ice that the spheres around the molecules fill (random packing ends at about
        0.35).
    membranes : int
        Number of vesicle-like ellipsoids; the surfaces of the ice cut off what does not fit.
    gold : int
        Number of gold beads.
    gold_angst : float
        Diameter of the beads.
    """

    molecules: Sequence[Molecule]
    crowding: float = 0.25
    membranes: int = 2
    gold: int = 0
    gold_angst: float = 100.0


@dataclass(frozen=True)
class Particle:
    """A molecule or a bead.

    Parameters
    ----------
    kind : str
        Name of the molecule, or "gold".
    position_angst : (x, y, z)
        About the specimen centre.
    rotation : 3 x 3 nested tuples
        Acts on vectors (x, y, z): point r of the map is at ``position + rotation r``.
    """

    kind: str
    position_angst: tuple[float, float, float]
    rotation: tuple[tuple[float, float, float], ...]


@dataclass(frozen=True, eq=False)
class Phantom:
    """A specimen on voxels.

    Parameters
    ----------
    density : (z, y, x) float32
        Relative to vitreous ice, with protein about 1.
    labels : (z, y, x) uint8
        0 for ice, else 1 + the position in ``kinds``.
    grid : VolumeGrid
    kinds : tuple of str
        Names of the molecules, then "membrane", then "gold".
    particles : tuple of Particle
    ice_angst : float
        Thickness of the ice.
    """

    density: Float32
    labels: NDArray[np.uint8]
    grid: VolumeGrid
    kinds: tuple[str, ...]
    particles: tuple[Particle, ...]
    ice_angst: float


def make_phantom(
    grid: VolumeGrid,
    ice_angst: float,
    contents: Contents,
    rng: np.random.Generator,
    *,
    threads: int | None = None,
) -> Phantom:
    """Fill a slab of ice.

    Membranes are placed first, then beads and molecules, from large to small, at random places
    where their spheres touch nothing (random sequential addition). In z, beads and molecules are
    entirely within the ice. The sides of the grid may cut them, as the specimen continues beyond.

    Parameters
    ----------
    grid : VolumeGrid
    ice_angst : float
        Thickness of the ice, about the specimen centre.
    contents : Contents
    rng : numpy.random.Generator
    threads : int, optional

    Raises
    ------
    InputError
        The ice is thicker than the volume.
    """
    thickness_angst = grid.shape[0] * grid.voxel_angst
    if not 0 < ice_angst <= thickness_angst:
        raise InputError(
            f"ice of {ice_angst:g} A does not fit into a volume of {thickness_angst:g} A: "
            "make the volume thicker, or the ice thinner"
        )
    kinds = (*(molecule.name for molecule in contents.molecules), MEMBRANE, GOLD)
    if len(set(kinds)) < len(kinds) or len(kinds) > 255:
        raise InputError(f"molecules need different names, which these have not: {kinds[:-2]}")
    density = np.zeros(grid.shape, np.float32)
    labels = np.zeros(grid.shape, np.uint8)
    shells: list[_Shell] = []
    for _ in range(contents.membranes):
        shell = _free_shell(grid, ice_angst, shells, rng)
        if shell is None:
            break
        shells.append(shell)
        _add_shell(shell, grid, ice_angst, density, labels, kinds.index(MEMBRANE) + 1)
    placing = _Placing(grid, ice_angst, shells, rng)
    bead = _bead(contents.gold_angst, grid.voxel_angst)
    solids = [(bead, contents.gold)] if contents.gold else []
    solids += _numbers_of(contents, grid, ice_angst)
    particles = []
    for molecule, number in sorted(solids, key=lambda item: -item[0].radius_angst):
        for _ in range(number):
            position = placing.place(molecule.radius_angst)
            if position is None:
                break
            rotation = _random_rotation(rng)
            particles.append(
                Particle(molecule.name, _tuple(position), tuple(map(_tuple, rotation)))
            )
    splines = {molecule.name: _spline(molecule, grid.voxel_angst) for molecule, _ in solids}
    add = _Adding(grid, splines, density, labels)
    with ThreadPoolExecutor(threads or available_threads()) as pool:
        for particle, (box, turned) in zip(particles, pool.map(add.render, particles), strict=True):
            add.add(box, turned, kinds.index(particle.kind) + 1)
    return Phantom(density, labels, grid, kinds, tuple(particles), ice_angst)


def _tuple(vector: FloatArray) -> tuple[float, float, float]:
    x, y, z = vector
    return float(x), float(y), float(z)


# ---------------------------------------------------------------------------------- molecules


def _numbers_of(
    contents: Contents, grid: VolumeGrid, ice_angst: float
) -> list[tuple[Molecule, int]]:
    """Numbers of each kind that together fill the ice, with the same total volume of each kind."""
    _, ny, nx = grid.shape
    ice_volume = ny * nx * grid.voxel_angst**2 * ice_angst
    share = contents.crowding * ice_volume / max(len(contents.molecules), 1)
    return [
        (molecule, round(share / (4 / 3 * np.pi * molecule.radius_angst**3)))
        for molecule in contents.molecules
    ]


def _bead(diameter_angst: float, voxel_angst: float) -> Molecule:
    """A sphere of gold, with an edge of two voxels that splines can follow."""
    radius = diameter_angst / 2 / voxel_angst
    half = int(np.ceil(radius)) + 2
    z, y, x = np.indices((2 * half + 1,) * 3) - half
    depth = np.clip((radius + 1 - np.sqrt(z**2 + y**2 + x**2)) / 2, 0, 1)
    density = GOLD_DENSITY * (0.5 - 0.5 * np.cos(np.pi * depth))
    return Molecule(GOLD, density.astype(np.float32), voxel_angst)


def _spline(molecule: Molecule, voxel_angst: float) -> Molecule:
    """B-spline coefficients of a molecule, without detail that the voxels cannot represent."""
    from scipy.ndimage import gaussian_filter, spline_filter

    ratio = voxel_angst / molecule.voxel_angst
    density = np.pad(molecule.density, 2 + int(ratio))
    if ratio > 1:
        density = gaussian_filter(density, 0.5 * np.sqrt(ratio**2 - 1))
    return Molecule(molecule.name, spline_filter(density, output=np.float32), molecule.voxel_angst)


def _random_rotation(rng: np.random.Generator) -> FloatArray:
    """A random rotation, uniform over all rotations: a random unit quaternion (Shoemake, 1992)."""
    w, x, y, z = (q := rng.normal(size=4)) / np.linalg.norm(q)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


@dataclass(frozen=True, eq=False)
class _Adding:
    """Adds molecules, rotated by cubic spline interpolation, to the voxels of a specimen."""

    grid: VolumeGrid
    splines: Mapping[str, Molecule]
    density: Float32
    labels: NDArray[np.uint8]

    def render(self, particle: Particle) -> tuple[tuple[slice, ...], Float32]:
        """Densities of a particle, and the box of voxels where they are."""
        from scipy.ndimage import affine_transform

        voxel, spline = self.grid.voxel_angst, self.splines[particle.kind]
        centre = np.array(self.grid.centre) + np.array(particle.position_angst[::-1]) / voxel
        half = spline.radius_angst / voxel + 2
        low = np.clip(np.ceil(centre - half).astype(int), 0, self.grid.shape)
        high = np.clip(np.floor(centre + half).astype(int) + 1, low, self.grid.shape)
        # map voxel = middle + R^-1 (voxel - centre), both in (z, y, x)
        matrix = np.array(particle.rotation).T[::-1, ::-1] * (voxel / spline.voxel_angst)
        middle = (np.array(spline.density.shape) - 1) / 2
        turned = affine_transform(
            spline.density,
            matrix,
            offset=middle + matrix @ (low - centre),
            output_shape=tuple(high - low),
            prefilter=False,
        )
        return tuple(slice(a, b) for a, b in zip(low, high, strict=True)), turned

    def add(self, box: tuple[slice, ...], turned: Float32, label: int) -> None:
        """Add a rendered particle, and label its voxels."""
        self.density[box] += turned
        self.labels[box][turned > _INSIDE] = label


class _Placing:
    """Finds room for spheres."""

    def __init__(
        self,
        grid: VolumeGrid,
        ice_angst: float,
        shells: Sequence[_Shell],
        rng: np.random.Generator,
    ) -> None:
        self._rng = rng
        self._shells = shells
        self._ice_angst = ice_angst
        _, yc, xc = grid.centre
        _, ny, nx = grid.shape
        self._low = np.array([-0.5 - xc, -0.5 - yc]) * grid.voxel_angst
        self._high = np.array([nx - 0.5 - xc, ny - 0.5 - yc]) * grid.voxel_angst
        self._spheres = np.empty((0, 4))

    def place(self, radius_angst: float, tries: int = 200) -> FloatArray | None:
        """A free position (x, y, z), or None if no try found one."""
        room = self._ice_angst / 2 - radius_angst
        if room < 0:
            return None
        low, high = np.append(self._low, -room), np.append(self._high, room)
        for position in self._rng.uniform(low, high, size=(tries, 3)):
            gaps = np.linalg.norm(self._spheres[:, :3] - position, axis=1) - self._spheres[:, 3]
            if gaps.size and gaps.min() < radius_angst:
                continue
            wall = LEAFLETS_ANGST / 2 + 2 * LEAFLET_SIGMA_ANGST + radius_angst
            if any(abs(shell.distance(position[:, None])[0]) < wall for shell in self._shells):
                continue
            self._spheres = np.vstack([self._spheres, [*position, radius_angst]])
            return np.asarray(position)
        return None


# ---------------------------------------------------------------------------------- membranes


@dataclass(frozen=True, eq=False)
class _Shell:
    """An ellipsoid about a centre (x, y, z), with half axes along the columns of ``axes``."""

    centre: FloatArray
    half_axes: FloatArray
    axes: FloatArray

    def distance(self, points: FloatArray) -> FloatArray:
        """Signed distance of points (3, n) from the surface, to first order."""
        half_axes = self.half_axes[:, None]
        scaled = self.axes.T @ (points - self.centre[:, None]) / half_axes
        level = np.sqrt((scaled**2).sum(axis=0))
        slope = np.sqrt(((scaled / half_axes) ** 2).sum(axis=0))
        return np.asarray(level * (level - 1) / np.maximum(slope, 1e-12))

    def surface(self, rng: np.random.Generator) -> FloatArray:
        """Points (3, 2000) on the surface."""
        sphere = rng.normal(size=(3, 2000))
        sphere /= np.linalg.norm(sphere, axis=0)
        return np.asarray(self.axes @ (self.half_axes[:, None] * sphere) + self.centre[:, None])


def _free_shell(
    grid: VolumeGrid, ice_angst: float, others: Sequence[_Shell], rng: np.random.Generator
) -> _Shell | None:
    """A shell that crosses none of the others, or None if no try found one."""
    _, yc, xc = grid.centre
    _, ny, nx = grid.shape
    low = -np.array([xc, yc]) * grid.voxel_angst
    high = np.array([nx - xc, ny - yc]) * grid.voxel_angst
    for _ in range(100):
        centre = np.append(rng.uniform(low, high), rng.uniform(-0.25, 0.25) * ice_angst)
        half_axes = rng.uniform(0.35, 1.2, size=3) * max(ice_angst, 300.0)
        shell = _Shell(centre, half_axes, _random_rotation(rng))
        points = shell.surface(rng)
        in_ice = points[:, np.abs(points[2]) < ice_angst / 2]
        if all((np.abs(other.distance(in_ice)) > _MEMBRANE_GAP_ANGST).all() for other in others):
            return shell
    return None


def _add_shell(
    shell: _Shell,
    grid: VolumeGrid,
    ice_angst: float,
    density: Float32,
    labels: NDArray[np.uint8],
    label: int,
) -> None:
    """Add two Gaussian shells, cut off by the surfaces of the ice; overlaps do not add up."""
    zc, yc, xc = grid.centre
    nz, ny, nx = grid.shape
    voxel = grid.voxel_angst
    reach = shell.half_axes.max() + LEAFLETS_ANGST
    x = (np.arange(nx) - xc) * voxel
    y = (np.arange(ny) - yc) * voxel
    columns = np.flatnonzero(np.abs(x - shell.centre[0]) <= reach)
    rows = np.flatnonzero(np.abs(y - shell.centre[1]) <= reach)
    if not columns.size or not rows.size:
        return
    box = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    yy, xx = np.meshgrid(y[rows], x[columns], indexing="ij")
    for plane in range(nz):
        z = (plane - zc) * voxel
        if abs(z) > ice_angst / 2:
            continue
        points = np.stack([xx.ravel(), yy.ravel(), np.full(xx.size, z)])
        distance = shell.distance(points).reshape(xx.shape)
        profile = sum(
            np.exp(-((distance - side * LEAFLETS_ANGST / 2) ** 2) / (2 * LEAFLET_SIGMA_ANGST**2))
            for side in (-1, 1)
        )
        target = density[plane][box]
        np.maximum(target, LIPID_DENSITY * profile, out=target)
        labels[plane][box][np.abs(distance) < LEAFLETS_ANGST / 2 + LEAFLET_SIGMA_ANGST] = label
