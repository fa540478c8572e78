"""Correlation of two images, or of two volumes, ring by ring in Fourier space."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomofilt.errors import InputError

__all__ = [
    "BANDS",
    "RingCorrelation",
    "band_correlation",
    "radial_power",
    "ring_correlation",
    "taper",
    "volume_correlation",
]

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

#: Frequency bands in cycles per pixel of the tomogram; the last spans all of them.
BANDS: tuple[tuple[float, float], ...] = (
    (0.006, 0.02),
    (0.02, 0.04),
    (0.04, 0.07),
    (0.07, 0.10),
    (0.10, 0.14),
    (0.14, 0.19),
    (0.19, 0.25),
    (0.25, 0.33),
    (0.006, 0.42),
)

#: Part of each axis, at either end, over which data fade to zero before a transform.
TAPERED = 0.1
#: Rings of fewer values are ignored when a curve is compared with a threshold.
_FEWEST_VALUES = 20


@dataclass(frozen=True, eq=False)
class RingCorrelation:
    """Correlation coefficients of Fourier rings or shells, zero frequency left out.

    Attributes
    ----------
    frequency : (ring,)
        Centre of each ring in cycles per pixel; the last lies at or below 0.5.
    correlation : (ring,)
        Normalised by the power of both in the ring; 0 where one of them has no power, NaN where a
        region has no value in the ring.
    values : (ring,)
        Number of independent real values in the ring. It is smaller than the number of Fourier
        values because the taper makes neighbours alike.
    pixel_angst : float
    """

    frequency: Float64
    correlation: Float64
    values: Float64
    pixel_angst: float

    @property
    def standard_error(self) -> Float64:
        """Standard deviation of each ring for independent noise: ``1 / sqrt(values)``."""
        return np.asarray(1 / np.sqrt(np.maximum(self.values, 1.0)))

    def mean(self, highest: float) -> float:
        """Mean over the rings up to a frequency in cycles per pixel, each with the same weight."""
        counted = (self.frequency <= highest) & (self.values > 0)
        return float(self.correlation[counted].mean()) if counted.any() else float("nan")

    def resolution_angst(self, threshold: float) -> float | None:
        """Resolution where the curve first falls below a threshold, None where it never does.

        Rings of very few values are ignored. Infinity if the curve is below the threshold from the
        start.
        """
        counted = self.values >= _FEWEST_VALUES
        frequency, curve = self.frequency[counted], self.correlation[counted]
        below = np.flatnonzero(curve < threshold)
        if len(below) == 0:
            return None
        at = int(below[0])
        if at == 0:
            return float("inf")
        fraction = (curve[at - 1] - threshold) / (curve[at - 1] - curve[at])
        crossing = frequency[at - 1] + fraction * (frequency[at] - frequency[at - 1])
        return float(self.pixel_angst / crossing)


def ring_correlation(
    first: Float32,
    second: Float32,
    pixel_angst: float,
    *,
    regions: NDArray[Any] | None = None,
    threads: int = 1,
) -> tuple[RingCorrelation, ...]:
    """Correlate two images or volumes ring by ring (Fourier ring or shell correlation).

    The mean is subtracted and the edges are tapered first, because a Fourier transform takes data
    as periodic and would see jumps at the edges (Saxton & Baumeister, J. Microsc. 127, 127, 1982;
    Harauz & van Heel, Optik 73, 146, 1986).

    Parameters
    ----------
    first, second : (y, x) or (z, y, x) float32
        Of the same shape; they are not changed.
    pixel_angst : float
    regions : (z, x // 2 + 1) int, optional
        For volumes: the number of the region that a Fourier value belongs to, from 0 on, the same
        for all frequencies along y.
    threads : int

    Returns
    -------
    One correlation for each region, in their order; with regions, that of all values comes last.
    """
    if first.shape != second.shape:
        raise InputError(f"arrays of {first.shape} and {second.shape} cannot be correlated")
    spectra = [_spectrum(each, threads) for each in (first, second)]
    cross, power_a, power_b, count = _ring_sums(spectra[0], spectra[1], first.shape, regions)
    # a ring is one value thick, so the neighbours across it belong to other rings
    share = np.prod([_independent_share(taper(n)) for n in first.shape]) ** (1 - 1 / first.ndim)
    parts = [(cross[i], power_a[i], power_b[i], count[i]) for i in range(len(cross))]
    if len(parts) > 1:
        parts.append((cross.sum(0), power_a.sum(0), power_b.sum(0), count.sum(0)))
    # ring 0 holds zero frequency
    frequency = np.arange(1, cross.shape[1]) / max(first.shape)
    curves = []
    for numerator, a, b, values in parts:
        norm = np.sqrt(a * b)
        curve = np.divide(numerator, norm, out=np.zeros_like(norm), where=norm > 0)
        curve[values == 0] = np.nan
        curves.append(RingCorrelation(frequency, curve[1:], values[1:] * share, pixel_angst))
    return tuple(curves)


def band_correlation(
    first: Float32, second: Float32, bands: Sequence[tuple[float, float]]
) -> Float64:
    """Correlation of two images in each band of frequencies, 0 where one of them has no power.

    Parameters
    ----------
    first, second : (y, x) float32
        Their means are subtracted and their edges tapered.
    bands : sequence of (low, high)
        In cycles per pixel.
    """
    products, frequency = _products(first, second)
    return np.array(
        [_share(products[:, (frequency >= low) & (frequency < high)]) for low, high in bands]
    )


def volume_correlation(first: Float32, second: Float32) -> float:
    """Correlation of two images over all frequencies, weighed as a tomogram's are.

    Images that are tilted about y crowd near that axis in Fourier space: a value at k_x stands for
    a part of the volume as wide as abs(k_x), and counts that much (it is the weight of filtered
    back-projection). So weighed, the correlation of a tomogram's projections with noiseless images
    is that of the tomogram with the specimen, from which follows its PSNR; noise in the images
    lowers it by a factor that is the same for every tomogram.

    Parameters
    ----------
    first, second : (y, x) float32
        The tilt axis is y. Their means are subtracted and their edges tapered.
    """
    products, _ = _products(first, second)
    k_x = np.fft.rfftfreq(first.shape[1])
    k_x[0] = 0.25 / first.shape[1]  # mean of abs(k_x) over the width of one value
    return _share((products * k_x).reshape(3, -1))


def _products(first: Float32, second: Float32) -> tuple[Float64, Float64]:
    """``Re a b*``, ``|a|^2`` and ``|b|^2`` of two spectra, (3, y, x), and the frequency of each."""
    from scipy import fft

    ny, nx = first.shape
    window = np.outer(taper(ny), taper(nx)).astype(np.float32)
    a, b = (fft.rfft2((image - image.mean()) * window) for image in (first, second))
    # both halves of the spectrum count, but columns that are their own mirror only once
    weight = np.full(a.shape[1], 2.0)
    weight[0] = 1.0
    if nx % 2 == 0:
        weight[-1] = 1.0
    products = np.stack([(a * b.conj()).real, np.abs(a) ** 2, np.abs(b) ** 2]) * weight
    return products, np.hypot(np.fft.fftfreq(ny)[:, None], np.fft.rfftfreq(nx))


def _share(products: Float64) -> float:
    """Correlation from what :func:`_products` gives: (3, value); 0 if one has no power."""
    cross, power_a, power_b = products.sum(axis=1)
    return float(cross / np.sqrt(power_a * power_b)) if power_a > 0 and power_b > 0 else 0.0


def radial_power(data: Float32, threads: int = 1) -> tuple[Float64, Float64]:
    """Rotationally averaged power spectrum of an image or volume, mean subtracted, edges tapered.

    Returns
    -------
    frequency, power : (ring,)
        Cycles per pixel, without zero; power, scaled so that that of white noise is its variance.
    """
    spectrum = _spectrum(data, threads)
    _, power, _, count = _ring_sums(spectrum, spectrum, data.shape, None)
    frequency = np.arange(1, power.shape[1]) / max(data.shape)
    tapered = np.prod([float((taper(n) ** 2).sum()) for n in data.shape])
    return frequency, np.asarray(power[0, 1:] / np.maximum(count[0, 1:], 1) / tapered)


def taper(n: int) -> Float64:
    """Window of n samples that fades to zero, as a cosine, over a tenth at either end."""
    width = max(1, round(TAPERED * n))
    edge = np.sin(np.pi / 2 * (np.arange(width) + 0.5) / width) ** 2
    window = np.ones(n)
    window[:width] *= edge
    window[n - width :] *= edge[::-1]
    return window


def _spectrum(data: Float32, threads: int) -> NDArray[np.complex64]:
    from scipy import fft

    tapered = data - np.float32(data.mean(dtype=np.float64))
    for axis, n in enumerate(data.shape):
        along = [1] * data.ndim
        along[axis] = n
        tapered *= taper(n).astype(np.float32).reshape(along)
    spectrum: NDArray[np.complex64] = fft.rfftn(tapered, workers=threads, overwrite_x=True)
    return spectrum


def _independent_share(window: Float64) -> float:
    """Part of the Fourier values of windowed white noise that are independent.

    A sum over many (n) neighbouring values scatters as one over ``share * n`` independent values.
    The share follows from the autocorrelation of the spectrum, by Parseval's theorem.
    """
    return float((window**2).sum() ** 2 / (len(window) * (window**4).sum()))


def _ring_sums(
    a: NDArray[np.complex64],
    b: NDArray[np.complex64],
    shape: tuple[int, ...],
    regions: NDArray[Any] | None,
) -> tuple[Float64, ...]:
    """Sums over rings of ``Re a b*``, ``|a|^2``, ``|b|^2`` and 1: each (region, ring)."""
    if len(shape) == 2:
        a, b, shape = a[None], b[None], (1, *shape)
    nz, ny, nx = shape
    n = max(shape)
    rings = n // 2 + 1
    count = 1 if regions is None else int(regions.max()) + 1
    squares = [np.fft.fftfreq(nz) ** 2, np.fft.fftfreq(ny) ** 2, np.fft.rfftfreq(nx) ** 2]
    # values count twice, for the other half of the spectrum; columns that mirror themselves once
    weight = np.full(nx // 2 + 1, 2.0)
    weight[0] = 1.0
    if nx % 2 == 0:
        weight[-1] = 1.0
    plane_weight = np.broadcast_to(weight, (ny, len(weight)))
    sums = np.zeros((4, count * (rings + 1)))
    for z in range(nz):
        radius = np.sqrt(squares[0][z] + squares[1][:, None] + squares[2])
        # values beyond the Nyquist frequency go into one more ring, which is dropped
        index = np.minimum(np.rint(radius * n).astype(np.intp), rings)
        if regions is not None:
            index += regions[z].astype(np.intp) * (rings + 1)
        products = (
            (a[z].real * b[z].real + a[z].imag * b[z].imag),
            (a[z].real ** 2 + a[z].imag ** 2),
            (b[z].real ** 2 + b[z].imag ** 2),
            1.0,
        )
        for i, product in enumerate(products):
            values = (product * plane_weight).ravel()
            sums[i] += np.bincount(index.ravel(), values, sums.shape[1])
    return tuple(total.reshape(count, rings + 1)[:, :rings] for total in sums)
