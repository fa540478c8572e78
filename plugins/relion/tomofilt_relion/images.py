"""Images that a STAR file names one by one: ``path.mrc`` or ``000001@stack.mrcs``."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tomofilt.errors import InputError
from tomofilt.io.mrc import MrcStack

__all__ = ["NamedImages", "file_of", "split_reference"]

#: RELION's way of saying the format of a file whose name does not: ``TS_01.st:mrc``.
_FORMAT = re.compile(r":mrcs?$")


@dataclass(frozen=True, eq=False)
class NamedImages:
    """Images of one tilt series (an :class:`~tomofilt.series.tiltseries.ImageSource`).

    Headers are read when something about the images is asked for, pixels when they are.

    Parameters
    ----------
    root : Path
        Folder that relative paths start from.
    references : sequence of str
        One for each image, as the STAR file has them.
    pixel_angst : float
        The project's pixel size; headers of motion-corrected images are not relied upon.
    """

    root: Path
    references: Sequence[str]
    pixel_angst: float

    @property
    def files(self) -> tuple[Path, ...]:
        """Every file, in the order of the images."""
        return tuple(self._stacks)

    @cached_property
    def shape(self) -> tuple[int, int, int]:
        """(image, y, x).

        Raises
        ------
        MissingFileError
            An image is not there.
        InputError
            An image cannot be read, or differs in size from the first.
        """
        first, *others = self._stacks.values()
        for stack in others:
            if stack.shape[1:] != first.shape[1:]:
                raise InputError(
                    f"{stack.path} has images of {stack.shape[2]} x {stack.shape[1]} pixels but "
                    f"{first.path} of {first.shape[2]} x {first.shape[1]}: all images of a tilt "
                    "series must have one size; correct the motion of all in the same way"
                )
        return (len(self.references), *first.shape[1:])

    def read(self, image: int, y_start: int = 0, y_stop: int | None = None) -> NDArray[np.float32]:
        """Rows y_start..y_stop of one image as float32, shape (rows, x)."""
        path, section = self._places[image]
        return self._stacks[path].read(section, y_start, y_stop)

    def refuse_repeated(self, used: Iterable[int]) -> None:
        """Raise InputError if two of the used rows (counted from 0) have the same image."""
        rows: dict[tuple[Path, int], int] = {}
        for row in used:
            first = rows.setdefault(self._places[row], row)
            if first != row:
                raise InputError(
                    f"{self.references[row]} is the image of row {first + 1} and of row {row + 1}, "
                    "so that one of them has the angles of another image: correct the STAR file, "
                    f"or leave one out (--exclude {row + 1})"
                )

    @property
    def notes(self) -> Sequence[str]:
        """What is odd about the files."""
        stacks = list(self._stacks.values())
        found = [text for stack in stacks if (text := stack.surplus)]
        header_angst = [stack.header.spacing_angst[0] for stack in stacks]
        known = [size for size in header_angst if size > 0 and size != 1.0]
        if known and not math.isclose(known[0], self.pixel_angst, rel_tol=0.01):
            found.append(
                f"the header of {stacks[header_angst.index(known[0])].path.name} says "
                f"{known[0]:g} A per pixel, but the STAR file {self.pixel_angst:g} A, which is "
                "used: one of them is wrong"
            )
        return found

    @cached_property
    def _places(self) -> Sequence[tuple[Path, int]]:
        places = [split_reference(reference) for reference in self.references]
        return [(self.root / path, section or 0) for path, section in places]

    @cached_property
    def _stacks(self) -> dict[Path, MrcStack]:
        stacks: dict[Path, MrcStack] = {}
        for reference, (path, section) in zip(self.references, self._places, strict=True):
            if path not in stacks:
                stacks[path] = MrcStack(path, self.pixel_angst)
            count = stacks[path].shape[0]
            if section >= count:
                raise InputError(
                    f"{reference}: {path} has only {count} images; the STAR file and the stack do "
                    "not belong together"
                )
            if count > 1 and split_reference(reference)[1] is None:
                raise InputError(
                    f"{reference} holds {count} images, of which one is meant: "
                    f"name it as 000001@{reference}"
                )
        return stacks


def split_reference(reference: str) -> tuple[str, int | None]:
    """Path and section, counted from 0, of ``000001@stack.mrcs``; None without a section.

    A format after the name, as in ``stack.st:mrcs``, is left out of the path.

    Raises
    ------
    InputError
        Sections are counted from 1, but 0 stands there.
    """
    match = re.fullmatch(r"(\d+)@(.+)", reference, re.ASCII)
    if match is None:
        return file_of(reference), None
    if int(match[1]) == 0:
        raise InputError(f"{reference} names image 0 of a stack, but RELION counts from 1")
    return file_of(match[2]), int(match[1]) - 1


def file_of(name: str) -> str:
    """Name of the file itself, without the format that RELION may add to it."""
    return _FORMAT.sub("", name)
