"""`tomofilt filters transfer`: a learned filter for other tilt angles."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from tomofilt.cli import options
from tomofilt.cli.filters.choice import print_line, read_series
from tomofilt.cli.values import parse_tilts
from tomofilt.errors import InputError

__all__ = ["transfer"]


def transfer(
    bundle: Annotated[
        Path, typer.Argument(metavar="BUNDLE", help="A filter that was learned for each tilt.")
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="NEW", help="The bundle to write, NAME.tomofilt.safetensors."
        ),
    ],
    to: Annotated[
        Path | None,
        typer.Option(
            "--to",
            metavar="PROJECT",
            help="Take the tilt angles of this IMOD folder or RELION STAR file.",
        ),
    ] = None,
    tomogram_name: options.TomogramName = None,
    tilts: Annotated[
        str | None,
        typer.Option(
            "--tilts",
            metavar="FIRST:LAST:STEP|FILE",
            help="The tilt angles in degrees, instead of --to: -60:60:3, or a file with angles.",
        ),
    ] = None,
    method: Annotated[
        Literal["nearest", "linear", "cubic", "polynomial"],
        typer.Option(
            "--method",
            help="How gains between the learned tilts are found. polynomial: of order 4, fitted by "
            "least squares.",
        ),
    ] = "polynomial",
    overwrite: options.OverwriteFile = False,
) -> None:
    """Make a filter for other tilt angles from one that was learned for each tilt.

    `tomofilt reconstruct -m` does this by itself, with polynomials. Image and pixel sizes need no
    transfer.
    """
    from tomofilt.filters import transfer as library
    from tomofilt.filters.learned import read_filter
    from tomofilt.io.bundle import save_bundle

    if (to is None) == (tilts is None):
        raise InputError("give the tilts to transfer to: either --to PROJECT or --tilts -60:60:3")
    chosen = read_filter(bundle)
    if to is not None:
        tilt_deg = read_series(to, tomogram_name).geometry.factor()[1].tilt_deg
    else:
        tilt_deg = parse_tilts(tilts or "")
    found = library.transfer(chosen, tilt_deg, method)
    assert found.bundle is not None
    metadata = {**found.bundle.metadata, "transferred_from": found.bundle.sha256}
    # what the parametrisation says is said again by whoever reads it
    new = found.to_bundle({**metadata, "notes": list(found.notes[1:])})
    save_bundle(output, new, overwrite=overwrite)
    print_line(f"{output}: {found.notes[-1]}")
