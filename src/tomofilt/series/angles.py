"""Tilt angles as people write them: a range, or a file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tomofilt.errors import InputError, MissingFileError
from tomofilt.io.files import read_input

__all__ = ["angles_of_range", "read_angles"]

Float64 = NDArray[np.float64]

#: More angles than any tilt series has: a step of 1e-9 is a slip of the pen.
_MOST = 9999


def angles_of_range(first_deg: float, last_deg: float, step_deg: float) -> Float64:
    """Angles from first on, evenly spaced, up or down, none of them beyond last.

    Raises
    ------
    InputError
        There is none, or there are more than any tilt series has, or a number is not finite.
    """
    with np.errstate(all="ignore"):
        steps = np.divide(last_deg - first_deg, step_deg)
    if not 0 <= steps < _MOST or not np.isfinite([first_deg, last_deg, step_deg]).all():
        raise InputError(
            f"there is no list of tilts from {first_deg:g} to {last_deg:g} deg in steps of "
            f"{step_deg:g} deg: give first, last and step, such as -60:60:3 or 60:-60:-3"
        )
    return np.asarray(first_deg + step_deg * np.arange(int(steps + 1e-6) + 1))


def read_angles(path: Path) -> Float64:
    """Angles of a file such as .tlt or .rawtlt: one a line, or all in one line.

    Raises
    ------
    MissingFileError, InputError
        It is not there, or holds something else. A line with two numbers is refused, because the
        second may be a dose or a number of a view.
    """
    try:
        lines = read_input(path).decode().splitlines()
    except MissingFileError:
        raise MissingFileError(f"{path}: there is no such file with tilt angles") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path} cannot be read as a list of tilt angles: {error}") from error
    words = [line.strip() for line in lines if line.strip()]
    if len(words) == 1:
        words = words[0].replace(",", " ").split()
    angles = []
    for word in words:
        try:
            angle = float(word)
        except ValueError:
            angle = np.nan
        if not np.isfinite(angle):
            raise InputError(
                f"{path}: {word!r} is no tilt angle: give one angle in degrees on each line, or "
                "all of them in one line"
            )
        angles.append(angle)
    if not angles:
        raise InputError(f"{path} holds no tilt angles: give one angle in degrees on each line")
    return np.array(angles)
