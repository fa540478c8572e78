"""Tilt about x as IMOD's ``tilt`` does it: through a tomogram made without x tilt.

When all views share one x tilt, ``tilt`` back-projects slices perpendicular to the tilt axis
("vertical slices") and interpolates the tilted tomogram from them, in y and z. The fast projector's
own way needs no second interpolation and keeps more detail; this one is for methods that work on
such slices.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from math import ceil, cos, floor, sin

import numpy as np
from numpy.typing import NDArray

from tomofilt.reconstruction.problem import Problem, Slab
from tomofilt.series.geometry import TiltGeometry, VolumeGrid, rotation_x
from tomofilt.util.jit import kernel
from tomofilt.util.threads import run_all

__all__ = ["common_xtilt", "turn_row", "turned_slabs", "upright_grid", "without_xtilt"]

Float32 = NDArray[np.float32]
#: Takes the arguments of :func:`turn_row`.
TurnRow = Callable[..., None]


def common_xtilt(geometry: TiltGeometry) -> float:
    """The x tilt that all views share, radians; 0 when there is none, or not one for all."""
    _, slices = geometry.factor()
    angle = float(np.arctan(-slices.e).mean())
    if abs(angle) < 1e-6 or geometry.local is not None:
        return 0.0
    _, rest = without_xtilt(geometry, angle).factor()
    return 0.0 if np.abs(rest.e).max() > 1e-6 else angle


def without_xtilt(geometry: TiltGeometry, angle_rad: float) -> TiltGeometry:
    """View maps of the specimen after it has been turned about x by an angle."""
    maps = geometry.image_from_volume.copy()
    maps[:, :, :3] = maps[:, :, :3] @ rotation_x(-angle_rad)
    return TiltGeometry(maps)


def upright_grid(grid: VolumeGrid, angle_rad: float) -> VolumeGrid:
    """Voxels, on the same lattice, that a turned tomogram on ``grid`` is interpolated from."""
    (nz, ny, nx), (zc, yc, xc) = grid.shape, grid.centre
    reach_y, reach_z = max(yc, ny - 1 - yc), max(zc, nz - 1 - zc)
    c, s = cos(angle_rad), abs(sin(angle_rad))
    more_y = max(0, ceil(c * reach_y + s * reach_z - (ny - 1) / 2)) + 1
    more_z = max(0, ceil(c * reach_z + s * reach_y - (nz - 1) / 2)) + 1
    shape = (nz + 2 * more_z, ny + 2 * more_y, nx)
    return replace(grid, shape=shape, centre=(zc + more_z, yc + more_y, xc))


def turned_slabs(
    problem: Problem, slabs: Iterator[Slab], row: TurnRow | None = None, reach: int = 1
) -> Iterator[Slab]:
    """Slabs of the turned tomogram, from slabs of the upright one, if the problem has one.

    Parameters
    ----------
    problem : Problem
    slabs : iterator of (first row, first plane, block)
        In ascending order; blocks hold all planes.
    row : callable
        Interpolates a row of voxels, as :func:`turn_row` does, which is the default.
    reach : int
        Rows of the upright tomogram on either side that it interpolates between.
    """
    if problem.xtilt_rad == 0.0:
        return slabs
    return _turned(slabs, problem, row or turn_row, reach)


def _turned(slabs: Iterator[Slab], problem: Problem, turn: TurnRow, taps: int) -> Iterator[Slab]:
    upright, grid, angle_rad = problem.frame.volume, problem.grid, problem.xtilt_rad
    nz, ny, nx = grid.shape
    zc, yc, _ = grid.centre
    _, upright_yc, _ = upright.centre
    c, s = cos(angle_rad), sin(angle_rad)
    reach = abs(s) * max(zc, nz - 1 - zc)
    window = np.empty((upright.shape[0], 0, nx), dtype=np.float32)
    first = done = 0
    for y_start, _, block in slabs:
        window = np.concatenate([window, block], axis=1)
        last = y_start + block.shape[1] - 1
        stop = floor((last - taps - reach - upright_yc) / c + yc) + 1
        stop = ny if last == upright.shape[1] - 1 else min(max(stop, done), ny)
        if stop == done:
            continue
        turned = np.empty((nz, stop - done, nx), dtype=np.float32)
        run_all(
            problem.threads,
            lambda row, window=window, first=first, done=done, turned=turned: turn(  # type: ignore[misc]
                window, first, done + row, c, s, grid.centre, upright.centre, turned[:, row]
            ),
            range(stop - done),
        )
        yield done, 0, turned
        done = stop
        needed = floor((done - yc) * c - reach + upright_yc) - taps
        if needed > first:
            window, first = window[:, needed - first :], needed


@kernel
def turn_row(
    window: Float32,
    first: int,
    y: int,
    c: float,
    s: float,
    centre: tuple[float, float, float],
    upright_centre: tuple[float, float, float],
    out: Float32,
) -> None:
    """One row of voxels, bilinear between four lines of the upright window.

    Parameters
    ----------
    window : (z, y, x)
        Rows of the upright tomogram.
    first : int
        Its first row.
    y : int
        Row of the turned tomogram.
    c, s : float
        Cosine and sine of the angle.
    centre, upright_centre : (z, y, x)
        Of the two grids.
    out : (z, x)
        Overwritten.
    """
    for z in range(out.shape[0]):
        about_y, about_z = y - centre[1], z - centre[0]
        j = about_y * c - about_z * s + upright_centre[1] - first
        i = about_y * s + about_z * c + upright_centre[0]
        row, plane = int(np.floor(j)), int(np.floor(i))
        t, w = np.float32(j - row), np.float32(i - plane)
        a, b = window[plane, row], window[plane, row + 1]
        d, e = window[plane + 1, row], window[plane + 1, row + 1]
        w00, w01 = (1 - w) * (1 - t), (1 - w) * t
        w10, w11 = w * (1 - t), w * t
        line = out[z]
        for x in range(len(line)):
            line[x] = (w00 * a[x] + w01 * b[x]) + (w10 * d[x] + w11 * e[x])
