"""AreTomo's local alignment: how far an image moved at any place, from the shifts of patches."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tomofilt_aretomo.aln import Alignment, Patches

__all__ = ["LocalShift"]

FloatArray = NDArray[np.float64]

#: AreTomo's weight of a patch is exp(-100 d^2), with d in widths and heights of the image.
_SHARPNESS = 100.0


@dataclass(frozen=True, eq=False)
class LocalShift:
    """The mean of the patches' shifts, weighted with ``exp(-100 |(q - patch) / size|^2)``.

    Here q is a place in an image, about its centre, once the shift of the whole is off.

    Parameters
    ----------
    alignment : Alignment
    patches : Patches
        Of the alignment.
    image_shape : (ny, nx)
    pixel_angst : float
    """

    alignment: Alignment
    patches: Patches
    image_shape: tuple[int, int]
    pixel_angst: float

    def __call__(self, view: int, places_angst: FloatArray) -> FloatArray:
        """Displacement (..., 2) of a line of the alignment at places (..., 2), in angstrom."""
        good = self.patches.good[view]
        if not good.any():
            return np.zeros_like(places_angst)
        places = places_angst / self.pixel_angst - self.alignment.shift_px[view]
        size = np.array(self.image_shape[::-1], dtype=np.float64)
        apart = (places[..., None, :] - self.patches.centre_px[view, good]) / size
        exponent = -_SHARPNESS * (apart**2).sum(axis=-1)
        weight = np.exp(exponent - exponent.max(axis=-1, keepdims=True))  # not 0 / 0 far away
        mean = weight @ self.patches.shift_px[view, good] / weight.sum(axis=-1)[..., None]
        return np.asarray(mean * self.pixel_angst)
