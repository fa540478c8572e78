"""`tomofilt filters`: which filters there are, and what each does to which frequency."""

from __future__ import annotations

import typer

from tomofilt.cli.command import Command
from tomofilt.cli.filters.compare import compare
from tomofilt.cli.filters.export import export
from tomofilt.cli.filters.list import list_filters
from tomofilt.cli.filters.show import show
from tomofilt.cli.filters.transfer import transfer

__all__ = ["app"]

app = typer.Typer(
    help="List the filters, look at what they do, and transfer learned ones to other tilts.",
    no_args_is_help=True,
)
app.command("list", cls=Command)(list_filters)
app.command("show", cls=Command)(show)
app.command("compare", cls=Command)(compare)
app.command("export", cls=Command)(export)
app.command("transfer", cls=Command)(transfer)
