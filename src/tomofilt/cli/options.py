"""Every option that commands share, declared once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from tomofilt.cli.values import read_config

INPUT, TOMOGRAM, FILTER, OUTPUT, RUN = (
    "Input",
    "Tomogram",
    "Filter and projector",
    "Output",
    "Running",
)

# ------------------------------------------------------------------------------------- input

ImodDirs = Annotated[
    list[Path] | None,
    typer.Option(
        "--imod-dir",
        metavar="DIR",
        help="IMOD (etomo) folder. May be repeated, or followed by many: --imod-dir TS_*.",
        rich_help_panel=INPUT,
    ),
]
RelionStar = Annotated[
    Path | None,
    typer.Option(
        "--relion-star",
        metavar="FILE",
        help="RELION 5 aligned_tilt_series.star or tomograms.star. Also: --t, --in_tomograms.",
        rich_help_panel=INPUT,
    ),
]
TomogramName = Annotated[
    list[str] | None,
    typer.Option(
        "--tomogram-name",
        metavar="NAME",
        help="Only the series of this name; may be repeated. Also: --tn.  [default: all]",
        rich_help_panel=INPUT,
    ),
]
InputPixelSize = Annotated[
    float | None,
    typer.Option(
        "--input-pixel-size",
        metavar="A",
        help="Pixel size of the input images in A.  [default: as the project or the header says; "
        "a header of 0 or 1 A is an error]",
        rich_help_panel=INPUT,
    ),
]
Exclude = Annotated[
    str | None,
    typer.Option(
        "--exclude",
        metavar="LIST",
        help="Views to leave out besides the project's own, counted from 1 in the order of the "
        "images: 1-3,40.",
        rich_help_panel=INPUT,
    ),
]

# ---------------------------------------------------------------------------------- tomogram

PixelSize = Annotated[
    float | None,
    typer.Option(
        "--pixel-size",
        metavar="A",
        help="Voxel size of the tomogram in A. Also: --angpix, --apix, --binned_angpix.  "
        "[default: the project's]",
        rich_help_panel=TOMOGRAM,
    ),
]
Bin = Annotated[
    float | None,
    typer.Option(
        "--bin",
        metavar="FACTOR",
        help="Voxel size of the tomogram in input pixels, instead of --pixel-size; need not be "
        "whole.",
        rich_help_panel=TOMOGRAM,
    ),
]
Thickness = Annotated[
    float | None,
    typer.Option(
        "--thickness",
        metavar="A",
        help="Thickness of the tomogram in A.  [default: the project's]",
        rich_help_panel=TOMOGRAM,
    ),
]
ThicknessPx = Annotated[
    float | None,
    typer.Option(
        "--thickness-px",
        metavar="PX",
        help="Thickness of the tomogram in unbinned input pixels, instead of --thickness.",
        rich_help_panel=TOMOGRAM,
    ),
]
Shape = Annotated[
    tuple[int, int, int] | None,
    typer.Option(
        "--shape",
        metavar="X Y Z",
        help="Size of the tomogram in unbinned input pixels.  [default: the project's]",
        rich_help_panel=TOMOGRAM,
    ),
]
Halves = Annotated[
    Literal["none", "frames", "tilts"],
    typer.Option(
        "--halves",
        help="Also write two half tomograms: from even and odd frames, or from even and odd tilts.",
        rich_help_panel=TOMOGRAM,
    ),
]

Denoise = Annotated[
    bool,
    typer.Option(
        "--denoise",
        help="Also write REC_denoised.mrc, from a small network that is trained on the series in "
        "seconds, unless left-out views or noise speak against it; the filter is then "
        "wiener-exact:match.",
        rich_help_panel=TOMOGRAM,
    ),
]
Head = Annotated[
    Path | None,
    typer.Option(
        "--head",
        metavar="BUNDLE",
        help="With --denoise: use this network, from `tomofilt train --head`, instead of training "
        "one; it is tried on left-out views like any other.",
        rich_help_panel=TOMOGRAM,
    ),
]

# ---------------------------------------------------------------------- filter and projector

FilterSpec = Annotated[
    str | None,
    typer.Option(
        "--filter",
        "-f",
        metavar="NAME[:ARG]",
        help="Filter; `tomofilt filters list` names them.  [default: wiener-exact:view]",
        rich_help_panel=FILTER,
    ),
]
Model = Annotated[
    Path | None,
    typer.Option(
        "--model",
        "-m",
        metavar="BUNDLE",
        help="Learned filter, NAME.tomofilt.safetensors, instead of --filter. One that was learned "
        "for other tilts is transferred to the series' own.",
        rich_help_panel=FILTER,
    ),
]
Cutoff = Annotated[
    str | None,
    typer.Option(
        "--cutoff",
        metavar="F",
        help="Cut-off of the windowed filters: cycles per pixel of the tomogram (0.35), or a "
        "resolution (60A).",
        rich_help_panel=FILTER,
    ),
]
Interpolate = Annotated[
    Literal["fine", "linear", "imod"] | None,
    typer.Option(
        "--interpolation",
        help="How filtered images are sampled: on twice finer pixels, linearly, or as IMOD does.  "
        "[default: the filter's own]",
        rich_help_panel=FILTER,
    ),
]
CtfCorrection = Annotated[
    Literal["auto", "none", "flip", "wiener"],
    typer.Option(
        "--ctf",
        help="Correct the contrast transfer with the defocus of each place of the tilted specimen. "
        "auto: flip phases where the project knows the defocus and has not corrected the images; "
        "wiener: also weight frequencies by the CTF.",
        rich_help_panel=FILTER,
    ),
]
DoseWeight = Annotated[
    Literal["auto", "on", "off"],
    typer.Option(
        "--dose-weight",
        help="Weight views by what their exposure has left of each frequency. auto: where it is "
        "known, except with filters that weigh views themselves (wiener-exact, learned, sirt).",
        rich_help_panel=FILTER,
    ),
]
ProjectorName = Annotated[
    Literal["fast", "direct"],
    typer.Option(
        "--projector",
        help="fast: images are turned onto the tilt axis first. direct: each voxel looks into the "
        "images as they are; slower.",
        rich_help_panel=FILTER,
    ),
]
Normalise = Annotated[
    Literal["sum", "count"],
    typer.Option(
        "--normalise",
        help="sum: filtered back-projection. count: the mean over the views that see a voxel, by "
        "the direct projector; with -f none, the unweighted tomogram of RELION (--no_weight).",
        rich_help_panel=FILTER,
    ),
]

# ------------------------------------------------------------------------------------ output

OutputDir = Annotated[
    Path | None,
    typer.Option(
        "--output-dir",
        "-o",
        metavar="DIR",
        help="Folder for the results. Also: --o.  [default: beside the data (IMOD)]",
        rich_help_panel=OUTPUT,
    ),
]
Orientation = Annotated[
    Literal["zyx", "xzy"],
    typer.Option(
        "--orientation",
        help="Axes of the file: zyx, sections along z as `trimvol -rx` makes them; xzy, as IMOD's "
        "`tilt` writes them.",
        rich_help_panel=OUTPUT,
    ),
]
Dtype = Annotated[
    Literal["float32", "float16", "int16", "int8"] | None,
    typer.Option(
        "--dtype",
        metavar="TYPE",
        help="float32, float16, int16 or int8. Older IMOD does not read float16.  [default: the "
        "filter's own, float32 in general]",
        rich_help_panel=OUTPUT,
    ),
]
Invert = Annotated[bool, typer.Option("--invert", help="Negate densities.", rich_help_panel=OUTPUT)]
FlipZ = Annotated[
    bool,
    typer.Option(
        "--flip-z",
        help="Mirror the tomogram in z, which inverts its handedness.",
        rich_help_panel=OUTPUT,
    ),
]
Preview = Annotated[
    bool,
    typer.Option(
        "--preview/--no-preview",
        help="Write a PNG with the central slices.",
        rich_help_panel=OUTPUT,
    ),
]
Overwrite = Annotated[
    bool,
    typer.Option(
        "--overwrite",
        help="Make finished tomograms again, rather than skip them. Files that tomofilt did not "
        "make are never replaced.",
        rich_help_panel=OUTPUT,
    ),
]
OnlyDoUnfinished = Annotated[
    bool,
    typer.Option(
        "--only-do-unfinished",
        help="Skip what is finished; it is the default, and accepted because scripts give it.",
        hidden=True,
        rich_help_panel=OUTPUT,
    ),
]

# ----------------------------------------------------------------------------------- running

Device = Annotated[
    str,
    typer.Option(
        "--device",
        metavar="auto|cpu|cuda[:N]",
        help="What computes. auto: a GPU where one works, otherwise the CPU; it says which.",
        rich_help_panel=RUN,
    ),
]
Gpu = Annotated[
    str | None,
    typer.Option(
        "--gpu",
        metavar="N[,N]",
        help="The GPUs to use, several at a time; as --device cuda:N,N.",
        rich_help_panel=RUN,
    ),
]
Threads = Annotated[
    int | None,
    typer.Option(
        "--threads",
        "-j",
        metavar="N",
        min=1,
        help="Threads.  [default: SLURM_CPUS_PER_TASK, else the cores this process may use]",
        rich_help_panel=RUN,
    ),
]
MaxMemory = Annotated[
    str | None,
    typer.Option(
        "--max-memory",
        metavar="SIZE",
        help="Memory to stay below: 16GB, 800MB, 4GiB.  [default: about 1.4 GB]",
        rich_help_panel=RUN,
    ),
]
DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run",
        help="Say what would be done (inputs, sizes, memory, outputs) and write nothing.",
        rich_help_panel=RUN,
    ),
]
Json = Annotated[
    bool,
    typer.Option(
        "--json",
        help="One JSON object on standard output; everything else goes to standard error.",
        rich_help_panel=RUN,
    ),
]
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="Print errors only.", rich_help_panel=RUN)
]
Verbose = Annotated[
    bool,
    typer.Option("--verbose", "-v", help="Also say where the time went.", rich_help_panel=RUN),
]


def _take_config(context: typer.Context, path: Path | None) -> Path | None:
    if path is not None and not context.resilient_parsing:
        context.default_map = read_config(path, context.command.params)
    return path


Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE.toml",
        callback=_take_config,
        is_eager=True,
        help="Options from a TOML file, named as here without the leading dashes. The command "
        "line overrides it; paths in it are relative to the working folder.",
        rich_help_panel=RUN,
    ),
]
