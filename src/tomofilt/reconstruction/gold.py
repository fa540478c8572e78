"""Gold beads of a series: filled in its images before anything is measured in them."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from tomofilt.align.beads import Beads
from tomofilt.align.gold import find_beads
from tomofilt.reconstruction.images import SeriesImages
from tomofilt.reconstruction.problem import Problem
from tomofilt.reconstruction.settings import Settings
from tomofilt.series.geometry import rotation_x

__all__ = ["beads_in_images", "fill_gold"]

Float64 = NDArray[np.float64]
log = logging.getLogger(__name__)


def fill_gold(problem: Problem, images: SeriesImages, settings: Settings) -> Beads | None:
    """Find the gold beads of a series, and fill them in all of its images.

    Parameters
    ----------
    problem : Problem
    images : SeriesImages
        Of its series; sources that are read later are filled too.
    settings : Settings

    Returns
    -------
    Beads or None
        At their places in the tomogram. None where they are not looked for: by wish, or where the
        method does what another program does.
    """
    if settings.gold == "as-is" or problem.method.native:
        return None
    frame, series = problem.frame, problem.series
    beads = beads_in_images(problem, images)
    if not len(beads):
        return beads
    log.info("  %s in %s and filled in the images", beads.summary(), series.name)
    images.change(beads.fill)
    beads = replace(beads, contrasts=beads.contrasts * _raised(beads.radii_angst, problem))
    local = series.geometry.in_aligned_frame(frame.image_from_aligned).local
    if local is not None:
        return beads.placed_by(local)
    # an upright tomogram is turned back in the end
    turned = beads.places_angst @ rotation_x(-problem.xtilt_rad).T
    return replace(beads, places_angst=turned)


def beads_in_images(problem: Problem, images: SeriesImages) -> Beads:
    """The gold beads of a series, at their places about its aligned images.

    Those that the project tells of are among them.

    Parameters
    ----------
    problem : Problem
    images : SeriesImages
        Of its series; not yet weighted by the CTF.
    """
    frame, told = problem.frame, problem.series.fiducials_angst
    if told is not None:
        back = np.linalg.inv(frame.image_from_aligned[:, :, :2])
        told = np.einsum("vij,bvj->bvi", back, told - frame.image_from_aligned[:, :, 2])
    return find_beads(
        images.before_ctf_weights().image,
        frame.slices,
        frame.grid,
        problem.thickness_angst,
        problem.threads,
        told,
    )


def _raised(radii_angst: Float64, problem: Problem) -> Float64:
    """How much CTF weights raise the mean of a disc in the least tilted image."""
    grid = problem.frame.padded_grid
    weigh = problem.corrections.contrast_filter(
        problem.series, grid, problem.frame.image_from_aligned
    )
    if weigh is None:
        return np.ones(len(radii_angst))
    view = int(np.abs(problem.series.tilt_deg).argmin())
    v, u = (
        (np.arange(n) - centre) * pixel
        for n, centre, pixel in zip(grid.shape, grid.centre, grid.pixel_angst, strict=True)
    )
    distance = np.hypot(v[:, None], u)
    discs = [distance <= radius for radius in radii_angst]
    return np.array([weigh(view, disc.astype(np.float32))[disc].mean() for disc in discs])
