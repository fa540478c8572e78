"""From the words of a command line, or of a configuration file, to values."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperCommand

from tomofilt.errors import InputError, MissingFileError
from tomofilt.io.files import read_input

if TYPE_CHECKING:
    from tomofilt.series.projects import Project

__all__ = [
    "Command",
    "canonical",
    "chosen_series",
    "overrides",
    "parse_memory",
    "parse_views",
    "read_config",
    "relion_sizes",
    "settle",
]

#: The field's other names for options. Underscores for hyphens are understood everywhere.
ALIASES = {
    "--t": "--relion-star",
    "--in-tomograms": "--relion-star",
    "--in-mics": "--relion-star",
    "--in-movies": "--relion-star",
    "--tn": "--tomogram-name",
    "--o": "--output-dir",
    "--angpix": "--pixel-size",
    "--apix": "--pixel-size",
    "--binned-angpix": "--pixel-size",
}


class Command(TyperCommand):
    """A command that understands the field's other spellings of options."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: D102
        options = args.index("--") if "--" in args else len(args)
        own = relion_sizes([canonical(argument) for argument in args[:options]])
        return super().parse_args(ctx, [*own, *args[options:]])


def relion_sizes(arguments: Sequence[str]) -> list[str]:
    """Put ``--shape`` for RELION's ``--w``, ``--h`` and ``--d``, ``--thickness-px`` for ``--d``.

    Raises
    ------
    InputError
        When only some of them are given.
    """
    rest: list[str] = []
    sizes: dict[str, str] = {}
    words = iter(arguments)
    for word in words:
        name, equals, value = word.partition("=")
        if name in ("--w", "--h", "--d"):
            sizes[name] = value if equals else next(words, "")
        else:
            rest.append(word)
    if sizes.keys() == {"--w", "--h", "--d"}:
        return [*rest, "--shape", sizes["--w"], sizes["--h"], sizes["--d"]]
    if sizes.keys() == {"--d"}:
        return [*rest, "--thickness-px", sizes["--d"]]
    if sizes:
        raise InputError("--w, --h and --d belong together: give all three, or --d alone")
    return rest


def canonical(argument: str) -> str:
    """Turn another spelling of a long option, ``--imod_dir=X`` say, into tomofilt's own."""
    if not argument.startswith("--"):
        return argument
    name, equals, value = argument.partition("=")
    name = name.replace("_", "-")
    return ALIASES.get(name, name) + equals + value


def read_config(path: Path, parameters: Iterable[Any]) -> dict[str, Any]:
    """Values of a TOML file, by parameter, as the command line would have them.

    Raises
    ------
    MissingFileError, InputError
        When the file is not there, is not TOML, or has an entry that is no option of the command.
    """
    try:
        entries = tomllib.loads(read_input(path).decode())
    except MissingFileError:
        raise MissingFileError(f"{path}: there is no such file (--config)") from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"{path}: not a readable TOML file: {error}") from error
    known = {
        name: parameter
        for parameter in parameters
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


def _as_typed(path: Path, key: str, value: object, parameter: Any) -> object:
    if isinstance(value, bool):
        return value
    several = parameter.multiple or parameter.nargs != 1
    if isinstance(value, list):
        texts = [str(item) for item in value]
        return texts if several else ",".join(texts)
    if isinstance(value, (str, int, float)):
        return [str(value)] if several else str(value)
    raise InputError(f"{path}: {key} = {value!r} is no value for an option")


def settle(context: typer.Context, values: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """Values of exclusive options, all but one None: the command line's before the configuration's.

    Raises
    ------
    InputError
        When two of them were given in the same place.
    """
    for place in ("COMMANDLINE", "DEFAULT_MAP"):
        given = [name for name in names if _source(context, name) == place]
        if len(given) > 1:
            spelled = " and ".join("--" + name.replace("_", "-") for name in given)
            raise InputError(f"{spelled} exclude each other: give one of them")
        if given:
            return dict.fromkeys(names) | {given[0]: values[given[0]]}
    return dict.fromkeys(names)


def _source(context: typer.Context, name: str) -> str:
    source = context.get_parameter_source(name)
    return source.name if source else ""


def overrides(context: typer.Context, values: Mapping[str, Any]) -> dict[str, object]:
    """Collect what the user says about the input: the overrides of ``Project.read``."""
    thickness = settle(context, values, "thickness", "thickness_px")
    given = {
        "input_pixel_angst": values["input_pixel_size"],
        "exclude": parse_views(values["exclude"]) or None,
        "thickness_angst": thickness["thickness"],
        "thickness_px": thickness["thickness_px"],
        "shape_px": values["shape"],
    }
    return {name: value for name, value in given.items() if value is not None}


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


def chosen_series(
    projects: Iterable[Project], names: Sequence[str] | None
) -> list[tuple[Project, str]]:
    """Each project with each of its series that is wanted; all of them without ``names``.

    Raises
    ------
    InputError
        When there is no series at all, or none of a wanted name.
    """
    found = [(project, name) for project in projects for name in project.names]
    if not found:
        raise InputError("there is no tilt series here")
    present = {name for _, name in found}
    for name in names or ():
        if name not in present:
            near = difflib.get_close_matches(name, present, n=3) or sorted(present)[:3]
            raise InputError(
                f"--tomogram-name {name}: there is no series of this name among {len(present)}; "
                f"there is {', '.join(near)}"
            )
    return [(project, name) for project, name in found if not names or name in names]
