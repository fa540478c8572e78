"""Small text files of other programs: plain text, and lists of numbers."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tomofilt.errors import InputError
from tomofilt.io.files import read_input

__all__ = [
    "count",
    "read_number_lines",
    "read_numbers",
    "read_text",
    "split_fields",
    "usable",
]


def read_text(path: Path) -> str:
    """Read the whole text of a file.

    Raises
    ------
    MissingFileError
        There is no such file.
    InputError
        It cannot be read, is empty, or is not text.
    """
    # surrogateescape: file names in com files need not be UTF-8
    text = read_input(path).decode("utf-8-sig", errors="surrogateescape")
    if "\0" in text:
        raise InputError(f"{path} is not a text file: it holds binary data")
    if not text.strip():
        raise InputError(f"{path} is empty: make it again, or copy it again")
    return text


def split_fields(text: str) -> list[str]:
    """Split at blanks, commas and line ends."""
    return [field for field in re.split(r"[,\s]+", text) if field]


def usable(number: float) -> bool:
    """Whether a number is finite, and no larger than anything in these files can be."""
    return abs(number) < 1e12


def read_number_lines(path: Path) -> list[tuple[int, list[float]]]:
    """Read the numbers of each line that has some, with the number of the line.

    Raises
    ------
    MissingFileError, InputError
        As :func:`read_text`; also when something is not a usable number.
    """
    lines = []
    for line_number, line in enumerate(read_text(path).splitlines(), start=1):
        try:
            numbers = [float(field) for field in split_fields(line)]
        except ValueError:
            numbers = [math.nan]
        if not all(map(usable, numbers)):
            raise InputError(
                f"{path} line {line_number}: {line.strip()[:60]!r} is not a list of finite "
                "numbers: correct it, or make the file again"
            )
        if numbers:
            lines.append((line_number, numbers))
    return lines


def read_numbers(path: Path) -> NDArray[np.float64]:
    """Read the numbers of a free-format list: one or several a line, blanks or commas between them.

    Raises
    ------
    MissingFileError, InputError
        As :func:`read_number_lines`.
    """
    return np.array([number for _, numbers in read_number_lines(path) for number in numbers])


def count(number: int, noun: str) -> str:
    """Spell a number of things: ``1 section`` or ``2 sections``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
