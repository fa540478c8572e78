"""Small text files of other programs: plain text, and lists of numbers."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tomofilt.errors import InputError
from tomofilt.io.files import read_input

__all__ = ["count", "read_numbers", "read_text", "split_fields"]


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


def read_numbers(path: Path) -> NDArray[np.float64]:
    """Read the numbers of a free-format list: one or several a line, blanks or commas between them.

    Raises
    ------
    MissingFileError, InputError
        As :func:`read_text`; also when something is not a number.
    """
    numbers = []
    for line_number, line in enumerate(read_text(path).splitlines(), start=1):
        try:
            numbers += [float(field) for field in split_fields(line)]
        except ValueError:
            raise InputError(
                f"{path} line {line_number}: {line.strip()!r} is not a list of numbers"
            ) from None
    values = np.array(numbers)
    if not np.isfinite(values).all():
        raise InputError(f"{path} holds NaN or infinity: make it again")
    return values


def count(number: int, noun: str) -> str:
    """Spell a number of things: ``1 section`` or ``2 sections``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
