"""From the words of a command line, or of a configuration file, to values.

A parser of numbers is given to an option (typer's ``parser``) and names what it wants. The
command adds the option's name: see :class:`tomofilt.cli.command.Command`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from tomofilt.errors import InputError, MissingFileError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = [
    "FACTOR",
    "LENGTH",
    "PIXELS",
    "SIZE",
    "number",
    "parse_memory",
    "parse_numbers",
    "parse_tilts",
    "parse_time",
    "parse_views",
    "whole",
]

_ANGST = {"a": 1.0, "å": 1.0, "nm": 10.0, "um": 1e4, "µm": 1e4, "μm": 1e4}
#: No tilt series has more views.
_MOST_VIEWS = 9999


def number(
    what: str, *, above: float = -math.inf, least: float = -math.inf, most: float = math.inf
) -> Callable[[object], float]:
    """Make a parser of finite numbers.

    Parameters
    ----------
    what : str
        What is wanted, with its unit and its limits: "a thickness in angstrom, above 0".
    above, least, most : float
        The limits: greater than ``above``, at least ``least``, at most ``most``.
    """

    def parse(text: object) -> float:
        try:
            value = float(str(text))
        except ValueError:
            value = math.nan
        if not (math.isfinite(value) and above < value and least <= value <= most):
            raise typer.BadParameter(f"{text}: give {what}{_in_angstrom(text, what)}")
        return value

    return parse


def _in_angstrom(text: object, what: str) -> str:
    """What a length with a unit is in angstrom, in words."""
    match = re.fullmatch(r"(\d+(?:\.\d*)?)\s*(\D+)", str(text).strip())
    if "angstrom" not in what or not match or match[2].lower() not in _ANGST:
        return ""
    return f", without a unit: {float(match[1]) * _ANGST[match[2].lower()]:g}"


def whole(what: str, *, least: int, most: float = math.inf) -> Callable[[object], int]:
    """Make a parser of whole numbers from ``least`` to ``most``; see :func:`number`."""

    def parse(text: object) -> int:
        try:
            value = int(str(text))
        except ValueError:
            value = least - 1
        if not least <= value <= most:
            raise typer.BadParameter(f"{text}: give {what}")
        return value

    return parse


LENGTH = number("a length in angstrom, above 0", above=0)
PIXELS = number("a number of unbinned pixels, above 0", above=0)
FACTOR = number("a factor above 0, such as 2.5", above=0)
SIZE = whole("three whole numbers of pixels, x y z, each 1 or more", least=1)


def parse_numbers(option: str, text: str, what: str, least: int, most: int) -> tuple[int, ...]:
    """Whole numbers from a list such as ``"1-3,40"``, ascending, each once.

    Parameters
    ----------
    option : str
        Whose value it is, for errors.
    text : str
    what : str
        What one of the numbers is: "view".
    least, most : int
        Lowest and highest number there may be.

    Raises
    ------
    InputError
        A part of the list is no number or range within the limits.
    """
    numbers: set[int] = set()
    for part in filter(None, text.replace(" ", "").split(",")):
        match = re.fullmatch(r"([0-9]{1,9})(?:-([0-9]{1,9}))?", part)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if not least <= first <= last <= most:
            raise InputError(
                f"{option} {text}: {part!r} is no {what} and no range of {what}s; "
                f"give numbers from {least} to {most}, such as 1-3,7"
            )
        numbers.update(range(first, last + 1))
    return tuple(sorted(numbers))


def parse_views(text: str | None) -> tuple[int, ...]:
    """View numbers, counted from 1, of ``--exclude``; none without it."""
    return parse_numbers("--exclude", text or "", "view", 1, _MOST_VIEWS)


def parse_tilts(text: str) -> NDArray[np.float64]:
    """Tilt angles in degrees, of ``--tilts``: FIRST:LAST:STEP, or a file with angles.

    Raises
    ------
    MissingFileError, InputError
        There is no such file, or the text is no list of angles.
    """
    from tomofilt.series.angles import angles_of_range, read_angles

    if Path(text).is_file():
        return read_angles(Path(text))
    parts = text.split(":")
    if len(parts) == 1:
        raise MissingFileError(
            f"--tilts {text}: there is no such file; give a file with tilt angles, or first, last "
            "and step in degrees: -60:60:3"
        )
    try:
        first, last, step = map(float, parts)
        return angles_of_range(first, last, step)
    except (ValueError, InputError):
        raise InputError(
            f"--tilts {text}: give first, last and step in degrees, such as -60:60:3 or 60:-60:-3"
        ) from None


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


def parse_time(option: str, text: str) -> float:
    """Seconds of a time such as ``90s``, ``30m`` or ``1h``."""
    units = {"s": 1, "m": 60, "h": 3600}
    try:
        seconds = float(text[:-1]) * units[text[-1:]]
    except (KeyError, ValueError):
        seconds = -1.0
    if not 0 <= seconds < math.inf:
        raise InputError(f"{option} {text}: give a time with its unit, 90s, 30m or 1h")
    return seconds
