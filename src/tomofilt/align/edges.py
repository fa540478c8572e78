"""The level of an image, and where it goes on: beyond an edge, where filters ring on a step."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["continue_level", "level_at"]

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Indices = NDArray[np.intp]

#: The level is that of blocks of so many pixels a side: their noise averages out.
_BLOCK_PX = 16


def continue_level(image: Float32) -> Float32:
    """Image whose areas without data have the level of what is next to them.

    Detail is not continued: an area that was not seen stays without any.

    Parameters
    ----------
    image : (y, x) float32
        Zeros are areas without data.

    Returns
    -------
    (y, x) float32
        The image itself if there is nothing, or everything, to fill.
    """
    missing = image == 0
    y, x = np.nonzero(missing)
    if len(y) == 0 or len(y) == image.size:
        return image
    filled = image.copy()
    filled[y, x] = level_at(image, ~missing, y, x)
    return filled


def level_at(
    image: Float32, known: NDArray[np.bool_], y: Indices, x: Indices, block_px: int = _BLOCK_PX
) -> Float64:
    """The level of an image at some pixels: a smooth mean of what is known about them.

    Parameters
    ----------
    image : (y, x) float32
    known : (y, x) bool
        The pixels that count.
    y, x : (n,) int
    block_px : int
        The level is smooth over two or three times as many pixels.

    Returns
    -------
    (n,) float64
    """
    from scipy import ndimage

    starts = [np.arange(0, n, block_px) for n in image.shape]

    def sums(pixels: Float32) -> Float64:
        rows = np.add.reduceat(pixels, starts[0], axis=0)
        return np.asarray(np.add.reduceat(rows, starts[1], axis=1, dtype=np.float64))

    total, count = sums(image * known), sums(known.astype(np.float32))
    level = ndimage.gaussian_filter(_spread(total, count), 1.0, mode="nearest")
    places = (np.stack([y, x]) + 0.5) / block_px - 0.5
    return np.asarray(ndimage.map_coordinates(level, places, order=1, mode="nearest"))


def _spread(total: Float64, count: Float64) -> Float64:
    """Means of cells; cells without any pixels take theirs from coarser ones."""
    mean = total / np.maximum(count, 1)
    empty = count == 0
    if empty.any() and max(total.shape) > 1:
        pad = [(0, n % 2) for n in total.shape]
        halves = [np.pad(each, pad) for each in (total, count)]
        shape = halves[0].shape[0] // 2, 2, halves[0].shape[1] // 2, 2
        coarse = _spread(*(each.reshape(shape).sum(axis=(1, 3)) for each in halves))
        fine = coarse.repeat(2, axis=0).repeat(2, axis=1)
        mean[empty] = fine[: total.shape[0], : total.shape[1]][empty]
    return np.asarray(mean)
