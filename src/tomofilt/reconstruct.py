"""One tilt series, from prepared images to a finished tomogram file, slab by slab."""

from __future__ import annotations

import json
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from tomofilt.errors import InputError, OutputError
from tomofilt.files import write_text_atomic
from tomofilt.measure import measured
from tomofilt.plan import Plan, Settings, VolumeTask, make_plan
from tomofilt.progress import Clock, Progress, Reporter
from tomofilt.projects import Destination
from tomofilt.record import build_record, fingerprint, finished
from tomofilt.tiltseries import TiltSeries

__all__ = ["Plan", "Reporter", "Result", "Settings", "make_plan", "reconstruct"]


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
    _make_folder(destination)
    plan = measured(plan, reporter.note)
    records = [
        _make_volume(plan, task, mark, Progress(reporter, i, len(todo)))
        for i, (task, mark) in enumerate(todo)
    ]
    return Result(destination, False, records[0]["seconds"], records[0])


def _make_folder(destination: Destination) -> None:
    try:
        destination.volume.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"{destination.volume.parent}: the folder cannot be made ({error.strerror}); "
            "choose another one with -o"
        ) from error


def _make_volume(plan: Plan, task: VolumeTask, mark: str, progress: Progress) -> dict[str, Any]:
    """Reconstruct, write, check and name one volume."""
    from tomofilt.images import survey
    from tomofilt.preview import VolumeSlices, write_preview
    from tomofilt.sink import VolumeSink
    from tomofilt.slabs import make_slabs

    clock = Clock()
    series, members, settings = plan.series, task.members, plan.settings
    destination = task.destination
    replace = destination.volume.exists()
    if task.images.shape != series.images.shape:
        raise InputError(
            f"{task.images.files[0]} has {task.images.shape} (images, y, x) "
            f"but {series.images.files[0]} {series.images.shape}"
        )
    with clock.phase("read"):
        surveyed = survey(
            task.images,
            series.views[members],
            background=plan.background,
            across_axis=plan.across_axis,
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
    with (
        VolumeSink(plan, task, mark, offset, replace=replace) as sink,
        ThreadPoolExecutor(1) as background,
    ):
        pending: list[Future[None]] = []
        for y_start, z_start, block in make_slabs(plan, task, surveyed, clock, progress):
            pending.append(background.submit(sink.put, block, z_start, y_start))
            with clock.phase("write"):
                # at most one block waits while another is being made
                while len(pending) > 1:
                    pending.pop(0).result()
        with clock.phase("write"):
            for future in pending:
                future.result()
            sink.commit()
    progress.finish()
    with clock.phase("write"):
        if settings.preview:
            volume = VolumeSlices(destination.volume, settings.orientation)
            write_preview(volume, destination.preview, series.name, [plan.filter.spec])
    record = build_record(plan, task, mark, seconds=clock.seconds, statistics=sink.summary())
    # the record comes last: a tomogram without one counts as unfinished
    text = json.dumps(record, indent=1, default=str) + "\n"
    write_text_atomic(destination.record, text, replace=True)
    return record
