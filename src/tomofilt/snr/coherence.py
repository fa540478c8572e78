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
from tomofilt.snr.spectra import (
    PAIRS_AT_ONCE,
    LineSpectra,
    edges_of_bands,
    independent_share,
    levelled,
    taper,
)
from tomofilt.util.threads import run_all

__all__ = ["BandSums", "band_sums", "frame_coherence", "line_coherence"]

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

#: Two views are compared where the specimen's thickness leaves them at least this coherence.
_LEAST_OVERLAP = 0.6
#: Each view is compared with the next and the one after it. With the next alone, a common factor
#: could move from all odd views to all even ones unnoticed.
_DISTANCES = (1, 2)


def line_coherence(
    spectra: LineSpectra, thickness_angst: float, centre_angst: float, threads: int = 1
) -> Coherence:
    """Coherence of neighbouring views next to the tilt axis.

    Divided by the coherence that two views of a slab of the given thickness have without noise:
    ``sinc(D k_x (tan theta_m - tan theta_m'))``.
    """
    (first, second), edges = spectra.pairs(*_DISTANCES), spectra.band_edges()
    q = spectra.k_x * (spectra.slope[second] - spectra.slope[first])[:, None]
    shared = np.sinc(np.minimum(np.abs(thickness_angst * q), 1.0))
    lines = shared > _LEAST_OVERLAP
    sums = band_sums(spectra, first, second, lines, edges, threads)
    phase = np.exp(-2j * np.pi * q * centre_angst)
    count = sums.count.sum(axis=1)
    norm = np.sqrt(sums.first.sum(axis=1) * sums.second.sum(axis=1)) / np.maximum(count, 1)
    information = (shared[..., None] ** 2 * sums.count).sum(axis=1)
    faded = spectra.overlap(first, second)[:, None]
    with np.errstate(invalid="ignore", divide="ignore"):
        signal = ((shared * phase)[..., None] * sums.cross).real.sum(axis=1) / information
        value = np.nan_to_num(signal / norm / faded)
        k = np.nan_to_num(sums.k.sum(axis=1) / count)
    samples = np.where(k > 0, information * spectra.samples * faded**2, 0.0)
    return Coherence(first, second, k, value, samples, 1.0)


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

    from tomofilt.snr.passes import add_bands  # loads numba

    ny, nx = grid.shape
    pixel = grid.pixel_angst[1]
    window_y, window_x = taper(ny), taper(nx)
    share = independent_share(window_y) * independent_share(window_x)
    edges = edges_of_bands(min(ny, nx) * pixel, pixel)
    k_along = np.asarray(np.fft.fftfreq(ny, grid.pixel_angst[0]), dtype=np.float64)
    k_across = np.asarray(np.fft.rfftfreq(nx, pixel), dtype=np.float64)
    # the two axes hold patterns that are fixed on the detector
    lines, lowest = k_across[None] > 1.5 / (nx * pixel), 1.5 / (ny * pixel)
    first, second = np.array([0]), np.array([1])
    k, value, samples = np.zeros((3, views, len(edges) - 1))

    def compare(view: int) -> None:
        images = [levelled(half(view), window_y, window_x)[0] for half in halves]
        if images[0] is None or images[1] is None:
            return
        values = np.array([fft.rfft2(image) for image in images])
        sums = np.zeros((1, len(k_across), len(edges) - 1, 6))
        across = np.array([k_across, k_across])
        add_bands(values, first, second, lines, across, k_along, lowest, edges, sums)
        cross, _, power, other_power, count, total_k = sums[0].sum(axis=0).T
        norm = np.sqrt(power * other_power)
        np.divide(cross, norm, out=value[view], where=norm > 0)
        np.divide(total_k, count, out=k[view], where=count > 0)
        samples[view] = count * share

    run_all(threads, compare, range(views))
    every = np.arange(views)
    return Coherence(every, every, k, value, samples, 0.5)


@dataclass(frozen=True, eq=False)
class BandSums:
    """Sums of pairs of views: (pair, line, band) each."""

    cross: NDArray[np.complex128]
    first: Float64
    second: Float64
    count: Float64
    k: Float64


def band_sums(
    spectra: LineSpectra,
    first: NDArray[np.intp],
    second: NDArray[np.intp],
    lines: NDArray[np.bool_],
    edges: Float64,
    threads: int = 1,
) -> BandSums:
    """Cross power and power of pairs of views (pair,), on some lines (pair, line)."""
    from tomofilt.snr.passes import add_bands  # loads numba

    sums = np.zeros((*lines.shape, len(edges) - 1, 6))

    def add(start: int) -> None:
        some = slice(start, start + PAIRS_AT_ONCE)
        add_bands(
            spectra.values,
            first[some],
            second[some],
            lines[some],
            spectra.k_across,
            spectra.k_along,
            spectra.lowest_k,
            edges,
            sums[some],
        )

    run_all(threads, add, range(0, len(lines), PAIRS_AT_ONCE))
    real, imaginary, *others = np.moveaxis(sums, -1, 0)
    return BandSums(real + 1j * imaginary, *others)
