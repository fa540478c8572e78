"""`tomofilt evaluate`: figures about finished tomograms."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tomofilt.cli import options
from tomofilt.errors import InputError, MissingFileError
from tomofilt.io.files import read_input

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from rich.console import RenderableType

    from tomofilt.evaluate.scores import References, Scores

__all__ = ["evaluate", "references"]

BY = "Measured by"

Tomograms = Annotated[
    list[Path],
    typer.Argument(metavar="REC...", help="Tomograms, of the same specimen when there are more."),
]
Truth = Annotated[
    Path | None,
    typer.Option(
        "--truth",
        metavar="FILE.mrc",
        help="What the specimen really is, on the same voxels: PSNR, SSIM, Fourier shell "
        "correlation.",
        rich_help_panel=BY,
    ),
]
Half1 = Annotated[
    Path | None,
    typer.Option(
        "--half1",
        metavar="FILE.mrc",
        help="First half tomogram, with --half2: their Fourier shell correlation.  [default: those "
        "that tomofilt wrote beside the tomogram]",
        rich_help_panel=BY,
    ),
]
Half2 = Annotated[
    Path | None,
    typer.Option("--half2", metavar="FILE.mrc", help="Second half.", rich_help_panel=BY),
]
Series = Annotated[
    Path | None,
    typer.Option(
        "--series",
        metavar="PROJECT",
        help="IMOD folder or RELION STAR file that the tomogram was made from: it is made again "
        "without some views, as its record says, and has to predict them.",
        rich_help_panel=BY,
    ),
]
Rows = Annotated[
    int | None,
    typer.Option(
        "--rows",
        metavar="N",
        min=1,
        help="With --series: use only so many rows in the middle, in unbinned pixels; faster.",
        rich_help_panel=BY,
    ),
]
Labels = Annotated[
    Path | None,
    typer.Option(
        "--labels",
        metavar="FILE.mrc",
        help="A whole number for each kind of object, 0 for none, on the same voxels: contrast to "
        "noise of each.",
        rich_help_panel=BY,
    ),
]
Particles = Annotated[
    Path | None,
    typer.Option(
        "--particles",
        metavar="FILE.star",
        help="Where particles are, with --truth: how well a matched filter finds each kind.",
        rich_help_panel=BY,
    ),
]
Tilts = Annotated[
    str | None,
    typer.Option(
        "--tilts",
        metavar="FILE|FIRST:LAST:STEP",
        help="Tilt angles, for the missing wedge and correlations view by view.  [default: those "
        "in the tomogram's record]",
        rich_help_panel=BY,
    ),
]


def evaluate(
    tomograms: Tomograms,
    *,
    truth: Truth = None,
    half1: Half1 = None,
    half2: Half2 = None,
    series: Series = None,
    rows: Rows = None,
    labels: Labels = None,
    particles: Particles = None,
    tilts: Tilts = None,
    input_pixel_size: options.InputPixelSize = None,
    threads: options.Threads = None,
    as_json: options.Json = False,
) -> None:
    """Measure tomograms: against the truth, between halves, or by the views they predict.

    Several tomograms stand side by side, the best figure in bold. docs/evaluation.md says what each
    figure means. Nothing is written.
    """
    chosen = references(locals())
    scores = measure_all(tomograms, chosen, threads)
    from tomofilt.evaluate.table import rows as figures

    if not figures(scores):
        raise InputError(
            f"there is nothing to measure {tomograms[0]} by: give --truth, --half1 and --half2, "
            "--labels or --series"
        )
    if as_json:
        typer.echo(json.dumps({"results": [each.as_json() for each in scores]}, indent=1))
        return
    from rich.console import Console

    made = table(scores)
    # a table of many tomograms stays readable where lines may be wider than the terminal
    width = max(Console(width=10_000).measure(made).maximum, Console().width)
    Console(width=width, highlight=False, markup=False, emoji=False).print(made)


def references(values: Mapping[str, Any]) -> References:
    """What to measure by, from the options."""
    from tomofilt.evaluate.scores import References

    halves = [values["half1"], values["half2"]]
    if halves.count(None) == 1:
        raise InputError("--half1 and --half2 belong together: give both")
    if halves[0] is not None and len(values["tomograms"]) > 1:
        raise InputError(
            "--half1 and --half2 belong to one tomogram: give tomograms one at a time, or let "
            "tomofilt find the halves beside each (REC_half1.mrc and REC_half2.mrc)"
        )
    pixel = values["input_pixel_size"]
    return References(
        truth=values["truth"],
        halves=None if halves[0] is None else (halves[0], halves[1]),
        project=values["series"],
        overrides={} if pixel is None else {"input_pixel_angst": pixel},
        rows_px=values["rows"],
        tilt_deg=_tilts(values["tilts"]),
        labels=values["labels"],
        particles=values["particles"],
    )


def measure_all(tomograms: Sequence[Path], chosen: References, threads: int | None) -> list[Scores]:
    """Measure every tomogram."""
    from tomofilt.evaluate.scores import measure

    return [measure(path, chosen, threads) for path in dict.fromkeys(tomograms)]


def table(scores: Sequence[Scores]) -> RenderableType:
    """The figures, one column a tomogram."""
    from rich.table import Table
    from rich.text import Text

    from tomofilt.evaluate.table import names, rows

    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    made.add_column("")
    for name in names(scores):
        made.add_column(name, justify="right", no_wrap=True)
    section = ""
    for row in rows(scores):
        if row.section != section:
            section = row.section
            made.add_row(Text(f"\n{section}", style="bold"))
        cells = [
            Text(value, style="bold" if i in row.best else "") for i, value in enumerate(row.values)
        ]
        made.add_row(f"  {row.name}", *cells)
    return made


def _tilts(text: str | None) -> NDArray[np.float64] | None:
    """Angles of FIRST:LAST:STEP, or of a file with one a line."""
    import numpy as np

    if text is None:
        return None
    try:
        if ":" in text and not Path(text).exists():
            first, last, step = (float(part) for part in text.split(":"))
            return np.asarray(first + step * np.arange(round((last - first) / step) + 1))
        angles = np.array([float(line.split()[0]) for line in _lines(Path(text))])
    except (ValueError, ZeroDivisionError, OverflowError):
        angles = np.empty(0)
    if not 1 < len(angles) < 1000 or not np.isfinite(angles).all():
        raise InputError(
            f"--tilts {text}: give first, last and step in degrees, -60:60:3, or a file with one "
            "angle a line"
        )
    return angles


def _lines(path: Path) -> list[str]:
    try:
        return [line for line in read_input(path).decode().splitlines() if line.strip()]
    except MissingFileError:
        raise MissingFileError(f"--tilts {path}: there is no such file") from None
