"""A look at the pixels of a tilt series before anything is computed: a few rows of each image."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tomofilt.errors import InputError
from tomofilt.series.tiltseries import ImageSource, TiltSeries

__all__ = ["band", "refuse_empty_logarithm"]

_ROWS = 24


def band(source: ImageSource, image: int) -> NDArray[np.float32]:
    """The rows in the middle of an image."""
    rows = source.shape[1]
    start = max(0, (rows - _ROWS) // 2)
    return source.read(image, start, min(start + _ROWS, rows))


def refuse_empty_logarithm(series: TiltSeries) -> None:
    """Refuse a logarithm whose base leaves no positive value in any image (IMOD's LOG).

    Raises
    ------
    InputError
    """
    base, images = series.log_base, series.images
    if base is None or any(band(images, int(i)).max() + base > 0 for i in series.views):
        return
    extremes = np.array([[(a := images.read(int(i))).min(), a.max()] for i in series.views])
    low, high = float(extremes[:, 0].min()), float(extremes[:, 1].max())
    if high + base > 0:
        return
    raise InputError(
        f"{series.name}: the logarithm with base {base:g} (LOG) leaves no positive value, for the "
        f"images have values from {low:g} to {high:g}: "
        + ("give LOG 32768" if low >= -32768 else f"give LOG {1 - low:.0f}")
        + " or remove the line"
    )
