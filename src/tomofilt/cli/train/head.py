"""`tomofilt train head`: a denoising network to keep, from one series."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tomofilt.cli import options
from tomofilt.cli.command import exclusive
from tomofilt.cli.series import one_series
from tomofilt.cli.values import parse_memory
from tomofilt.errors import InputError, OutputExistsError

__all__ = ["train_head"]


def train_head(
    context: typer.Context,
    *,
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="NAME.tomofilt.safetensors",
            help="The bundle to write.",
            rich_help_panel=options.OUTPUT,
        ),
    ],
    imod_dir: Annotated[
        Path | None,
        typer.Option(
            "--imod-dir",
            metavar="DIR",
            help="Folder of IMOD (etomo) with the series.",
            rich_help_panel=options.INPUT,
        ),
    ] = None,
    relion_star: options.RelionStar = None,
    tomogram_name: Annotated[
        str | None,
        typer.Option(
            "--tomogram-name",
            metavar="NAME",
            help="Name of the series, if the project has several. Also: --tn.",
            rich_help_panel=options.INPUT,
        ),
    ] = None,
    bin: options.Bin = None,
    thickness: options.Thickness = None,
    truth: Annotated[
        Path | None,
        typer.Option(
            "--truth",
            metavar="FILE.mrc",
            help="The true specimen, if it is known, on the voxels of the tomogram. The network is "
            "then trained on it instead of on the images.",
            rich_help_panel=options.INPUT,
        ),
    ] = None,
    overwrite: options.OverwriteFile = False,
    max_memory: options.MaxMemory = None,
    quiet: options.Quiet = False,
) -> None:
    """Train a denoising network on one series, to use it on others of the same kind.

    `tomofilt reconstruct --denoise --head NAME.tomofilt.safetensors` uses it.
    """
    from tomofilt.cli.reporter import ConsoleReporter
    from tomofilt.denoise.train import train_on_series, train_on_truth
    from tomofilt.evaluate.tomograms import Tomogram
    from tomofilt.io.bundle import check_place, save_bundle
    from tomofilt.reconstruction.gold import fill_gold
    from tomofilt.reconstruction.measure import measured
    from tomofilt.reconstruction.settings import Settings
    from tomofilt.reconstruction.setup import make_problem
    from tomofilt.series.projects import SeriesOptions, project_type, read_series

    check_place(output)
    if output.exists() and not overwrite:
        raise OutputExistsError(
            f"{output} exists already: give --overwrite to replace it, or choose another name"
        )
    imod_dir, relion_star = exclusive(context, imod_dir=imod_dir, relion_star=relion_star)
    path = imod_dir or relion_star
    if path is None:
        raise InputError(
            "a network is trained on a series: give --imod-dir DIR or --relion-star FILE"
        )
    project = project_type("imod" if imod_dir else "relion").open(path)
    name = one_series(project, path, tomogram_name)
    settings = Settings(bin=bin, denoise=True, max_memory_bytes=parse_memory(max_memory))
    series = read_series(project, name, SeriesOptions(thickness_angst=thickness))
    problem = make_problem(series, settings)
    with ConsoleReporter(quiet=quiet, verbose=True), problem.images() as images:
        fill_gold(problem, images, settings)
        problem = measured(problem, images)
        if truth is None:
            head, metadata = train_on_series(problem, images)
        else:
            head, metadata = train_on_truth(problem, images, Tomogram(truth).read())
    save_bundle(output, head.to_bundle(metadata), overwrite=overwrite)
    if not quiet:
        typer.echo(f"{output}: for `tomofilt reconstruct --denoise --head`")
