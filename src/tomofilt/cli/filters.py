"""`tomofilt filters`: which filters there are, and what each does to which frequency."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from tomofilt.cli import options
from tomofilt.cli.filter_choice import (
    METAVAR,
    Chosen,
    For,
    PixelSize,
    Tilts,
    choose_filters,
    read_series,
    tilt_list,
)
from tomofilt.cli.values import Command
from tomofilt.draw.filters import Curve
from tomofilt.errors import InputError
from tomofilt.io.bundle import SUFFIX

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from tomofilt.filters.protocol import Filter, FilterContext

__all__ = ["app"]

app = typer.Typer(
    help="List the filters, look at what they do, and move learned ones to other tilts.",
    no_args_is_help=True,
)

BAR_CELLS = 16
EIGHTHS = " ▏▎▍▌▋▊▉"

Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace the file if there is one already.")
]


@app.command("list", cls=Command)
def list_filters() -> None:
    """List every filter, with its argument."""
    from rich.table import Table

    from tomofilt.reconstruction.methods.registry import available

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("Filter", no_wrap=True)
    table.add_column("What it does")
    for name, argument, description in available():
        table.add_row(name + argument, description)
    console = _console()
    console.print(table)
    console.print(
        "\n[...] may be left out. A CUTOFF or SIGMA is in cycles per pixel of the tomogram, or a "
        f"resolution: 60A. Learned filters are files, NAME{SUFFIX}: reconstruct -m."
    )


@app.command("show", cls=Command)
def show(
    spec: Annotated[str, typer.Argument(metavar=METAVAR, help="The filter.")],
    cutoff: options.Cutoff = None,
    series: For = None,
    tomogram_name: options.TomogramName = None,
    pixel_size: PixelSize = None,
    tilts: Tilts = None,
    plot: Annotated[
        Path | None,
        typer.Option("--plot", metavar="FILE.png", help="Draw the gains into this file."),
    ] = None,
    image: Annotated[
        Path | None,
        typer.Option(
            "--image",
            metavar="FILE.png",
            help="Draw the gains of some views in two dimensions into this file.",
        ),
    ] = None,
) -> None:
    """Show the gains of a filter against frequency, for the central and the steepest view."""
    import numpy as np

    console, say = _console_and_say()
    [(chosen, context)] = choose_filters(
        [spec],
        cutoff=cutoff,
        series=series,
        names=tomogram_name,
        pixel_size=pixel_size,
        tilts=tilts,
        say=say,
    )
    pixel, tilt_deg = context.pixel_angst, context.tilt_deg
    say(
        f"{chosen.spec}: {len(tilt_deg)} views from {tilt_deg.min():g} to {tilt_deg.max():g} deg, "
        f"{pixel:g} A/px, {context.width_px} px wide, tomogram {context.thickness_angst:g} A thick"
        + (", on the axis across the tilt axis" if chosen.two_dimensional else "")
    )
    _say_notes(chosen, say)
    _say_metadata(chosen, say)
    steps, fine = np.linspace(0, 0.5, 21), np.linspace(0, 0.5, 501)
    charts = {"gain": _curves(chosen, context, steps)} | _snr_curves(chosen, context, steps)
    for name, curves in charts.items():
        console.print(_table(name, steps, curves, pixel))
    if plot is not None:
        from tomofilt.draw.filters import draw_curves

        charts = {"gain": _curves(chosen, context, fine)} | _snr_curves(chosen, context, fine)
        draw_curves(plot, chosen.spec, fine, charts, pixel)
    if image is not None:
        from tomofilt.draw.filters import draw_gains
        from tomofilt.filters.samples import sampled

        draw_gains(image, chosen.spec, sampled(chosen, context), pixel)


@app.command("compare", cls=Command)
def compare(
    specs: Annotated[list[str], typer.Argument(metavar=METAVAR, help="The filters.")],
    plot: Annotated[
        Path, typer.Option("--plot", metavar="FILE.png", help="Draw the profiles into this file.")
    ],
    series: For = None,
    tomogram_name: options.TomogramName = None,
    pixel_size: PixelSize = None,
    tilts: Tilts = None,
) -> None:
    """Draw the radial profiles of filters into one chart, over their maxima and as they are.

    Without --for and --tilts, bundles are drawn for their own tilts, other filters for those of the
    first bundle.
    """
    import numpy as np

    from tomofilt.draw.filters import draw_profiles
    from tomofilt.filters.samples import radial_profile

    console, say = _console_and_say()
    found = choose_filters(
        specs,
        cutoff=None,
        series=series,
        names=tomogram_name,
        pixel_size=pixel_size,
        tilts=tilts,
        say=say,
    )
    for each in found:
        _say_notes(each.filter, say)
    pixel = found[0].context.pixel_angst
    steps, fine = np.linspace(0, 0.5, 11), np.linspace(0, 0.5, 501)

    def curves(cycles_per_px: NDArray[np.float64]) -> list[Curve]:
        return [Curve(f.spec, radial_profile(f, c, cycles_per_px)) for f, c in found]

    say(
        f"gains at {pixel:g} A/px, mean over directions, sum over views: "
        + ", ".join(f"{f.spec} {len(c.tilt_deg)}" for f, c in found)
    )
    console.print(_table("", steps, curves(steps), pixel, bars=False))
    draw_profiles(plot, fine, curves(fine), pixel)


@app.command("export", cls=Command)
def export(
    spec: Annotated[str, typer.Argument(metavar=METAVAR, help="The filter.")],
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help=".npz: gains of every view in two dimensions; .csv: across the tilt axis.",
        ),
    ],
    cutoff: options.Cutoff = None,
    series: For = None,
    tomogram_name: options.TomogramName = None,
    pixel_size: PixelSize = None,
    tilts: Tilts = None,
    overwrite: Overwrite = False,
) -> None:
    """Write the gains of every view of a filter as numbers."""
    from tomofilt.io.files import write_bytes_atomic

    if output.suffix not in (".npz", ".csv"):
        raise InputError(f"{output}: give a name that ends in .npz or .csv")
    _, say = _console_and_say()
    [chosen] = choose_filters(
        [spec],
        cutoff=cutoff,
        series=series,
        names=tomogram_name,
        pixel_size=pixel_size,
        tilts=tilts,
        say=say,
    )
    _say_notes(chosen.filter, say)
    content = _npz(chosen) if output.suffix == ".npz" else _csv(chosen)
    write_bytes_atomic(output, content, replace=overwrite)
    say(f"{output}: {chosen.filter.spec}, {len(chosen.context.tilt_deg)} views")


@app.command("transfer", cls=Command)
def transfer(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="A filter learned per tilt.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="NEW", help=f"The new bundle, NAME{SUFFIX}.")
    ],
    to: Annotated[
        Path | None,
        typer.Option(
            "--to", metavar="PROJECT", help="Tilts of an IMOD folder or a RELION STAR file."
        ),
    ] = None,
    tomogram_name: options.TomogramName = None,
    tilts: Annotated[
        str | None,
        typer.Option("--tilts", metavar="FIRST:LAST:STEP", help="Tilts in degrees, instead."),
    ] = None,
    method: Annotated[
        Literal["nearest", "linear", "cubic", "polynomial"],
        typer.Option("--method", help="polynomial: of order 4, by least squares."),
    ] = "polynomial",
    overwrite: Overwrite = False,
) -> None:
    """Make a filter that was learned for each tilt one for other tilts.

    `reconstruct -m` does it by itself, with polynomials. Sizes and pixel sizes need no transfer.
    """
    from tomofilt.filters import transfer as library
    from tomofilt.filters.learned import LearnedFilter, read_filter
    from tomofilt.io.bundle import save_bundle

    if (to is None) == (tilts is None):
        raise InputError("give the tilts to transfer to: either --to PROJECT or --tilts -60:60:3")
    chosen = read_filter(bundle)
    if not isinstance(chosen, LearnedFilter):
        raise InputError(
            f"{bundle} goes with any tilts as it is, measured anew on each series: there is "
            "nothing to transfer"
        )
    if to is not None:
        tilt_deg = read_series(to, tomogram_name).geometry.factor()[1].tilt_deg
    else:
        tilt_deg = tilt_list(tilts or "")
    found = library.transfer(chosen, tilt_deg, method)
    assert found.bundle is not None
    metadata = {**found.bundle.metadata, "transferred_from": found.bundle.sha256}
    # what the parametrisation says is said again by whoever reads it
    new = found.to_bundle({**metadata, "notes": list(found.notes[1:])})
    save_bundle(output, new, overwrite=overwrite)
    _, say = _console_and_say()
    say(f"{output}: {found.notes[-1]}")


def _console() -> Any:
    from rich.console import Console

    return Console(highlight=False, markup=False, emoji=False)


def _console_and_say() -> tuple[Any, Callable[[str], None]]:
    console = _console()

    def say(line: str) -> None:
        console.print(line, soft_wrap=True)

    return console, say


def _say_notes(chosen: Filter, say: Callable[[str], None]) -> None:
    for note in chosen.notes:
        say(f"  {chosen.spec}: {note}")


def _say_metadata(chosen: Filter, say: Callable[[str], None]) -> None:
    """What a bundle says about itself, long lists cut short."""
    import json

    from tomofilt.filters.learned import LearnedFilter
    from tomofilt.filters.refined import RefinedFilter

    if not isinstance(chosen, LearnedFilter | RefinedFilter) or chosen.bundle is None:
        return
    say(f"  sha256: {chosen.bundle.sha256}")
    for name, value in sorted(chosen.bundle.metadata.items()):
        text = value if isinstance(value, str) else json.dumps(value)
        text = "".join(letter if letter.isprintable() else " " for letter in text)
        say(f"  {name}: {text if len(text) <= 300 else text[:300] + ' ...'}")


def _npz(chosen: Chosen) -> bytes:
    import numpy as np

    from tomofilt.filters.samples import sampled

    samples = sampled(*chosen)
    content = io.BytesIO()
    np.savez_compressed(
        content, spec=chosen.filter.spec, notes=np.array(chosen.filter.notes, str), **vars(samples)
    )
    return content.getvalue()


def _csv(chosen: Chosen) -> bytes:
    from tomofilt.filters.samples import sampled

    samples = sampled(*chosen, along=1)
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["k_per_angst", *(f"{tilt:.4g} deg" for tilt in samples.tilt_deg)])
    for i, k in enumerate(samples.k_across_per_angst):
        table.writerow([f"{k:.7g}", *(f"{gain:.7g}" for gain in samples.gains[:, 0, i])])
    return text.getvalue().encode()


def _curves(
    chosen: Filter, context: FilterContext, cycles_per_px: NDArray[np.float64]
) -> list[Curve]:
    """Gains of the central and the steepest view, across the tilt axis."""
    import numpy as np

    # The filters take zero frequency as this share of the first bin (see Filter.gains).
    lowest = 2 / np.pi**2 / context.padded_px
    frequency = np.maximum(cycles_per_px, lowest) / context.pixel_angst
    return _two_views(chosen.gains(frequency, np.zeros(1), context), context)


def _snr_curves(
    chosen: Filter, context: FilterContext, cycles_per_px: NDArray[np.float64]
) -> dict[str, list[Curve]]:
    """SNR of the same views, for a filter that has measured it."""
    import numpy as np

    from tomofilt.filters.wiener import WienerExact

    if not isinstance(chosen, WienerExact) or chosen.measurement is None:
        return {}
    # nothing is measured below
    frequency = np.maximum(cycles_per_px, 1 / context.width_px) / context.pixel_angst
    return {"SNR": _two_views(chosen.measurement.snr(frequency), context)}


def _two_views(values: NDArray[np.float64], context: FilterContext) -> list[Curve]:
    steepness = abs(context.tilt_deg)
    return [
        Curve(f"{kind} view, {context.tilt_deg[view]:.4g} deg", values[view])
        for kind, view in (("central", steepness.argmin()), ("steepest", steepness.argmax()))
    ]


def _table(
    name: str,
    cycles_per_px: NDArray[np.float64],
    curves: list[Curve],
    pixel_angst: float,
    *,
    bars: bool = True,
) -> object:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("cycles\n/px", justify="right", no_wrap=True)
    table.add_column("resolution\nA", justify="right", no_wrap=True)
    for curve in curves:
        if bars:
            table.add_column(f"\n{name}", justify="right", no_wrap=True)
            table.add_column(curve.label.replace(", ", "\n"), no_wrap=True)
        else:
            table.add_column(curve.label, justify="right", overflow="fold")
    largest = max(float(curve.values.max()) for curve in curves)
    for i, cycles in enumerate(cycles_per_px):
        cells = [f"{cycles:.3f}", f"{pixel_angst / cycles:.4g}" if cycles else ""]
        for curve in curves:
            value = float(curve.values[i])
            cells += [f"{value:.3g}"]
            cells += [_bar(value / largest if largest > 0 else 0.0)] if bars else []
        table.add_row(*cells)
    return table


def _bar(share: float) -> str:
    eighths = round(max(share, 0.0) * BAR_CELLS * 8)
    return "█" * (eighths // 8) + EIGHTHS[eighths % 8].strip()
