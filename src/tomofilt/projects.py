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
from typing import Protocol

from tomofilt.errors import InputError
from tomofilt.tiltseries import TiltSeries

__all__ = ["Destination", "Project", "ProjectType", "detect", "project_type"]


@dataclass(frozen=True)
class Destination:
    """Where the results of one tilt series go.

    Parameters
    ----------
    volume : Path
        The tomogram; ``_half1`` and ``_half2`` are inserted before the suffix for halves.
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
