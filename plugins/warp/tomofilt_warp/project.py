"""Warp's processing folders as projects: the tilt series of their .xml files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tomofilt.errors import InputError, MissingFileError
from tomofilt.io.files import safe_name
from tomofilt.series.projects import AS_IT_IS, Acquisition, Destination, SeriesOptions
from tomofilt.series.tiltseries import TiltSeries
from tomofilt_warp.create import create_project
from tomofilt_warp.series import read_series
from tomofilt_warp.xml import looks_like_tilt_series

__all__ = ["PROJECT_TYPE", "WarpProject", "WarpProjectType"]


@dataclass(frozen=True)
class WarpProject:
    """Tilt series of Warp (a :class:`~tomofilt.series.projects.Project`).

    Parameters
    ----------
    path : Path
        The .xml file of a tilt series, or a folder with some.
    """

    path: Path

    @cached_property
    def _files(self) -> Mapping[str, Path]:
        return {file.stem: file for file in _tilt_series(self.path)}

    @property
    def names(self) -> Sequence[str]:
        """Names of the .xml files without their ending, in alphabetical order."""
        return tuple(self._files)

    def read(self, name: str, options: SeriesOptions = AS_IT_IS) -> TiltSeries:
        """Read a tilt series; see :func:`~tomofilt_warp.series.read_series`."""
        return read_series(self._file(name), options)

    def destination(self, name: str, output_dir: Path | None) -> Destination:
        """Place ``<name>_tomofilt.mrc`` in the folder asked for, else beside Warp's tomograms."""
        folder = output_dir or self._file(name).parent / "reconstruction"
        return Destination(folder / f"{safe_name(name)}_tomofilt.mrc")

    def commit(self, finished: Mapping[str, Destination], output_dir: Path | None) -> None:
        """Do nothing: Warp keeps no list of tomograms."""

    def _file(self, name: str) -> Path:
        if name not in self._files:
            raise InputError(f"{self.path} has no tilt series {name}")
        return self._files[name]


class WarpProjectType:
    """Tilt series of Warp (a :class:`~tomofilt.series.projects.ProjectType`)."""

    name = "warp"

    def detect(self, path: Path) -> bool:
        """Tell whether the path is the .xml file of a tilt series, or a folder with some."""
        try:
            return bool(_tilt_series(path))
        except OSError:
            return False

    def open(self, path: Path) -> WarpProject:
        """Open the .xml file of a tilt series, or a folder with some (``warp_tiltseries``)."""
        if not path.exists():
            raise MissingFileError(f"{path}: there is no such file or folder")
        if not _tilt_series(path):
            raise InputError(
                f"{path} holds no tilt series of Warp: give the .xml file of one, or the folder of "
                "these files (warp_tiltseries)"
            )
        return WarpProject(path)

    def create(self, folder: Path, series: TiltSeries, acquisition: Acquisition) -> Path:
        """Write a new project; see :func:`~tomofilt_warp.create.create_project`."""
        return create_project(folder, series, acquisition)


def _tilt_series(path: Path) -> list[Path]:
    files = sorted(path.glob("*.xml")) if path.is_dir() else [path]
    return [file for file in files if looks_like_tilt_series(file)]


PROJECT_TYPE = WarpProjectType()
