"""A series' aligned images, or its tomogram, in memory and in one call."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tomofilt.align.stack import AlignedStack
from tomofilt.reconstruction.gold import fill_gold
from tomofilt.reconstruction.measure import measured
from tomofilt.reconstruction.settings import Settings
from tomofilt.reconstruction.setup import make_problem
from tomofilt.series.tiltseries import TiltSeries

__all__ = ["aligned", "tomogram"]


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
    settings = settings or Settings()
    problem = make_problem(series, settings)
    with problem.images(in_place=True) as images:
        gold = fill_gold(problem, images, settings)
        volume = measured(problem, images).volume(images)
    if gold is not None and settings.gold == "keep":
        gold.put_back(volume, problem.grid, 0, 0, series.images.pixel_angst)
    return volume


def aligned(series: TiltSeries, settings: Settings | None = None) -> AlignedStack:
    """Bring the images of a tilt series onto the tilt axis, corrected for CTF and not filtered.

    Parameters
    ----------
    series : TiltSeries
    settings : Settings, optional
        Of these, the voxel size, ``ctf`` and ``dose_weight`` count. Exposure is not weighted for
        unless they say so.

    Returns
    -------
    AlignedStack
        With the frame that says where its pixels and the voxels of the tomogram are.

    Raises
    ------
    InputError
        If an image holds NaN or infinity, or all are blank.
    """
    return make_problem(series, settings).images().aligned()
