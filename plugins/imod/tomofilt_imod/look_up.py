"""Voxels that look into filtered aligned images where they fall on them, by the rule of ``tilt``.

This is what ``tilt`` does with a local alignment, Z factors, x tilts that differ between views, and
when vertical slices are switched off. Images are read bilinearly. Up to three rows beyond the first
and the last row, a voxel takes the value of that row; elsewhere outside it takes no value, and
there is no part of a value at an edge.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomofilt.align.frame import AlignedFrame
from tomofilt.align.stack import AlignedStack
from tomofilt.projectors.direct import column_map, index_maps, local_maps
from tomofilt.reconstruction.budget import SLAB_ROWS
from tomofilt.reconstruction.methods.fbp import middle_first
from tomofilt.reconstruction.problem import Part, Problem, Slab
from tomofilt.series.geometry import TiltGeometry
from tomofilt.util.jit import kernel
from tomofilt.util.progress import Clock, Progress
from tomofilt.util.threads import run_all

__all__ = ["halo", "look_up_slabs", "lowest_columns", "stack_rows"]

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Array = NDArray[Any]
#: So many pixels beyond the first and last row, that row is taken.
_TOLERANCE_PX = 3.05
#: A voxel falls on the last column up to here, with a local alignment and without: ``tilt``
#: compares places, or finds the last voxel there by a division, in single precision.
_NEARLY_PX = (1e-5, 1e-6)


def stack_rows(frame: AlignedFrame, rows_angst: tuple[float, float] | None) -> tuple[float, float]:
    """First and last row of the aligned stack, counted in rows of the frame."""
    if rows_angst is None:
        return 0.0, frame.grid.shape[0] - 1.0
    first, last = (y / frame.grid.pixel_angst[0] + frame.grid.centre[0] for y in rows_angst)
    return round(first, 3), round(last, 3)


def halo(
    geometry: TiltGeometry, frame: AlignedFrame, rows_angst: tuple[float, float] | None
) -> int:
    """Rows beyond the frame, of those that the stack has, that voxels may fall on."""
    first, last = stack_rows(frame, rows_angst)
    there = max(0.0, -first, last - (frame.grid.shape[0] - 1))
    rows = _corner_positions(geometry, frame, axis=1)
    reached = float(max(-rows.min(), rows.max() - (frame.grid.shape[0] - 1))) + 1
    return ceil(max(0.0, min(there, reached)))


def lowest_columns(problem: Problem) -> Float64:
    """Lowest pixel coordinate that a voxel falls on, (view,)."""
    positions = _corner_positions(problem.series.geometry, problem.frame, axis=0)
    return np.asarray(positions.reshape(len(positions), -1).min(axis=1))


def _corner_positions(geometry: TiltGeometry, frame: AlignedFrame, axis: int) -> Float64:
    """Columns (0) or rows (1) of the frame that the tomogram's corners fall on, (view, ...)."""
    aligned = geometry.in_aligned_frame(frame.image_from_aligned)
    maps = index_maps(local_maps(aligned).image_from_volume, frame.volume, frame.grid)
    nz, ny, nx = frame.volume.shape
    corners = np.array(
        [(x, y, z, 1) for x in (0, nx - 1) for y in (0, ny - 1) for z in (0, nz - 1)], dtype=float
    )
    return np.asarray(maps[..., axis, :] @ corners.T)


def look_up_slabs(
    problem: Problem,
    stack: AlignedStack,
    part: Part,
    clock: Clock,
    progress: Progress,
    *,
    level: Float32,
    rows: tuple[float, float],
) -> Iterator[Slab]:
    """Yield slabs of a tomogram whose voxels look into the images.

    Parameters
    ----------
    problem, stack, part, clock, progress
        See :meth:`Method.slabs <tomofilt.reconstruction.problem.Method.slabs>`.
    level : (view,)
        What is added to the filtered rows of each view of the part.
    rows : (first, last)
        Of the aligned stack, counted in rows of the frame.
    """
    frame, members, rows_filter = problem.frame, part.views, problem.row_filter
    above, width = frame.halo, int(rows_filter.samples.max())
    filtered = np.zeros((len(members), frame.padded_grid.shape[0], width), dtype=np.float32)

    def filter_view(view: int) -> None:
        member = int(members[view])
        lines = stack.rows(member, -above, frame.grid.shape[0] + above)
        lines = rows_filter.filter_rows(member, lines)
        filtered[view, :, : lines.shape[1]] = np.float32(part.gain) * lines + level[view]

    with clock.phase("filter"):
        run_all(problem.threads, filter_view, range(len(members)))
    local = local_maps(
        problem.series.geometry.select(members).in_aligned_frame(frame.image_from_aligned[members])
    )
    maps = index_maps(local.image_from_volume, problem.grid, frame.padded_grid)
    maps[..., 0, 3] -= rows_filter.first_px[members][:, None, None]
    maps[..., 0, :] /= rows_filter.step_px[members][:, None, None, None]
    voxel, centre = problem.grid.voxel_angst, problem.grid.centre
    patch_x = local.x_angst / voxel + centre[2]
    patch_y = local.y_angst / voxel + centre[1]
    ends = rows_filter.last_sample[members]
    nearly = _NEARLY_PX[0 if problem.series.geometry.local is not None else 1]
    limits = np.array([rows[0], rows[1], _TOLERANCE_PX, nearly])
    limits[:2] += above
    nz, ny, nx = problem.grid.shape
    for y_start in middle_first(0, ny, SLAB_ROWS):
        count = min(SLAB_ROWS, ny - y_start)
        block = np.empty((nz, count, nx), dtype=np.float32)

        def one(row: int, y_start: int = y_start, block: Float32 = block) -> None:
            look_up_row(
                filtered, maps, patch_x, patch_y, ends, limits, float(y_start + row), block[:, row]
            )

        with clock.phase("back-project"):
            run_all(problem.threads, one, range(count))
        progress.advance(count)
        yield y_start, 0, block


@kernel
def look_up_row(
    images: Array,
    maps: Array,
    patch_x: Array,
    patch_y: Array,
    ends: Array,
    limits: Array,
    y: float,
    volume: Array,
) -> None:
    """One row of voxels, volume (z, x): the sum over the views of what they fall on."""
    views, ny, nx = images.shape
    low, high, tolerance, nearly = limits
    line = np.empty(4)
    volume[:] = 0
    for x in range(volume.shape[1]):
        for view in range(views):
            column_map(maps[view], patch_x, patch_y, float(x), y, line)
            image, end = images[view], ends[view]
            for z in range(volume.shape[0]):
                u = line[0] + line[1] * z
                v = line[2] + line[3] * z
                if not (low - tolerance <= v <= high + tolerance and -nearly <= u <= end + nearly):
                    continue
                u, v = min(max(u, 0.0), end), min(max(v, low), high)
                column, row = min(int(u), nx - 2), min(int(v), ny - 2)
                s, t = u - column, v - row
                volume[z, x] += (1 - t) * (
                    (1 - s) * image[row, column] + s * image[row, column + 1]
                ) + t * ((1 - s) * image[row + 1, column] + s * image[row + 1, column + 1])
