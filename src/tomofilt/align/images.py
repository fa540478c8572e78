"""From the images of a tilt series to images on the common tilt axis, ready to be filtered.

Each image is surveyed once (levels, broken pixels), and then either read row by row as it is, or
resampled exactly once: low-passed to the output's pixel size by a Fourier crop and interpolated
with cubic B-splines through the in-plane warp of :meth:`TiltGeometry.factor`.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from tomofilt.align.resample import fourier_crop, warp
from tomofilt.errors import InputError
from tomofilt.series.geometry import ImageGrid, SliceGeometry
from tomofilt.series.tiltseries import ImageSource
from tomofilt.util.threads import run_all

__all__ = ["AlignedImages", "Survey", "align", "crop_images", "cropped_grid", "survey"]

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Background = Literal["ends", "image", "series"]


@dataclass(frozen=True, eq=False)
class Survey:
    """Levels of every used view, and how to read it with its background subtracted.

    Attributes
    ----------
    source : ImageSource
    views : (view,) int
        Image index of each view.
    background : (view,)
        What :meth:`read` subtracts.
    fill : (view,)
        Value, after the subtraction, of areas where a view has no data.
    mean : float
        Mean over all used views.
    blank : tuple of int
        Views (positions in ``views``) whose pixels are all equal.
    """

    source: ImageSource
    views: NDArray[np.intp]
    background: Float64
    fill: Float64
    mean: float
    blank: tuple[int, ...]
    logarithm: Callable[[Float32], Float32] | None

    def read(self, view: int, y_start: int = 0, y_stop: int | None = None) -> Float32:
        """Rows of one view, background subtracted."""
        rows = self.source.read(int(self.views[view]), y_start, y_stop)
        if self.logarithm is not None:
            rows = self.logarithm(rows)
        return np.asarray(rows - np.float32(self.background[view]), dtype=np.float32)


def survey(
    source: ImageSource,
    views: NDArray[np.intp],
    *,
    background: Background,
    across_axis: int,
    log_base: float | None,
    threads: int,
) -> Survey:
    """Read every used image once and measure its levels.

    Parameters
    ----------
    source, views
        The images, and the index of each used view.
    background : "ends", "image" or "series"
        What is subtracted: the mean of an image's two ends across the tilt axis, where a ramp
        filter would see a step; its whole mean; or one number for all, the mean of the series, and
        then areas without data count as their own image's mean (IMOD).
    across_axis : int
        The image axis, 0 (y) or 1 (x), that runs across the tilt axis, if only roughly.
    log_base : float, optional
        Replace values by ``log10(max(value + base, (max - min) / 1000))``, as IMOD's LOG does.
    threads : int

    Raises
    ------
    InputError
        If an image holds NaN or infinity; names the file and the image.
    """
    extremes = np.empty((len(views), 2))
    logarithm: Callable[[Float32], Float32] | None = None

    def measure_range(view: int) -> None:
        image = source.read(int(views[view]))
        extremes[view] = image.min(), image.max()

    if log_base is not None:
        run_all(threads, measure_range, range(len(views)))
        floor = np.float32(0.001 * (extremes[:, 1].max() - extremes[:, 0].min()))
        base = np.float32(log_base)

        def logarithm(rows: Float32) -> Float32:
            return np.asarray(np.log10(np.maximum(rows + base, floor)), dtype=np.float32)

    means, ends = np.empty(len(views)), np.empty(len(views))

    def measure(view: int) -> None:
        image = source.read(int(views[view]))
        if logarithm is not None:
            image = logarithm(image)
        means[view] = image.mean(dtype=np.float64)
        ends[view] = _mean_of_ends(image, across_axis)
        extremes[view] = image.min(), image.max()

    run_all(threads, measure, range(len(views)))
    broken = np.flatnonzero(~np.isfinite(means) | ~np.isfinite(extremes).all(axis=1))
    if len(broken):
        index = int(views[broken[0]])
        path = source.files[min(index, len(source.files) - 1)] if source.files else "the stack"
        raise InputError(
            f"{path}: image {index + 1} holds NaN or infinite values ({len(broken)} of "
            f"{len(views)} views do): repair it, or leave it out with --exclude {index + 1}"
        )
    mean = float(means.mean())
    return Survey(
        source,
        views,
        background={"ends": ends, "image": means, "series": np.full(len(views), mean)}[background],
        fill=means - mean if background == "series" else np.zeros(len(views)),
        mean=mean,
        blank=tuple(int(i) for i in np.flatnonzero(extremes[:, 0] == extremes[:, 1])),
        logarithm=logarithm,
    )


def _mean_of_ends(image: Float32, axis: int) -> float:
    """Mean of the first and the last twentieth of an image along an axis."""
    width = max(1, image.shape[axis] // 20)
    ends = (slice(None, width), slice(-width, None))
    parts = [image[end] if axis == 0 else image[:, end] for end in ends]
    return float(sum(part.mean(dtype=np.float64) for part in parts) / 2)


class RowStore(Protocol):
    """Where aligned images lie."""

    def put(self, view: int, image: Float32) -> None:
        """Store one image."""

    def get(self, view: int, start: int, stop: int) -> Float32:
        """Rows start..stop of one image."""

    def close(self) -> None:
        """Give the room back."""


class _Memory:
    def __init__(self, shape: tuple[int, int, int]) -> None:
        self.stack = np.empty(shape, dtype=np.float32)

    def put(self, view: int, image: Float32) -> None:
        self.stack[view] = image

    def get(self, view: int, start: int, stop: int) -> Float32:
        return self.stack[view, start:stop]

    def close(self) -> None:
        self.stack = np.empty((0, 0, 0), dtype=np.float32)


class _Disk:
    """A nameless file: it is gone when the process is, whatever ends it."""

    def __init__(self, shape: tuple[int, int, int], folder: Path) -> None:
        self.shape = shape
        self.file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - lives as long as self

    def put(self, view: int, image: Float32) -> None:
        data = np.ascontiguousarray(image).data.cast("B")
        offset = view * len(data)
        while data:
            written = os.pwrite(self.file.fileno(), data, offset)
            data, offset = data[written:], offset + written

    def get(self, view: int, start: int, stop: int) -> Float32:
        _, ny, nx = self.shape
        data = os.pread(self.file.fileno(), 4 * (stop - start) * nx, 4 * nx * (view * ny + start))
        return np.frombuffer(data, dtype=np.float32).reshape(stop - start, nx)

    def close(self) -> None:
        self.file.close()


@dataclass(frozen=True, eq=False)
class AlignedImages:
    """Images whose tilt axis is y, on a grid whose rows are the tomogram's rows of voxels.

    Attributes
    ----------
    grid : ImageGrid
        Row j is voxel row j.
    slices : SliceGeometry
    resampled : bool
        False when the images are used as they are.
    close : callable
        Gives back the memory or the disk that holds resampled images.
    """

    grid: ImageGrid
    slices: SliceGeometry
    resampled: bool
    _read: Callable[[int, int, int], Float32]
    close: Callable[[], None]
    _put: Callable[[int, Float32], None] | None = None

    def apply(
        self,
        image_filter: Callable[[int, Float32], Float32],
        threads: int,
        advance: Callable[[], None] = lambda: None,
    ) -> None:
        """Filter resampled images, without a halo, where they lie."""
        assert self._put is not None
        put = self._put

        def one(view: int) -> None:
            put(view, image_filter(view, self.rows(view, 0, self.grid.shape[0])))
            advance()

        run_all(threads, one, range(len(self.slices.a)))

    def rows(self, view: int, start: int, stop: int) -> Float32:
        """Rows start..stop of a view, zero where the image has none; they may begin below 0."""
        return self._read(view, start, stop)


def align(
    images: Survey,
    slices: SliceGeometry,
    image_from_aligned: Float64,
    grid: ImageGrid,
    *,
    image_filter: Callable[[int, Float32], Float32] | None,
    like_newstack: bool,
    halo: int,
    threads: int,
    memory_bytes: int,
    folder: Path,
    advance: Callable[[], None] = lambda: None,
) -> AlignedImages:
    """Bring the images onto the common tilt axis.

    Parameters
    ----------
    images : Survey
    slices, image_from_aligned
        From :meth:`TiltGeometry.factor`.
    grid : ImageGrid
        The aligned grid wanted; its rows are the tomogram's rows.
    image_filter : callable, optional
        Applied to each aligned image (two-dimensional filters).
    like_newstack : bool
        Interpolate by cubic convolution with a = -1 (Keys, IEEE Trans. ASSP 29, 1153, 1981), as
        IMOD's newstack does, instead of by cubic B-splines, which keep fine detail better.
    halo : int
        Rows beyond the grid, on either side, that x tilt may need.
    memory_bytes : int
        Larger sets of resampled images are kept on disk in ``folder`` meanwhile.
    advance : callable
        Called after each resampled image.
    """
    source = images.source
    pixel = source.pixel_angst
    shape = source.shape[1:]
    plain = ImageGrid.centred((shape[0], shape[1]), pixel)
    offset = (image_from_aligned[:, 1, 2] / pixel) + plain.centre[0] - grid.centre[0]
    unwarped = (
        np.allclose(image_from_aligned[:, :, :2], np.eye(2), atol=1e-6)
        and np.allclose(image_from_aligned[:, 0, 2], 0.0)
        and np.allclose(offset, np.rint(offset), atol=1e-4)
        and np.allclose(grid.pixel_angst, pixel, rtol=1e-6)
        and grid.shape[1] == shape[1]
    )
    first = np.rint(offset).astype(int)

    def read(view: int, start: int, stop: int) -> Float32:
        return _padded(
            lambda a, b: images.read(view, a, b),
            start + first[view],
            stop + first[view],
            (shape[0], shape[1]),
        )

    if unwarped and image_filter is None:
        return AlignedImages(grid, slices, False, read, lambda: None)

    ny, nx = grid.shape
    stored = (len(images.views), ny + 2 * halo, nx)
    store: RowStore = (
        _Memory(stored) if 4 * np.prod(stored) <= memory_bytes else _Disk(stored, folder)
    )

    def resample(view: int) -> None:
        if unwarped:
            image = read(view, -halo, ny + halo)
        else:
            image = np.empty(stored[1:], dtype=np.float32)
            warp(
                images.read(view),
                pixel,
                image_from_aligned[view],
                grid,
                image,
                halo=halo,
                fill=float(images.fill[view]),
                like_newstack=like_newstack,
            )
        store.put(view, image if image_filter is None else image_filter(view, image))
        advance()

    run_all(threads, resample, range(len(images.views)))

    def read_stored(view: int, start: int, stop: int) -> Float32:
        return _padded(
            lambda a, b: store.get(view, a, b), start + halo, stop + halo, (stored[1], nx)
        )

    return AlignedImages(grid, slices, True, read_stored, store.close, store.put)


def cropped_grid(source: ImageSource, pixel_angst: float) -> ImageGrid:
    """Grid of a source's images in their own frame, binned to about ``pixel_angst``.

    Sizes are even; pixel 0 stays on pixel 0, so the image centre moves off the middle by a hair.
    """
    _, ny, nx = source.shape
    fraction = source.pixel_angst / pixel_angst
    if abs(fraction - 1) < 1e-6:
        return ImageGrid.centred((ny, nx), source.pixel_angst)
    shape = (2 * round(ny * fraction / 2), 2 * round(nx * fraction / 2))
    spacing = (source.pixel_angst * ny / shape[0], source.pixel_angst * nx / shape[1])
    centre = ((ny - 1) / 2 * shape[0] / ny, (nx - 1) / 2 * shape[1] / nx)
    return ImageGrid(shape, spacing, centre)


def crop_images(
    images: Survey,
    grid: ImageGrid,
    image_filter: Callable[[int, Float32], Float32],
    threads: int,
    advance: Callable[[], None] = lambda: None,
) -> Float32:
    """Images in their own frame, for the direct projector: binned and filtered, never warped.

    Returns
    -------
    (view, y, x) float32, on ``grid`` (from :func:`cropped_grid`).
    """
    stack = np.empty((len(images.views), *grid.shape), dtype=np.float32)

    def one(view: int) -> None:
        image = images.read(view)
        if image.shape != grid.shape:
            image = fourier_crop(image, grid.shape)
        stack[view] = image_filter(view, image)
        advance()

    run_all(threads, one, range(len(images.views)))
    return stack


def _padded(
    read: Callable[[int, int], Float32], start: int, stop: int, shape: tuple[int, int]
) -> Float32:
    """Rows start..stop through ``read``, zeros outside the image."""
    low, high = min(max(start, 0), shape[0]), min(max(stop, 0), shape[0])
    if (low, high) == (start, stop):
        return read(start, stop)
    rows = np.zeros((stop - start, shape[1]), dtype=np.float32)
    if high > low:
        rows[low - start : high - start] = read(low, high)
    return rows
