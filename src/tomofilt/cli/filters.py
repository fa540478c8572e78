"""`tomofilt filters`: which filters there are, and what each does to which frequency."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from pathlib import Path
from tempfile import gettempdir
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from tomofilt.cli import options
from tomofilt.cli.values import Command, chosen_series
from tomofilt.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from tomofilt.filters.protocol import Filter, FilterContext

__all__ = ["app"]

app = typer.Typer(help="List the filters, or show what one does.", no_args_is_help=True)

#: The example that a filter is shown for.
WIDTH_PX, THICKNESS_ANGST = 1024, 1500.0
BAR_CELLS = 16
EIGHTHS = " ▏▎▍▌▋▊▉"


class _Curve(NamedTuple):
    """Gains, or the SNR, of one view on a frequency axis."""

    label: str
    values: NDArray[np.float64]


@app.command("list", cls=Command)
def list_filters() -> None:
    """List every filter, with its argument."""
    from rich.console import Console
    from rich.table import Table

    from tomofilt.filters.registry import available

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("Filter", no_wrap=True)
    table.add_column("What it does")
    for name, argument, description in available():
        table.add_row(name + argument, description)
    console = Console(highlight=False, markup=False, emoji=False)
    console.print(table)
    console.print(
        "\n[...] may be left out. A CUTOFF or SIGMA is in cycles per pixel of the tomogram, or a "
        "resolution: 60A."
    )


@app.command("show", cls=Command)
def show(
    spec: Annotated[str, typer.Argument(metavar="NAME[:ARG]", help="The filter.")],
    cutoff: options.Cutoff = None,
    series: Annotated[
        Path | None,
        typer.Option(
            "--for",
            metavar="PROJECT",
            help="Show it as it is for a tilt series: an IMOD folder or a RELION STAR file. "
            "Filters that are made from the images can only be shown so.",
        ),
    ] = None,
    tomogram_name: options.TomogramName = None,
    pixel_size: Annotated[
        float | None,
        typer.Option(
            "--pixel-size", metavar="A", help="Pixel size of the images in A.  [default: 10]"
        ),
    ] = None,
    tilts: Annotated[
        str | None,
        typer.Option(
            "--tilts",
            metavar="FIRST:LAST:STEP",
            help="Tilt angles in degrees.  [default: -60:60:3]",
        ),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option("--plot", metavar="FILE.png", help="Draw the gains into this file."),
    ] = None,
) -> None:
    """Show the gains of a filter against frequency, for the central and the steepest view."""
    import numpy as np
    from rich.console import Console

    console = Console(highlight=False, markup=False, emoji=False)

    def say(line: str) -> None:
        console.print(line, soft_wrap=True)

    if series is None:
        chosen, context = _by_example(spec, cutoff, pixel_size, tilts)
    elif pixel_size is None and tilts is None:
        chosen, context = _by_series(spec, cutoff, series, tomogram_name, say)
    else:
        raise InputError("--for takes pixel size and tilts from the series: give neither with it")
    if chosen.sirt_iterations:
        raise InputError(
            f"{chosen.spec} iterates and has no gains to show; sirt-like:{chosen.sirt_iterations} "
            "has those that look like it"
        )
    pixel, tilt_deg = context.pixel_angst, context.tilt_deg
    say(
        f"{chosen.spec}: {len(tilt_deg)} views from {tilt_deg.min():g} to {tilt_deg.max():g} deg, "
        f"{pixel:g} A/px, {context.width_px} px wide, tomogram {context.thickness_angst:g} A thick"
        + (", on the axis across the tilt axis" if chosen.two_dimensional else "")
    )
    steps, fine = np.linspace(0, 0.5, 21), np.linspace(0, 0.5, 501)
    charts = {"gain": _curves(chosen, context, steps)} | _snr_curves(chosen, context, steps)
    for name, curves in charts.items():
        console.print(_table(name, steps, curves, pixel))
    if plot is not None:
        charts = {"gain": _curves(chosen, context, fine)} | _snr_curves(chosen, context, fine)
        _plot(plot, chosen.spec, fine, charts, pixel)


def _by_example(
    spec: str, cutoff: str | None, pixel_size: float | None, tilts: str | None
) -> tuple[Filter, FilterContext]:
    """The filter for a made-up series."""
    from tomofilt.filters.registry import parse
    from tomofilt.filters.wiener import WienerExact

    pixel_angst = 10.0 if pixel_size is None else pixel_size
    if not pixel_angst > 0:
        raise InputError(f"--pixel-size {pixel_angst:g} A is not positive")
    chosen = parse(spec, cutoff=cutoff)
    if isinstance(chosen, WienerExact):
        raise InputError(
            f"{chosen.spec} is made from the images of a tilt series: name one, --for FOLDER"
        )
    return chosen, _context(chosen, _tilts(tilts or "-60:60:3"), pixel_angst)


def _by_series(
    spec: str,
    cutoff: str | None,
    path: Path,
    names: list[str] | None,
    say: Callable[[str], None],
) -> tuple[Filter, FilterContext]:
    """The filter for a project's series, measured if it has to be."""
    from tomofilt.measure import measured
    from tomofilt.plan import Settings, make_plan
    from tomofilt.projects import Destination, detect

    found = chosen_series([detect(path)], names)
    if len(found) > 1:
        raise InputError(
            f"{path} holds {len(found)} tilt series: choose one with --tomogram-name, "
            f"{found[0][1]} say"
        )
    project, name = found[0]
    # nothing is written; aligned images that do not fit into memory wait there
    nowhere = Destination(Path(gettempdir()) / f"{name}.mrc")
    settings = Settings(filter=spec, cutoff=cutoff)
    plan = measured(make_plan(project.read(name, {}), nowhere, settings), say)
    return plan.filter, plan.filter_context


def _tilts(text: str) -> NDArray[np.float64]:
    import numpy as np

    try:
        first, last, step = (float(part) for part in text.split(":"))
        count = round((last - first) / step) + 1
    except (ValueError, ZeroDivisionError, OverflowError):
        count, first, step = 0, 0.0, 0.0
    if not 1 <= count <= 1000:
        raise InputError(f"--tilts {text}: give first, last and step in degrees, -60:60:3")
    return np.asarray(first + step * np.arange(count), dtype=np.float64)


def _context(chosen: Filter, tilt_deg: NDArray[np.float64], pixel_angst: float) -> FilterContext:
    import numpy as np

    from tomofilt.filters.imod import imod_padded_length
    from tomofilt.filters.protocol import FilterContext

    is_imod = chosen.padding == "imod"
    return FilterContext(
        tilt_deg=tilt_deg,
        scale=np.ones(len(tilt_deg)),
        pixel_angst=pixel_angst,
        density_pixel_angst=pixel_angst,
        thickness_angst=THICKNESS_ANGST,
        width_px=WIDTH_PX,
        padded_px=imod_padded_length(WIDTH_PX) if is_imod else 2 * WIDTH_PX,
    )


def _curves(
    chosen: Filter, context: FilterContext, cycles_per_px: NDArray[np.float64]
) -> list[_Curve]:
    """Gains of the central and the steepest view, across the tilt axis."""
    import numpy as np

    # The filters take zero frequency as this share of the first bin (see Filter.gains).
    lowest = 2 / math.pi**2 / context.padded_px
    frequency = np.maximum(cycles_per_px, lowest) / context.pixel_angst
    return _two_views(chosen.gains(frequency, np.zeros(1), context), context)


def _snr_curves(
    chosen: Filter, context: FilterContext, cycles_per_px: NDArray[np.float64]
) -> dict[str, list[_Curve]]:
    """SNR of the same views, for a filter that has measured it."""
    import numpy as np

    from tomofilt.filters.wiener import WienerExact

    if not isinstance(chosen, WienerExact) or chosen.measurement is None:
        return {}
    # nothing is measured below
    frequency = np.maximum(cycles_per_px, 1 / context.width_px) / context.pixel_angst
    return {"SNR": _two_views(chosen.measurement.snr(frequency), context)}


def _two_views(values: NDArray[np.float64], context: FilterContext) -> list[_Curve]:
    steepness = abs(context.tilt_deg)
    return [
        _Curve(f"{kind} view, {context.tilt_deg[view]:.4g} deg", values[view])
        for kind, view in (("central", steepness.argmin()), ("steepest", steepness.argmax()))
    ]


def _table(
    name: str, cycles_per_px: NDArray[np.float64], curves: list[_Curve], pixel_angst: float
) -> object:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("cycles\n/px", justify="right", no_wrap=True)
    table.add_column("resolution\nA", justify="right", no_wrap=True)
    for curve in curves:
        table.add_column(f"\n{name}", justify="right", no_wrap=True)
        table.add_column(curve.label.replace(", ", "\n"), no_wrap=True)
    largest = max(float(curve.values.max()) for curve in curves)
    for i, cycles in enumerate(cycles_per_px):
        cells = [f"{cycles:.3f}", f"{pixel_angst / cycles:.4g}" if cycles else ""]
        for curve in curves:
            value = float(curve.values[i])
            cells += [f"{value:.3g}", _bar(value / largest if largest > 0 else 0.0)]
        table.add_row(*cells)
    return table


def _bar(share: float) -> str:
    eighths = round(max(share, 0.0) * BAR_CELLS * 8)
    return "█" * (eighths // 8) + EIGHTHS[eighths % 8].strip()


def _plot(
    path: Path,
    title: str,
    cycles_per_px: NDArray[np.float64],
    charts: dict[str, list[_Curve]],
    pixel_angst: float,
) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from tomofilt.files import write_bytes_atomic

    figure = Figure(figsize=(7, 4.2 * len(charts)), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(charts), squeeze=False)[:, 0]
    ticks = [0.1, 0.2, 0.3, 0.4, 0.5]
    for axes, (name, curves) in zip(panels, charts.items(), strict=True):
        for curve, style in zip(curves, ("-", "--"), strict=True):
            colour = "#1f5fa8" if style == "-" else "#d1762a"
            axes.plot(cycles_per_px, curve.values, style, color=colour, lw=1.8, label=curve.label)
        axes.set(xlim=(0, 0.5), xlabel="cycles / px", ylabel=name)
        if name == "SNR":
            axes.set_yscale("log")
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)
        upper = axes.secondary_xaxis("top")
        upper.set_xticks(ticks, [f"{pixel_angst / tick:.3g} A" for tick in ticks])
        upper.spines["top"].set_visible(False)
        upper.tick_params(length=0)
    panels[0].set_title(f"{title}   ({pixel_angst:g} A/px)", loc="left", pad=14)
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=150)
    write_bytes_atomic(path, png.getvalue(), replace=True)
