"""Whether a series gets a denoised tomogram: heads are trained and tested, and one taken or none.

Nobody can see in a denoised tomogram what was invented. So a head is tested on views of which
neither it nor the tomogram that it is applied to knows anything. Some of them say how far to go
from the linear tomogram towards the head's, and others how much better that predicts them than the
linear tomogram, which is what the user has otherwise. One number is tested, once: the gain in
correlation, mean over the bands that hold signal and over the views of all folds.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from tomofilt.align.stack import AlignedStack
from tomofilt.denoise.bands import BANDS
from tomofilt.denoise.central import CentralRows
from tomofilt.denoise.examples import (
    chosen_voxels,
    displacement_px,
    examples_from_halves,
    halves_and_whole,
)
from tomofilt.denoise.fit import fit_head
from tomofilt.denoise.gates import gate_weights
from tomofilt.denoise.head import Head
from tomofilt.denoise.kernel import apply_head
from tomofilt.denoise.prediction import LeftOutViews
from tomofilt.errors import InputError
from tomofilt.evaluate.left_out import spread_views
from tomofilt.evaluate.views import columns_inside
from tomofilt.filters.wiener import WienerExact
from tomofilt.reconstruction.images import SeriesImages
from tomofilt.reconstruction.problem import Problem
from tomofilt.util.progress import Progress

__all__ = ["Decision", "decide"]

log = logging.getLogger(__name__)
Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

#: Mean SNR of the views, between these frequencies in cycles per pixel, below which there is
#: nothing for a network to find.
LEAST_SNR, SNR_BAND = 0.05, (0.02, 0.06)
FEWEST_VOXELS = 200_000
#: Voxels by which halves may be displaced.
MOST_DISPLACED_PX = 0.5
#: Halves are displaced if their correlation as they are is below this share of that at the
#: displacement.
DISPLACED_SHARE = 0.97
#: Sets of views that are left out, one after the other, and fewest views in all of them.
FOLDS, FEWEST_LEFT_OUT = 2, 4
#: Strengths that are tried: halves of the views, which a head is trained on, are noisier than the
#: tomogram and hold more streaks, so that all of what it says may be too much.
STRENGTHS = (0.25, 0.5, 0.75, 1.0)
#: So many of them after a CTF. It takes the lowest frequencies from left-out views, too, so that
#: they do not tell how noise of the others weighs beside these.
STRENGTHS_AFTER_CTF = 2
#: A head is taken if the mean gain is more than this many standard errors above zero.
LEAST_GAIN = 1.0
#: What a fold does, one after the other: tomograms, examples, a head, its test.
_STAGES = 4


@dataclass(frozen=True, eq=False)
class Decision:
    """What became of denoising a series.

    Attributes
    ----------
    head : Head, optional
        For the tomogram of the series; none if denoising is refused.
    reason : str
        What speaks for it, or against it.
    facts : mapping
        For the record: everything that was measured.
    """

    head: Head | None
    reason: str
    facts: Mapping[str, object] = field(default_factory=dict)


class _RefusedError(Exception):
    """There is a reason not to denoise."""


def decide(
    problem: Problem,
    images: SeriesImages,
    *,
    given: Head | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Decision:
    """Train a head on a series, test it, and take it or not.

    Parameters
    ----------
    problem : Problem
        With a filter that has been measured.
    images : SeriesImages
        Of its series.
    given : Head, optional
        Test this head instead of training one.
    seed : int
    progress : Progress, optional
        Told of the decision, as a whole of 1.
    """
    facts: dict[str, object] = {"seed": seed}
    progress = progress or Progress()
    try:
        head, reason = _decide(problem, images.aligned(), given, seed, facts, progress)
    except _RefusedError as refused:
        facts["refused"] = str(refused)
        log.info("  %s is not denoised: %s", problem.series.name, refused)
        return Decision(None, str(refused), facts)
    facts["head"] = head.facts()
    log.info("  %s is denoised: %s", problem.series.name, reason)
    return Decision(head, reason, facts)


def _decide(
    problem: Problem,
    stack: AlignedStack,
    given: Head | None,
    seed: int,
    facts: dict[str, object],
    progress: Progress,
) -> tuple[Head, str]:
    _check_signal(problem, facts)
    tested: list[dict[str, object]] = []
    facts["folds"] = tested
    tried = []
    left_out = _left_out(problem)
    for left in left_out:
        fold = _Fold(problem, stack, np.array(left, dtype=np.intp), seed)
        with progress.part(1 / len(left_out), _STAGES) as part:
            tried.append(fold.test(given, facts, part.advance))
        tested.append(tried[-1].told)
    strength = _best_strength(tried)
    gain = np.concatenate(
        [each.gain(_best_strength([*tried[:i], *tried[i + 1 :]])) for i, each in enumerate(tried)]
    )
    mean, error = float(gain.mean()), float(gain.std(ddof=1) / np.sqrt(len(gain)))
    facts["strength"] = strength
    facts["gain"] = {"mean": round(mean, 5), "standard_error": round(error, 5), "views": len(gain)}
    told = f"their correlation changes by {mean:+.4f} +- {error:.4f}"
    if not mean > LEAST_GAIN * error:
        raise _RefusedError(
            f"{len(gain)} left-out views are not predicted better than by the linear tomogram: "
            f"{told}"
        )
    return replace(tried[0].head, strength=strength), (
        f"{len(gain)} left-out views are predicted better than by the linear tomogram: {told}; "
        f"strength {strength:g}"
    )


def _check_signal(problem: Problem, facts: dict[str, object]) -> None:
    """Refuse a series of which there is too little to see."""
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


def _left_out(problem: Problem) -> list[list[int]]:
    """Views that are left out together: neither heads nor their tomogram are to know them."""
    whole = columns_inside(problem.frame.slices, problem.grid, problem.frame.grid)
    usable = np.array([columns is not None for columns in whole])
    try:
        folds = spread_views(problem.series.tilt_deg, folds=FOLDS, usable=usable)
    except InputError as error:
        raise _RefusedError(f"it cannot be tested on left-out views: {error}") from error
    count = sum(map(len, folds))
    if count < FEWEST_LEFT_OUT:
        raise _RefusedError(
            f"it cannot be tested: only {count} of {len(usable)} views can be left out, and "
            f"{FEWEST_LEFT_OUT} are needed to tell a gain from chance"
        )
    return folds


@dataclass(frozen=True, eq=False)
class _Tried:
    """A head, and the correlation of left-out views with what is made of the others.

    ``linear`` (view,) is without the head, ``correlation`` (strength, view) is with it; ``told`` is
    for the record.
    """

    head: Head
    linear: Float64
    correlation: Float64
    told: dict[str, object]

    def gain(self, strength: float) -> Float64:
        """Gain in correlation (view,) over the linear tomogram."""
        return np.asarray(self.correlation[STRENGTHS.index(strength)] - self.linear)


def _best_strength(tried: Sequence[_Tried]) -> float:
    """The strength at which the views of some folds are predicted best."""
    mean = np.concatenate([each.correlation for each in tried], axis=1).mean(axis=1)
    return STRENGTHS[int(mean.argmax())]


@dataclass(frozen=True, eq=False)
class _Fold:
    """A tomogram without some views, and a head that knows nothing of them."""

    problem: Problem
    stack: AlignedStack
    left: NDArray[np.intp]
    seed: int

    def test(
        self, given: Head | None, facts: dict[str, object], advance: Callable[[], None]
    ) -> _Tried:
        """Train a head, or take the given one, and see how left-out views are predicted.

        ``advance`` is called as often as there are stages.
        """
        problem = self.problem
        kept = np.setdiff1d(np.arange(len(problem.series.views)), self.left)
        central = CentralRows(problem, self.stack, kept)
        if "halves_displaced" not in facts:
            _check_size(central)
            _check_halves(problem, central, kept, facts)
        halves, tomogram = halves_and_whole(central)
        voxels = chosen_voxels(central.problem, self.seed)
        whole = tomogram.bands(voxels)
        advance()
        told: dict[str, object] = {"images": [int(i) + 1 for i in problem.series.views[self.left]]}
        if given is None:
            examples = examples_from_halves(halves, voxels)
            advance()
            fit = fit_head(examples, self.seed)
            del halves, examples  # the test needs the room
            advance()
            told["held_out_loss"] = round(fit.loss, 5)
            told["held_out_loss_of_linear"] = round(fit.linear_loss, 5)
            head = fit.head.for_tomogram(_deviation(whole, fit.head.largest))
        else:
            head = given.for_tomogram(_deviation(whole, np.full(BANDS, np.inf)))
        views = LeftOutViews(problem, self.stack, central.problem, self.left)
        weights = gate_weights(head, tomogram.coarse)
        denoised = apply_head(head, tomogram.coarse, weights, tomogram.block, 0, 0, problem.threads)
        has_ctf = problem.corrections.ctf != "none" or problem.series.ctf_done is not None
        strengths = STRENGTHS[:STRENGTHS_AFTER_CTF] if has_ctf else STRENGTHS
        plain, full = views.project(tomogram.block), views.project(denoised)
        tried = _Tried(
            head,
            views.correlation(plain),
            np.array([views.correlation(plain + s * (full - plain)) for s in strengths]),
            told,
        )
        advance()
        told["bands_per_px"] = [list(band) for band in views.bands]
        told["correlation_of_linear"] = round(float(tried.linear.mean()), 4)
        told["correlation"] = {
            f"{s:g}": round(float(each), 4)
            for s, each in zip(strengths, tried.correlation.mean(axis=1), strict=True)
        }
        return tried


def _deviation(bands: Float32, limit: Float32 | Float64) -> Float64:
    """Standard deviations of bands (voxel, BANDS) within limits."""
    return np.asarray(np.clip(bands, -limit, limit).std(axis=0, dtype=np.float64))


def _check_size(central: CentralRows) -> None:
    shape = central.problem.grid.shape
    if np.prod(shape) < FEWEST_VOXELS:
        raise _RefusedError(
            f"{' x '.join(map(str, shape[::-1]))} voxels are too few to learn from, "
            f"{FEWEST_VOXELS:,} are needed: reconstruct more of the specimen"
        )


def _check_halves(
    problem: Problem, central: CentralRows, kept: NDArray[np.intp], facts: dict[str, object]
) -> None:
    """Refuse a series whose even and odd views show the specimen at different places."""
    # even and odd among all views: what happens to every other view is to be seen
    is_even = np.argsort(np.argsort(problem.frame.slices.tilt_deg, kind="stable")) % 2 == 0
    y, x, share = displacement_px(
        *(central.lowest_bands(np.flatnonzero(half[kept])) for half in (is_even, ~is_even))
    )
    facts["halves_displaced"] = {"px_yx": [y, x], "correlation_as_they_are": round(share, 4)}
    if max(abs(y), abs(x)) > MOST_DISPLACED_PX and share < DISPLACED_SHARE:
        raise _RefusedError(
            f"even and odd views show the specimen {x:+.1f} (x) and {y:+.1f} (y) voxels apart: "
            "look at the alignment"
        )
