"""The page: what was measured about tomograms, with their slices and filters, in one HTML file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from html import escape
from importlib.metadata import version
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

from tomofilt.draw.charts import COLOURS, Axis, Line, image_chart, line_chart
from tomofilt.evaluate.rings import radial_power
from tomofilt.evaluate.scores import Scores
from tomofilt.evaluate.table import names, rows
from tomofilt.evaluate.tomograms import Tomogram
from tomofilt.io.record import record_as_json
from tomofilt.report.gains import Gains, gains_of
from tomofilt.report.pictures import heat_uri, slice_uris

__all__ = ["GENERATOR", "page"]

Float64 = NDArray[np.float64]

GENERATOR = "tomofilt report"
#: The band, of those that are correlated, that is drawn view by view.
_VIEW_BAND = 3
_FREQUENCY = Axis("cycles / px", 0.0, 0.5)


def page(scores: Sequence[Scores], truth: Tomogram | None = None, threads: int = 1) -> str:
    """Everything about some tomograms as an HTML document that needs nothing else.

    Parameters
    ----------
    scores : sequence of Scores
        Of each tomogram; they may be empty of figures.
    truth : Tomogram, optional
        Drawn beside them.
    threads : int
    """
    labels = names(scores)
    title = "Tomogram report" if len(scores) > 1 else scores[0].tomogram.path.name
    style = files("tomofilt.report").joinpath("style.css").read_text()
    sections = [
        _slices(scores, labels, truth),
        _figures(scores, labels),
        _charts(scores, labels, threads),
        _filters(scores, labels),
        _records(scores, labels),
    ]
    made = datetime.now(UTC).strftime("%d %B %Y, %H:%M UTC")
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="generator" content="{GENERATOR} {version("tomofilt")}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n<main>\n"
        f"<h1>{escape(title)}</h1>\n<p>{escape(_summary(scores))}</p>\n"
        f"{_legend(labels)}{''.join(sections)}"
        f"<footer>Made by tomofilt {version('tomofilt')} on {made}.</footer>\n"
        "</main>\n</body>\n</html>\n"
    )


def _summary(scores: Sequence[Scores]) -> str:
    tomogram = scores[0].tomogram
    nz, ny, nx = tomogram.shape
    series = tomogram.record.series if tomogram.record else None
    size = f"{nx} x {ny} x {nz} voxels (x, y, z) of {tomogram.voxel_angst:.4g} Å"
    count = f"{len(scores)} tomograms, " if len(scores) > 1 else ""
    return (f"{series}: " if series else "") + count + size


def _legend(labels: Sequence[str]) -> str:
    if len(labels) < 2:
        return ""
    items = "".join(f"<li>{_key(i)}{escape(label)}</li>" for i, label in enumerate(labels))
    return f'<ul class="legend">{items}</ul>\n'


def _key(colour: int) -> str:
    return f'<span class="key" style="background:var(--line-{colour % COLOURS})"></span>'


def _section(title: str, note: str, body: str) -> str:
    return f"<section>\n<h2>{title}</h2>\n<p>{note}</p>\n{body}\n</section>\n" if body else ""


def _figure(title: str, body: str, caption: str = "") -> str:
    below = f"<figcaption>{caption}</figcaption>" if caption else ""
    return f"<figure><h3>{title}</h3>{body}{below}</figure>\n"


# ------------------------------------------------------------------------------------- slices


def _slices(scores: Sequence[Scores], labels: Sequence[str], truth: Tomogram | None) -> str:
    drawn = [
        (f"{_key(i)}{escape(label)}", scores[i].tomogram, False) for i, label in enumerate(labels)
    ]
    if truth is not None:
        found = scores[0].truth
        drawn.append(("truth", truth, found is not None and found.slope < 0))
    cards = []
    for name, tomogram, inverted in drawn:
        flat, upright = slice_uris(tomogram, inverted=inverted)
        pictures = (
            f'<img src="{flat}" alt="central XY slice"><img src="{upright}" alt="central XZ slice">'
        )
        cards.append(_figure(name, pictures, escape(tomogram.path.name)))
    note = (
        "Central slices, XY above XZ, y and z upwards. The grey levels of each go from mean - 3 to "
        "mean + 3 standard deviations of its XY slice."
    )
    return _section("Slices", note, f'<div class="grid">{"".join(cards)}</div>')


# ------------------------------------------------------------------------------------ figures


def _figures(scores: Sequence[Scores], labels: Sequence[str]) -> str:
    body, section = [], ""
    for row in rows(scores):
        if row.section != section:
            section = row.section
            body.append(f'<tr><th colspan="{len(labels) + 1}">{escape(section)}</th></tr>')
        cells = "".join(
            f'<td class="best">{escape(value)}</td>'
            if i in row.best
            else f"<td>{escape(value)}</td>"
            for i, value in enumerate(row.values)
        )
        body.append(f"<tr><td>{escape(row.name)}</td>{cells}</tr>")
    if not body:
        return ""
    head = "".join(f"<th>{_key(i)}{escape(label)}</th>" for i, label in enumerate(labels))
    table = (
        f'<div class="card scroll"><table><thead><tr><th></th>{head}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table></div>"
    )
    note = "The best of each row stands out where more is better. ± is one standard error."
    return _section("Figures", note, table)


# ------------------------------------------------------------------------------------- charts


def _charts(scores: Sequence[Scores], labels: Sequence[str], threads: int) -> str:
    made = [
        _truth_chart(scores, labels),
        _half_chart(scores, labels),
        _left_out_chart(scores, labels),
        *(_view_chart(scores, labels, name) for name in ("truth", "halves", "frames")),
        _power_chart(scores, labels, threads),
    ]
    return _section(
        "Curves",
        "Frequencies are in cycles per voxel; the numbers above a chart are resolutions.",
        f'<div class="grid charts">{"".join(made)}</div>',
    )


def _truth_chart(scores: Sequence[Scores], labels: Sequence[str]) -> str:
    lines = []
    for i, (each, label) in enumerate(zip(scores, labels, strict=True)):
        fsc = each.truth.fsc if each.truth else {}
        for region, dashed in (("sampled", False), ("wedge", True), ("all", False)):
            if region in fsc and not (region == "all" and "sampled" in fsc):
                curve = fsc[region]
                name = f"{label}, {region}"
                lines.append(Line(name, curve.frequency, curve.correlation, i, dashed))
    if not lines:
        return ""
    axis = Axis("Fourier shell correlation", min(0.0, _lowest(lines)), 1.0)
    chart = line_chart(
        "FSC with the truth", lines, _FREQUENCY, axis, voxel_angst=scores[0].tomogram.voxel_angst
    )
    caption = "Solid: directions that the views saw. Dashed: inside the missing wedge."
    return _figure("Correlation with the truth", chart, caption)


def _half_chart(scores: Sequence[Scores], labels: Sequence[str]) -> str:
    lines = [
        Line(label, each.halves.frequency, each.halves.correlation, i)
        for i, (each, label) in enumerate(zip(scores, labels, strict=True))
        if each.halves is not None
    ]
    if not lines:
        return ""
    axis = Axis("Fourier shell correlation", min(0.0, _lowest(lines)), 1.0)
    chart = line_chart(
        "FSC between halves",
        lines,
        _FREQUENCY,
        axis,
        guides=[(0.5, "0.5"), (0.143, "0.143")],
        voxel_angst=scores[0].tomogram.voxel_angst,
    )
    caption = "How far the halves agree: with what is wrong in both, too, streaks for one."
    return _figure("Correlation between halves", chart, caption)


def _left_out_chart(scores: Sequence[Scores], labels: Sequence[str]) -> str:
    lines = []
    for i, (each, label) in enumerate(zip(scores, labels, strict=True)):
        if each.left_out is not None:
            narrow = slice(0, -1)  # the last band spans the others
            centres = each.left_out.bands[narrow].mean(axis=1)
            means, errors = each.left_out.mean[narrow], each.left_out.standard_error[narrow]
            lines.append(Line(label, centres, means, i, errors=errors))
    if not lines:
        return ""
    highest = max(float(line.y.max()) for line in lines)
    axis = Axis("correlation", min(0.0, _lowest(lines)), min(1.0, 1.1 * highest))
    chart = line_chart(
        "Left-out views",
        lines,
        Axis("cycles / px", 0.0, 0.3),
        axis,
        voxel_angst=scores[0].tomogram.voxel_angst,
    )
    caption = (
        "Images that were left out, with projections of tomograms made without them. Images are "
        "noisy, so that even a perfect tomogram stays below 1. Bars: one standard error over the "
        "views; the table has the differences, view by view."
    )
    return _figure("Prediction of left-out views", chart, caption)


def _view_chart(scores: Sequence[Scores], labels: Sequence[str], name: str) -> str:
    titles = {
        "truth": "Correlation with the truth, view by view",
        "halves": "Correlation between halves, view by view",
        "frames": "Even against odd frames, view by view",
    }
    lines = []
    for i, (each, label) in enumerate(zip(scores, labels, strict=True)):
        if name in each.by_view:
            views = each.by_view[name]
            order = np.argsort(views.tilt_deg)
            curve = views.correlation[order, _VIEW_BAND]
            lines.append(Line(label, views.tilt_deg[order], curve, i))
            low, high = views.bands[_VIEW_BAND]
    if not lines:
        return ""
    ends = [float(line.x[i]) for line in lines for i in (0, -1)]
    across = Axis("tilt / degrees", np.floor(min(ends) + 0.01), np.ceil(max(ends) - 0.01))
    up = Axis("Fourier ring correlation", min(0.0, _lowest(lines)), 1.0)
    caption = f"Of projections, from {low:g} to {high:g} cycles per voxel."
    if name == "frames":
        caption = f"Of the images themselves, from {low:g} to {high:g} cycles per pixel."
    return _figure(titles[name], line_chart(titles[name], lines, across, up), caption)


def _power_chart(scores: Sequence[Scores], labels: Sequence[str], threads: int) -> str:
    lines = []
    for i, (each, label) in enumerate(zip(scores, labels, strict=True)):
        frequency, power = radial_power(each.tomogram.read(), threads)
        level = np.log10(np.maximum(power, power.max() * 1e-12) / power.max())
        lines.append(Line(label, frequency, level, i))
    up = Axis("power", max(-8.0, np.floor(_lowest(lines))), 0.0, logarithmic=True)
    chart = line_chart(
        "Radial power spectrum",
        lines,
        _FREQUENCY,
        up,
        voxel_angst=scores[0].tomogram.voxel_angst,
    )
    return _figure(
        "Radial power spectrum", chart, "Rotational average of each tomogram, over its maximum."
    )


def _lowest(lines: Sequence[Line]) -> float:
    return min(float(np.nanmin(line.y)) for line in lines)


# ------------------------------------------------------------------------------------ filters


def _filters(scores: Sequence[Scores], labels: Sequence[str]) -> str:
    known = [
        (i, label, gains)
        for i, (each, label) in enumerate(zip(scores, labels, strict=True))
        if (gains := gains_of(each.tomogram)) is not None
    ]
    figures = [_gain_lines(known, scores[0].tomogram.voxel_angst)] if known else []
    for i, label, gains in known:
        largest = float(np.abs(gains.gains).max()) or 1.0
        chart = image_chart(label, heat_uri(gains.gains / largest), _FREQUENCY, _tilt_labels(gains))
        figures.append(
            _figure(f"{_key(i)}{escape(label)}", chart, f"0 or less (light) to {largest:.3g}")
        )
    note = (
        "Gain of each view against frequency across the tilt axis. The curves are of the view of "
        "lowest (solid) and of highest tilt (dashed), over each filter's maximum."
    )
    return _section(
        "Filters", note, f'<div class="grid charts">{"".join(figures)}</div>' if known else ""
    )


def _gain_lines(known: Sequence[tuple[int, str, Gains]], voxel_angst: float) -> str:
    lines = []
    for i, label, gains in known:
        steepness = np.abs(gains.tilt_deg)
        largest = float(np.abs(gains.gains).max()) or 1.0
        for view, dashed in ((steepness.argmin(), False), (steepness.argmax(), True)):
            name = f"{label}, {gains.tilt_deg[view]:.1f} degrees"
            lines.append(Line(name, gains.cycles_per_px, gains.gains[view] / largest, i, dashed))
    axis = Axis("gain, over its maximum", min(0.0, _lowest(lines)), 1.0)
    chart = line_chart("Filters", lines, _FREQUENCY, axis, voxel_angst=voxel_angst)
    return _figure("Profiles", chart)


def _tilt_labels(gains: Gains) -> list[tuple[float, str]]:
    """Angles of some rows, at their places from the top."""
    count = len(gains.tilt_deg)
    chosen = np.unique(np.linspace(0, count - 1, min(count, 7)).round().astype(int))
    return [((i + 0.5) / count, f"{round(gains.tilt_deg[i])}°") for i in chosen]


# ------------------------------------------------------------------------------------ records


def _records(scores: Sequence[Scores], labels: Sequence[str]) -> str:
    cards = []
    for i, (each, label) in enumerate(zip(scores, labels, strict=True)):
        facts = "".join(
            f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>"
            for name, value in _facts(each.tomogram)
        )
        record = each.tomogram.record
        whole = ""
        if record is not None:
            text = escape(json.dumps(record_as_json(record), indent=1))
            whole = f"<details><summary>the whole record</summary><pre>{text}</pre></details>"
        cards.append(
            f'<div class="card"><h3>{_key(i)}{escape(label)}</h3><dl>{facts}</dl>{whole}</div>'
        )
    return _section("Records", "How each was made.", f'<div class="grid">{"".join(cards)}</div>')


def _facts(tomogram: Tomogram) -> list[tuple[str, str]]:
    record = tomogram.record
    nz, ny, nx = tomogram.shape
    facts = [
        ("file", str(tomogram.path)),
        ("size (x, y, z)", f"{nx} x {ny} x {nz} voxels of {tomogram.voxel_angst:.4g} Å"),
    ]
    if record is None:
        return [*facts, ("record", "none: tomofilt did not make it")]
    tilts = [view.tilt_deg for view in record.views]
    span = f"{len(tilts)} from {min(tilts):.1f}° to {max(tilts):.1f}°"
    return [
        *facts,
        ("series", record.series),
        ("filter", record.filter.spec),
        ("views", span + (f", {len(record.excluded)} excluded" if record.excluded else "")),
        ("projector", f"{record.projector}, {record.filter.interpolation} interpolation"),
        ("made", f"{record.finished}, tomofilt {record.version}"),
        ("time", f"{sum(record.seconds.values()):.1f} s on {record.threads} threads"),
        ("fingerprint", record.fingerprint),
        *(("note", note) for note in record.notes),
    ]
