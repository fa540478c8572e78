"""Where aligned images lie: in memory, in a nameless file, or in the file they came from."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tomofilt.align.levels import LevelledImages

__all__ = ["ArrayStore", "RowStore", "SourceStore", "padded_rows", "room_for", "zeros"]

Float32 = NDArray[np.float32]


class RowStore(Protocol):
    """Where images lie, halo and all.

    Attributes
    ----------
    memory_bytes : int
        Memory that they take.
    writable : bool
        Whether images may be put there.
    """

    memory_bytes: int
    writable: bool

    def put(self, view: int, image: Float32) -> None:
        """Store one image."""

    def get(self, view: int, start: int, stop: int) -> Float32:
        """Rows start..stop of one image."""

    def close(self) -> None:
        """Give the room back."""


class ArrayStore:
    """Images of an array (view, y, x)."""

    writable = True

    def __init__(self, stack: Float32) -> None:
        self.stack = stack
        self.memory_bytes = stack.nbytes

    def put(self, view: int, image: Float32) -> None:
        """See :class:`RowStore`."""
        self.stack[view] = image

    def get(self, view: int, start: int, stop: int) -> Float32:
        """See :class:`RowStore`."""
        return self.stack[view, start:stop]

    def close(self) -> None:
        """See :class:`RowStore`."""
        self.stack = np.empty((0, 0, 0), dtype=np.float32)


class _Disk:
    """A nameless file: it is gone when the process is, whatever ends it."""

    memory_bytes, writable = 0, True

    def __init__(self, shape: tuple[int, int, int], folder: Path | None) -> None:
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


class SourceStore:
    """Images that lie on the tilt axis as they are, read from their file row by row."""

    memory_bytes, writable = 0, False

    def __init__(self, images: LevelledImages, first_row: NDArray[np.intp], halo: int) -> None:
        self._images, self._first = images, first_row - halo

    def put(self, view: int, image: Float32) -> None:
        """Refuse: the file is the user's."""
        raise TypeError("the images of a file are not changed")

    def get(self, view: int, start: int, stop: int) -> Float32:
        """See :class:`RowStore`."""
        first = int(self._first[view])
        return padded_rows(
            lambda a, b: self._images.rows(view, a, b),
            start + first,
            stop + first,
            self._images.source.shape[1:],
        )

    def close(self) -> None:
        """Do nothing: no room was taken."""


def room_for(shape: tuple[int, int, int], memory_bytes: int, folder: Path | None) -> RowStore:
    """Room for images: memory if there is enough, else a nameless file."""
    fits = 4 * int(np.prod(shape)) <= memory_bytes
    return ArrayStore(np.empty(shape, dtype=np.float32)) if fits else _Disk(shape, folder)


def zeros(shape: tuple[int, ...], memory_bytes: int, folder: Path | None) -> Float32:
    """Array of zeros: in memory if there is enough, else mapped from a nameless file."""
    if 4 * int(np.prod(shape)) <= memory_bytes:
        return np.zeros(shape, dtype=np.float32)
    with tempfile.TemporaryFile(dir=folder) as file:
        return np.memmap(file, np.float32, "w+", shape=shape)


def padded_rows(
    read: Callable[[int, int], Float32], start: int, stop: int, shape: tuple[int, ...]
) -> Float32:
    """Rows start..stop through ``read``, zeros outside the image."""
    low, high = min(max(start, 0), shape[0]), min(max(stop, 0), shape[0])
    if (low, high) == (start, stop):
        return read(start, stop)
    rows = np.zeros((stop - start, shape[1]), dtype=np.float32)
    if high > low:
        rows[low - start : high - start] = read(low, high)
    return rows
