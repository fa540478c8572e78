"""Vertical slices: how ``tilt`` turns a tomogram about x that it has made without x tilt.

Every row of the aligned stack gives an upright slice, thicker than the tomogram, whose middle
follows the tilted specimen in whole voxels. A voxel of the tomogram is interpolated between two
such slices, or four. Where one of them is missing, at the first and last rows, it has no value.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, sin

import numpy as np
from numpy.typing import NDArray

from tomofilt.reconstruction.problem import Problem
from tomofilt.util.jit import kernel
from tomofilt_imod.look_up import stack_rows
from tomofilt_imod.tilt_program import TiltProgram

__all__ = ["VerticalSlices"]

Float32 = NDArray[np.float32]
#: A slice is so much thicker than the specimen is along it, before that is rounded down.
_MORE_PLANES = 4.5
#: So little beyond the last slice, a voxel is extrapolated from the last two.
_NEARLY = 0.02


@dataclass(frozen=True)
class VerticalSlices:
    """The upright slices that a tilted tomogram is interpolated from.

    Parameters
    ----------
    rows : (first, last)
        Of the aligned stack, counted in rows of the upright tomogram.
    planes : (first, last)
        Lowest and highest plane that any slice has, about the middle plane.
    thickness : int
        Planes of a slice.
    tangent : float
        Planes that the middle of a slice moves from one row to the next.
    order : int
        XTILTINTERP.
    """

    rows: tuple[float, float]
    planes: tuple[float, float]
    thickness: int
    tangent: float
    order: int

    @classmethod
    def of(cls, problem: Problem, program: TiltProgram) -> VerticalSlices:
        """The slices for a problem; its x tilt may be zero."""
        grid, upright, angle = problem.grid, problem.frame.volume, problem.xtilt_rad
        c, s = cos(angle), sin(angle)
        thickness = int(grid.shape[0] / c + _MORE_PLANES)
        first, last = rows = stack_rows(problem.frame, program.rows_angst)
        # the rows that are needed for the first and the last row of the tomogram
        reach = 0.5 * grid.shape[0] * abs(s)
        yc, upright_yc = grid.centre[1], upright.centre[1]
        # truncated where IMOD truncates: row numbers that count from 1 at the stack's first
        low = int(upright_yc - first + 1 - yc * c - reach - 1) + first - 1
        high = int(upright_yc - first + 1 + (grid.shape[1] - 1 - yc) * c + reach + 2) + first - 1
        ends = np.array([max(low, first), min(high, last)]) - upright_yc
        middles = _nearest(s / c * ends)
        planes = (middles.min() + _lowest(thickness), middles.max() + _highest(thickness))
        return cls(rows, planes, thickness, s / c, program.xtilt_order)

    def turn_row(
        self,
        window: Float32,
        first: int,
        y: int,
        c: float,
        s: float,
        centre: tuple[float, float, float],
        upright_centre: tuple[float, float, float],
        out: Float32,
    ) -> None:
        """Interpolate a row; see :func:`~tomofilt.reconstruction.vertical.turn_row`."""
        ends = (self.rows[0] - first, self.rows[1] - first)
        _compose(
            window,
            (upright_centre[0], upright_centre[1] - first),
            (y - centre[1], centre[0]),
            (c, s),
            ends,
            (_lowest(self.thickness), _highest(self.thickness)),
            self.order > 2,
            out,
        )


def _lowest(thickness: int) -> float:
    return thickness // 2 + 0.5 - thickness


def _highest(thickness: int) -> float:
    return thickness // 2 - 0.5


def _nearest(value: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.sign(value) * np.floor(np.abs(value) + 0.5))


@kernel
def _have(
    row: int,
    plane: int,
    taps: tuple[int, int],
    tangent: float,
    centre: tuple[float, float],
    ends: tuple[float, float],
    planes: tuple[float, float],
) -> bool:
    """Whether all slices about a place are there, and have the planes about it."""
    for j in range(row + taps[0], row + taps[1]):
        if j < ends[0] or j > ends[1]:
            return False
        moved = tangent * (j - centre[1])
        middle = centre[0] + np.sign(moved) * np.floor(np.abs(moved) + 0.5)
        if plane + taps[0] < middle + planes[0] or plane + taps[1] - 1 > middle + planes[1]:
            return False
    return True


@kernel
def _compose(
    window: Float32,
    centre: tuple[float, float],
    place: tuple[float, float],
    turn: tuple[float, float],
    ends: tuple[float, float],
    planes: tuple[float, float],
    cubic: bool,
    out: Float32,
) -> None:
    """One row of voxels, out (z, x), from lines of the upright window (plane, row, x)."""
    c, s = turn
    tangent = s / c
    down, across = np.zeros(4, np.float32), np.zeros(4, np.float32)
    for z in range(out.shape[0]):
        about_y, about_z = place[0], z - place[1]
        j = about_y * c - about_z * s + centre[1]
        i = about_y * s + about_z * c + centre[0]
        row, plane = int(np.floor(j)), int(np.floor(i))
        t, w = j - row, i - plane
        line = out[z]
        line[:] = 0
        taps = (-1, 3)
        if cubic and _have(row, plane, taps, tangent, centre, ends, planes):
            _cubic(t, across)
            _cubic(w, down)
        else:
            taps = (0, 2)
            # a voxel on the last row needs none behind it
            if row + 1 > ends[1] and t < _NEARLY:
                row, t = row - 1, t + 1
            if not _have(row, plane, taps, tangent, centre, ends, planes):
                continue
            across[0], across[1], down[0], down[1] = 1 - t, t, 1 - w, w
        for b in range(taps[1] - taps[0]):
            for a in range(taps[1] - taps[0]):
                weight = across[a] * down[b]
                source = window[plane + taps[0] + b, row + taps[0] + a]
                for x in range(len(line)):
                    line[x] += weight * source[x]


@kernel
def _cubic(d: float, weights: Float32) -> None:
    """Weights of four neighbours for cubic convolution with a = -1 (Keys, 1981)."""
    e = 1 - d
    weights[0], weights[1] = -d * e * e, 1 - 2 * d * d + d * d * d
    weights[2], weights[3] = 1 - 2 * e * e + e * e * e, -e * d * d
