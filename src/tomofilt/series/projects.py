"""The door through which other programs' projects enter: a protocol and its discovery.

A project is a folder or a file of another program (an IMOD folder, a RELION STAR file). Plug-ins
register a :class:`ProjectType` under the entry-point group ``tomofilt.projects``; tomofilt's own
IMOD and RELION plug-ins use the same door.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from tomofilt.errors import InputError
from tomofilt.series.geometry import TiltGeometry, VolumeGrid
from tomofilt.series.tiltseries import ImageSource, TiltSeries

__all__ = [
    "Acquisition",
    "Destination",
    "Project",
    "ProjectType",
    "detect",
    "geometry_about",
    "open_series",
    "project_type",
    "write_stack",
]


@dataclass(frozen=True)
class Destination:
    """Where the results of one tilt series go.

    Parameters
    ----------
    volume : Path
        The tomogram; ``_half1`` and ``_half2`` are inserted before the suffix for halves,
        ``_denoised`` for the denoised one.
    """

    volume: Path

    @property
    def record(self) -> Path:
        """JSON record beside the volume."""
        return self.volume.with_suffix(".json")

    @property
    def preview(self) -> Path:
        """PNG preview beside the volume."""
        return self.volume.with_suffix(".png")

    def half(self, number: int) -> Destination:
        """Destination of half 1 or 2."""
        return Destination(self.volume.with_stem(f"{self.volume.stem}_half{number}"))

    @property
    def denoised(self) -> Destination:
        """Destination of the denoised tomogram."""
        return Destination(self.volume.with_stem(f"{self.volume.stem}_denoised"))


@dataclass(frozen=True, eq=False)
class Acquisition:
    """What projects keep about the taking of a tilt series, besides its images and alignment.

    Parameters
    ----------
    stage_deg : (view,)
        Nominal tilt angles.
    dose_e_per_a2 : float
        Exposure of each view.
    defocus_angst : (view,)
        Underfocus at the specimen centre; 0 where the images have no CTF.
    voltage_kv, cs_mm, amplitude_contrast : float
    hand : -1 or 1
        RELION's rlnTomoHand.
    """

    stage_deg: NDArray[np.float64]
    dose_e_per_a2: float
    defocus_angst: NDArray[np.float64]
    voltage_kv: float
    cs_mm: float
    amplitude_contrast: float
    hand: int


class Project(Protocol):
    """An opened project."""

    @property
    def names(self) -> Sequence[str]:
        """Names of its tilt series, in the project's order."""

    def read(self, name: str, overrides: Mapping[str, object]) -> TiltSeries:
        """One tilt series.

        ``overrides`` holds what the user asked for on top of the project's own numbers:
        ``input_pixel_angst`` (float), ``exclude`` (1-based view numbers, sequence of int), and
        ``thickness_px``, ``thickness_angst`` or ``shape_px`` (x, y, z), for projects that do not
        say how thick the tomogram is.
        """

    def destination(self, name: str, output_dir: Path | None) -> Destination:
        """Where the tomogram of a series goes."""

    def commit(self, finished: Mapping[str, Destination], output_dir: Path | None) -> None:
        """Write what the project keeps about its finished tomograms (STAR files, say), last."""


class ProjectType(Protocol):
    """A kind of project that a plug-in can open."""

    name: str

    def detect(self, path: Path) -> bool:
        """Whether the path looks like a project of this kind (cheap, never raises)."""

    def open(self, path: Path) -> Project:
        """Open it; raises InputError or MissingFileError with the reason when it cannot."""

    def create(self, folder: Path, series: TiltSeries, acquisition: Acquisition) -> Path:
        """Write a project that holds one aligned tilt series, into a folder that is new or empty.

        The project's own default tomogram then lies on ``series.grid``, voxel for voxel. View maps
        must be plain angles and shifts (:meth:`TiltGeometry.from_angles`). Returns the path to
        give to :meth:`open`.
        """


def project_type(name: str) -> ProjectType:
    """The installed project type of that name ("imod", "relion")."""
    found = entry_points(group="tomofilt.projects", name=name)
    if not found:
        raise InputError(f"no plug-in for {name} projects is installed: reinstall tomofilt")
    loaded: ProjectType = next(iter(found)).load()
    return loaded


def detect(path: Path) -> Project:
    """Open whatever kind of project the path holds."""
    points = entry_points(group="tomofilt.projects")
    for point in points:
        kind: ProjectType = point.load()
        if kind.detect(path):
            return kind.open(path)
    names = ", ".join(sorted(point.name for point in points))
    raise InputError(f"{path}: no project of a known kind ({names}) is here")


def open_series(path: str | Path, name: str | None = None, **options: object) -> TiltSeries:
    """Open a tilt series of whatever kind of project the path holds.

    Parameters
    ----------
    path : str or Path
        An IMOD folder, a RELION STAR file, or what else an installed plug-in opens.
    name : str, optional
        Which series, where the project has several.
    **options
        What is asked for on top of the project's own numbers; see :class:`Project`.

    Raises
    ------
    InputError, MissingFileError
        The project cannot be opened, has no such series, or has several and none was named.
    """
    project = detect(Path(path))
    names = project.names
    if name is None:
        if len(names) != 1:
            some = ", ".join(names[:5])
            raise InputError(f"{path} has {len(names)} tilt series ({some} ...): name one of them")
        name = names[0]
    return project.read(name, options)


def geometry_about(
    geometry: TiltGeometry, grid: VolumeGrid, centre: tuple[float, float, float]
) -> TiltGeometry:
    """View maps about another specimen centre.

    Parameters
    ----------
    geometry : TiltGeometry
        Maps about the specimen centre of ``grid``.
    grid : VolumeGrid
    centre : (z, y, x)
        Voxel of the grid that is to be the specimen centre, where a program has it.
    """
    maps = geometry.image_from_volume.copy()
    offset = np.subtract(centre, grid.centre)[::-1] * grid.voxel_angst
    maps[:, :, 3] += maps[:, :, :3] @ offset
    return TiltGeometry(maps)


def write_stack(
    path: Path,
    images: ImageSource,
    *,
    is_volume: bool = False,
    dtype: Literal["float32", "int16"] = "float32",
) -> None:
    """Write images, or the sections of a volume, into a new MRC file.

    Raises
    ------
    OutputError, OutputExistsError
        As :class:`~tomofilt.io.mrc.MrcWriter`.
    """
    from tomofilt.io.mrc import MrcWriter

    with MrcWriter(
        path, images.shape, images.pixel_angst, dtype=dtype, is_volume=is_volume
    ) as writer:
        for section in range(images.shape[0]):
            writer.write(images.read(section)[None], z=section)
        writer.commit()
