"""The level of an image, and where it goes on: beyond an edge, where filters ring on a step."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tomofilt.util.jit import kernel

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
    if image.all() or not image.any():
        return image
    known = image != 0
    y, x = np.nonzero(~known)
    filled = image.copy()
    filled[y, x] = level_at(image, known, y, x)
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

    total, count = np.zeros((2, *(-(-n // block_px) for n in image.shape)))
    _add_up(image, known, block_px, total, count)
    level = ndimage.gaussian_filter(_spread(total, count), 1.0, mode="nearest")
    return _between(level, block_px, y, x)


@kernel
def _add_up(
    image: Float32, known: NDArray[np.bool_], block_px: int, total: Float64, count: Float64
) -> None:
    """Sum and number of the known pixels in each block."""
    for y in range(image.shape[0]):
        for x in range(image.shape[1]):
            if known[y, x]:
                total[y // block_px, x // block_px] += image[y, x]
                count[y // block_px, x // block_px] += 1


@kernel
def _between(level: Float64, block_px: int, y: Indices, x: Indices) -> Float64:
    """The level of the blocks, linear between their middles, at some pixels."""
    last_y, last_x = level.shape[0] - 1, level.shape[1] - 1
    found = np.empty(len(y))
    for n in range(len(y)):
        v = min(max((y[n] + 0.5) / block_px - 0.5, 0.0), last_y)
        u = min(max((x[n] + 0.5) / block_px - 0.5, 0.0), last_x)
        j, i = min(int(v), max(last_y - 1, 0)), min(int(u), max(last_x - 1, 0))
        t, s = v - j, u - i
        below, after = min(j + 1, last_y), min(i + 1, last_x)
        found[n] = (1 - t) * ((1 - s) * level[j, i] + s * level[j, after]) + (
            t * ((1 - s) * level[below, i] + s * level[below, after])
        )
    return found


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
