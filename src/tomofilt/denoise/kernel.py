"""Bands and their weights interpolated from coarse grids, multiplied and added up, in one pass.

Bands are spread along x first, where they are coarse along z and y, then along z for one plane,
then along y for one row: nothing as fine as the tomogram is held for each band. All loops run along
x, which is never cut: a voxel's value does not depend on how the work is cut up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tomofilt.denoise.bands import BANDS, CoarseBands
from tomofilt.denoise.head import GATED, Head
from tomofilt.util.jit import kernel
from tomofilt.util.threads import run_all

__all__ = ["apply_head", "bands_at", "spline_weights", "values_at"]

Float32 = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class _Spread:
    """Bands of one grid, as fine as the tomogram along x, for some rows of voxels."""

    lines: Float32  # (band, z, y, x)
    plane: NDArray[np.intp]
    plane_weight: Float32
    row: NDArray[np.intp]
    row_weight: Float32

    def plane_of(self, z: int) -> tuple[Float32, NDArray[np.intp], Float32]:
        """Bands (band, y, x) of a plane of voxels, and how its rows are interpolated."""
        plane = _plane(self.lines, self.plane[z], self.plane_weight[z])
        return plane, self.row, self.row_weight


def apply_head(
    head: Head,
    coarse: Sequence[CoarseBands],
    weights: CoarseBands,
    block: Float32,
    z_start: int,
    y_start: int,
    threads: int,
) -> Float32:
    """Apply a head to a block of a tomogram.

    Parameters
    ----------
    head : Head
    coarse : sequence of CoarseBands
    weights : CoarseBands
        Of the gated bands, from :func:`tomofilt.denoise.gates.gate_weights`.
    block : (planes, rows, x) float32
        The tomogram, whole in x; not changed.
    z_start, y_start : int
        Where the block begins.
    threads : int

    Returns
    -------
    Array like ``block``.
    """
    out = np.empty_like(block)
    spread = _spread([*coarse, weights], block.shape, z_start, y_start, threads)
    limit = head.largest

    def one(z: int) -> None:
        _rows(tuple(each.plane_of(z) for each in spread), block[z], limit, out[z])

    run_all(threads, one, range(len(block)))
    return out


def bands_at(
    coarse: Sequence[CoarseBands],
    block: Float32,
    z_start: int,
    y_start: int,
    voxels: NDArray[np.intp],
) -> Float32:
    """Bands (BANDS, voxel) at some voxels (voxel, 3: z, y, x) of a block."""
    there = voxels + np.array([z_start, y_start, 0])
    bands = np.concatenate([values_at(each, there) for each in coarse])
    return np.concatenate([bands, (block[tuple(voxels.T)] - bands.sum(axis=0))[None]])


def values_at(coarse: CoarseBands, voxels: NDArray[np.intp]) -> Float32:
    """What is on a coarse grid (channel, voxel), at some voxels (voxel, 3: z, y, x)."""
    found = np.empty((len(coarse.values), len(voxels)), dtype=np.float32)
    splines = tuple(
        spline_weights(np.arange(voxels[:, axis].max() + 1), coarse.first_px[axis], coarse.step_px)
        for axis in range(3)
    )
    _gather(coarse.values, voxels, splines, found)
    return found


def _spread(
    coarse: Sequence[CoarseBands], shape: tuple[int, ...], z_start: int, y_start: int, threads: int
) -> list[_Spread]:
    result = []
    planes, rows, width = shape
    for bands in coarse:
        plane, plane_weight = spline_weights(
            z_start + np.arange(planes), bands.first_px[0], bands.step_px
        )
        row, row_weight = spline_weights(
            y_start + np.arange(rows), bands.first_px[1], bands.step_px
        )
        column, column_weight = spline_weights(np.arange(width), bands.first_px[2], bands.step_px)
        first_plane, first_row = int(plane[0]), int(row[0])
        part = bands.values[:, first_plane : plane[-1] + 4, first_row : row[-1] + 4]
        lines = np.empty((*part.shape[:3], width), dtype=np.float32)
        run_all(
            threads,
            lambda z, part=part, column=column, weight=column_weight, lines=lines: _columns(  # type: ignore[misc]
                part[:, z], column, weight, lines[:, z]
            ),
            range(part.shape[1]),
        )
        result.append(
            _Spread(lines, plane - first_plane, plane_weight, row - first_row, row_weight)
        )
    return result


def spline_weights(
    position_px: NDArray[np.intp], first_px: float, step_px: float
) -> tuple[NDArray[np.intp], Float32]:
    """First of the four coarse voxels about each position, and their cubic B-spline weights."""
    place = (position_px - first_px) / step_px
    below = np.floor(place).astype(np.intp)
    t = place - below
    weights = np.stack(
        [(1 - t) ** 3, 4 - 6 * t**2 + 3 * t**3, 1 + 3 * t + 3 * t**2 - 3 * t**3, t**3], axis=-1
    )
    return below - 1, (weights / 6).astype(np.float32)


@kernel
def _columns(values: Float32, column: NDArray[np.intp], weight: Float32, lines: Float32) -> None:
    """Interpolate (band, y, coarse x) to (band, y, x)."""
    for band in range(values.shape[0]):
        for row in range(values.shape[1]):
            coarse, line = values[band, row], lines[band, row]
            for x in range(len(line)):
                i = column[x]
                line[x] = (weight[x, 0] * coarse[i] + weight[x, 1] * coarse[i + 1]) + (
                    weight[x, 2] * coarse[i + 2] + weight[x, 3] * coarse[i + 3]
                )


@kernel
def _plane(lines: Float32, first: int, weight: Float32) -> Float32:
    """Interpolate (band, coarse z, y, x) to one plane (band, y, x)."""
    bands, _, rows, width = lines.shape
    plane = np.empty((bands, rows, width), dtype=np.float32)
    for band in range(bands):
        for row in range(rows):
            a, b = lines[band, first, row], lines[band, first + 1, row]
            c, d = lines[band, first + 2, row], lines[band, first + 3, row]
            out = plane[band, row]
            for x in range(width):
                out[x] = (weight[0] * a[x] + weight[1] * b[x]) + (
                    weight[2] * c[x] + weight[3] * d[x]
                )
    return plane


@kernel
def _rows(
    planes: tuple[tuple[Float32, NDArray[np.intp], Float32], ...],
    tomogram: Float32,
    limit: Float32,
    out: Float32,
) -> None:
    """Denoise one plane (y, x)."""
    lines = np.empty((BANDS - 1 + GATED, tomogram.shape[1]), dtype=np.float32)
    for y in range(len(tomogram)):
        start = 0
        for plane, row, weight in planes:
            _row(plane, row[y], weight[y], lines[start : start + len(plane)])
            start += len(plane)
        _sum_up(lines, tomogram[y], limit, out[y])


@kernel
def _row(plane: Float32, first: int, weight: Float32, lines: Float32) -> None:
    """Interpolate (band, coarse y, x) to one row (band, x)."""
    for band in range(plane.shape[0]):
        a, b = plane[band, first], plane[band, first + 1]
        c, d = plane[band, first + 2], plane[band, first + 3]
        out = lines[band]
        for x in range(len(out)):
            out[x] = (weight[0] * a[x] + weight[1] * b[x]) + (weight[2] * c[x] + weight[3] * d[x])


@kernel
def _sum_up(lines: Float32, tomogram: Float32, limit: Float32, out: Float32) -> None:
    """Add up the bands times their weights along one row of voxels.

    ``lines`` holds all bands but the last, which is what they leave of the tomogram, and the
    weights of those that are gated.
    """
    b0, b1, b2, b3, b4, b5 = lines[0], lines[1], lines[2], lines[3], lines[4], lines[5]
    w2, w3, w4, w5, w6 = lines[6], lines[7], lines[8], lines[9], lines[10]
    l2, l3, l4, l5, l6 = limit[2], limit[3], limit[4], limit[5], limit[6]
    one = np.float32(1)
    for x in range(len(tomogram)):
        b6 = tomogram[x] - ((b0[x] + b1[x]) + (b2[x] + b3[x]) + (b4[x] + b5[x]))
        # a weight of 1 changes nothing, nor is what the limits cut off changed
        out[x] = (
            (tomogram[x] + (w2[x] - one) * min(max(b2[x], -l2), l2))
            + ((w3[x] - one) * min(max(b3[x], -l3), l3) + (w4[x] - one) * min(max(b4[x], -l4), l4))
            + ((w5[x] - one) * min(max(b5[x], -l5), l5) + (w6[x] - one) * min(max(b6, -l6), l6))
        )


@kernel
def _gather(
    values: Float32,
    voxels: NDArray[np.intp],
    splines: tuple[tuple[NDArray[np.intp], Float32], ...],
    found: Float32,
) -> None:
    """Interpolate (band, z, y, x) at single voxels: found is (band, voxel)."""
    (plane, plane_weight), (row, row_weight), (column, column_weight) = splines
    for band in range(len(values)):
        for voxel in range(len(voxels)):
            z, y, x = voxels[voxel, 0], voxels[voxel, 1], voxels[voxel, 2]
            at = column[x]
            total = np.float32(0)
            for i in range(4):
                for j in range(4):
                    line = values[band, plane[z] + i, row[y] + j]
                    part = np.float32(0)
                    for k in range(4):
                        part += column_weight[x, k] * line[at + k]
                    total += plane_weight[z, i] * row_weight[y, j] * part
            found[band, voxel] = total
