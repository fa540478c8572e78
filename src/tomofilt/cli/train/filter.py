"""`tomofilt train filter`: a filter from tilt series of which the specimen is known."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from tomofilt.cli import options
from tomofilt.cli.values import (
    LENGTH,
    SIZE,
    number,
    parse_memory,
    parse_numbers,
    parse_tilts,
    whole,
)
from tomofilt.errors import InputError

if TYPE_CHECKING:
    from tomofilt.training.cases import Cases

__all__ = ["train_filter"]

DATA, SIMULATED, SHREC = "Data", "Simulated data", "SHREC 2021"
MODEL, LOSS, SOLVER = "Filter", "Loss", "Solver"
_COUNT = whole("a whole number, 1 or more", least=1)
_POSITIVE = number("a number above 0", above=0)
_WEIGHT = number("a weight, 0 or more", least=0)


def train_filter(
    *,
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="NAME.tomofilt.safetensors",
            help="The bundle to write. NAME.jsonl (log) and NAME.png (learning curve, gains) are "
            "written beside it.",
            rich_help_panel=options.OUTPUT,
        ),
    ],
    simulate: Annotated[
        int | None,
        typer.Option(
            "--simulate",
            metavar="N",
            parser=_COUNT,
            help="Train on N simulated series. One more is for validation and one for the test.",
            rich_help_panel=DATA,
        ),
    ] = None,
    shrec: Annotated[
        Path | None,
        typer.Option(
            "--shrec",
            metavar="DIR",
            help="Train on the folders model_0 to model_9 of SHREC 2021.",
            rich_help_panel=DATA,
        ),
    ] = None,
    pairs: Annotated[
        Path | None,
        typer.Option(
            "--pairs",
            metavar="FILE.toml",
            help="Train on the series listed in this file. Each [[train]], [[validation]] or "
            "[[test]] entry has project, truth and, if needed, name and bin.",
            rich_help_panel=DATA,
        ),
    ] = None,
    shape: Annotated[
        tuple[int, int, int],
        typer.Option(
            "--shape",
            metavar="X Y Z",
            parser=SIZE,
            help="Size of the simulated tomograms in voxels.",
            rich_help_panel=SIMULATED,
        ),
    ] = (96, 96, 48),
    pixel_size: Annotated[
        float,
        typer.Option(
            "--pixel-size",
            metavar="A",
            parser=LENGTH,
            help="Pixel size of the simulated images and voxel size, in angstrom.",
            rich_help_panel=SIMULATED,
        ),
    ] = 10.0,
    tilts: Annotated[
        str,
        typer.Option(
            "--tilts",
            metavar="FIRST:LAST:STEP|FILE",
            help="Tilt angles in degrees: -60:60:3, or a file with angles.",
            rich_help_panel=SIMULATED,
        ),
    ] = "-60:60:3",
    snr: Annotated[
        float,
        typer.Option(
            "--snr",
            metavar="RATIO",
            parser=number("a ratio above 0", above=0),
            help="Variance of the signal divided by the variance of the noise, in the untilted "
            "image.",
            rich_help_panel=SIMULATED,
        ),
    ] = 0.1,
    train_models: Annotated[
        str,
        typer.Option(
            "--train-models",
            metavar="LIST",
            help="Models of SHREC to train on, 0 to 9: 1-3,7.",
            rich_help_panel=SHREC,
        ),
    ] = "1-9",
    validation_models: Annotated[
        str,
        typer.Option(
            "--validation-models",
            metavar="LIST",
            help="Models that say when to stop, or how much to shrink.  [default: the last one to "
            "train on]",
            rich_help_panel=SHREC,
        ),
    ] = "",
    test_models: Annotated[
        str,
        typer.Option(
            "--test-models", metavar="LIST", help="Models to test on.", rich_help_panel=SHREC
        ),
    ] = "0",
    downsample: Annotated[
        int,
        typer.Option(
            "--downsample",
            metavar="N",
            parser=_COUNT,
            help="Voxel size in unbinned pixels of 5 A. Images and truth are low-passed for it.",
            rich_help_panel=SHREC,
        ),
    ] = 4,
    parametrisation: Annotated[
        Literal["radial", "per-tilt", "polynomial", "grid", "factorised", "full"],
        typer.Option(
            "--parametrisation",
            help="What is learned. radial: one curve of gains against the length of the frequency, "
            "for all views. per-tilt: such a curve for each view. polynomial: such a curve whose "
            "values are polynomials in the tilt angle. grid: one table of gains, across and along "
            "the tilt axis, for all views. factorised: such a table times a weight for each view. "
            "full: such a table for each view.",
            rich_help_panel=MODEL,
        ),
    ] = "per-tilt",
    nodes: Annotated[
        str,
        typer.Option(
            "--nodes",
            metavar="N|all",
            help="Number of frequencies at which gains are learned (between them they are "
            "interpolated): on the radius, or across the tilt axis, with 2 N - 1 along it. all: "
            "every frequency of the images.",
            rich_help_panel=MODEL,
        ),
    ] = "14",
    order: Annotated[
        int,
        typer.Option(
            "--order",
            metavar="N",
            parser=whole("a whole number from 0 to 12", least=0, most=12),
            help="Order of the polynomials in the tilt angle, 0 to 12.",
            rich_help_panel=MODEL,
        ),
    ] = 4,
    init: Annotated[
        str,
        typer.Option(
            "--init",
            metavar="NAME[:ARG]|FILE",
            help="The filter that AdamW starts from: one of `tomofilt filters list`, radial-ramp, "
            "zero, or a bundle.",
            rich_help_panel=MODEL,
        ),
    ] = "ramp",
    padding: Annotated[
        Literal["reflect", "zero", "none"],
        typer.Option(
            "--padding",
            help="How images are extended at their edges while training. With none they wrap "
            "around. `tomofilt reconstruct` always reflects.",
            rich_help_panel=MODEL,
        ),
    ] = "reflect",
    freeze: Annotated[
        Literal["none", "tilt", "camera"],
        typer.Option(
            "--freeze",
            help="The part of a factorised filter that is not learned. tilt: the weights of the "
            "views. camera: the table of gains.",
            rich_help_panel=MODEL,
        ),
    ] = "none",
    loss: Annotated[
        Literal["mse", "huber"],
        typer.Option(
            "--loss",
            help="What is made small: squared differences to the true specimen, or Huber's loss. "
            "The mean of a tomogram does not count.",
            rich_help_panel=LOSS,
        ),
    ] = "mse",
    huber_delta: Annotated[
        float,
        typer.Option(
            "--huber-delta",
            metavar="SD",
            parser=_POSITIVE,
            help="The difference from which on Huber's loss is linear, in standard deviations of "
            "the truth.",
            rich_help_panel=LOSS,
        ),
    ] = 1.0,
    tv_volume: Annotated[
        float,
        typer.Option(
            "--tv-volume",
            metavar="WEIGHT",
            parser=_WEIGHT,
            help="Weight of the total variation of the tomogram: its mean per voxel, in standard "
            "deviations of the truth.",
            rich_help_panel=LOSS,
        ),
    ] = 0.0,
    tv_filter: Annotated[
        float,
        typer.Option(
            "--tv-filter",
            metavar="WEIGHT",
            parser=_WEIGHT,
            help="Weight of the total variation of the filter: its mean per coefficient.",
            rich_help_panel=LOSS,
        ),
    ] = 0.0,
    tv_projections: Annotated[
        float,
        typer.Option(
            "--tv-projections",
            metavar="WEIGHT",
            parser=_WEIGHT,
            help="Weight of the total variation of the filtered images: its mean per pixel.",
            rich_help_panel=LOSS,
        ),
    ] = 0.0,
    tv_kind: Annotated[
        Literal["anisotropic", "isotropic"],
        typer.Option(
            "--tv-kind",
            help="What total variation sums up. anisotropic: absolute differences along each axis. "
            "isotropic: lengths of the gradient.",
            rich_help_panel=LOSS,
        ),
    ] = "anisotropic",
    solver: Annotated[
        Literal["auto", "closed-form", "adamw"],
        typer.Option(
            "--solver",
            help="How the filter is found. auto: by the closed form if the loss is mse without "
            "total variation and the filter is not factorised, else by AdamW.",
            rich_help_panel=SOLVER,
        ),
    ] = "auto",
    iterations: Annotated[
        int,
        typer.Option(
            "--iterations",
            metavar="N",
            parser=_COUNT,
            help="Maximum number of iterations of the closed form.",
            rich_help_panel=SOLVER,
        ),
    ] = 25,
    steps: Annotated[
        int,
        typer.Option(
            "--steps",
            metavar="N",
            parser=_COUNT,
            help="Number of steps of AdamW, each on one series. The learning rate falls to zero "
            "over them.",
            rich_help_panel=SOLVER,
        ),
    ] = 300,
    lr: Annotated[
        float,
        typer.Option(
            "--lr",
            metavar="RATE",
            parser=_POSITIVE,
            help="Learning rate of AdamW at the first step.",
            rich_help_panel=SOLVER,
        ),
    ] = 0.03,
    weight_decay: Annotated[
        float,
        typer.Option(
            "--weight-decay",
            metavar="WEIGHT",
            parser=_WEIGHT,
            help="Weight decay of AdamW.",
            rich_help_panel=SOLVER,
        ),
    ] = 0.0,
    patience: Annotated[
        int,
        typer.Option(
            "--patience",
            metavar="N",
            parser=_COUNT,
            help="AdamW ends when N validations in a row have brought no better PSNR. There is one "
            "validation each time that all series have been used.",
            rich_help_panel=SOLVER,
        ),
    ] = 20,
    seed: options.Seed = 0,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Go on with AdamW where a training with the same options was interrupted.",
            rich_help_panel=options.RUN,
        ),
    ] = False,
    licence: Annotated[
        str,
        typer.Option(
            "--licence",
            metavar="TEXT",
            help="Licence of the bundle, such as CC0-1.0. It is written into the bundle.",
            rich_help_panel=options.OUTPUT,
        ),
    ] = "not stated",
    citation: Annotated[
        str,
        typer.Option(
            "--citation",
            metavar="TEXT",
            help="What to cite for the bundle. It is written into the bundle.",
            rich_help_panel=options.OUTPUT,
        ),
    ] = "not stated",
    overwrite: options.OverwriteFile = False,
    max_memory: options.MaxMemory = None,
    quiet: options.Quiet = False,
) -> None:
    """Train a filter on tilt series whose specimens are known.

    The filter is fitted to some series, other series say when to stop or how much to shrink, and
    yet others test it. `tomofilt reconstruct -m NAME.tomofilt.safetensors` applies it.
    """
    from tomofilt.cli.reporter import ConsoleReporter
    from tomofilt.training.gradient import Schedule
    from tomofilt.training.losses import Loss
    from tomofilt.training.supervised import Outputs, Training, train

    if resume and overwrite:
        raise InputError("--resume and --overwrite exclude each other: give one")
    wanted = Training(
        parametrisation=parametrisation,
        nodes=_nodes(nodes),
        order=order,
        init=init,
        padding=padding,
        loss=Loss(
            loss,
            huber_delta=huber_delta,
            tv_volume=tv_volume,
            tv_filter=tv_filter,
            tv_projections=tv_projections,
            tv_kind=tv_kind,
        ),
        solver=solver,
        iterations=iterations,
        schedule=Schedule(
            steps=steps, lr=lr, weight_decay=weight_decay, patience=patience, seed=seed
        ),
        frozen=freeze,
    )
    outputs = Outputs(output, licence, citation)
    if [simulate, shrec, pairs].count(None) != 2:
        raise InputError("give one of --simulate, --shrec and --pairs to train on")
    with ConsoleReporter(quiet=quiet, verbose=True) as reporter:
        reporter.start("training", 1, 1)
        if pairs is not None:
            from tomofilt.training.cases import cases_from_table

            cases = cases_from_table(pairs)
        elif shrec is not None:
            cases = _shrec(shrec, train_models, validation_models, test_models, downsample)
        else:
            assert simulate is not None
            cases = _simulated(simulate, shape, pixel_size, tilts, snr, seed)
        try:
            result = train(
                cases,
                wanted,
                outputs,
                reporter,
                resume=resume,
                overwrite=overwrite,
                max_memory_bytes=parse_memory(max_memory),
            )
        except KeyboardInterrupt:
            if outputs.checkpoint.exists():
                reporter.error("interrupted; the same command with --resume goes on")
            raise
    if not quiet:
        typer.echo(f"{outputs.bundle}: {result.filter.coefficients.size} coefficients")
        typer.echo(f"  tomofilt reconstruct -m {outputs.bundle} --imod-dir DIR")


def _nodes(text: str) -> int | None:
    if text == "all":
        return None
    if not re.fullmatch("[0-9]{1,9}", text):
        raise InputError(f"--nodes {text}: give a number of frequencies, or all")
    return int(text)


def _shrec(folder: Path, train: str, validation: str, test: str, downsample: int) -> Cases:
    from tomofilt.training.shrec import shrec_cases

    return shrec_cases(
        folder,
        train=parse_numbers("--train-models", train, "model", 0, 9),
        validation=parse_numbers("--validation-models", validation, "model", 0, 9),
        test=parse_numbers("--test-models", test, "model", 0, 9),
        downsample=downsample,
    )


def _simulated(
    count: int, shape: tuple[int, int, int], pixel_angst: float, tilts: str, snr: float, seed: int
) -> Cases:
    from tomofilt.training.cases import simulated_cases

    nx, ny, nz = shape
    return simulated_cases(
        count,
        seed=seed,
        shape=(nz, ny, nx),
        pixel_angst=pixel_angst,
        tilt_deg=parse_tilts(tilts),
        snr=snr,
    )
