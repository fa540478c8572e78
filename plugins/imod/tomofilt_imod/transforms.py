"""Transform files: raw-to-aligned transforms (.xf) and local alignments (LOCALFILE)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tomofilt.errors import InputError
from tomofilt.io.text import count, read_numbers, read_text, split_fields, usable
from tomofilt.series.checks import refuse_angles, refuse_transforms

__all__ = ["LocalAlignment", "Transforms", "read_local", "read_xf"]

FloatArray = NDArray[np.float64]

_COLUMN = 12  # characters of a number in an .xf line


@dataclass(frozen=True, eq=False)
class Transforms:
    """The lines of an .xf file, one for each section of the raw stack.

    With positions about the centres, (n - 1) / 2, of the input and of the output image,
    ``output = A input + d``; d is in pixels of the stack that the transforms were made for.

    Parameters
    ----------
    path : Path
    matrices : (section, 2, 3)
        A and, in the last column, d.
    lines : sequence of int
        Where each stands in the file.
    """

    path: Path
    matrices: FloatArray
    lines: Sequence[int]

    def __len__(self) -> int:
        return len(self.lines)

    @property
    def rotation_deg(self) -> FloatArray:
        """By how much each turns the image."""
        return np.asarray(np.degrees(np.arctan2(self.matrices[:, 1, 0], self.matrices[:, 0, 0])))

    def refuse_impossible(self, used: NDArray[np.intp]) -> None:
        """Raise InputError if a transform of the used sections is not one that an alignment makes.

        See :func:`~tomofilt.series.checks.refuse_transforms`.
        """
        columns = self.matrices[used, :, :2].transpose(0, 2, 1)
        refuse_transforms(columns, lambda i: f"{self.path} line {self.lines[used[i]]}")

    def raw_from_aligned(self, offset_px: FloatArray, scale: float = 1.0) -> FloatArray:
        """Map aligned to raw images, in pixels about their middles: (section, 2, 3).

        Parameters
        ----------
        offset_px : (x, y)
            newstack cuts its output out about this place in the moved image.
        scale : float
            Pixels of the raw stack in one of the stack that the transforms were made for.
        """
        linear = self.matrices[:, :, :2].copy()
        linear[np.abs(np.linalg.det(linear)) < 1e-6] = np.eye(2)  # of no use, see above
        back = np.linalg.inv(linear)
        shift = back @ (scale * (offset_px - self.matrices[:, :, 2]))[..., None]
        return np.concatenate([back, shift], axis=2)


def read_xf(path: Path) -> Transforms:
    """Read the linear transforms of an .xf file; a line holds a11 a12 a21 a22 dx dy.

    Raises
    ------
    MissingFileError, InputError
        As :func:`~tomofilt.io.text.read_text`; also when a line is not a transform.
    """
    transforms, lines = [], []
    for line_number, line in enumerate(read_text(path).splitlines(), start=1):
        if not line.strip():
            continue
        numbers = _transform(line)
        if numbers is None:
            raise InputError(
                f"{path} line {line_number}: {line.strip()!r} is not a transform: six numbers "
                "(a11 a12 a21 a22 dx dy) are needed"
            )
        a11, a12, a21, a22, dx, dy = numbers
        transforms.append([[a11, a12, dx], [a21, a22, dy]])
        lines.append(line_number)
    return Transforms(path, np.array(transforms), lines)


def _transform(line: str) -> list[float] | None:
    fields = split_fields(line)
    if len(fields) != 6:  # large shifts leave no blank between columns
        text = line.rstrip()
        fields = [text[i : i + _COLUMN] for i in range(0, len(text), _COLUMN)]
    try:
        numbers = [float(text) for text in fields]
    except ValueError:
        return None
    return numbers if len(numbers) == 6 and all(map(usable, numbers)) else None


@dataclass(frozen=True, eq=False)
class LocalAlignment:
    """How the alignment varies over the specimen, as ``tiltalign`` writes it.

    Parameters
    ----------
    x_px, y_px : (nx_patch,), (ny_patch,)
        Patch positions in pixels from the lower left corner of the full aligned image.
    tilt_deg, xtilt_deg : (ny_patch, nx_patch, view)
        Added to the tilt and x-tilt angles.
    transforms : (ny_patch, nx_patch, view, 2, 3)
        From the globally predicted position to the position to sample, about the image centre.
    z_factors : (ny_patch, nx_patch, view, 2), optional
        Replace the Z factors of the whole.
    pixel_angst : float, optional
        Pixel size that lengths above refer to, as the header of the images had it.
    """

    x_px: FloatArray
    y_px: FloatArray
    tilt_deg: FloatArray
    xtilt_deg: FloatArray
    transforms: FloatArray
    z_factors: FloatArray | None
    pixel_angst: float | None

    def lattice(self, scale: float) -> tuple[FloatArray, FloatArray]:
        """Patch positions (x, y) in pixels ``scale`` times finer, at whole pixels as in ``tilt``.

        They count from 1.
        """
        x, y = (_whole(positions, scale) for positions in (self.x_px, self.y_px))
        return x, y


def _whole(positions: FloatArray, scale: float) -> FloatArray:
    first, step = positions[0], positions[1] - positions[0]
    first, step = (np.floor(np.rint(value) * scale + 0.5) for value in (first, step))
    return np.asarray(first + step * np.arange(len(positions)))


def read_local(path: Path, views: int) -> LocalAlignment | None:
    """Read the local alignment of all ``views``; None when the file holds .xf transforms instead.

    The first line is ``nx_patch ny_patch x0 y0 dx dy [has_xtilt] [pixel_angst] [has_z_factors]``.
    Each patch, x fastest, then has the views' tilt angles, x tilts and Z factors (the latter two as
    announced), and their transforms. AreTomo's tilt.com names the global .xf here by mistake.

    Raises
    ------
    MissingFileError, InputError
        As :func:`~tomofilt.io.text.read_text`; also when the header makes no sense, or the
        amount of numbers does not fit it and ``views``.
    """
    header = split_fields(read_text(path).lstrip().splitlines()[0])
    patches = [int(text) if text.isdecimal() else 0 for text in header[:2]]
    if len(header) == 6 and 0 in patches:
        return None
    if not 6 <= len(header) <= 9 or min(patches) < 2:
        raise InputError(
            f"{path} is not a local alignment: its first line has {' '.join(header)!r}, not the "
            "number of patches in x and y (2 or more each), the first position and the spacing"
        )
    numbers = read_numbers(path)
    nx, ny = patches
    x0, y0, dx, dy = numbers[2:6]
    has_xtilt, pixel_angst, has_z = (*numbers[6 : len(header)], 0.0, 0.0, 0.0)[:3]
    if not (dx > 0 and dy > 0):
        raise InputError(f"{path}: patches {dx:g} x {dy:g} pixels apart are not a lattice")

    body = numbers[len(header) :]
    widths = [views, views * bool(has_xtilt), 2 * views * bool(has_z), 6 * views]
    if len(body) != nx * ny * sum(widths):
        raise InputError(
            f"{path} has {count(len(body), 'number')} for {nx} x {ny} patches, but {views} views "
            f"need {nx * ny * sum(widths)}: it was made for another stack; make the local "
            "alignment again"
        )
    tilt, xtilt, z_factors, lines = np.split(
        body.reshape(ny, nx, -1), np.cumsum(widths)[:-1], axis=2
    )
    for angles, what in ((tilt, "a change of tilt"), (xtilt, "a change of x tilt")):
        refuse_angles(angles.ravel(), what, lambda _: f"{path}")
    lines = lines.reshape(ny, nx, views, 6)
    return LocalAlignment(
        x_px=x0 + dx * np.arange(nx),
        y_px=y0 + dy * np.arange(ny),
        tilt_deg=tilt,
        xtilt_deg=xtilt if has_xtilt else np.zeros_like(tilt),
        transforms=lines[..., [0, 1, 4, 2, 3, 5]].reshape(ny, nx, views, 2, 3),
        z_factors=z_factors.reshape(ny, nx, views, 2) if has_z else None,
        pixel_angst=pixel_angst or None,
    )
