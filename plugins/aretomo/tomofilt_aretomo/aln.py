"""AreTomo's .aln files: one line an aligned image, and the local alignment below them.

The header holds ``# key = value`` lines (AreTomo 1.2 has one with the numbers of images and of
patches instead). A line of the global alignment is ``SEC ROT GMAG TX TY SMEAN SFIT SCALE BASE
TILT``; one of the local alignment ``image patch x y dx dy good``, where images count the lines
above.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tomofilt.errors import InputError
from tomofilt.io.text import count, read_text

__all__ = ["Alignment", "Patches", "read_aln"]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]

_FIELDS, _LOCAL_FIELDS = 10, 7
# large shifts leave no blank between columns, but every column has its decimal point
_NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?")
_KEY = re.compile(r"#\s*(\w+)\s*=\s*(.*)")


@dataclass(frozen=True, eq=False)
class Patches:
    """How far parts of the images moved on top of the alignment of the whole.

    Parameters
    ----------
    centre_px : (image, patch, 2)
        Where a patch is in an image (x, y), about its centre, once the shift of the whole is off.
    shift_px : (image, patch, 2)
        By how much it moved.
    good : (image, patch) bool
        Patches that count.
    """

    centre_px: FloatArray
    shift_px: FloatArray
    good: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Alignment:
    """An .aln file; arrays have one value for each aligned image, in the order of its lines.

    Parameters
    ----------
    path : Path
    sections : (image,) int
        SEC as it stands there: see :meth:`raw_sections`.
    rotation_deg : (image,)
        ROT: the tilt axis, counter-clockwise from the y axis of the images.
    shift_px : (image, 2)
        TX, TY: where the images have what the specimen has at its centre.
    tilt_deg : (image,)
        TILT, which AlphaOffset is part of.
    raw_shape : (section, y, x), optional
        Of the stack that was aligned.
    dark : (dark, 2) int
        Images left out as too dark: place by tilt angle, from 0, and section.
    thickness_px : int
        What AreTomo found, in pixels; 0 if it did not look.
    alpha_deg, beta_deg : float
        AlphaOffset and BetaOffset.
    patches : Patches, optional
    """

    path: Path
    sections: IntArray
    rotation_deg: FloatArray
    shift_px: FloatArray
    tilt_deg: FloatArray
    raw_shape: tuple[int, int, int] | None
    dark: IntArray
    thickness_px: int
    alpha_deg: float
    beta_deg: float
    patches: Patches | None

    def __len__(self) -> int:
        return len(self.tilt_deg)

    def raw_sections(self, stack_sections: int) -> IntArray:
        """Section, counted from 0, of each aligned image in the stack that was aligned.

        Sections are counted from 1 (AreTomo3 since 2.0), or from 0; before 2.0 the count leaves out
        the dark images, which have to be put back.

        Parameters
        ----------
        stack_sections : int
            How many the stack has.

        Raises
        ------
        InputError
            The numbers are those of another stack.
        """
        every = np.arange(stack_sections)
        places, dark = self.dark[:, 0], self.dark[:, 1]
        for base in (1, 0):
            if np.array_equal(np.sort([*self.sections, *dark]), every + base):
                return self.sections - base
        bright = np.setdiff1d(every, places)
        if len(bright) == len(self):
            for base in (1, 0):
                if np.array_equal(np.sort(self.sections), np.arange(len(self)) + base):
                    return np.asarray(bright[self.sections - base])
        raise InputError(
            f"{self.path} has {count(len(self), 'aligned image')} (sections {self.sections.min()} "
            f"to {self.sections.max()}) and {count(len(dark), 'dark one')}, which do not make up "
            f"the {count(stack_sections, 'section')} of the stack: take the stack that AreTomo has "
            "aligned"
        )


def read_aln(path: Path) -> Alignment:
    """Read an .aln file of AreTomo 1, 2 or 3.

    Raises
    ------
    MissingFileError, InputError
        As :func:`~tomofilt.io.text.read_text`; also when a line is not what it should be, which
        the message names.
    """
    header: dict[str, str] = {}
    dark: list[list[int]] = []
    rows: dict[int, list[list[float]]] = {_FIELDS: [], _LOCAL_FIELDS: []}
    fields = _FIELDS
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        text = line.strip()
        if text.startswith("#"):
            if "Local Alignment" in text:
                fields = _LOCAL_FIELDS
            elif match := _KEY.match(text):
                if match[1] == "DarkFrame":
                    dark.append(_integers(match[2], 2, path, number))
                header[match[1]] = match[2]
        elif text:
            numbers = [float(each) for each in _NUMBER.findall(text)]
            if len(numbers) != fields:
                raise InputError(
                    f"{path} line {number}: {text!r} has {count(len(numbers), 'number')}, but a "
                    f"line of an AreTomo alignment has {fields} here"
                )
            rows[fields].append(numbers)
    if not rows[_FIELDS]:
        raise InputError(f"{path} holds no aligned image: is it an AreTomo alignment?")
    table = np.array(rows[_FIELDS])
    raw = _integers(header["RawSize"], 3, path) if "RawSize" in header else None
    return Alignment(
        path=path,
        sections=table[:, 0].astype(np.intp),
        rotation_deg=table[:, 1],
        shift_px=table[:, 3:5],
        tilt_deg=table[:, 9],
        raw_shape=None if raw is None else (raw[2], raw[1], raw[0]),
        dark=np.array(dark, dtype=np.intp).reshape(-1, 2),
        thickness_px=_integers(header.get("Thickness", "0"), 1, path)[0],
        alpha_deg=_offset(header, "AlphaOffset", path),
        beta_deg=_offset(header, "BetaOffset", path),
        patches=_patches(np.array(rows[_LOCAL_FIELDS]), len(table), path),
    )


def _integers(text: str, amount: int, path: Path, number: int | None = None) -> list[int]:
    fields = text.split()[:amount]
    where = f"{path} line {number}" if number else f"{path}"
    if len(fields) < amount or not all(re.fullmatch(r"[-+]?\d+", field) for field in fields):
        raise InputError(f"{where}: {text!r} in the header is not {count(amount, 'whole number')}")
    return [int(field) for field in fields]


def _offset(header: Mapping[str, str], key: str, path: Path) -> float:
    text = header.get(key, "0")
    if not _NUMBER.fullmatch(text):
        raise InputError(f"{path}: {text!r} in the header is not an angle ({key})")
    return float(text)


def _patches(table: FloatArray, images: int, path: Path) -> Patches | None:
    if not len(table):
        return None
    image, patch = table[:, 0].astype(np.intp), table[:, 1].astype(np.intp)
    patches = int(patch.max()) + 1
    if image.max() >= images or len(table) != images * patches:
        raise InputError(
            f"{path} has a local alignment of {count(len(table), 'line')}, but {images} images "
            f"with {patches} patches need {images * patches}: was the file cut short?"
        )
    centre, shift = np.zeros((2, images, patches, 2))
    good = np.zeros((images, patches), dtype=bool)
    centre[image, patch], shift[image, patch] = table[:, 2:4], table[:, 4:6]
    good[image, patch] = table[:, 6] >= 0.9
    return Patches(centre, shift, good)
