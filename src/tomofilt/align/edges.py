"""What lies beyond the edge of an image: its level goes on, where filters would ring on a step."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["continue_level"]

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

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
    from scipy import ndimage

    missing = image == 0
    y, x = np.nonzero(missing)
    if len(y) == 0 or len(y) == image.size:
        return image
    block = _BLOCK_PX
    pad = [(0, -n % block) for n in image.shape]
    tiles = np.pad(image, pad), np.pad((~missing).astype(np.float32), pad)
    shape = tiles[0].shape[0] // block, block, tiles[0].shape[1] // block, block
    total, count = (each.reshape(shape).sum(axis=(1, 3), dtype=np.float64) for each in tiles)
    level = ndimage.gaussian_filter(_spread(total, count), 1.0, mode="nearest")
    places = (np.stack([y, x]) + 0.5) / block - 0.5
    filled = image.copy()
    filled[y, x] = ndimage.map_coordinates(level, places, order=1, mode="nearest")
    return filled


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
