"""Charts as inline SVG: lines, error bars and images with axes, coloured by the page's style."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from numpy.typing import NDArray

__all__ = ["COLOURS", "Axis", "Line", "image_chart", "line_chart"]

Float64 = NDArray[np.float64]

#: Lines take the page's colours ``--line-0`` and so on, in turn.
COLOURS = 8
_WIDTH, _HEIGHT = 560, 320
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 14, 34, 46


@dataclass(frozen=True)
class Axis:
    """One axis of a chart.

    Parameters
    ----------
    label : str
    low, high : float
        What it spans.
    logarithmic : bool
        Values are powers of ten: they are drawn as they are and labelled 10 to them.
    """

    label: str
    low: float
    high: float
    logarithmic: bool = False

    def ticks(self) -> list[tuple[float, str]]:
        """Round numbers within the axis, and how they are written."""
        span = (self.high - self.low) * (1 + 1e-9)
        step = 10.0 ** np.floor(np.log10(span / 4))
        step *= max(n for n in (1, 2, 5) if span / (n * step) >= 4)
        if self.logarithmic:
            step = max(1.0, np.ceil(step))
        first = np.ceil(self.low / step - 1e-9)
        values = [float(step * n) for n in range(int(first), int(self.high / step + 1e-9) + 1)]
        if self.logarithmic:
            return [(value, f"1e{value:.0f}") for value in values]
        return [(value, f"{value + 0.0:.4g}") for value in values]


@dataclass(frozen=True, eq=False)
class Line:
    """A curve.

    Parameters
    ----------
    name : str
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
    guides: Sequence[tuple[float, str]] = (),
    voxel_angst: float | None = None,
) -> str:
    """Draw lines.

    Parameters
    ----------
    title : str
    lines : sequence of Line
    x, y : Axis
    guides : sequence of (y, label)
        Thin horizontal lines.
    voxel_angst : float, optional
        When x is a frequency in cycles per voxel: resolutions are written along the top.

    Returns
    -------
    An ``<svg>`` element.
    """
    across, up = _scale(x, _LEFT, _WIDTH - _RIGHT), _scale(y, _HEIGHT - _BOTTOM, _TOP)
    parts = [*_frame(x, y, across, up)]
    if voxel_angst is not None:
        parts += [
            f'<text class="minor" x="{across(value):.1f}" y="{_TOP - 8}" text-anchor="middle">'
            f"{voxel_angst / value:.3g} Å</text>"
            for value, _ in x.ticks()
            if value > 0
        ]
    for value, label in guides:
        if y.low <= value <= y.high:
            parts.append(
                f'<path class="guide" d="M{_LEFT} {up(value):.1f}H{_WIDTH - _RIGHT}"/>'
                f'<text class="minor" x="{_WIDTH - _RIGHT - 4}" y="{up(value) - 5:.1f}" '
                f'text-anchor="end">{escape(label)}</text>'
            )
    for line in lines:
        parts += _line(line, across, up, y)
    return _svg(title, parts)


def image_chart(title: str, png_uri: str, x: Axis, y_labels: Sequence[tuple[float, str]]) -> str:
    """Draw an image whose x axis is a quantity, and whose rows are named.

    Parameters
    ----------
    title : str
    png_uri : str
        Image as a ``data:`` address, stretched over the frame.
    x : Axis
    y_labels : sequence of (share, label)
        Names at shares of the height, from the top.
    """
    across = _scale(x, _LEFT, _WIDTH - _RIGHT)
    height = _HEIGHT - _TOP - _BOTTOM
    parts = [
        f'<image href="{png_uri}" x="{_LEFT}" y="{_TOP}" width="{_WIDTH - _LEFT - _RIGHT}" '
        f'height="{height}" preserveAspectRatio="none"/>',
        *_x_ticks(x, across, grid=False),
        *(
            f'<text x="{_LEFT - 8}" y="{_TOP + share * height + 4:.1f}" text-anchor="end">'
            f"{escape(label)}</text>"
            for share, label in y_labels
        ),
    ]
    return _svg(title, parts)


def _svg(title: str, parts: Sequence[str]) -> str:
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(title)}">'
        + "".join(parts)
        + "</svg>"
    )


def _scale(axis: Axis, start: float, stop: float) -> Callable[[float], float]:
    return lambda value: start + (value - axis.low) / (axis.high - axis.low) * (stop - start)


def _frame(
    x: Axis, y: Axis, across: Callable[[float], float], up: Callable[[float], float]
) -> list[str]:
    parts = _x_ticks(x, across, grid=True)
    for value, label in y.ticks():
        parts.append(
            f'<path class="grid" d="M{_LEFT} {up(value):.1f}H{_WIDTH - _RIGHT}"/>'
            f'<text x="{_LEFT - 8}" y="{up(value) + 4:.1f}" text-anchor="end">{label}</text>'
        )
    middle = (_TOP + _HEIGHT - _BOTTOM) / 2
    parts.append(
        f'<text class="axis" transform="translate(13 {middle}) rotate(-90)" text-anchor="middle">'
        f"{escape(y.label)}</text>"
    )
    return parts


def _x_ticks(x: Axis, across: Callable[[float], float], *, grid: bool) -> list[str]:
    parts = []
    for value, label in x.ticks():
        at = across(value)
        if grid:
            parts.append(f'<path class="grid" d="M{at:.1f} {_TOP}V{_HEIGHT - _BOTTOM}"/>')
        parts.append(
            f'<text x="{at:.1f}" y="{_HEIGHT - _BOTTOM + 17}" text-anchor="middle">{label}</text>'
        )
    parts.append(
        f'<text class="axis" x="{(_LEFT + _WIDTH - _RIGHT) / 2}" y="{_HEIGHT - 8}" '
        f'text-anchor="middle">{escape(x.label)}</text>'
    )
    return parts


def _line(
    line: Line, across: Callable[[float], float], up: Callable[[float], float], y: Axis
) -> list[str]:
    kept = np.isfinite(line.y)
    values = np.clip(line.y[kept], y.low, y.high)
    points = [(across(a), up(b)) for a, b in zip(line.x[kept], values, strict=True)]
    if not points:
        return []
    colour = f"stroke:var(--line-{line.colour % COLOURS})"
    dash = ' stroke-dasharray="5 4"' if line.dashed else ""
    path = "M" + "L".join(f"{a:.1f} {b:.1f}" for a, b in points)
    parts = [
        f'<path class="line" style="{colour}"{dash} d="{path}"><title>{escape(line.name)}</title>'
        "</path>"
    ]
    if line.errors is not None:
        for (a, _), value, error in zip(points, line.y[kept], line.errors[kept], strict=True):
            low, high = (
                up(float(np.clip(v, y.low, y.high))) for v in (value - error, value + error)
            )
            name = f"{escape(line.name)}: {value:.3f} ± {error:.3f}"
            parts.append(
                f'<path class="error" style="{colour}" d="M{a:.1f} {low:.1f}V{high:.1f}"/>'
                f'<circle style="fill:var(--line-{line.colour % COLOURS})" cx="{a:.1f}" '
                f'cy="{up(float(np.clip(value, y.low, y.high))):.1f}" r="3">'
                f"<title>{name}</title></circle>"
            )
    return parts
