"""`tomofilt filters list`: which filters there are."""

from __future__ import annotations

from tomofilt.cli.filters.choice import plain_console

__all__ = ["list_filters"]


def list_filters() -> None:
    """List every filter, with its argument."""
    from rich.table import Table

    from tomofilt.io.bundle import SUFFIX
    from tomofilt.reconstruction.methods.registry import available

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("Filter", no_wrap=True)
    table.add_column("What it does")
    for name, argument, description in available():
        table.add_row(name + argument, description)
    console = plain_console()
    console.print(table)
    console.print(
        "\n[...] may be left out. A CUTOFF or SIGMA is in cycles per pixel of the tomogram, or a "
        f"resolution: 60A. Learned filters are files, NAME{SUFFIX}: reconstruct -m."
    )
