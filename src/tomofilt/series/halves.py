"""Whether images of even and odd frames are what their names say, before they are relied upon."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from tomofilt.series.pixels import band
from tomofilt.series.tiltseries import ImageSource, TiltSeries
from tomofilt.util.words import listed

__all__ = ["why_not_trusted"]

Band = NDArray[np.float64]

#: The same image up to a factor, and an image that fits another view by so much better.
_SAME, _BETTER = 1 - 1e-6, 0.2


def why_not_trusted(series: TiltSeries) -> str | None:
    """Say what is wrong with a series' frame halves; None if nothing is.

    A few rows of each used view are compared. A half may not be blank where the whole image is not,
    nor equal to the other half or to the whole; and each of its images must resemble the whole
    image of its own view, and no other one more.

    Parameters
    ----------
    series : TiltSeries
        With halves.
    """
    if series.halves is None:
        return None
    views = [int(view) for view in series.views]
    whole = _bands(series.images, views)
    even, odd = (_bands(half, views) for half in series.halves)
    names = [_name(half) for half in series.halves]
    for name, half in zip(names, (even, odd), strict=True):
        lost = [view + 1 for view in whole if view not in half]
        if lost:
            which = "" if len(lost) == len(whole) else f" in images {listed(lost)}"
            return f"{name} is blank (or not finite){which}"
    compared = [view for view in whole if even[view].size and odd[view].size and whole[view].size]
    for view in compared:
        if even[view] @ odd[view] > _SAME:
            return f"image {view + 1} of {names[1]} is that of {names[0]}, no half of its own"
        for name, half in zip(names, (even, odd), strict=True):
            if half[view] @ whole[view] > _SAME:
                return f"image {view + 1} of {name} is the whole image, no half of its frames"
    orders = (
        _why_another_order(name, half, whole, compared)
        for name, half in zip(names, (even, odd), strict=True)
    )
    return next((fault for fault in orders if fault), None)


def _name(half: ImageSource) -> str:
    """Name the stack, or the first and the last of its files."""
    ends = list(dict.fromkeys(path.name for path in (half.files[:1] + half.files[-1:])))
    return " ... ".join(ends) or "a stack of frame halves"


def _bands(source: ImageSource, views: Sequence[int]) -> dict[int, Band]:
    """Rows of each view, less their mean and scaled to one.

    Views that are blank or hold NaN are left out; those that are blank in these rows only are
    there, but empty.
    """
    rows = np.array([band(source, view).ravel() for view in views], dtype=np.float64)
    with np.errstate(invalid="ignore"):
        rows -= rows.mean(axis=1, keepdims=True)
    bands = {}
    for view, values, norm in zip(views, rows, np.linalg.norm(rows, axis=1), strict=True):
        if 0 < norm < np.inf:
            bands[view] = values / norm
        elif norm == 0 and np.ptp(source.read(view)) > 0:
            bands[view] = np.empty(0)
    return bands


def _why_another_order(
    name: str, half: Mapping[int, Band], whole: Mapping[int, Band], views: Sequence[int]
) -> str | None:
    """Find an image that resembles the whole image of another view more than that of its own."""
    if not views:
        return None
    likeness = np.stack([half[i] for i in views]) @ np.stack([whole[i] for i in views]).T
    better = _BETTER + 6 / np.sqrt(half[views[0]].size)  # what chance does in a few pixels
    wrong = np.flatnonzero(likeness.max(axis=1) > np.diag(likeness) + better)
    if not wrong.size:
        return None
    first = int(wrong[0])
    return (
        f"{name} has its images in another order: its image {views[first] + 1} resembles image "
        f"{views[int(likeness[first].argmax())] + 1} of the whole"
    )
