"""What all commands have in common: other spellings of options, a configuration file, errors."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperCommand

from tomofilt.errors import InputError, MissingFileError
from tomofilt.io.files import read_input

__all__ = ["ALIASES", "Command", "canonical", "exclusive", "read_config", "relion_sizes"]

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

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the command line.

        Raises
        ------
        InputError
            The value of an option cannot be used.
        """
        options = args.index("--") if "--" in args else len(args)
        own = relion_sizes([canonical(argument) for argument in args[:options]])
        try:
            return super().parse_args(ctx, [*own, *args[options:]])
        except typer.BadParameter as error:
            if not error.message or error.param is None:  # something is missing, not wrong
                raise
            name = error.param.opts[0] if error.param.opts else error.param.name
            # typer puts these words before what is no choice of an option
            raise InputError(f"{name} {error.message.removeprefix('Value error, ')}") from None


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
        values[str(parameter.name)] = _as_words(path, key, value, parameter)
    return values


def _as_words(path: Path, key: str, value: object, parameter: Any) -> object:
    if isinstance(value, bool):
        return value
    several = parameter.multiple or parameter.nargs != 1
    if isinstance(value, list):
        texts = [str(item) for item in value]
        return texts if several else ",".join(texts)
    if isinstance(value, (str, int, float)):
        return [str(value)] if several else str(value)
    raise InputError(f"{path}: {key} = {value!r} is no value for an option")


def exclusive(context: typer.Context, **values: Any) -> list[Any]:
    """Values of options of which one may be given; the others become None.

    What the command line says takes the place of what the configuration file says.

    Raises
    ------
    InputError
        When two of them were given in the same place.
    """
    for place in ("COMMANDLINE", "DEFAULT_MAP"):
        given = [name for name in values if _source(context, name) == place]
        if len(given) > 1:
            spelled = " and ".join("--" + name.replace("_", "-") for name in given)
            raise InputError(f"{spelled} exclude each other: give one of them")
        if given:
            return [value if name in given else None for name, value in values.items()]
    return [None] * len(values)


def _source(context: typer.Context, name: str) -> str:
    source = context.get_parameter_source(name)
    return source.name if source else ""
