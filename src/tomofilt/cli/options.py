"""Every option that several commands have, declared once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from tomofilt.cli.command import read_config
from tomofilt.cli.values import FACTOR, LENGTH, PIXELS, SIZE, whole

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
        help="Folder of IMOD (etomo). May be given several times, or with many folders behind it: "
        "--imod-dir TS_*.",
        rich_help_panel=INPUT,
    ),
]
AretomoPaths = Annotated[
    list[Path] | None,
    typer.Option(
        "--aretomo",
        metavar="FILE.aln|DIR",
        help="AreTomo's alignment, or the folder with it. May be repeated, or followed by many.",
        rich_help_panel=INPUT,
    ),
]
Axis = Annotated[
    Literal["a", "b"] | None,
    typer.Option(
        "--axis",
        help="Only this axis of dual-axis sets.  [default: both, each a tomogram]",
        rich_help_panel=INPUT,
    ),
]
RelionStar = Annotated[
    Path | None,
    typer.Option(
        "--relion-star",
        metavar="FILE",
        help="aligned_tilt_series.star or tomograms.star of RELION 5. Also: --t, --in_tomograms.",
        rich_help_panel=INPUT,
    ),
]
TomogramName = Annotated[
    list[str] | None,
    typer.Option(
        "--tomogram-name",
        metavar="NAME",
        help="Take only the series of this name. May be given several times. Also: --tn.  "
        "[default: all series]",
        rich_help_panel=INPUT,
    ),
]
InputPixelSize = Annotated[
    float | None,
    typer.Option(
        "--input-pixel-size",
        metavar="A",
        parser=LENGTH,
        help="Pixel size of the input images in angstrom.  [default: as the project or the image "
        "header says; a header with 0 or 1 A is refused]",
        rich_help_panel=INPUT,
    ),
]
AlignmentPixelSize = Annotated[
    float | None,
    typer.Option(
        "--alignment-pixel-size",
        metavar="A",
        parser=LENGTH,
        help="Pixel size in angstrom of the images that the alignment was made for: shifts and "
        "sizes in IMOD's files count in it.  [default: as the input images]",
        rich_help_panel=INPUT,
    ),
]
Exclude = Annotated[
    str | None,
    typer.Option(
        "--exclude",
        metavar="LIST",
        help="Views to leave out, besides those that the project leaves out. Count from 1 in the "
        "order of the images: 1-3,40.",
        rich_help_panel=INPUT,
    ),
]

# ---------------------------------------------------------------------------------- tomogram

PixelSize = Annotated[
    float | None,
    typer.Option(
        "--pixel-size",
        metavar="A",
        parser=LENGTH,
        help="Voxel size of the tomogram in angstrom. Also: --angpix, --apix, --binned_angpix.  "
        "[default: the project's]",
        rich_help_panel=TOMOGRAM,
    ),
]
Bin = Annotated[
    float | None,
    typer.Option(
        "--bin",
        metavar="FACTOR",
        parser=FACTOR,
        help="Voxel size of the tomogram in pixels of the input images, instead of --pixel-size. "
        "2.5 is possible.",
        rich_help_panel=TOMOGRAM,
    ),
]
Thickness = Annotated[
    float | None,
    typer.Option(
        "--thickness",
        metavar="A",
        parser=LENGTH,
        help="Thickness of the tomogram in angstrom.  [default: the project's]",
        rich_help_panel=TOMOGRAM,
    ),
]
ThicknessPx = Annotated[
    float | None,
    typer.Option(
        "--thickness-px",
        metavar="PX",
        parser=PIXELS,
        help="Thickness of the tomogram in unbinned pixels of the input images, instead of "
        "--thickness.",
        rich_help_panel=TOMOGRAM,
    ),
]
Shape = Annotated[
    tuple[int, int, int] | None,
    typer.Option(
        "--shape",
        metavar="X Y Z",
        parser=SIZE,
        help="Size of the tomogram in unbinned pixels of the input images.  [default: the "
        "project's]",
        rich_help_panel=TOMOGRAM,
    ),
]
Halves = Annotated[
    Literal["none", "frames", "tilts"],
    typer.Option(
        "--halves",
        help="Also write two half tomograms: from even and odd frames, or from even and odd "
        "views (tilts).",
        rich_help_panel=TOMOGRAM,
    ),
]

Denoise = Annotated[
    bool,
    typer.Option(
        "--denoise",
        help="Also write a denoised tomogram, REC_denoised.mrc. A small network is trained on the "
        "series in seconds. It is tested on views that it has not seen, and where it does not "
        "predict them better nothing is written.",
        rich_help_panel=TOMOGRAM,
    ),
]
Head = Annotated[
    Path | None,
    typer.Option(
        "--head",
        metavar="BUNDLE",
        help="With --denoise: use this network, made by `tomofilt train head`, and train none. It "
        "is tested on views that it has not seen, as any other.",
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
        help="The filter. `tomofilt filters list` shows all of them.  [default: wiener-exact:view]",
        rich_help_panel=FILTER,
    ),
]
Model = Annotated[
    Path | None,
    typer.Option(
        "--model",
        "-m",
        metavar="BUNDLE",
        help="A learned filter, NAME.tomofilt.safetensors, instead of --filter. If it was learned "
        "for other tilt angles, it is transferred to those of the series.",
        rich_help_panel=FILTER,
    ),
]
Cutoff = Annotated[
    str | None,
    typer.Option(
        "--cutoff",
        metavar="F",
        help="Cut-off of the filters that have a window: in cycles per pixel of the tomogram "
        "(0.35), or as a resolution (60A).",
        rich_help_panel=FILTER,
    ),
]
Interpolate = Annotated[
    Literal["fine", "linear"] | None,
    typer.Option(
        "--interpolation",
        help="How values are taken between pixels of the filtered images. fine: linearly, from "
        "pixels of half the size. linear: linearly.  [default: the filter's]",
        rich_help_panel=FILTER,
    ),
]
CtfCorrection = Annotated[
    Literal["auto", "none", "flip", "wiener"],
    typer.Option(
        "--ctf",
        help="Correct the contrast transfer, with the defocus of each place of the tilted "
        "specimen. auto, if the project knows the defocus and has not corrected the images "
        "itself: wiener with the default filter, else flip. flip: flip phases. wiener: also weight "
        "frequencies by the CTF, which gives large things their contrast back.",
        rich_help_panel=FILTER,
    ),
]
DoseWeight = Annotated[
    Literal["auto", "on", "off"],
    typer.Option(
        "--dose-weight",
        help="Weight each frequency of a view by how much of it the exposure has left. auto: if "
        "the exposure is known, but not with filters that weight views themselves (wiener-exact, "
        "learned, sirt).",
        rich_help_panel=FILTER,
    ),
]
Gold = Annotated[
    Literal["keep", "erase", "as-is"],
    typer.Option(
        "--gold",
        help="Gold beads, which draw streaks: fill them in the images, and put them back into the "
        "tomogram as balls (keep) or not (erase); or leave the images as they are. -f imod "
        "and --normalise count, which do as other programs do, always leave them.",
        rich_help_panel=FILTER,
    ),
]
ProjectorName = Annotated[
    Literal["fast", "direct", "triton", "astra"],
    typer.Option(
        "--projector",
        help="fast: images are first turned so that the tilt axis is vertical. direct: each voxel "
        "takes its values from the images as they are, which is slower. triton, astra: as fast, on "
        "a GPU, by this engine and no other.",
        rich_help_panel=FILTER,
    ),
]
Normalise = Annotated[
    Literal["sum", "count"],
    typer.Option(
        "--normalise",
        help="sum: filtered back-projection. count: the mean over the views that see a voxel, "
        "with the direct projector. With -f none, count gives the unweighted tomogram of RELION "
        "(--no_weight).",
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
        help="Folder for the results. Also: --o.  [default for IMOD: beside the data; RELION needs "
        "it]",
        rich_help_panel=OUTPUT,
    ),
]
Orientation = Annotated[
    Literal["zyx", "xzy"] | None,
    typer.Option(
        "--orientation",
        help="Order of axes in the file. zyx: one section for each z, as IMOD's `trimvol -rx` "
        "makes them. xzy: one section for each y, as IMOD's `tilt` writes them.  [default: zyx; "
        "xzy for the axes of a dual-axis set]",
        rich_help_panel=OUTPUT,
    ),
]
Dtype = Annotated[
    Literal["float32", "float16", "int16", "int8"] | None,
    typer.Option(
        "--dtype",
        metavar="TYPE",
        help="Number type of the voxels: float32, float16, int16 or int8. Old versions of IMOD do "
        "not read float16.  [default: float32; with -f imod, as tilt.com says]",
        rich_help_panel=OUTPUT,
    ),
]
Invert = Annotated[
    bool,
    typer.Option(
        "--invert",
        help="Change the sign of densities: dark becomes bright.",
        rich_help_panel=OUTPUT,
    ),
]
FlipZ = Annotated[
    bool,
    typer.Option(
        "--flip-z",
        help="Mirror the tomogram in z. This inverts its handedness.",
        rich_help_panel=OUTPUT,
    ),
]
Preview = Annotated[
    bool,
    typer.Option(
        "--preview/--no-preview",
        help="Also write a picture (PNG) of the central slices.",
        rich_help_panel=OUTPUT,
    ),
]
Zarr = Annotated[
    bool,
    typer.Option(
        "--zarr",
        help="Also write an OME-Zarr for viewers such as napari, in three sizes, of the tomogram "
        "and of the denoised one.",
        rich_help_panel=OUTPUT,
    ),
]
Overwrite = Annotated[
    bool,
    typer.Option(
        "--overwrite",
        help="Make finished tomograms again instead of skipping them. Files that tomofilt did not "
        "make are never replaced.",
        rich_help_panel=OUTPUT,
    ),
]
OverwriteFile = Annotated[
    bool,
    typer.Option(
        "--overwrite",
        help="Replace the file if tomofilt made one of this name earlier.",
        rich_help_panel=OUTPUT,
    ),
]
OnlyDoUnfinished = Annotated[
    bool,
    typer.Option(
        "--only-do-unfinished",
        help="Skip what is finished. This is what happens anyway; old scripts give the option.",
        hidden=True,
        rich_help_panel=OUTPUT,
    ),
]

# ----------------------------------------------------------------------------------- running

Seed = Annotated[
    int,
    typer.Option(
        "--seed",
        metavar="N",
        parser=whole("a whole number, 0 or more", least=0),
        help="Where random numbers start. The same seed gives the same result.",
        rich_help_panel=RUN,
    ),
]

Device = Annotated[
    str,
    typer.Option(
        "--device",
        metavar="auto|cpu|cuda[:N]",
        help="Where to compute. auto: on a GPU if one works and the CPU would take longer than "
        "a GPU needs to start. The log says which.",
        rich_help_panel=RUN,
    ),
]
Gpu = Annotated[
    str | None,
    typer.Option(
        "--gpu",
        metavar="N[,N]",
        help="GPUs to use, by number. The same as --device cuda:N,N.",
        rich_help_panel=RUN,
    ),
]
Threads = Annotated[
    int | None,
    typer.Option(
        "--threads",
        "-j",
        metavar="N",
        parser=whole("a whole number of threads, 1 or more", least=1),
        help="Threads to compute with.  [default: SLURM_CPUS_PER_TASK, else the cores that this "
        "process may use]",
        rich_help_panel=RUN,
    ),
]
MaxMemory = Annotated[
    str | None,
    typer.Option(
        "--max-memory",
        metavar="SIZE",
        help="Use no more memory than this: 16GB, 800MB, 4GiB.  [default: about 1.4 GB]",
        rich_help_panel=RUN,
    ),
]
DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run",
        help="Only say what would be done (inputs, sizes, memory, outputs). Nothing is written.",
        rich_help_panel=RUN,
    ),
]
Json = Annotated[
    bool,
    typer.Option(
        "--json",
        help="Print one JSON object to standard output, and everything else to standard error.",
        rich_help_panel=RUN,
    ),
]
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="Print errors only.", rich_help_panel=RUN)
]
Verbose = Annotated[
    bool,
    typer.Option(
        "--verbose",
        "-v",
        help="Also say what is found on the way, and how long each step took.",
        rich_help_panel=RUN,
    ),
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
        help="Read options from a TOML file: names as here, without the dashes in front. What the "
        "command line says comes first. Paths in the file start from the working folder.",
        rich_help_panel=RUN,
    ),
]
