"""One tilt series, from its images to finished files."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import structs

from tomofilt.errors import OutputError
from tomofilt.filters.wiener import WienerExact
from tomofilt.io.record import Denoising, Record, write_record
from tomofilt.jobs.effort import Effort
from tomofilt.jobs.fingerprint import Inputs, dependencies, fingerprint, input_files
from tomofilt.jobs.finished import finished, known_record, zarr_finished
from tomofilt.jobs.ome_zarr import make_zarr
from tomofilt.jobs.outputs import Output, OutputName
from tomofilt.jobs.picture import draw_picture
from tomofilt.jobs.plan import Plan, make_plan
from tomofilt.jobs.record import build_record
from tomofilt.reconstruction.gold import fill_gold
from tomofilt.reconstruction.images import SeriesImages
from tomofilt.reconstruction.measure import measured
from tomofilt.reconstruction.problem import Problem, Slab
from tomofilt.reconstruction.settings import Settings
from tomofilt.series.projects import Destination
from tomofilt.series.tiltseries import TiltSeries
from tomofilt.util.progress import Clock, Progress

if TYPE_CHECKING:
    from tomofilt.align.beads import Beads
    from tomofilt.denoise.decision import Decision
    from tomofilt.denoise.denoiser import Denoiser
    from tomofilt.jobs.sink import VolumeSink

__all__ = ["Result", "is_finished", "reconstruct"]

log = logging.getLogger(__name__)
#: What each volume depends on, by the volume's name.
Parts = Mapping[OutputName, Mapping[str, str]]


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
    record : Record, optional
        Of the tomogram, be it made now or earlier; None when that cannot be read.
    """

    destination: Destination
    skipped: bool
    seconds: Mapping[str, float] = field(default_factory=dict)
    record: Record | None = None


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
    inputs, parts = _what_it_depends_on(plan)
    todo = _unfinished(plan, parts)
    for output in plan.outputs:
        if output.name not in todo:
            _complete(plan, output, parts[output.name])
    if not todo:
        log.info("%s: finished already, %s is kept", series.name, destination.volume)
        return Result(destination, skipped=True, record=known_record(destination.record))
    _make_folder(destination)
    problem = plan.problem
    effort = Effort.of(problem, todo, settings)
    progress = Progress(lambda share: tell(int(1000 * share)), effort.total)
    with problem.images(folder=destination.volume.parent, in_place=True) as images:
        images.advance = lambda: progress.advance(effort.image)
        gold = fill_gold(problem, images, settings)
        progress.advance(effort.gold)
        problem = measured(problem, images)
        progress.advance(effort.measuring)
        decision = None
        if "denoised" in todo:
            with progress.part(effort.deciding) as part:
                decision = _decision(problem, images, settings, part)
        plan = Plan(problem, plan.outputs, settings)
        run = _Run(plan, images, inputs, parts, progress, effort, decision, gold)
        records = {name: run.make(output) for name, output in todo.items() if name != "denoised"}
    progress.finish()
    first = next(iter(records.values()))
    return Result(destination, False, first.seconds, first)


def _decision(
    problem: Problem, images: SeriesImages, settings: Settings, progress: Progress
) -> Decision:
    from tomofilt.denoise.decision import decide
    from tomofilt.denoise.head import Head
    from tomofilt.io.bundle import load_bundle

    given = None
    if settings.head is not None:
        given = Head.from_bundle(load_bundle(settings.head, "head"), settings.head)
    return decide(problem, images, given=given, progress=progress)


def is_finished(series: TiltSeries, destination: Destination, settings: Settings) -> bool:
    """Whether :func:`reconstruct` would have nothing to do.

    Raises
    ------
    InputError, ResourceError, OutputError
        As :func:`reconstruct`.
    """
    plan = make_plan(series, destination, settings)
    return not _unfinished(plan, _what_it_depends_on(plan)[1])


def _what_it_depends_on(plan: Plan) -> tuple[Inputs, Parts]:
    """Every file that is read, as it is now, and what each volume depends on."""
    inputs = Inputs(input_files(plan.problem.series))
    return inputs, {each.name: _dependencies(plan, each, inputs) for each in plan.outputs}


def _dependencies(plan: Plan, output: Output, inputs: Inputs) -> dict[str, str]:
    problem, settings, method = plan.problem, plan.settings, plan.problem.method
    return dependencies(
        problem.series,
        output.part.source,
        output.part.views,
        inputs,
        {
            # a bundle counts by what is in it, not by its name
            "filter": "learned" if settings.model else method.spec,
            "numbers of the filter": repr(method),
            "interpolation": method.interpolation,
            "tomogram": problem.grid,
            "aligned images": problem.frame.grid,
            "projector": method.projector,
            "normalisation": settings.normalise,
            "orientation": settings.axes(problem.series),
            "data type": settings.dtype or method.dtype,
            "inverted": settings.invert,
            "mirrored in z": settings.flip_z,
            "gold": settings.gold,
            "which tomogram": output.name,
        },
        ctf=problem.corrections.ctf,
        dose=problem.corrections.dose,
        measured=isinstance(problem.filter, WienerExact),
        network=settings.head if output.is_denoised else None,
    )


def _unfinished(plan: Plan, parts: Parts) -> dict[str, Output]:
    """Volumes that are to be made, by name."""
    settings = plan.settings
    # all are looked at first: none is begun while a file is in the way of another
    done = {
        output.name: finished(
            output.destination,
            parts[output.name],
            overwrite=settings.overwrite,
            picture=settings.preview,
            zarr=output.zarr is not None,
        )
        for output in plan.outputs
    }
    if "denoised" in done:
        if done["whole"] and not done["denoised"]:
            done["denoised"] = _was_refused(plan.outputs.whole, parts["denoised"])
        # it is made from the tomogram, which is made again for it
        done["whole"] = done["denoised"] = done["whole"] and done["denoised"]
    return {output.name: output for output in plan.outputs if not done[output.name]}


def _was_refused(whole: Output, depends_on: Mapping[str, str]) -> bool:
    """Whether the tomogram's record says that there can be no denoised one."""
    known = known_record(whole.destination.record)
    if known is None or known.denoising is None or known.denoising.refused is None:
        return False
    return known.denoising.fingerprint == fingerprint(depends_on)


def _complete(plan: Plan, output: Output, depends_on: Mapping[str, str]) -> None:
    """Make what was not asked for when a finished volume was made."""
    record = known_record(output.destination.record)
    if record is None:  # a denoised volume that was refused
        return
    if not output.destination.preview.exists():
        _draw(plan, output)
    if output.zarr and not zarr_finished(output.destination, depends_on, overwrite=False):
        told = record.output
        zarr = make_zarr(plan, output, record.fingerprint, told.minimum, told.maximum)
        told = structs.replace(told, zarr=zarr)
        write_record(output.destination.record, structs.replace(record, output=told))


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
    inputs: Inputs
    parts: Parts
    progress: Progress
    effort: Effort
    decision: Decision | None
    gold: Beads | None

    def make(self, output: Output) -> Record:
        """Reconstruct, write, check and name a volume, and the denoised one along with it."""
        problem, clock = self.plan.problem, Clock()
        made, denoiser, seconds = [output], None, self.effort.volume
        head = self.decision.head if self.decision else None
        if output.name == "whole" and head is not None and self.plan.outputs.denoised:
            from tomofilt.denoise.denoiser import Denoiser

            made.append(self.plan.outputs.denoised)
            denoiser = Denoiser(problem, head)
            seconds += self.effort.denoising
            with clock.phase("align"):
                self.images.filtered(denoiser.on_image)
        offset = problem.method.offset(problem, self.images, output.part)
        with ExitStack() as open_files:
            sinks = [open_files.enter_context(self._sink(each, offset)) for each in made]
            units = problem.method.units(problem)
            with self.progress.part(seconds, units) as progress:
                slabs = problem.slabs(self.images, output.part, clock, progress)
                _write(slabs, sinks, clock, denoiser, self._put_back(output))
            with clock.phase("write"):
                self.inputs.refuse_changed()
                for sink in sinks:
                    sink.commit()
        records = [
            self._document(each, clock, sink) for each, sink in zip(made, sinks, strict=True)
        ]
        for each in made:
            _draw(self.plan, each)
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
        mark, plan = fingerprint(self.parts[output.name]), self.plan
        return VolumeSink(plan.problem, plan.settings, output, mark, offset, replace=exists)

    def _document(self, output: Output, clock: Clock, sink: VolumeSink) -> Record:
        """Write the record of a finished volume, without which it counts as unfinished."""
        told = self.decision is not None and output.name in ("whole", "denoised")
        statistics, mark = sink.summary(), fingerprint(self.parts[output.name])
        with clock.phase("write"):
            zarr = make_zarr(self.plan, output, mark, statistics["minimum"], statistics["maximum"])
        record = build_record(
            self.plan.problem,
            self.plan.settings,
            output,
            self.parts[output.name],
            self.inputs,
            seconds=clock.seconds,
            statistics=statistics | {"zarr": zarr},
            denoising=self._denoising(self.decision) if told and self.decision else None,
            gold=None if self.gold is None else self.gold.facts(),
            blank=self.images.blank,
        )
        write_record(output.destination.record, record)
        return record

    def _denoising(self, decision: Decision) -> Denoising:
        facts = dict(decision.facts)
        refused = facts.pop("refused", None)
        return Denoising(
            fingerprint=fingerprint(self.parts["denoised"]),
            refused=None if refused is None else str(refused),
            measured=facts,
        )


def _draw(plan: Plan, output: Output) -> None:
    """Draw the picture of a finished volume, if it is wanted."""
    if plan.settings.preview:
        name = f"{plan.problem.series.name}{', denoised' * output.is_denoised}"
        spec = plan.problem.method.spec
        orientation = plan.settings.axes(plan.problem.series)
        draw_picture(output.destination, name, spec, orientation)


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
