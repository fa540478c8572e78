"""The images of a series on the common tilt axis: where they are read, resampled, and kept.

Each image is read once and resampled once: low-passed to the output's pixel size by a Fourier crop
and interpolated through the in-plane warp of :meth:`TiltGeometry.factor`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tomofilt.align.frame import AlignedFrame
from tomofilt.align.levels import LevelledImages
from tomofilt.align.resample import fourier_crop, warp
from tomofilt.align.store import RowStore, SourceStore, padded_rows, room_for
from tomofilt.series.geometry import ImageGrid
from tomofilt.series.tiltseries import ImageSource
from tomofilt.util.threads import run_all

__all__ = ["AlignedStack", "OnImage", "align", "cropped_grid", "images_as_taken"]

Float32 = NDArray[np.float32]
#: What is done to the image (y, x) of a view.
OnImage = Callable[[int, Float32], Float32]


class AlignedStack:
    """Images whose tilt axis is y, corrected, on a grid whose rows are the tomogram's rows.

    Made by :func:`align`, which is the one place where images are brought there.

    Attributes
    ----------
    frame : AlignedFrame
    blank : tuple of int
        Views whose pixels are all equal.
    mean : float
        Mean of all images as they were taken; what was subtracted of it, :func:`align` says.
    """

    def __init__(
        self,
        frame: AlignedFrame,
        store: RowStore,
        *,
        threads: int,
        level: NDArray[np.float64] | None = None,
        mean: float = 0.0,
        blank: tuple[int, ...] = (),
        members: NDArray[np.intp] | None = None,
        first_row: int = 0,
    ) -> None:
        self.frame, self.mean, self.blank = frame, mean, blank
        self._store, self._threads, self._first_row = store, threads, first_row
        count = len(frame.slices.a)
        self._level = np.zeros(count) if level is None else level
        self._members = np.arange(count) if members is None else members

    def __len__(self) -> int:
        return len(self._members)

    @property
    def pixel_angst(self) -> float:
        """Pixel size in angstrom: a voxel of the tomogram."""
        return self.frame.grid.pixel_angst[1]

    @property
    def memory_bytes(self) -> int:
        """Memory that the images take; none where they wait in a file."""
        return self._store.memory_bytes

    @property
    def writable(self) -> bool:
        """Whether the images can be changed where they lie."""
        return self._store.writable

    @property
    def shape(self) -> tuple[int, int, int]:
        """(view, y, x) of the images without their halo."""
        return (len(self), *self.frame.grid.shape)

    def rows(self, view: int, start: int, stop: int) -> Float32:
        """Rows of a view, shape (stop - start, x); zeros outside the grid and its halo."""
        halo = self.frame.halo
        return padded_rows(
            lambda a, b: self._stored(view, a, b),
            start + halo,
            stop + halo,
            self.frame.padded_grid.shape,
        )

    def image(self, view: int) -> Float32:
        """One image (y, x) without its halo."""
        return self.rows(view, 0, self.frame.grid.shape[0])

    def numpy(self) -> Float32:
        """All images, (view, y, x) float32."""
        return np.stack([self.image(view) for view in range(len(self))])

    def select(self, views: NDArray[np.intp], rows: tuple[int, int] | None = None) -> AlignedStack:
        """The same images, not copied, for some views (indices), and from one row to another."""
        start, stop = rows or (0, self.frame.grid.shape[0])
        return AlignedStack(
            self.frame.select(views).crop_rows(start, stop),
            self._store,
            threads=self._threads,
            level=self._level[views],
            mean=self.mean,
            blank=tuple(int(i) for i in np.flatnonzero(np.isin(views, self.blank))),
            members=self._members[views],
            first_row=self._first_row + start,
        )

    def filtered(
        self,
        on_image: OnImage,
        *,
        in_place: bool,
        memory_bytes: int = 0,
        folder: Path | None = None,
        advance: Callable[[], None] = lambda: None,
    ) -> AlignedStack:
        """The images after something has been done to each, halo and all.

        Parameters
        ----------
        on_image : callable
            Takes a view and its image with the halo, and returns an image of the same shape.
        in_place : bool
            Whether the images may be overwritten; this stack must not be used any more then.
        memory_bytes, folder
            Otherwise: as for :func:`align`.
        advance : callable
            Called after each image.
        """
        shape = (len(self), *self.frame.padded_grid.shape)
        store = self._store if in_place else room_for(shape, memory_bytes, folder)
        places = self._members if in_place else np.arange(len(self))

        def one(view: int) -> None:
            store.put(int(places[view]), on_image(view, self._stored(view, 0, shape[1])))
            advance()

        run_all(self._threads, one, range(len(self)))
        return AlignedStack(
            self.frame,
            store,
            threads=self._threads,
            mean=self.mean,
            blank=self.blank,
            members=places,
        )

    def close(self) -> None:
        """Give back the memory or the disk that holds the images."""
        self._store.close()

    def _stored(self, view: int, start: int, stop: int) -> Float32:
        first = self._first_row
        rows = self._store.get(int(self._members[view]), start + first, stop + first)
        return rows if self._level[view] == 0 else rows + np.float32(self._level[view])


def align(
    images: LevelledImages,
    frame: AlignedFrame,
    name: str,
    *,
    correct: OnImage | None,
    like_newstack: bool,
    keep: bool,
    threads: int,
    memory_bytes: int,
    folder: Path | None,
    advance: Callable[[], None] = lambda: None,
) -> AlignedStack:
    """Bring the images of a series onto the common tilt axis, each read and resampled once.

    Parameters
    ----------
    images : LevelledImages
    frame : AlignedFrame
    name : str
        Of the series, for messages.
    correct : callable, optional
        What corrects an aligned image, halo and all: contrast transfer and dose.
    like_newstack : bool
        Interpolate by cubic convolution with a = -1 (Keys, IEEE Trans. ASSP 29, 1153, 1981), as
        IMOD's newstack does, instead of by cubic B-splines, which keep fine detail better.
    keep : bool
        Whether images that lie on the tilt axis as they are have to be kept, because they are to
        be changed. Otherwise they are kept while there is memory, else read again from their file.
    threads : int
    memory_bytes : int
        More than that waits in a nameless file.
    folder : Path, optional
        Where such a file is made; default is the system's folder for temporary files.
    advance : callable
        Called after each image.

    Raises
    ------
    InputError
        An image holds NaN or infinity, or all are blank.
    """
    shape = (len(images.views), *frame.padded_grid.shape)
    first_row = _unwarped_rows(images.source, frame)
    fits = 4 * int(np.prod(shape)) <= memory_bytes
    as_they_are = first_row is not None and correct is None and not keep and not fits
    store: RowStore
    if as_they_are:
        assert first_row is not None
        store = SourceStore(images, first_row, frame.halo)
    else:
        store = room_for(shape, memory_bytes, folder)

    def one(view: int) -> None:
        image = images.read(view)
        if not as_they_are:
            aligned = _aligned(image, view, images.source, frame, first_row, like_newstack)
            store.put(view, aligned if correct is None else correct(view, aligned))
        advance()

    try:
        run_all(threads, one, range(len(images.views)))
        images.check(name)
    except BaseException:
        store.close()
        raise
    return AlignedStack(
        frame,
        store,
        threads=threads,
        level=images.level,
        mean=images.mean,
        blank=tuple(int(view) for view in images.blank),
    )


def _aligned(
    image: Float32,
    view: int,
    source: ImageSource,
    frame: AlignedFrame,
    first_row: NDArray[np.intp] | None,
    like_newstack: bool,
) -> Float32:
    """One image on the tilt axis, with the halo; where there are no data it is zero."""
    ny, nx = frame.padded_grid.shape
    if first_row is not None:
        start = int(first_row[view]) - frame.halo
        return padded_rows(lambda a, b: image[a:b], start, start + ny, image.shape)
    aligned = np.empty((ny, nx), dtype=np.float32)
    warp(
        image,
        source.pixel_angst,
        frame.image_from_aligned[view],
        frame.grid,
        aligned,
        halo=frame.halo,
        fill=0.0,
        like_newstack=like_newstack,
    )
    return aligned


def _unwarped_rows(source: ImageSource, frame: AlignedFrame) -> NDArray[np.intp] | None:
    """Row of each image that is row 0 of the grid, if images are used pixel for pixel."""
    pixel, warps = source.pixel_angst, frame.image_from_aligned
    _, ny, nx = source.shape
    plain = ImageGrid.centred((ny, nx), pixel)
    offset = (warps[:, 1, 2] / pixel) + plain.centre[0] - frame.grid.centre[0]
    unwarped = (
        np.allclose(warps[:, :, :2], np.eye(2), atol=1e-6)
        and np.allclose(warps[:, 0, 2], 0.0)
        and np.allclose(offset, np.rint(offset), atol=1e-4)
        and np.allclose(frame.grid.pixel_angst, pixel, rtol=1e-6)
        and frame.grid.shape[1] == nx
    )
    return np.rint(offset).astype(np.intp) if unwarped else None


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


def images_as_taken(
    images: LevelledImages,
    grid: ImageGrid,
    name: str,
    on_image: OnImage,
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
        stack[view] = on_image(view, image)
        advance()

    run_all(threads, one, range(len(images.views)))
    images.check(name)
    return stack
