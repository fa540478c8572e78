"""`tomofilt train --head`: a denoising head to keep, from one series."""

from __future__ import annotations

from typing import Any

import typer

from tomofilt.cli.refine import refuse_taken, series_of
from tomofilt.cli.values import parse_memory

__all__ = ["train_head"]


def train_head(context: typer.Context, values: dict[str, Any]) -> None:
    """Train a head on a series, with or without a truth, and write it."""
    from tomofilt.cli.reporter import ConsoleReporter
    from tomofilt.denoise.teach import teach, teach_from_truth
    from tomofilt.evaluate.tomograms import Tomogram
    from tomofilt.io.bundle import save_bundle
    from tomofilt.reconstruction.measure import measured
    from tomofilt.reconstruction.settings import Settings
    from tomofilt.reconstruction.setup import make_problem
    from tomofilt.series.projects import SeriesOptions

    path, truth = values["output"], values["truth"]
    refuse_taken(path, overwrite=values["overwrite"])
    project, name = series_of(context, values)
    settings = Settings(
        filter="wiener-exact:match",
        bin=values["bin"],
        denoise=True,
        max_memory_bytes=parse_memory(values["max_memory"]),
    )
    series = project.read(name, SeriesOptions(thickness_angst=values["thickness"]))
    problem = make_problem(series, settings)
    with ConsoleReporter(quiet=values["quiet"]), problem.images() as images:
        problem = measured(problem, images)
        if truth is None:
            taught, metadata = teach(problem, images)
        else:
            taught, metadata = teach_from_truth(problem, images, Tomogram(truth).read())
    save_bundle(path, taught.to_bundle(metadata), overwrite=values["overwrite"])
    if not values["quiet"]:
        typer.echo(f"{path}: for `tomofilt reconstruct --denoise --head`")
