"""Defocus files: what ctfplotter finds and ctfphaseflip uses.

A line holds the first and the last view of a range (from 1), their tilt angles, and the underfocus
in nanometres. Version 2 says so with a 2 at the end of the first line. Version 3 begins with a line
``flags 0 0 0 0 3``, whose flags tell what else a line holds: 1 a second underfocus and the
direction of the first (2: in radians), 4 a phase shift (8: in radians), 32 a cut-on frequency; 16
says that the angles are those before their sign is inverted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tomofilt.errors import InputError
from tomofilt.io.text import count, read_text, split_fields

__all__ = ["DefocusTable", "read_defocus"]

FloatArray = NDArray[np.float64]

_ASTIGMATISM, _AXIS_IN_RAD, _PHASE, _PHASE_IN_RAD, _INVERT, _CUT_ON = 1, 2, 4, 8, 16, 32
_NEWEST = 3
#: Outside these, in nanometres, numbers are in another unit, or no defocus.
_LEAST_NM, _MOST_NM = 50.0, 50000.0


@dataclass(frozen=True, eq=False)
class DefocusTable:
    """The lines of a defocus file.

    Parameters
    ----------
    first, last : (line,) int
        Views, counted from 1.
    tilt_deg : (line, 2)
        Tilt angles of the first and the last view, as the file has them.
    u_nm, v_nm : (line,)
        Underfocus along the two axes.
    axis_deg : (line,)
        Direction of the first axis.
    phase_deg : (line,)
        Phase shift.
    has_cut_on : bool
    angles_not_inverted : bool
        Flag 16: the program is to invert the sign of the tilt angles.
    """

    first: NDArray[np.intp]
    last: NDArray[np.intp]
    tilt_deg: FloatArray
    u_nm: FloatArray
    v_nm: FloatArray
    axis_deg: FloatArray
    phase_deg: FloatArray
    has_cut_on: bool = False
    angles_not_inverted: bool = False

    def numbered_from_1(self, tilt_deg: FloatArray) -> DefocusTable:
        """The table with views counted from 1, as those of ctfplotter before IMOD 4.0.29 are not.

        A 0 among the views gives them away, or angles that fit the views only one further on.

        Parameters
        ----------
        tilt_deg : (view,)
            Of all views of the stack.
        """
        shifted = replace(self, first=self.first + 1, last=self.last + 1)
        here, there = self._misfit_deg(tilt_deg), shifted._misfit_deg(tilt_deg)
        if self.first.min() < 1 or (here > 0.1 and there < 0.05):
            return shifted
        return self

    def is_inverted(self, tilt_deg: FloatArray) -> bool:
        """Whether the file's angles are the stack's with their sign inverted."""
        return self._misfit_deg(-tilt_deg) + 1.0 < self._misfit_deg(tilt_deg)

    def _misfit_deg(self, tilt_deg: FloatArray) -> float:
        """Mean distance of the file's angles from the views'; infinite if it has other views."""
        if not self._numbers_views(len(tilt_deg)):
            return float("inf")
        views = np.stack([self.first, self.last], axis=1) - 1
        return float(np.abs(tilt_deg[views] - self.tilt_deg).mean())

    def _numbers_views(self, views: int) -> bool:
        return bool(self.first.min() >= 1 and self.last.max() <= views)

    def covered(self, views: int) -> NDArray[np.bool_]:
        """Whether each view of the stack is in a line's range."""
        numbers = np.arange(1, views + 1)[:, None]
        return np.asarray(((numbers >= self.first) & (numbers <= self.last)).any(axis=1))

    def at(self, tilt_deg: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
        """Underfocus (u, v, nm), direction of the first axis and phase shift (deg) of every view.

        A range's numbers hold for the tilt angle in its middle; between them they are interpolated,
        beyond them the nearest counts, as in ctfphaseflip. Ranges are found by their view numbers,
        by their angles only where there are no such views.

        Parameters
        ----------
        tilt_deg : (view,)
            Of all views of the stack.
        """
        if self._numbers_views(len(tilt_deg)):
            middle = (tilt_deg[self.first - 1] + tilt_deg[self.last - 1]) / 2
        else:
            middle = self.tilt_deg.mean(axis=1)
        nodes, which = np.unique(middle, return_inverse=True)
        share = np.bincount(which)

        def spread(values: FloatArray) -> FloatArray:
            return np.interp(tilt_deg, nodes, np.bincount(which, values) / share)

        half, double = (self.u_nm - self.v_nm) / 2, np.radians(2 * self.axis_deg)
        # astigmatism is a vector at twice the angle: interpolated so, it may turn and vanish
        along, diagonal = spread(half * np.cos(double)), spread(half * np.sin(double))
        mean, astigmatism = spread((self.u_nm + self.v_nm) / 2), np.hypot(along, diagonal)
        axis = np.degrees(np.arctan2(diagonal, along)) / 2
        return mean + astigmatism, mean - astigmatism, axis, spread(self.phase_deg)

    def text(self, flags: int | None = None) -> str:
        """The table as a file of version 3 with these flags; of version 2 without.

        Raises
        ------
        ValueError
            If the flags leave out what the table holds.
        """
        lines = [] if flags is None else [f"{flags}\t0\t0.0\t0.0\t0\t3"]
        flags = flags or 0
        if not flags & _ASTIGMATISM and np.any(self.u_nm != self.v_nm):
            raise ValueError("without flag 1 there is no astigmatism in a defocus file")
        if not flags & _PHASE and np.any(self.phase_deg):
            raise ValueError("without flag 4 there is no phase shift in a defocus file")
        axis = np.radians(self.axis_deg) if flags & _AXIS_IN_RAD else self.axis_deg
        phase = np.radians(self.phase_deg) if flags & _PHASE_IN_RAD else self.phase_deg
        for i in range(len(self.first)):
            low, high = self.tilt_deg[i]
            fields = [f"{self.first[i]}", f"{self.last[i]}", f"{low:.2f}", f"{high:.2f}"]
            fields.append(f"{self.u_nm[i]:.2f}")
            if flags & _ASTIGMATISM:
                fields += [f"{self.v_nm[i]:.2f}", f"{axis[i]:.4f}"]
            if flags & _PHASE:
                fields.append(f"{phase[i]:.4f}")
            if flags & _CUT_ON:
                fields.append("0.0000")
            if i == 0 and not lines:
                fields.append("2")
            lines.append("\t".join(fields))
        return "\n".join(lines) + "\n"


def read_defocus(path: Path) -> DefocusTable:
    """Read a defocus file of any version.

    Raises
    ------
    MissingFileError, InputError
        It is not there, or holds something else; the message names the line.
    """
    rows: list[tuple[int, list[float]]] = []
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        try:
            fields = [float(field) for field in split_fields(line)]
        except ValueError:
            raise InputError(
                f"{path} line {number}: {line.strip()!r} is not a line of numbers"
            ) from None
        if fields:
            rows.append((number, fields))
    flags = _flags(path, rows[0][1])
    if flags is not None:
        rows = rows[1:]
    elif len(rows[0][1]) == 6 and rows[0][1][-1] in (1, 2):
        rows[0] = (rows[0][0], rows[0][1][:-1])
    if not rows:
        raise InputError(f"{path} has a first line that tells its version, and no defocus below it")
    return _table(path, rows, flags or 0)


def _flags(path: Path, first: Sequence[float]) -> int | None:
    """The flags of a first line that holds no defocus; None if it is a line like the others."""
    if len(first) < 5 or any(first[1:5]):
        return None
    version = first[-1]
    if len(first) < 6 or version != _NEWEST or not float(first[0]).is_integer() or first[0] < 0:
        raise InputError(
            f"{path} begins with a line of version {version:g}, but only files up to version "
            f"{_NEWEST} are known: save it again with ctfplotter's older format, or give --ctf none"
        )
    return int(first[0])


def _table(path: Path, rows: Sequence[tuple[int, list[float]]], flags: int) -> DefocusTable:
    astigmatic, phase = bool(flags & _ASTIGMATISM), bool(flags & _PHASE)
    columns = 5 + 2 * astigmatic + phase + bool(flags & _CUT_ON)
    for number, fields in rows:
        if len(fields) != columns:
            raise InputError(
                f"{path} line {number} has {count(len(fields), 'number')}, but its kind of defocus "
                f"file (flags {flags}) has {columns} in a line: was its first line lost?"
            )
        numbers = fields[:2]
        if not np.isfinite(fields).all() or not all(x.is_integer() and x < 1e6 for x in numbers):
            raise InputError(f"{path} line {number} does not begin with two view numbers")
        defocus = fields[4:6] if astigmatic else fields[4:5]
        if not all(_LEAST_NM <= abs(value) <= _MOST_NM for value in defocus):
            raise InputError(
                f"{path} line {number} has a defocus of {defocus[0]:g} nm, which cannot be: was "
                "the fit of that view lost, or is the file in another unit?"
            )
    values = np.array([fields for _, fields in rows])
    axis, shift = np.zeros(len(values)), np.zeros(len(values))
    if astigmatic:
        axis = np.degrees(values[:, 6]) if flags & _AXIS_IN_RAD else values[:, 6]
    if phase:
        shift = values[:, 7 if astigmatic else 5]
        shift = np.degrees(shift) if flags & _PHASE_IN_RAD else shift
    views = np.sort(values[:, :2].astype(np.intp), axis=1)
    return DefocusTable(
        first=views[:, 0],
        last=views[:, 1],
        tilt_deg=values[:, 2:4] if np.all(values[:, 0] <= values[:, 1]) else values[:, 3:1:-1],
        u_nm=values[:, 4],
        v_nm=values[:, 5] if astigmatic else values[:, 4],
        axis_deg=axis,
        phase_deg=shift,
        has_cut_on=bool(flags & _CUT_ON),
        angles_not_inverted=bool(flags & _INVERT),
    )
