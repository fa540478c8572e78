"""The default projector: slice geometry on the CPU."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tomofilt.errors import InputError
from tomofilt.projectors import kernels
from tomofilt.series.geometry import ImageGrid, SliceGeometry, VolumeGrid
from tomofilt.util.lanes import SQUARE, cache_lines
from tomofilt.util.threads import available_threads, run_all

__all__ = ["SliceProjector", "slice_table"]


def slice_table(
    slices: SliceGeometry,
    volume: VolumeGrid,
    images: ImageGrid,
    first_px: ArrayLike = 0.0,
    step_px: ArrayLike = 1.0,
) -> NDArray[np.float64]:
    """Slice geometry in index units: where voxel (z, y, x) lands in the warped images.

    Parameters
    ----------
    slices, volume, images
        The geometry, and the two grids that it joins.
    first_px, step_px : scalar or (view,)
        Pixel position of the first sample of a row, and the spacing of samples in pixels, when
        rows are sampled otherwise than one sample a pixel.

    Returns
    -------
    (view, 5) array of a, b, c, e, f: ``sample = a x + b z + c`` and ``row = y + e z + f``.

    Raises
    ------
    InputError
        If rows and voxels are not equally spaced: there is one row of pixels a row of voxels.
    """
    voxel = volume.voxel_angst
    if abs(images.pixel_angst[0] / voxel - 1) > 1e-6:
        raise InputError(
            f"image rows are {images.pixel_angst[0]:g} A apart but voxels {voxel:g} A; "
            "prepare the images at the voxel size"
        )
    zc, yc, xc = volume.centre
    pixel = images.pixel_angst[1]
    step = np.asarray(step_px, dtype=np.float64)
    a = slices.a * voxel / pixel
    b = slices.b * voxel / pixel
    c = images.centre[1] + slices.u0_angst / pixel - a * xc - b * zc
    offset = images.centre[0] - yc
    f = offset - slices.e * zc
    # a whisper of rounding would switch on the slower kernel for nothing
    f = np.where(np.abs(f - np.rint(f)) < 1e-9, np.rint(f), f)
    return np.stack(
        [a / step, b / step, (c - np.asarray(first_px, dtype=np.float64)) / step, slices.e, f],
        axis=1,
    )


class SliceProjector:
    """Back-projection and projection in slice geometry (exactly transposed).

    Parameters
    ----------
    table : (view, 5)
        From :func:`slice_table`.
    image_shape : (view, rows, samples)
    volume_shape : (z, y, x)
    last_sample : (view,), optional
        Position of the last sample that holds data, when not the last of the images' width.
    hard_edge : bool
        A view contributes only between its first and last sample (IMOD); by default its
        contribution falls linearly to zero over one further sample on either side.
    threads : int, optional
    """

    def __init__(
        self,
        table: NDArray[np.float64],
        image_shape: tuple[int, int, int],
        volume_shape: tuple[int, int, int],
        *,
        last_sample: ArrayLike | None = None,
        hard_edge: bool = False,
        threads: int | None = None,
    ) -> None:
        views, _, width = image_shape
        if table.shape != (views, 5):
            raise InputError(f"{views} images need a table of {views} x 5, not {table.shape}")
        self.table = np.array(table, dtype=np.float64)
        self.image_shape = image_shape
        self.volume_shape = volume_shape
        self.threads = threads or available_threads()
        last = kernels.PAD + np.broadcast_to(
            width - 1.0 if last_sample is None else last_sample, views
        )
        # a hair of tolerance: rounding must not lose a voxel that lands on the first sample
        soft = 1e-7 if hard_edge else 1.0
        self.limits = np.stack([np.full(views, kernels.PAD - soft), last + soft], axis=1)
        ends = np.array([0.0, volume_shape[0] - 1.0])
        rows = self.table[:, 3, None] * ends + self.table[:, 4, None]
        self.has_xtilt = bool(np.any(rows != 0.0))
        #: Rows of the images that a block of voxels may need beyond its own, on either side.
        self.halo = int(np.ceil(np.abs(rows).max())) + 1 if self.has_xtilt else 0
        # views that lean alike, as they mostly do, are summed before they are interpolated
        leans = self.table[:, 3:]
        self._lean_alike = self.has_xtilt and bool(np.all(np.ptp(leans, axis=0) < 1e-9))
        if self._lean_alike:
            self.table[:, 3:] = leans[0]
        rows = kernels.BLOCK + 2 * self.halo + (SQUARE if self._lean_alike else 0)
        self._packed_rows = -(-rows // SQUARE) * SQUARE
        self._local = threading.local()

    def packed_buffer(self, dtype: np.dtype[Any]) -> NDArray[Any]:
        """Room for the rows of one block: (view, sample, BLOCK + 2 halo or more)."""
        views, _, width = self.image_shape
        return cache_lines((views, width + 2 * kernels.PAD, self._packed_rows), dtype)

    def adjoint_block(
        self,
        packed: NDArray[Any],
        volume: NDArray[Any],
        z_start: int,
        should_stop: Callable[[], None] = lambda: None,
    ) -> None:
        """Back-project one packed block of rows into planes z_start.. of the volume.

        Parameters
        ----------
        packed : (view, sample, BLOCK + 2 halo or more)
            From :meth:`packed_buffer`. Row ``halo`` belongs to the first voxel row.
        volume : (planes, rows <= BLOCK, x)
            Overwritten.
        z_start : int
            Voxel index of its first plane.
        should_stop : callable
            Called before each tile; whatever it raises ends the work.
        """
        planes, _, nx = volume.shape
        tiles = [
            ((z, min(z + kernels.TILE, z_start + planes)), (x, min(x + kernels.TILE, nx)))
            for z in range(z_start, z_start + planes, kernels.TILE)
            for x in range(0, nx, kernels.TILE)
        ]

        def one(tile: tuple[tuple[int, int], tuple[int, int]]) -> None:
            should_stop()
            columns = getattr(self._local, "columns", None)
            if columns is None or columns.dtype != packed.dtype:
                length = kernels.WIDE_BLOCK if self._lean_alike else kernels.BLOCK
                columns = cache_lines((kernels.TILE**2, length), packed.dtype)
                self._local.columns = columns
            kernels.backproject_tile(
                packed, self.table, self.limits, self.halo, *tile, columns, volume, z_start
            )

        run_all(self.threads, one, tiles)

    def adjoint(self, images: NDArray[Any]) -> NDArray[Any]:
        """Back-project images (view, y, sample) to a volume (z, y, x)."""
        _check_shape(images, self.image_shape, "images")
        volume = np.empty(self.volume_shape, dtype=images.dtype)
        packed = self.packed_buffer(images.dtype)
        ny = self.volume_shape[1]
        for start in range(0, ny, kernels.BLOCK):
            stop = min(start + kernels.BLOCK, ny)
            rows = self._rows(images, start)
            run_all(
                self.threads,
                lambda view, rows=rows: kernels.pack_rows(rows[view], packed[view]),  # type: ignore[misc]
                range(len(images)),
            )
            block = cache_lines(
                (self.volume_shape[0], stop - start, self.volume_shape[2]), packed.dtype
            )
            self.adjoint_block(packed, block, 0)
            volume[:, start:stop] = block
        return volume

    def forward(self, volume: NDArray[Any]) -> NDArray[Any]:
        """Project a volume (z, y, x) to images (view, y, sample)."""
        _check_shape(volume, self.volume_shape, "volume")
        images = np.zeros(self.image_shape, dtype=volume.dtype)
        rows, samples = self.image_shape[1:]
        nz, ny, nx = self.volume_shape
        block = cache_lines((nz, nx, kernels.BLOCK), volume.dtype)
        packed = self.packed_buffer(volume.dtype)
        for start in range(0, ny, kernels.BLOCK):
            self._load(volume[:, start : start + kernels.BLOCK], block)
            first = max(start - self.halo, 0)
            last = max(first, min(start + kernels.BLOCK + self.halo, rows))
            offset = first - (start - self.halo)

            def unpack(
                view: int, first: int = first, last: int = last, offset: int = offset
            ) -> None:
                inner = packed[view, kernels.PAD : kernels.PAD + samples]
                image = np.empty((last - first, samples), volume.dtype)
                kernels.transpose_rows(inner[:, offset : offset + last - first], image)
                images[view, first:last] += image

            self.forward_block(block, packed, unpack)
        return images

    def forward_block(
        self,
        block: NDArray[Any],
        packed: NDArray[Any],
        then: Callable[[int], None] = lambda view: None,
    ) -> None:
        """Project one block of rows into all views, and go on with each at once.

        Parameters
        ----------
        block : (z, x, BLOCK)
            y innermost.
        packed : (view, sample, BLOCK + 2 halo or more)
            From :meth:`packed_buffer`. Overwritten.
        then : callable
            Called with each view, when it is done.
        """

        def some(views: range) -> None:
            few = slice(views.start, views.stop)
            packed[few] = 0.0
            kernels.forward_views(block, self.table[few], self.limits[few], self.halo, packed[few])
            for view in views:
                then(view)

        step = max(1, min(kernels.VIEWS, len(packed) // self.threads))
        starts = range(0, len(packed), step)
        run_all(self.threads, some, [range(i, min(i + step, len(packed))) for i in starts])

    def _load(self, rows: NDArray[Any], block: NDArray[Any]) -> None:
        """Transpose some rows of a volume (z, y, x) into a block (z, x, BLOCK)."""

        def plane(z: int) -> None:
            kernels.transpose_rows(rows[z], block[z])
            block[z, :, rows.shape[1] :] = 0

        run_all(self.threads, plane, range(len(rows)))

    def _rows(self, images: NDArray[Any], start: int) -> NDArray[Any]:
        """Rows start - halo .. start + BLOCK + halo of all images, zero outside."""
        low, high = start - self.halo, start + kernels.BLOCK + self.halo
        inside = images[:, max(low, 0) : max(min(high, images.shape[1]), 0)]
        if low >= 0:
            return inside
        rows = np.zeros((len(images), high - low, images.shape[2]), dtype=images.dtype)
        rows[:, -low : -low + inside.shape[1]] = inside
        return rows


def _check_shape(array: NDArray[Any], expected: tuple[int, int, int], what: str) -> None:
    if array.shape != expected:
        raise InputError(f"{what} of shape {array.shape} given to a projector for {expected}")
