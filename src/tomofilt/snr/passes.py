"""Sums over images and spectra in one pass each, where numpy would take a pass a term."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tomofilt.util.jit import kernel

__all__ = ["add_bands", "add_likeness", "level"]

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Complex64 = NDArray[np.complex64]
Pairs = NDArray[np.intp]


@kernel
def level(
    image: Float32, window_y: Float32, window_x: Float32, low: float, high: float, out: Float32
) -> float:
    """Clip an image (y, x), subtract its mean, and fade it out; zeros, no data, stay zero.

    Parameters
    ----------
    image : (y, x) float32
    window_y, window_x : (y,), (x,) float32
        Factors on the image, by which pixels count for the mean too.
    low, high : float
        Values are clipped at them.
    out : (1, y, x), or (2, y, half of x, rounded up) float32
        Receives the image; or the sum and the difference of its right half and its left, from
        the middle outwards.

    Returns
    -------
    float
        Variance after clipping over that before.
    """
    ny, nx = image.shape
    lowest, highest = np.float32(low), np.float32(high)
    middle = (lowest + highest) / np.float32(2)
    # a sum a column: vectors of the machine add up many columns at once
    sums = np.zeros((7, nx), np.float32)
    for y in range(ny):
        weight = window_y[y]
        for x in range(nx):
            value = image[y, x]
            has_data = np.float32(1) if value != 0 else np.float32(0)
            cut = (min(max(value, lowest), highest) - middle) * has_data
            value = (value - middle) * has_data
            sums[0, x] += has_data
            sums[1, x] += value
            sums[2, x] += value * value
            sums[3, x] += cut
            sums[4, x] += cut * cut
            sums[5, x] += weight * cut
            sums[6, x] += weight * has_data
    count = total = squares = clipped = clipped_squares = weighed = weights = 0.0
    for x in range(nx):
        count += sums[0, x]
        total += sums[1, x]
        squares += sums[2, x]
        clipped += sums[3, x]
        clipped_squares += sums[4, x]
        weighed += window_x[x] * sums[5, x]
        weights += window_x[x] * sums[6, x]
    mean = np.float32(weighed / weights + middle)
    half, folded = out.shape[2], len(out) == 2
    line = np.empty(nx, np.float32)
    for y in range(ny):
        row = line if folded else out[0, y]
        weight = window_y[y]
        for x in range(nx):
            value = image[y, x]
            factor = weight * window_x[x] if value != 0 else np.float32(0)
            row[x] = (min(max(value, lowest), highest) - mean) * factor
        if folded:
            for x in range(half):
                right, left = row[nx - half + x], row[half - 1 - x]
                out[0, y, x] = right + left
                out[1, y, x] = right - left
    return (clipped_squares - clipped**2 / count) / (squares - total**2 / count)


@kernel
def add_bands(
    values: Complex64,
    first: Pairs,
    second: Pairs,
    lines: NDArray[np.bool_],
    k_across: Float64,
    k_along: Float64,
    lowest: float,
    edges: Float64,
    sums: Float64,
) -> None:
    """Add the cross power and the power of pairs of spectra, line by line and band by band.

    Parameters
    ----------
    values : (view, y, line) complex64
        Where one is zero there are no data.
    first, second : (pair,) int
        The views of each pair.
    lines : (pair, line) bool
        Which lines are added.
    k_across : (view, line)
        Frequency of each line across the tilt axis; of a pair, the geometric mean.
    k_along : (y,)
        From ``fftfreq``; zero and the highest of an even number are left out.
    lowest : float
        Frequencies along the axis up to it are left out.
    edges : (band + 1,)
        On the length of the frequency.
    sums : (pair, line, band, 6)
        Added to: cross power, real and imaginary, the power of either, the number of coefficients,
        and the sum of their frequencies.
    """
    bands = len(edges) - 1
    for pair in range(len(first)):
        a, b = values[first[pair]], values[second[pair]]
        across = np.abs(k_across[first[pair]] * k_across[second[pair]])
        for y in range(1, (len(k_along) + 1) // 2):
            if k_along[y] <= lowest:
                continue
            band = 0
            for i in range(len(across)):
                if not lines[pair, i]:
                    continue
                radius = np.sqrt(k_along[y] ** 2 + across[i])
                while band < bands and radius >= edges[band + 1]:
                    band += 1
                if radius < edges[0] or band == bands:
                    continue
                one, other = a[y, i], b[y, i]
                below, beside = a[-y, i], b[-y, i]
                if one == 0 or other == 0:
                    continue
                some = sums[pair, i, band]
                cross = one * np.conj(other) + below * np.conj(beside)
                some[0] += cross.real
                some[1] += cross.imag
                some[2] += (one * np.conj(one) + below * np.conj(below)).real
                some[3] += (other * np.conj(other) + beside * np.conj(beside)).real
                some[4] += 2
                some[5] += 2 * radius


@kernel
def _cosine(value: complex) -> float:
    """Cosine of a phase; ``abs`` would take twice as long."""
    real, imaginary = np.float64(value.real), np.float64(value.imag)
    return float(real / np.sqrt(real * real + imaginary * imaginary))


@kernel
def add_likeness(
    values: Complex64,
    first: Pairs,
    second: Pairs,
    phases: Complex64,
    k_x: Float64,
    k_across: Float64,
    k_along: Float64,
    lowest: float,
    highest: float,
    edges: Float64,
    steps: Float64,
    turned: Float64,
    sums: Float64,
) -> None:
    """Add how alike the phases of pairs of spectra are, by the distance from a turned axis.

    Parameters
    ----------
    values, first, second, k_across, k_along, lowest
        As for :func:`add_bands`.
    phases : (pair, line) complex64
        Of length 1; the first spectrum is multiplied by them.
    k_x : (line,)
    highest : float
        Only shorter frequencies count.
    edges : (band + 1,)
        On the length of the frequency; the first band and the last have all beyond.
    steps : (pair,)
        Steps of ``sums`` to a frequency across the axis.
    turned : (2, angle)
        Cosines and sines.
    sums : (angle, band, step, 3)
        Added to: the cosine of the phases about an axis that is turned by the angle, and by minus
        it; the number of coefficients, which is the same for both.
    """
    bands = len(edges) - 1
    for pair in range(len(first)):
        a, b = values[first[pair]], values[second[pair]]
        across = np.abs(k_across[first[pair]] * k_across[second[pair]])
        for y in range(1, (len(k_along) + 1) // 2):
            if k_along[y] <= lowest:
                continue
            band = 0
            for i in range(len(k_x)):
                radius = np.sqrt(k_along[y] ** 2 + across[i])
                if radius >= highest:
                    break
                while band < bands - 1 and radius >= edges[band + 1]:
                    band += 1
                above = a[y, i] * phases[pair, i] * np.conj(b[y, i])
                below = a[-y, i] * phases[pair, i] * np.conj(b[-y, i])
                if above == 0 or below == 0:
                    continue
                up, down = _cosine(above), _cosine(below)
                for j in range(turned.shape[1]):
                    x = turned[0, j] * k_x[i] * steps[pair]
                    z = turned[1, j] * k_along[y] * steps[pair]
                    near, far = np.int32(abs(x - z)), np.int32(abs(x + z))
                    if far < sums.shape[2]:
                        some = sums[j, band, far]
                        some[0] += up
                        some[1] += down
                        some[2] += 1
                    if near < sums.shape[2]:
                        some = sums[j, band, near]
                        some[0] += down
                        some[1] += up
                        some[2] += 1
