"""`tomofilt evaluate`: figures about finished tomograms."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tomofilt.cli import options
from tomofilt.cli.values import parse_tilts, whole
from tomofilt.errors import InputError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from tomofilt.evaluate.scores import References, Scores

__all__ = ["evaluate", "references", "table"]

BY = "Measured by"

Tomograms = Annotated[
    list[Path],
    typer.Argument(
        metavar="REC...", help="Finished tomograms. When there are several: of the same specimen."
    ),
]
Truth = Annotated[
    Path | None,
    typer.Option(
        "--truth",
        metavar="FILE.mrc",
        help="The true specimen, on the same voxels. Gives PSNR, SSIM and the Fourier shell "
        "correlation (FSC) with it.",
        rich_help_panel=BY,
    ),
]
Half1 = Annotated[
    Path | None,
    typer.Option(
        "--half1",
        metavar="FILE.mrc",
        help="First half tomogram, with --half2. Gives the Fourier shell correlation of the two.  "
        "[default: the halves that tomofilt wrote beside the tomogram]",
        rich_help_panel=BY,
    ),
]
Half2 = Annotated[
    Path | None,
    typer.Option("--half2", metavar="FILE.mrc", help="Second half tomogram.", rich_help_panel=BY),
]
Series = Annotated[
    Path | None,
    typer.Option(
        "--series",
        metavar="PROJECT",
        help="IMOD folder or RELION STAR file that the tomogram was made from. Some views are left "
        "out, the tomogram is made again as its record says, and it has to predict these views.",
        rich_help_panel=BY,
    ),
]
Rows = Annotated[
    int | None,
    typer.Option(
        "--rows",
        metavar="N",
        parser=whole("a whole number of rows, 1 or more", least=1),
        help="With --series: use only so many rows in the middle, in unbinned pixels. This is "
        "faster.  [default: all rows]",
        rich_help_panel=BY,
    ),
]
Labels = Annotated[
    Path | None,
    typer.Option(
        "--labels",
        metavar="FILE.mrc",
        help="Label volume on the same voxels: a whole number for each kind of object, 0 for none. "
        "Gives the contrast-to-noise ratio of each kind.",
        rich_help_panel=BY,
    ),
]
Particles = Annotated[
    Path | None,
    typer.Option(
        "--particles",
        metavar="FILE.star",
        help="List of particles, with --truth. Gives how well a matched filter finds each kind.",
        rich_help_panel=BY,
    ),
]
Tilts = Annotated[
    str | None,
    typer.Option(
        "--tilts",
        metavar="FIRST:LAST:STEP|FILE",
        help="Tilt angles in degrees, for the missing wedge and for correlations view by view: "
        "-60:60:3, or a file with angles.  [default: as in the tomogram's record]",
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

    Several tomograms are shown side by side, with the best figure in bold. docs/evaluation.md says
    what each figure means. Nothing is written.
    """
    from tomofilt.evaluate.scores import measure
    from tomofilt.evaluate.table import rows as figures

    chosen = references(
        tomograms,
        truth=truth,
        half1=half1,
        half2=half2,
        series=series,
        rows=rows,
        labels=labels,
        particles=particles,
        tilts=tilts,
        input_pixel_size=input_pixel_size,
    )
    scores = [measure(path, chosen, threads) for path in dict.fromkeys(tomograms)]
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


def references(
    tomograms: Sequence[Path],
    *,
    truth: Path | None,
    half1: Path | None,
    half2: Path | None,
    series: Path | None,
    rows: int | None,
    labels: Path | None,
    particles: Path | None,
    tilts: str | None,
    input_pixel_size: float | None,
) -> References:
    """What to measure by, from the options of these names.

    Raises
    ------
    InputError
        Options do not go together, or --tilts are no angles.
    """
    from tomofilt.evaluate.scores import References

    if (half1 is None) != (half2 is None):
        raise InputError("--half1 and --half2 belong together: give both")
    if half1 is not None and len(tomograms) > 1:
        raise InputError(
            "--half1 and --half2 belong to one tomogram: give tomograms one at a time, or let "
            "tomofilt find the halves beside each (REC_half1.mrc and REC_half2.mrc)"
        )
    angles = None if tilts is None else parse_tilts(tilts)
    if angles is not None and len(angles) < 2:
        raise InputError(f"--tilts {tilts}: one angle makes no tilt series: give two or more")
    return References(
        truth=truth,
        halves=None if half1 is None or half2 is None else (half1, half2),
        project=series,
        input_pixel_angst=input_pixel_size,
        rows_px=rows,
        tilt_deg=angles,
        labels=labels,
        particles=particles,
    )


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
