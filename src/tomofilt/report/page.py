"""The page: what was measured about tomograms, with their slices and filters, in one HTML file.

The words and the layout are in ``templates/page.html``; here is what they are filled with.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tomofilt.draw.charts import Axis, Line, image_chart, line_chart
from tomofilt.draw.figure import COLOURS
from tomofilt.evaluate.rings import radial_power
from tomofilt.evaluate.scores import Scores
from tomofilt.evaluate.table import names, rows
from tomofilt.evaluate.tomograms import Tomogram
from tomofilt.io.record import record_as_json
from tomofilt.report.gains import Gains, gains_of
from tomofilt.report.pictures import slice_uris

__all__ = ["GENERATOR", "page"]

Float64 = NDArray[np.float64]

GENERATOR = "tomofilt report"
#: Number of the frequency band whose correlations are drawn view by view.
_VIEW_BAND = 3
_FREQUENCY = Axis("cycles / px", 0.0, 0.5)


class Chart(NamedTuple):
    """A chart with its title and caption; its colour is that of the only tomogram it is about."""

    title: str
    svg: str
    caption: str = ""
    colour: int | None = None


class Slices(NamedTuple):
    """Central slices of a tomogram as ``data:`` addresses; the truth has no colour."""

    title: str
    flat: str
    upright: str
    file: str
    colour: int | None = None


class Record(NamedTuple):
    """What is known about how a tomogram was made."""

    label: str
    facts: list[tuple[str, str]]
    whole: str


def page(scores: Sequence[Scores], truth: Tomogram | None = None, threads: int = 1) -> str:
    """Everything about some tomograms as an HTML document that needs nothing else.

    Parameters
    ----------
    scores : sequence of Scores
        Of each tomogram; figures that were not measured are left out of the page.
    truth : Tomogram, optional
        Drawn beside them.
    threads : int
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    labels = names(scores)
    environment = Environment(
        loader=PackageLoader("tomofilt.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    text = environment.get_template("page.html").render(
        generator=GENERATOR,
        version=version("tomofilt"),
        made=datetime.now(UTC).strftime("%d %B %Y, %H:%M UTC"),
        colours=len(COLOURS),
        title="Tomogram report" if len(scores) > 1 else scores[0].tomogram.path.name,
        summary=_summary(scores),
        labels=labels,
        slices=_slices(scores, labels, truth),
        rows=rows(scores),
        charts=_charts(scores, labels, threads),
        filters=_filters(scores, labels),
        records=_records(scores, labels),
    )
    return text.strip() + "\n"


def _summary(scores: Sequence[Scores]) -> str:
    tomogram = scores[0].tomogram
    nz, ny, nx = tomogram.shape
    series = tomogram.record.series if tomogram.record else None
    size = f"{nx} x {ny} x {nz} voxels (x, y, z) of {tomogram.voxel_angst:.4g} Å"
    count = f"{len(scores)} tomograms, " if len(scores) > 1 else ""
    return (f"{series}: " if series else "") + count + size


def _slices(
    scores: Sequence[Scores], labels: Sequence[str], truth: Tomogram | None
) -> list[Slices]:
    drawn = []
    for i, (each, label) in enumerate(zip(scores, labels, strict=True)):
        drawn.append(Slices(label, *slice_uris(each.tomogram), each.tomogram.path.name, i))
    if truth is not None:
        found = scores[0].truth
        inverted = found is not None and found.slope < 0
        drawn.append(Slices("truth", *slice_uris(truth, inverted=inverted), truth.path.name))
    return drawn


# ------------------------------------------------------------------------------------- charts


def _charts(scores: Sequence[Scores], labels: Sequence[str], threads: int) -> list[Chart]:
    made = [
        _truth_chart(scores, labels),
        _half_chart(scores, labels),
        _left_out_chart(scores, labels),
        *(_view_chart(scores, labels, name) for name in ("truth", "halves", "frames")),
        _power_chart(scores, labels, threads),
    ]
    return [chart for chart in made if chart is not None]


def _truth_chart(scores: Sequence[Scores], labels: Sequence[str]) -> Chart | None:
    lines = []
    for i, (each, label) in enumerate(zip(scores, labels, strict=True)):
        fsc = each.truth.fsc if each.truth else {}
        for region, dashed in (("sampled", False), ("wedge", True), ("all", False)):
            if region in fsc and not (region == "all" and "sampled" in fsc):
                curve = fsc[region]
                name = f"{label}, {region}"
                lines.append(Line(name, curve.frequency, curve.correlation, i, dashed))
    if not lines:
        return None
    axis = Axis("Fourier shell correlation", min(0.0, _lowest(lines)), 1.0)
    chart = line_chart(
        "FSC with the truth", lines, _FREQUENCY, axis, voxel_angst=scores[0].tomogram.voxel_angst
    )
    caption = "Solid: directions that the views saw. Dashed: inside the missing wedge."
    return Chart("Correlation with the truth", chart, caption)


def _half_chart(scores: Sequence[Scores], labels: Sequence[str]) -> Chart | None:
    lines = [
        Line(label, each.halves.frequency, each.halves.correlation, i)
        for i, (each, label) in enumerate(zip(scores, labels, strict=True))
        if each.halves is not None
    ]
    if not lines:
        return None
    axis = Axis("Fourier shell correlation", min(0.0, _lowest(lines)), 1.0)
    chart = line_chart(
        "FSC between halves",
        lines,
        _FREQUENCY,
        axis,
        guides=(0.5, 0.143),
        voxel_angst=scores[0].tomogram.voxel_angst,
    )
    caption = "How far the halves agree. They also agree in errors that both have, such as streaks."
    return Chart("Correlation between halves", chart, caption)


def _left_out_chart(scores: Sequence[Scores], labels: Sequence[str]) -> Chart | None:
    lines = []
    for i, (each, label) in enumerate(zip(scores, labels, strict=True)):
        if each.left_out is not None:
            narrow = slice(0, -1)  # the last band spans the others
            centres = each.left_out.bands[narrow].mean(axis=1)
            means, errors = each.left_out.mean[narrow], each.left_out.standard_error[narrow]
            lines.append(Line(label, centres, means, i, errors=errors))
    if not lines:
        return None
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
        "Correlation of images that were left out with projections of tomograms made without "
        "them. Images are noisy, so that even a perfect tomogram stays below 1. Bars: one standard "
        "error over the views. The table has the differences between tomograms, view by view."
    )
    return Chart("Prediction of left-out views", chart, caption)


def _view_chart(scores: Sequence[Scores], labels: Sequence[str], name: str) -> Chart | None:
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
        return None
    ends = [float(line.x[i]) for line in lines for i in (0, -1)]
    across = Axis("tilt / degrees", np.floor(min(ends) + 0.01), np.ceil(max(ends) - 0.01))
    up = Axis("Fourier ring correlation", min(0.0, _lowest(lines)), 1.0)
    caption = f"Of projections, from {low:g} to {high:g} cycles per voxel."
    if name == "frames":
        caption = f"Of the images themselves, from {low:g} to {high:g} cycles per pixel."
    return Chart(titles[name], line_chart(titles[name], lines, across, up), caption)


def _power_chart(scores: Sequence[Scores], labels: Sequence[str], threads: int) -> Chart | None:
    lines = []
    for i, (each, label) in enumerate(zip(scores, labels, strict=True)):
        frequency, power = radial_power(each.tomogram.read(), threads)
        level = np.maximum(power / power.max(), 1e-8)
        lines.append(Line(label, frequency, level, i))
    up = Axis("power", 10 ** np.floor(np.log10(_lowest(lines))), 1.0, logarithmic=True)
    chart = line_chart(
        "Radial power spectrum",
        lines,
        _FREQUENCY,
        up,
        voxel_angst=scores[0].tomogram.voxel_angst,
    )
    caption = "Rotational average of each tomogram, divided by its maximum."
    return Chart("Radial power spectrum", chart, caption)


def _lowest(lines: Sequence[Line]) -> float:
    return min(float(np.nanmin(line.y)) for line in lines)


# ------------------------------------------------------------------------------------ filters


def _filters(scores: Sequence[Scores], labels: Sequence[str]) -> list[Chart]:
    known = [
        (i, label, gains)
        for i, (each, label) in enumerate(zip(scores, labels, strict=True))
        if (gains := gains_of(each.tomogram)) is not None
    ]
    charts = [_gain_lines(known, scores[0].tomogram.voxel_angst)] if known else []
    for i, label, gains in known:
        largest = float(np.abs(gains.gains).max()) or 1.0
        image = image_chart(label, gains.gains / largest, _FREQUENCY, _tilt_labels(gains))
        charts.append(Chart(label, image, f"0 or less (light) to {largest:.3g} (dark)", i))
    return charts


def _gain_lines(known: Sequence[tuple[int, str, Gains]], voxel_angst: float) -> Chart:
    lines = []
    for i, label, gains in known:
        steepness = np.abs(gains.tilt_deg)
        largest = float(np.abs(gains.gains).max()) or 1.0
        for view, dashed in ((steepness.argmin(), False), (steepness.argmax(), True)):
            name = f"{label}, {gains.tilt_deg[view]:.1f} degrees"
            lines.append(Line(name, gains.cycles_per_px, gains.gains[view] / largest, i, dashed))
    axis = Axis("gain / maximum", min(0.0, _lowest(lines)), 1.0)
    return Chart(
        "Profiles", line_chart("Filters", lines, _FREQUENCY, axis, voxel_angst=voxel_angst)
    )


def _tilt_labels(gains: Gains) -> list[tuple[int, str]]:
    """Angles of some of the rows."""
    count = len(gains.tilt_deg)
    chosen = np.unique(np.linspace(0, count - 1, min(count, 7)).round().astype(int))
    return [(int(i), f"{round(gains.tilt_deg[i])}°") for i in chosen]


# ------------------------------------------------------------------------------------ records


def _records(scores: Sequence[Scores], labels: Sequence[str]) -> list[Record]:
    found = []
    for each, label in zip(scores, labels, strict=True):
        record = each.tomogram.record
        whole = "" if record is None else json.dumps(record_as_json(record), indent=1)
        found.append(Record(label, _facts(each.tomogram), whole))
    return found


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
