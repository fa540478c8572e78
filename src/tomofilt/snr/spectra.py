"""Spectra of the views of a tilt series beside the tilt axis, which is a line that all share.

In Fourier space each view is a central slice, and all slices meet in the tilt axis. Close to the
axis neighbouring slices hold nearly the same signal; the thinner the specimen, the farther from the
axis.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from tomofilt.errors import InputError
from tomofilt.series.geometry import ImageGrid, SliceGeometry
from tomofilt.util.threads import run_all

__all__ = [
    "PAIRS_AT_ONCE",
    "LineSpectra",
    "edges_of_bands",
    "independent_share",
    "levelled",
    "line_spectra",
    "taper",
]

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
#: Pairs of views that are one piece of work: a few calls for many threads.
PAIRS_AT_ONCE = 12
#: Pixels are clipped at this many standard deviations from the median.
_SPOT = 5.0


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

    @cached_property
    def order(self) -> NDArray[np.intp]:
        """Numbers of the views in the order of their tilts, without blank views."""
        order = np.argsort(self.slope, kind="stable")
        return np.asarray(order[np.any(self.values, axis=(1, 2))[order]], dtype=np.intp)

    @property
    def lowest_k(self) -> float:
        """Frequencies along the axis up to it hold what all images share without being signal."""
        return 1.5 * float(self.k_along[1])

    def pairs(self, *distances: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Views that lie so many places apart in the order of their tilts, (pair,) each."""
        first = np.concatenate([self.order[:-distance] for distance in distances])
        return first, np.concatenate([self.order[distance:] for distance in distances])

    def band_edges(self) -> Float64:
        """Edges of the frequency bands, 1/angstrom; InputError if the images are too small."""
        shortest = min(len(self.k_along) * self.pixel_angst, float(self.width_angst.min()))
        return edges_of_bands(shortest, self.pixel_angst)

    def overlap(self, first: NDArray[np.intp], second: NDArray[np.intp]) -> Float64:
        """Coherence that two views of the same signal have if they show different widths of it.

        The parameters are views, (pair,) each, and so is what is returned.
        """
        widths = self.width_angst[np.stack([first, second])][..., None]
        x = np.linspace(-0.5, 0.5, 401) * widths.max(axis=0)
        one, other = _fade(0.5 - np.abs(x) / widths)
        powers = (one**2).sum(axis=1) * (other**2).sum(axis=1)
        return np.asarray((one * other).sum(axis=1) / np.sqrt(powers))


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
    window_y, window_x = taper(ny), taper(nx)
    # lines beyond what an image holds stay zero
    held = np.count_nonzero(np.abs(k_across) < 0.45 / pixel, axis=1)
    # an image is even plus odd about its middle: cosines of the one, sines of the other
    half = (nx + 1) // 2
    position = (np.arange(half) + (nx + 1) / 2 - half) * pixel
    middle = (nx - 1) / 2 - grid.centre[1]
    values = np.zeros((len(a), ny, len(lines)), dtype=np.complex64)
    spots = np.zeros(len(a))

    def transform(view: int) -> None:
        parts, spots[view] = levelled(image_of(view), window_y, window_x, folded=True)
        if parts is None or not held[view]:
            return
        # lines are equally far apart: each turns by the same phases against the one before it
        turn = np.exp(-2j * np.pi * position * (k_across[view, 0] / _FIRST_LINE))
        turns = np.empty((held[view], half), dtype=np.complex128)
        turns[0], turns[1:] = turn**_FIRST_LINE, turn
        np.cumprod(turns, axis=0, out=turns)
        if nx % 2:
            turns[:, 0] /= 2  # the middle is both of its sides
        line = np.empty((ny, held[view]), dtype=np.complex64)
        line.real = parts[0] @ turns.real.astype(np.float32).T
        line.imag = parts[1] @ turns.imag.astype(np.float32).T
        shift = middle * pixel - slices.u0_angst[view]
        line *= np.exp(-2j * np.pi * shift * k_across[view, : held[view]]).astype(np.complex64)
        values[view, :, : held[view]] = fft.fft(line, axis=0, overwrite_x=True)

    run_all(threads, transform, range(len(a)))
    samples = independent_share(window_y) * independent_share(window_x)
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


def edges_of_bands(shortest_angst: float, pixel_angst: float) -> Float64:
    """Edges of the frequency bands, 1/angstrom, of images of that size, across or along.

    Raises
    ------
    InputError
        The images are too small for two bands.
    """
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


def taper(n: int) -> Float32:
    """Window (n,) that fades out to zero at both ends of a line of an image."""
    x = (np.arange(n) + 0.5) / n
    return _fade(np.minimum(x, 1 - x)).astype(np.float32)


def independent_share(window: Float32) -> float:
    """Share of the Fourier coefficients of a windowed line that are independent."""
    return float((window**2).sum() ** 2 / (window**4).sum() / len(window))


def levelled(
    image: Float32, window_y: Float32, window_x: Float32, folded: bool = False
) -> tuple[Float32 | None, float]:
    """Image without its mean (where it has data), with spots clipped, fading out at its edges.

    Parameters
    ----------
    image : (y, x) float32
        Zeros count as missing.
    window_y, window_x : (y,), (x,) float32
    folded : bool
        Whether to fold the image about its middle column, see below.

    Returns
    -------
    levelled : (y, x) float32
        None if the image has no contrast. Folded: (2, y, half of x), the sum and the difference of
        the right half and the left, from the middle outwards.
    spots : float
        Part of the variance that was clipped.
    """
    from tomofilt.snr.passes import level  # loads numba

    some = image[::3, ::3].ravel()
    some = some[some != 0]
    if len(some) == 0:
        return None, 0.0
    median = _median(some)
    reach = _SPOT * 1.4826 * _median(np.abs(some - median))
    low, high = median - reach, median + reach
    if reach == 0:  # nothing to measure spots by
        data = image[image != 0]
        low, high = float(data.min()), float(data.max())
        if low == high:
            return None, 0.0
    ny, nx = image.shape
    out = np.empty((2, ny, (nx + 1) // 2) if folded else (1, ny, nx), dtype=np.float32)
    share = level(image, window_y, window_x, low, high, out)
    return (out if folded else out[0]), 1 - share if reach > 0 else 0.0


def _median(values: Float32) -> float:
    """``numpy.median``, which takes ten times as long, of values that are finite."""
    half = len(values) // 2
    parted = np.partition(values, half)
    lower = parted[half] if len(values) % 2 else parted[:half].max()
    return float((lower + parted[half]) / 2)
