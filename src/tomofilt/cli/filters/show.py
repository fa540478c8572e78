"""`tomofilt filters show`: the gains of one filter."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tomofilt.cli import options
from tomofilt.cli.filters.choice import (
    METAVAR,
    For,
    PixelSize,
    Tilts,
    choose_filters,
    plain_console,
    print_line,
    print_notes,
)
from tomofilt.cli.filters.tables import gain_table

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from tomofilt.draw.filters import Curve
    from tomofilt.filters.protocol import Filter, FilterContext

__all__ = ["show"]


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

    console = plain_console()
    [(chosen, context)] = choose_filters(
        [spec],
        cutoff=cutoff,
        series=series,
        names=tomogram_name,
        pixel_size=pixel_size,
        tilts=tilts,
    )
    pixel, tilt_deg = context.pixel_angst, context.tilt_deg
    print_line(
        f"{chosen.spec}: {len(tilt_deg)} views from {tilt_deg.min():g} to {tilt_deg.max():g} deg, "
        f"{pixel:g} A/px, {context.width_px} px wide, tomogram {context.thickness_angst:g} A thick"
        + (", on the axis across the tilt axis" if chosen.two_dimensional else "")
    )
    print_notes(chosen)
    _print_metadata(chosen)
    steps, fine = np.linspace(0, 0.5, 21), np.linspace(0, 0.5, 501)
    charts = {"gain": _curves(chosen, context, steps)} | _snr_curves(chosen, context, steps)
    for name, curves in charts.items():
        console.print(gain_table(name, steps, curves, pixel))
    if plot is not None:
        from tomofilt.draw.filters import draw_curves

        charts = {"gain": _curves(chosen, context, fine)} | _snr_curves(chosen, context, fine)
        draw_curves(plot, chosen.spec, fine, charts, pixel)
    if image is not None:
        from tomofilt.draw.filters import draw_gains
        from tomofilt.filters.samples import sampled

        draw_gains(image, chosen.spec, sampled(chosen, context), pixel)


def _print_metadata(chosen: Filter) -> None:
    """What a bundle says about itself, long lists cut short."""
    import json

    from tomofilt.filters.learned import LearnedFilter

    if not isinstance(chosen, LearnedFilter) or chosen.bundle is None:
        return
    print_line(f"  sha256: {chosen.bundle.sha256}")
    for name, value in sorted(chosen.bundle.metadata.items()):
        text = value if isinstance(value, str) else json.dumps(value)
        text = "".join(letter if letter.isprintable() else " " for letter in text)
        print_line(f"  {name}: {text if len(text) <= 300 else text[:300] + ' ...'}")


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
    from tomofilt.draw.filters import Curve

    steepness = abs(context.tilt_deg)
    return [
        Curve(f"{kind} view, {context.tilt_deg[view]:.4g} deg", values[view])
        for kind, view in (("central", steepness.argmin()), ("steepest", steepness.argmax()))
    ]
