"""Levels of images: the background that is subtracted, broken pixels, images without contrast."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tomofilt.errors import InputError
from tomofilt.series.tiltseries import ImageSource
from tomofilt.util.threads import run_all

__all__ = ["Background", "LevelledImages"]

Float32 = NDArray[np.float32]
Background = Literal["ends", "image", "series"]

#: Images with less than this share of the series' usual contrast are dark: hidden from the beam.
_DARK = 0.2
#: No pixel is larger: filtered rows then stay within float32.
_LARGEST_VALUE = 1e18


class LevelledImages:
    """The used images of a source with their background subtracted, each read when asked for.

    Parameters
    ----------
    source : ImageSource
    views : (view,) int
        Image of each used view.
    background : "ends", "image" or "series"
        What is subtracted: the mean of an image's two ends across the tilt axis, where a ramp
        filter would see a step; its whole mean; or one number for all, the mean of the series
        (IMOD). The last is known when all images have been read: until then it is the image's
        own mean, and :attr:`level` has the rest.
    across_axis : int
        The image axis, 0 (y) or 1 (x), that runs across the tilt axis, if only roughly.
    log_base : float, optional
        Replace values by ``log10(max(value + base, (max - min) / 1000))``, as IMOD's LOG does.
        All images are read once more for the extremes.
    threads : int

    Attributes
    ----------
    source, views
        As given.
    level : (view,) float64
        What is still to be added to an image once all have been read; zero but for "series".
    """

    def __init__(
        self,
        source: ImageSource,
        views: NDArray[np.intp],
        *,
        background: Background,
        across_axis: int,
        log_base: float | None,
        threads: int,
    ) -> None:
        self.source, self.views = source, views
        self._kind, self._axis, self._threads = background, across_axis, threads
        self._log_base = None if log_base is None else np.float32(log_base)
        self._floor = np.float32(0)
        self.level = np.zeros(len(views))
        self._means = np.full(len(views), np.nan)
        self._subtracted = np.zeros(len(views))
        self._spreads = np.zeros(len(views))
        if log_base is not None:
            self._floor = np.float32(0.001 * self._range())

    @property
    def mean(self) -> float:
        """Mean of all used images."""
        return float(self._means.mean())

    @property
    def blank(self) -> NDArray[np.intp]:
        """Views without contrast: their pixels are all equal, or differ far less than others'."""
        return np.flatnonzero(self._spreads <= _DARK * np.median(self._spreads))

    def read(self, view: int) -> Float32:
        """One whole image, its level measured on the way; of a broken image, zeros."""
        image = self._values(view, 0, None)
        low, high = image.min(), image.max()
        if not max(-low, high) < _LARGEST_VALUE:
            return np.zeros_like(image)
        self._means[view] = mean = image.mean(dtype=np.float64)
        level = _mean_of_ends(image, self._axis) if self._kind == "ends" else mean
        self._subtracted[view] = level
        self._spreads[view] = image.std() if low < high else 0.0
        return np.asarray(image - np.float32(level), dtype=np.float32)

    def rows(self, view: int, y_start: int, y_stop: int) -> Float32:
        """Rows of an image that has been read before."""
        level = np.float32(self._subtracted[view])
        return np.asarray(self._values(view, y_start, y_stop) - level, dtype=np.float32)

    def check(self, name: str) -> None:
        """Look at what was found, once every image has been read.

        Raises
        ------
        InputError
            An image holds NaN, infinity or absurdly large values, or every image is blank.
        """
        broken = np.flatnonzero(~np.isfinite(self._means))
        if len(broken):
            index = int(self.views[broken[0]])
            files = self.source.files
            path = files[min(index, len(files) - 1)] if files else "the stack"
            raise InputError(
                f"{path}: image {index + 1} holds NaN, infinite or absurd values ({len(broken)} of "
                f"{len(self.views)} views do): repair it, or leave it out with "
                f"--exclude {index + 1}"
            )
        if not self._spreads.any():
            raise InputError(f"{name}: every image is blank, there is nothing to reconstruct")
        if self._kind == "series":
            self.level = self._means - self.mean

    def _values(self, view: int, y_start: int, y_stop: int | None) -> Float32:
        rows = self.source.read(int(self.views[view]), y_start, y_stop)
        if self._log_base is None:
            return rows
        return np.asarray(np.log10(np.maximum(rows + self._log_base, self._floor)), np.float32)

    def _range(self) -> float:
        extremes = np.empty((len(self.views), 2))

        def measure(view: int) -> None:
            image = self.source.read(int(self.views[view]))
            extremes[view] = image.min(), image.max()

        run_all(self._threads, measure, range(len(self.views)))
        return float(extremes[:, 1].max() - extremes[:, 0].min())


def _mean_of_ends(image: Float32, axis: int) -> float:
    """Mean of the first and the last twentieth of an image along an axis."""
    width = max(1, image.shape[axis] // 20)
    ends = (slice(None, width), slice(-width, None))
    parts = [image[end] if axis == 0 else image[:, end] for end in ends]
    return float(sum(part.mean(dtype=np.float64) for part in parts) / 2)
