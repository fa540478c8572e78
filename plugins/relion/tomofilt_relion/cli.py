"""`tomofilt relion`: tomofilt as a job of RELION's pipeline."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperCommand, TyperGroup

from tomofilt.errors import InputError

if TYPE_CHECKING:
    from tomofilt.cli.reconstruct import Work
    from tomofilt.jobs.many import Job, Summary
    from tomofilt_relion.job import JobControl, Request
    from tomofilt_relion.ranks import Rank

__all__ = ["app"]

_HELP = ("-h", "--help")


class _Group(TyperGroup):
    """RELION puts labels behind the command at once: they are those of an External job."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0].startswith("-") and args[0] not in _HELP:
            args = ["job", *args]
        rest: list[str] = super().parse_args(ctx, args)
        return rest


class _Verbatim(TyperCommand):
    """A command whose arguments are RELION's, which has rules of its own for them."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] in _HELP:
            super().parse_args(ctx, args)
        super().parse_args(ctx, [])
        ctx.args = list(args)
        return args


app = typer.Typer(
    name="relion",
    cls=_Group,
    help="Be a job of a RELION 5 project: an External job, or the Tomograms job itself.",
    no_args_is_help=True,
    context_settings={"help_option_names": list(_HELP)},
)


@app.command(cls=_Verbatim)
def job(context: typer.Context) -> None:
    """Run as an External job; the word `job` can be left out.

    In RELION's External job, the executable is `tomofilt relion` and the input micrographs are the
    path of aligned_tilt_series.star. Parameters are options of `tomofilt reconstruct` without
    their dashes: thickness, filter, pixel-size. "Continue" goes on where the job stopped.
    """
    raise typer.Exit(_run(context.args, external=True))


@app.command(cls=_Verbatim)
def native(context: typer.Context) -> None:
    """Run with the arguments of relion_tomo_reconstruct_tomogram.

    Options that have no meaning here are named in the log; options of `tomofilt reconstruct` are
    understood too. See `tomofilt relion shim-path`.
    """
    raise typer.Exit(_run(context.args, external=False))


@app.command("native-mpi", cls=_Verbatim)
def native_mpi(context: typer.Context) -> None:
    """Run with the arguments of relion_tomo_reconstruct_tomogram_mpi, by mpirun or srun.

    The processes share the series.
    """
    from tomofilt_relion.ranks import Rank

    rank = Rank.from_environment(os.environ)
    code = _run(context.args, external=False, rank=rank)
    # mpirun ends all processes when one fails: the first one tells of the others
    raise typer.Exit(code if rank.number == 0 else 0)


@app.command("shim-path")
def shim_path() -> None:
    """Print the folder that, first on PATH, makes RELION's Tomograms job run tomofilt."""
    from tomofilt_relion.shim import install

    typer.echo(install())


def _run(arguments: Sequence[str], *, external: bool, rank: Rank | None = None) -> int:
    """Run a job from RELION's command line, or this process's part; return the exit code."""
    from tomofilt_relion.job import (
        JobControl,
        JobReporter,
        Request,
        control_folder,
        split_labels,
    )
    from tomofilt_relion.ranks import Rank, RankFile

    labels = split_labels(arguments)
    rank = rank or Rank()
    folder = control_folder(labels)
    try:
        with RankFile(folder, rank) as said, JobControl(folder, rank) as control:
            # these take a while, and RELION may ask to stop
            from tomofilt.cli.reconstruct import workers_for
            from tomofilt.jobs import many as batch
            from tomofilt.util.log import notes_told_to

            command = _option_parser()
            request = Request.read(labels, _known_options(command))
            work, jobs = _prepare(command, request)
            settings, workers = workers_for(work)
            jobs = jobs[rank.number :: rank.count]
            if request.without_meaning:
                typer.echo(f"of no meaning to tomofilt: {', '.join(request.without_meaning)}")
            reporter = JobReporter()
            with notes_told_to(reporter.note), workers as executor:
                summary = batch.run(jobs, settings, reporter, executor)
            _conclude(summary, control, request.folder, external=external)
            said.succeeded = control.succeeded
    except KeyboardInterrupt as error:
        typer.echo(f"aborted: {error or 'interrupted'}; Continue goes on from here", err=True)
        return 130
    return summary.exit_code


def _option_parser() -> Any:
    """A command with the options of `tomofilt reconstruct`, which returns what they ask for."""
    from tomofilt.cli.command import Command
    from tomofilt.cli.reconstruct import requested

    parser = typer.Typer(add_completion=False)
    parser.command(cls=Command)(requested)
    return typer.main.get_command(parser)


def _known_options(command: Any) -> dict[str, int | None]:
    """Every spelling of its options, with the number of values, None for any number."""
    from tomofilt.cli.command import ALIASES

    known: dict[str, int | None] = {}
    for parameter in command.params:
        if parameter.param_type_name != "option" or parameter.name in _NOT_HERE:
            continue
        count = 0 if parameter.is_flag else None if parameter.multiple else parameter.nargs
        known |= dict.fromkeys((*parameter.opts, *parameter.secondary_opts), count)
    return known | {name: known[own] for name, own in ALIASES.items() if own in known}


#: Options of reconstruct that RELION's own take the place of, or that make no sense in a job.
_NOT_HERE = (
    "imod_dir",
    "aretomo",
    "relion_star",
    "output_dir",
    "nth",
    "watch",
    "idle",
    "strict",
    "dry_run",
    "as_json",
    "quiet",
    "verbose",
    "help",
)


def _prepare(command: Any, request: Request) -> tuple[Work, list[Job]]:
    try:
        work = command.main(list(request.options), standalone_mode=False)
    except Exception as error:
        explain = getattr(error, "format_message", None)  # of typer's own errors
        if explain is None:
            raise
        raise InputError(explain()) from error
    jobs = work.jobs
    if request.tilt_offset_deg or request.projection:
        opened: Any = jobs[0].project
        project = replace(
            opened, tilt_offset_deg=request.tilt_offset_deg, projection=request.projection
        )
        jobs = [replace(each, project=project) for each in jobs]
    return work, jobs


def _conclude(summary: Summary, control: JobControl, folder: Path, *, external: bool) -> None:
    from tomofilt.jobs.many import explain
    from tomofilt_relion.output import project_path

    for error in summary.commit_errors:
        typer.echo(f"tomofilt: {explain(error)[0]}", err=True)
    star = folder / "tomograms.star"
    if external and star.exists():
        control.write_nodes(project_path(Path.cwd(), star))
    control.succeeded = summary.exit_code == 0
