"""`tomofilt submit`: an array script for clusters on which no program may stay and wait."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from tomofilt.cli.many_options import CLUSTER, Cluster
from tomofilt.errors import InputError

__all__ = ["submit"]

#: Options of `tomofilt reconstruct` that a job of an array has no use for.
_NOT_HERE = ("--workers", "--dask-scheduler", "--nth", "--watch", "--idle", "--dry-run")
#: SLURM's directives for what the site's file says.
_DIRECTIVES = {
    "queue": "--partition",
    "memory": "--mem",
    "walltime": "--time",
    "account": "--account",
}


def submit(
    context: typer.Context,
    *,
    script: Annotated[
        Path,
        typer.Option("--script", metavar="FILE", help="Script to write.", rich_help_panel=CLUSTER),
    ],
    cluster: Cluster = None,
) -> None:
    """Write a SLURM array script that reconstructs each series as a job of its own.

    All other options are those of `tomofilt reconstruct`. A second script, which is to run after
    the array, tells the project of the finished tomograms and writes the overview. The command that
    submits both is printed; nothing is submitted.
    """
    from tomofilt.io.files import write_text_atomic
    from tomofilt.jobs.cluster import Site

    for name in _NOT_HERE:
        if name in context.args:
            raise InputError(f"{name} is for one program that stays: leave it out of the script")
    count = _count(context.args)
    site = Site.read(cluster) if cluster else None
    if site is not None and site.kind != "slurm":
        raise InputError(f"{cluster} is for {site.kind}: array scripts are written for SLURM alone")
    last = script.with_stem(f"{script.stem}_last")
    command = ["tomofilt", "reconstruct", *context.args]
    # what the array has made is not made again
    only_missing = [word for word in command if word != "--overwrite"]
    array = [f"#SBATCH --array=1-{count}", *_header(site)]
    for path, head, line in (
        (script, array, f'{shlex.join(command)} --nth "$SLURM_ARRAY_TASK_ID"'),
        (last, _header(site), shlex.join(only_missing)),
    ):
        prologue = site.options.get("job_script_prologue", []) if site else []
        text = ["#!/bin/bash", *head, "set -e", f"cd {shlex.quote(str(Path.cwd()))}"]
        write_text_atomic(path, "\n".join([*text, *prologue, line, ""]), replace=False)
    typer.echo(f"{script}: {count} series; {last}: what comes after. Submit both with", err=True)
    name, after = (shlex.quote(str(path)) for path in (script, last))
    typer.echo(f"sbatch --dependency=afterany:$(sbatch --parsable {name}) {after}")


def _count(arguments: list[str]) -> int:
    """How many series a command line of `tomofilt reconstruct` is about."""
    from tomofilt.cli.command import Command
    from tomofilt.cli.reconstruct import requested

    parser = typer.Typer(add_completion=False)
    parser.command(cls=Command)(requested)
    command: Any = typer.main.get_command(parser)
    work = command.main(args=list(arguments), prog_name="tomofilt submit", standalone_mode=False)
    if isinstance(work, int):  # --help, say
        sys.exit(work)
    return len(work.jobs)


def _header(site: Any) -> list[str]:
    if site is None:
        return []
    lines = [
        f"#SBATCH {directive}={site.options[name].replace('GB', 'G').replace('MB', 'M')}"
        for name, directive in _DIRECTIVES.items()
        if name in site.options
    ]
    more = [f"#SBATCH {text}" for text in site.options.get("job_extra_directives", [])]
    return [f"#SBATCH --cpus-per-task={site.cores}", *lines, *more]
