"""A new project of Warp: averages, .tomostar and .xml of one aligned tilt series."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from tomofilt.errors import InputError
from tomofilt.io.files import safe_name, write_bytes_atomic
from tomofilt.io.star import Table, write_star
from tomofilt.series.geometry import TiltGeometry
from tomofilt.series.projects import Acquisition, geometry_about, write_stack
from tomofilt.series.tiltseries import ImageSource, TiltSeries

__all__ = ["create_project"]

FloatArray = NDArray[np.float64]

_FRAMES, _TILTS, _STARS = "warp_frameseries", "warp_tiltseries", "tomostar"


def create_project(folder: Path, series: TiltSeries, acquisition: Acquisition) -> Path:
    """Write averages, the .tomostar and the .xml, as WarpTools has them after alignment.

    Returns
    -------
    Path
        ``warp_tiltseries/NAME.xml`` in the folder.

    Raises
    ------
    InputError
        The x tilt is not the same for all tilts.
    OutputError, OutputExistsError
    """
    name = safe_name(series.name)
    movies = [f"{name}_{tilt:03d}" for tilt in range(1, series.images.shape[0] + 1)]
    sources = [("", series.images)]
    sources += list(zip(("even", "odd"), series.halves or (), strict=False))
    for made in (_TILTS, _STARS, *(f"{_FRAMES}/average/{half}" for half, _ in sources)):
        (folder / made).mkdir(parents=True, exist_ok=True)
    for half, images in sources:
        for section, movie in enumerate(movies):
            place = folder / _FRAMES / "average" / half / f"{movie}.mrc"
            write_stack(place, _Section(images, section))
    paths = [f"../{_FRAMES}/{movie}.tif" for movie in movies]
    root = _xml(series, acquisition, paths)
    angles = (root.findtext("Angles") or "").split()
    columns = {"wrpMovieName": paths, "wrpAngleTilt": angles}
    table = Table({**columns, "wrpDose": (root.findtext("Dose") or "").split()})
    write_star(folder / _STARS / f"{name}.tomostar", {name: table}, replace=False)
    path = folder / _TILTS / f"{name}.xml"
    write_bytes_atomic(
        path, ElementTree.tostring(root, "utf-8", xml_declaration=True), replace=False
    )
    return path


@dataclass(frozen=True, eq=False)
class _Section:
    """One image of a source, as a source of its own."""

    images: ImageSource
    section: int

    @property
    def shape(self) -> tuple[int, int, int]:
        return (1, *self.images.shape[1:])

    @property
    def pixel_angst(self) -> float:
        return self.images.pixel_angst

    @property
    def files(self) -> tuple[Path, ...]:
        return self.images.files

    def read(self, image: int, y_start: int = 0, y_stop: int | None = None) -> NDArray[np.float32]:
        return self.images.read(self.section, y_start, y_stop)


def _xml(series: TiltSeries, acquisition: Acquisition, movies: list[str]) -> ElementTree.Element:
    nz, ny, nx = series.grid.shape
    pixel = series.images.pixel_angst
    # Warp has the specimen centre at N / 2
    geometry = geometry_about(series.geometry, series.grid, (nz / 2, ny / 2, nx / 2))
    tilt, rotation, xtilt = _angles(geometry)
    offset = geometry.image_from_volume[:, :, 3] - 0.5 * pixel
    views, image_ny, image_nx = series.images.shape
    root = ElementTree.Element(
        "TiltSeries",
        DataDirectory=f"../{_STARS}",
        AreAnglesInverted=str(acquisition.hand < 0),
        LevelAngleX=f"{xtilt:.6f}",
        LevelAngleY="0",
        MagnificationCorrection="1, 0, 0, 1",
        ImageDimensionsAngstrom=f"{image_nx * pixel:g}, {image_ny * pixel:g}",
        VolumeDimensionsAngstrom=f"{nx * pixel:g}, {ny * pixel:g}, {nz * pixel:g}",
    )
    dose = np.zeros(views) if series.dose_e_per_a2 is None else series.dose_e_per_a2
    for tag, values in {
        "Angles": _numbers(-tilt),
        "Dose": _numbers(dose),
        "UseTilt": ["True"] * views,
        "AxisAngle": _numbers(rotation),
        "AxisOffsetX": _numbers(offset[:, 0]),
        "AxisOffsetY": _numbers(offset[:, 1]),
        "MoviePath": movies,
    }.items():
        ElementTree.SubElement(root, tag).text = "\n".join(values)
    ctf = ElementTree.SubElement(root, "CTF")
    for key, number in {
        "Voltage": acquisition.voltage_kv,
        "Cs": acquisition.cs_mm,
        "Amplitude": acquisition.amplitude_contrast,
    }.items():
        ElementTree.SubElement(ctf, "Param", Name=key, Value=f"{number:g}")
    grid = ElementTree.SubElement(root, "GridCTF", Width="1", Height="1", Depth=str(views))
    for z, value in enumerate(_numbers(acquisition.defocus_angst / 1e4)):
        ElementTree.SubElement(grid, "Node", X="0", Y="0", Z=str(z), Value=value)
    return root


def _angles(geometry: TiltGeometry) -> tuple[FloatArray, FloatArray, float]:
    """Tilt and rotation of each view, and the x tilt of all (deg)."""
    warp, slices = geometry.factor()
    xtilt = -np.arctan(slices.e)
    if np.ptp(xtilt) > 1e-6:
        raise InputError("Warp's files tell one x tilt for all tilts of a series, not one for each")
    tilt = np.degrees(np.arctan2(slices.b * np.cos(xtilt), slices.a))
    rotation = np.degrees(np.arctan2(warp[:, 1, 0], warp[:, 0, 0]))
    return tilt, rotation, float(np.degrees(xtilt[0]))


def _numbers(values: Iterable[float]) -> list[str]:
    return [f"{value:.6f}" for value in values]
