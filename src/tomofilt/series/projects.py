"""The door through which other programs' projects enter: a protocol and its discovery.

A project is a folder or a file of another program (an IMOD folder, a RELION STAR file). Plug-ins
register a :class:`ProjectType` under the entry-point group ``tomofilt.projects``; tomofilt's own
IMOD and RELION plug-ins use the same door.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from tomofilt.errors import InputError, MissingFileError, TomofiltError
from tomofilt.io.mrc_header import read_header
from tomofilt.series.checks import checked
from tomofilt.series.geometry import TiltGeometry, VolumeGrid
from tomofilt.series.tiltseries import ImageSource, TiltSeries
from tomofilt.util.plugins import plugins

__all__ = [
    "ALIGNMENT_PIXEL",
    "AS_IT_IS",
    "Acquisition",
    "Destination",
    "Project",
    "ProjectType",
    "SeriesOptions",
    "detect",
    "geometry_about",
    "open_series",
    "project_type",
    "read_series",
    "write_stack",
]


@dataclass(frozen=True)
class SeriesOptions:
    """What a user asks for on top of a project's own numbers.

    Parameters
    ----------
    input_pixel_angst : float, optional
        Pixel size of the images in angstrom, where the project has none or a wrong one.
    alignment_pixel_angst : float, optional
        Pixel size of the images that the alignment was made for, if it counts in other pixels than
        those of the images.
    exclude : tuple of int
        Views to leave out besides the project's own, counted from 1 in the order of the images.
    thickness_angst : float, optional
        Thickness of the tomogram in angstrom.
    thickness_px : float, optional
        The same in unbinned pixels of the images, as IMOD and RELION count; not both.
    shape_px : (x, y, z), optional
        Size of the tomogram in unbinned pixels. A thickness given as well takes the place of z.

    Raises
    ------
    InputError
        If both thicknesses are given.
    """

    input_pixel_angst: float | None = None
    alignment_pixel_angst: float | None = None
    exclude: tuple[int, ...] = ()
    thickness_angst: float | None = None
    thickness_px: float | None = None
    shape_px: tuple[int, int, int] | None = None

    def __post_init__(self) -> None:
        if self.thickness_px is not None and self.thickness_angst is not None:
            raise InputError("--thickness and --thickness-px say the same thing twice: give one")

    @property
    def chooses_planes(self) -> bool:
        """Whether the thickness is asked for, alone or as the z of a shape."""
        given = (self.thickness_angst, self.thickness_px, self.shape_px)
        return any(value is not None for value in given)

    def shape(self, own: tuple[int, int, int], pixel_angst: float) -> tuple[int, int, int]:
        """Size (z, y, x) of the tomogram in unbinned pixels: the project's, unless asked otherwise.

        Parameters
        ----------
        own : (z, y, x)
            The project's size; what is asked for takes its place.
        pixel_angst : float
            Pixel size of the images.

        Raises
        ------
        InputError
            If the thickness asked for is less than a pixel, or not finite.
        """
        nz, ny, nx = own
        if self.shape_px is not None:
            nx, ny, nz = self.shape_px
        wanted = self.thickness_px
        if self.thickness_angst is not None:
            wanted = self.thickness_angst / pixel_angst
        if wanted is None:
            return nz, ny, nx
        if not 0.5 < wanted < math.inf:
            raise InputError(
                f"a thickness of {wanted:g} pixels, {wanted * pixel_angst:g} A, leaves no "
                "tomogram: give --thickness or --thickness-px of a pixel or more"
            )
        return round(wanted), ny, nx

    def grid(self, own: VolumeGrid) -> VolumeGrid:
        """Voxels of the tomogram asked for, about the middle of the project's own, unbinned."""
        return own.resized(self.shape(own.shape, own.voxel_angst))


#: The fact of a series whose reader has followed ``alignment_pixel_angst``.
ALIGNMENT_PIXEL = "alignment_pixel_angst"
#: Entry points under which packages offer kinds of project.
_GROUP = "tomofilt.projects"
#: A project's own numbers and no others.
AS_IT_IS = SeriesOptions()


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

    @property
    def zarr(self) -> Path:
        """OME-Zarr beside the volume."""
        return self.volume.with_suffix(".ome.zarr")

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

    def read(self, name: str, options: SeriesOptions = AS_IT_IS) -> TiltSeries:
        """One tilt series; its grid has the size that the options ask for."""

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
    for point in plugins(_GROUP):
        if point.name == name:
            loaded: ProjectType = point.load()
            return loaded
    raise InputError(f"no plug-in for {name} projects is installed: reinstall tomofilt")


def detect(path: Path) -> Project:
    """Open whatever kind of project the path holds.

    Raises
    ------
    MissingFileError, InputError
        Nothing is there, or no project of a known kind; the message says what it is instead.
    """
    if not path.exists():
        raise MissingFileError(f"{path}: there is no such file or folder")
    for point in plugins(_GROUP):
        kind: ProjectType = point.load()
        if kind.detect(path):
            return kind.open(path)
    names = ", ".join(sorted(point.name for point in plugins(_GROUP)))
    raise InputError(f"{path}: no project of a known kind ({names}) is here{_what_is_here(path)}")


#: What programs leave in their folders, by which they are known, and what to give instead.
_LEFT_BEHIND = (
    ("*.star", "It holds STAR files of RELION: give one of {found}"),
    ("*/job*/job.star", "It is a RELION project: give the aligned_tilt_series.star of a job in it"),
    ("*/*.xf", "IMOD folders are in it: give one of {found}"),
    ("*/*.edf", "IMOD folders are in it: give one of {found}"),
    ("*.tomostar", "It holds .tomostar files: give the .xml files of Warp (warp_tiltseries)"),
    ("*.mrc", "It holds MRC files, but no alignment: give the folder with .xf, .tlt or tilt.com"),
)


def _what_is_here(path: Path) -> str:
    """Say what a path holds that is no project, and what to give instead."""
    if path.is_file():
        try:
            nz, ny, nx = read_header(path).shape
        except TomofiltError:
            return ""
        return (
            f". It is an MRC file of {nx} x {ny} x {nz} voxels: give the folder with its alignment "
            "(.xf, .tlt, tilt.com), or the STAR file that names it"
        )
    for pattern, words in _LEFT_BEHIND:
        found = sorted(path.glob(pattern))[:3]
        if found:
            inside = [str(each if "/" not in pattern else each.parent) for each in found]
            return f". {words.format(found=', '.join(dict.fromkeys(inside)))}"
    return ""


def read_series(project: Project, name: str, options: SeriesOptions = AS_IT_IS) -> TiltSeries:
    """Read a tilt series and check that it can be: the one way in, for every command.

    Parameters
    ----------
    project : Project
    name : str
    options : SeriesOptions

    Raises
    ------
    MissingFileError, InputError
        As :meth:`Project.read` and :func:`tomofilt.series.checks.checked`.
    """
    series = project.read(name, options)
    if options.alignment_pixel_angst is not None and ALIGNMENT_PIXEL not in series.facts:
        raise InputError(
            f"{name}: --alignment-pixel-size is for the alignments of IMOD, which count in pixels: "
            "leave it out"
        )
    return checked(series)


def open_series(
    path: str | Path, name: str | None = None, options: SeriesOptions = AS_IT_IS
) -> TiltSeries:
    """Open a tilt series of whatever kind of project the path holds.

    Parameters
    ----------
    path : str or Path
        An IMOD folder, a RELION STAR file, or what else an installed plug-in opens.
    name : str, optional
        Which series, where the project has several.
    options : SeriesOptions
        What is asked for on top of the project's own numbers.

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
    return read_series(project, name, options)


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
