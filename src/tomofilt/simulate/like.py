"""Projections of a known volume with the tilts and the noise of a real tilt series.

Signal and noise of the real images are separated as for the filter ``wiener-exact``: by their frame
halves or, without those, by the signal that neighbouring views share. The simulated noise of each
view has the spectrum of the real noise, and a level that gives the view its real signal-to-noise
ratio.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from tomofilt.errors import InputError
from tomofilt.filters.wiener import WienerExact
from tomofilt.reconstruction.gold import fill_gold
from tomofilt.reconstruction.measure import measured
from tomofilt.reconstruction.settings import Settings
from tomofilt.reconstruction.setup import make_problem
from tomofilt.series.geometry import ImageGrid, TiltGeometry, VolumeGrid
from tomofilt.series.projects import SeriesOptions
from tomofilt.series.tiltseries import TiltSeries
from tomofilt.simulate.projection import project
from tomofilt.simulate.scheme import TiltScheme
from tomofilt.simulate.series import SimulatedSeries

__all__ = ["measure_noise", "radial_power", "series_like"]

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

_BANDS = 48
_FEWEST_VIEWS = 3
#: Frequencies below this many cycles per image width are left out: they hold gradients and edges.
_LOWEST = 3


def series_like(
    density: Float32, voxel_angst: float, series: TiltSeries, seed: int, threads: int
) -> tuple[SimulatedSeries, dict[str, Any]]:
    """Project a volume at the tilts of a real series, and add noise like that of its images.

    The tilt axis is upright, without shifts, and images have the volume's size in x and y and its
    voxel size; real images with smaller pixels are treated as if binned to it. Radiation damage and
    CTF are not simulated.

    Parameters
    ----------
    density : (z, y, x) float32
    voxel_angst : float
    series : TiltSeries
        The real one.
    seed : int
        Of the noise.
    threads : int

    Returns
    -------
    SimulatedSeries
    facts : dict
        What was measured, for the record.

    Raises
    ------
    InputError
        The volume is empty, its voxels are smaller than the real pixels, or nothing but noise was
        found in the real images.
    """
    voxel = voxel_angst
    pixel = series.images.pixel_angst
    if voxel < 0.99 * pixel:
        raise InputError(
            f"the volume has voxels of {voxel:g} A, smaller than the pixels of {series.name}, "
            f"{pixel:g} A: bin the volume to {pixel:g} A first"
        )
    if density.shape[0] < 2 or not density.std() > 0:
        raise InputError(
            f"the volume has {density.shape} voxels (z, y, x) from {density.min():g} to "
            f"{density.max():g}: there is nothing to project; give the volume of a specimen"
        )
    grid = VolumeGrid.centred((density.shape[0], density.shape[1], density.shape[2]), voxel)
    images = ImageGrid.centred(grid.shape[1:], voxel)
    geometry = TiltGeometry.from_angles(series.tilt_deg)
    clean = project(density, grid, geometry, images, threads=threads)

    k, signal, noise = measure_noise(series, voxel, grid.shape[0] * voxel, threads)
    ours = np.array([radial_power(image, voxel, k) for image in clean])
    narrowest = min(min(images.shape) * voxel, min(series.images.shape[1:]) * pixel)
    compared = k > _LOWEST / narrowest
    total = [(spectra * k)[:, compared].sum(axis=1) for spectra in (ours, signal, noise)]
    level = total[0] / np.maximum(total[1], 1e-3 * total[1].max())
    rng = np.random.default_rng(seed)
    halves = _noisy_halves(clean, k, noise * level[:, None], voxel, rng)
    facts = {
        "seed": seed,
        "real_series": series.name,
        "snr_of_views": [round(float(ratio), 5) for ratio in total[1] / total[2]],
    }
    return SimulatedSeries(
        truth=density,
        grid=grid,
        geometry=geometry,
        scheme=_scheme_of(series),
        pixel_angst=voxel,
        clean=clean,
        halves=halves,
    ), facts


def measure_noise(
    series: TiltSeries, pixel_angst: float, thickness_angst: float, threads: int
) -> tuple[Float64, Float64, Float64]:
    """Spectra of signal and noise of the images of a series, up to the Nyquist frequency of pixels.

    Parameters
    ----------
    series : TiltSeries
    pixel_angst : float
        Pixel size up to whose Nyquist frequency is measured; not smaller than that of the images.
    thickness_angst : float
        Of the specimen, roughly.
    threads : int

    Returns
    -------
    k : (band,)
        Frequencies, 1/angstrom.
    signal, noise : (view, band)
        Power densities, in squared units of the images times square angstroms.

    Raises
    ------
    InputError
        Nothing but noise was found.
    """
    if len(series.views) < _FEWEST_VIEWS:
        raise InputError(
            f"{series.name} has {len(series.views)} views; noise is told from how views resemble "
            f"their neighbours, which needs {_FEWEST_VIEWS} or more"
        )
    thick = SeriesOptions(thickness_angst=thickness_angst).grid(series.grid)
    settings = Settings(
        pixel_angst=max(pixel_angst, series.images.pixel_angst),
        filter="wiener-exact:match",
        threads=threads,
    )
    problem = make_problem(replace(series, grid=thick), settings)
    with problem.images() as images:
        beads = fill_gold(problem, images, settings)
        problem = measured(problem, images)
    measurement = cast(WienerExact, problem.filter).measurement
    if measurement is None or not measurement.snr.has_signal:
        raise InputError(
            f"nothing but noise was found in the images of {series.name}, so that its noise level "
            "cannot be told: check the alignment and the pixel size, or give another series"
        )
    k = (np.arange(_BANDS) + 0.5) / _BANDS / (2 * pixel_angst)
    source, warps = series.images, problem.frame.image_from_aligned
    grid = ImageGrid.centred(source.shape[1:], source.pixel_angst)
    power = np.empty((len(series.views), len(k)))
    for view, number in enumerate(series.views):
        image = source.read(int(number))
        if beads is not None:
            image = beads.fill(view, image, grid, warps[view])
        power[view] = radial_power(image, source.pixel_angst, k)
    share = measurement.snr(k)
    share = share / (1 + share)
    return k, power * share, power * (1 - share)


def radial_power(image: Float32, pixel_angst: float, k: Float64) -> Float64:
    """Power density of an image, averaged over rings of evenly spaced frequencies.

    Parameters
    ----------
    image : (y, x)
    pixel_angst : float
    k : (band,)
        Middles of the rings, 1/angstrom.

    Returns
    -------
    (band,) array, in squared units of the image times square angstroms: white noise of variance s^2
    has s^2 pixel^2.
    """
    from scipy import fft

    ny, nx = image.shape
    window = np.hanning(ny + 2)[1:-1, None] * np.hanning(nx + 2)[1:-1]
    levelled = (image - np.average(image, weights=window)) * window
    power = np.abs(fft.rfft2(levelled)) ** 2 * (pixel_angst**2 / (window**2).sum())
    radius = np.hypot(
        np.fft.fftfreq(ny, pixel_angst)[:, None], np.fft.rfftfreq(nx, pixel_angst)[None, :]
    )
    ring = np.rint((radius - k[0]) / (k[1] - k[0])).astype(int).ravel()
    inside = (ring >= 0) & (ring < len(k))
    ring, values = ring[inside], power.ravel()[inside]
    sums = np.bincount(ring, values, minlength=len(k))
    counts = np.bincount(ring, minlength=len(k))
    filled = np.flatnonzero(counts)  # small images have rings without any value
    return np.interp(np.arange(len(k)), filled, sums[filled] / counts[filled])


def _noisy_halves(
    clean: Float32, k: Float64, noise: Float64, pixel_angst: float, rng: np.random.Generator
) -> Float32:
    """Halves (2, view, y, x) with Gaussian noise of given power densities (view, band) in sum."""
    from scipy import fft

    _, ny, nx = clean.shape
    radius = np.hypot(
        np.fft.fftfreq(ny, pixel_angst)[:, None], np.fft.rfftfreq(nx, pixel_angst)[None, :]
    )
    halves = np.empty((2, *clean.shape), np.float32)
    halves[:] = clean / 2
    for half in halves:
        for image, power in zip(half, noise, strict=True):
            amplitude = np.interp(radius, k, np.sqrt(power / 2)) / pixel_angst
            white = fft.rfft2(rng.standard_normal((ny, nx), np.float32))
            np.add(image, fft.irfft2(white * amplitude.astype(np.float32), s=(ny, nx)), out=image)
    return halves


def _scheme_of(series: TiltSeries) -> TiltScheme:
    """Angles, order and exposures of a real series, as far as they are known."""
    exposure = series.dose_e_per_a2
    if exposure is None or len(exposure) < 2:
        acquired, dose = np.arange(len(series.views)), 0.0
    else:
        dose = float(np.median(np.diff(np.sort(exposure))))
        acquired = np.rint((exposure - exposure.min()) / (dose or 1.0)).astype(np.intp)
    return TiltScheme(series.tilt_deg, series.tilt_deg, acquired, dose)
