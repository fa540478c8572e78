"""Gold beads of a series: filled in its images before anything is measured in them."""

from __future__ import annotations

import logging

from tomofilt.align.gold import Beads, find_beads
from tomofilt.filters.wiener import WienerExact
from tomofilt.reconstruction.images import SeriesImages
from tomofilt.reconstruction.problem import Problem
from tomofilt.reconstruction.settings import Settings

__all__ = ["fill_gold"]

log = logging.getLogger(__name__)


def fill_gold(problem: Problem, images: SeriesImages, settings: Settings) -> Beads | None:
    """Find the gold beads of a series, and fill them in all of its images.

    Parameters
    ----------
    problem : Problem
    images : SeriesImages
        Of its series; sources that are aligned later are filled too.
    settings : Settings

    Returns
    -------
    Beads or None
        None where they are not looked for: by wish, where the filter is not measured in the images
        and so is not misled by beads, where images are not brought to the tilt axis, or where the
        tomogram is turned about x in the end.
    """
    method, frame = problem.method, problem.frame
    if settings.gold == "as-is" or not isinstance(problem.filter, WienerExact):
        return None
    if method.projector == "direct" or problem.xtilt_rad != 0.0:
        return None
    image_of = images.aligned().image
    beads = find_beads(image_of, frame.slices, frame.grid, problem.thickness_angst, problem.threads)
    if len(beads):
        log.info("  %s in %s and filled in the images", beads.summary(), problem.series.name)
        images.change(lambda view, image: beads.fill(view, image, frame.halo)[0])
    return beads
