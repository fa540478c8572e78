"""A tomogram in memory: the whole way from a tilt series in one call."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tomofilt.reconstruction.measure import measured
from tomofilt.reconstruction.settings import Settings
from tomofilt.reconstruction.setup import make_problem
from tomofilt.series.tiltseries import TiltSeries

__all__ = ["tomogram"]


def tomogram(series: TiltSeries, settings: Settings | None = None) -> NDArray[np.float32]:
    """Reconstruct a tilt series in memory; nothing is written.

    Parameters
    ----------
    series : TiltSeries
    settings : Settings, optional
        Default: the default ones.

    Returns
    -------
    (z, y, x) float32 densities

    Raises
    ------
    InputError, ResourceError
        As :func:`tomofilt.reconstruction.setup.make_problem`.
    """
    problem = make_problem(series, settings)
    with problem.images(in_place=True) as images:
        return measured(problem, images).volume(images)
