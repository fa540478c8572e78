"""Coherence of two images with the same signal: two frame halves, or two neighbouring views.

In Fourier space each view of a tilt series is a central slice, and all slices meet in the tilt
axis. Close to the axis neighbouring slices hold nearly the same signal; the thinner the specimen,
the farther from the axis. So neighbouring views show what is signal and what is noise if there are
no frame halves, and they show how thick the specimen is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tomofilt.errors import InputError
from tomofilt.series.geometry import ImageGrid, SliceGeometry
from tomofilt.snr.model import Coherence
from tomofilt.util.threads import run_all

__all__ = ["LineSpectra", "frame_coherence", "line_coherence", "line_spectra", "measure_thickness"]

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Complex64 = NDArray[np.complex64]

#: Middles of the frequency bands, in cycles per pixel.
_BANDS = np.array(
    [0.006, 0.012, 0.02, 0.03, 0.045, 0.065, 0.09, 0.12, 0.16, 0.2, 0.25, 0.3, 0.36, 0.42, 0.5]
)
#: Part of an image, at each side, over which it fades out to zero.
_TAPER = 0.2
#: Number of lines beside the tilt axis that are used; large images need no more.
_LINES = 32
#: First line that is used. Those before it hold what is the same in all images without being
#: signal: gradients and edges.
_FIRST_LINE = 2
#: Two views are compared where the specimen's thickness leaves them at least this coherence.
_LEAST_OVERLAP = 0.6
#: Each view is compared with the next and the one after it. With the next alone, a common factor
#: could move from all odd views to all even ones unnoticed.
_DISTANCES = (1, 2)
#: Pixels are clipped at this many standard deviations from the median.
_SPOT = 5.0
#: For the thickness: views at most this many places apart are compared, in bands in which
#: neighbours have at least this coherence.
_FARTHEST, _COHERENT = 5, 0.1


@dataclass(frozen=True, eq=False)
class LineSpectra:
    """Spectra of all views on lines parallel to the tilt axis.

    Attributes
    ----------
    values : (view, y, line) complex64
        Zero for blank images, and for lines beyond the frequencies that an image holds.
    k_x : (line,)
        Frequency in the specimen of each line, 1/angstrom, the same for all views.
    k_across : (view, line)
        Frequency in the image.
    k_along : (y,)
    slope : (view,)
        Frequency in z over frequency in x of each view: the tangent of its tilt.
    width_angst : (view,)
        Width of the specimen that the image shows.
    pixel_angst : float
    samples : float
        Independent coefficients that one sample counts for; below 1 because images fade out.
    spots : (view,)
        Part of an image's variance that comes from very dark or bright spots (gold, hot pixels).
        They are clipped before images are compared.
    """

    values: Complex64
    k_x: Float64
    k_across: Float64
    k_along: Float64
    slope: Float64
    width_angst: Float64
    pixel_angst: float
    samples: float
    spots: Float64

    @property
    def order(self) -> NDArray[np.intp]:
        """Numbers of the views in the order of their tilts, without blank views."""
        order = np.argsort(self.slope, kind="stable")
        return np.asarray(order[np.any(self.values != 0, axis=(1, 2))[order]], dtype=np.intp)

    def band_edges(self) -> Float64:
        """Edges of the frequency bands, 1/angstrom; InputError if the images are too small."""
        shortest = min(len(self.k_along) * self.pixel_angst, float(self.width_angst.min()))
        return _band_edges(shortest, self.pixel_angst)

    def overlap(self, m: int, n: int) -> float:
        """Coherence that two views of the same signal have if they show different widths of it."""
        x = np.linspace(-0.5, 0.5, 401) * max(self.width_angst[m], self.width_angst[n])
        first, second = (_fade(0.5 - np.abs(x) / self.width_angst[view]) for view in (m, n))
        return float((first * second).sum() / np.sqrt((first**2).sum() * (second**2).sum()))


def line_spectra(
    image_of: Callable[[int], Float32], slices: SliceGeometry, grid: ImageGrid, threads: int
) -> LineSpectra:
    """Fourier transform of every view on the lines next to the tilt axis.

    Lines are placed so that they belong to the same k_x of the specimen in all views: in a slab
    wider than the images, those are the ones that two views have in common.

    Parameters
    ----------
    image_of : callable
        Gives a view's aligned image (y, x); zeros count as missing.
    slices : SliceGeometry
    grid : ImageGrid
        Of the aligned images.
    threads : int
    """
    from scipy import fft

    ny, nx = grid.shape
    pixel = grid.pixel_angst[1]
    a = np.abs(slices.a)
    lines = np.arange(_FIRST_LINE, _FIRST_LINE + min(_LINES, nx // 4))
    k_x = lines / (nx * pixel)
    with np.errstate(divide="ignore"):
        k_across = k_x / slices.a[:, None]
    window_y, window_x = _window(ny), _window(nx)
    window = window_y[:, None] * window_x
    position = (np.arange(nx) - grid.centre[1]) * pixel
    values = np.zeros((len(a), ny, len(lines)), dtype=np.complex64)
    spots = np.zeros(len(a))

    def transform(view: int) -> None:
        image, spots[view] = _level(image_of(view), window)
        if image is None:
            return
        usable = np.abs(k_across[view]) < 0.45 / pixel
        u = position - slices.u0_angst[view]
        turns = 2 * np.pi * u[:, None] * np.where(usable, k_across[view], 0.0)
        line = np.empty(values[view].shape, dtype=np.complex64)
        line.real = image @ np.cos(turns).astype(np.float32)
        line.imag = image @ -np.sin(turns).astype(np.float32)
        values[view] = fft.fft(line, axis=0)
        values[view][:, ~usable] = 0

    run_all(threads, transform, range(len(a)))
    samples = _independent(window_y) * _independent(window_x)
    return LineSpectra(
        values=values,
        k_x=k_x,
        k_across=k_across,
        k_along=np.asarray(np.fft.fftfreq(ny, grid.pixel_angst[0]), dtype=np.float64),
        slope=slices.b / slices.a,
        width_angst=nx * pixel / a,
        pixel_angst=pixel,
        samples=samples,
        spots=spots,
    )


def measure_thickness(
    spectra: LineSpectra, tomogram_angst: float, threads: int = 1
) -> tuple[float, float] | None:
    """Thickness and height of the specimen, from the loss of coherence between views.

    The coherence of two views on a line q apart in k_z is the Fourier transform of the profile of
    the specimen along z. Its width at half maximum gives the thickness (that of a uniform slab with
    the same width), its phase gives the height of the middle. What counts is where the middles of
    structures lie: thick specimens come out thinner by up to an eighth (bench/thickness.py).

    Parameters
    ----------
    spectra : LineSpectra
    tomogram_angst : float
        Thickness of the tomogram; a specimen from a quarter of it to four times it can be measured.
    threads : int

    Returns
    -------
    thickness_angst, centre_angst
        The centre is along z, from the specimen centre. None if the views have too little in
        common.
    """
    q, curve = _loss_of_coherence(spectra, tomogram_angst, threads)
    if len(q) < 8:
        return None
    heights = np.linspace(-0.5, 0.5, 201) * tomogram_angst
    near = q < max(0.6 / tomogram_angst, q[7])
    turned = curve[near] * np.exp(-2j * np.pi * heights[:, None] * q[near])
    centre = float(heights[turned.real.sum(axis=1).argmax()])
    level = (curve * np.exp(-2j * np.pi * q * centre)).real
    level = np.convolve(np.r_[level[0], level, level[-1]], [0.25, 0.5, 0.25], "valid")
    half = level[:3].max() / 2
    below = np.flatnonzero(level < half)
    if not len(below) or below[0] == 0:
        return None
    i = int(below[0])
    q_half = np.interp(half, [level[i], level[i - 1]], [q[i], q[i - 1]])
    return float(0.6034 / q_half), centre  # sinc(0.6034) = 1/2


def _loss_of_coherence(
    spectra: LineSpectra, tomogram_angst: float, threads: int
) -> tuple[Float64, NDArray[np.complex128]]:
    """Coherence of views against the distance in k_z of their lines (1/angstrom), complex.

    Each band is measured by what it has where views meet: lines far from the tilt axis hold fewer
    of the low frequencies, whose coherence is high, and without that they would seem to lose it.
    Only bands in which neighbours are coherent are used; the result is empty if there are none.
    """
    order, edges = spectra.order, spectra.band_edges()
    step, count = 1 / (20 * tomogram_angst), 60
    distances = range(1, min(_FARTHEST, len(order) - 1) + 1)
    cross = np.zeros((len(distances), count, len(edges) - 1), dtype=np.complex128)
    power, samples = np.zeros(cross.shape), np.zeros(cross.shape)

    def compare(i: int) -> None:
        for m, n in zip(order[: -distances[i]], order[distances[i] :], strict=True):
            q = np.abs(spectra.k_x * (spectra.slope[n] - spectra.slope[m]))
            lines = q < count * step
            if lines.any():
                place = (q[lines] / step).astype(int)
                sums = _band_sums(spectra, m, n, lines, edges)
                np.add.at(cross[i], place, sums.cross)
                np.add.at(power[i], place, np.sqrt(sums.first * sums.second))
                np.add.at(samples[i], place, sums.count)

    run_all(threads, compare, range(len(distances)))
    all_cross, all_power, weight = (each.sum(axis=0) for each in (cross, power, samples))
    with np.errstate(invalid="ignore", divide="ignore"):
        start = np.nan_to_num(all_cross[:4].real.sum(axis=0) / all_power[:4].sum(axis=0))
        start[start < _COHERENT] = 0.0
        coherence = np.nan_to_num(all_cross / all_power)
        curve = (weight * coherence) @ start / (weight @ start**2)
    measured = np.flatnonzero(np.isfinite(curve))
    return np.asarray((measured + 0.5) * step, dtype=np.float64), curve[measured]


def line_coherence(spectra: LineSpectra, thickness_angst: float, centre_angst: float) -> Coherence:
    """Coherence of neighbouring views next to the tilt axis.

    Divided by the coherence that two views of a slab of the given thickness have without noise:
    ``sinc(D k_x (tan theta_m - tan theta_m'))``.
    """
    order, edges = spectra.order, spectra.band_edges()
    pairs = [
        (int(m), int(n))
        for distance in _DISTANCES
        for m, n in zip(order[:-distance], order[distance:], strict=True)
    ]
    k, value, samples = (np.zeros((len(pairs), len(edges) - 1)) for _ in range(3))
    for i, (m, n) in enumerate(pairs):
        q = spectra.k_x * (spectra.slope[n] - spectra.slope[m])
        shared = np.where(np.abs(thickness_angst * q) < 1, np.sinc(thickness_angst * q), 0.0)
        lines = shared > _LEAST_OVERLAP
        if not lines.any():
            continue
        phase = np.exp(-2j * np.pi * q[lines] * centre_angst)
        sums = _band_sums(spectra, m, n, lines, edges)
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
    window_y, window_x = _window(ny), _window(nx)
    window = window_y[:, None] * window_x
    edges = _band_edges(min(ny, nx) * pixel, pixel)
    k_y = np.fft.fftfreq(ny, grid.pixel_angst[0])[:, None]
    k_x = np.fft.rfftfreq(nx, pixel)[None, :]
    radius = np.hypot(k_y, k_x)
    # the two axes hold patterns that are fixed on the detector
    on_axis = (np.abs(k_y) < 1.5 / (ny * pixel)) | (k_x < 1.5 / (nx * pixel))
    band = np.where(on_axis, len(edges), np.digitize(radius, edges)).ravel()
    bands = len(edges) - 1

    def sums(values: NDArray[np.float32] | Float64) -> Float64:
        return _totals(band, values, bands + 2)[1 : bands + 1]

    count = sums(np.ones(radius.shape))
    mean_k = sums(radius) / np.maximum(count, 1)
    value, samples = np.zeros((views, bands)), np.zeros((views, bands))

    def compare(view: int) -> None:
        images = [_level(half(view), window)[0] for half in halves]
        if images[0] is None or images[1] is None:
            return
        first, second = (fft.rfft2(image) for image in images)
        power = np.sqrt(sums(np.abs(first) ** 2) * sums(np.abs(second) ** 2))
        cross = sums((first * np.conj(second)).real)
        value[view] = np.divide(cross, power, out=np.zeros(bands), where=power > 0)
        samples[view] = count * _independent(window_y) * _independent(window_x)

    run_all(threads, compare, range(views))
    every = np.arange(views)
    return Coherence(every, every, np.tile(mean_k, (views, 1)), value, samples, 0.5)


@dataclass(frozen=True, eq=False)
class _Sums:
    """Sums of a pair of views over each line and band."""

    cross: NDArray[np.complex128]
    first: Float64
    second: Float64
    count: Float64
    k: Float64


def _band_sums(
    spectra: LineSpectra, m: int, n: int, lines: NDArray[np.bool_], edges: Float64
) -> _Sums:
    """Cross power and power of two views on some lines: (line, band) each."""
    from tomofilt.snr.passes import add_bands  # loads numba

    k_across = np.sqrt(np.abs(spectra.k_across[m, lines] * spectra.k_across[n, lines]))
    sums = np.zeros((len(k_across), len(edges) - 1, 6))
    lowest = 1.5 * spectra.k_along[1]
    add_bands(
        spectra.values[m],
        spectra.values[n],
        np.flatnonzero(lines),
        k_across,
        spectra.k_along,
        lowest,
        edges,
        sums,
    )
    real, imaginary, first, second, count, k = np.moveaxis(sums, -1, 0)
    return _Sums(real + 1j * imaginary, first, second, count, k)


def _totals(place: NDArray[np.intp], values: NDArray[np.floating], size: int) -> Float64:
    """Sum of the values that belong to each place."""
    return np.asarray(np.bincount(place, values.ravel(), minlength=size), dtype=np.float64)


def _band_edges(shortest_angst: float, pixel_angst: float) -> Float64:
    middles = _BANDS / pixel_angst
    middles = middles[middles > 1.5 / shortest_angst]
    if len(middles) < 2:
        raise InputError(
            f"the tomogram is too small to measure the SNR on: {shortest_angst:.0f} A are "
            f"{shortest_angst / pixel_angst:.0f} voxels; give a larger one (--shape), a smaller "
            "--bin, or another filter, -f gaussian:0.1 say"
        )
    inner = np.sqrt(middles[1:] * middles[:-1])
    return np.concatenate([[middles[0] ** 2 / inner[0]], inner, [middles[-1]]])


def _fade(depth: Float64) -> Float64:
    """Window at a depth inside the image, as a share of its width."""
    return np.asarray(0.5 - 0.5 * np.cos(np.pi * np.clip(depth / _TAPER, 0, 1)))


def _window(n: int) -> Float32:
    x = (np.arange(n) + 0.5) / n
    return _fade(np.minimum(x, 1 - x)).astype(np.float32)


def _independent(window: Float32) -> float:
    """Share of the Fourier coefficients of a windowed line that are independent."""
    return float((window**2).sum() ** 2 / (window**4).sum() / len(window))


def _level(image: Float32, window: Float32) -> tuple[Float32 | None, float]:
    """Image without its mean (where it has data), with spots clipped, fading out at its edges.

    Returns
    -------
    levelled : (y, x) float32
        None if the image has no contrast.
    spots : float
        Part of the variance that was clipped.
    """
    from tomofilt.snr.passes import fade_out, moments  # loads numba

    some = image[::3, ::3]
    some = some[some != 0]
    if len(some) == 0:
        return None, 0.0
    median = float(np.median(some))
    reach = _SPOT * 1.4826 * float(np.median(np.abs(some - median)))
    low, high = median - reach, median + reach
    if reach == 0:  # nothing to measure spots by
        low, high = float(image.min()), float(image.max())
    sums = np.zeros(7)
    moments(image, window, low, high, sums)
    count, total, squares, clipped, clipped_squares, weighed, weights = sums
    variance, left = squares - total**2 / count, clipped_squares - clipped**2 / count
    spots = 1 - left / variance if reach > 0 else 0.0
    levelled = fade_out(image, window, low, high, weighed / weights + (low + high) / 2)
    return (levelled if np.any(levelled) else None), spots
