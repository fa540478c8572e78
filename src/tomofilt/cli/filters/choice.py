"""Filters that a command line names, and the series they are looked at for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from tomofilt.cli.series import one_series
from tomofilt.cli.values import LENGTH, parse_tilts
from tomofilt.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from rich.console import Console

    from tomofilt.filters.protocol import Filter, FilterContext
    from tomofilt.reconstruction.problem import Method
    from tomofilt.series.tiltseries import TiltSeries

__all__ = [
    "METAVAR",
    "Chosen",
    "For",
    "PixelSize",
    "Tilts",
    "choose_filters",
    "plain_console",
    "print_line",
    "print_notes",
    "read_series",
]

METAVAR = "NAME[:ARG]|BUNDLE"

For = Annotated[
    Path | None,
    typer.Option(
        "--for",
        metavar="PROJECT",
        help="Show the filter as it is for this tilt series: an IMOD folder or a RELION STAR file. "
        "Filters that are made from the images need it.",
    ),
]
PixelSize = Annotated[
    float | None,
    typer.Option(
        "--pixel-size",
        metavar="A",
        parser=LENGTH,
        help="Pixel size of the images in angstrom.  [default: as in the bundle, else 10]",
    ),
]
Tilts = Annotated[
    str | None,
    typer.Option(
        "--tilts",
        metavar="FIRST:LAST:STEP|FILE",
        help="Tilt angles in degrees: -60:60:3, or a file with angles.  [default: as in the "
        "bundle, else -60:60:3]",
    ),
]

#: The example that a filter is shown for.
WIDTH_PX, THICKNESS_ANGST = 1024, 1500.0


class Chosen(NamedTuple):
    """A filter and what it knows of the series it is looked at for."""

    filter: Filter
    context: FilterContext


def choose_filters(
    specs: Sequence[str],
    *,
    cutoff: str | None,
    series: Path | None,
    names: list[str] | None,
    pixel_size: float | None,
    tilts: str | None,
) -> list[Chosen]:
    """Every filter for one and the same series, measured or transferred if it has to be."""
    if series is None:
        chosen = _by_example(specs, cutoff, pixel_size, tilts)
    elif pixel_size is None and tilts is None:
        chosen = _by_series(specs, cutoff, read_series(series, names))
    else:
        raise InputError("--for takes pixel size and tilts from the series: give neither with it")
    return chosen


def _filter_of(method: Method) -> Filter:
    if not method.is_linear_filter:
        raise InputError(
            f"{method.spec} iterates and has no gains to show; {method.spec.replace(':', '-like:')}"
            " has those that look like it"
        )
    return method.filter


def read_series(path: Path, names: list[str] | None) -> TiltSeries:
    """The one series of a project, or the one that is named."""
    from tomofilt.series.projects import detect, read_series

    project = detect(path)
    if names and len(names) > 1:
        raise InputError("give --tomogram-name once: filters are looked at for one series")
    return read_series(project, one_series(project, path, names[0] if names else None))


def plain_console() -> Console:
    """Standard output, with nothing in the text taken for mark-up."""
    from rich.console import Console

    return Console(highlight=False, markup=False, emoji=False)


def print_line(line: str) -> None:
    """Print a line of text as it is, however long."""
    plain_console().print(line, soft_wrap=True)


def print_notes(chosen: Filter) -> None:
    """Print what a filter says about itself."""
    for note in chosen.notes:
        print_line(f"  {chosen.spec}: {note}")


def _by_example(
    specs: Sequence[str], cutoff: str | None, pixel_size: float | None, tilts: str | None
) -> list[Chosen]:
    """Filters for made-up series: bundles for their own tilts, others for the first bundle's."""
    from tomofilt.filters.learned import LearnedFilter, read_filter
    from tomofilt.filters.transfer import for_series
    from tomofilt.filters.wiener import WienerExact
    from tomofilt.io.bundle import SUFFIX
    from tomofilt.reconstruction.methods.registry import parse

    filters = [
        read_filter(Path(spec)) if spec.endswith(SUFFIX) else _filter_of(parse(spec, cutoff=cutoff))
        for spec in specs
    ]
    learned = next((each for each in filters if isinstance(each, LearnedFilter)), None)
    if pixel_size is None:
        pixel_size = 10.0 if learned is None else learned.pixel_angst
    if tilts is not None or learned is None:
        common = parse_tilts(tilts or "-60:60:3")
    else:
        common = learned.tilt_deg
    chosen = []
    for each in filters:
        if isinstance(each, WienerExact):
            raise InputError(
                f"{each.spec} is made from the images of a tilt series: name one, --for FOLDER"
            )
        own, tilt_deg = each, common
        if isinstance(each, LearnedFilter):
            tilt_deg = each.tilt_deg if tilts is None else common
            own = for_series(each, tilt_deg, pixel_size)
        chosen.append(Chosen(own, _context(own, tilt_deg, pixel_size)))
    return chosen


def _by_series(specs: Sequence[str], cutoff: str | None, series: TiltSeries) -> list[Chosen]:
    """The filters for a project's series."""
    from tomofilt.filters.wiener import WienerExact
    from tomofilt.io.bundle import SUFFIX
    from tomofilt.reconstruction.gold import fill_gold
    from tomofilt.reconstruction.measure import measured
    from tomofilt.reconstruction.settings import Settings
    from tomofilt.reconstruction.setup import make_problem
    from tomofilt.util.log import notes_told_to

    chosen = []
    for spec in specs:
        if spec.endswith(SUFFIX):
            settings = Settings(model=Path(spec))
        else:
            settings = Settings(filter=spec, cutoff=cutoff)
        problem = make_problem(series, settings)
        _filter_of(problem.method)
        if isinstance(problem.filter, WienerExact):
            with problem.images() as images, notes_told_to(print_line):
                fill_gold(problem, images, settings)
                problem = measured(problem, images)
        chosen.append(Chosen(problem.filter, problem.filter_context))
    return chosen


def _context(chosen: Filter, tilt_deg: NDArray[np.float64], pixel_angst: float) -> FilterContext:
    import numpy as np

    from tomofilt.filters.protocol import FilterContext

    return FilterContext(
        tilt_deg=tilt_deg,
        scale=np.ones(len(tilt_deg)),
        pixel_angst=pixel_angst,
        density_pixel_angst=pixel_angst,
        thickness_angst=THICKNESS_ANGST,
        width_px=WIDTH_PX,
        padded_px=chosen.padded_px(WIDTH_PX),
    )
