"""Slabs of a tomogram, one after the other: aligned, filtered and back-projected rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from math import prod

import numpy as np
from numpy.typing import NDArray

from tomofilt.align.images import AlignedImages, Survey, align, crop_images, cropped_grid
from tomofilt.filters.apply import ImageFilter
from tomofilt.projectors.cpu import SliceProjector, slice_table
from tomofilt.projectors.direct import DirectProjector
from tomofilt.projectors.kernels import pack_rows
from tomofilt.projectors.sirt import SirtSolver
from tomofilt.reconstruction.budget import SLAB_ROWS
from tomofilt.reconstruction.plan import Plan, VolumeTask
from tomofilt.reconstruction.vertical import turn_slabs
from tomofilt.series.geometry import ImageGrid, SliceGeometry
from tomofilt.util.progress import Clock, Progress
from tomofilt.util.threads import run_all

__all__ = ["make_slabs"]

Float32 = NDArray[np.float32]
OnImage = Callable[[int, Float32], Float32]
Slabs = Iterator[tuple[int, int, Float32]]


def make_slabs(
    plan: Plan,
    task: VolumeTask,
    surveyed: Survey,
    clock: Clock,
    progress: Progress,
    image_filter: OnImage | None = None,
    aligned: AlignedImages | None = None,
) -> Slabs:
    """Yield the blocks of a volume as (first row, first plane, block (planes, rows, x)).

    A block's memory is used again for the next but one. ``image_filter`` corrects and
    filters an aligned image of one of the task's views, instead of the plan's own ways to do so; it
    has seen all of them when the first block comes. ``aligned`` are the task's images, resampled
    and corrected already, without a halo: they are filtered where they lie.
    """
    if plan.device.gpus:
        return _device_slabs(plan, task, surveyed, clock, progress, image_filter, aligned)
    if plan.direct:
        return _direct_slabs(plan, task, surveyed, clock, progress)
    make = _sirt_slabs if plan.filter.sirt_iterations else _slice_slabs
    if image_filter is not None or aligned is not None:
        return _slice_slabs(plan, task, surveyed, clock, progress, image_filter, aligned)
    if plan.upright is None:
        return make(plan, task, surveyed, clock, progress)
    slabs = make(plan.upright, task, surveyed, clock, progress)
    return turn_slabs(slabs, plan.upright.grid, plan.grid, plan.xtilt_rad, plan.threads)


def _slice_slabs(
    plan: Plan,
    task: VolumeTask,
    surveyed: Survey,
    clock: Clock,
    progress: Progress,
    image_filter: OnImage | None = None,
    aligned: AlignedImages | None = None,
) -> Slabs:
    """Slabs of the tomogram through the fast projector: (first row, first plane, block)."""
    nz, ny, nx = plan.grid.shape
    members, rows_filter = task.members, plan.row_filter
    count = len(members)
    progress.total = -(-ny // SLAB_ROWS) * (nz + 60) + count
    with closing(_on_axis(plan, task, surveyed, clock, progress, image_filter, aligned)) as images:
        table = slice_table(
            plan.slices, plan.grid, plan.aligned, rows_filter.first_px, rows_filter.step_px
        )[members]
        projector = SliceProjector(
            table,
            (count, ny, int(rows_filter.samples.max())),
            plan.grid.shape,
            last_sample=rows_filter.last_sample[members],
            hard_edge=plan.filter.keeps_mean,
            threads=plan.threads,
        )
        packed = projector.packed_buffer(np.dtype(np.float32))
        # one block is made while the last is written; fresh memory for each costs page faults
        buffers = np.empty((2, plan.planes * SLAB_ROWS * nx), dtype=np.float32)
        made = 0
        gain = np.float32(task.gain)
        # areas without data count as the mean: IMOD gives them the mean response of all views
        level = np.zeros(count, dtype=np.float32)
        if plan.filter.keeps_mean:
            level[:] = surveyed.mean * (rows_filter.dc_gain - rows_filter.dc_gain.mean())[members]
        for y_start in _slab_starts(plan):
            y_stop = min(y_start + SLAB_ROWS, ny)

            def load(view: int, y_start: int = y_start, y_stop: int = y_stop) -> None:
                rows = images.rows(view, y_start - projector.halo, y_stop + projector.halo)
                filtered = rows_filter.filter_rows(int(members[view]), rows)
                if gain != 1:
                    filtered *= gain
                if level[view] != 0:
                    filtered += gain * level[view]
                pack_rows(filtered, packed[view])

            with clock.phase("filter"):
                run_all(plan.threads, load, range(count))
            progress.advance(60)
            for z_start in _middle_first(0, nz, plan.planes):
                shape = (min(plan.planes, nz - z_start), y_stop - y_start, nx)
                block = buffers[made % 2, : prod(shape)].reshape(shape)
                made += 1
                with clock.phase("back-project"):
                    projector.adjoint_block(packed, block, z_start)
                progress.advance(len(block))
                yield y_start, z_start, block


def _sirt_slabs(
    plan: Plan, task: VolumeTask, surveyed: Survey, clock: Clock, progress: Progress
) -> Slabs:
    """Slabs of the tomogram, all planes of some rows at a time, by iteration."""
    ny, members, iterations = plan.grid.shape[1], task.members, plan.filter.sirt_iterations
    progress.total = -(-ny // SLAB_ROWS) * 10 * iterations + len(members)
    # an image value is a sum over input pixels, the solver's over voxels
    unit = np.float32(plan.series.images.pixel_angst / plan.grid.voxel_angst)
    with closing(_on_axis(plan, task, surveyed, clock, progress)) as images:
        with clock.phase("back-project"):
            every = plan.slices
            slices = SliceGeometry(
                every.a[members], every.b[members], every.u0_angst[members], every.e[members]
            )
            solver = SirtSolver(slices, plan.aligned, plan.grid, plan.threads)
            packed = solver.packed_images()
        for y_start in _slab_starts(plan):
            y_stop = min(y_start + SLAB_ROWS, ny)

            def load(view: int, y_start: int = y_start, y_stop: int = y_stop) -> None:
                pack_rows(unit * images.rows(view, y_start, y_stop), packed[view])

            with clock.phase("back-project"):
                run_all(plan.threads, load, range(len(members)))
                block = solver.solve(packed, iterations, lambda: progress.advance(10))
            yield y_start, 0, block[:, : y_stop - y_start]


def _device_slabs(
    plan: Plan,
    task: VolumeTask,
    surveyed: Survey,
    clock: Clock,
    progress: Progress,
    image_filter: OnImage | None,
    aligned: AlignedImages | None = None,
) -> Slabs:
    """Slabs of the tomogram, all planes of some rows at a time, made on GPUs."""
    from tomofilt.reconstruction.device_slabs import make_on_devices  # loads torch

    ny = plan.grid.shape[1]
    progress.total = ny + len(task.members)
    with closing(_on_axis(plan, task, surveyed, clock, progress, image_filter, aligned)) as images:
        slabs = make_on_devices(plan, task, images, _middle_first(0, ny, plan.device_rows))
        while True:
            with clock.phase("back-project"):
                slab = next(slabs, None)
            if slab is None:
                return
            y_start, block = slab
            progress.advance(block.shape[1])
            yield y_start, 0, block


def _on_axis(
    plan: Plan,
    task: VolumeTask,
    surveyed: Survey,
    clock: Clock,
    progress: Progress,
    image_filter: OnImage | None = None,
    aligned: AlignedImages | None = None,
) -> AlignedImages:
    if aligned is not None:
        with clock.phase("align"):
            whole = _image_filter(plan, task, plan.aligned, in_image_frame=False)
            aligned.apply(whole, plan.threads, progress.advance)
        return aligned
    if image_filter is None:
        image_filter = _aligned_filter(plan, task, halo=plan.halo)
    with clock.phase("align"):
        return align(
            surveyed,
            plan.slices,
            plan.image_from_aligned[task.members],
            plan.aligned,
            image_filter=image_filter,
            like_newstack=plan.filter.keeps_mean,
            halo=plan.halo,
            threads=plan.image_threads,
            memory_bytes=plan.room_bytes,
            folder=task.destination.volume.parent,
            advance=progress.advance,
        )


def _direct_slabs(
    plan: Plan, task: VolumeTask, surveyed: Survey, clock: Clock, progress: Progress
) -> Slabs:
    """Slabs through the direct projector, from aligned images when alignment is local."""
    nz, ny, nx = plan.grid.shape
    members, rows_filter = task.members, plan.row_filter
    count = len(members)
    progress.total = count + ny
    geometry = plan.series.geometry.select(members)
    if geometry.local is not None:
        warp = plan.image_from_aligned[members]
        with clock.phase("align"):
            aligned = align(
                surveyed,
                plan.slices,
                warp,
                plan.aligned,
                image_filter=_aligned_filter(plan, task, halo=0),
                like_newstack=plan.filter.keeps_mean,
                halo=0,
                threads=plan.image_threads,
                memory_bytes=plan.allowed_bytes,
                folder=task.destination.volume.parent,
                advance=progress.advance,
            )
        first, step = float(rows_filter.first_px[0]), float(rows_filter.step_px[0])
        grid = plan.aligned
        stack = np.empty((count, ny, int(rows_filter.samples[0])), dtype=np.float32)

        def filter_view(view: int) -> None:
            stack[view] = rows_filter.filter_rows(int(members[view]), aligned.rows(view, 0, ny))

        with clock.phase("filter"), closing(aligned):
            run_all(plan.threads, filter_view, range(count))
        geometry = geometry.in_aligned_frame(warp)
    else:
        first, step = 0.0, 1.0
        grid = cropped_grid(plan.series.images, plan.grid.voxel_angst)
        image_filter = _in_turn(
            _of_members(plan.corrections.image_filter(plan.series, grid), task),
            _image_filter(plan, task, grid, in_image_frame=True),
        )
        with clock.phase("filter"):
            stack = crop_images(surveyed, grid, image_filter, plan.image_threads, progress.advance)
    if task.gain != 1:
        stack *= np.float32(task.gain)
    projector = DirectProjector(
        geometry,
        plan.grid,
        ImageGrid((stack.shape[1], stack.shape[2]), grid.pixel_angst, grid.centre),
        first_px=first,
        step_px=step,
        threads=plan.threads,
    )
    mean = plan.settings.normalise == "count"
    for y_start in _middle_first(0, ny, SLAB_ROWS):
        rows = min(SLAB_ROWS, ny - y_start)
        block = np.empty((nz, rows, nx), dtype=np.float32)
        with clock.phase("back-project"):
            projector.adjoint_rows(stack, y_start, block, mean=mean)
        progress.advance(rows)
        yield y_start, 0, block


def _image_filter(
    plan: Plan, task: VolumeTask, grid: ImageGrid, *, in_image_frame: bool
) -> OnImage:
    """The filter for whole images, on the tilt axis or in their own frame."""
    image_filter = ImageFilter(
        plan.filter,
        plan.slices,
        grid.shape,
        pixel_angst=grid.pixel_angst,
        density_pixel_angst=plan.series.images.pixel_angst,
        thickness_angst=plan.thickness_angst,
        image_from_aligned=plan.image_from_aligned[:, :, :2] if in_image_frame else None,
    )
    members = task.members
    return lambda view, image: image_filter.filter_image(int(members[view]), image)


def _aligned_filter(plan: Plan, task: VolumeTask, *, halo: int) -> OnImage | None:
    """Corrections and the two-dimensional part of the filter, for images on the tilt axis."""
    corrected = _of_members(plan.correction(halo=halo), task)
    if not plan.filter.two_dimensional:
        return corrected
    ny, nx = plan.aligned.shape
    grid = ImageGrid((ny + 2 * halo, nx), plan.aligned.pixel_angst, plan.aligned.centre)
    return _in_turn(corrected, _image_filter(plan, task, grid, in_image_frame=False))


def _of_members(on_image: OnImage | None, task: VolumeTask) -> OnImage | None:
    """What works on the plan's views, for those that take part in a volume."""
    if on_image is None:
        return None
    return lambda view, image: on_image(int(task.members[view]), image)


def _in_turn(first: OnImage | None, second: OnImage) -> OnImage:
    if first is None:
        return second
    return lambda view, image: second(view, first(view, image))


def _slab_starts(plan: Plan) -> list[int]:
    """First rows of the slabs: in order if they are to be turned, else the middle first."""
    ny = plan.grid.shape[1]
    is_upright = plan.upright is None and plan.xtilt_rad != 0.0
    return list(range(0, ny, SLAB_ROWS)) if is_upright else _middle_first(0, ny, SLAB_ROWS)


def _middle_first(start: int, stop: int, step: int) -> list[int]:
    """Starts of the pieces of a range, the middle one first: it sets the scale of integers."""
    starts = list(range(start, stop, step))
    middle = starts.pop(len(starts) // 2)
    return [middle, *starts]
