"""`tomofilt reconstruct`: tilt series in, tomograms out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tomofilt.cli import options
from tomofilt.cli.values import chosen_series, overrides, parse_memory, settle
from tomofilt.errors import InputError

if TYPE_CHECKING:
    from tomofilt.jobs.many import Job, Outcome, Summary
    from tomofilt.reconstruction.plan import Settings
    from tomofilt.series.projects import Project

__all__ = ["reconstruct"]


def reconstruct(
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
    relion_star: options.RelionStar = None,
    tomogram_name: options.TomogramName = None,
    input_pixel_size: options.InputPixelSize = None,
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
    interpolation: options.Interpolate = None,
    projector: options.ProjectorName = "fast",
    normalise: options.Normalise = "sum",
    output_dir: options.OutputDir = None,
    orientation: options.Orientation = "zyx",
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
) -> None:
    """Reconstruct the tilt series of IMOD folders or of a RELION 5 project.

    Finished tomograms are skipped, unless --overwrite is given. A series that fails does not stop
    the others.

    Exit code: 0 all done, 1 some series failed, 2 input or options that cannot be used,
    3 no memory or no such device, 130 interrupted.
    """
    values = dict(locals())
    from tomofilt.cli.reporter import ConsoleReporter
    from tomofilt.jobs import many as batch

    settings = build_settings(context, values)
    jobs = build_jobs(context, values)
    with ConsoleReporter(quiet=quiet, verbose=verbose) as reporter:
        try:
            summary = (batch.plan if dry_run else batch.run)(jobs, settings, reporter)
        except KeyboardInterrupt:
            reporter.error("interrupted; the same command goes on where this one stopped")
            raise
    reporter.summarise(summary)
    if as_json:
        typer.echo(json.dumps(_as_json(summary), indent=1, default=str))
    elif dry_run:
        for outcome in summary.outcomes:
            if outcome.plan is not None:
                typer.echo("\n".join(outcome.plan.lines()))
    raise typer.Exit(summary.exit_code)


def build_settings(context: typer.Context, values: dict[str, Any]) -> Settings:
    """Make settings from the options; what was not given is left to the library's defaults."""
    from tomofilt.projectors.select import choose, device_text
    from tomofilt.reconstruction.plan import Settings

    device = device_text(values["device"], values["gpu"])
    if device.startswith("cuda"):
        choose(device)  # no GPU is one error, not one for each series
    size = settle(context, values, "pixel_size", "bin")
    thickness = settle(context, values, "thickness", "thickness_px")
    filters = settle(context, values, "filter", "model")
    if values["overwrite"] and values["only_do_unfinished"]:
        raise InputError("--overwrite and --only-do-unfinished exclude each other: give one")
    if values["denoise"] and filters["filter"] is None and filters["model"] is None:
        filters["filter"] = "wiener-exact:match"
    chosen = {
        "filter": filters["filter"],
        "model": filters["model"],
        "cutoff": values["cutoff"],
        "bin": size["bin"],
        "pixel_angst": size["pixel_size"],
        "thickness_angst": thickness["thickness"],
        "thickness_px": thickness["thickness_px"],
        "shape_px": values["shape"],
        "device": device,
        "max_memory_bytes": parse_memory(values["max_memory"]),
    }
    same = (
        "interpolation projector normalise orientation dtype invert flip_z threads overwrite "
        "preview halves ctf dose_weight denoise head"
    )
    chosen |= {name: values[name] for name in same.split()}
    return Settings(**{name: value for name, value in chosen.items() if value is not None})


def build_jobs(context: typer.Context, values: dict[str, Any]) -> list[Job]:
    """One job for each series of each project that was named."""
    from tomofilt.jobs.many import Job

    given = settle(context, values, "imod_dir", "relion_star")
    projects = _open(given["imod_dir"], given["relion_star"], values["paths"] or ())
    asked = overrides(context, values)
    return [
        Job(project, name, values["output_dir"], asked)
        for project, name in chosen_series(projects, values["tomogram_name"])
    ]


def _open(
    imod_dirs: Sequence[Path] | None, relion_star: Path | None, paths: Sequence[Path]
) -> list[Project]:
    from tomofilt.series.projects import detect, project_type

    if imod_dirs:
        imod = project_type("imod")
        return [imod.open(path) for path in dict.fromkeys([*imod_dirs, *paths])]
    if relion_star:
        if paths:
            raise InputError(f"{paths[0]}: unexpected beside --relion-star; one project at a time")
        return [project_type("relion").open(relion_star)]
    if not paths:
        raise InputError("nothing to reconstruct: give --imod-dir DIR or --relion-star FILE")
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
