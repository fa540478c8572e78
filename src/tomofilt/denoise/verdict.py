"""Whether a series gets a denoised tomogram: a head is trained, tried, and taken or refused.

Nobody can see in a denoised tomogram what was invented. So each head is tried on views of which
neither it nor the tomogram that it is applied to knows anything, beside the linear tomogram, band
by band (:mod:`tomofilt.evaluate.left_out`); a head that loses is given less weight, or none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tomofilt.denoise.fit import Fit, fit_head
from tomofilt.denoise.head import Head
from tomofilt.denoise.kernel import apply_head, bands_at
from tomofilt.denoise.middle import Middle
from tomofilt.denoise.supervision import halves_of, learnable_voxels, lesson
from tomofilt.errors import InputError
from tomofilt.evaluate.left_out import aligned_images, some_views, spread_views
from tomofilt.evaluate.rings import BANDS as RINGS
from tomofilt.evaluate.rings import band_correlation
from tomofilt.evaluate.views import columns_inside
from tomofilt.filters.wiener import WienerExact
from tomofilt.geometry import SliceGeometry
from tomofilt.plan import Plan
from tomofilt.projectors.cpu import SliceProjector, slice_table

__all__ = ["Verdict", "judge"]

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

#: Mean SNR of the views, between these frequencies in cycles per pixel, below which nothing is left
#: for a network to find.
_LEAST_SNR, _SNR_BAND = 0.05, (0.02, 0.06)
_FEWEST_VOXELS = 200_000
#: Voxels by which halves may be displaced.
_MOST_DISPLACED_PX = 0.5
#: Shares of the head that are tried: less of it errs less.
_SHARES = (1.0, 0.75, 0.5, 0.25)
#: Bands of the left-out views that count, and the standard errors from which on a loss is one.
_COUNTED = tuple(band for band in RINGS if band[1] <= 0.25)
_LOSS = 2.0


@dataclass(frozen=True, eq=False)
class Verdict:
    """What became of a head.

    Attributes
    ----------
    head : Head, optional
        For the bands of the tomogram of all views; none if it was refused.
    reason : str
        Why there is none, or what speaks for it.
    facts : mapping
        For the record: everything that was measured.
    deviation : (BANDS,), optional
        Standard deviations of the bands that the head is for.
    """

    head: Head | None
    reason: str
    facts: Mapping[str, object] = field(default_factory=dict)
    deviation: Float64 | None = None


class _RefusedError(Exception):
    """There is a reason not to denoise."""


def judge(plan: Plan, note: Callable[[str], None] = lambda _: None, seed: int = 0) -> Verdict:
    """Train a head on a series, and try it.

    Parameters
    ----------
    plan : Plan
        With a filter that has been measured.
    note : callable
        Told, in a line of text, what was found.
    seed : int
    """
    facts: dict[str, object] = {"seed": seed}
    try:
        verdict = _judge(plan, seed, facts)
    except _RefusedError as refused:
        verdict = Verdict(None, str(refused), {**facts, "refused": str(refused)})
    said = "denoised" if verdict.head is not None else "not denoised"
    note(f"  {plan.series.name}: {said}: {verdict.reason}")
    return verdict


def _judge(plan: Plan, seed: int, facts: dict[str, object]) -> Verdict:
    _check_series(plan, facts)
    left = _left_out(plan)
    kept = np.setdiff1d(np.arange(len(plan.series.views)), left)
    middle = Middle(plan, kept)
    if np.prod(middle.plan.grid.shape) < _FEWEST_VOXELS:
        raise _RefusedError(
            f"{' x '.join(map(str, middle.plan.grid.shape[::-1]))} voxels are too few to learn "
            f"from ({_FEWEST_VOXELS:,} are needed): reconstruct more of the specimen"
        )
    voxels = learnable_voxels(middle.plan, seed)
    halves, displacement = halves_of(middle, voxels)
    facts["halves_displaced_px_yx"] = [round(d, 3) for d in displacement]
    if max(np.abs(displacement)) > _MOST_DISPLACED_PX:
        raise _RefusedError(
            f"even and odd views put the specimen in places {displacement[1]:.1f} (x) and "
            f"{displacement[0]:.1f} (y) voxels apart: look at the alignment"
        )
    coarse, tomogram = middle.volume(np.arange(len(kept)))
    whole = np.ascontiguousarray(bands_at(coarse, tomogram, 0, 0, voxels).T)
    examples = lesson(halves, whole, voxels[:, 1])
    fit = fit_head(examples, seed)
    facts |= _training_facts(fit, len(examples.target))
    before, after = _agreement(halves), _agreement([fit.head(half.T) for half in halves])
    facts["halves_agree"] = {"before": round(before, 4), "after": round(after, 4)}
    if not after > before:
        raise _RefusedError(
            f"tomograms of even and odd views agree no better with it ({before:.2f}) than without "
            f"({after:.2f})"
        )
    met = np.clip(whole, -examples.limit, examples.limit).std(axis=0, dtype=np.float64)
    head = fit.head.for_deviations(examples.deviation, met)
    denoised = apply_head(head, coarse, tomogram, 0, 0, plan.threads)
    trial = _Trial(plan, middle.plan, left)
    share, reason = _choose(trial, trial.project(tomogram), trial.project(denoised), facts)
    return Verdict(head.mixed(share), reason, facts, met)


def _check_series(plan: Plan, facts: dict[str, object]) -> None:
    assert isinstance(plan.filter, WienerExact)
    found = plan.filter.measurement
    assert found is not None
    if not found.snr.has_signal:
        raise _RefusedError("no signal was found in the series: there is nothing to learn")
    k = np.linspace(*_SNR_BAND, 9) / plan.aligned.pixel_angst[1]
    snr = float(found.snr(k).mean())
    facts["snr"] = {"value": round(snr, 4), "band_per_px": list(_SNR_BAND), "least": _LEAST_SNR}
    if snr < _LEAST_SNR:
        low, high = (plan.aligned.pixel_angst[1] / k for k in _SNR_BAND)
        raise _RefusedError(
            f"the SNR between {low:.0f} and {high:.0f} A is {snr:.3f}, below {_LEAST_SNR}: a head "
            "would learn the noise"
        )


def _left_out(plan: Plan) -> NDArray[np.intp]:
    """Views that neither the head nor its tomogram is to know."""
    whole = columns_inside(plan.slices, plan.grid, plan.aligned)
    usable = np.array([columns is not None for columns in whole])
    try:
        return np.array(spread_views(plan.series.tilt_deg, folds=1, usable=usable)[0])
    except InputError as error:
        raise _RefusedError(f"it could not be tried on left-out views: {error}") from error


def _training_facts(fit: Fit, examples: int) -> dict[str, object]:
    return {
        "training": {
            "examples": examples,
            "passes": fit.passes,
            "held_out_loss": round(fit.loss, 5),
            "held_out_loss_of_linear": round(fit.linear_loss, 5),
        }
    }


def _agreement(halves: list[Float32]) -> float:
    """Correlation of two halves; bands (voxel, BANDS) are summed up."""
    first, second = (half.sum(axis=1) if half.ndim == 2 else half for half in halves)
    return float(np.corrcoef(first, second)[0, 1])


class _Trial:
    """Left-out views, and how well tomograms of the others predict them."""

    def __init__(self, plan: Plan, middle: Plan, left: NDArray[np.intp]) -> None:
        series = some_views(plan.series, left)
        self.series, self.plan = series, middle
        self.images = aligned_images(series, middle)
        self.slices: SliceGeometry = series.geometry.factor()[1]

    def project(self, tomogram: Float32) -> Float32:
        """The tomogram as the left-out views see it: (view, y, x)."""
        plan = self.plan
        table = slice_table(self.slices, plan.grid, plan.aligned)
        projector = SliceProjector(table, self.images.shape, plan.grid.shape, threads=plan.threads)
        return projector.forward(tomogram)

    def correlation(self, projected: Float32) -> Float64:
        """Correlation with what was measured: (view, band)."""
        halo, ny = self.plan.halo, projected.shape[1]
        inside = columns_inside(self.slices, self.plan.grid, self.plan.aligned)
        return np.stack(
            [
                band_correlation(
                    image[halo : ny - halo, columns], view[halo : ny - halo, columns], _COUNTED
                )
                for image, view, columns in zip(self.images, projected, inside, strict=True)
                if columns is not None
            ]
        )


def _choose(
    trial: _Trial, linear: Float32, changed: Float32, facts: dict[str, object]
) -> tuple[float, str]:
    """Share of the head, and what speaks for it; projections of mixtures are mixtures."""
    base = trial.correlation(linear)
    tried: list[dict[str, object]] = []
    best, best_gain = 0.0, 0.0
    losses = ""
    for share in _SHARES:
        difference = trial.correlation(linear + np.float32(share) * (changed - linear)) - base
        mean = difference.mean(axis=0)
        error = difference.std(axis=0, ddof=1) / np.sqrt(len(difference))
        lost = np.flatnonzero(mean < -_LOSS * error)
        tried.append(
            {
                "share": share,
                "gain": [round(float(m), 4) for m in mean],
                "standard_error": [round(float(e), 4) for e in error],
            }
        )
        if len(lost) == 0 and mean.mean() > best_gain:
            best, best_gain = share, float(mean.mean())
        if share == _SHARES[-1]:
            losses = ", ".join(
                f"{mean[i]:+.3f}+-{error[i]:.3f} at {_angst(trial, int(i))}" for i in lost
            )
    facts["left_out"] = {
        "images": [int(i) + 1 for i in trial.series.views],
        "bands_per_px": [list(band) for band in _COUNTED],
        "correlation_of_linear": [round(float(c), 4) for c in base.mean(axis=0)],
        "tried": tried,
    }
    if best == 0.0:
        raise _RefusedError(
            "it predicts left-out views worse than the linear tomogram does"
            + (f" ({losses})" if losses else "")
        )
    facts["share"] = best
    return best, (
        f"left-out views are predicted better by {best_gain:+.3f} in correlation, and worse in no "
        f"band; {best:.0%} of the head, the rest the linear tomogram"
    )


def _angst(trial: _Trial, band: int) -> str:
    pixel = trial.plan.grid.voxel_angst
    low, high = _COUNTED[band]
    return f"{pixel / low:.0f}-{pixel / high:.0f} A"
