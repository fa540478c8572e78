"""AreTomo's local alignment, as view maps on a lattice over the specimen."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tomofilt.series.geometry import LocalGeometry, TiltGeometry
from tomofilt_aretomo.aln import Patches

__all__ = ["local_maps"]

FloatArray = NDArray[np.float64]

#: AreTomo's weight of a patch is exp(-100 d^2), with d in widths and heights of the image.
_SHARPNESS = 100.0
#: Nodes of the lattice along the longer side: straight lines between them miss the weighted mean by
#: less than a hundredth of what neighbouring patches, of 4 in a row, differ by.
_NODES = 65


def local_maps(
    geometry: TiltGeometry,
    patches: Patches,
    image_shape: tuple[int, int],
    extent_px: tuple[float, float],
    pixel_angst: float,
) -> TiltGeometry:
    """View maps that follow the shifts of patches.

    AreTomo adds to the place q where an image shows a point of the specimen, before the shift of
    the whole, the mean of the patches' shifts weighted with ``exp(-100 |(q - patch) / size|^2)``.
    Here that is done for the middle plane of the specimen, and what is above and below a point
    moves with it.

    Parameters
    ----------
    geometry : TiltGeometry
        Of the whole, in the order of the patches' images.
    patches : Patches
    image_shape : (ny, nx)
        Of the raw images.
    extent_px : (x, y)
        Half the size of the specimen to cover.
    pixel_angst : float
    """
    half = np.array(extent_px) * pixel_angst
    steps = np.maximum(np.ceil((_NODES - 1) * half / half.max()).astype(int), 1)
    x, y = (np.linspace(-h, h, n + 1) for h, n in zip(half, steps, strict=True))
    nodes = np.stack(np.meshgrid(x, y), axis=-1)  # (y, x, 2)
    maps = geometry.image_from_volume
    seen_px = np.einsum("vij,yxj->vyxi", maps[:, :, :2], nodes) / pixel_angst
    local = np.repeat(np.repeat(maps[:, None, None], len(y), axis=1), len(x), axis=2)
    size = np.array(image_shape[::-1], dtype=np.float64)
    for view, place in enumerate(seen_px):
        local[view, ..., 3] += _shift_px(place, patches, view, size) * pixel_angst
    return TiltGeometry(maps, LocalGeometry(x, y, local))


def _shift_px(place: FloatArray, patches: Patches, view: int, size: FloatArray) -> FloatArray:
    """Mean shift (..., 2) at places (..., 2) of an image; none where no patch counts."""
    good = patches.good[view]
    if not good.any():
        return np.zeros_like(place)
    apart = (place[..., None, :] - patches.centre_px[view, good]) / size
    exponent = -_SHARPNESS * (apart**2).sum(axis=-1)
    weight = np.exp(exponent - exponent.max(axis=-1, keepdims=True))  # far away, 0 / 0 otherwise
    total = weight.sum(axis=-1)[..., None]
    return np.asarray(weight @ patches.shift_px[view, good] / total)
