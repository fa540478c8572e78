"""`tomofilt overview`: a page about all tomograms of some folders."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tomofilt.errors import InputError, OutputError

__all__ = ["overview"]


def overview(
    folders: Annotated[
        list[Path],
        typer.Argument(metavar="DIR", help="Folders with tomograms, and all in them."),
    ],
) -> None:
    """Write an overview of tomograms, the worst first: tomofilt_session.html and .csv.

    The files stand in the first folder. The page needs no network and no other file; it can be
    sorted and searched. Batches of several series write it by themselves.
    """
    from tomofilt.jobs.overview import Overview, records_below

    page = Overview(folders[0])
    count = 0
    for folder in dict.fromkeys(folders):
        for record, destination in records_below(folder):
            page.add_record(record, destination)
            count += 1
    if not count:
        raise InputError(f"{folders[0]}: there is no tomogram of tomofilt's, with its record, here")
    written = page.write()
    if written is None:
        raise OutputError(f"{folders[0]}: the overview could not be written there")
    typer.echo(f"{written}: {count} tomogram{'s' * (count > 1)}")
