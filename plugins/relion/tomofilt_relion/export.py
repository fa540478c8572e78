"""`tomofilt export`: tilt series of any project as a part of a RELION 5 project."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["export"]


def export(
    paths: Annotated[
        list[Path],
        typer.Argument(metavar="PATH", help="Projects of any installed kind: TS_*, say."),
    ],
    *,
    relion: Annotated[
        Path,
        typer.Option(
            "--relion",
            metavar="DIR",
            help="Folder of the RELION project; made if it is not there.",
        ),
    ],
    output_dir: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output-dir",
            metavar="DIR",
            help="Where tomofilt's tomograms are.  [default: where reconstruct puts them]",
        ),
    ] = None,
    thickness: Annotated[
        float | None,
        typer.Option(
            "--thickness",
            metavar="A",
            help="Thickness of the tomogram in A.  [default: the project's]",
        ),
    ] = None,
    input_pixel_size: Annotated[
        float | None,
        typer.Option("--input-pixel-size", metavar="A", help="Pixel size of the images in A."),
    ] = None,
) -> None:
    """Write tilt series of IMOD, AreTomo or Warp into a RELION 5 project.

    DIR gets tomograms.star, and a STAR file for each series with its angles, shifts, CTF and
    exposure. Where tomofilt has made a tomogram of a series, RELION takes it for its own: particles
    picked in it are extracted at the same places. Images stay where they are.
    """
    from tomofilt.series.projects import SeriesOptions, detect
    from tomofilt_relion.part import export_series

    options = SeriesOptions(input_pixel_angst=input_pixel_size, thickness_angst=thickness)
    found = []
    for path in dict.fromkeys(paths):
        project = detect(path)
        for name in project.names:
            found.append((project.read(name, options), project.destination(name, output_dir)))
    for name, notes in export_series(relion, found).items():
        typer.echo(f"{name}: written")
        for note in notes:
            typer.echo(f"  note: {note}")
    typer.echo(f"{relion / 'tomograms.star'}: give it to RELION, in {relion}")
