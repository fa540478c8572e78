"""`tomofilt train --self`: the filter of one series, refined on the series itself."""

from __future__ import annotations

from typing import Any

import typer

from tomofilt.cli.values import chosen_series, parse_memory, settle
from tomofilt.errors import InputError, OutputExistsError

__all__ = ["check_mode", "refine_series"]

#: Options that only `--self` has, and those that both ways of training have.
OF_SELF = {"imod_dir", "relion_star", "tomogram_name", "bin", "thickness", "halves"}
OF_BOTH = {"from_itself", "output", "overwrite", "max_memory", "quiet"}


def check_mode(context: typer.Context, from_itself: bool) -> None:
    """Refuse options that the other way of training has."""
    for parameter in context.command.params:
        name = parameter.name or ""
        source = context.get_parameter_source(name)
        if name in OF_BOTH or source is None or source.name == "DEFAULT":
            continue
        if (name in OF_SELF) is not from_itself:
            option = parameter.opts[0]
            reason = "does not go with --self" if from_itself else "goes with --self only"
            raise InputError(f"{option} {reason}: leave it out")


def refine_series(context: typer.Context, values: dict[str, Any]) -> None:
    """Refine the filter of a series, and write it."""
    from tomofilt.bundle import save_bundle
    from tomofilt.cli.reporter import ConsoleReporter
    from tomofilt.plan import Settings
    from tomofilt.projects import project_type
    from tomofilt.training.refine import refine
    from tomofilt.training.supervised import Outputs

    bundle, overwrite = Outputs(values["output"]).bundle, values["overwrite"]
    if bundle.exists() and not overwrite:
        raise OutputExistsError(
            f"{bundle} exists already: give --overwrite to replace it, or choose another name"
        )
    given = settle(context, values, "imod_dir", "relion_star")
    kind = "imod" if given["imod_dir"] else "relion"
    path = given["imod_dir"] or given["relion_star"]
    if path is None:
        raise InputError("--self learns from a series: give --imod-dir DIR or --relion-star FILE")
    name = values["tomogram_name"]
    found = chosen_series([project_type(kind).open(path)], [name] if name else None)
    if len(found) > 1:
        raise InputError(
            f"{path} holds {len(found)} tilt series: choose one with --tomogram-name, "
            f"{found[0][1]} say"
        )
    project, name = found[0]
    settings = Settings(
        bin=values["bin"],
        thickness_angst=values["thickness"],
        max_memory_bytes=parse_memory(values["max_memory"]),
    )
    halves = None if values["halves"] == "auto" else values["halves"]
    with ConsoleReporter(quiet=values["quiet"]) as reporter:
        series = project.read(name, {})
        result = refine(series, settings, halves, reporter.note)
    save_bundle(bundle, result.filter.to_bundle(result.metadata(series)), overwrite=overwrite)
    if not values["quiet"]:
        typer.echo(f"{bundle}: {'refined' if result.kept else 'as wiener-exact:match'}")
