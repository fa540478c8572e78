"""Sums over images and spectra in one pass each, where numpy would take a pass a term."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tomofilt.util.jit import kernel

__all__ = ["add_bands", "fade_out", "moments"]

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Complex64 = NDArray[np.complex64]


@kernel
def moments(image: Float32, window: Float32, low: float, high: float, sums: Float64) -> None:
    """Sums over the pixels of an image (y, x) that are not zero.

    Parameters
    ----------
    image, window : (y, x) float32
    low, high : float
        Values are clipped at them.
    sums : (7,) float64
        Receives the number of the pixels; of their values, counted from the middle of low and
        high, the sum and the sum of squares; the same of the clipped ones; the sum of clipped
        values times the window, and the sum of the window.
    """
    middle = (low + high) / 2
    count, total, squares = 0, 0.0, 0.0
    clipped, clipped_squares, weighed, weights = 0.0, 0.0, 0.0, 0.0
    for y in range(image.shape[0]):
        for x in range(image.shape[1]):
            if image[y, x] == 0:
                continue
            weight, value = np.float64(window[y, x]), np.float64(image[y, x])
            cut = min(max(value, low), high) - middle
            value -= middle
            count += 1
            total += value
            squares += value * value
            clipped += cut
            clipped_squares += cut * cut
            weighed += weight * cut
            weights += weight
    sums[0], sums[1], sums[2], sums[3] = count, total, squares, clipped
    sums[4], sums[5], sums[6] = clipped_squares, weighed, weights


@kernel
def fade_out(image: Float32, window: Float32, low: float, high: float, mean: float) -> Float32:
    """Clipped image less its mean, times a window; zeros, which are no data, stay zero."""
    out = np.empty_like(image)
    lowest, highest, level = np.float32(low), np.float32(high), np.float32(mean)
    for y in range(image.shape[0]):
        for x in range(image.shape[1]):
            value = image[y, x]
            weight = window[y, x] if value != 0 else np.float32(0)
            out[y, x] = (min(max(value, lowest), highest) - level) * weight
    return out


@kernel
def add_bands(
    first: Complex64,
    second: Complex64,
    lines: NDArray[np.intp],
    k_across: Float64,
    k_along: Float64,
    lowest: float,
    edges: Float64,
    sums: Float64,
) -> None:
    """Add the cross power and the power of two spectra on some lines, band by band.

    Parameters
    ----------
    first, second : (y, line) complex64
        Where one is zero there are no data.
    lines : (n,) int
    k_across : (n,)
        Frequency of each of those lines across the tilt axis.
    k_along : (y,)
    lowest : float
        Frequencies along the axis up to it are left out.
    edges : (band + 1,)
        On the length of the frequency.
    sums : (n, band, 6)
        Added to: cross power, real and imaginary, the power of either, the number of coefficients,
        and the sum of their frequencies.
    """
    bands = len(edges) - 1
    for y in range(len(k_along)):
        if abs(k_along[y]) <= lowest:
            continue
        band = 0
        for i in range(len(lines)):
            a, b = first[y, lines[i]], second[y, lines[i]]
            radius = np.sqrt(k_along[y] ** 2 + k_across[i] ** 2)
            while band > 0 and radius < edges[band]:
                band -= 1
            while band < bands and radius >= edges[band + 1]:
                band += 1
            if a == 0 or b == 0 or radius < edges[0] or band == bands:
                continue
            some = sums[i, band]
            some[0] += a.real * b.real + a.imag * b.imag
            some[1] += a.imag * b.real - a.real * b.imag
            some[2] += a.real * a.real + a.imag * a.imag
            some[3] += b.real * b.real + b.imag * b.imag
            some[4] += 1
            some[5] += radius
