"""Coherence of two images with the same signal: two frame halves, or two neighbouring views.

Where there are no frame halves, neighbouring views show what is signal and what is noise: near the
tilt axis of Fourier space they hold nearly the same signal.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tomofilt.series.geometry import ImageGrid
from tomofilt.snr.model import Coherence
from tomofilt.snr.spectra import LineSpectra, edges_of_bands, independent_share, levelled, taper
from tomofilt.util.threads import run_all

__all__ = ["BandSums", "band_sums", "frame_coherence", "line_coherence"]

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

#: Two views are compared where the specimen's thickness leaves them at least this coherence.
_LEAST_OVERLAP = 0.6
#: Each view is compared with the next and the one after it. With the next alone, a common factor
#: could move from all odd views to all even ones unnoticed.
_DISTANCES = (1, 2)


def line_coherence(spectra: LineSpectra, thickness_angst: float, centre_angst: float) -> Coherence:
    """Coherence of neighbouring views next to the tilt axis.

    Divided by the coherence that two views of a slab of the given thickness have without noise:
    ``sinc(D k_x (tan theta_m - tan theta_m'))``.
    """
    pairs, edges = spectra.pairs(*_DISTANCES), spectra.band_edges()
    k, value, samples = (np.zeros((len(pairs), len(edges) - 1)) for _ in range(3))
    for i, (m, n) in enumerate(pairs):
        q = spectra.k_x * (spectra.slope[n] - spectra.slope[m])
        shared = np.where(np.abs(thickness_angst * q) < 1, np.sinc(thickness_angst * q), 0.0)
        lines = shared > _LEAST_OVERLAP
        if not lines.any():
            continue
        phase = np.exp(-2j * np.pi * q[lines] * centre_angst)
        sums = band_sums(spectra, m, n, lines, edges)
        weight = shared[lines, None]
        norm = np.sqrt(sums.first.sum(0) * sums.second.sum(0)) / np.maximum(sums.count.sum(0), 1)
        information = (weight**2 * sums.count).sum(0)
        with np.errstate(invalid="ignore", divide="ignore"):
            faded = spectra.overlap(m, n)
            signal = (weight * sums.cross * phase[:, None]).real.sum(0) / information
            value[i] = np.nan_to_num(signal / norm / faded)
            k[i] = np.nan_to_num(sums.k.sum(0) / sums.count.sum(0))
        samples[i] = information * spectra.samples * faded**2
    first, second = np.array(pairs, dtype=np.intp).reshape(-1, 2).T
    return Coherence(first, second, k, value, np.where(k > 0, samples, 0.0), 1.0)


def frame_coherence(
    halves: Sequence[Callable[[int], Float32]], views: int, grid: ImageGrid, threads: int
) -> Coherence:
    """Coherence of the two frame halves of every view.

    Parameters
    ----------
    halves : two callables
        Each gives a view's aligned image (y, x) from half of the frames.
    views : int
    grid : ImageGrid
        Of the aligned images.
    threads : int
    """
    from scipy import fft

    ny, nx = grid.shape
    pixel = grid.pixel_angst[1]
    window_y, window_x = taper(ny), taper(nx)
    window = window_y[:, None] * window_x
    edges = edges_of_bands(min(ny, nx) * pixel, pixel)
    k_y = np.fft.fftfreq(ny, grid.pixel_angst[0])[:, None]
    k_x = np.fft.rfftfreq(nx, pixel)[None, :]
    radius = np.hypot(k_y, k_x)
    # the two axes hold patterns that are fixed on the detector
    on_axis = (np.abs(k_y) < 1.5 / (ny * pixel)) | (k_x < 1.5 / (nx * pixel))
    band = np.where(on_axis, len(edges), np.digitize(radius, edges)).ravel()
    bands = len(edges) - 1

    def sums(values: NDArray[np.float32] | Float64) -> Float64:
        return np.asarray(np.bincount(band, values.ravel(), bands + 2)[1 : bands + 1], np.float64)

    count = sums(np.ones(radius.shape))
    mean_k = sums(radius) / np.maximum(count, 1)
    value, samples = np.zeros((views, bands)), np.zeros((views, bands))

    def compare(view: int) -> None:
        images = [levelled(half(view), window)[0] for half in halves]
        if images[0] is None or images[1] is None:
            return
        first, second = (fft.rfft2(image) for image in images)
        power = np.sqrt(sums(np.abs(first) ** 2) * sums(np.abs(second) ** 2))
        cross = sums((first * np.conj(second)).real)
        value[view] = np.divide(cross, power, out=np.zeros(bands), where=power > 0)
        samples[view] = count * independent_share(window_y) * independent_share(window_x)

    run_all(threads, compare, range(views))
    every = np.arange(views)
    return Coherence(every, every, np.tile(mean_k, (views, 1)), value, samples, 0.5)


@dataclass(frozen=True, eq=False)
class BandSums:
    """Sums of a pair of views over each line and band."""

    cross: NDArray[np.complex128]
    first: Float64
    second: Float64
    count: Float64
    k: Float64


def band_sums(
    spectra: LineSpectra, m: int, n: int, lines: NDArray[np.bool_], edges: Float64
) -> BandSums:
    """Cross power and power of two views on some lines: (line, band) each."""
    from tomofilt.snr.passes import add_bands  # loads numba

    k_across = np.sqrt(np.abs(spectra.k_across[m, lines] * spectra.k_across[n, lines]))
    sums = np.zeros((len(k_across), len(edges) - 1, 6))
    add_bands(
        spectra.values[m],
        spectra.values[n],
        np.flatnonzero(lines),
        k_across,
        spectra.k_along,
        spectra.lowest_k,
        edges,
        sums,
    )
    real, imaginary, first, second, count, k = np.moveaxis(sums, -1, 0)
    return BandSums(real + 1j * imaginary, first, second, count, k)
