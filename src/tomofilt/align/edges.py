"""The level of an image, and where it goes on: beyond an edge, where filters ring on a step."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tomofilt.util.jit import kernel

__all__ = ["continue_level", "level_between", "levels"]

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Mask = NDArray[np.bool_]

#: The level is that of blocks of so many pixels a side: their noise averages out.
_BLOCK_PX = 16
#: A Gaussian with a sigma of one block, to four of them on either side.
_SMOOTH = np.exp(-(np.arange(-4, 5) ** 2) / 2)
_SMOOTH /= _SMOOTH.sum()


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
    filled = image.copy()
    _continue(filled)
    return filled


@kernel
def _continue(image: Float32) -> None:
    """Give the zeros of an image, in place, the level of what is next to them."""
    known = image != 0
    level = levels(image, known, _BLOCK_PX)
    for y in range(image.shape[0]):
        for x in range(image.shape[1]):
            if not known[y, x]:
                image[y, x] = level_between(level, _BLOCK_PX, y, x)


@kernel
def levels(image: Float32, known: Mask, block_px: int) -> Float64:
    """The level of an image in blocks: a smooth mean of what is known in and about them.

    Parameters
    ----------
    image : (y, x) float32
    known : (y, x) bool
        The pixels that count.
    block_px : int
        Side of a block; the level is smooth over two or three of them.

    Returns
    -------
    (block, block) float64
        For :func:`level_between`.
    """
    ny, nx = image.shape
    total = np.zeros((-(-ny // block_px), -(-nx // block_px)))
    count = np.zeros_like(total)
    for j in range(len(total)):
        # columns first: these are sums of whole rows, many pixels at a time
        line_total, line_count = np.zeros(nx), np.zeros(nx)
        for y in range(j * block_px, min((j + 1) * block_px, ny)):
            for x in range(nx):
                line_total[x] += np.float64(image[y, x]) if known[y, x] else 0.0
                line_count[x] += known[y, x]
        for i in range(total.shape[1]):
            for x in range(i * block_px, min((i + 1) * block_px, nx)):
                total[j, i] += line_total[x]
                count[j, i] += line_count[x]
    # scipy's filter takes longer to load than all of this takes
    return _smooth(_smooth(_spread(total, count)))


@kernel
def level_between(level: Float64, block_px: int, y: int, x: int) -> float:
    """The level at a pixel, linear between the middles of the blocks."""
    last_y, last_x = level.shape[0] - 1, level.shape[1] - 1
    v = min(max((y + 0.5) / block_px - 0.5, 0.0), last_y)
    u = min(max((x + 0.5) / block_px - 0.5, 0.0), last_x)
    j, i = min(int(v), max(last_y - 1, 0)), min(int(u), max(last_x - 1, 0))
    t, s = v - j, u - i
    below, after = min(j + 1, last_y), min(i + 1, last_x)
    above = (1 - s) * level[j, i] + s * level[j, after]
    return float((1 - t) * above + t * ((1 - s) * level[below, i] + s * level[below, after]))


@kernel
def _spread(total: Float64, count: Float64) -> Float64:
    """Means of cells; cells without any pixels take theirs from coarser ones."""
    ny, nx = total.shape
    mean = np.empty_like(total)
    coarse_total = np.zeros(((ny + 1) // 2, (nx + 1) // 2))
    coarse_count = np.zeros_like(coarse_total)
    full = True
    for y in range(ny):
        for x in range(nx):
            full &= count[y, x] > 0
            mean[y, x] = total[y, x] / max(count[y, x], 1.0)
            coarse_total[y // 2, x // 2] += total[y, x]
            coarse_count[y // 2, x // 2] += count[y, x]
    if full or max(ny, nx) == 1:
        return mean
    coarse = _spread(coarse_total, coarse_count)
    for y in range(ny):
        for x in range(nx):
            if count[y, x] == 0:
                mean[y, x] = coarse[y // 2, x // 2]
    return mean


@kernel
def _smooth(level: Float64) -> Float64:
    """A Gaussian along the first axis; at its ends the last values go on.

    The axes change places: applied twice, it smooths along both and leaves them as they were.
    """
    ny, nx = level.shape
    smooth = np.zeros((nx, ny))
    for y in range(ny):
        for k in range(len(_SMOOTH)):
            other = min(max(y + k - len(_SMOOTH) // 2, 0), ny - 1)
            for x in range(nx):
                smooth[x, y] += _SMOOTH[k] * level[other, x]
    return smooth
