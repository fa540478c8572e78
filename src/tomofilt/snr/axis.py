"""Whether the tilt axis lies where the alignment has it.

Two views have one line of Fourier space in common: the tilt axis. They are alike beside it too, the
less the farther from it and the thicker the specimen. So the line about which views are alike is
the axis, and it need not be the one that was assumed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tomofilt.snr.spectra import PAIRS_AT_ONCE, LineSpectra
from tomofilt.util.threads import run_all

__all__ = ["AxisOffset", "axis_offset"]

Float64 = NDArray[np.float64]

#: Angles that are tried, as many to either side.
_TRIED_DEG = np.arange(-12.0, 13.0, 2.0)
#: Views so many places apart are compared: the farther, the sharper the line.
_DISTANCES = (4, 8, 12)
#: Frequencies up to this, in cycles per pixel, are compared.
_HIGHEST = 0.25
#: Thicknesses that are tried, in those of the specimen: about a wrong axis it seems thicker.
_THICKNESSES = (0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.15, 1.3)
#: Images are at least so many times as wide as the specimen is thick.
_WIDTHS = 2.0
#: Distances from the axis in k_z are told apart in so many steps, up to three over the thickness.
_STEPS = 60


@dataclass(frozen=True)
class AxisOffset:
    """Where views say that the tilt axis is.

    Attributes
    ----------
    offset_deg : float
        From where the alignment has it; beyond 12 degrees nothing is tried.
    gain : float
        How much better the views are explained there: difference of log likelihoods.
    share : float
        The same over the whole log likelihood. Models are not exact, so that even a wrong place
        explains very clear views surely better by a little.
    """

    offset_deg: float
    gain: float
    share: float


def axis_offset(
    spectra: LineSpectra, thickness_angst: float, centre_angst: float, threads: int = 1
) -> AxisOffset | None:
    """Find the line about which views are most alike.

    The likeness of two views falls as ``sinc(D q)`` with the distance ``q`` of their points in k_z,
    by a factor for each band of frequencies. Of each Fourier coefficient the phase alone counts, as
    a specimen may have more power in some directions than in others.

    Parameters
    ----------
    spectra : LineSpectra
    thickness_angst, centre_angst : float
        Of the specimen, as :func:`~tomofilt.snr.thickness.measure_thickness` finds them.
    threads : int

    Returns
    -------
    AxisOffset or None
        None where the specimen is half as thick as images are wide, or thicker: they show too few
        structures then, and how those lie would be taken for the axis.
    """
    from tomofilt.snr.passes import add_likeness  # loads numba

    narrowest = min(float(spectra.width_angst.min()), len(spectra.k_along) * spectra.pixel_angst)
    if narrowest < _WIDTHS * thickness_angst:
        return None
    step = 3 / (_STEPS * thickness_angst)
    angles = np.radians(_TRIED_DEG[len(_TRIED_DEG) // 2 :])
    turned = np.array([np.cos(angles), np.sin(angles)])
    edges, highest = spectra.band_edges(), _HIGHEST / spectra.pixel_angst
    first, second = spectra.pairs(*_DISTANCES)
    slope = spectra.slope[second] - spectra.slope[first]
    turn = -2j * np.pi * np.outer(slope, spectra.k_x) * centre_angst
    phases = np.exp(turn).astype(np.complex64)
    starts = range(0, len(first), PAIRS_AT_ONCE)
    sums = np.zeros((len(starts), len(angles), len(edges) - 1, _STEPS, 3))

    def compare(i: int) -> None:
        some = slice(starts[i], starts[i] + PAIRS_AT_ONCE)
        add_likeness(
            spectra.values,
            first[some],
            second[some],
            phases[some],
            spectra.k_x,
            spectra.k_across,
            spectra.k_along,
            spectra.lowest_k,
            highest,
            edges,
            np.abs(slope[some]) / step,
            turned,
            sums[i],
        )

    run_all(threads, compare, range(len(starts)))
    plus, minus, count = np.moveaxis(sums.sum(axis=0), -1, 0)
    alike, count = np.r_[minus[:0:-1], plus], np.r_[count[:0:-1], count]
    q = (np.arange(_STEPS) + 0.5) * step
    likelihood = np.zeros(len(_TRIED_DEG))
    for share in _THICKNESSES:
        expected = np.sinc(np.minimum(share * thickness_angst * q, 1.0))
        fitted = np.maximum(alike @ expected, 0) ** 2 / np.maximum(count @ expected**2, 1)
        likelihood = np.maximum(likelihood, spectra.samples * fitted.sum(axis=1))
    best = int(likelihood.argmax())
    top, gain = likelihood[best], likelihood[best] - likelihood[len(_TRIED_DEG) // 2]
    return AxisOffset(
        offset_deg=_summit(_TRIED_DEG, likelihood, best),
        gain=float(gain),
        share=float(gain / top) if top > 0 else 0.0,
    )


def _summit(x: Float64, y: Float64, best: int) -> float:
    """Where a parabola through the highest value and its neighbours has its summit."""
    if best in (0, len(x) - 1):
        return float(x[best])
    below, top, above = y[best - 1 : best + 2]
    bend = below - 2 * top + above
    shift = 0.5 * (below - above) / bend if bend < 0 else 0.0
    return float(x[best] + shift * (x[1] - x[0]))
