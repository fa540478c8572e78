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
from importlib import import_module
from typing import Annotated, Any

import typer

from tomofilt.cli.command import Command
from tomofilt.util.plugins import plugins
from tomofilt.util.signals import raise_if_stopped, stoppable

__all__ = ["main", "make_app"]

#: For `submit`: what it does not know is for `tomofilt reconstruct`.
_PASSES_ON = {"allow_extra_args": True, "ignore_unknown_options": True}
#: The commands in the order of the help, each in a module of that name beside this one, and what
#: click is told of them.
_COMMANDS: dict[str, dict[str, bool]] = {
    "reconstruct": {},
    "inspect": {},
    "evaluate": {},
    "report": {},
    "overview": {},
    "submit": _PASSES_ON,
    "simulate": {},
    "train": {},
    "filters": {},
    "doctor": {},
}


def make_app(wanted: str | None = None) -> typer.Typer:
    """The command line, with all of its commands or with one: a command need not load the others.

    Parameters
    ----------
    wanted : str, optional
        One of tomofilt's own commands; anything else counts as none.
    """
    app = typer.Typer(
        name="tomofilt",
        help="Filtered back-projection for cryo-ET, inside IMOD and RELION 5 projects.",
        rich_markup_mode="markdown",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_options)
    for name in [wanted] if wanted in _COMMANDS else _COMMANDS:
        module = import_module(f"tomofilt.cli.{name}")
        _add(app, name, getattr(module, "app", None) or getattr(module, name))
    if wanted not in _COMMANDS:
        for plugin in plugins("tomofilt.commands"):
            _add(app, plugin.name, plugin.load())
    return app


def _add(app: typer.Typer, name: str, command: Any) -> None:
    """Add a command, or a group of them."""
    if isinstance(command, typer.Typer):
        app.add_typer(command, name=name)
    else:
        app.command(name, cls=Command, context_settings=_COMMANDS.get(name))(command)


def _print_version(wanted: bool) -> None:
    if wanted:
        from tomofilt import __version__

        typer.echo(f"tomofilt {__version__}")
        raise typer.Exit


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
            return _run(sys.argv[1:] if arguments is None else arguments)
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


def _run(arguments: Sequence[str]) -> int:
    try:
        make_app(arguments[0] if arguments else None)(args=arguments, prog_name="tomofilt")
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
