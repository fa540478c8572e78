"""Every option that commands share, declared once; how its text becomes a value."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Protocol

import typer
from typer.core import TyperCommand

from tomofilt.errors import InputError, MissingFileError, ResourceError

if TYPE_CHECKING:
    from tomofilt.projects import Project

INPUT, TOMOGRAM, FILTER, OUTPUT, RUN = (
    "Input",
    "Tomogram",
    "Filter and projector",
    "Output",
    "Running",
)

#: The field's other names for options. Underscores for hyphens are understood everywhere.
ALIASES = {
    "--t": "--relion-star",
    "--in-tomograms": "--relion-star",
    "--in-mics": "--relion-star",
    "--tn": "--tomogram-name",
    "--o": "--output-dir",
    "--angpix": "--pixel-size",
    "--apix": "--pixel-size",
    "--binned-angpix": "--pixel-size",
}

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
        min=0.0,
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
        min=0.0,
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
        min=1.0,
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
        min=0.0,
        help="Thickness of the tomogram in A.  [default: the project's]",
        rich_help_panel=TOMOGRAM,
    ),
]
ThicknessPx = Annotated[
    float | None,
    typer.Option(
        "--thickness-px",
        metavar="PX",
        min=0.0,
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

# ---------------------------------------------------------------------- filter and projector

FilterSpec = Annotated[
    str | None,
    typer.Option(
        "--filter",
        "-f",
        metavar="NAME[:ARG]",
        help="Filter; `tomofilt filters list` names them.  [default: sirt-like:10]",
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
ProjectorName = Annotated[
    Literal["fast", "direct"],
    typer.Option(
        "--projector",
        help="fast: images are turned onto the tilt axis first. direct: each voxel looks into the "
        "images as they are; slower.",
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
        help="Data type of the tomogram. Older IMOD does not read float16.  [default: the "
        "filter's own, float32 in general]",
        rich_help_panel=OUTPUT,
    ),
]
Invert = Annotated[
    bool, typer.Option("--invert", help="Negate densities.", rich_help_panel=OUTPUT)
]
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
        help="Make finished tomograms again. Files that tomofilt did not make are never replaced.",
        rich_help_panel=OUTPUT,
    ),
]
OnlyDoUnfinished = Annotated[
    bool,
    typer.Option(
        "--only-do-unfinished",
        help="Skip what is finished: accepted because scripts give it; it is the default.",
        rich_help_panel=OUTPUT,
    ),
]

# ----------------------------------------------------------------------------------- running

Device = Annotated[
    str,
    typer.Option(
        "--device",
        metavar="auto|cpu|cuda[:N]",
        help="What computes. This version computes on the CPU.",
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
        context.default_map = read_config(path, context.command)
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


class Command(TyperCommand):
    """A command that understands the field's other spellings of options."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: D102
        options = args.index("--") if "--" in args else len(args)
        return super().parse_args(ctx, [*map(canonical, args[:options]), *args[options:]])


def canonical(argument: str) -> str:
    """Turn another spelling of a long option, ``--imod_dir=X`` say, into tomofilt's own."""
    if not argument.startswith("--"):
        return argument
    name, equals, value = argument.partition("=")
    name = name.replace("_", "-")
    return ALIASES.get(name, name) + equals + value


class _Parameter(Protocol):
    name: str | None
    opts: list[str]
    param_type_name: str
    multiple: bool
    nargs: int


class _HasParameters(Protocol):
    params: Sequence[_Parameter]


def read_config(path: Path, command: _HasParameters) -> dict[str, Any]:
    """Values of a TOML file, by parameter, as the command line would have them.

    Raises
    ------
    MissingFileError, InputError
        When the file is not there, is not TOML, or has an entry that is no option of the command.
    """
    try:
        entries = tomllib.loads(path.read_text())
    except FileNotFoundError:
        raise MissingFileError(f"{path}: there is no such file (--config)") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"{path}: not a readable TOML file: {error}") from error
    known = {
        name: parameter
        for parameter in command.params
        if parameter.param_type_name == "option"
        for name in parameter.opts
        if name.startswith("--") and name not in ("--config", "--help")
    }
    values: dict[str, Any] = {}
    for key, value in entries.items():
        name = canonical(f"--{key}")
        if name not in known:
            near = difflib.get_close_matches(name, known, n=3, cutoff=0.6)
            mend = f"did you mean {' or '.join(n[2:] for n in near)}?" if near else "remove it"
            raise InputError(f"{path}: {key} is no option of this command: {mend}")
        parameter = known[name]
        values[str(parameter.name)] = _as_typed(path, key, value, parameter)
    return values


def _as_typed(path: Path, key: str, value: object, parameter: _Parameter) -> object:
    if isinstance(value, bool):
        return value
    several = parameter.multiple or parameter.nargs != 1
    if isinstance(value, list):
        texts = [str(item) for item in value]
        return texts if several else ",".join(texts)
    if isinstance(value, (str, int, float)):
        return [str(value)] if several else str(value)
    raise InputError(f"{path}: {key} = {value!r} is no value for an option")


def settle(context: typer.Context, *names: str) -> None:
    """Keep one of several exclusive options: the command line's before the configuration's.

    Raises
    ------
    InputError
        When two of them were given in the same place.
    """
    for source in ("COMMANDLINE", "DEFAULT_MAP"):
        given = [name for name in names if _source(context, name) == source]
        if len(given) > 1:
            spelled = " and ".join("--" + name.replace("_", "-") for name in given)
            raise InputError(f"{spelled} contradict each other: give one of them")
        if given:
            for name in names:
                if name != given[0]:
                    context.params[name] = None
            return


def _source(context: typer.Context, name: str) -> str:
    source = context.get_parameter_source(name)
    return source.name if source and context.params[name] else ""


def parse_views(text: str | None) -> tuple[int, ...]:
    """View numbers from a list such as ``"1-3,40"``."""
    numbers: set[int] = set()
    for part in (text or "").replace(" ", "").split(","):
        if not part:
            continue
        match = re.fullmatch(r"(\d+)(?:-(\d+))?", part)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
        if not 1 <= first <= last:
            raise InputError(
                f"--exclude {text}: {part!r} is no view and no range of views; count from 1: 1-3,40"
            )
        numbers.update(range(first, last + 1))
    return tuple(sorted(numbers))


def parse_memory(text: str | None) -> int | None:
    """Bytes from ``"16GB"``, ``"800 MB"``, ``"4GiB"`` or a plain number of bytes."""
    if text is None:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d*)?)\s*([kmgt]?)(i?)b?", text.strip(), re.IGNORECASE)
    if not match:
        raise InputError(f"--max-memory {text} is no size: give it as 16GB, 800MB or 4GiB")
    base = 1024 if match[3] else 1000
    size = int(float(match[1]) * base ** " kmgt".index(match[2].lower() or " "))
    if size < 1:
        raise InputError(f"--max-memory {text} leaves no memory at all")
    return size


def check_device(text: str) -> None:
    """Refuse a device that this version cannot compute on."""
    if re.fullmatch(r"cuda(:\d+)?", text):
        raise ResourceError(
            f"--device {text}: this version of tomofilt has no GPU back-end; "
            "use --device cpu, or leave --device out"
        )
    if text not in ("auto", "cpu"):
        raise InputError(f"--device {text} is unknown: give auto, cpu or cuda[:N]")


def chosen_series(project: Project, names: Sequence[str] | None, where: Path) -> list[str]:
    """Series of a project: those of ``names`` that it has, or all.

    Raises
    ------
    InputError
        When it has none at all.
    """
    if not project.names:
        raise InputError(f"{where} holds no tilt series")
    return [name for name in project.names if not names or name in names]
