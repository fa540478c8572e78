"""A new output of AreTomo3: raw stack, alignment, CTF and exposure of one tilt series."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tomofilt.errors import InputError
from tomofilt.io.files import safe_name, write_text_atomic
from tomofilt.series.geometry import VolumeGrid
from tomofilt.series.projects import Acquisition, geometry_about, write_stack
from tomofilt.series.tiltseries import TiltSeries

__all__ = ["create_output"]


def create_output(folder: Path, series: TiltSeries, acquisition: Acquisition) -> Path:
    """Write ``NAME.mrc`` (and halves), ``NAME.aln``, ``NAME_CTF.txt`` and ``NAME_TLT.txt``.

    AreTomo's tomograms are as wide and high as the images, turned with the tilt axis, and its
    specimens are not tilted about x: other series cannot be told in its files.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    InputError
        The tomogram has another width or height, or there is an x tilt.
    OutputError, OutputExistsError
    """
    name = safe_name(series.name)
    views, ny, nx = series.images.shape
    grid = VolumeGrid.centred(series.grid.shape, series.grid.voxel_angst)
    geometry = geometry_about(series.geometry, series.grid, grid.centre)
    warp, slices = geometry.factor()
    rotation = np.degrees(np.arctan2(warp[:, 1, 0], warp[:, 0, 0]))
    turned = abs(np.sin(np.radians(np.median(rotation)))) > np.sqrt(0.5)
    if series.grid.shape[1:] != ((nx, ny) if turned else (ny, nx)) or slices.has_xtilt:
        raise InputError(
            "AreTomo's files tell neither an x tilt nor a tomogram of another width and height "
            "than the images have"
        )
    folder.mkdir(parents=True, exist_ok=True)
    write_stack(folder / f"{name}.mrc", series.images)
    for half, images in zip(("EVN", "ODD"), series.halves or (), strict=False):
        write_stack(folder / f"{name}_{half}.mrc", images)
    shift_px = geometry.image_from_volume[:, :, 3] / series.images.pixel_angst
    lines = [
        "# AreTomo Alignment / Priims bprmMn",
        f"# RawSize = {nx} {ny} {views}",
        "# NumPatches = 0",
        "# AlphaOffset =     0.00",
        "# BetaOffset =     0.00",
        f"# Thickness = {series.grid.shape[0]}",
        "# SEC     ROT         GMAG       TX          TY      SMEAN     SFIT    SCALE     BASE"
        "     TILT",
    ]
    lines += [
        f"{view + 1:5d}  {rotation[view]:9.4f}  {1:9.5f}  {x:9.3f}  {y:9.3f}  {1:7.2f}  {1:7.2f}"
        f"  {1:7.2f}  {0:7.2f}  {slices.tilt_deg[view]:8.2f}"
        for view, (x, y) in enumerate(shift_px)
    ]
    texts = {f"{name}.aln": lines, f"{name}_TLT.txt": _exposure(series, acquisition)}
    if np.any(acquisition.defocus_angst):
        texts[f"{name}_CTF.txt"] = [
            f"{view:4d}   {defocus:8.2f}  {defocus:8.2f}  {0:8.2f}  {0:9.4f}  {0.2:8.4f}  {8:8.4f}"
            f"  {acquisition.hand:3d}"
            for view, defocus in enumerate(acquisition.defocus_angst, start=1)
        ]
    for file, text in texts.items():
        write_text_atomic(folder / file, "\n".join(text) + "\n", replace=False)
    return folder


def _exposure(series: TiltSeries, acquisition: Acquisition) -> list[str]:
    """Lines with the stage's angle, the place in the order of acquisition, and the exposure."""
    before = np.arange(len(acquisition.stage_deg))
    if series.dose_e_per_a2 is not None:
        before = np.argsort(np.argsort(series.dose_e_per_a2, kind="stable"))
    return [
        f"{angle:8.2f}  {place + 1:4d}  {acquisition.dose_e_per_a2:8.2f}"
        for angle, place in zip(acquisition.stage_deg, before, strict=True)
    ]
