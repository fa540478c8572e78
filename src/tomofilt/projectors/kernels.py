"""Numba kernels of the slice geometry, written so that LLVM vectorises along the tilt axis.

After the in-plane warp of :mod:`tomofilt.align.stack`, a view samples its row of the detector at
``r = a x + b z + c`` for every y at once (``j = y + e z + f`` with x tilt). So a column of voxels
along y is a weighted sum of two contiguous detector columns. The detector is packed as
``[view][sample][BLOCK of y]``, eight views are summed in one pass so that the accumulator is loaded
and stored once for eight, and tiles in x and z keep the touched columns in the second-level cache.

Every kernel releases the interpreter lock; threads are the caller's. All loops over y have the
constant length ``BLOCK``, so that a voxel's value does not depend on how the work is cut up.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tomofilt.util.jit import kernel

__all__ = [
    "BLOCK",
    "PAD",
    "TILE",
    "backproject_tile",
    "backproject_tile_xtilt",
    "forward_view",
    "pack_rows",
]

Array: TypeAlias = NDArray[Any]

#: Voxels along y that are worked on together.
BLOCK = 128
#: Empty samples before and after each packed view; sample s of a view is packed sample s + PAD.
PAD = 2
#: Edge of a tile in x and z: tile accumulators and the touched detector columns fit in 1 MiB.
TILE = 32


@kernel
def _locate(position: float, low: float, high: float) -> tuple[np.uint32, float]:
    """Packed sample and fraction of a position; positions outside [low, high] go to the padding."""
    if position < low or position > high:
        position = 0.0
    sample = np.uint32(position)
    return sample, position - sample


@kernel
def pack_rows(rows: Array, packed: Array) -> None:
    """Transpose filtered rows (n <= BLOCK, samples) of a view into ``packed`` (columns, width).

    ``packed`` is one view of the packed detector; rows beyond n and padding become zero.
    """
    n, samples = rows.shape
    width = packed.shape[1]
    packed[:PAD] = 0
    packed[PAD + samples :] = 0
    for start in range(0, samples, 16):
        stop = min(start + 16, samples)
        for row in range(n):
            for sample in range(start, stop):
                packed[PAD + sample, row] = rows[row, sample]
        for sample in range(start, stop):
            for row in range(n, width):
                packed[PAD + sample, row] = 0


@kernel
def backproject_tile(
    packed: Array,
    table: Array,
    limits: Array,
    z_range: tuple[int, int],
    x_range: tuple[int, int],
    columns: Array,
    volume: Array,
    z_first: int,
) -> None:
    """Sum all views into the voxels of one tile.

    Parameters
    ----------
    packed : (view, sample, BLOCK)
    table : (view, 5) float64
        a, b, c, e, f of each view in index units; e and f are not used here.
    limits : (view, 2) float64
        First and last packed position that a view has data for.
    z_range, x_range : (start, stop)
        Voxel indices of the tile, at most TILE long.
    columns : (TILE * TILE, BLOCK)
        Work space.
    volume : (nz, ny <= BLOCK, nx)
        Receives the tile; its first plane is voxel ``z_first``.
    """
    views = packed.shape[0]
    z_start, z_stop = z_range
    x_start, x_stop = x_range
    width = x_stop - x_start
    real = packed.dtype.type
    columns[: (z_stop - z_start) * width] = 0
    view = 0
    while view + 8 <= views:
        i = view
        a, b, c = table[i : i + 8, 0], table[i : i + 8, 1], table[i : i + 8, 2] + PAD
        low, high = limits[i : i + 8, 0], limits[i : i + 8, 1]
        p0, p1, p2, p3 = packed[i], packed[i + 1], packed[i + 2], packed[i + 3]
        p4, p5, p6, p7 = packed[i + 4], packed[i + 5], packed[i + 6], packed[i + 7]
        for z in range(z_start, z_stop):
            r = b * z + c
            for x in range(x_start, x_stop):
                s0, t0 = _locate(a[0] * x + r[0], low[0], high[0])
                s1, t1 = _locate(a[1] * x + r[1], low[1], high[1])
                s2, t2 = _locate(a[2] * x + r[2], low[2], high[2])
                s3, t3 = _locate(a[3] * x + r[3], low[3], high[3])
                s4, t4 = _locate(a[4] * x + r[4], low[4], high[4])
                s5, t5 = _locate(a[5] * x + r[5], low[5], high[5])
                s6, t6 = _locate(a[6] * x + r[6], low[6], high[6])
                s7, t7 = _locate(a[7] * x + r[7], low[7], high[7])
                w0, w1, w2, w3 = real(t0), real(t1), real(t2), real(t3)
                w4, w5, w6, w7 = real(t4), real(t5), real(t6), real(t7)
                v0, v1, v2, v3 = real(1 - t0), real(1 - t1), real(1 - t2), real(1 - t3)
                v4, v5, v6, v7 = real(1 - t4), real(1 - t5), real(1 - t6), real(1 - t7)
                m0, m1, m2, m3 = p0[s0], p1[s1], p2[s2], p3[s3]
                m4, m5, m6, m7 = p4[s4], p5[s5], p6[s6], p7[s7]
                n0, n1, n2, n3 = p0[s0 + 1], p1[s1 + 1], p2[s2 + 1], p3[s3 + 1]
                n4, n5, n6, n7 = p4[s4 + 1], p5[s5 + 1], p6[s6 + 1], p7[s7 + 1]
                column = columns[(z - z_start) * width + (x - x_start)]
                for k in range(BLOCK):
                    column[k] += (
                        (v0 * m0[k] + w0 * n0[k] + v1 * m1[k] + w1 * n1[k])
                        + (v2 * m2[k] + w2 * n2[k] + v3 * m3[k] + w3 * n3[k])
                        + (v4 * m4[k] + w4 * n4[k] + v5 * m5[k] + w5 * n5[k])
                        + (v6 * m6[k] + w6 * n6[k] + v7 * m7[k] + w7 * n7[k])
                    )
        view += 8
    while view < views:
        for z in range(z_start, z_stop):
            r0 = table[view, 1] * z + (table[view, 2] + PAD)
            for x in range(x_start, x_stop):
                s0, t0 = _locate(table[view, 0] * x + r0, limits[view, 0], limits[view, 1])
                w0, v0 = real(t0), real(1 - t0)
                m0, n0 = packed[view, s0], packed[view, s0 + 1]
                column = columns[(z - z_start) * width + (x - x_start)]
                for k in range(BLOCK):
                    column[k] += v0 * m0[k] + w0 * n0[k]
        view += 1
    _store(columns, z_range, x_range, volume, z_first)


@kernel
def _store(
    columns: Array,
    z_range: tuple[int, int],
    x_range: tuple[int, int],
    volume: Array,
    z_first: int,
) -> None:
    """Transpose a tile's columns (z, x, y) into the volume (z, y, x)."""
    z_start, z_stop = z_range
    x_start, x_stop = x_range
    width = x_stop - x_start
    rows = volume.shape[1]
    for z in range(z_start, z_stop):
        for start in range(0, rows, 16):
            for x in range(x_start, x_stop):
                column = columns[(z - z_start) * width + (x - x_start)]
                for k in range(start, min(start + 16, rows)):
                    volume[z - z_first, k, x] = column[k]


@kernel
def backproject_tile_xtilt(
    packed: Array,
    table: Array,
    limits: Array,
    halo: int,
    z_range: tuple[int, int],
    x_range: tuple[int, int],
    columns: Array,
    volume: Array,
    z_first: int,
) -> None:
    """As :func:`backproject_tile`, with rows sampled at ``j = y + e z + f``.

    ``packed`` is (view, sample, BLOCK + 2 halo); its row ``halo`` belongs to the first voxel row.
    """
    views = packed.shape[0]
    z_start, z_stop = z_range
    x_start, x_stop = x_range
    width = x_stop - x_start
    real = packed.dtype.type
    columns[: (z_stop - z_start) * width] = 0
    for view in range(views):
        for z in range(z_start, z_stop):
            r = table[view, 1] * z + (table[view, 2] + PAD)
            j = table[view, 3] * z + table[view, 4] + halo
            row = np.int64(np.floor(j))
            below = real(j - row)
            above = real(1 - (j - row))
            for x in range(x_start, x_stop):
                s, t = _locate(table[view, 0] * x + r, limits[view, 0], limits[view, 1])
                w00, w01 = real(1 - t) * above, real(1 - t) * below
                w10, w11 = real(t) * above, real(t) * below
                m = packed[view, s, row : row + BLOCK + 1]
                n = packed[view, s + 1, row : row + BLOCK + 1]
                column = columns[(z - z_start) * width + (x - x_start)]
                for k in range(BLOCK):
                    column[k] += (w00 * m[k] + w01 * m[k + 1]) + (w10 * n[k] + w11 * n[k + 1])
    _store(columns, z_range, x_range, volume, z_first)


@kernel
def forward_view(volume: Array, table: Array, limits: Array, halo: int, packed: Array) -> None:
    """Transpose of both back-projections, for one view: add a block of the volume into it.

    Parameters
    ----------
    volume : (nz, nx, BLOCK)
        y innermost.
    table, limits : (5,), (2,) float64
        Of this view.
    halo : int
    packed : (sample, BLOCK + 2 halo)
        Added to.
    """
    nz, nx = volume.shape[:2]
    real = packed.dtype.type
    xtilt = table[3] != 0.0 or table[4] != 0.0
    for z in range(nz):
        r = table[1] * z + (table[2] + PAD)
        j = table[3] * z + table[4] + halo
        row = np.int64(np.floor(j))
        below = real(j - row)
        above = real(1 - (j - row))
        for x in range(nx):
            position = table[0] * x + r
            if position < limits[0] or position > limits[1]:
                continue
            s, t = _locate(position, limits[0], limits[1])
            w0, w1 = real(1 - t), real(t)
            column = volume[z, x]
            m, n = packed[s], packed[s + 1]
            if xtilt:
                w00, w01, w10, w11 = w0 * above, w0 * below, w1 * above, w1 * below
                m = m[row : row + BLOCK + 1]
                n = n[row : row + BLOCK + 1]
                for k in range(BLOCK):
                    m[k] += w00 * column[k]
                    n[k] += w10 * column[k]
                for k in range(BLOCK):
                    m[k + 1] += w01 * column[k]
                    n[k + 1] += w11 * column[k]
            else:
                for k in range(BLOCK):
                    m[k] += w0 * column[k]
                    n[k] += w1 * column[k]
