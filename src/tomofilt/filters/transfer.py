"""Learned filters for series that they were not trained on.

Frequencies are physical, so sizes and pixel sizes need nothing; the angular step is in the base of
a filter (:mod:`tomofilt.filters.learned`). What is left is the angle: coefficients of trained tilts
are interpolated to other tilts.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from tomofilt.errors import InputError
from tomofilt.filters.learned import SAME_TILT_DEG, LearnedFilter, same_scheme, tilts_in_words

__all__ = ["METHODS", "Method", "for_series", "transfer"]

FloatArray = NDArray[np.float64]

Method = Literal["nearest", "linear", "cubic", "polynomial"]
METHODS: tuple[Method, ...] = get_args(Method)

_ORDER = 4
_WORDS: dict[Method, str] = {
    "nearest": "the nearest tilt",
    "linear": "linear interpolation over the angle",
    "cubic": "cubic splines over the angle",
    "polynomial": f"polynomials of order {_ORDER} over the angle, by least squares",
}


def transfer(
    chosen: LearnedFilter, tilt_deg: FloatArray, method: Method = "polynomial"
) -> LearnedFilter:
    """Make a filter that was learned for each tilt one for other tilts.

    Beyond the trained tilts a view gets what the outermost one has.

    Parameters
    ----------
    chosen : LearnedFilter
        Its angles are "per-tilt".
    tilt_deg : (view,)
        The other tilts.
    method : "nearest", "linear", "cubic" or "polynomial"
        Natural cubic splines; polynomials of order 4 by least squares, which smooth besides.

    Returns
    -------
    LearnedFilter
        With per-tilt angles on ``tilt_deg``, and a note on what was done.

    Raises
    ------
    InputError
        If the filter's gains do not belong to tilts: it goes with any series as it is.
    """
    if chosen.angles != "per-tilt":
        raise InputError(
            f"{chosen.spec} has {chosen.angles} angles and goes with any tilts as it is: there is "
            "nothing to transfer"
        )
    tilt_deg = np.asarray(tilt_deg, dtype=np.float64)
    # views at one tilt count as their mean
    order = np.argsort(chosen.tilt_deg, kind="stable")
    is_new = np.diff(chosen.tilt_deg[order], prepend=-np.inf) > SAME_TILT_DEG
    mean = np.zeros((np.count_nonzero(is_new), len(order)))
    mean[np.cumsum(is_new) - 1, order] = 1
    mean /= mean.sum(axis=1, keepdims=True)
    trained = mean @ chosen.tilt_deg
    matrix = _interpolation(trained, np.clip(tilt_deg, trained[0], trained[-1]), method) @ mean
    flat = chosen.coefficients.reshape(len(chosen.tilt_deg), -1).astype(np.float64)
    old, new = tilts_in_words(chosen.tilt_deg), tilts_in_words(tilt_deg)
    return replace(
        chosen,
        tilt_deg=tilt_deg,
        coefficients=(matrix @ flat).reshape(-1, *chosen.nodes.shape),
        notes=(*chosen.notes, f"transferred from {old} to {new} by {_WORDS[method]}"),
    )


def for_series(chosen: LearnedFilter, tilt_deg: FloatArray, pixel_angst: float) -> LearnedFilter:
    """The filter for a series: transferred if it has to be, with notes on what it was not made for.

    Series of the scheme that was trained on need no transfer, as in training; see
    :func:`~tomofilt.filters.learned.same_scheme`.

    Parameters
    ----------
    chosen : LearnedFilter
    tilt_deg : (view,)
        Tilts of the series.
    pixel_angst : float
        Pixel size of the images that are filtered.
    """
    trained, notes = chosen.tilt_deg, []
    if chosen.angles == "per-tilt":
        distance = np.abs(np.subtract.outer(tilt_deg, trained)).min(axis=1)
        if distance.max() > SAME_TILT_DEG:
            pairs = same_scheme(trained, tilt_deg)
            if pairs is None:
                chosen = transfer(chosen, tilt_deg)
            else:
                off = np.abs(trained[pairs] - tilt_deg).max()
                notes.append(f"tilts differ by up to {off:.2f} deg from those of the training")
                chosen = replace(chosen, tilt_deg=tilt_deg, coefficients=chosen.coefficients[pairs])
    outside = int(
        np.count_nonzero(
            (tilt_deg < trained.min() - SAME_TILT_DEG) | (tilt_deg > trained.max() + SAME_TILT_DEG)
        )
    )
    if outside and chosen.angles != "shared":
        notes.append(
            f"{outside} view{'s are' if outside > 1 else ' is'} steeper than the {trained.min():g} "
            f"to {trained.max():g} deg of the training and filtered as the steepest there"
        )
    highest_k = chosen.nodes.highest_k
    if 0.5 / pixel_angst > 1.01 * highest_k:
        notes.append(
            f"nothing was learned beyond {1 / highest_k:.3g} A: between there and "
            f"{2 * pixel_angst:.3g} A the factors are those at {1 / highest_k:.3g} A"
        )
    return replace(chosen, notes=(*chosen.notes, *notes))


def _interpolation(trained: FloatArray, wanted: FloatArray, method: Method) -> FloatArray:
    """Matrix (wanted, trained) from values at the one to values at the other."""
    from scipy.interpolate import CubicSpline

    identity = np.eye(len(trained))
    if len(trained) == 1:
        return np.ones((len(wanted), 1))
    if method == "nearest":
        return np.asarray(identity[np.abs(np.subtract.outer(wanted, trained)).argmin(axis=1)])
    if method == "linear":
        return np.stack([np.interp(wanted, trained, column) for column in identity], axis=1)
    if method == "cubic":
        return np.asarray(CubicSpline(trained, identity, bc_type="natural")(wanted))
    order = min(_ORDER, len(trained) - 1)
    basis = np.polynomial.legendre.legvander
    return np.asarray(basis(wanted / 90, order) @ np.linalg.pinv(basis(trained / 90, order)))
