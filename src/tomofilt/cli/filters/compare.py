"""`tomofilt filters compare`: radial profiles of several filters in one chart."""

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

__all__ = ["compare"]


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

    from tomofilt.draw.filters import Curve, draw_profiles
    from tomofilt.filters.samples import radial_profile

    found = choose_filters(
        specs,
        cutoff=None,
        series=series,
        names=tomogram_name,
        pixel_size=pixel_size,
        tilts=tilts,
    )
    for each in found:
        print_notes(each.filter)
    pixel = found[0].context.pixel_angst
    steps, fine = np.linspace(0, 0.5, 11), np.linspace(0, 0.5, 501)

    def curves(cycles_per_px: NDArray[np.float64]) -> list[Curve]:
        return [Curve(f.spec, radial_profile(f, c, cycles_per_px)) for f, c in found]

    print_line(
        f"gains at {pixel:g} A/px, mean over directions, sum over views: "
        + ", ".join(f"{f.spec} {len(c.tilt_deg)}" for f, c in found)
    )
    plain_console().print(gain_table("", steps, curves(steps), pixel, bars=False))
    draw_profiles(plot, fine, curves(fine), pixel)
