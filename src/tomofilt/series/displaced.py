"""View maps that follow how parts of the images moved, as programs tell it place by place."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from tomofilt.series.geometry import LocalGeometry, TiltGeometry

__all__ = ["displaced"]

FloatArray = NDArray[np.float64]

#: Nodes of the lattice along the longer side of the specimen.
_NODES = 65


def displaced(
    geometry: TiltGeometry,
    extent_angst: tuple[float, float, float],
    shift_angst: Callable[[int, FloatArray], FloatArray],
) -> TiltGeometry:
    """Add displacements, which depend on the place in the image, to view maps.

    Over each node of a lattice they are taken where the images show the middle plane of the
    specimen; how they change with z is taken from its top and bottom.

    Parameters
    ----------
    geometry : TiltGeometry
        Maps of the whole images.
    extent_angst : (x, y, z)
        Size of the specimen to cover, about its centre; beyond, the nearest displacement counts.
    shift_angst : function of (view, (..., 2) array) to (..., 2) array
        Displacement of a view at places (x, y) that ``geometry`` projects to.
    """
    *sides, thickness = extent_angst
    counts = (max(2, round(_NODES * side / max(sides))) for side in sides)
    x, y = (np.linspace(-n / 2, n / 2, c) for n, c in zip(sides, counts, strict=True))
    nodes = np.stack(np.meshgrid(x, y), axis=-1)  # (y, x, 2)
    maps = geometry.image_from_volume
    places = np.einsum("vij,yxj->vyxi", maps[:, :, :2], nodes) + maps[:, None, None, :, 3]
    local = np.tile(maps[:, None, None], (1, len(y), len(x), 1, 1))
    for view, middle in enumerate(places):
        up = maps[view, :, 2] * thickness / 2
        local[view, ..., 3] += shift_angst(view, middle)
        differ = shift_angst(view, middle + up) - shift_angst(view, middle - up)
        local[view, ..., 2] += differ / thickness
    return TiltGeometry(maps, LocalGeometry(x, y, local))
