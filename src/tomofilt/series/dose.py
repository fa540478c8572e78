"""Radiation damage: the exposure that a frequency survives, and weights for it."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["critical_exposure", "dose_weights"]

Float64 = NDArray[np.float64]

#: At 200 kV a specimen endures so much of the exposure that it endures at 300 kV.
_AT_200_KV = 0.8
#: Frequencies are cut off here from below, 1/angstrom, where the formula diverges.
_LOWEST_K = 1e-6


def critical_exposure(frequency: ArrayLike, voltage_kv: float = 300.0) -> Float64:
    """Exposure in electrons/A^2 that reduces the power at a frequency (1/angstrom) to 1/e.

    ``0.245 k^-1.665 + 2.81`` at 300 kV and 0.8 of it at 200 kV: Grant & Grigorieff, eLife 4, e06980
    (2015), equation 3 and the text below it. Between the two, and beyond, in proportion.
    """
    k = np.maximum(np.asarray(frequency, float), _LOWEST_K)
    factor = 1 + (1 - _AT_200_KV) * (voltage_kv - 300) / 100
    return np.asarray(factor * (0.245 * k**-1.665 + 2.81))


def dose_weights(
    frequency: ArrayLike, exposure_e_per_a2: ArrayLike, voltage_kv: float = 300.0
) -> Float64:
    """Weight of every view at frequencies (1/angstrom): (view, ...).

    ``q_m sqrt(M / sum_m' q_m'^2)`` with ``q_m = exp(-N_m / 2 N_e(k))``, the amplitude that the
    exposure N_m leaves: what Grant & Grigorieff (2015, equation 9) sum the frames of a movie with.
    The noise keeps its power, low frequencies keep theirs, for which all q are 1, and no frequency
    is raised above what the undamaged specimen would show: of its amplitude the views together keep
    ``sqrt(mean q^2)``.

    Parameters
    ----------
    frequency : array
    exposure_e_per_a2 : (view,)
        Up to the middle of each view.
    """
    k = np.asarray(frequency, dtype=np.float64)
    exposure = np.asarray(exposure_e_per_a2, dtype=np.float64).reshape(-1, *(1,) * k.ndim)
    # relative to the least exposed view, so that nothing underflows
    exposure = exposure / 2 / critical_exposure(k, voltage_kv)
    lead = exposure.min(axis=0)
    q = np.exp(lead - exposure)
    return np.asarray(q / np.sqrt((q**2).mean(axis=0)))
