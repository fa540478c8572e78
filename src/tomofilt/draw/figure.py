"""Figures: how pictures drawn with matplotlib start, and how they end as PNG or as inline SVG."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tomofilt.draw.png import MARK, write_png

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["COLOURS", "INK", "RULE", "SOFT", "new_figure", "save_png", "svg_of"]

#: Colours of curves, in turn.
COLOURS = (
    *("#1f6f8b", "#d1762a", "#5b8c3a", "#a24a7b"),
    *("#5a5aa8", "#b59a1f", "#3c9a8f", "#8a6a54"),
)
#: Colours of titles, of numbers on axes and of grid lines.
INK, SOFT, RULE = "#20262c", "#66707a", "#e3e4df"
#: These colours become variables of the page's style, which has other values in dark mode.
_PAGE_COLOURS = {
    **{colour: f"var(--line-{i})" for i, colour in enumerate(COLOURS)},
    INK: "var(--ink)",
    SOFT: "var(--soft)",
    RULE: "var(--rule)",
}
#: Parts that matplotlib writes for SVG files and that an element of a page does not need.
_NOT_INLINE = re.compile(r'\s*<metadata>.*?</metadata>|<!--.*?-->| id="[\w.]+_\d+"', re.DOTALL)


def new_figure(
    width: float,
    height: float,
    rows: int = 1,
    columns: int = 1,
    widths: Sequence[float] | None = None,
) -> tuple[Figure, Any]:
    """Give a figure of so many inches and its panels, an array of (rows, columns)."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, width_ratios=widths)


def save_png(figure: Figure, path: Path) -> None:
    """Write a figure as PNG; replaces a picture of tomofilt's and no other file."""
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=150, metadata=MARK)
    write_png(path, png.getvalue())


def svg_of(figure: Figure, title: str) -> str:
    """Give a figure as an ``<svg>`` element with the page's fonts and colours.

    The same figure always gives the same text. The ``gid`` of a curve is shown when the pointer is
    on it.
    """
    from matplotlib import rc_context

    text = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "tomofilt"}):
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
    svg = _NOT_INLINE.sub("", text.getvalue().partition("<svg")[2])
    box = re.search(r'viewBox="[^"]*"', svg)
    svg = svg.partition(">")[2]
    svg = re.sub(r'<g id="([^"]*)">', r"<g><title>\1</title>", svg)
    svg = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px", svg)
    for colour, name in _PAGE_COLOURS.items():
        svg = svg.replace(colour, name)
    return f'<svg {box[0] if box else ""} role="img" aria-label="{escape(title)}">{svg}'
