"""The signal-to-noise ratio of each view at each frequency, from measured coherences.

If two images have the same signal but independent noise, their coherence tells how much of their
power is signal. No model of the noise is needed. :mod:`tomofilt.snr.coherence` measures such pairs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["NO_WEIGHT", "Coherence", "SpectralSnr", "fit_snr"]

Float64 = NDArray[np.float64]

#: Smallest standard error of a coherence, even if it is measured from very many samples: the model
#: is not more exact than this.
_MODEL_ERROR = 0.03
#: Prior: standard deviation of the log SNR among the views of a series.
_VIEW_SPREAD = 0.03
#: A series has signal if two bands are at least this many standard errors above zero.
_SIGNIFICANT = 4.0
#: Upper limit of the SNR. Higher measured values come from rounding and gradients, and filters do
#: not change any more above it.
_LARGEST_SNR = 100.0
#: SNR of a series without signal: low enough to suppress the noise, high enough to look at it.
_SMALLEST_SNR = 1e-3
#: The spectrum is lowered by this many of its standard errors: smoothing too much does less harm
#: than taking noise for signal.
_CAUTION = 0.5
#: Weight of the second differences of the log spectrum from node to node.
_SMOOTH = 1.0
#: ln of the factor of views that show no signal.
NO_WEIGHT = -20.0


@dataclass(frozen=True, eq=False)
class SpectralSnr:
    """Signal-to-noise ratio (power over power) of every view, as a function of frequency.

    ``snr_m(k) = S(k) c_m exp(-b_m k^2)``: one spectrum S for the series, falling with frequency,
    and two numbers for each view.

    Attributes
    ----------
    k : (node,)
        Frequencies, 1/angstrom, ascending.
    log_spectrum : (node,)
        Natural logarithm of S at these frequencies; linear in log k between them and below.
    log_factor : (view,)
        ln c_m.
    decay_angst2 : (view,)
        b_m.
    has_signal : bool
        False when nothing but noise was found.
    """

    k: Float64
    log_spectrum: Float64
    log_factor: Float64
    decay_angst2: Float64
    has_signal: bool = True

    def __call__(self, k: Float64) -> Float64:
        """SNR at frequencies k (1/angstrom): (view, ...) array."""
        axes = (-1, *(1,) * np.ndim(k))
        factor, decay = self.log_factor.reshape(axes), self.decay_angst2.reshape(axes)
        # beyond the last node (in the corners of the spectrum) the values of the last node hold
        inside = np.minimum(k, self.k[-1])
        return np.asarray(np.exp(self.spectrum(inside) + factor - decay * inside**2))

    def spectrum(self, k: Float64) -> Float64:
        """Natural logarithm of S at frequencies k."""
        nodes = np.log(self.k)
        log_k = np.log(np.maximum(k, self.k[0] / np.e))
        slope = (self.log_spectrum[1] - self.log_spectrum[0]) / (nodes[1] - nodes[0])
        below = np.minimum(log_k - nodes[0], 0.0) * slope
        spectrum = np.interp(log_k, nodes, self.log_spectrum) + below
        return np.asarray(np.minimum(spectrum, np.log(_LARGEST_SNR)))


@dataclass(frozen=True, eq=False)
class Coherence:
    """Coherence of pairs of images that share their signal.

    Attributes
    ----------
    first, second : (pair,) int
        The two views; for frame halves both are the same view.
    k : (pair, band)
        Mean frequency of each band, 1/angstrom.
    value : (pair, band)
        Real part of the coherence, corrected for the signal that the two do not share.
    samples : (pair, band)
        Number of independent Fourier coefficients that it was measured from.
    share : float
        SNR of one of the two images divided by that of the view: 1 for views, 1/2 for halves.
    """

    first: NDArray[np.intp]
    second: NDArray[np.intp]
    k: Float64
    value: Float64
    samples: Float64
    share: float

    @property
    def pooled(self) -> Float64:
        """Mean over the pairs, for each band."""
        return np.asarray((self.value * self.samples).sum(0) / np.maximum(self.samples.sum(0), 1))

    @property
    def significance(self) -> Float64:
        """Pooled coherence over its standard error, for each band."""
        return np.asarray(self.pooled * np.sqrt(2 * self.samples.sum(0)))


def fit_snr(coherence: Coherence, views: int, pixel_angst: float) -> SpectralSnr:
    """Fit the model of :class:`SpectralSnr` to measured coherences.

    A coherence is ``sqrt(q_m q_m')`` with ``q = snr / (1 + snr)``. The fit is least squares,
    weighted by the scatter of the coherences. Priors hold each view near the mean of all views and
    the spectrum near a smooth one that does not rise. The prior on views is stronger than their
    scatter asks for: on real series, views with freely fitted weights predicted each other worse.
    A view that has nothing in common with its neighbours, though the others have, gets no weight.

    Parameters
    ----------
    coherence : Coherence
    views : int
        Number of views.
    pixel_angst : float
        Pixel size of the images.
    """
    used = np.flatnonzero(coherence.samples.sum(axis=0) > 0)
    nodes = (coherence.k * coherence.samples).sum(0)[used] / coherence.samples.sum(0)[used]
    value, samples = coherence.value[:, used], coherence.samples[:, used]
    k = np.where(samples > 0, coherence.k[:, used], nodes)
    pooled = np.clip(coherence.pooled[used], 0.0, 0.99)
    variance = (1 - pooled**2) ** 2 / (2 * np.maximum(samples, 1)) + _MODEL_ERROR**2
    weight = np.where(samples > 1, 1 / np.sqrt(variance), 0.0)
    model = _Model(nodes, k, value, weight, coherence, views, pixel_angst)
    start = np.log(np.clip(pooled, 0.01, 0.98) / (1 - np.clip(pooled, 0.01, 0.98)))
    start = np.minimum.accumulate(start - np.log(coherence.share))
    solution = model.solve(np.concatenate([start, np.zeros(2 * views)]))
    alone = model.unlike_the_rest(solution)
    if alone.any():
        model.weight[alone[coherence.first] | alone[coherence.second]] = 0.0
        solution = model.solve(solution)
        solution[len(nodes) : len(nodes) + views][alone] = NO_WEIGHT
    spectrum = solution[: len(nodes)] - _CAUTION * model.errors(solution)[: len(nodes)]
    spectrum = np.minimum.accumulate(spectrum)
    strong = np.sort(coherence.significance[used])[-2:]
    if len(strong) < 2 or strong.min() < _SIGNIFICANT:
        floor = np.full(len(nodes), np.log(_SMALLEST_SNR))
        return SpectralSnr(nodes, floor, np.zeros(views), np.zeros(views), has_signal=False)
    return SpectralSnr(
        k=nodes,
        log_spectrum=spectrum,
        log_factor=solution[len(nodes) : len(nodes) + views],
        decay_angst2=solution[len(nodes) + views :] * model.decay_unit_angst2,
    )


class _Model:
    """What :func:`fit_snr` minimises: the sum of the squares of these residuals."""

    def __init__(
        self,
        nodes: Float64,
        k: Float64,
        value: Float64,
        weight: Float64,
        coherence: Coherence,
        views: int,
        pixel_angst: float,
    ) -> None:
        self.n_nodes, self.views = len(nodes), views
        self.value, self.weight = value, weight
        self.first, self.second = coherence.first, coherence.second
        self.log_share = np.log(coherence.share)
        #: A decay of 1 in this unit roughly halves the amplitude at half of the Nyquist frequency.
        self.decay_unit_angst2 = (4 * pixel_angst) ** 2
        self.k2 = k**2 * self.decay_unit_angst2
        place = np.interp(np.log(k), np.log(nodes), np.arange(len(nodes)))
        hats = 1 - np.abs(place[..., None] - np.arange(len(nodes)))
        self.hats = np.maximum(hats, 0.0)
        size = len(nodes) + 2 * views
        views_like_each_other = np.eye(size)[len(nodes) :] / _VIEW_SPREAD
        spectrum = np.eye(len(nodes), size)
        smooth = _SMOOTH * np.diff(spectrum, n=2, axis=0)
        bounded = 0.01 * spectrum
        self.prior = np.concatenate([views_like_each_other, smooth, bounded])
        self.rise = np.diff(spectrum, axis=0) * 10

    def residuals(self, x: Float64) -> Float64:
        """Deviations from the measured coherences and the priors, in units of standard errors."""
        q = self._shares(x)
        measured = (np.sqrt(q[0] * q[1]) - self.value) * self.weight
        return np.concatenate([measured.ravel(), self.prior @ x, np.maximum(self.rise @ x, 0.0)])

    def jacobian(self, x: Float64) -> Float64:
        """Derivatives of the residuals."""
        n, v = self.n_nodes, self.views
        q = self._shares(x)
        fitted = np.sqrt(q[0] * q[1])
        rows = np.arange(len(fitted))
        measured = np.zeros((*fitted.shape, len(x)))
        for m, q_m in zip((self.first, self.second), q, strict=True):
            slope = fitted * (1 - q_m) / 2 * self.weight
            measured[:, :, :n] += slope[..., None] * self.hats
            measured[rows, :, n + m] += slope
            measured[rows, :, n + v + m] -= slope * self.k2
        rising = self.rise * (self.rise @ x > 0)[:, None]
        return np.concatenate([measured.reshape(-1, len(x)), self.prior, rising])

    def _shares(self, x: Float64) -> list[Float64]:
        """Signal power over total power, for the first and the second view of each pair."""
        n, v = self.n_nodes, self.views
        factor, decay = x[n : n + v], x[n + v :]
        base = self.hats @ x[:n] + self.log_share
        return [
            1 / (1 + np.exp(-np.clip(base + factor[m, None] - decay[m, None] * self.k2, -40, 40)))
            for m in (self.first, self.second)
        ]

    def unlike_the_rest(self, x: Float64) -> NDArray[np.bool_]:
        """Views whose coherences are closer to zero than to those of the fitted model x."""
        left = self.residuals(x)[: self.value.size].reshape(self.value.shape)
        said = left + self.value * self.weight
        gain, size = np.zeros(self.views), np.zeros(self.views)
        for m in (self.first, self.second):
            np.add.at(gain, m, (said**2 - 2 * said * left).sum(axis=1))
            np.add.at(size, m, (said**2).sum(axis=1))
        return (gain < -size / 2) & (size > 3 * _SIGNIFICANT**2)

    def errors(self, x: Float64) -> Float64:
        """Standard errors of a solution."""
        jacobian = self.jacobian(x)
        return np.asarray(np.sqrt(np.diag(np.linalg.inv(jacobian.T @ jacobian))))

    def solve(self, x: Float64) -> Float64:
        """Minimise the sum of squares from x, until a step lowers it by less than 1e-6 of it.

        By Gauss and Newton's steps, and shorter ones after Levenberg and Marquardt where these do
        not lower the sum. scipy.optimize ends at the same place, but loading it takes longer than
        all of the measuring.
        """
        left, damping, lowered = self.residuals(x), 0.0, np.inf
        while lowered >= 1e-6 * (left @ left):
            jacobian = self.jacobian(x)
            curvature = jacobian.T @ jacobian
            lowered = -1.0
            while lowered < 0:
                damped = curvature + damping * np.diag(np.diag(curvature))
                moved = x - np.linalg.solve(damped, jacobian.T @ left)
                after = self.residuals(moved)
                lowered = float(left @ left - after @ after)
                damping = damping / 4 if lowered >= 0 else max(4 * damping, 1e-3)
            x, left = moved, after
        return x
