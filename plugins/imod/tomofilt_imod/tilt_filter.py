"""IMOD's own filter, in IMOD's own scale: what ``tilt`` does with the options of a tilt.com.

Formulas and constants restate what IMOD's ``tilt`` (4.10 and later) computes; its results are
reproduced to a few parts in 1e5.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tomofilt.errors import InputError
from tomofilt.filters.analytic import sirt_window
from tomofilt.filters.protocol import Filter, FilterContext

__all__ = ["ImodFilter", "imod_padded_length"]

FloatArray = NDArray[np.float64]

#: IMOD pads to a length without larger prime factors. Which one depends on how IMOD was built: 13
#: with FFTW or MKL, as most distributions since 2013; 5 with its own FFT since 4.9, 19 before.
#: Densities are proportional to the padded length, so they differ by up to 4 % between builds.
LARGEST_PRIMES = (13, 5, 19)

_DC_BIN = 2 / np.pi**2
_DC_GAIN = 0.2
_DTYPES = {0: "int8", 1: "int16", 2: "float32"}


def imod_padded_length(nx: int, largest_prime: int = LARGEST_PRIMES[0]) -> int:
    """Length that IMOD's ``tilt`` pads a line of ``nx`` pixels to.

    The smallest even number without prime factors above ``largest_prime`` that adds at least
    ``min(50, 2 max(8, nx / 20))`` pixels.
    """
    pad = min(50, 2 * max(8, nx // 20))
    length = 2 * ((nx + pad) // 2)
    while not _factors_up_to(length, largest_prime):
        length += 2
    return length


def _factors_up_to(number: int, largest: int) -> bool:
    for divisor in range(2, largest + 1):
        while number % divisor == 0:
            number //= divisor
    return number == 1


@dataclass(frozen=True)
class ImodFilter(Filter):
    """The filter of IMOD's ``tilt``.

    A ramp that counts FFT bins of the padded line, with 0.2 at zero frequency, times windows,
    times the weight of each view, divided by the number of views. Frequencies are as in tilt.com:
    cycles per pixel below 1, else FFT pixels of the unpadded line.

    Parameters
    ----------
    radial_cutoff, radial_falloff : float, optional
        RADIAL: beyond the cut-off the ramp stays constant, times a Gaussian.
    true_sigma : bool
        FalloffIsTrueSigma; without, the fall-off is divided by the square root of 2.
    multiply_gaussian : bool
        MultiplyByGaussian: the ramp goes on under the Gaussian.
    hamming_from : float, optional
        HammingLikeFilter: where a Hamming-like fall-off begins. Exclusive with RADIAL.
    fake_sirt_iterations : int, optional
        FakeSIRTiterations.
    flat_fraction : float
        FlatFilterFraction, 0 (ramp) to 1 (flat); zero frequency keeps the ramp's gain.
    density_weights : tuple of float
        DENSWEIGHT: views are weighed by the gaps to so many neighbours on each side, which count as
        much as these numbers say. Empty: not at all.
    output_add, output_mul : float
        SCALE: the tomogram is (value + add) * mul.
    output_mode : int
        MODE: 0 bytes, 1 short integers, 2 floating point.
    largest_prime : int
        See :func:`imod_padded_length`.

    Raises
    ------
    InputError
        If the options contradict each other.
    """

    radial_cutoff: float | None = None
    radial_falloff: float | None = None
    true_sigma: bool = False
    multiply_gaussian: bool = False
    hamming_from: float | None = None
    fake_sirt_iterations: int | None = None
    flat_fraction: float = 0.0
    density_weights: tuple[float, ...] = (2.0, 2 / 3)
    output_add: float = 0.0
    output_mul: float = 1.0
    output_mode: int = 2
    largest_prime: int = LARGEST_PRIMES[0]

    def __post_init__(self) -> None:
        if (self.radial_cutoff is None) != (self.radial_falloff is None):
            raise InputError("RADIAL needs two numbers, a cut-off and a fall-off: '0.35 0.035'")
        if self.radial_cutoff is not None and self.hamming_from is not None:
            raise InputError("RADIAL and HammingLikeFilter are both given: keep one of them")
        if not 0 <= self.flat_fraction <= 1:
            raise InputError(f"FlatFilterFraction {self.flat_fraction} is not between 0 and 1")
        if self.fake_sirt_iterations is not None and self.fake_sirt_iterations < 1:
            raise InputError(f"FakeSIRTiterations {self.fake_sirt_iterations} is not 1 or more")
        if self.output_mode not in _DTYPES:
            raise InputError(f"MODE {self.output_mode} cannot be written: give 0, 1 or 2")
        if self.flat_fraction and self.fake_sirt_iterations:
            raise InputError("FlatFilterFraction and FakeSIRTiterations are both given: keep one")
        if self.largest_prime not in LARGEST_PRIMES:
            raise InputError(
                f"{self.largest_prime} is not the largest prime factor of any IMOD's padded lines: "
                "give 13 (most builds), 5 (built without FFTW) or 19 (before 4.9)"
            )

    @property
    def spec(self) -> str:
        """``"imod"``, or ``"imod:5"``; the options are in the repr."""
        prime = self.largest_prime
        return "imod" if prime == LARGEST_PRIMES[0] else f"imod:{prime}"

    def padded_px(self, width_px: int) -> int:
        """See :func:`imod_padded_length`."""
        return imod_padded_length(width_px, self.largest_prime)

    @property
    def offset(self) -> float:
        """Constant added to the tomogram."""
        return self.output_add * self.output_mul

    @property
    def dtype(self) -> str:
        """Data type of MODE."""
        return _DTYPES[self.output_mode]

    def gains(
        self, k_across: FloatArray, k_along: FloatArray, context: FilterContext
    ) -> FloatArray:
        """Gains of every view; see :meth:`Filter.gains`."""
        across, _ = np.broadcast_arrays(np.abs(k_across), k_along)
        bins = across * (context.padded_px * context.pixel_angst)
        n_views = len(context.tilt_deg)
        weights = _view_weights(context.tilt_deg, self.density_weights)
        weights = weights * (self.output_mul / n_views)
        return weights.reshape(-1, *(1,) * across.ndim) * self._line_gains(bins, context)

    def _line_gains(self, bins: FloatArray, context: FilterContext) -> FloatArray:
        """Gains on FFT bins of the padded line; continuous, so that bins need not be integers."""
        stretch = context.padded_px / context.width_px
        if self.radial_cutoff is not None and self.radial_falloff is not None:
            end = _unpadded_bins(self.radial_cutoff, context)
            sigma = self.radial_falloff * (1 if self.radial_falloff >= 1 else context.width_px)
            if not self.true_sigma:
                sigma /= np.sqrt(2)
            multiply = self.multiply_gaussian
        elif self.hamming_from is not None:
            end = _unpadded_bins(self.hamming_from, context)
            sigma = 0.438 * (0.5 * context.width_px - end)
            multiply = True
        else:
            return self._rise(bins, context)
        last = round(end * stretch) - 1
        beyond = np.maximum(bins - last, 0.0) / max(sigma * stretch, 1e-6)
        fall = np.where(beyond <= 8, np.exp(-(np.minimum(beyond, 8) ** 2) / 2), 0.0)
        rise = self._rise(bins if multiply else np.minimum(bins, last), context)
        return np.asarray(rise * fall)

    def _rise(self, bins: FloatArray, context: FilterContext) -> FloatArray:
        """Ramp, flattened, and with the SIRT-like window."""
        flat = self.flat_fraction
        height = (1 - flat) * np.maximum(bins, 1.0) + flat * context.width_px / 2.2
        if self.fake_sirt_iterations is not None:
            # tilt takes the bin over the length of its line buffer, two longer than the FFT.
            of_buffer = np.maximum(bins, 1.0) / (context.padded_px + 2)
            height = height * sirt_window(of_buffer, self.fake_sirt_iterations)
        # Zero frequency arrives as _DC_BIN; from there to bin 1 everything is continuous.
        part = np.interp(bins, [_DC_BIN, 1.0], [0.0, 1.0])
        return np.asarray((1 - part) * _DC_GAIN + part * height)


def _unpadded_bins(frequency: float, context: FilterContext) -> int:
    return int(frequency if frequency >= 1 else context.width_px * frequency)


def _view_weights(tilt_deg: FloatArray, shares: tuple[float, ...]) -> FloatArray:
    """Weighted mean gap to the nearest neighbours on each side, relative to the mean of all."""
    n_views = len(tilt_deg)
    if not np.ptp(tilt_deg) > 0 or not shares:
        return np.ones(n_views)
    order = np.argsort(tilt_deg, kind="stable")
    gaps = np.diff(np.asarray(tilt_deg)[order])
    total, norm = np.zeros(n_views), np.zeros(n_views)
    for neighbour, share in enumerate(shares):
        n_gaps = max(len(gaps) - neighbour, 0)
        total[n_views - n_gaps :] += share * gaps[:n_gaps]
        norm[n_views - n_gaps :] += share
        total[:n_gaps] += share * gaps[neighbour:]
        norm[:n_gaps] += share
    weights = np.empty(n_views)
    weights[order] = total / norm / gaps.mean()
    return weights
