"""From projections to electron counts: contrast with a defocus gradient, and Poisson noise."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tomofilt.series.geometry import ImageGrid, TiltGeometry, VolumeGrid
from tomofilt.simulate.physics import (
    PHASE_RAD_PER_ANGST,
    WAVELENGTH_ANGST,
    Optics,
    contrast_transfer,
    damage,
    mtf,
    transmission,
)
from tomofilt.simulate.projection import project
from tomofilt.simulate.scheme import TiltScheme
from tomofilt.util.threads import available_threads, run_all

__all__ = ["count_electrons", "expected_counts", "frequencies", "margin_px", "with_margin"]

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

#: Change of the CTF's phase, in radians at Nyquist, from one computed defocus to the next.
_PHASE_STEP_RAD = 0.5


def expected_counts(
    density: Float32,
    volume: VolumeGrid,
    geometry: TiltGeometry,
    scheme: TiltScheme,
    images: ImageGrid,
    optics: Optics,
    ice_angst: float,
    *,
    threads: int | None = None,
) -> Float32:
    """Electrons that each pixel counts on average.

    Each projection is low-passed by the radiation damage at the middle of its exposure, turned into
    contrast by the CTF at the local defocus of the tilted slab, and blurred by the detector. The
    ice removes a part of the electrons.

    Parameters
    ----------
    density, volume, geometry
        The specimen, its voxels, and the directions of the views.
    scheme : TiltScheme
    images : ImageGrid
    optics : Optics
    ice_angst : float
    threads : int, optional

    Returns
    -------
    (view, y, x) float32
    """
    from scipy import fft

    margin = margin_px(images, optics)
    wide = with_margin(images, margin)
    threads = threads or available_threads()
    projections = project(density, volume, geometry, wide, threads=threads)
    pixel = images.pixel_angst[1]
    k = frequencies(wide)
    blur = mtf(k, pixel)
    electrons = scheme.dose_e_per_a2 * pixel**2 * transmission(scheme.tilt_deg, ice_angst)
    counts = np.empty((len(projections), *images.shape), np.float32)
    inner = slice(margin, -margin)

    def one(view: int) -> None:
        phases = projections[view] * np.float32(PHASE_RAD_PER_ANGST * pixel)
        spectrum = fft.rfft2(phases)
        spectrum *= (blur * damage(k, scheme.exposure_e_per_a2[view])).astype(np.float32)
        defocus = _defocus(geometry.image_from_volume[view], wide, optics)
        contrast = _contrast(spectrum, k, defocus, optics)
        np.maximum(electrons[view] * (1 + contrast[inner, inner]), 0, out=counts[view])

    run_all(threads, one, range(len(projections)))
    return counts


def count_electrons(expected: Float32, rng: np.random.Generator) -> Float32:
    """Draw Poisson counts for the two halves of the exposure, (2, view, y, x)."""
    halves = np.empty((2, *expected.shape), np.float32)
    for half in halves:
        for image, mean in zip(half, expected, strict=True):
            image[:] = rng.poisson(mean / 2)
    return halves


def margin_px(images: ImageGrid, optics: Optics | None = None) -> int:
    """Pixels that must be computed around the images, so that nothing wraps round into them.

    As far as the CTF displaces detail at Nyquist, ``lambda dz k``, and at least 8 pixels.
    """
    pixel = images.pixel_angst[1]
    displaced = WAVELENGTH_ANGST * optics.defocus_angst / (2 * pixel**2) if optics else 0.0
    return 8 + int(np.ceil(displaced))


def with_margin(images: ImageGrid, margin: int) -> ImageGrid:
    """The same images with ``margin`` more pixels on each side."""
    (ny, nx), (yc, xc) = images.shape, images.centre
    shape = (ny + 2 * margin, nx + 2 * margin)
    return ImageGrid(shape, images.pixel_angst, (yc + margin, xc + margin))


def frequencies(images: ImageGrid) -> Float64:
    """Frequency in 1/angstrom of every value of an image's ``rfft2``."""
    ky = np.fft.fftfreq(images.shape[0], images.pixel_angst[0])
    kx = np.fft.rfftfreq(images.shape[1], images.pixel_angst[1])
    return np.asarray(np.hypot(ky[:, None], kx), np.float64)


def _defocus(view: Float64, images: ImageGrid, optics: Optics) -> Float64:
    """Defocus in angstrom, at each pixel (y, x), of the middle of the slab."""
    depth = np.cross(view[0, :3], view[1, :3])
    slope = optics.hand * np.linalg.solve(view[:, :2].T, depth[:2])  # per angstrom on the detector
    y = (np.arange(images.shape[0]) - images.centre[0]) * images.pixel_angst[0]
    x = (np.arange(images.shape[1]) - images.centre[1]) * images.pixel_angst[1]
    return np.asarray(
        optics.defocus_angst
        + slope[0] * (x[None, :] - view[0, 3])
        + slope[1] * (y[:, None] - view[1, 3])
    )


def _contrast(
    spectrum: NDArray[np.complex64], k: Float64, defocus: Float64, optics: Optics
) -> Float32:
    """Contrast image of phase shifts; interpolated between images at evenly spaced defocus."""
    from scipy import fft

    k_nyquist = k[0, -1]
    step = _PHASE_STEP_RAD / (np.pi * WAVELENGTH_ANGST * k_nyquist**2)
    low, high = float(defocus.min()), float(defocus.max())
    if not optics.defocus_angst:
        low = high = 0.0
    levels = np.linspace(low, high, int(np.ceil((high - low) / step)) + 1)
    spacing = levels[1] - levels[0] if len(levels) > 1 else np.inf
    contrast = np.zeros(defocus.shape, np.float32)
    for level in levels:
        transfer = contrast_transfer(k, level, optics).astype(np.float32)
        weight = np.clip(1 - np.abs(defocus - level) / spacing, 0, None).astype(np.float32)
        contrast += weight * fft.irfft2(spectrum * transfer, s=defocus.shape)
    return contrast
