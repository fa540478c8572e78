"""`tomofilt inspect`: what would be used, file by file and view by view."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tomofilt.cli import options
from tomofilt.cli.command import exclusive
from tomofilt.cli.series import chosen_series
from tomofilt.cli.values import parse_views

if TYPE_CHECKING:
    from rich.console import RenderableType

    from tomofilt.series.tiltseries import ImageSource, TiltSeries

__all__ = ["describe", "inspect"]


def inspect(
    context: typer.Context,
    path: Annotated[
        Path,
        typer.Argument(
            metavar="PATH",
            help="IMOD folder, STAR file of RELION, or another kind of project that is installed.",
        ),
    ],
    *,
    tomogram_name: options.TomogramName = None,
    input_pixel_size: options.InputPixelSize = None,
    exclude: options.Exclude = None,
    thickness: options.Thickness = None,
    thickness_px: options.ThicknessPx = None,
    shape: options.Shape = None,
    as_json: options.Json = False,
) -> None:
    """Show what would be used: files, sizes, the geometry of every view, and their sources.

    Nothing is written.
    """
    from rich.console import Console

    from tomofilt.series.projects import SeriesOptions, detect

    thickness, thickness_px = exclusive(context, thickness=thickness, thickness_px=thickness_px)
    asked = SeriesOptions(
        input_pixel_angst=input_pixel_size,
        exclude=parse_views(exclude),
        thickness_angst=thickness,
        thickness_px=thickness_px,
        shape_px=shape,
    )
    described: list[dict[str, Any]] = []
    errors: list[Exception | None] = []
    console = Console(highlight=False, markup=False, emoji=False)
    for project, name in chosen_series([detect(path)], tomogram_name):
        try:
            description = describe(project.read(name, asked))
        except Exception as error:
            errors.append(error)
            continue
        errors.append(None)
        described.append(description)
        if not as_json:
            for part in _pages(description):
                console.print(part, soft_wrap=isinstance(part, str))
    if as_json:
        typer.echo(json.dumps({"series": described}, indent=1, default=str))
    failures = [error for error in errors if error]
    if failures:
        from tomofilt.jobs.many import exit_code, explain

        if len(errors) == 1:
            raise failures[0]
        for failure in failures:
            typer.echo(f"tomofilt: {explain(failure)[0]}", err=True)
        raise typer.Exit(exit_code(errors))


def describe(series: TiltSeries) -> dict[str, Any]:
    """Everything that is known about a series, ready for JSON; geometry from its view maps."""
    grid, local = series.grid, series.geometry.local
    nz, ny, nx = grid.shape
    return {
        "name": series.name,
        "images": _images(series.images),
        "halves": [_images(half) for half in series.halves or ()],
        "tomogram": {
            "size_px": [nx, ny, nz],
            "pixel_angst": grid.voxel_angst,
            "thickness_angst": nz * grid.voxel_angst,
            "centre_px": list(grid.centre[::-1]),
            "binning": series.binning,
        },
        "views": _views(series),
        "local_alignment_patches": (
            None if local is None else [len(local.x_angst), len(local.y_angst)]
        ),
        "log_base": series.log_base,
        "ctf": _ctf(series),
        "ctf_done": series.ctf_done,
        "dose_done": series.dose_done,
        "native_filter": None if series.native_filter is None else "imod",
        "facts": {
            name: {"value": _plain(fact.value), "source": fact.source}
            for name, fact in series.facts.items()
        },
        "notes": list(series.notes),
        "files": [str(file) for file in series.files],
    }


def _ctf(series: TiltSeries) -> dict[str, Any] | None:
    """What all views share; their defocus is with the views."""
    ctf = series.ctf
    names = ("voltage_kv", "cs_mm", "amplitude_contrast", "hand")
    return None if ctf is None else {name: getattr(ctf, name) for name in names}


def _images(source: ImageSource) -> dict[str, Any]:
    count, ny, nx = source.shape
    return {
        "count": count,
        "size_px": [nx, ny],
        "pixel_angst": source.pixel_angst,
        "files": [str(file) for file in source.files],
    }


def _views(series: TiltSeries) -> list[dict[str, Any]]:
    """One entry an image, in the order of the images.

    The factors of a view map ``Rz(rotation) Ry(tilt) Rx(xtilt)`` are ``a = cos(tilt)``,
    ``b = sin(tilt) / cos(xtilt)`` and ``e = -tan(xtilt)``; the warp's first column points along
    the rotated x axis.
    """
    import numpy as np

    warp, slices = series.geometry.factor()
    xtilt_rad = -np.arctan(slices.e)
    tilt_deg = np.degrees(np.arctan2(slices.b * np.cos(xtilt_rad), slices.a))
    rotation_deg = np.degrees(np.arctan2(warp[:, 1, 0], warp[:, 0, 0]))
    shift_angst = series.geometry.image_from_volume[:, :, 3]
    scale = np.hypot(slices.a, slices.b * np.cos(xtilt_rad))
    used = {
        int(image): {
            "index": int(image) + 1,
            "used": True,
            "tilt_deg": round(float(tilt_deg[i]), 4),
            "rotation_deg": round(float(rotation_deg[i]), 4),
            "shift_x_angst": round(float(shift_angst[i, 0]), 3),
            "shift_y_angst": round(float(shift_angst[i, 1]), 3),
            "xtilt_deg": round(float(np.degrees(xtilt_rad[i])), 4) + 0.0,
            "scale": round(float(scale[i]), 6),
            "dose_e_per_a2": (
                None if series.dose_e_per_a2 is None else float(series.dose_e_per_a2[i])
            ),
            "defocus_um": (
                None if series.ctf is None else round(float(series.ctf.defocus_angst[i]) / 1e4, 4)
            ),
        }
        for i, image in enumerate(series.views)
    }
    return [
        used.get(image, {"index": image + 1, "used": False})
        for image in range(series.images.shape[0])
    ]


def _plain(value: object) -> object:
    """Turn numpy's arrays and numbers into lists and numbers."""
    return value.tolist() if hasattr(value, "tolist") else value


def _pages(description: Mapping[str, Any]) -> list[RenderableType]:
    images, tomogram, views = (description[key] for key in ("images", "tomogram", "views"))
    used = [view for view in views if view["used"]]
    tilts = [view["tilt_deg"] for view in used]
    nx, ny, nz = tomogram["size_px"]
    lines = [
        f"{description['name']}",
        f"  images     {images['count']} of {images['size_px'][0]} x {images['size_px'][1]} px, "
        f"{images['pixel_angst']:g} A/px",
        f"  views      {len(used)} used, {len(views) - len(used)} excluded; "
        f"tilt {min(tilts):.1f} to {max(tilts):.1f} deg",
        f"  tomogram   {nx} x {ny} x {nz} px (x, y, z), {tomogram['pixel_angst']:g} A/px, "
        f"{tomogram['thickness_angst']:.0f} A thick",
    ]
    if tomogram["binning"] != 1:
        lines.append(f"  binning    {tomogram['binning']:g}, as the project does")
    if description["local_alignment_patches"]:
        columns, rows = description["local_alignment_patches"]
        lines.append(f"  local      alignment in {columns} x {rows} patches")
    if description["log_base"] is not None:
        lines.append(f"  logarithm  of the images, base {description['log_base']:g}")
    halves = [", ".join(half["files"]) for half in description["halves"]]
    lines.append(f"  halves     {' and '.join(halves) if halves else 'none found'}")
    done = [each for each in (description["ctf_done"], description["dose_done"]) if each]
    lines += [f"  corrected  {each}" for each in done]
    lines += [f"  note       {note}" for note in description["notes"]]
    lines += ["", "Files"]
    lines += [f"  {file}" for file in description["files"]]
    return [
        "\n".join(lines) + "\n",
        _fact_table(description["facts"]),
        "",
        _view_table(views),
        "",
    ]


def _fact_table(facts: Mapping[str, Mapping[str, Any]]) -> RenderableType:
    from rich.table import Table

    table = Table("Number", "Value", "From", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name, fact in facts.items():
        table.add_row(f"  {name}", str(fact["value"]), fact["source"])
    return table


def _view_table(views: list[dict[str, Any]]) -> RenderableType:
    from rich.table import Table

    columns = {
        "tilt_deg": ("tilt\ndeg", "{:.2f}"),
        "rotation_deg": ("rotation\ndeg", "{:.2f}"),
        "shift_x_angst": ("shift x\nA", "{:.1f}"),
        "shift_y_angst": ("shift y\nA", "{:.1f}"),
        "xtilt_deg": ("x tilt\ndeg", "{:.2f}"),
        "scale": ("scale", "{:.4f}"),
        "dose_e_per_a2": ("dose before\ne/A2", "{:.1f}"),
        "defocus_um": ("defocus\num", "{:.2f}"),
    }
    used = [view for view in views if view["used"]]
    for unknown in ("dose_e_per_a2", "defocus_um"):
        if all(view[unknown] is None for view in used):
            del columns[unknown]
    if all(abs(view["scale"] - 1) < 1e-4 for view in used):
        del columns["scale"]
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("  view", justify="right")
    for title, _ in columns.values():
        table.add_column(title, justify="right")
    for view in views:
        number = f"{view['index']:>6}"
        if view["used"]:
            table.add_row(number, *(form.format(view[k]) for k, (_, form) in columns.items()))
        else:
            table.add_row(number, "excluded", style="dim")
    return table
