"""Self-supervised refinement: a few gains on top of the measured filter, from the series alone.

The series is split into halves whose noise is independent. A tomogram of one half, made with the
filter ``wiener-exact:match`` that this half asks for, is projected and compared with the images of
the other half, which it should predict. How the prediction depends on gains g on top of the filter
is linear,

    minimise sum over views |M (A B(g w y1) - y2)|^2 + shrinkage sum_b h_b (g_b - 1)^2

with w the filter, B back-projection, A projection and M the pixels whose rays stay inside the
tomogram, and so the best gains solve a small linear system. Without halves, y1 = y2, it is the
minimum-residual filter of Pelt & Batenburg (IEEE Trans. Image Process. 23, 4750, 2014), for which
noise is what is best predicted: gains grow towards the ramp's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import gettempdir
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomofilt.errors import InputError
from tomofilt.evaluate.left_out import Block, left_out_correlation, make_blocks
from tomofilt.evaluate.rings import BANDS
from tomofilt.filters.refined import REFINED_BASE, RefinedFilter
from tomofilt.reconstruction.measure import measured
from tomofilt.reconstruction.plan import Plan, Settings, make_plan
from tomofilt.series.projects import Destination
from tomofilt.series.tiltseries import TiltSeries
from tomofilt.training.prediction import (
    NODES,
    Halves,
    measurement_of,
    normal_equations,
    refined_filter,
    solve,
)

__all__ = ["Refinement", "refine"]

Float64 = NDArray[np.float64]

#: Left-out views are compared on so many.
_COMPARED_ROWS = 256
#: Trial shrinkages, as parts of the energy that each gain has; infinity: all gains are 1.
SHRINKAGES = (np.inf, 10.0, 3.0, 1.0, 0.3, 0.1, 0.03, 0.01, 0.0)
_FOLDS = 5
_WORDS = {"frames": "frame halves", "tilts": "even and odd tilts", "none": "the images themselves"}
_NOWHERE = Destination(Path(gettempdir()) / "refinement.mrc")


@dataclass(frozen=True, eq=False)
class Refinement:
    """What was learned, and whether it helps.

    Attributes
    ----------
    filter : RefinedFilter
        All its factors are 1 if nothing is kept.
    kept : bool
    halves : "frames", "tilts" or "none"
        What was learned from.
    learned : (node,)
        Gains, also when they are not kept.
    shrinkage : float
    gain, error : (band,)
        Correlation with left-out views, refined minus unrefined, and its standard error; the bands
        are :data:`tomofilt.evaluate.rings.BANDS`.
    """

    filter: RefinedFilter
    kept: bool
    halves: Halves
    learned: Float64
    shrinkage: float
    gain: Float64
    error: Float64

    def metadata(self, series: TiltSeries) -> dict[str, Any]:
        """What a bundle says about it."""
        return {
            "training": {
                "method": "half-set prediction" if self.halves != "none" else "minimum residual",
                "halves": self.halves,
                "series": [series.name],
                "pixel_angst": series.images.pixel_angst,
                "tilt_deg": [round(float(tilt), 3) for tilt in series.tilt_deg],
                "shrinkage": "infinite" if np.isinf(self.shrinkage) else self.shrinkage,
                "learned_factors": [round(float(gain), 6) for gain in self.learned],
                "kept": self.kept,
            },
            "metrics": {
                "left_out_correlation_over_base": {
                    "bands_cycles_per_px": [list(band) for band in BANDS],
                    "gain": _finite(self.gain),
                    "standard_error": _finite(self.error),
                }
            },
        }


def refine(
    series: TiltSeries,
    settings: Settings,
    halves: Halves | None = None,
    note: Callable[[str], None] = lambda _: None,
) -> Refinement:
    """Learn gains on top of ``wiener-exact:match``, and keep them if left-out views say so.

    What is compared is the whole procedure: gains that were learned without the left-out views.
    They are kept if views are predicted better over all frequencies, by more than the standard
    error of the difference, and in no band worse by more than two of them.

    Parameters
    ----------
    series : TiltSeries
    settings : Settings
        Size of voxels and tomogram; the filter is not looked at.
    halves : "frames", "tilts" or "none", optional
        Default: the frame halves if the series has them, else even and odd tilts. With "none"
        (minimum residual) the gains are kept whatever they do.
    note : callable
        Told, in lines of text, what was found.

    Raises
    ------
    InputError
        If the series is too short, has no such halves or no contrast, or is aligned locally.
    """
    chosen: Halves = halves or ("tilts" if series.halves is None else "frames")
    if chosen == "frames" and series.halves is None:
        raise InputError(f"{series.name} has no frame halves: learn from its tilts, --halves tilts")
    base = replace(settings, filter=REFINED_BASE, model=None, halves="none", device="cpu")
    plan = make_plan(series, _NOWHERE, base)
    if plan.direct:
        raise InputError(f"{series.name} is aligned locally: its filter cannot be refined")
    plan = measured(plan, note)
    if measurement_of(plan).snr.has_signal:
        learned, shrinkage = _learn(plan, chosen)
        gain, error = _compare(plan, chosen)
        better = gain[-1] > error[-1] and bool(np.all(gain >= -2 * error))
    else:
        learned, shrinkage, better = np.ones(len(NODES)), np.inf, False
        gain = error = np.full(len(BANDS), np.nan)
    kept = better or chosen == "none"
    found = replace(
        refined_filter(plan, learned if kept else np.ones(len(NODES))), measurement=None
    )
    result = Refinement(found, kept, chosen, learned, shrinkage, gain, error)
    for line in _summary(series.name, result, better):
        note(line)
    return result


def _learn(plan: Plan, halves: Halves) -> tuple[Float64, float]:
    """Gains, and the shrinkage that suits views which the gains were not learned from."""
    equations = normal_equations(plan, halves)
    fold = equations.views % _FOLDS
    loss = np.zeros((len(SHRINKAGES), len(fold)))
    for each in range(_FOLDS):
        others = equations.some(fold != each)
        for i, shrinkage in enumerate(SHRINKAGES):
            loss[i, fold == each] = equations.some(fold == each).loss(solve(others, shrinkage))
    best = int(loss.sum(axis=1).argmin())
    # the strongest that is not told from the best by more than the scatter of the views
    excess = loss - loss[best]
    scatter = excess.std(axis=1, ddof=1) / np.sqrt(len(fold))
    chosen = int(np.flatnonzero(excess.mean(axis=1) <= scatter)[0])
    # where hardly any signal is, noise may even turn a gain over
    return np.maximum(solve(equations, SHRINKAGES[chosen]), 0.0), SHRINKAGES[chosen]


def _compare(plan: Plan, halves: Halves) -> tuple[Float64, Float64]:
    """Gain in correlation with left-out views, and its standard error."""
    series, base = plan.series, plan.settings

    def refined(plan: Plan) -> Iterable[Block]:
        plan = measured(plan)
        return make_blocks(replace(plan, filter=refined_filter(plan, _learn(plan, halves)[0])))

    rows = round(_COMPARED_ROWS * plan.grid.voxel_angst / series.images.pixel_angst)
    results = [
        left_out_correlation(series, base, rows_px=rows, blocks_of=each)
        for each in (make_blocks, refined)
    ]
    return results[1].gain_over(results[0])


def _summary(name: str, result: Refinement, better: bool) -> list[str]:
    """What came out, in words."""
    if np.isnan(result.gain).all():
        return [f"  {name}: nothing to learn from, the filter stays {REFINED_BASE}"]
    lowest, highest = result.learned.min(), result.learned.max()
    worst = int((result.gain / result.error).argmin())
    low, high = BANDS[worst]
    lines = [
        f"  learned from {_WORDS[result.halves]}: gains of {lowest:.2f} to {highest:.2f} on top of "
        f"{REFINED_BASE}, shrinkage {result.shrinkage:g}",
        f"  correlation with left-out views: {result.gain[-1]:+.4f} +- {result.error[-1]:.4f} over "
        f"all frequencies; at worst {result.gain[worst]:+.4f} +- {result.error[worst]:.4f}, from "
        f"{low:g} to {high:g} cycles/px",
    ]
    if better:
        lines.append("  that is a gain: it is kept")
    elif result.kept:
        lines.append(
            "  that is no gain, but was asked for: without halves, noise is what is predicted best"
        )
    else:
        lines.append(f"  that is no gain to rely on: the filter stays {REFINED_BASE}")
    return lines


def _finite(values: Float64) -> list[float | None]:
    return [round(float(value), 6) if np.isfinite(value) else None for value in values]
