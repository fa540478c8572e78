"""One tilt series, from its images to finished files."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tomofilt.errors import InputError, OutputError
from tomofilt.io.files import write_text_atomic
from tomofilt.jobs.outputs import Output, OutputName, Outputs
from tomofilt.jobs.record import build_record, fingerprint, finished
from tomofilt.reconstruction.gold import fill_gold
from tomofilt.reconstruction.images import SeriesImages
from tomofilt.reconstruction.measure import measured
from tomofilt.reconstruction.problem import Problem, Slab
from tomofilt.reconstruction.settings import Settings
from tomofilt.reconstruction.setup import make_problem, with_reserve
from tomofilt.series.projects import Destination
from tomofilt.series.tiltseries import TiltSeries
from tomofilt.util.progress import Clock, Progress

if TYPE_CHECKING:
    from tomofilt.align.gold import Beads
    from tomofilt.denoise.denoiser import Denoiser
    from tomofilt.denoise.verdict import Verdict
    from tomofilt.jobs.sink import VolumeSink

__all__ = ["Plan", "Result", "make_plan", "reconstruct"]

log = logging.getLogger(__name__)
#: Fingerprints of volumes by their names.
Marks = Mapping[OutputName, str]


@dataclass(frozen=True)
class Plan:
    """What a reconstruction will do: the problem, its outputs, and the settings they came from."""

    problem: Problem
    outputs: Outputs
    settings: Settings

    def lines(self) -> list[str]:
        """The plan in words, for ``--dry-run`` and the log."""
        problem, series, grid = self.problem, self.problem.series, self.problem.grid
        nz, ny, nx = grid.shape
        count = len(series.views)
        left_out = f", {len(series.excluded)} excluded" if series.excluded else ""
        dtype = self.settings.dtype or problem.method.dtype
        gigabytes = nz * ny * nx * int(dtype.lstrip("intfloa")) / 8e9
        how = {"direct": "direct sampling through the view maps", "slice": "slice projector"}[
            problem.method.projector
        ]
        if problem.device.gpus:
            how = f"ASTRA on {', '.join(problem.device.gpus)}"
        elif problem.device.reason:
            how += f" on the CPU ({problem.device.reason})"
        lines = [
            f"{series.name}: {count} view{'s' * (count != 1)}{left_out}, "
            f"{series.tilt_deg.min():.1f} to {series.tilt_deg.max():.1f} deg, "
            f"images {series.images.shape[2]} x {series.images.shape[1]} px "
            f"at {series.images.pixel_angst:g} A",
            f"  tomogram {nx} x {ny} x {nz} voxels (x, y, z) at {grid.voxel_angst:g} A, "
            f"{dtype}, {gigabytes:.2f} GB",
            f"  filter {problem.method.spec}, {problem.method.interpolation} interpolation, {how}, "
            f"{problem.threads} threads, about {problem.room.used_bytes / 1e9:.1f} GB of memory",
        ]
        lines += [f"  note: {problem.filter.spec}: {note}" for note in problem.filter.notes]
        lines.append(problem.corrections.line())
        lines += [f"  -> {output.destination.volume}" for output in self.outputs]
        return lines


@dataclass(frozen=True)
class Result:
    """What became of one tilt series.

    Attributes
    ----------
    destination : Destination
    skipped : bool
        True when a finished tomogram with the same settings was there already.
    seconds : mapping
        Seconds of each phase: align, filter, back-project, write (writing overlaps).
    record : mapping
        What the JSON record holds.
    """

    destination: Destination
    skipped: bool
    seconds: Mapping[str, float] = field(default_factory=dict)
    record: Mapping[str, Any] = field(default_factory=dict)


def make_plan(series: TiltSeries, destination: Destination, settings: Settings) -> Plan:
    """Work out what :func:`reconstruct` would do; nothing is read or written.

    Raises
    ------
    InputError, ResourceError
        As :func:`tomofilt.reconstruction.setup.make_problem`; or what is asked for cannot be had.
    """
    problem = make_problem(series, settings)
    if settings.head is not None and not settings.denoise:
        raise InputError(f"{settings.head} is a network for --denoise: give that too")
    if settings.denoise:
        from tomofilt.denoise.denoiser import band_bytes, check_denoising

        check_denoising(problem)
        problem = with_reserve(problem, settings, band_bytes(problem))
    return Plan(problem, Outputs.wanted(problem, destination, settings), settings)


def reconstruct(
    series: TiltSeries,
    destination: Destination | str | Path,
    settings: Settings | None = None,
    tell: Callable[[int], None] = lambda _: None,
) -> Result:
    """Reconstruct one tilt series into ``destination``, its halves too when asked.

    Parameters
    ----------
    series : TiltSeries
    destination : Destination, str or Path
        The MRC file, ``REC.mrc``; halves, record and preview stand beside it.
    settings : Settings, optional
        Default: the default ones.
    tell : callable
        Told how much is done, out of 1000.

    Raises
    ------
    InputError, ResourceError, OutputError
        Nothing is left under a final name then.
    """
    settings = settings or Settings()
    if not isinstance(destination, Destination):
        destination = Destination(Path(destination))
    plan = make_plan(series, destination, settings)
    for line in plan.lines():
        log.info(line)
    for note in series.notes:
        log.info("  note: %s", note)
    marks = {output.name: fingerprint(plan.problem, settings, output) for output in plan.outputs}
    todo = _unfinished(plan, marks)
    if not todo:
        log.info("%s: finished already, %s is kept", series.name, destination.volume)
        return Result(destination, skipped=True)
    _make_folder(destination)
    problem = plan.problem
    progress = Progress(tell, _units(problem, todo))
    with problem.images(folder=destination.volume.parent, in_place=True) as images:
        images.advance = progress.advance
        gold = fill_gold(problem, images, settings)
        problem = measured(problem, images)
        verdict = _verdict(problem, images, settings) if "denoised" in todo else None
        run = _Run(Plan(problem, plan.outputs, settings), images, marks, progress, verdict, gold)
        records = {name: run.make(output) for name, output in todo.items() if name != "denoised"}
    progress.finish()
    first = next(iter(records.values()))
    return Result(destination, False, first["seconds"], first)


def _units(problem: Problem, todo: Mapping[str, Output]) -> int:
    volumes = [output for output in todo.values() if not output.is_denoised]
    sources = {output.part.source for output in volumes}
    return len(problem.series.views) * len(sources) + problem.method.units(problem) * len(volumes)


def _verdict(problem: Problem, images: SeriesImages, settings: Settings) -> Verdict:
    from tomofilt.denoise.head import Taught
    from tomofilt.denoise.verdict import judge
    from tomofilt.io.bundle import load_bundle

    given = None
    if settings.head is not None:
        given = Taught.from_bundle(load_bundle(settings.head, "head"), settings.head)
    return judge(problem, images, given=given)


def _unfinished(plan: Plan, marks: Marks) -> dict[str, Output]:
    """Volumes that are to be made, by name."""
    overwrite = plan.settings.overwrite
    # all are looked at first: none is begun while a file is in the way of another
    done = {
        output.name: finished(output.destination, marks[output.name], overwrite=overwrite)
        for output in plan.outputs
    }
    if "denoised" in done:
        if done["whole"] and not done["denoised"]:
            done["denoised"] = _was_refused(plan.outputs.whole, marks["denoised"])
        # it is made from the tomogram, which is made again for it
        done["whole"] = done["denoised"] = done["whole"] and done["denoised"]
    return {output.name: output for output in plan.outputs if not done[output.name]}


def _was_refused(whole: Output, mark: str) -> bool:
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


@dataclass(frozen=True)
class _Run:
    """The volumes of a series, one after the other."""

    plan: Plan
    images: SeriesImages
    marks: Marks
    progress: Progress
    verdict: Verdict | None
    gold: Beads | None

    def make(self, output: Output) -> dict[str, Any]:
        """Reconstruct, write, check and name a volume, and the denoised one along with it."""
        problem, clock = self.plan.problem, Clock()
        made, denoiser = [output], None
        taught = self.verdict.taught if self.verdict else None
        if output.name == "whole" and taught is not None and self.plan.outputs.denoised:
            from tomofilt.denoise.denoiser import Denoiser

            made.append(self.plan.outputs.denoised)
            denoiser = Denoiser(problem, taught.head)
            with clock.phase("align"):
                self.images.filtered(denoiser.on_image)
        offset = problem.method.offset(problem, self.images, output.part)
        with ExitStack() as open_files:
            sinks = [open_files.enter_context(self._sink(each, offset)) for each in made]
            slabs = problem.slabs(self.images, output.part, clock, self.progress)
            _write(slabs, sinks, clock, denoiser, self._put_back(output))
        records = [
            self._document(each, clock, sink.summary())
            for each, sink in zip(made, sinks, strict=True)
        ]
        return records[0]

    def _put_back(self, output: Output) -> Callable[[Slab], None]:
        """What adds the gold beads that were filled to a block.

        They stay out of halves, which would agree more with the same beads drawn into both.
        """
        gold, problem = self.gold, self.plan.problem
        if gold is None or self.plan.settings.gold != "keep" or output.name != "whole":
            return lambda _: None
        pixel = problem.series.images.pixel_angst
        return lambda slab: gold.put_back(slab[2], problem.grid, slab[0], slab[1], pixel)

    def _sink(self, output: Output, offset: float) -> VolumeSink:
        from tomofilt.jobs.sink import VolumeSink

        exists = output.destination.volume.exists()
        mark, plan = self.marks[output.name], self.plan
        return VolumeSink(plan.problem, plan.settings, output, mark, offset, replace=exists)

    def _document(
        self, output: Output, clock: Clock, statistics: Mapping[str, object]
    ) -> dict[str, Any]:
        """Write the preview and the record of a finished volume."""
        from tomofilt.draw.preview import VolumeSlices, write_preview

        plan, destination = self.plan, output.destination
        if plan.settings.preview:
            with clock.phase("write"):
                volume = VolumeSlices(destination.volume, plan.settings.orientation)
                name = f"{plan.problem.series.name}{', denoised' * output.is_denoised}"
                write_preview(volume, destination.preview, name, [plan.problem.method.spec])
        denoising = None
        if self.verdict is not None and output.name in ("whole", "denoised"):
            denoising = {"fingerprint": self.marks["denoised"], **self.verdict.facts}
        record = build_record(
            plan.problem,
            plan.settings,
            output,
            self.marks[output.name],
            seconds=clock.seconds,
            statistics=statistics,
            denoising=denoising,
            gold=None if self.gold is None else self.gold.facts(),
        )
        # the record comes last: a tomogram without one counts as unfinished
        text = json.dumps(record, indent=1, default=str) + "\n"
        write_text_atomic(destination.record, text, replace=True)
        return record


def _write(
    slabs: Iterator[Slab],
    sinks: list[VolumeSink],
    clock: Clock,
    denoiser: Denoiser | None,
    put_back: Callable[[Slab], None],
) -> None:
    """Write blocks in a second thread while the next ones are made; one waits at the most."""
    pending: list[Future[None]] = []
    with ThreadPoolExecutor(1) as background:
        for y_start, z_start, block in slabs:
            blocks = [block]
            if denoiser is not None:
                with clock.phase("denoise"):
                    blocks.append(denoiser.apply(block, z_start, y_start))
            for each in blocks:
                put_back((y_start, z_start, each))
            for sink, each in zip(sinks, blocks, strict=True):
                pending.append(background.submit(sink.put, each, z_start, y_start))
            with clock.phase("write"):
                while len(pending) > len(sinks):
                    pending.pop(0).result()
        with clock.phase("write"):
            for future in pending:
                future.result()
            for sink in sinks:
                sink.commit()
