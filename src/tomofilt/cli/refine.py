"""`tomofilt train --self`: the filter of one series, refined on the series itself."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from tomofilt.cli.values import chosen_series, parse_memory, settle
from tomofilt.errors import InputError, OutputExistsError

if TYPE_CHECKING:
    from tomofilt.series.projects import Project

__all__ = ["check_mode", "refine_series", "refuse_taken", "series_of"]

#: Options that each way of training alone has, and those that all have.
_SERIES = {"imod_dir", "relion_star", "tomogram_name", "bin", "thickness"}
_OF_MODE = {"--self": {*_SERIES, "from_itself", "halves"}, "--head": {*_SERIES, "head", "truth"}}
_OF_ALL = {"output", "overwrite", "max_memory", "quiet"}


def check_mode(context: typer.Context, mode: str | None) -> None:
    """Refuse options that other ways of training have; ``mode`` is --self, --head or none."""
    special = set().union(*_OF_MODE.values())
    for parameter in context.command.params:
        name = parameter.name or ""
        source = context.get_parameter_source(name)
        if name in _OF_ALL or source is None or source.name == "DEFAULT":
            continue
        allowed = name not in special if mode is None else name in _OF_MODE[mode]
        if not allowed:
            option = parameter.opts[0]
            owners = " or ".join(mode for mode, names in _OF_MODE.items() if name in names)
            reason = f"goes with {owners} only" if owners else f"does not go with {mode}"
            raise InputError(f"{option} {reason}: leave it out")


def refuse_taken(path: Path, *, overwrite: bool) -> None:
    """Refuse to train for a bundle that could not be written, or whose name is taken."""
    from tomofilt.io.bundle import check_place

    check_place(path)
    if path.exists() and not overwrite:
        raise OutputExistsError(
            f"{path} exists already: give --overwrite to replace it, or choose another name"
        )


def series_of(context: typer.Context, values: dict[str, Any]) -> tuple[Project, str]:
    """The one series that was named."""
    from tomofilt.series.projects import project_type

    given = settle(context, values, "imod_dir", "relion_star")
    kind = "imod" if given["imod_dir"] else "relion"
    path = given["imod_dir"] or given["relion_star"]
    if path is None:
        mode = "--self" if values["from_itself"] else "--head"
        raise InputError(f"{mode} learns from a series: give --imod-dir DIR or --relion-star FILE")
    name = values["tomogram_name"]
    found = chosen_series([project_type(kind).open(path)], [name] if name else None)
    if len(found) > 1:
        raise InputError(
            f"{path} holds {len(found)} tilt series: choose one with --tomogram-name, "
            f"{found[0][1]} say"
        )
    return found[0]


def refine_series(context: typer.Context, values: dict[str, Any]) -> None:
    """Refine the filter of a series, and write it."""
    from tomofilt.cli.reporter import ConsoleReporter
    from tomofilt.io.bundle import save_bundle
    from tomofilt.reconstruction.plan import Settings
    from tomofilt.series.projects import SeriesOptions
    from tomofilt.training.refine import refine

    bundle, overwrite = values["output"], values["overwrite"]
    refuse_taken(bundle, overwrite=overwrite)
    project, name = series_of(context, values)
    settings = Settings(
        bin=values["bin"],
        max_memory_bytes=parse_memory(values["max_memory"]),
    )
    halves = None if values["halves"] == "auto" else values["halves"]
    with ConsoleReporter(quiet=values["quiet"]) as reporter:
        series = project.read(name, SeriesOptions(thickness_angst=values["thickness"]))
        result = refine(series, settings, halves, reporter.note)
    save_bundle(bundle, result.filter.to_bundle(result.metadata(series)), overwrite=overwrite)
    if not values["quiet"]:
        typer.echo(f"{bundle}: {'refined' if result.kept else 'as wiener-exact:match'}")
