"""One tilt series, from prepared images to a finished tomogram file, slab by slab."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tomofilt.errors import InputError, OutputError
from tomofilt.files import write_text_atomic
from tomofilt.geometry import ImageGrid
from tomofilt.plan import SLAB_ROWS, Plan, Settings, VolumeTask, make_plan
from tomofilt.projects import Destination
from tomofilt.record import build_record, fingerprint, finished
from tomofilt.tiltseries import TiltSeries

__all__ = ["Plan", "Reporter", "Result", "Settings", "make_plan", "reconstruct"]

Float32 = NDArray[np.float32]


class Reporter(Protocol):
    """Whoever wants to hear how the work goes on."""

    def note(self, message: str) -> None:
        """A line of plain text worth reading."""

    def progress(self, done: int, total: int) -> None:
        """Work units finished so far; called often, total stays the same within a series."""


@dataclass(frozen=True)
class Result:
    """What became of one tilt series.

    Attributes
    ----------
    destination : Destination
    skipped : bool
        True when a finished tomogram with the same settings was there already.
    seconds : mapping
        Seconds of each phase: read, align, filter, back-project, write (writing overlaps).
    record : mapping
        What the JSON record holds.
    """

    destination: Destination
    skipped: bool
    seconds: Mapping[str, float] = field(default_factory=dict)
    record: Mapping[str, Any] = field(default_factory=dict)


def reconstruct(
    series: TiltSeries, destination: Destination, settings: Settings, reporter: Reporter
) -> Result:
    """Reconstruct one tilt series into ``destination``, its halves too when asked.

    Raises
    ------
    InputError, ResourceError, OutputError
        Nothing is left under a final name then.
    """
    plan = make_plan(series, destination, settings)
    for line in plan.lines():
        reporter.note(line)
    for note in series.notes:
        reporter.note(f"  note: {note}")
    marks = [fingerprint(plan, task) for task in plan.tasks]
    todo = [
        (task, mark)
        for task, mark in zip(plan.tasks, marks, strict=True)
        if not finished(task, mark, overwrite=settings.overwrite)
    ]
    if not todo:
        reporter.note(f"{series.name}: finished already, {destination.volume} is kept")
        return Result(destination, skipped=True)
    records = [
        _make_volume(plan, task, mark, _Progress(reporter, i, len(todo)))
        for i, (task, mark) in enumerate(todo)
    ]
    return Result(destination, False, records[0]["seconds"], records[0])


class _Progress:
    """Work of one volume out of several, in permille of a series."""

    def __init__(self, reporter: Reporter, index: int, count: int) -> None:
        self.reporter, self.index, self.count = reporter, index, count
        self.done, self.total = 0, 1

    def advance(self, amount: int = 1) -> None:
        self.done += amount
        share = (self.index + min(1.0, self.done / self.total)) / self.count
        self.reporter.progress(int(1000 * share), 1000)


class _Clock:
    """Wall-clock seconds of each phase, as the main thread spends them."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(("read", "align", "filter", "back-project", "write"), 0.0)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] += time.perf_counter() - start


def _make_volume(plan: Plan, task: VolumeTask, mark: str, progress: _Progress) -> dict[str, Any]:
    """Reconstruct, write, check and name one volume."""
    from tomofilt.images import survey
    from tomofilt.preview import VolumeSlices, write_preview
    from tomofilt.sink import VolumeSink

    clock = _Clock()
    series, members, settings = plan.series, task.members, plan.settings
    destination = task.destination
    replace = destination.volume.exists()
    try:
        destination.volume.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"{destination.volume.parent}: the folder cannot be made ({error.strerror}); "
            "choose another one with -o"
        ) from error
    if task.images.shape != series.images.shape:
        raise InputError(
            f"{task.images.files[0]} has {task.images.shape} (images, y, x) "
            f"but {series.images.files[0]} {series.images.shape}"
        )
    with clock.phase("read"):
        surveyed = survey(
            task.images,
            series.views[members],
            keep_mean=plan.filter.keeps_mean,
            log_base=series.log_base,
            threads=plan.threads,
        )
    for view in surveyed.blank:
        number = int(series.views[members[view]]) + 1
        progress.reporter.note(f"  note: image {number} is blank; leave it out: --exclude {number}")
    if len(surveyed.blank) == len(members):
        raise InputError(f"{series.name}: every image is blank, there is nothing to reconstruct")

    offset = plan.filter.offset
    if plan.filter.keeps_mean:
        offset += surveyed.mean * task.gain * float(plan.row_filter.dc_gain[members].sum())
    slabs = _direct_slabs if plan.direct else _turned_slabs if plan.upright else _slice_slabs
    with (
        VolumeSink(plan, task, mark, offset, replace=replace) as sink,
        ThreadPoolExecutor(1) as background,
    ):
        pending: list[Future[None]] = []
        for y_start, z_start, block in slabs(plan, task, surveyed, clock, progress):
            pending.append(background.submit(sink.put, block, z_start, y_start))
            with clock.phase("write"):
                # at most one block waits while another is being made
                while len(pending) > 1:
                    pending.pop(0).result()
        with clock.phase("write"):
            for future in pending:
                future.result()
            sink.commit()
    with clock.phase("write"):
        if settings.preview:
            caption = f"{series.name}   {plan.filter.spec}"
            volume = VolumeSlices(destination.volume, settings.orientation)
            write_preview(volume, destination.preview, caption)
    record = build_record(plan, task, mark, seconds=clock.seconds, statistics=sink.summary())
    # the record comes last: a tomogram without one counts as unfinished
    text = json.dumps(record, indent=1, default=str) + "\n"
    write_text_atomic(destination.record, text, replace=True)
    return record


def _slice_slabs(
    plan: Plan, task: VolumeTask, surveyed: Any, clock: _Clock, progress: _Progress
) -> Iterator[tuple[int, int, Float32]]:
    """Slabs of the tomogram through the fast projector: (first row, first plane, block)."""
    from tomofilt.images import align
    from tomofilt.projectors.cpu import SliceProjector, slice_table
    from tomofilt.projectors.kernels import pack_rows
    from tomofilt.threads import run_all

    nz, ny, nx = plan.grid.shape
    members, rows_filter = task.members, plan.row_filter
    count = len(members)
    progress.total = -(-ny // SLAB_ROWS) * (nz + 60) + count
    with clock.phase("align"):
        images = align(
            surveyed,
            plan.slices,
            plan.image_from_aligned[members],
            plan.aligned,
            image_filter=_aligned_filter(plan, task),
            like_newstack=plan.filter.keeps_mean,
            halo=plan.halo,
            threads=plan.threads,
            memory_bytes=max(0, _allowed(plan) - plan.memory_bytes),
            folder=task.destination.volume.parent,
            advance=progress.advance,
        )
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
    gain = np.float32(task.gain)
    # areas without data count as the mean: IMOD gives them the mean response of all views
    level = np.zeros(count, dtype=np.float32)
    if plan.filter.keeps_mean:
        level[:] = surveyed.mean * (rows_filter.dc_gain - rows_filter.dc_gain.mean())[members]
    in_order = plan.upright is None and plan.xtilt_rad != 0.0
    for y_start in range(0, ny, SLAB_ROWS) if in_order else _middle_first(0, ny, SLAB_ROWS):
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
            block = np.empty((min(plan.planes, nz - z_start), y_stop - y_start, nx), np.float32)
            with clock.phase("back-project"):
                projector.adjoint_block(packed, block, z_start)
            progress.advance(len(block))
            yield y_start, z_start, block


def _turned_slabs(
    plan: Plan, task: VolumeTask, surveyed: Any, clock: _Clock, progress: _Progress
) -> Iterator[tuple[int, int, Float32]]:
    """Slabs of a tomogram that is tilted about x in IMOD's way."""
    from tomofilt.vertical import turn_slabs

    assert plan.upright is not None
    slabs = _slice_slabs(plan.upright, task, surveyed, clock, progress)
    yield from turn_slabs(slabs, plan.upright.grid, plan.grid, plan.xtilt_rad, plan.threads)


def _direct_slabs(
    plan: Plan, task: VolumeTask, surveyed: Any, clock: _Clock, progress: _Progress
) -> Iterator[tuple[int, int, Float32]]:
    """Slabs through the direct projector, from aligned images when alignment is local."""
    from tomofilt.images import align, crop_images, cropped_grid
    from tomofilt.projectors.direct import DirectProjector
    from tomofilt.threads import run_all

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
                image_filter=_aligned_filter(plan, task),
                like_newstack=plan.filter.keeps_mean,
                halo=0,
                threads=plan.threads,
                memory_bytes=_allowed(plan),
                folder=task.destination.volume.parent,
                advance=progress.advance,
            )
        first, step = float(rows_filter.first_px[0]), float(rows_filter.step_px[0])
        grid = plan.aligned
        stack = np.empty((count, ny, int(rows_filter.samples[0])), dtype=np.float32)

        def filter_view(view: int) -> None:
            stack[view] = rows_filter.filter_rows(int(members[view]), aligned.rows(view, 0, ny))

        with clock.phase("filter"):
            run_all(plan.threads, filter_view, range(count))
        geometry = geometry.in_aligned_frame(warp)
    else:
        first, step = 0.0, 1.0
        grid = cropped_grid(plan.series.images, plan.grid.voxel_angst)
        image_filter = _image_filter(plan, task, grid, in_image_frame=True)
        with clock.phase("filter"):
            stack = crop_images(surveyed, grid, image_filter, plan.threads, progress.advance)
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
    for y_start in _middle_first(0, ny, SLAB_ROWS):
        rows = min(SLAB_ROWS, ny - y_start)
        block = np.empty((nz, rows, nx), dtype=np.float32)
        with clock.phase("back-project"):
            projector.adjoint_rows(stack, y_start, block)
        progress.advance(rows)
        yield y_start, 0, block


def _allowed(plan: Plan) -> int:
    from tomofilt.plan import DEFAULT_BYTES

    return plan.settings.max_memory_bytes or DEFAULT_BYTES


def _image_filter(
    plan: Plan, task: VolumeTask, grid: ImageGrid, *, in_image_frame: bool
) -> Callable[[int, Float32], Float32]:
    """The filter for whole images, on the tilt axis or in their own frame."""
    from tomofilt.filters.apply import ImageFilter

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


def _aligned_filter(plan: Plan, task: VolumeTask) -> Callable[[int, Float32], Float32] | None:
    """The two-dimensional part of the filter, for images on the tilt axis."""
    if not plan.filter.two_dimensional:
        return None
    ny, nx = plan.aligned.shape
    grid = ImageGrid((ny + 2 * plan.halo, nx), plan.aligned.pixel_angst, plan.aligned.centre)
    return _image_filter(plan, task, grid, in_image_frame=False)


def _middle_first(start: int, stop: int, step: int) -> list[int]:
    """Starts of the pieces of a range, the middle one first: it sets the scale of integers."""
    starts = list(range(start, stop, step))
    middle = starts.pop(len(starts) // 2)
    return [middle, *starts]
