"""Charts of a report page, as inline SVG: curves with error bars, and images of gains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomofilt.draw.figure import COLOURS, INK, RULE, SOFT, new_figure, svg_of

__all__ = ["Axis", "Line", "image_chart", "line_chart"]

Float64 = NDArray[np.float64]

#: Inches; the page stretches charts to its columns.
_WIDTH, _HEIGHT = 560 / 72, 320 / 72
_TEXT, _SMALL = 12, 11
#: Anchors of a scale from light to dark that grows evenly in lightness.
_LIGHT_TO_DARK = ("#f7faf7", "#c7e1d6", "#78b6b2", "#347d92", "#1a4268", "#0e1634")


@dataclass(frozen=True)
class Axis:
    """One axis of a chart.

    Parameters
    ----------
    label : str
    low, high : float
        The two ends.
    logarithmic : bool
    """

    label: str
    low: float
    high: float
    logarithmic: bool = False


@dataclass(frozen=True, eq=False)
class Line:
    """A curve.

    Parameters
    ----------
    name : str
        Shown when the curve is pointed at.
    x, y : (point,)
        Points whose y is NaN are left out.
    colour : int
    dashed : bool
    errors : (point,), optional
        Half lengths of error bars; the points are marked then.
    """

    name: str
    x: Float64
    y: Float64
    colour: int
    dashed: bool = False
    errors: Float64 | None = None


def line_chart(
    title: str,
    lines: Sequence[Line],
    x: Axis,
    y: Axis,
    *,
    guides: Sequence[float] = (),
    voxel_angst: float | None = None,
) -> str:
    """Draw curves; returns an ``<svg>`` element.

    Parameters
    ----------
    title : str
        For readers who do not see the chart.
    lines : sequence of Line
    x, y : Axis
    guides : sequence of float
        Values of y that are marked by thin horizontal lines.
    voxel_angst : float, optional
        When x is a frequency in cycles per voxel: resolutions are written along the top.
    """
    figure, axes = _frame(x)
    axes.set_ylabel(y.label, color=INK, fontsize=_TEXT)
    if y.logarithmic:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(lambda value, _: f"1e{np.log10(value):.0f}")
        axes.minorticks_off()
    else:
        axes.locator_params(axis="y", nbins=6)
    axes.set_ylim(y.low, y.high)
    axes.grid(color=RULE, lw=1)
    if voxel_angst is not None:
        _add_resolutions(axes, voxel_angst)
    for guide in guides:
        axes.axhline(guide, color=SOFT, lw=1, ls=(0, (2, 3)))
        place = (x.high, guide)
        axes.annotate(
            f"{guide:g}",
            place,
            (-4, 3),
            textcoords="offset points",
            ha="right",
            color=SOFT,
            size=_SMALL,
        )
    for line in lines:
        kept = np.isfinite(line.y)
        across, up = line.x[kept], np.clip(line.y[kept], y.low, y.high)
        colour = COLOURS[line.colour % len(COLOURS)]
        dashes = (0, (3, 2)) if line.dashed else "-"
        axes.plot(across, up, color=colour, lw=2, ls=dashes, clip_on=False, gid=line.name)
        if line.errors is not None:
            bars = line.errors[kept]
            axes.errorbar(across, up, bars, color=colour, fmt="o", ms=5, elinewidth=1.4)
    return svg_of(figure, title)


def image_chart(title: str, values: Float64, x: Axis, row_labels: Sequence[tuple[int, str]]) -> str:
    """Draw values from 0 (light) to 1 (dark) as an image; returns an ``<svg>`` element.

    Parameters
    ----------
    title : str
    values : (row, column)
        The first row is drawn on top; columns span the x axis.
    x : Axis
    row_labels : sequence of (row, label)
    """
    from matplotlib.colors import LinearSegmentedColormap

    figure, axes = _frame(x)
    colours = LinearSegmentedColormap.from_list("light to dark", _LIGHT_TO_DARK)
    place = (x.low, x.high, len(values) - 0.5, -0.5)
    axes.imshow(values, colours, vmin=0, vmax=1, extent=place, aspect="auto", interpolation="none")
    axes.set_yticks(*zip(*row_labels, strict=True))
    return svg_of(figure, title)


def _frame(x: Axis) -> tuple[Any, Any]:
    figure, panels = new_figure(_WIDTH, _HEIGHT)
    axes = panels[0, 0]
    axes.set_xlim(x.low, x.high)
    axes.set_xlabel(x.label, color=INK, fontsize=_TEXT)
    axes.locator_params(axis="x", nbins=6)
    axes.tick_params(length=0, labelcolor=SOFT, labelsize=_TEXT, pad=6)
    axes.spines[:].set_visible(False)
    return figure, axes


def _add_resolutions(axes: Any, voxel_angst: float) -> None:
    high = axes.get_xlim()[1]
    ticks = [tick for tick in axes.get_xticks() if 0 < tick <= high * (1 + 1e-9)]
    upper = axes.secondary_xaxis("top")
    upper.set_xticks(ticks, [f"{float(f'{voxel_angst / tick:.3g}'):g} Å" for tick in ticks])
    upper.tick_params(length=0, labelcolor=SOFT, labelsize=_SMALL)
    upper.spines["top"].set_visible(False)
