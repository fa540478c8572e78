"""How a training went, and the filter it found, in one picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tomofilt.draw.figure import COLOURS, new_figure, save_png
from tomofilt.filters.analytic import ramp_weights
from tomofilt.filters.learned import LearnedFilter
from tomofilt.filters.protocol import FilterContext

__all__ = ["draw"]

_SAMPLES = 256
_PSNR, _LOSS = COLOURS[:2]


def draw(
    path: Path,
    filter: LearnedFilter,
    context: FilterContext,
    curve: Sequence[Mapping[str, Any]],
) -> None:
    """Write a PNG with the learning curve, and each view's gains divided by those of its ramp.

    Parameters
    ----------
    path : Path
        An earlier picture of tomofilt's is replaced, and nothing else.
    filter : LearnedFilter
    context : FilterContext
        Of one of the series of the training.
    curve : sequence of mappings
        Validations of a gradient descent (step, loss, psnr_db), or tried values of the shrinkage
        (shrinkage, psnr_db).
    """
    figure, panels = new_figure(11, 4.2, 1, 2)
    left, right = panels[0]
    _draw_curve(left, curve)
    _draw_gains(right, filter, context)
    for axes in (left, right):
        axes.grid(alpha=0.25)
        axes.spines["top"].set_visible(False)
    save_png(figure, path)


def _draw_curve(axes: Any, curve: Sequence[Mapping[str, Any]]) -> None:
    psnr = [entry["psnr_db"] for entry in curve]
    best = int(np.argmax(psnr))
    if "step" in curve[0]:
        places = [entry["step"] for entry in curve]
        axes.set_xlabel("step")
        loss = axes.twinx()
        loss.plot(places, [entry["loss"] for entry in curve], color=_LOSS, lw=1.2)
        loss.set_ylabel("loss", color=_LOSS)
        loss.set_yscale("log")
        loss.yaxis.set_major_formatter("{x:g}")
        loss.yaxis.set_minor_formatter("{x:g}")
        loss.spines["top"].set_visible(False)
        style = "-"
    else:
        places, style = list(range(len(curve))), "o-"
        axes.set_xticks(places, [f"{entry['shrinkage']:g}" for entry in curve], rotation=45)
        axes.set_xlabel("shrinkage, as part of the largest eigenvalue")
        axes.spines["right"].set_visible(False)
    axes.plot(places, psnr, style, color=_PSNR, lw=1.8)
    axes.plot(places[best], psnr[best], "o", color=_PSNR, ms=9, mfc="none")
    axes.set_ylabel("validation PSNR, dB", color=_PSNR)
    axes.ticklabel_format(axis="y", useOffset=False)


def _draw_gains(axes: Any, filter: LearnedFilter, context: FilterContext) -> None:
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    tilt = context.tilt_deg
    cycles = np.linspace(0, 0.5, _SAMPLES)
    cycles[0] = 2 / np.pi**2 / context.padded_px
    k = cycles / context.pixel_angst
    factors = filter.gains(k, np.zeros(1), context)
    factors /= np.multiply.outer(ramp_weights(context), k)
    scale = Normalize(float(tilt.min()) - 1e-6, float(tilt.max()) + 1e-6)
    colours = colormaps["coolwarm"]
    for view in np.argsort(-np.abs(tilt)):
        axes.plot(cycles, factors[view], color=colours(scale(tilt[view])), lw=1.0)
    axes.axhline(1.0, color="black", lw=0.8, ls=":")
    low, high = np.percentile(factors, (0.5, 99.5))
    room = 0.08 * (high - low) + 0.05
    axes.set(
        xlim=(0, 0.5),
        ylim=(min(low, 0) - room, max(high, 1) + room),
        xlabel="cycles / px across the tilt axis",
        ylabel="gain over the ramp's",
    )
    axes.spines["right"].set_visible(False)
    axes.figure.colorbar(ScalarMappable(scale, colours), ax=axes, label="tilt, deg")
