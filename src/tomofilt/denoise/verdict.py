"""Whether a series gets a denoised tomogram: heads are trained, tried, and one taken, or none.

Nobody can see in a denoised tomogram what was invented. So heads are tried on views of which
neither they nor the tomogram that they are applied to know anything, beside the linear tomogram,
band by band (:mod:`tomofilt.evaluate.left_out`); one that loses is given less weight, or none.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tomofilt.align.stack import AlignedStack
from tomofilt.denoise.bands import CoarseBands
from tomofilt.denoise.fit import fit_head
from tomofilt.denoise.head import Head, Taught
from tomofilt.denoise.kernel import apply_head, bands_at
from tomofilt.denoise.middle import Middle
from tomofilt.denoise.supervision import (
    Lesson,
    displacement_px,
    halves_of,
    learnable_voxels,
    lesson,
)
from tomofilt.denoise.trial import Trial
from tomofilt.errors import InputError
from tomofilt.evaluate.left_out import spread_views
from tomofilt.evaluate.views import columns_inside
from tomofilt.filters.wiener import WienerExact
from tomofilt.reconstruction.images import SeriesImages
from tomofilt.reconstruction.problem import Problem

__all__ = ["Verdict", "judge"]

log = logging.getLogger(__name__)
Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

#: Mean SNR of the views, between these frequencies in cycles per pixel, below which there is
#: nothing for a network to find.
LEAST_SNR, SNR_BAND = 0.05, (0.02, 0.06)
FEWEST_VOXELS = 200_000
#: Voxels by which halves may be displaced.
MOST_DISPLACED_PX = 0.5
#: Correlation as they are, over that at the displacement, below which it is one.
DISPLACED_SHARE = 0.97
FEWEST_LEFT_OUT = 2
#: Shares of a head that are tried: less of it errs less.
SHARES = (1.0, 0.75, 0.5, 0.25)
#: The lowest band that the rectified units of a head see: of all, they do most; without the two
#: that hold gradients they do no harm to these.
FIRST_BANDS = (0, 2)


@dataclass(frozen=True, eq=False)
class Verdict:
    """What became of denoising a series.

    Attributes
    ----------
    taught : Taught, optional
        The head, and the bands that it is for; none if denoising is refused.
    reason : str
        What speaks for it, or against it.
    facts : mapping
        For the record: everything that was measured.
    """

    taught: Taught | None
    reason: str
    facts: Mapping[str, object] = field(default_factory=dict)


class _RefusedError(Exception):
    """There is a reason not to denoise."""


def judge(
    problem: Problem, images: SeriesImages, *, given: Taught | None = None, seed: int = 0
) -> Verdict:
    """Train heads on a series, try them, and take the best or none.

    Parameters
    ----------
    problem : Problem
        With a filter that has been measured.
    images : SeriesImages
        Of its series.
    given : Taught, optional
        Try this head instead of training some.
    seed : int
    """
    facts: dict[str, object] = {"seed": seed}
    try:
        taught, reason = _judge(problem, images.aligned(), given, seed, facts)
    except _RefusedError as refused:
        facts["refused"] = str(refused)
        log.info("  %s is not denoised: %s", problem.series.name, refused)
        return Verdict(None, str(refused), facts)
    facts["head"] = taught.facts()
    log.info("  %s is denoised: %s", problem.series.name, reason)
    return Verdict(taught, reason, facts)


def _judge(
    problem: Problem,
    stack: AlignedStack,
    given: Taught | None,
    seed: int,
    facts: dict[str, object],
) -> tuple[Taught, str]:
    _check_snr(problem, facts)
    left = _left_out(problem)
    kept = np.setdiff1d(np.arange(len(problem.series.views)), left)
    middle = Middle(problem, stack, kept)
    if np.prod(middle.problem.grid.shape) < FEWEST_VOXELS:
        raise _RefusedError(
            f"{' x '.join(map(str, middle.problem.grid.shape[::-1]))} voxels are too few to learn "
            f"from, {FEWEST_VOXELS:,} are needed: reconstruct more of the specimen"
        )
    # even and odd among all views: what happens to every other view is to be seen
    is_even = np.argsort(np.argsort(problem.frame.slices.tilt_deg, kind="stable")) % 2 == 0
    y, x, share = displacement_px(
        *(middle.lowest_bands(np.flatnonzero(half[kept])) for half in (is_even, ~is_even))
    )
    facts["halves_displaced"] = {"px_yx": [y, x], "correlation_as_they_are": round(share, 4)}
    if max(abs(y), abs(x)) > MOST_DISPLACED_PX and share < DISPLACED_SHARE:
        raise _RefusedError(
            f"even and odd views show the specimen {x:+.1f} (x) and {y:+.1f} (y) voxels apart: "
            "look at the alignment"
        )
    voxels = learnable_voxels(middle.problem, seed)
    halves = halves_of(middle, voxels)
    coarse, tomogram = middle.volume(np.arange(len(kept)))
    whole = np.ascontiguousarray(bands_at(coarse, tomogram, 0, 0, voxels).T)
    examples = lesson(halves, whole, voxels[:, 1])
    met = np.clip(whole, -examples.limit, examples.limit).std(axis=0, dtype=np.float64)
    heads: list[dict[str, object]] = []
    facts["heads"] = heads
    candidates = []
    for head, told in (
        _given(given, met) if given else _trained(examples, met, seed, problem.threads)
    ):
        before, after = _agreement(halves, None), _agreement(halves, head)
        told["halves_agree"] = {"before": round(before, 4), "after": round(after, 4)}
        heads.append(told)
        if after > before:
            candidates.append((head, told))
    if not candidates:
        raise _RefusedError("with it tomograms of even and odd views agree no better than without")
    del halves, examples
    trial = Trial(problem, stack, middle.problem, left)
    taught, gain = _best(trial, tomogram, coarse, candidates, problem.threads)
    facts["left_out"] = trial.facts()
    if taught is None:
        raise _RefusedError(
            "left-out views are predicted worse than by the linear tomogram, or no better"
        )
    return Taught(taught, met), (
        f"left-out views are predicted better, by {gain:.3f} in correlation, and worse in no band"
    )


def _check_snr(problem: Problem, facts: dict[str, object]) -> None:
    assert isinstance(problem.filter, WienerExact)
    found = problem.filter.measurement
    assert found is not None
    if not found.snr.has_signal:
        raise _RefusedError("no signal was found in the series: there is nothing to learn")
    pixel = problem.frame.grid.pixel_angst[1]
    snr = float(found.snr(np.linspace(*SNR_BAND, 9) / pixel).mean())
    facts["snr"] = {"mean": round(snr, 4), "per_px": list(SNR_BAND), "least": LEAST_SNR}
    if snr < LEAST_SNR:
        raise _RefusedError(
            f"the SNR from {pixel / SNR_BAND[0]:.0f} to {pixel / SNR_BAND[1]:.0f} A is {snr:.3f}, "
            f"below {LEAST_SNR}: a network would learn the noise"
        )


def _left_out(problem: Problem) -> NDArray[np.intp]:
    """Views that neither heads nor their tomogram are to know."""
    whole = columns_inside(problem.frame.slices, problem.grid, problem.frame.grid)
    usable = np.array([columns is not None for columns in whole])
    try:
        left = spread_views(problem.series.tilt_deg, folds=1, usable=usable)[0]
    except InputError as error:
        raise _RefusedError(f"it cannot be tried on left-out views: {error}") from error
    if len(left) < FEWEST_LEFT_OUT:
        raise _RefusedError(
            f"it cannot be tried: only {len(left)} of {len(usable)} views can be left out, and "
            f"{FEWEST_LEFT_OUT} are needed to tell a loss from chance"
        )
    return np.array(left)


def _trained(
    examples: Lesson, met: Float64, seed: int, threads: int
) -> list[tuple[Head, dict[str, object]]]:
    found = []
    for first_band in FIRST_BANDS:
        fit = fit_head(examples, seed, threads=threads, first_band=first_band)
        told: dict[str, object] = {
            "from": "even and odd views",
            "units_see_bands_from": first_band,
            "examples": len(examples.target),
            "passes": fit.passes,
            "held_out_loss": round(fit.loss, 5),
            "held_out_loss_of_linear": round(fit.linear_loss, 5),
        }
        found.append((fit.head.for_deviations(examples.deviation, met), told))
    return found


def _given(given: Taught, met: Float64) -> list[tuple[Head, dict[str, object]]]:
    return [(given.for_bands(met), {"from": "a bundle"})]


def _agreement(halves: list[Float32], head: Head | None) -> float:
    """Correlation of two halves (voxel, BANDS), denoised or not."""
    first, second = (half.sum(axis=1) if head is None else head(half.T) for half in halves)
    return float(np.corrcoef(first, second)[0, 1])


def _best(
    trial: Trial,
    tomogram: Float32,
    coarse: list[CoarseBands],
    candidates: list[tuple[Head, dict[str, object]]],
    threads: int,
) -> tuple[Head | None, float]:
    """The share of a head that gains most without losing anywhere, and its mean gain."""
    base = trial.begin(tomogram)
    best: Head | None = None
    best_gain = 0.0
    for head, told in candidates:
        # projection is linear: a mixture's projection is the mixture of projections
        change = trial.project(apply_head(head, coarse, tomogram, 0, 0, threads)) - base
        tried: list[dict[str, object]] = []
        told["tried"] = tried
        for share in SHARES:
            score = trial.score(base + np.float32(share) * change)
            tried.append({"share": share, **score.facts()})
            if not score.loses and score.mean_gain > best_gain:
                best, best_gain = head.mixed(share), score.mean_gain
    return best, best_gain
