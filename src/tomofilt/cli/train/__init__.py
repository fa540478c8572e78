"""`tomofilt train`: filters and denoising networks that are learned."""

from __future__ import annotations

import typer

from tomofilt.cli.command import Command
from tomofilt.cli.train.filter import train_filter
from tomofilt.cli.train.head import train_head

__all__ = ["app"]

app = typer.Typer(
    help="Learn a filter from series whose specimens are known, or a denoising network.",
    no_args_is_help=True,
)
app.command("filter", cls=Command)(train_filter)
app.command("head", cls=Command)(train_head)
