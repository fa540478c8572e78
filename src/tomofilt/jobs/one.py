"""One tilt series, from prepared images to a finished tomogram file, slab by slab."""

from __future__ import annotations

import json
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tomofilt.errors import InputError, OutputError
from tomofilt.io.files import write_text_atomic
from tomofilt.jobs.record import build_record, fingerprint, finished
from tomofilt.reconstruction.measure import measured_and_aligned
from tomofilt.reconstruction.plan import Plan, Settings, VolumeTask, make_plan
from tomofilt.series.projects import Destination
from tomofilt.series.tiltseries import TiltSeries
from tomofilt.util.progress import Clock, Progress, Reporter

if TYPE_CHECKING:
    from tomofilt.align.images import AlignedImages
    from tomofilt.denoise.head import Taught
    from tomofilt.denoise.verdict import Verdict

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
    given = None if settings.head is None else _head(settings.head)
    todo = _unfinished(plan)
    if not todo:
        reporter.note(f"{series.name}: finished already, {destination.volume} is kept")
        return Result(destination, skipped=True)
    _make_folder(destination)
    with ExitStack() as stack:
        plan, aligned = measured_and_aligned(plan, stack, reporter.note)
        denoises = any(task.denoised for task, _ in todo)
        if denoises or plan.direct or plan.halo or todo[0][0] is not plan.tasks[0]:
            stack.close()
            aligned = None
        denoising = None
        if denoises:
            from tomofilt.denoise.verdict import judge

            denoised, mark = todo.pop(1)
            denoising = _Denoising(denoised, mark, judge(plan, reporter.note, given=given))
        records = []
        for i, (task, mark) in enumerate(todo):
            progress = Progress(reporter, i, len(todo))
            first = (denoising, aligned) if i == 0 else (None, None)
            records.append(_make_volume(plan, task, mark, progress, *first))
    return Result(destination, False, records[0]["seconds"], records[0])


def _head(path: Path) -> Taught:
    from tomofilt.denoise.head import Taught
    from tomofilt.io.bundle import load_bundle

    return Taught.from_bundle(load_bundle(path, "head"), path)


@dataclass(frozen=True, eq=False)
class _Denoising:
    """The denoised tomogram, made along with the tomogram unless it was refused."""

    task: VolumeTask
    mark: str
    verdict: Verdict

    @property
    def facts(self) -> dict[str, object]:
        """What the records of both tomograms say about it."""
        return {"fingerprint": self.mark, **self.verdict.facts}


def _unfinished(plan: Plan) -> list[tuple[VolumeTask, str]]:
    """Volumes that are to be made, with their fingerprints."""
    overwrite = plan.settings.overwrite
    marks = [fingerprint(plan, task) for task in plan.tasks]
    # all are looked at first: none is begun while a file is in the way of another
    done = [
        finished(task, mark, overwrite=overwrite)
        for task, mark in zip(plan.tasks, marks, strict=True)
    ]
    if plan.settings.denoise:
        whole, denoised = 0, 1
        if done[whole] and not done[denoised]:
            done[denoised] = _was_refused(plan.tasks[whole], marks[denoised])
        # it is made from the tomogram, which is made again for it
        done[whole] = done[whole] and done[denoised]
        done[denoised] = done[whole]
    return [
        (task, mark)
        for task, mark, is_done in zip(plan.tasks, marks, done, strict=True)
        if not is_done
    ]


def _was_refused(whole: VolumeTask, mark: str) -> bool:
    """Whether the tomogram's record says that there can be no denoised one."""
    denoising = json.loads(whole.destination.record.read_text()).get("denoising") or {}
    return denoising.get("fingerprint") == mark and "refused" in denoising


def _make_folder(destination: Destination) -> None:
    try:
        destination.volume.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"{destination.volume.parent}: the folder cannot be made ({error.strerror}); "
            "choose another one with -o"
        ) from error


def _make_volume(
    plan: Plan,
    task: VolumeTask,
    mark: str,
    progress: Progress,
    denoising: _Denoising | None,
    aligned: AlignedImages | None,
) -> dict[str, Any]:
    """Reconstruct, write, check and name one volume, and the denoised one along with it."""
    from tomofilt.align.images import survey
    from tomofilt.jobs.sink import VolumeSink
    from tomofilt.reconstruction.slabs import make_slabs

    clock = Clock()
    series, members = plan.series, task.members
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
    made = [(task, mark)]
    denoise = None
    if denoising is not None and denoising.verdict.taught is not None:
        made.append((denoising.task, denoising.mark))
        from tomofilt.denoise.denoiser import Denoiser

        denoise = Denoiser(plan, denoising.verdict.taught.head)
    with ExitStack() as stack:
        sinks = [
            stack.enter_context(
                VolumeSink(plan, each, its, offset, replace=each.destination.volume.exists())
            )
            for each, its in made
        ]
        background = stack.enter_context(ThreadPoolExecutor(1))
        pending: list[Future[None]] = []
        on_image = denoise.filter_image if denoise else None
        slabs = make_slabs(plan, task, surveyed, clock, progress, on_image, aligned)
        for y_start, z_start, block in slabs:
            blocks = [block]
            if denoise is not None:
                with clock.phase("denoise"):
                    blocks.append(denoise.apply(block, z_start, y_start))
            for sink, each in zip(sinks, blocks, strict=True):
                pending.append(background.submit(sink.put, each, z_start, y_start))
            with clock.phase("write"):
                # at most one block waits while another is being made
                while len(pending) > len(sinks):
                    pending.pop(0).result()
        with clock.phase("write"):
            for future in pending:
                future.result()
            for sink in sinks:
                sink.commit()
    progress.finish()
    facts = None if denoising is None else denoising.facts
    records = [
        _document(plan, each, its, clock, sink.summary(), facts)
        for (each, its), sink in zip(made, sinks, strict=True)
    ]
    return records[0]


def _document(
    plan: Plan,
    task: VolumeTask,
    mark: str,
    clock: Clock,
    statistics: Mapping[str, object],
    denoising: Mapping[str, object] | None,
) -> dict[str, Any]:
    """Write the preview and the record of a finished volume."""
    from tomofilt.draw.preview import VolumeSlices, write_preview

    destination, settings = task.destination, plan.settings
    if settings.preview:
        with clock.phase("write"):
            volume = VolumeSlices(destination.volume, settings.orientation)
            name = f"{plan.series.name}{', denoised' * task.denoised}"
            write_preview(volume, destination.preview, name, [plan.filter.spec])
    record = build_record(
        plan, task, mark, seconds=clock.seconds, statistics=statistics, denoising=denoising
    )
    # the record comes last: a tomogram without one counts as unfinished
    text = json.dumps(record, indent=1, default=str) + "\n"
    write_text_atomic(destination.record, text, replace=True)
    return record
