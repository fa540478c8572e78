"""Numba kernels of the slice geometry: weighted sums of detector columns along the tilt axis.

After the in-plane warp of :mod:`tomofilt.align.stack`, a view samples its row of the detector at
``r = a x + b z + c`` for every y at once (``j = y + e z + f`` with x tilt). So a column of voxels
along y is a weighted sum of detector columns, and a detector column one of columns of voxels. The
detector is packed as ``[view][sample][BLOCK of y]``; the places and weights of a row of voxels are
computed together, and :mod:`tomofilt.util.lanes` sums with the sums in vector registers.
Tiles in x and z, and a few views at a time, keep the touched columns in the second-level cache.

Every kernel releases the interpreter lock; threads are the caller's. All loops over y have the
constant length ``BLOCK``, and places are computed for TILE voxels whether a tile has them or not,
so that a voxel's value does not depend on how the work is cut up.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tomofilt.util.jit import kernel
from tomofilt.util.lanes import SQUARE, taps_adder, transpose

__all__ = [
    "BLOCK",
    "PAD",
    "TILE",
    "VIEWS",
    "WIDE_BLOCK",
    "backproject_tile",
    "forward_views",
    "pack_rows",
    "store_tile",
    "transpose_rows",
]

Array: TypeAlias = NDArray[Any]

#: Voxels along y that are worked on together.
BLOCK = 128
#: The same with x tilt: some rows of the detector more, from one cache line to another.
WIDE_BLOCK = BLOCK + SQUARE
#: Empty samples before and after each packed view; sample s of a view is packed sample s + PAD.
PAD = 2
#: Edge of a tile in x and z: tile accumulators and the touched detector columns fit in 1 MiB.
TILE = 32
#: Views that are summed in one pass, at most.
VIEWS = 8
#: Rows of voxels whose places are computed at once.
_ROWS = 2

_add_taps = taps_adder(BLOCK)
_add_pairs = taps_adder(BLOCK, stretches=2)
_add_wide_pairs = taps_adder(WIDE_BLOCK, stretches=2)


@kernel
def transpose_rows(rows: Array, columns: Array) -> None:
    """Transpose (n, m) into the top left of ``columns`` (m or more, n or more)."""
    n, m = rows.shape
    step, step_to = rows.strides[0] // rows.itemsize, columns.strides[0] // columns.itemsize
    contiguous = rows.strides[1] == rows.itemsize and columns.strides[1] == columns.itemsize
    whole_n = n - n % SQUARE if contiguous else 0
    whole_m = m - m % SQUARE if contiguous else 0
    for j in range(0, whole_m, SQUARE):
        for i in range(0, whole_n, SQUARE):
            transpose(rows, i * step + j, step, columns, j * step_to + i, step_to)
    for j in range(m):
        for i in range(whole_n if j < whole_m else 0, n):
            columns[j, i] = rows[i, j]


@kernel
def pack_rows(rows: Array, packed: Array) -> None:
    """Transpose filtered rows (n <= BLOCK, samples) of a view into ``packed`` (columns, width).

    ``packed`` is one view of the packed detector; rows beyond n and padding become zero.
    """
    n, samples = rows.shape
    packed[:PAD] = 0
    packed[PAD + samples :] = 0
    packed[PAD : PAD + samples, n:] = 0
    transpose_rows(rows, packed[PAD:])


@kernel
def _place(
    table: Array,
    limits: Array,
    z: int,
    x_start: int,
    shape: tuple[int, int, int],
    taps: Array,
    weights: Array,
) -> None:
    """Where TILE voxels of a row fall in some views: the first of two samples, and their weights.

    ``shape`` is that of these views' packed detector; ``taps`` and ``weights`` are (view, TILE)
    and (sample, view, TILE). Positions outside a view's limits go to the padding, which is zero.
    """
    real = weights.dtype.type
    step = np.int32(shape[2])
    for view in range(shape[0]):
        a, r = table[view, 0], table[view, 1] * z + (table[view, 2] + PAD)
        low, high = limits[view, 0], limits[view, 1]
        start = np.int32(view * shape[1])
        for x in range(TILE):
            position = a * (x_start + x) + r
            position = position if (position >= low) & (position <= high) else 0.0
            sample = np.int32(position)
            fraction = position - sample
            taps[view, x] = (start + sample) * step
            weights[0, view, x] = real(1 - fraction)
            weights[1, view, x] = real(fraction)


@kernel
def _lean(table: Array, z: int, halo: int, taps: Array, weights: Array) -> None:
    """Split each tap between the two detector rows that x tilt makes it fall between."""
    real = weights.dtype.type
    for view in range(len(table)):
        j = table[view, 3] * z + table[view, 4] + halo
        row = np.int32(np.floor(j))
        above, below = real(1 - (j - row)), real(j - row)
        for x in range(TILE):
            first, second = weights[0, view, x], weights[1, view, x]
            taps[VIEWS + view, x] = taps[view, x] + row + np.int32(1)
            taps[view, x] += row
            weights[0, view, x], weights[0, VIEWS + view, x] = first * above, first * below
            weights[1, view, x], weights[1, VIEWS + view, x] = second * above, second * below


@kernel
def backproject_tile(
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
    """Sum all views into the voxels of one tile.

    Parameters
    ----------
    packed : (view, sample, BLOCK + 2 halo or more)
        Row ``halo`` belongs to the first voxel row.
    table : (view, 5) float64
        a, b, c, e, f of each view in index units; e and f are not used without halo.
    limits : (view, 2) float64
        First and last packed position that a view has data for.
    halo : int
        0 without x tilt.
    z_range, x_range : (start, stop)
        Voxel indices of the tile, at most TILE long.
    columns : (TILE * TILE, BLOCK or WIDE_BLOCK)
        Work space. With WIDE_BLOCK, all views must have the same e and f: they are summed as the
        detector's rows lie, and brought to the voxels' rows at once.
    volume : (nz, ny <= BLOCK, nx)
        Receives the tile; its first plane is voxel ``z_first``.
    """
    z_start, z_stop = z_range
    width = x_range[1] - x_range[0]
    is_wide = columns.shape[1] == WIDE_BLOCK
    columns[: (z_stop - z_start) * width] = 0
    taps = np.empty((_ROWS, 2 * VIEWS, TILE), np.int32)
    weights = np.empty((_ROWS, 2, 2 * VIEWS, TILE), packed.dtype)
    groups = -(-len(packed) // VIEWS)
    for group in range(groups):
        first, stop = group * len(packed) // groups, (group + 1) * len(packed) // groups
        some, some_table, some_limits = packed[first:stop], table[first:stop], limits[first:stop]
        for z in range(z_start, z_stop, _ROWS):
            rows = min(_ROWS, z_stop - z)
            for row in range(rows):
                _place(
                    some_table, some_limits, z + row, x_range[0], some.shape,
                    taps[row], weights[row],
                )  # fmt: skip
                if is_wide:
                    _move(taps[row], _detector_row(table[0], z + row, halo)[0])
                elif halo:
                    _lean(some_table, z + row, halo, taps[row], weights[row])
            # squares of voxels share detector columns while these are in the first-level cache
            for corner in range(0, width, _ROWS):
                for row in range(rows):
                    for x in range(corner, min(corner + _ROWS, width)):
                        column = (z + row - z_start) * width + x
                        start = column * columns.shape[1]
                        if is_wide:
                            _add_wide_pairs(
                                columns, start, some, packed.shape[2], taps[row], weights[row],
                                x, TILE, len(some),
                            )  # fmt: skip
                            continue
                        for below in range(0, 2 * VIEWS if halo else VIEWS, VIEWS):
                            _add_pairs(
                                columns, start, some, packed.shape[2], taps[row], weights[row],
                                below * TILE + x, TILE, len(some),
                            )  # fmt: skip
    if is_wide:
        _straighten(columns, table[0], halo, z_range, width)
    store_tile(columns, z_range, x_range, volume, z_first)


@kernel
def _move(taps: Array, rows: int) -> None:
    """Move taps on by some rows of the detector: with whole arrays it takes seconds to compile."""
    for tap in range(taps.shape[0]):
        for x in range(taps.shape[1]):
            taps[tap, x] += np.int32(rows)


@kernel
def _detector_row(table: Array, z: int, halo: int) -> tuple[int, float]:
    """Where a wide block begins in the detector, on a cache line, and the first voxel in it."""
    j = table[3] * z + table[4] + halo
    start = int(j) - int(j) % SQUARE
    return start, j - start


@kernel
def _straighten(
    columns: Array, table: Array, halo: int, z_range: tuple[int, int], width: int
) -> None:
    """Bring a tile's columns from the detector's rows to those of the voxels, in place."""
    taps, weights = np.empty(2, np.int64), np.empty(2, columns.dtype)
    line = np.empty(BLOCK, columns.dtype)
    for z in range(z_range[0], z_range[1]):
        _, row = _detector_row(table, z, halo)
        weights[0], weights[1] = 1 - (row - int(row)), row - int(row)
        for x in range(width):
            column = columns[(z - z_range[0]) * width + x]
            taps[0], taps[1] = int(row), int(row) + 1
            line[:] = 0
            _add_taps(line, 0, column, 0, taps, weights, 0, 1, 2)
            for y in range(BLOCK):  # an assignment of arrays takes seconds to compile
                column[y] = line[y]


@kernel
def store_tile(
    columns: Array,
    z_range: tuple[int, int],
    x_range: tuple[int, int],
    volume: Array,
    z_first: int,
) -> None:
    """Transpose a tile's columns (z, x, y) into the volume (z, y, x)."""
    width, rows = x_range[1] - x_range[0], volume.shape[1]
    for z in range(z_range[0], z_range[1]):
        first = (z - z_range[0]) * width
        transpose_rows(
            columns[first : first + width, :rows],
            volume[z - z_first, :, x_range[0] : x_range[1]],
        )


@kernel
def forward_views(volume: Array, table: Array, limits: Array, halo: int, packed: Array) -> None:
    """Transpose of the back-projection, for some views: add a block of the volume into them.

    Parameters
    ----------
    volume : (nz, nx, BLOCK)
        y innermost.
    table, limits : (view, 5), (view, 2) float64
        Of these views.
    halo : int
    packed : (view, sample, BLOCK + 2 halo)
        Added to, but for the padding samples.
    """
    nz, nx = volume.shape[:2]
    taps, weights = np.empty(TILE, np.int64), np.empty((2, TILE), packed.dtype)
    for z_start in range(0, nz, TILE):
        z_stop = min(z_start + TILE, nz)
        # all views take in the same columns of voxels, roughly, before it goes on
        for x_start in range(0, nx, TILE):
            for view in range(len(packed)):
                middle = table[view, 1] * (z_start + z_stop) / 2 + (table[view, 2] + PAD)
                start = _edge(table[view, 0], middle, x_start, nx, packed.shape[1])
                stop = _edge(table[view, 0], middle, x_start + TILE, nx, packed.shape[1])
                for sample in range(min(start, stop), max(start, stop)):
                    _gather(
                        volume, table[view], limits[view], halo, z_start, z_stop, sample,
                        taps, weights, packed[view],
                    )  # fmt: skip


@kernel
def _edge(a: float, middle: float, x: int, nx: int, width: int) -> int:
    """Packed sample at which a column of tiles begins, those at the ends taking what is beyond."""
    first, last = PAD, width - PAD
    if x <= 0:
        return first if a >= 0 else last
    if x >= nx:
        return last if a >= 0 else first
    return int(min(max(np.ceil(a * x + middle), first), last))


@kernel
def _gather(
    volume: Array,
    table: Array,
    limits: Array,
    halo: int,
    z_start: int,
    z_stop: int,
    sample: int,
    taps: Array,
    weights: Array,
    packed: Array,
) -> None:
    """Add the voxels of TILE planes or fewer, less than a sample away, to a packed sample.

    In each plane they are a few neighbours along x: the first of all planes together, then the
    second and so on. ``taps`` and ``weights`` are (TILE) and (2, TILE).
    """
    nx = volume.shape[1]
    a, b, c, e, f = table[0], table[1], table[2] + PAD, table[3], table[4] + halo
    low, high = limits[0], limits[1]
    is_steep = abs(a) * nx < 1
    inverse = 0.0 if is_steep else 1 / a
    reach = abs(inverse)
    neighbours = nx if is_steep else int(np.ceil(2 * reach - 1e-9))
    real = weights.dtype.type
    for neighbour in range(neighbours):
        seen = 0
        for k in range(TILE):
            z = min(z_start + k, z_stop - 1)
            r = b * z + c
            first = -1.0 if is_steep else np.floor((sample - r) * inverse - reach)
            x = first + (1 + neighbour)
            position = a * x + r
            weight = 1 - abs(position - sample)
            is_seen = (
                (weight > 0) & (x >= 0) & (x < nx) & (position >= low) & (position <= high)
            )  # fmt: skip
            x = x if is_seen else 0.0
            weight = weight if is_seen else 0.0
            seen += is_seen
            lean = e * z + f
            part = lean - np.floor(lean)
            taps[k] = (z * nx + np.int32(x)) * BLOCK
            weights[0, k] = real(weight * (1 - part))
            weights[1, k] = real(weight * part)
        if seen:
            _add_planes(volume, table, halo, z_start, z_stop, sample, taps, weights, packed)


@kernel
def _add_planes(
    volume: Array,
    table: Array,
    halo: int,
    z_start: int,
    z_stop: int,
    sample: int,
    taps: Array,
    weights: Array,
    packed: Array,
) -> None:
    """Add one weighted column of voxels a plane to a packed sample, at the rows that they fall on.

    Neighbouring planes fall on the same rows, unless x tilt moves them on.
    """
    planes, first = z_stop - z_start, 0
    start = sample * packed.shape[1]
    while first < planes:
        row = np.int64(np.floor(table[3] * (z_start + first) + (table[4] + halo)))
        stop = first + 1 if halo else planes
        while stop < planes and row == np.floor(table[3] * (z_start + stop) + (table[4] + halo)):
            stop += 1
        _add_taps(packed, start + row, volume, 0, taps, weights[0], first, 1, stop - first)
        if halo:
            _add_taps(packed, start + row + 1, volume, 0, taps, weights[1], first, 1, stop - first)
        first = stop
