"""From a filter that has to be measured to one that is: a series' own numbers for its filter.

Images that have to be resampled for it are handed on, so that it is done once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tomofilt.errors import InputError
from tomofilt.filters.wiener import Measurement, WienerExact
from tomofilt.reconstruction.plan import Plan
from tomofilt.series.geometry import ImageGrid, VolumeGrid
from tomofilt.series.tiltseries import ImageSource
from tomofilt.util.threads import run_all

if TYPE_CHECKING:
    from tomofilt.align.images import AlignedImages

__all__ = ["aligned_images", "measured", "measured_and_aligned"]

Float32 = NDArray[np.float32]
ImageOf = Callable[[int], Float32]

#: With fewer views there are no neighbours on both sides.
_FEWEST_VIEWS = 3
#: Share of the contrast in spots from which on it is said.
_SPOTS = 0.2
#: Correlation of the voxels of even- and odd-tilt halves that the "view" preset aims at: ribosomes
#: are plain to see with it, and streaks are not.
_AGREEMENT = 0.7
_STRENGTHS = np.array([0.0, 0.5, 1.0, 1.5, 2.0])
#: The strength is chosen on so many rows and planes in the middle of the specimen.
_ROWS, _PLANES = 128, 6
#: The SNR is told at these frequencies, cycles per pixel.
_TOLD = (0.02, 0.1, 0.25)


def measured(plan: Plan, note: Callable[[str], None] = lambda _: None) -> Plan:
    """The plan with its filter measured; as it is when the filter needs no measuring.

    Parameters
    ----------
    plan : Plan
    note : callable
        Told, in lines of text, what was found.

    Raises
    ------
    InputError
        If the series is too short, or without any contrast.
    """
    with ExitStack() as stack:
        return measured_and_aligned(plan, stack, note)[0]


def measured_and_aligned(
    plan: Plan, stack: ExitStack, note: Callable[[str], None] = lambda _: None
) -> tuple[Plan, AlignedImages | None]:
    """As :func:`measured`, and the series' images on the tilt axis, corrected, not filtered.

    Parameters
    ----------
    plan : Plan
    stack : ExitStack
        Gives the room of the images back.
    note : callable

    Returns
    -------
    plan : Plan
    images : AlignedImages, optional
        None where they were not resampled for measuring: there is nothing to gain by them.
    """
    chosen = plan.filter
    if not isinstance(chosen, WienerExact) or chosen.measurement is not None:
        return plan, None
    name, views = plan.series.name, len(plan.series.views)
    if views < _FEWEST_VIEWS:
        raise InputError(
            f"{name} has {views} view{'s' * (views > 1)}: {chosen.spec} learns from how views "
            "resemble their neighbours and needs three or more; give another filter, -f gaussian:"
            "0.1 say"
        )
    sources = plan.series.halves or (plan.series.images,)
    room = plan.room_bytes // len(sources)
    aligned = [_aligned(plan, source, room, stack) for source in sources]
    images = [_whole(each) for each in aligned]
    found = _measure(plan, images, note)
    if not found.snr.has_signal:
        note(
            f"  note: no signal was found in {name}: neighbouring views have nothing in common "
            "that noise would not have; check the alignment and the tilt angles"
        )
    elif chosen.preset == "view":
        strength, agreement = _strength(plan, found, images)
        found = replace(found, strength=strength, agreement=agreement)
    measured_filter = replace(chosen, measurement=found)
    note(_summary(plan, measured_filter))
    again = aligned[0] if len(aligned) == 1 and aligned[0].resampled else None
    return replace(plan, filter=measured_filter), again


def aligned_images(plan: Plan, source: ImageSource, room_bytes: int, stack: ExitStack) -> ImageOf:
    """Reader of the aligned, corrected, unfiltered images of a source: view to (y, x).

    Parameters
    ----------
    plan : Plan
    source : ImageSource
        The series' images, or one of its halves.
    room_bytes : int
        More than that waits on disk.
    stack : ExitStack
        Gives the room back.

    Raises
    ------
    InputError
        If its shape is not the series', or every image is blank.
    """
    return _whole(_aligned(plan, source, room_bytes, stack))


def _whole(images: AlignedImages) -> ImageOf:
    rows = images.grid.shape[0]
    return lambda view: images.rows(view, 0, rows)


def _aligned(plan: Plan, source: ImageSource, room_bytes: int, stack: ExitStack) -> AlignedImages:
    from tomofilt.align.images import align, survey

    shape = plan.series.images.shape
    if source.shape != shape:
        raise InputError(
            f"{source.files[0]} has {source.shape} (images, y, x) "
            f"but {plan.series.images.files[0]} {shape}"
        )
    surveyed = survey(
        source,
        plan.series.views,
        background=plan.background,
        across_axis=plan.across_axis,
        log_base=plan.series.log_base,
        threads=plan.image_threads,
    )
    if len(surveyed.blank) == len(plan.series.views):
        raise InputError(
            f"{plan.series.name}: every image is blank, there is nothing to reconstruct"
        )
    return stack.enter_context(
        closing(
            align(
                surveyed,
                plan.slices,
                plan.image_from_aligned,
                plan.aligned,
                image_filter=plan.correction(),
                like_newstack=False,
                halo=0,
                threads=plan.image_threads,
                memory_bytes=room_bytes,
                folder=plan.tasks[0].destination.volume.parent,
            )
        )
    )


def _sum(images: Sequence[ImageOf]) -> ImageOf:
    if len(images) == 1:
        return images[0]
    return lambda view: images[0](view) + images[1](view)


def _measure(plan: Plan, images: Sequence[ImageOf], note: Callable[[str], None]) -> Measurement:
    """Thickness and SNR."""
    from tomofilt import snr

    grid, views, threads = plan.aligned, len(plan.series.views), plan.threads
    spectra = snr.line_spectra(_sum(images), plan.slices, grid, threads)
    if np.median(spectra.spots) > _SPOTS:
        note(
            f"  note: {100 * np.median(spectra.spots):.0f} % of the contrast of {plan.series.name} "
            "is in spots far darker or brighter than the rest, gold beads perhaps: the SNR tells "
            "of them as much as of the specimen; if there is nothing else, give another filter"
        )
    thickness = snr.measure_thickness(spectra, plan.thickness_angst, threads)
    thickness_angst, centre_angst = thickness or (plan.thickness_angst, 0.0)
    if len(images) == 2:
        coherence = snr.frame_coherence(images, views, grid, threads)
        source = "even and odd frames"
    else:
        coherence = snr.line_coherence(spectra, thickness_angst, centre_angst)
        source = "neighbouring views"
        if not coherence.samples.any():
            raise InputError(
                f"{plan.series.name}: its views are too far apart, {_widest_gap(plan):.0f} deg "
                f"between neighbours, to tell signal from noise in a specimen {thickness_angst:.0f}"
                " A thick; give another filter, -f gaussian:0.1 say"
            )
    fitted = snr.fit_snr(coherence, views, grid.pixel_angst[1])
    for view in np.flatnonzero(fitted.log_factor == snr.NO_WEIGHT):
        number = int(plan.series.views[view]) + 1
        note(
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
    )


def _widest_gap(plan: Plan) -> float:
    return float(np.diff(np.sort(plan.slices.tilt_deg)).max())


def _strength(plan: Plan, found: Measurement, images: Sequence[ImageOf]) -> tuple[float, float]:
    """Strength of the "view" preset, and how well the halves agree with it."""
    image_of = _sum(images)
    grid = plan.aligned
    rows = min(_ROWS, grid.shape[0])
    start = (grid.shape[0] - rows) // 2
    part = ImageGrid(
        (rows, grid.shape[1]), grid.pixel_angst, (grid.centre[0] - start, grid.centre[1])
    )
    stack = np.empty((len(plan.series.views), *part.shape), dtype=np.float32)

    def load(view: int) -> None:
        stack[view] = image_of(view)[start : start + rows]

    run_all(plan.threads, load, range(len(stack)))
    voxel, width = plan.grid.voxel_angst, plan.grid.shape[2]
    volume = VolumeGrid(
        (_PLANES, rows, width),
        voxel,
        ((_PLANES - 1) / 2 - found.centre_angst / voxel, part.centre[0], plan.grid.centre[2]),
    )
    agreements: dict[int, float] = {}

    def agreement(index: int) -> float:
        if index not in agreements:
            trial = replace(found, strength=float(_STRENGTHS[index]))
            agreements[index] = _halves_agree(plan, trial, stack, part, volume)
        return agreements[index]

    # from the middle to the first strength that is enough
    index = len(_STRENGTHS) // 2
    while index > 0 and agreement(index) >= _AGREEMENT:
        index -= 1
    while index < len(_STRENGTHS) - 1 and agreement(index) < _AGREEMENT:
        index += 1
    if index == 0 or agreement(index) < _AGREEMENT:
        return float(_STRENGTHS[index]), agreement(index)
    low, high = agreement(index - 1), agreement(index)
    share = (_AGREEMENT - low) / (high - low)
    strength = _STRENGTHS[index - 1] + share * (_STRENGTHS[index] - _STRENGTHS[index - 1])
    return float(strength), _AGREEMENT


def _halves_agree(
    plan: Plan, found: Measurement, stack: Float32, images: ImageGrid, volume: VolumeGrid
) -> float:
    """Correlation of the voxels of small tomograms from even and from odd views."""
    from tomofilt.filters.apply import ImageFilter
    from tomofilt.projectors.cpu import SliceProjector, slice_table

    image_filter = ImageFilter(
        WienerExact("view", found),
        plan.slices,
        images.shape,
        pixel_angst=images.pixel_angst,
        density_pixel_angst=plan.series.images.pixel_angst,
        thickness_angst=plan.thickness_angst,
    )
    filtered = np.empty_like(stack)

    def filter_one(view: int) -> None:
        filtered[view] = image_filter.filter_image(view, stack[view])

    run_all(plan.threads, filter_one, range(len(stack)))
    table = slice_table(plan.slices, volume, images)
    order = np.argsort(plan.slices.tilt_deg, kind="stable")
    margin_y, margin_x = volume.shape[1] // 8, volume.shape[2] // 8
    inner = np.s_[:, margin_y : volume.shape[1] - margin_y, margin_x : volume.shape[2] - margin_x]
    halves = []
    for members in (order[::2], order[1::2]):
        projector = SliceProjector(
            table[members], (len(members), *images.shape), volume.shape, threads=plan.threads
        )
        half = projector.adjoint(filtered[members])[inner]
        halves.append((half - half.mean()).ravel())
    norm = float(np.sqrt((halves[0] @ halves[0]) * (halves[1] @ halves[1])))
    return float(halves[0] @ halves[1]) / norm if norm else 0.0


def _summary(plan: Plan, chosen: WienerExact) -> str:
    """What was found, in one line."""
    found = chosen.measurement
    assert found is not None
    pixel = plan.aligned.pixel_angst[1]
    tilt = np.abs(plan.slices.tilt_deg)
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
    if found.agreement is None:
        return line
    return line + (
        f"; smoothed by strength {found.strength:.2f}, where tilt halves agree to "
        f"{found.agreement:.2f} (-f wiener-exact:match does not smooth)"
    )
