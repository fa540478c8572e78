"""`tomofilt reconstruct`: tilt series in, tomograms out."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tomofilt.cli import many_options, options
from tomofilt.cli.command import exclusive
from tomofilt.cli.series import chosen_series
from tomofilt.cli.values import parse_memory, parse_time, parse_views
from tomofilt.errors import InputError, MissingFileError

if TYPE_CHECKING:
    from tomofilt.cli.reporter import ConsoleReporter
    from tomofilt.jobs.many import Job, Outcome, Summary
    from tomofilt.reconstruction.settings import Settings
    from tomofilt.series.projects import Project

__all__ = ["Work", "reconstruct", "requested", "workers_for"]

_NOTHING = "nothing to reconstruct: give --imod-dir DIR or --relion-star FILE, or just a path"


@dataclass(frozen=True)
class Work:
    """What a command line asks for.

    Parameters
    ----------
    jobs : list of Job
        One for each series of each project that was named.
    settings : Settings
    find : callable
        Looks for the jobs anew; why a project cannot be opened yet is added to a list.
    dry_run, as_json, quiet, verbose, strict : bool
    workers, cluster, dask_scheduler, idle_seconds : optional
        See the options of these names.
    nth : int, optional
        Which one of the series, if one alone.
    stop : Path
        With this file a watch ends.
    """

    jobs: list[Job]
    settings: Settings
    find: Callable[[list[str]], list[Job]]
    dry_run: bool
    as_json: bool
    quiet: bool
    verbose: bool
    strict: bool
    workers: int | None
    cluster: Path | None
    dask_scheduler: str | None
    idle_seconds: float | None
    nth: int | None
    stop: Path


def requested(
    context: typer.Context,
    paths: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="PATH",
            help="More IMOD folders after --imod-dir; alone, projects of any installed kind.",
        ),
    ] = None,
    *,
    imod_dir: options.ImodDirs = None,
    aretomo: options.AretomoPaths = None,
    relion_star: options.RelionStar = None,
    tomogram_name: options.TomogramName = None,
    axis: options.Axis = None,
    input_pixel_size: options.InputPixelSize = None,
    alignment_pixel_size: options.AlignmentPixelSize = None,
    exclude: options.Exclude = None,
    pixel_size: options.PixelSize = None,
    bin: options.Bin = None,
    thickness: options.Thickness = None,
    thickness_px: options.ThicknessPx = None,
    shape: options.Shape = None,
    halves: options.Halves = "none",
    denoise: options.Denoise = False,
    head: options.Head = None,
    filter: options.FilterSpec = None,
    model: options.Model = None,
    cutoff: options.Cutoff = None,
    ctf: options.CtfCorrection = "auto",
    dose_weight: options.DoseWeight = "auto",
    gold: options.Gold = "keep",
    interpolation: options.Interpolate = None,
    projector: options.ProjectorName = "fast",
    normalise: options.Normalise = "sum",
    output_dir: options.OutputDir = None,
    orientation: options.Orientation = None,
    dtype: options.Dtype = None,
    invert: options.Invert = False,
    flip_z: options.FlipZ = False,
    preview: options.Preview = True,
    zarr: options.Zarr = False,
    overwrite: options.Overwrite = False,
    only_do_unfinished: options.OnlyDoUnfinished = False,
    device: options.Device = "auto",
    gpu: options.Gpu = None,
    threads: options.Threads = None,
    max_memory: options.MaxMemory = None,
    workers: many_options.Workers = None,
    cluster: many_options.Cluster = None,
    dask_scheduler: many_options.DaskScheduler = None,
    nth: many_options.Nth = None,
    watch: many_options.Watch = False,
    idle: many_options.Idle = None,
    strict: many_options.Strict = False,
    config: options.Config = None,
    dry_run: options.DryRun = False,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> Work:
    """Reconstruct the tilt series of IMOD folders or of a RELION 5 project.

    Finished tomograms are skipped, unless --overwrite is given. A series that fails does not stop
    the others.

    Exit code: 0 all done, 1 some series failed, 2 input or options that cannot be used,
    3 no memory or no such device, 130 interrupted.
    """
    from tomofilt.io.ome_zarr import require_zarr
    from tomofilt.jobs.many import Job
    from tomofilt.projectors.select import choose, device_text
    from tomofilt.reconstruction.settings import Settings
    from tomofilt.series.projects import SeriesOptions

    if overwrite and only_do_unfinished:
        raise InputError("--overwrite and --only-do-unfinished exclude each other: give one")
    pixel_size, bin = exclusive(context, pixel_size=pixel_size, bin=bin)
    filter, model = exclusive(context, filter=filter, model=model)
    thickness, thickness_px = exclusive(context, thickness=thickness, thickness_px=thickness_px)
    imod_dir, aretomo, relion_star = exclusive(
        context, imod_dir=imod_dir, aretomo=aretomo, relion_star=relion_star
    )
    where = device_text(device, gpu)
    if where.startswith("cuda"):
        choose(where, projector)  # no GPU is one error, not one for each series
    if zarr:
        require_zarr()  # likewise
    settings = Settings(
        filter=filter or Settings.filter,
        cutoff=cutoff,
        model=model,
        bin=bin,
        pixel_angst=pixel_size,
        interpolation=interpolation,
        projector=projector,
        normalise=normalise,
        orientation=orientation,
        dtype=dtype,
        ctf=ctf,
        dose_weight=dose_weight,
        gold=gold,
        invert=invert,
        flip_z=flip_z,
        device=where,
        threads=threads,
        max_memory_bytes=parse_memory(max_memory),
        overwrite=overwrite,
        preview=preview,
        zarr=zarr,
        halves=halves,
        denoise=denoise,
        head=head,
    )
    series = SeriesOptions(
        input_pixel_angst=input_pixel_size,
        alignment_pixel_angst=alignment_pixel_size,
        exclude=parse_views(exclude),
        thickness_angst=thickness,
        thickness_px=thickness_px,
        shape_px=shape,
    )

    def find(missing: list[str] | None = None) -> list[Job]:
        named = {"imod": imod_dir, "aretomo": aretomo}
        if watch:
            named = {kind: _there(folders) for kind, folders in named.items()}
        projects = _open(named, relion_star, paths or (), missing)
        found = chosen_series(projects, tomogram_name, axis)
        if nth is not None:
            if nth > len(found):
                raise InputError(f"--nth {nth}: there are {len(found)} series")
            found = [found[nth - 1]]
        return [Job(project, name, output_dir, series) for project, name in found]

    if watch and (dry_run or nth is not None):
        raise InputError("--watch goes neither with --dry-run nor with --nth: leave one out")
    if watch and not (imod_dir or aretomo or relion_star or paths):
        raise InputError(_NOTHING)
    if idle is not None and not watch:
        raise InputError("--idle is for --watch: give that too")
    return Work(
        jobs=[] if watch else find(),
        settings=settings,
        find=find,
        dry_run=dry_run,
        as_json=as_json,
        quiet=quiet,
        verbose=verbose,
        strict=strict,
        workers=workers,
        cluster=cluster,
        dask_scheduler=dask_scheduler,
        idle_seconds=parse_time("--idle", idle or "1h") if watch else None,
        nth=nth,
        stop=(output_dir or Path()) / "stop",
    )


@wraps(requested)
def reconstruct(**options: Any) -> None:
    """Do what is asked for; the command line is that of :func:`requested`."""
    from tomofilt.cli.reporter import ConsoleReporter
    from tomofilt.jobs import many as batch

    work = requested(**options)
    with ConsoleReporter(quiet=work.quiet, verbose=work.verbose) as reporter:
        try:
            if work.dry_run:
                summary = batch.plan(work.jobs, work.settings, reporter)
            else:
                summary = _run(work, reporter)
        except KeyboardInterrupt:
            reporter.error("interrupted; the same command goes on where this one stopped")
            raise
        reporter.summarise(summary)
    if work.as_json:
        typer.echo(json.dumps(_as_json(summary), indent=1, default=str))
    elif work.dry_run:
        for outcome in summary.outcomes:
            if outcome.plan is not None:
                typer.echo("\n".join(outcome.plan.lines()))
    raise typer.Exit(summary.strict_exit_code if work.strict else summary.exit_code)


def _run(work: Work, reporter: ConsoleReporter) -> Summary:
    from tomofilt.jobs import many as batch

    settings, workers = workers_for(work)
    with workers as executor:
        if work.idle_seconds is None:
            told = work.nth is None
            return batch.run(work.jobs, settings, reporter, executor, commit=told)
        from tomofilt.jobs.watch import watch

        return watch(
            lambda: _found(work),
            settings,
            reporter,
            idle_seconds=work.idle_seconds,
            stop=work.stop,
            executor=executor,
            say=reporter.say,
        )


def workers_for(work: Work) -> tuple[Settings, AbstractContextManager[Executor | None]]:
    """Who runs the series, and how many threads each may have."""
    if work.dask_scheduler is None and work.cluster is None and work.workers is None:
        return work.settings, nullcontext()
    from tomofilt.jobs.cluster import Site, cluster_workers, local_workers, scheduler_workers
    from tomofilt.util.threads import available_threads

    if work.dask_scheduler is not None:
        if work.cluster is not None or work.workers is not None:
            raise InputError("--dask-scheduler has its own workers: give it alone")
        return work.settings, scheduler_workers(work.dask_scheduler)
    if work.cluster is None:
        count = work.workers or 1
        threads = work.settings.threads or max(1, available_threads() // count)
        return replace(work.settings, threads=threads), _tidied(work, local_workers(count))
    if work.workers is None:
        raise InputError("--cluster needs the number of jobs to work with: give --workers too")
    site = Site.read(work.cluster)
    settings = replace(work.settings, threads=work.settings.threads or site.cores)
    return settings, _tidied(work, cluster_workers(site, work.workers))


@contextmanager
def _tidied(work: Work, workers: AbstractContextManager[Executor]) -> Iterator[Executor]:
    """Workers; after an interruption nothing is left of what they were writing."""
    from tomofilt.io.files import sweep

    try:
        with workers as executor:
            yield executor
    except KeyboardInterrupt:
        jobs = work.jobs or _found(work)[0]
        sweep(job.project.destination(job.name, job.output_dir).volume for job in jobs)
        raise


def _there(folders: Sequence[Path] | None) -> list[Path] | None:
    """The folders that are there now, of names with * in them too."""
    if not folders:
        return None
    found = []
    for folder in folders:
        parts = folder.parts[1:] if folder.is_absolute() else folder.parts
        root = Path(folder.anchor or ".")
        matching = root.glob(str(Path(*parts))) if parts else [root]
        found += sorted(path for path in matching if path.is_dir())
    return found


def _found(work: Work) -> tuple[list[Job], list[str]]:
    """The jobs that there are now, and why some cannot be opened yet."""
    missing: list[str] = []
    try:
        return work.find(missing), missing
    except (InputError, MissingFileError) as error:
        return [], missing or [str(error)]


def _open(
    named: Mapping[str, Sequence[Path] | None],
    relion_star: Path | None,
    paths: Sequence[Path],
    missing: list[str] | None,
) -> list[Project]:
    """Open projects whose kind is named, with the paths that follow, or of any kind.

    One that cannot be opened is an error, or said in the list of what is missing.
    """
    from tomofilt.series.projects import detect, project_type

    kind = next((kind for kind, given in named.items() if given), None)
    if kind is None and relion_star and paths:
        raise InputError(f"{paths[0]}: unexpected beside --relion-star; one project at a time")
    if kind is not None:
        opener, places = project_type(kind).open, [*(named[kind] or ()), *paths]
    elif relion_star:
        opener, places = project_type("relion").open, [relion_star]
    elif paths:
        opener, places = detect, [*paths]
    else:
        raise InputError(_NOTHING)
    projects = []
    for path in _places(places):
        try:
            projects.append(opener(path))
        except (InputError, MissingFileError) as error:
            if missing is None:
                raise
            missing.append(str(error))
    return projects


def _places(paths: Sequence[Path]) -> list[Path]:
    """Each path once, without earlier results that a pattern such as ``lab/*`` matches."""
    from tomofilt.jobs.overview import NAME

    return [path for path in dict.fromkeys(paths) if path.stem != NAME and path.suffix != ".zarr"]


def _as_json(summary: Summary) -> dict[str, Any]:
    return {
        "exit_code": summary.exit_code,
        "results": [_outcome_as_json(outcome) for outcome in summary.outcomes],
        "project_errors": [str(error) for error in summary.commit_errors],
    }


def _outcome_as_json(outcome: Outcome) -> dict[str, Any]:
    from tomofilt.io.record import record_as_json
    from tomofilt.jobs.finished import known_record
    from tomofilt.jobs.many import explain

    entry: dict[str, Any] = {"name": outcome.name}
    if outcome.error is not None:
        message, code = explain(outcome.error)
        return entry | {"status": "failed", "error": message, "exit_code": code}
    if outcome.destination is not None:
        entry["volume"] = str(outcome.destination.volume)
    if outcome.plan is not None:
        return entry | {"status": "planned", "plan": outcome.plan.lines()}
    if outcome.result is not None:
        entry["status"] = "skipped" if outcome.result.skipped else "done"
        entry["flags"] = [
            {"name": flag.name, "sentence": flag.sentence, "mend": flag.mend}
            for flag in outcome.flags
        ]
        entry["seconds"] = dict(outcome.result.seconds)
        record = known_record(outcome.destination.record) if outcome.destination else None
        entry["record"] = {} if record is None else record_as_json(record)
    return entry
