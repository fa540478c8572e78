"""`tomofilt report`: tomograms and what was measured about them, as one HTML page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tomofilt.cli import evaluate, options

__all__ = ["report"]


def report(
    tomograms: evaluate.Tomograms,
    *,
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE.html",
            help="The page to write.",
            rich_help_panel=options.OUTPUT,
        ),
    ] = Path("report.html"),
    truth: evaluate.Truth = None,
    half1: evaluate.Half1 = None,
    half2: evaluate.Half2 = None,
    series: evaluate.Series = None,
    rows: evaluate.Rows = None,
    labels: evaluate.Labels = None,
    particles: evaluate.Particles = None,
    tilts: evaluate.Tilts = None,
    input_pixel_size: options.InputPixelSize = None,
    threads: options.Threads = None,
) -> None:
    """Put tomograms on one HTML page: slices, figures, curves, filters and records.

    The page needs no network and no other file. An earlier report of this name is replaced.
    """
    from tomofilt.evaluate.scores import measure
    from tomofilt.report import write_report
    from tomofilt.util.threads import available_threads

    chosen = evaluate.references(
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
    write_report(output, scores, truth, threads or available_threads())
    typer.echo(f"{output}: {len(scores)} tomogram{'s' if len(scores) > 1 else ''}")
