"""`tomofilt filters`: which filters there are, and what each does to which frequency."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from tomofilt.cli import options
from tomofilt.cli.values import Command
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
    """Gains of one view on a frequency axis."""

    label: str
    gains: NDArray[np.float64]


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
    pixel_size: Annotated[
        float, typer.Option("--pixel-size", metavar="A", help="Pixel size of the images in A.")
    ] = 10.0,
    tilts: Annotated[
        str, typer.Option("--tilts", metavar="FIRST:LAST:STEP", help="Tilt angles in degrees.")
    ] = "-60:60:3",
    plot: Annotated[
        Path | None,
        typer.Option("--plot", metavar="FILE.png", help="Draw the gains into this file."),
    ] = None,
) -> None:
    """Show the gains of a filter against frequency, for the central and the steepest view."""
    import numpy as np
    from rich.console import Console

    from tomofilt.filters.registry import parse

    if not pixel_size > 0:
        raise InputError(f"--pixel-size {pixel_size:g} A is not positive")
    chosen = parse(spec, cutoff=cutoff)
    tilt_deg = _tilts(tilts)
    context = _context(chosen, tilt_deg, pixel_size)
    console = Console(highlight=False, markup=False, emoji=False)
    console.print(
        f"{chosen.spec}: {len(tilt_deg)} views from {tilt_deg[0]:g} to {tilt_deg[-1]:g} deg, "
        f"{pixel_size:g} A/px, {WIDTH_PX} px wide, specimen {THICKNESS_ANGST:g} A thick"
        + (", on the axis across the tilt axis" if chosen.two_dimensional else ""),
        soft_wrap=True,
    )
    steps = np.linspace(0, 0.5, 21)
    console.print(_table(steps, _curves(chosen, context, steps), pixel_size))
    if plot is not None:
        fine = np.linspace(0, 0.5, 501)
        _plot(plot, chosen.spec, fine, _curves(chosen, context, fine), pixel_size)


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
    gains = chosen.gains(frequency, np.zeros(1), context)
    steepness = np.abs(context.tilt_deg)
    return [
        _Curve(f"{kind} view, {context.tilt_deg[view]:g} deg", gains[view])
        for kind, view in (("central", steepness.argmin()), ("steepest", steepness.argmax()))
    ]


def _table(cycles_per_px: NDArray[np.float64], curves: list[_Curve], pixel_angst: float) -> object:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("cycles\n/px", justify="right", no_wrap=True)
    table.add_column("resolution\nA", justify="right", no_wrap=True)
    for curve in curves:
        table.add_column("\ngain", justify="right", no_wrap=True)
        table.add_column(curve.label.replace(", ", "\n"), no_wrap=True)
    largest = max(float(curve.gains.max()) for curve in curves)
    for i, cycles in enumerate(cycles_per_px):
        cells = [f"{cycles:.3f}", f"{pixel_angst / cycles:.4g}" if cycles else ""]
        for curve in curves:
            gain = float(curve.gains[i])
            cells += [f"{gain:.3g}", _bar(gain / largest if largest > 0 else 0.0)]
        table.add_row(*cells)
    return table


def _bar(share: float) -> str:
    eighths = round(max(share, 0.0) * BAR_CELLS * 8)
    return "█" * (eighths // 8) + EIGHTHS[eighths % 8].strip()


def _plot(
    path: Path,
    title: str,
    cycles_per_px: NDArray[np.float64],
    curves: list[_Curve],
    pixel_angst: float,
) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from tomofilt.files import write_bytes_atomic

    figure = Figure(figsize=(7, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for curve, style in zip(curves, ("-", "--"), strict=True):
        colour = "#1f5fa8" if style == "-" else "#d1762a"
        axes.plot(cycles_per_px, curve.gains, style, color=colour, lw=1.8, label=curve.label)
    axes.set(xlim=(0, 0.5), xlabel="cycles / px", ylabel="gain")
    axes.set_title(f"{title}   ({pixel_angst:g} A/px)", loc="left", pad=14)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    upper = axes.secondary_xaxis("top")
    ticks = [0.1, 0.2, 0.3, 0.4, 0.5]
    upper.set_xticks(ticks, [f"{pixel_angst / tick:.3g} A" for tick in ticks])
    upper.spines["top"].set_visible(False)
    upper.tick_params(length=0)
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=150)
    write_bytes_atomic(path, png.getvalue(), replace=True)
