"""Gold beads of a series: filled in its images before anything is measured in them."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np

from tomofilt.align.gold import Beads, find_beads
from tomofilt.reconstruction.images import SeriesImages
from tomofilt.reconstruction.problem import Problem
from tomofilt.reconstruction.settings import Settings
from tomofilt.series.geometry import rotation_x

__all__ = ["fill_gold"]

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
    told = None
    if series.fiducials_angst is not None:
        back = np.linalg.inv(frame.image_from_aligned[:, :, :2])
        about = series.fiducials_angst - frame.image_from_aligned[:, :, 2]
        told = np.einsum("vij,bvj->bvi", back, about)
    beads = find_beads(
        images.before_ctf_weights().image,
        frame.slices,
        frame.grid,
        problem.thickness_angst,
        problem.threads,
        told,
    )
    if not len(beads):
        return beads
    log.info("  %s in %s and filled in the images", beads.summary(), series.name)
    images.change(lambda *image: beads.fill(*image)[0])
    local = series.geometry.in_aligned_frame(frame.image_from_aligned).local
    if local is not None:
        return beads.placed_by(local)
    # an upright tomogram is turned back in the end
    turned = beads.places_angst @ rotation_x(-problem.xtilt_rad).T
    return replace(beads, places_angst=turned)
