"""`tomofilt filters export`: the gains of a filter as numbers."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Annotated

import typer

from tomofilt.cli import options
from tomofilt.cli.filters.choice import (
    METAVAR,
    Chosen,
    For,
    PixelSize,
    Tilts,
    choose_filters,
    print_line,
    print_notes,
)
from tomofilt.errors import InputError

__all__ = ["export"]


def export(
    spec: Annotated[str, typer.Argument(metavar=METAVAR, help="The filter.")],
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help=".npz: gains of every view in two dimensions; .csv: across the tilt axis.",
        ),
    ],
    cutoff: options.Cutoff = None,
    series: For = None,
    tomogram_name: options.TomogramName = None,
    pixel_size: PixelSize = None,
    tilts: Tilts = None,
    overwrite: options.OverwriteFile = False,
) -> None:
    """Write the gains of every view of a filter as numbers."""
    from tomofilt.io.files import write_bytes_atomic

    if output.suffix not in (".npz", ".csv"):
        raise InputError(f"{output}: give a name that ends in .npz or .csv")
    [chosen] = choose_filters(
        [spec],
        cutoff=cutoff,
        series=series,
        names=tomogram_name,
        pixel_size=pixel_size,
        tilts=tilts,
    )
    print_notes(chosen.filter)
    content = _npz(chosen) if output.suffix == ".npz" else _csv(chosen)
    write_bytes_atomic(output, content, replace=overwrite)
    print_line(f"{output}: {chosen.filter.spec}, {len(chosen.context.tilt_deg)} views")


def _npz(chosen: Chosen) -> bytes:
    import numpy as np

    from tomofilt.filters.samples import sampled

    samples = sampled(*chosen)
    content = io.BytesIO()
    np.savez_compressed(
        content, spec=chosen.filter.spec, notes=np.array(chosen.filter.notes, str), **vars(samples)
    )
    return content.getvalue()


def _csv(chosen: Chosen) -> bytes:
    from tomofilt.filters.samples import sampled

    samples = sampled(*chosen, along=1)
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["k_per_angst", *(f"{tilt:.4g} deg" for tilt in samples.tilt_deg)])
    for i, k in enumerate(samples.k_across_per_angst):
        table.writerow([f"{k:.7g}", *(f"{gain:.7g}" for gain in samples.gains[:, 0, i])])
    return text.getvalue().encode()
