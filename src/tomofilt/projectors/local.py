"""Back-projection with a local alignment, nearly as fast as without one.

A few rows of voxels along y see an image through one map: where the middle row of them lands is
computed for every x and z, and its neighbours land one image row further on each. How far that is
from the truth is known before anything is computed, and so many rows go together as keep it small.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import DTypeLike, NDArray

from tomofilt.errors import InputError
from tomofilt.projectors.direct import bracket, index_maps, local_maps
from tomofilt.projectors.kernels import BLOCK, PAD, TILE, pack_rows, store_tile
from tomofilt.series.geometry import ImageGrid, TiltGeometry, VolumeGrid
from tomofilt.util.jit import kernel
from tomofilt.util.lanes import cache_lines, taps_adder
from tomofilt.util.threads import available_threads, run_all

__all__ = ["LARGEST_ERROR_PX", "LocalProjector"]

Array: TypeAlias = NDArray[Any]

#: No voxel is sampled further than this from where its map puts it, in pixels of the images.
LARGEST_ERROR_PX = 0.05
#: Rows of voxels that may go together, and rows of zeros before and after each packed image.
_ROWS = (16, 8, 4)
_MARGIN = 2 * max(_ROWS)
#: Views that are summed in one pass, at most.
_VIEWS = 8

_add_16, _add_8, _add_4 = (taps_adder(rows, stretches=2) for rows in _ROWS)


class LocalProjector:
    """Back-projection through maps that vary over the specimen.

    Parameters
    ----------
    geometry : TiltGeometry
        With a local alignment, of images whose rows run across the tilt axis.
    volume : VolumeGrid
    images : ImageGrid
        Of the images as they are packed, ``shape`` included.
    first_px, step_px : float
        How rows are sampled.
    threads : int, optional

    Attributes
    ----------
    rows : int
        Rows of voxels that share a map.
    error_px : float
        How far a voxel is sampled at most from where its own map puts it, in pixels. Where this is
        more than LARGEST_ERROR_PX, use :class:`~tomofilt.projectors.direct.DirectProjector`.
    """

    def __init__(
        self,
        geometry: TiltGeometry,
        volume: VolumeGrid,
        images: ImageGrid,
        *,
        first_px: float = 0.0,
        step_px: float = 1.0,
        threads: int | None = None,
    ) -> None:
        local = local_maps(geometry)
        self.maps = index_maps(local.image_from_volume, volume, images, first_px, step_px)
        self.patch_x = local.x_angst / volume.voxel_angst + volume.centre[2]
        self.patch_y = local.y_angst / volume.voxel_angst + volume.centre[1]
        self.volume_shape = volume.shape
        self.image_shape = (len(geometry), *images.shape)
        self.threads = threads or available_threads()
        for rows in _ROWS:
            self.rows, self.error_px = rows, self._error_px(rows, step_px)
            if self.error_px <= LARGEST_ERROR_PX:
                break
        self._local = threading.local()

    def _error_px(self, rows: int, step_px: float) -> float:
        """How far a row lands at most from where the middle of its ``rows`` puts it."""
        nz, ny, nx = self.volume_shape
        inside = (self.patch_x > 0) & (self.patch_x < nx - 1)
        nodes = np.unique(np.concatenate([[0.0, nx - 1.0], self.patch_x[inside]]))
        # between two patches the error is a parabola
        x_all = np.concatenate([nodes, (nodes[1:] + nodes[:-1]) / 2])
        largest = 0.0
        for y_start in range(0, ny, rows):
            middle = y_start + (rows - 1) / 2
            shared = _lines(self.maps, self.patch_x, self.patch_y, middle, x_all)
            for y in range(y_start, min(y_start + rows, ny)):
                own = _lines(self.maps, self.patch_x, self.patch_y, float(y), x_all)
                off = own - shared
                off[:, 2] -= y - middle
                for z in (0, nz - 1):
                    u, v = (off[:, 0] + z * off[:, 1]) * step_px, off[:, 2] + z * off[:, 3]
                    largest = max(largest, float(np.hypot(u, v).max()))
        return largest

    def packed_images(self, dtype: DTypeLike = np.float32) -> Array:
        """Room for all images: (view, sample, row), padded."""
        views, ny, nx = self.image_shape
        return cache_lines((views, nx + 2 * PAD, ny + 2 * _MARGIN), dtype)

    def pack(self, image: Array, packed: Array) -> None:
        """Put an image (y, x) into one view of :meth:`packed_images`."""
        packed[:, :_MARGIN] = 0
        pack_rows(image, packed[:, _MARGIN:])

    def adjoint(self, images: Array) -> Array:
        """Back-project images (view, y, x) to a volume (z, y, x)."""
        if images.shape != self.image_shape:
            raise InputError(
                f"images of shape {images.shape} given to a projector for {self.image_shape}"
            )
        packed = self.packed_images(images.dtype)
        run_all(
            self.threads, lambda view: self.pack(images[view], packed[view]), range(len(images))
        )
        volume = np.empty(self.volume_shape, dtype=images.dtype)
        for y in range(0, volume.shape[1], BLOCK):
            rows = min(BLOCK, volume.shape[1] - y)
            block = np.empty((len(volume), rows, volume.shape[2]), images.dtype)
            self.adjoint_block(packed, y, block)
            volume[:, y : y + BLOCK] = block
        return volume

    def adjoint_block(
        self,
        packed: Array,
        y_start: int,
        volume: Array,
        should_stop: Callable[[], None] = lambda: None,
    ) -> None:
        """Back-project into rows y_start.. of the volume.

        Parameters
        ----------
        packed : (view, sample, row)
            All images, see :meth:`pack`.
        y_start : int
            A multiple of BLOCK, so that the same rows share a map however the volume is cut up.
        volume : (z, rows <= BLOCK, x)
            Overwritten.
        should_stop : callable
            Called before each tile; whatever it raises ends the work.
        """
        if y_start % BLOCK or volume.shape[1] > BLOCK:
            raise InputError(
                f"{volume.shape[1]} rows from row {y_start}: blocks start at multiples of {BLOCK} "
                "rows and have no more"
            )
        nz, _, nx = volume.shape

        def one(corner: tuple[int, int]) -> None:
            should_stop()
            columns = getattr(self._local, "columns", None)
            if columns is None or columns.dtype != packed.dtype:
                columns = cache_lines((TILE**2, BLOCK), packed.dtype)
                self._local.columns = columns
            (z, x), z_stop, x_stop = corner, min(corner[0] + TILE, nz), min(corner[1] + TILE, nx)
            _backproject_tile(
                packed, self.maps, self.patch_x, self.patch_y, self.rows, y_start,
                (z, z_stop), (x, x_stop), columns, volume,
            )  # fmt: skip

        run_all(self.threads, one, [(z, x) for z in range(0, nz, TILE) for x in range(0, nx, TILE)])


@kernel
def _lines(maps: Array, patch_x: Array, patch_y: Array, y: float, x_all: Array) -> Array:
    """Where columns of voxels (x, y) land: (view, 4, x) of u at z = 0, du, v at z = 0, dv."""
    lines = np.zeros((len(maps), 4, len(x_all)))
    j, t = bracket(patch_y, y)
    for k in range(len(x_all)):
        x = x_all[k]
        i, s = bracket(patch_x, x)
        for dj in range(2):
            for di in range(2):
                weight = (s if di else 1 - s) * (t if dj else 1 - t)
                if weight == 0.0:
                    continue
                for view in range(len(maps)):
                    m, line = maps[view, j + dj, i + di], lines[view, :, k]
                    line[0] += weight * (m[0, 0] * x + m[0, 1] * y + m[0, 3])
                    line[1] += weight * m[0, 2]
                    line[2] += weight * (m[1, 0] * x + m[1, 1] * y + m[1, 3])
                    line[3] += weight * m[1, 2]
    return lines


@kernel
def _place(
    lines: Array, z: int, rows: int, shape: tuple[int, int, int], taps: Array, weights: Array
) -> None:
    """Where TILE columns of ``rows`` voxels fall in some views: see :func:`kernels._place`.

    Two taps for each, a row apart in the image. Without data they go to the padding.
    """
    real = weights.dtype.type
    views = len(lines)
    first_row = _MARGIN - (rows - 1) / 2
    for view in range(views):
        start = np.int32(view * shape[1])
        u, du, v, dv = lines[view, 0], lines[view, 1], lines[view, 2], lines[view, 3]
        for x in range(TILE):
            position = u[x] + du[x] * z + PAD
            height = v[x] + dv[x] * z + first_row
            is_seen = (
                (position >= PAD - 1) & (position <= shape[1] - PAD)
                & (height >= 0) & (height < shape[2] - rows - 1)
            )  # fmt: skip
            position = position if is_seen else 0.0
            height = height if is_seen else 0.0
            sample, row = np.int32(position), np.int32(height)
            s, t = position - sample, height - row
            tap = (start + sample) * np.int32(shape[2]) + row
            taps[view, x] = tap
            taps[views + view, x] = tap + np.int32(1)
            weights[0, view, x] = real((1 - s) * (1 - t))
            weights[1, view, x] = real(s * (1 - t))
            weights[0, views + view, x] = real((1 - s) * t)
            weights[1, views + view, x] = real(s * t)


@kernel
def _backproject_tile(
    packed: Array,
    maps: Array,
    patch_x: Array,
    patch_y: Array,
    rows: int,
    y_start: int,
    z_range: tuple[int, int],
    x_range: tuple[int, int],
    columns: Array,
    volume: Array,
) -> None:
    """Sum all views into the voxels of one tile of a block of rows; see ``adjoint_block``."""
    width = x_range[1] - x_range[0]
    columns[: (z_range[1] - z_range[0]) * width] = 0
    taps = np.empty((2 * _VIEWS, TILE), np.int32)
    weights = np.empty((2, 2 * _VIEWS, TILE), packed.dtype)
    x_all = np.arange(x_range[0], x_range[0] + TILE).astype(np.float64)
    groups = -(-len(packed) // _VIEWS)
    for above in range(0, volume.shape[1], rows):
        lines = _lines(maps, patch_x, patch_y, y_start + above + (rows - 1) / 2, x_all)
        for group in range(groups):
            first, stop = group * len(packed) // groups, (group + 1) * len(packed) // groups
            some = packed[first:stop]
            for z in range(z_range[0], z_range[1]):
                _place(lines[first:stop], z, rows, some.shape, taps, weights)
                for x in range(width):
                    start = ((z - z_range[0]) * width + x) * BLOCK + above
                    step, count = packed.shape[2], 2 * len(some)
                    if rows == _ROWS[0]:
                        _add_16(columns, start, some, step, taps, weights, x, TILE, count)
                    elif rows == _ROWS[1]:
                        _add_8(columns, start, some, step, taps, weights, x, TILE, count)
                    else:
                        _add_4(columns, start, some, step, taps, weights, x, TILE, count)
    store_tile(columns, z_range, x_range, volume, 0)
