"""`tomofilt train`: a filter from tilt series of which the truth is known, or from a series."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from tomofilt.cli import options
from tomofilt.cli.refine import check_mode, refine_series
from tomofilt.cli.training_values import cases_of, training_of
from tomofilt.cli.values import parse_memory
from tomofilt.errors import InputError

__all__ = ["train"]

DATA, SIMULATED, SHREC, SELF = "Data", "Simulated data", "SHREC 2021", "Self-supervised"
MODEL, LOSS, SOLVER = "Filter", "Loss", "Solver"


def train(
    context: typer.Context,
    *,
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="NAME.tomofilt.safetensors",
            help="The bundle; NAME.jsonl (log) and NAME.png (learning curve, gains) lie beside it, "
            "but for --self.",
            rich_help_panel=options.OUTPUT,
        ),
    ],
    simulate: Annotated[
        int | None,
        typer.Option(
            "--simulate",
            metavar="N",
            min=1,
            help="Train on N simulated series; one more serves for validation and one to test.",
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
            help="Train on listed pairs of a project and a truth: [[train]], [[validation]], "
            "[[test]], each with project, truth, and where needed name and bin.",
            rich_help_panel=DATA,
        ),
    ] = None,
    from_itself: Annotated[
        bool,
        typer.Option(
            "--self",
            help="Learn a few gains on top of wiener-exact:match from one series itself, without "
            "any truth; kept only if views that were left out are predicted better.",
            rich_help_panel=SELF,
        ),
    ] = False,
    head: Annotated[
        bool,
        typer.Option(
            "--head",
            help="Train a denoising head on one series, for `reconstruct --denoise --head` on its "
            "sisters.",
            rich_help_panel=SELF,
        ),
    ] = False,
    truth: Annotated[
        Path | None,
        typer.Option(
            "--truth",
            metavar="FILE.mrc",
            help="With --head: train on the specimen itself, where it is known, on the voxels of "
            "the tomogram.",
            rich_help_panel=SELF,
        ),
    ] = None,
    imod_dir: Annotated[
        Path | None,
        typer.Option(
            "--imod-dir", metavar="DIR", help="The series: an IMOD folder.", rich_help_panel=SELF
        ),
    ] = None,
    relion_star: Annotated[
        Path | None,
        typer.Option(
            "--relion-star",
            metavar="FILE",
            help="The series: one of a RELION 5 project.",
            rich_help_panel=SELF,
        ),
    ] = None,
    tomogram_name: Annotated[
        str | None,
        typer.Option(
            "--tomogram-name",
            metavar="NAME",
            help="Its name, where there are several.",
            rich_help_panel=SELF,
        ),
    ] = None,
    bin: Annotated[
        float | None,
        typer.Option(
            "--bin",
            metavar="FACTOR",
            help="Voxel in input pixels.  [default: the project's]",
            rich_help_panel=SELF,
        ),
    ] = None,
    thickness: Annotated[
        float | None,
        typer.Option(
            "--thickness",
            metavar="A",
            help="Thickness of the tomogram in A; at least the specimen's.  [default: the "
            "project's]",
            rich_help_panel=SELF,
        ),
    ] = None,
    halves: Annotated[
        Literal["auto", "frames", "tilts", "none"],
        typer.Option(
            "--halves",
            help="Which halves predict each other. auto: frames if the series has them, else "
            "tilts. none: the images predict themselves (minimum residual), by which noise comes "
            "through as with the ramp; for comparison, and kept whatever it does.",
            rich_help_panel=SELF,
        ),
    ] = "auto",
    shape: Annotated[
        tuple[int, int, int],
        typer.Option(
            "--shape",
            metavar="X Y Z",
            help="Size of the simulated tomograms in voxels.",
            rich_help_panel=SIMULATED,
        ),
    ] = (96, 96, 48),
    pixel_size: Annotated[
        float,
        typer.Option(
            "--pixel-size",
            metavar="A",
            help="Of simulated images and voxels, in A.",
            rich_help_panel=SIMULATED,
        ),
    ] = 10.0,
    tilts: Annotated[
        str,
        typer.Option(
            "--tilts",
            metavar="FIRST:LAST:STEP|FILE.tlt",
            help="Angles in degrees.",
            rich_help_panel=SIMULATED,
        ),
    ] = "-60:60:3",
    snr: Annotated[
        float,
        typer.Option(
            "--snr",
            help="Variance of the signal over that of the noise in the untilted image.",
            rich_help_panel=SIMULATED,
        ),
    ] = 0.1,
    train_models: Annotated[
        str,
        typer.Option(
            "--train-models", metavar="LIST", help="Models to train on.", rich_help_panel=SHREC
        ),
    ] = "1-9",
    validation_models: Annotated[
        str,
        typer.Option(
            "--validation-models",
            metavar="LIST",
            help="Models for early stopping or shrinkage.  [default: the last to train on]",
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
            min=1,
            help="Voxel in unbinned pixels of 5 A; images and truth are low-passed for it.",
            rich_help_panel=SHREC,
        ),
    ] = 4,
    parametrisation: Annotated[
        Literal["radial", "per-tilt", "polynomial", "grid", "factorised", "full"],
        typer.Option(
            "--parametrisation",
            help="What is learned: radial, one gain on the length of the frequency for all views; "
            "per-tilt, one for each; polynomial, one whose values are polynomials in the tilt; "
            "grid, one gain across and along the tilt axis for all views; factorised, that times "
            "a weight for each view; full, one for each view.",
            rich_help_panel=MODEL,
        ),
    ] = "per-tilt",
    nodes: Annotated[
        str,
        typer.Option(
            "--nodes",
            metavar="N|all",
            help="Frequencies between which gains are interpolated: on the radius, or across the "
            "tilt axis (2 N - 1 along it). all: as many as the images have.",
            rich_help_panel=MODEL,
        ),
    ] = "14",
    order: Annotated[
        int,
        typer.Option(
            "--order", min=0, max=12, help="Of the polynomials in the tilt.", rich_help_panel=MODEL
        ),
    ] = 4,
    init: Annotated[
        str,
        typer.Option(
            "--init",
            metavar="NAME[:ARG]|FILE",
            help="Where AdamW begins: a filter (`tomofilt filters list`), radial-ramp, zero, or a "
            "bundle.",
            rich_help_panel=MODEL,
        ),
    ] = "ramp",
    padding: Annotated[
        Literal["reflect", "zero", "none"],
        typer.Option(
            "--padding",
            help="How images are extended while training. `reconstruct` always reflects; with none "
            "they wrap around.",
            rich_help_panel=MODEL,
        ),
    ] = "reflect",
    freeze: Annotated[
        Literal["none", "tilt", "camera"],
        typer.Option(
            "--freeze",
            help="Part of a factorised filter that stays as it begins: the weights of the views, "
            "or the gain of all.",
            rich_help_panel=MODEL,
        ),
    ] = "none",
    loss: Annotated[
        Literal["mse", "huber"],
        typer.Option("--loss", help="On voxels, mean left out.", rich_help_panel=LOSS),
    ] = "mse",
    huber_delta: Annotated[
        float,
        typer.Option(
            "--huber-delta",
            help="Where Huber's loss becomes linear, in standard deviations of the truth.",
            rich_help_panel=LOSS,
        ),
    ] = 1.0,
    tv_volume: Annotated[
        float,
        typer.Option(
            "--tv-volume",
            min=0,
            help="Weight of the total variation of the tomogram, a mean per voxel in standard "
            "deviations of the truth.",
            rich_help_panel=LOSS,
        ),
    ] = 0.0,
    tv_filter: Annotated[
        float,
        typer.Option(
            "--tv-filter",
            min=0,
            help="Weight of that of the filter's coefficients, a mean per coefficient.",
            rich_help_panel=LOSS,
        ),
    ] = 0.0,
    tv_projections: Annotated[
        float,
        typer.Option(
            "--tv-projections",
            min=0,
            help="Weight of that of the filtered images, a mean per pixel.",
            rich_help_panel=LOSS,
        ),
    ] = 0.0,
    tv_kind: Annotated[
        Literal["anisotropic", "isotropic"],
        typer.Option(
            "--tv-kind",
            help="Sum of absolute differences along the axes, or length of the gradient.",
            rich_help_panel=LOSS,
        ),
    ] = "anisotropic",
    solver: Annotated[
        Literal["auto", "closed-form", "adamw"],
        typer.Option(
            "--solver",
            help="auto: the closed form for mse without total variation, unless factorised.",
            rich_help_panel=SOLVER,
        ),
    ] = "auto",
    iterations: Annotated[
        int,
        typer.Option(
            "--iterations", min=1, help="Most of the closed form.", rich_help_panel=SOLVER
        ),
    ] = 25,
    steps: Annotated[
        int,
        typer.Option(
            "--steps",
            min=1,
            help="Of AdamW, each on one series; the learning rate falls to zero over them.",
            rich_help_panel=SOLVER,
        ),
    ] = 300,
    lr: Annotated[
        float, typer.Option("--lr", help="First learning rate of AdamW.", rich_help_panel=SOLVER)
    ] = 0.03,
    weight_decay: Annotated[
        float, typer.Option("--weight-decay", min=0, help="Of AdamW.", rich_help_panel=SOLVER)
    ] = 0.0,
    patience: Annotated[
        int,
        typer.Option(
            "--patience",
            min=1,
            help="Validations (one each time all series were used) without a better PSNR after "
            "which AdamW ends.",
            rich_help_panel=SOLVER,
        ),
    ] = 20,
    seed: Annotated[
        int,
        typer.Option(
            "--seed",
            min=0,
            help="Of simulated series and of the order of training.",
            rich_help_panel=options.RUN,
        ),
    ] = 0,
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
            help="Under which the bundle may be passed on, CC0-1.0 say; written into it.",
            rich_help_panel=options.OUTPUT,
        ),
    ] = "not stated",
    citation: Annotated[
        str,
        typer.Option(
            "--citation",
            metavar="TEXT",
            help="What to cite for the bundle; written into it.",
            rich_help_panel=options.OUTPUT,
        ),
    ] = "not stated",
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite", help="Replace an earlier bundle.", rich_help_panel=options.OUTPUT
        ),
    ] = False,
    max_memory: options.MaxMemory = None,
    quiet: options.Quiet = False,
) -> None:
    """Train a filter on tilt series with known specimens, or refine one on a series itself.

    The filter is fitted to some series, shrunk or stopped by others, and tested on yet others; with
    --self, it is the filter of one series that is refined. `tomofilt reconstruct -m
    NAME.tomofilt.safetensors` applies it.
    """
    values = dict(locals())
    from tomofilt.cli.reporter import ConsoleReporter
    from tomofilt.training.supervised import Outputs
    from tomofilt.training.supervised import train as train_filter

    if head:
        from tomofilt.cli.head import train_head

        check_mode(context, "--head")
        train_head(context, values)
        return
    check_mode(context, "--self" if from_itself else None)
    if from_itself:
        refine_series(context, values)
        return
    wanted, outputs = training_of(values), Outputs(output, licence, citation)
    if resume and overwrite:
        raise InputError("--resume and --overwrite exclude each other: give one")
    with ConsoleReporter(quiet=quiet) as reporter:
        reporter.start("training", 1, 1)
        try:
            result = train_filter(
                cases_of(values),
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
