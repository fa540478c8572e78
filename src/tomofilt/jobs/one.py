"""One tilt series, from prepared images to a finished tomogram file, slab by slab."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tomofilt.errors import InputError, OutputError
from tomofilt.filters.wiener import WienerExact
from tomofilt.io.record import Denoising, OutputKind, Record, write_record
from tomofilt.jobs.fingerprint import Inputs, dependencies, fingerprint
from tomofilt.jobs.finished import finished, known_record
from tomofilt.jobs.picture import draw_picture
from tomofilt.jobs.record import build_record
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
    record : Record, optional
        Of the tomogram; None when there was nothing to do.
    """

    destination: Destination
    skipped: bool
    seconds: Mapping[str, float] = field(default_factory=dict)
    record: Record | None = None


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
    inputs = _inputs(plan)
    todo = _unfinished(plan, inputs)
    if not todo:
        for task in plan.tasks:
            if task.destination.record.exists() and not task.destination.preview.exists():
                _draw(plan, task, reporter)
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

            denoised, parts = todo.pop(1)
            denoising = _Denoising(denoised, parts, judge(plan, reporter.note, given=given))
        records = []
        for i, (task, parts) in enumerate(todo):
            progress = Progress(reporter, i, len(todo))
            first = (denoising, aligned) if i == 0 else (None, None)
            records.append(_make_volume(plan, task, parts, inputs, progress, *first))
    return Result(destination, False, records[0].seconds, records[0])


def _head(path: Path) -> Taught:
    from tomofilt.denoise.head import Taught
    from tomofilt.io.bundle import load_bundle

    return Taught.from_bundle(load_bundle(path, "head"), path)


@dataclass(frozen=True, eq=False)
class _Denoising:
    """The denoised tomogram, made along with the tomogram unless it was refused."""

    task: VolumeTask
    depends_on: Mapping[str, str]
    verdict: Verdict

    @property
    def told(self) -> Denoising:
        """What the records of both tomograms say about it."""
        facts = dict(self.verdict.facts)
        refused = facts.pop("refused", None)
        return Denoising(
            fingerprint=fingerprint(self.depends_on),
            refused=None if refused is None else str(refused),
            measured=facts,
        )


def _inputs(plan: Plan) -> Inputs:
    """Every file that is read, as it is now."""
    series = plan.series
    halves = (path for half in series.halves or () for path in half.files)
    images = (path for task in plan.tasks for path in task.images.files)
    return Inputs((*series.files, *images, *halves))


def _dependencies(plan: Plan, task: VolumeTask, inputs: Inputs) -> dict[str, str]:
    settings, chosen = plan.settings, plan.filter
    return dependencies(
        plan.series,
        task.images,
        task.members,
        inputs,
        {
            "filter": chosen.spec,
            "numbers of the filter": repr(chosen),
            "interpolation": plan.interpolation,
            "tomogram": plan.grid,
            "aligned images": plan.aligned,
            "direct projector": plan.direct,
            "normalisation": settings.normalise,
            "orientation": settings.orientation,
            "data type": plan.dtype,
            "inverted": settings.invert,
            "mirrored in z": settings.flip_z,
            "denoised": task.denoised,
        },
        ctf=plan.corrections.ctf,
        dose=plan.corrections.dose,
        measured=isinstance(chosen, WienerExact),
        network=settings.head if task.denoised else None,
    )


def _unfinished(plan: Plan, inputs: Inputs) -> list[tuple[VolumeTask, dict[str, str]]]:
    """Volumes that are to be made, with what they depend on."""
    settings = plan.settings
    parts = [_dependencies(plan, task, inputs) for task in plan.tasks]
    # all are looked at first: none is begun while a file is in the way of another
    done = [
        finished(task.destination, each, overwrite=settings.overwrite, picture=settings.preview)
        for task, each in zip(plan.tasks, parts, strict=True)
    ]
    if plan.settings.denoise:
        whole, denoised = 0, 1
        if done[whole] and not done[denoised]:
            done[denoised] = _was_refused(plan.tasks[whole], parts[denoised])
        # it is made from the tomogram, which is made again for it
        done[whole] = done[whole] and done[denoised]
        done[denoised] = done[whole]
    return [
        (task, each)
        for task, each, is_done in zip(plan.tasks, parts, done, strict=True)
        if not is_done
    ]


def _was_refused(whole: VolumeTask, depends_on: Mapping[str, str]) -> bool:
    """Whether the tomogram's record says that there can be no denoised one."""
    known = known_record(whole.destination.record)
    if known is None or known.denoising is None or known.denoising.refused is None:
        return False
    return known.denoising.fingerprint == fingerprint(depends_on)


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
    depends_on: Mapping[str, str],
    inputs: Inputs,
    progress: Progress,
    denoising: _Denoising | None,
    aligned: AlignedImages | None,
) -> Record:
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
            threads=plan.image_threads,
        )
    for view in surveyed.blank:
        number = int(series.views[members[view]]) + 1
        progress.reporter.note(f"  note: image {number} is blank; leave it out: --exclude {number}")
    if len(surveyed.blank) == len(members):
        raise InputError(f"{series.name}: every image is blank, there is nothing to reconstruct")

    offset = plan.filter.offset
    if plan.filter.keeps_mean:
        offset += surveyed.mean * task.gain * float(plan.row_filter.dc_gain[members].sum())
    made = [(task, depends_on)]
    denoise = None
    if denoising is not None and denoising.verdict.taught is not None:
        made.append((denoising.task, denoising.depends_on))
        from tomofilt.denoise.denoiser import Denoiser

        denoise = Denoiser(plan, denoising.verdict.taught.head)
    with ExitStack() as stack:
        sinks = [
            stack.enter_context(
                VolumeSink(
                    plan,
                    each,
                    fingerprint(parts),
                    offset,
                    replace=each.destination.volume.exists(),
                )
            )
            for each, parts in made
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
            inputs.refuse_changed()
            for sink in sinks:
                sink.commit()
    progress.finish()
    told = None if denoising is None else denoising.told
    records = [
        build_record(
            plan,
            each,
            _kind(plan, each),
            parts,
            inputs,
            seconds=clock.seconds,
            statistics=sink.summary(),
            denoising=told,
        )
        for (each, parts), sink in zip(made, sinks, strict=True)
    ]
    _document(plan, [each for each, _ in made], records, progress.reporter)
    return records[0]


def _document(
    plan: Plan, made: Sequence[VolumeTask], records: Sequence[Record], reporter: Reporter
) -> None:
    """Write the records of finished volumes, without which they count as unfinished; then draw."""
    for task, record in zip(made, records, strict=True):
        write_record(task.destination.record, record)
    for task in made:
        _draw(plan, task, reporter)


def _kind(plan: Plan, task: VolumeTask) -> OutputKind:
    if task.denoised:
        return "denoised"
    if task is plan.tasks[0]:
        return "whole"
    return "half2" if task is plan.tasks[-1] else "half1"


def _draw(plan: Plan, task: VolumeTask, reporter: Reporter) -> None:
    """Draw the picture of a finished tomogram, if it is wanted."""
    if plan.settings.preview:
        name = f"{plan.series.name}{', denoised' * task.denoised}"
        orientation = plan.settings.orientation
        draw_picture(task.destination, name, plan.filter.spec, orientation, reporter.note)
