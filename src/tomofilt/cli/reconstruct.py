"""`tomofilt reconstruct`: tilt series in, tomograms out."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tomofilt.cli import options
from tomofilt.cli.command import exclusive
from tomofilt.cli.series import chosen_series
from tomofilt.cli.values import parse_memory, parse_views
from tomofilt.errors import InputError

if TYPE_CHECKING:
    from tomofilt.jobs.many import Job, Outcome, Summary
    from tomofilt.reconstruction.settings import Settings
    from tomofilt.series.projects import Project

__all__ = ["Work", "reconstruct", "requested"]


@dataclass(frozen=True)
class Work:
    """What a command line asks for.

    Parameters
    ----------
    jobs : list of Job
        One for each series of each project that was named.
    settings : Settings
    dry_run, as_json, quiet, verbose : bool
        See the options of these names.
    """

    jobs: list[Job]
    settings: Settings
    dry_run: bool
    as_json: bool
    quiet: bool
    verbose: bool


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
    overwrite: options.Overwrite = False,
    only_do_unfinished: options.OnlyDoUnfinished = False,
    device: options.Device = "auto",
    gpu: options.Gpu = None,
    threads: options.Threads = None,
    max_memory: options.MaxMemory = None,
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
    if denoise and filter is None and model is None:
        filter = "wiener-exact:match"
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
    projects = _open({"imod": imod_dir, "aretomo": aretomo}, relion_star, paths or ())
    jobs = [
        Job(project, name, output_dir, series)
        for project, name in chosen_series(projects, tomogram_name, axis)
    ]
    return Work(jobs, settings, dry_run, as_json, quiet, verbose)


@wraps(requested)
def reconstruct(**options: Any) -> None:
    """Do what is asked for; the command line is that of :func:`requested`."""
    from tomofilt.cli.reporter import ConsoleReporter
    from tomofilt.jobs import many as batch

    work = requested(**options)
    with ConsoleReporter(quiet=work.quiet, verbose=work.verbose) as reporter:
        try:
            run = batch.plan if work.dry_run else batch.run
            summary = run(work.jobs, work.settings, reporter)
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
    raise typer.Exit(summary.exit_code)


def _open(
    named: Mapping[str, Sequence[Path] | None], relion_star: Path | None, paths: Sequence[Path]
) -> list[Project]:
    """Open projects whose kind is named, with the paths that follow, or of any kind."""
    from tomofilt.series.projects import detect, project_type

    for kind, given in named.items():
        if given:
            project = project_type(kind)
            return [project.open(path) for path in dict.fromkeys([*given, *paths])]
    if relion_star:
        if paths:
            raise InputError(f"{paths[0]}: unexpected beside --relion-star; one project at a time")
        return [project_type("relion").open(relion_star)]
    if not paths:
        raise InputError(
            "nothing to reconstruct: give --imod-dir DIR or --relion-star FILE, or just a path"
        )
    return [detect(path) for path in dict.fromkeys(paths)]


def _as_json(summary: Summary) -> dict[str, Any]:
    return {
        "exit_code": summary.exit_code,
        "results": [_outcome_as_json(outcome) for outcome in summary.outcomes],
        "project_errors": [str(error) for error in summary.commit_errors],
    }


def _outcome_as_json(outcome: Outcome) -> dict[str, Any]:
    from tomofilt.io.record import record_as_json
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
        entry["seconds"] = dict(outcome.result.seconds)
        record = outcome.result.record
        entry["record"] = {} if record is None else record_as_json(record)
    return entry
