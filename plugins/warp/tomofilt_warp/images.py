"""Warp's averages: one MRC file for each tilt, in the folder ``average`` beside the movies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from tomofilt.errors import InputError, MissingFileError
from tomofilt.io.mrc import MrcStack
from tomofilt.io.star import read_star
from tomofilt_warp.xml import WarpXml

__all__ = ["Averages", "find_averages", "open_averages"]


@dataclass(frozen=True, eq=False)
class Averages:
    """Images with a file each (an :class:`~tomofilt.series.tiltseries.ImageSource`).

    Parameters
    ----------
    stacks : sequence of MrcStack
        Of one section, all of one size.
    """

    stacks: Sequence[MrcStack]

    @property
    def shape(self) -> tuple[int, int, int]:
        """(image, y, x)."""
        return (len(self.stacks), *self.stacks[0].shape[1:])

    @property
    def pixel_angst(self) -> float:
        """Pixel size in angstrom."""
        return self.stacks[0].pixel_angst

    @property
    def files(self) -> tuple[Path, ...]:
        """Every file, in the order of the tilts."""
        return tuple(stack.path for stack in self.stacks)

    def read(self, image: int, y_start: int = 0, y_stop: int | None = None) -> NDArray[np.float32]:
        """Rows y_start..y_stop of one image as float32, shape (rows, x)."""
        return self.stacks[image].read(0, y_start, y_stop)


def find_averages(xml: WarpXml) -> list[Path]:
    """Where the average of each tilt is.

    MoviePath starts from the folder of the .tomostar, which the .xml has as its DataDirectory; if
    the project was moved, it is looked for in ``../tomostar`` and beside the .xml.

    Raises
    ------
    MissingFileError
        The first average is in none of these places; the message names them.
    """
    here, name = xml.path.parent, xml.path.stem
    data = [here / Path(text) for text in [xml.attributes.get("DataDirectory", "")] if text]
    folders = list(dict.fromkeys([*data, here.parent / "tomostar", here / "tomostar", here]))
    movies = xml.texts("MoviePath") or _movies_of_tomostar(folders, name, xml)
    tried = []
    for folder in folders:
        averages = [_average(folder, movie) for movie in movies]
        if averages[0].is_file():
            return averages
        tried.append(str(averages[0]))
    raise MissingFileError(
        f"{xml.path}: the average of the first tilt, {movies[0]}, is not there: looked for "
        f"{', '.join(tried)}; copy or link the project with its averages"
    )


def _average(folder: Path, movie: str) -> Path:
    """The average of a movie; a movie's path is that of its results, whatever its ending."""
    path = folder / PurePosixPath(movie.replace("\\", "/"))
    return path.parent / "average" / f"{path.stem}.mrc"


def _movies_of_tomostar(folders: Sequence[Path], name: str, xml: WarpXml) -> Sequence[str]:
    for folder in folders:
        path = folder / f"{name}.tomostar"
        if path.is_file():
            table = next(iter(read_star(path).values()))
            if "wrpMovieName" in table and len(table) == xml.tilts:
                return table["wrpMovieName"]
            raise InputError(f"{path} has no wrpMovieName for each of {xml.tilts} tilts")
    raise MissingFileError(f"{xml.path} has no MoviePath, and there is no {name}.tomostar")


def open_averages(paths: Sequence[Path], pixel_angst: float | None) -> Averages:
    """Open the averages of all tilts.

    Raises
    ------
    MissingFileError, InputError
        One is not there, is a stack, or has another size than the first.
    """
    stacks = [MrcStack(path, pixel_angst) for path in paths]
    first = stacks[0]
    for stack in stacks:
        if stack.shape != (1, *first.shape[1:]):
            raise InputError(
                f"{stack.path} has {stack.shape[0]} x {stack.shape[1]} x {stack.shape[2]} pixels "
                f"(images, y, x), but an average has one image, of {first.shape[1]} x "
                f"{first.shape[2]} like that of {first.path.name}"
            )
    return Averages(stacks)
