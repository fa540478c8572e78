"""What can be learned: which coefficients a filter has."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tomofilt.errors import InputError
from tomofilt.filters.learned import Angles, Base, GridNodes, LearnedFilter, RadialNodes
from tomofilt.training.cases import Case

__all__ = ["DESCRIPTIONS", "NODES", "ORDER", "Parametrisation", "empty_filter"]

Parametrisation = Literal["radial", "per-tilt", "polynomial", "grid", "factorised", "full"]

DESCRIPTIONS: dict[Parametrisation, str] = {
    "radial": "one gain on the length of the frequency for all views",
    "per-tilt": "such a gain for each view",
    "polynomial": "such a gain whose values are polynomials in the tilt angle",
    "grid": "one gain on the frequencies across and along the tilt axis for all views",
    "factorised": "such a gain, times a weight for each view",
    "full": "such a gain for each view",
}
NODES, ORDER = 14, 4

_PARTS: dict[Parametrisation, tuple[Base, Angles]] = {
    "radial": ("ramp", "shared"),
    "per-tilt": ("ramp", "per-tilt"),
    "polynomial": ("ramp", "polynomial"),
    "grid": ("flat", "shared"),
    "factorised": ("flat", "per-tilt"),
    "full": ("flat", "per-tilt"),
}


def empty_filter(
    name: Parametrisation, case: Case, nodes: int | None = NODES, order: int = ORDER
) -> LearnedFilter:
    """A filter of zeros, for tilts and frequencies of a case.

    Parameters
    ----------
    name : str
        In :data:`DESCRIPTIONS`.
    case : Case
        Its views and pixels are what the coefficients are laid out for.
    nodes : int, optional
        Nodes across the tilt axis (and twice as many, less one, along it), denser at low
        frequencies. None: one at each frequency of the images.
    order : int
        Of the polynomials.

    Raises
    ------
    InputError
        There is no such parametrisation, or there are too few nodes.
    """
    if name not in DESCRIPTIONS:
        raise InputError(f"no parametrisation {name!r}: choose {', '.join(DESCRIPTIONS)}")
    if nodes is not None and nodes < 2:
        raise InputError(f"{nodes} nodes on frequency are too few: give two or more")
    base, angles = _PARTS[name]
    grid = case.problem.frame.grid
    (ny, nx), (pixel_y, pixel_x) = grid.shape, grid.pixel_angst
    where: RadialNodes | GridNodes
    if base == "ramp":
        highest = float(np.hypot(0.5 / pixel_x, 0.5 / pixel_y))
        where = RadialNodes(
            np.linspace(0, highest, nx // 2 + 1)
            if nodes is None
            else np.geomspace(1 / (nx * pixel_x), highest, nodes)
        )
    else:
        across = _frequencies(nx, pixel_x, nodes)
        along = _frequencies(ny, pixel_y, nodes)
        where = GridNodes(across, np.concatenate([-along[:0:-1], along]))
    tilt = case.problem.frame.slices.tilt_deg
    terms = {"shared": 1, "per-tilt": len(tilt), "polynomial": order + 1}[angles]
    return LearnedFilter(
        base,
        angles,
        where,
        tilt,
        np.zeros((terms, *where.shape)),
        order=order if angles == "polynomial" else 0,
    )


def _frequencies(n: int, pixel_angst: float, nodes: int | None) -> NDArray[np.float64]:
    """Frequencies from zero to the highest along an image axis: all, or some, denser at the low."""
    if nodes is None:
        return np.asarray(np.arange(n // 2 + 1) / (n * pixel_angst), dtype=np.float64)
    return np.asarray(0.5 / pixel_angst * np.linspace(0, 1, nodes) ** 2)
