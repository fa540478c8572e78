"""The executable: its commands, and what becomes of errors."""

from __future__ import annotations

import atexit
import ctypes
import gc
import os
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from typing import Annotated

import typer

from tomofilt.cli import filters, train
from tomofilt.cli.command import Command
from tomofilt.cli.doctor import doctor
from tomofilt.cli.evaluate import evaluate
from tomofilt.cli.inspect import inspect
from tomofilt.cli.overview import overview
from tomofilt.cli.reconstruct import reconstruct
from tomofilt.cli.report import report
from tomofilt.cli.simulate import simulate
from tomofilt.cli.submit import PASSED_ON, submit
from tomofilt.util.plugins import plugins
from tomofilt.util.signals import raise_if_stopped, stoppable

__all__ = ["app", "main"]

app = typer.Typer(
    name="tomofilt",
    help="Filtered back-projection for cryo-ET, inside IMOD and RELION 5 projects.",
    rich_markup_mode="markdown",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("reconstruct", cls=Command)(reconstruct)
app.command(cls=Command)(inspect)
app.command(cls=Command)(evaluate)
app.command(cls=Command)(report)
app.command(cls=Command)(overview)
app.command(cls=Command, context_settings=PASSED_ON)(submit)
app.command(cls=Command)(simulate)
app.add_typer(train.app, name="train")
app.add_typer(filters.app, name="filters")
app.command(cls=Command)(doctor)
for plugin in plugins("tomofilt.commands"):
    command = plugin.load()
    if isinstance(command, typer.Typer):
        app.add_typer(command, name=plugin.name)
    else:
        app.command(plugin.name, cls=Command)(command)


def _print_version(wanted: bool) -> None:
    if wanted:
        from tomofilt import __version__

        typer.echo(f"tomofilt {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    pass


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Parameters
    ----------
    arguments : sequence of str, optional
        Default is ``sys.argv[1:]``.
    """
    # numba leaves millions of objects that live as long as the process: walking them while they are
    # loaded, and above all on the way out, costs a third of a second of every command
    gc.set_threshold(10_000)
    atexit.register(gc.freeze)
    # images are worked on by a thread each: within one, BLAS's own threads only wait for each other
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    _keep_freed_memory()
    try:
        with stoppable():
            return _run(arguments)
    except KeyboardInterrupt:
        return 130


def _keep_freed_memory() -> None:
    """Have glibc keep what is freed, image by image, rather than fetch it page by page again.

    That takes a tenth of a small reconstruction otherwise; 256 MB at most are kept.
    """
    trim_threshold, mmap_threshold = -1, -3  # glibc's malloc.h
    with suppress(OSError, AttributeError, TypeError):  # other C libraries have no such switch
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(mmap_threshold, 32 << 20)  # the most it takes
        mallopt(trim_threshold, 256 << 20)


def _run(arguments: Sequence[str] | None) -> int:
    try:
        app(args=arguments, prog_name="tomofilt")
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(bool(stop.code))
    except Exception as error:
        from tomofilt.cli.reporter import debugging
        from tomofilt.jobs.many import explain

        raise_if_stopped()
        message, code = explain(error)
        if debugging():
            traceback.print_exception(error)
        print(f"tomofilt: {message}", file=sys.stderr)
        return code
    return 0
