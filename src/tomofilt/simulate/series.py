"""Simulated tilt series: the specimen, its projections, and images with noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tomofilt.errors import InputError
from tomofilt.series.angles import angles_of_range
from tomofilt.series.ctf import Ctf
from tomofilt.series.geometry import ImageGrid, TiltGeometry, VolumeGrid
from tomofilt.series.tiltseries import TiltSeries
from tomofilt.simulate.camera import (
    count_electrons,
    expected_counts,
    frequencies,
    margin_px,
    with_margin,
)
from tomofilt.simulate.molecules import Molecule, bundled
from tomofilt.simulate.phantom import Contents, Phantom, make_phantom
from tomofilt.simulate.physics import VOLTAGE_KV, Optics, damage, relative_noise
from tomofilt.simulate.projection import extent_angst, project
from tomofilt.simulate.scheme import Order, TiltScheme, tilt_scheme

__all__ = [
    "ImagesInMemory",
    "SimulatedSeries",
    "Simulation",
    "cut_out",
    "damaged_projections",
    "noisy_halves",
    "simulate",
    "simulated_series",
]

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ImagesInMemory:
    """Images without a file (an :class:`~tomofilt.series.tiltseries.ImageSource`).

    Parameters
    ----------
    stack : (image, y, x) float32
    pixel_angst : float
    """

    stack: Float32
    pixel_angst: float
    files: tuple[Path, ...] = ()

    @property
    def shape(self) -> tuple[int, int, int]:
        """(image, y, x)."""
        views, ny, nx = self.stack.shape
        return views, ny, nx

    def read(self, image: int, y_start: int = 0, y_stop: int | None = None) -> Float32:
        """Rows y_start..y_stop of one image, shape (rows, x)."""
        return self.stack[image, y_start:y_stop]


@dataclass(frozen=True, eq=False)
class SimulatedSeries:
    """A tilt series together with its true specimen, geometry and noise.

    Parameters
    ----------
    truth : (z, y, x) float32
        The part of the specimen that the tomogram shows: density relative to ice, protein about 1.
    grid : VolumeGrid
        The voxels of ``truth``.
    geometry : TiltGeometry
    scheme : TiltScheme
        Angles, order and exposure of the views, in the order of the images.
    pixel_angst : float
    clean : (view, y, x) float32
        The images without noise, but with radiation damage.
    halves : (2, view, y, x) float32
        Images from half of the exposure each, with independent noise; their sum is ``images``.
    optics : Optics, optional
        Given if the images are counts of electrons; otherwise they are line integrals.
    phantom : Phantom, optional
        The whole specimen, wider than what the images show, if it was generated here.
    """

    truth: Float32
    grid: VolumeGrid
    geometry: TiltGeometry
    scheme: TiltScheme
    pixel_angst: float
    clean: Float32
    halves: Float32
    optics: Optics | None = None
    phantom: Phantom | None = None

    @property
    def images(self) -> Float32:
        """Images with noise: (view, y, x)."""
        return np.asarray(self.halves[0] + self.halves[1])

    @property
    def snr(self) -> float:
        """Variance of the signal over that of the noise in the least tilted image."""
        view = int(np.abs(self.scheme.tilt_deg).argmin())
        noise = self.halves[0, view] + self.halves[1, view] - self.clean[view]
        power = float(noise.var(dtype=np.float64))
        return float(self.clean[view].var(dtype=np.float64)) / power if power else float("inf")

    def tilt_series(self, name: str = "TS", *, clean: bool = False) -> TiltSeries:
        """The series as a project would read it: images, halves and geometry, without any file.

        Parameters
        ----------
        name : str
        clean : bool
            Give the images without noise (and no halves).
        """
        pixel = self.pixel_angst
        even, odd = (ImagesInMemory(half, pixel) for half in self.halves)
        return TiltSeries(
            name=name,
            images=ImagesInMemory(self.clean if clean else self.images, pixel),
            geometry=self.geometry,
            views=np.arange(len(self.geometry)),
            tilt_deg=self.scheme.tilt_deg,
            grid=self.grid,
            halves=None if clean else (even, odd),
            dose_e_per_a2=self.scheme.exposure_before_e_per_a2,
            voltage_kv=VOLTAGE_KV,
            ctf=self._ctf(),
        )

    def _ctf(self) -> Ctf | None:
        optics = self.optics
        if optics is None or not optics.defocus_angst:
            return None
        zero = np.zeros(len(self.geometry))
        defocus = zero + optics.defocus_angst
        return Ctf(
            *(defocus, defocus, zero, zero),
            *(VOLTAGE_KV, optics.cs_mm, optics.amplitude_contrast, optics.hand),
        )


@dataclass(frozen=True, eq=False)
class Simulation:
    """What is simulated, and how it is imaged.

    Parameters
    ----------
    scheme : TiltScheme
    contents : Contents
        Its numbers of membranes and beads are those in the tomogram.
    shape : (nz, ny, nx)
        Voxels of the tomogram. Images have ny x nx pixels, or nx x ny where the tilt axis lies
        nearer to x than to y.
    pixel_angst : float
        Of images and voxels.
    ice_angst : float
        Thickness of the ice.
    optics : Optics
    rotation_deg : float
        Of the tilt axis in the images.
    shift_angst : float
        Standard deviation of the images' random shifts; the alignment files hold the shifts.
    seed : int
        Seed of everything random.
    """

    scheme: TiltScheme
    contents: Contents
    shape: tuple[int, int, int]
    pixel_angst: float
    ice_angst: float
    optics: Optics
    rotation_deg: float
    shift_angst: float
    seed: int


def simulate(wanted: Simulation, *, threads: int | None = None) -> SimulatedSeries:
    """Make a specimen and take a tilt series of it: images are counts of electrons.

    Raises
    ------
    InputError
        A value makes no sense; the message says which.
    """
    rng = np.random.default_rng(wanted.seed)
    grid, images, geometry = _set_up(
        wanted.shape,
        wanted.pixel_angst,
        wanted.scheme,
        wanted.rotation_deg,
        wanted.shift_angst,
        rng,
    )
    optics, ice_angst = wanted.optics, wanted.ice_angst
    seen = with_margin(images, margin_px(images, optics))
    phantom = _specimen(grid, geometry, seen, ice_angst, wanted.contents, rng, threads)
    clean = expected_counts(
        phantom.density,
        phantom.grid,
        geometry,
        wanted.scheme,
        images,
        optics,
        ice_angst,
        threads=threads,
    )
    return SimulatedSeries(
        truth=cut_out(phantom.density, phantom.grid, grid),
        grid=grid,
        geometry=geometry,
        scheme=wanted.scheme,
        pixel_angst=wanted.pixel_angst,
        clean=clean,
        halves=count_electrons(clean, rng),
        optics=optics,
        phantom=phantom,
    )


def simulated_series(
    seed: int = 0,
    *,
    shape: tuple[int, int, int] = (48, 96, 96),
    pixel_angst: float = 10.0,
    tilt_deg: ArrayLike | None = None,
    order: Order = "dose-symmetric",
    snr: float = 0.1,
    dose_e_per_a2: float = 3.0,
    ice_angst: float | None = None,
    rotation_deg: float = 0.0,
    shift_angst: float = 0.0,
    molecules: Sequence[Molecule] | None = None,
    crowding: float = 0.25,
    membranes: int = 2,
) -> SimulatedSeries:
    """A small tilt series of a crowded slab, without CTF, for tests and for training.

    The specimen is a slab wider than what the images show. Images are line integrals (density times
    path in pixels), low-passed by the radiation damage up to each view. White Gaussian noise is
    added, which grows with the length of the path through the ice.

    Parameters
    ----------
    seed : int
        Seed of everything random; the same seed gives the same series.
    shape : (nz, ny, nx)
        Voxels of the tomogram; see :class:`Simulation`.
    pixel_angst : float
        Of images and voxels.
    tilt_deg : (view,), optional
        Default: -60 to 60 in steps of 3 degrees.
    order : "dose-symmetric" or "continuous"
        The order in which the views are taken.
    snr : float
        Variance of the signal over that of the noise, in the untilted image (infinity: no noise).
    dose_e_per_a2 : float
        Exposure of each view; 0: no damage.
    ice_angst : float, optional
        Thickness of the ice; default is 0.85 of the tomogram's.
    rotation_deg : float
        Of the tilt axis in the images.
    shift_angst : float
        Standard deviation of the images' random shifts.
    molecules : sequence of Molecule, optional
        Default: those that come with tomofilt.
    crowding, membranes
        See :class:`~tomofilt.simulate.phantom.Contents`; ``membranes`` counts those in view.

    Raises
    ------
    InputError
        A value makes no sense; the message says which.
    """
    if not snr > 0:
        raise InputError(f"an SNR of {snr:g} is not positive; infinity means no noise")
    rng = np.random.default_rng(seed)
    angles = angles_of_range(-60, 60, 3) if tilt_deg is None else tilt_deg
    scheme = tilt_scheme(angles, order, dose_e_per_a2)
    grid, images, geometry = _set_up(shape, pixel_angst, scheme, rotation_deg, shift_angst, rng)
    if ice_angst is None:
        ice_angst = 0.85 * shape[0] * pixel_angst
    contents = Contents(molecules or bundled(), crowding=crowding, membranes=membranes)
    seen = with_margin(images, margin_px(images))
    phantom = _specimen(grid, geometry, seen, ice_angst, contents, rng, None)
    clean = damaged_projections(phantom.density, phantom.grid, geometry, scheme, images)
    central = clean[np.abs(scheme.tilt_deg).argmin()]
    sigma = np.sqrt(central.var() / snr) * relative_noise(scheme.tilt_deg, ice_angst)
    return SimulatedSeries(
        truth=cut_out(phantom.density, phantom.grid, grid),
        grid=grid,
        geometry=geometry,
        scheme=scheme,
        pixel_angst=pixel_angst,
        clean=clean,
        halves=noisy_halves(clean, sigma, rng),
        phantom=phantom,
    )


def damaged_projections(
    density: Float32,
    volume: VolumeGrid,
    geometry: TiltGeometry,
    scheme: TiltScheme,
    images: ImageGrid,
    *,
    threads: int | None = None,
) -> Float32:
    """Projections, each low-passed by the radiation damage at the time of its view."""
    from scipy import fft

    margin = margin_px(images)
    wide = with_margin(images, margin)
    projections = project(density, volume, geometry, wide, threads=threads)
    if scheme.dose_e_per_a2:
        k = frequencies(wide)
        for image, exposure in zip(projections, scheme.exposure_e_per_a2, strict=True):
            spectrum = fft.rfft2(image) * damage(k, exposure).astype(np.float32)
            image[:] = fft.irfft2(spectrum, s=wide.shape)
    return np.ascontiguousarray(projections[:, margin:-margin, margin:-margin])


def noisy_halves(clean: Float32, sigma: ArrayLike, rng: np.random.Generator) -> Float32:
    """Two halves of each image, whose sum has white noise of the given standard deviation.

    Parameters
    ----------
    clean : (view, y, x)
    sigma : (view,)
    rng : numpy.random.Generator

    Returns
    -------
    (2, view, y, x) float32
    """
    noise = rng.standard_normal((2, *clean.shape), np.float32)
    noise *= (np.asarray(sigma) / np.sqrt(2)).astype(np.float32)[:, None, None]
    noise += clean / 2
    return noise


def cut_out(values: NDArray[Any], volume: VolumeGrid, box: VolumeGrid) -> NDArray[Any]:
    """The voxels of a box with the same voxel size; zero outside the volume."""
    out = np.zeros(box.shape, values.dtype)
    source, target = [], []
    for n, centre, n_box, centre_box in zip(
        volume.shape, volume.centre, box.shape, box.centre, strict=True
    ):
        first = round(centre - centre_box)  # voxel of the volume at the box's voxel 0
        low, high = max(first, 0), min(first + n_box, n)
        source.append(slice(low, high))
        target.append(slice(low - first, high - first))
    out[tuple(target)] = values[tuple(source)]
    return out


def _set_up(
    shape: tuple[int, int, int],
    pixel_angst: float,
    scheme: TiltScheme,
    rotation_deg: float,
    shift_angst: float,
    rng: np.random.Generator,
) -> tuple[VolumeGrid, ImageGrid, TiltGeometry]:
    if min(shape) < 8:
        raise InputError(f"a tomogram of {shape} voxels (z, y, x) is too small: give 8 or more")
    _, ny, nx = shape
    turned = abs(np.sin(np.radians(rotation_deg))) > np.sqrt(0.5)
    images = ImageGrid.centred((nx, ny) if turned else (ny, nx), pixel_angst)
    shifts = rng.normal(0, 1, (len(scheme.tilt_deg), 2)) * shift_angst
    geometry = TiltGeometry.from_angles(scheme.tilt_deg, rotation_deg, 0.0, shifts)
    return VolumeGrid.centred(shape, pixel_angst), images, geometry


def _specimen(
    grid: VolumeGrid,
    geometry: TiltGeometry,
    seen: ImageGrid,
    ice_angst: float,
    contents: Contents,
    rng: np.random.Generator,
    threads: int | None,
) -> Phantom:
    """Specimen with the tomogram's voxel size, as wide as the images show and as thick as the ice.

    The numbers of membranes and beads in ``contents`` are those in the tomogram; the parts of the
    slab beside it get as many per area.
    """
    voxel = grid.voxel_angst
    nz, ny, nx = grid.shape
    zc, yc, xc = grid.centre
    half_x, half_y = extent_angst(geometry, seen, ice_angst)
    # add whole voxels, so that the tomogram's voxels are also voxels of the specimen
    beyond_x = max(0, int(np.ceil(half_x / voxel - xc))) + 2
    beyond_y = max(0, int(np.ceil(half_y / voxel - yc))) + 2
    empty = max(0, int((nz * voxel - ice_angst) / 2 / voxel) - 2)  # planes above and below the ice
    wide = VolumeGrid(
        (nz - 2 * empty, ny + 2 * beyond_y, nx + 2 * beyond_x),
        voxel,
        (zc - empty, yc + beyond_y, xc + beyond_x),
    )
    area = wide.shape[1] * wide.shape[2] / (ny * nx)
    everywhere = replace(
        contents,
        membranes=round(contents.membranes * area),
        gold=round(contents.gold * area),
    )
    return make_phantom(wide, ice_angst, everywhere, rng, threads=threads)
