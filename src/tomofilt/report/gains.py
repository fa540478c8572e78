"""The gains of the filter that a tomogram was made with, from its record."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tomofilt.errors import InputError
from tomofilt.evaluate.tomograms import Tomogram

__all__ = ["Gains", "gains_of"]

Float64 = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Gains:
    """Gains across the tilt axis, views by tilt angle.

    Attributes
    ----------
    tilt_deg : (view,)
        Ascending.
    cycles_per_px : (frequency,)
        From just above zero to 0.5; a pixel is as large as a voxel of the tomogram.
    gains : (view, frequency)
    """

    tilt_deg: Float64
    cycles_per_px: Float64
    gains: Float64


def gains_of(tomogram: Tomogram) -> Gains | None:
    """Gains of the filter, None where they are not known.

    Raises
    ------
    InputError
        The record is damaged.
    """
    known = tomogram.record and tomogram.record.filter.gains
    if not known:
        return None
    try:
        tilt_deg, cycles = _numbers(known.tilt_deg), _numbers(known.cycles_per_px)
        gains = np.stack([_numbers(line) for line in known.of_views])
    except ValueError as error:
        raise InputError(
            f"{tomogram.path.with_suffix('.json')}: the gains in the record are damaged ({error}): "
            "reconstruct again with --overwrite"
        ) from error
    order = np.argsort(tilt_deg, kind="stable")
    return Gains(tilt_deg[order], cycles, gains[order])


def _numbers(text: str) -> Float64:
    return np.array(text.split(), dtype=np.float64)
