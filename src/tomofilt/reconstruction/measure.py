"""From a filter that has to be measured to one that is: a series' own numbers for its filter."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from tomofilt.errors import InputError
from tomofilt.filters.wiener import Measurement, WienerExact, signal_reach
from tomofilt.reconstruction.images import SeriesImages
from tomofilt.reconstruction.problem import Problem

__all__ = ["measured"]

log = logging.getLogger(__name__)
Float32 = NDArray[np.float32]
ImageOf = Callable[[int], Float32]

#: With fewer views there are no neighbours on both sides.
_FEWEST_VIEWS = 3
#: The SNR is told at these frequencies, cycles per pixel.
_TOLD = (0.02, 0.1, 0.25)


def measured(problem: Problem, images: SeriesImages) -> Problem:
    """The problem with its filter measured; as it is when the filter needs no measuring.

    Parameters
    ----------
    problem : Problem
    images : SeriesImages
        Of its series: the frame halves are used where there are some, else all frames.

    Raises
    ------
    InputError
        If the series is too short, or without any contrast.
    """
    chosen = problem.filter
    if not isinstance(chosen, WienerExact) or chosen.measurement is not None:
        return problem
    name, views = problem.series.name, len(problem.series.views)
    if views < _FEWEST_VIEWS:
        raise InputError(
            f"{name} has {views} view{'s' * (views > 1)}: {chosen.spec} learns from how views "
            "resemble their neighbours and needs three or more; give another filter, -f gaussian:"
            "0.1 say"
        )
    if problem.series.halves is None:
        aligned = [images.aligned().image]
    else:
        aligned = [images.aligned("half1").image, images.aligned("half2").image]
    found = _measure(problem, aligned)
    measured_filter = replace(chosen, measurement=found)
    log.info(_summary(problem, measured_filter))
    return problem.with_filter(measured_filter)


def _sum(images: Sequence[ImageOf]) -> ImageOf:
    if len(images) == 1:
        return images[0]
    return lambda view: images[0](view) + images[1](view)


def _measure(problem: Problem, images: Sequence[ImageOf]) -> Measurement:
    """Thickness and SNR."""
    from tomofilt import snr
    from tomofilt.snr.axis import axis_offset
    from tomofilt.snr.neighbours import match_neighbours

    grid, slices = problem.frame.grid, problem.frame.slices
    views, threads = len(problem.series.views), problem.threads
    spectra = snr.line_spectra(_sum(images), slices, grid, threads)
    spots = float(np.median(spectra.spots))
    thickness = snr.measure_thickness(spectra, problem.thickness_angst, threads)
    thickness_angst, centre_angst = thickness or (problem.thickness_angst, 0.0)
    matches = match_neighbours(spectra, thickness_angst, centre_angst, threads)
    axis = axis_offset(spectra, thickness_angst, centre_angst, threads)
    if len(images) == 2:
        coherence = snr.frame_coherence(images, views, grid, threads)
        source = "even and odd frames"
    else:
        coherence = snr.line_coherence(spectra, thickness_angst, centre_angst, threads)
        source = "neighbouring views"
        if not coherence.samples.any():
            raise InputError(
                f"{problem.series.name}: its views are too far apart, "
                f"{_widest_gap(problem):.0f} deg between neighbours, to tell signal from noise "
                f"in a specimen {thickness_angst:.0f} A thick: give another filter, say "
                "-f gaussian:0.1"
            )
    fitted = snr.fit_snr(coherence, views, grid.pixel_angst[1])
    for view in np.flatnonzero(fitted.log_factor == snr.NO_WEIGHT):
        number = int(problem.series.views[view]) + 1
        log.info(
            f"  note: image {number} shows nothing of what its neighbours show and gets no weight: "
            f"look at it, and leave it out if it is bad (--exclude {number})"
        )
    blank = np.setdiff1d(np.arange(views), spectra.order)
    fitted.log_factor[blank] = snr.NO_WEIGHT
    return Measurement(
        fitted,
        thickness_angst,
        centre_angst,
        source if thickness else f"{source}; the thickness is the tomogram's",
        signal_reach(fitted, slices.tilt_deg, thickness_angst),
        matches,
        spots,
        axis,
    )


def _widest_gap(problem: Problem) -> float:
    return float(np.diff(np.sort(problem.frame.slices.tilt_deg)).max())


def _summary(problem: Problem, chosen: WienerExact) -> str:
    """What was found, in one line."""
    found = chosen.measurement
    assert found is not None
    pixel = problem.frame.grid.pixel_angst[1]
    tilt = np.abs(problem.frame.slices.tilt_deg)
    snr = found.snr(np.array(_TOLD) / pixel)
    words = [
        " ".join(f"{value:.2g}" for value in snr[view])
        for view in (int(tilt.argmin()), int(tilt.argmax()))
    ]
    line = (
        f"  {chosen.spec}: SNR at {', '.join(f'{pixel / f:.0f}' for f in _TOLD)} A is {words[0]} "
        f"in the least tilted view and {words[1]} in the steepest, from {found.source}; "
        f"specimen {found.thickness_angst:.0f} A thick"
    )
    if chosen.preset == "match":
        return line + "; everything is kept, for template matching and averaging"
    if not np.isfinite(found.reach_k):
        return line
    return line + (
        f"; signal down to {1 / found.reach_k:.0f} A, finer detail is smoothed away "
        "(-f wiener-exact:match keeps it)"
    )
