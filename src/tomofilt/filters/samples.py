"""Gains of a filter as numbers, for pictures and tables."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tomofilt.filters.protocol import Filter, FilterContext

__all__ = ["Samples", "radial_profile", "sampled"]

FloatArray = NDArray[np.float64]

_DIRECTIONS = 24


@dataclass(frozen=True, eq=False)
class Samples:
    """Gains of every view on a grid of frequencies.

    Attributes
    ----------
    tilt_deg : (view,)
    k_across_per_angst : (a,)
        From zero, as filters take it, to the highest frequency of the images.
    k_along_per_angst : (l,)
        From the lowest negative to the highest positive frequency.
    gains : (view, l, a)
    """

    tilt_deg: FloatArray
    k_across_per_angst: FloatArray
    k_along_per_angst: FloatArray
    gains: FloatArray


def sampled(chosen: Filter, context: FilterContext, across: int = 129, along: int = 129) -> Samples:
    """Sample the gains of every view, up to half a cycle per pixel both ways.

    Parameters
    ----------
    chosen : Filter
    context : FilterContext
    across, along : int
        Number of frequencies. Odd along the tilt axis, so that zero is among them; 1 is zero alone.
    """
    highest = 0.5 / context.pixel_angst
    k_across = np.linspace(0, highest, across)
    k_across[0] = _lowest(context)
    k_along = highest * np.arange(-(along // 2), along // 2 + 1) / max(along // 2, 1)
    gains = chosen.gains(k_across, k_along[:, None], context)
    return Samples(context.tilt_deg, k_across, k_along, np.asarray(gains, dtype=np.float64))


def radial_profile(chosen: Filter, context: FilterContext, cycles_per_px: FloatArray) -> FloatArray:
    """Gain against the length of the frequency: mean over directions, sum over the views.

    The sum does not depend on how many views share the angular range.

    Parameters
    ----------
    chosen : Filter
    context : FilterContext
    cycles_per_px : (k,)

    Returns
    -------
    (k,) array
    """
    # directions from across the tilt axis to along it and on; the other half is the same
    angle = np.pi * (np.arange(_DIRECTIONS) + 0.5) / _DIRECTIONS - np.pi / 2
    k = (np.asarray(cycles_per_px) / context.pixel_angst)[:, None]
    across = np.maximum(k * np.cos(angle), _lowest(context))
    gains = chosen.gains(across, k * np.sin(angle), context)
    return np.asarray(gains.mean(axis=2).sum(axis=0))


def _lowest(context: FilterContext) -> float:
    """What filters take zero frequency as, see :meth:`Filter.gains`, 1/angstrom."""
    return float(2 / np.pi**2 / (context.padded_px * context.pixel_angst))
