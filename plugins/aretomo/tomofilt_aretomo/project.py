"""AreTomo's output as a project: the alignments of a folder, or one of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from tomofilt.errors import InputError
from tomofilt.io.files import safe_name
from tomofilt.series.projects import (
    AS_IT_IS,
    Acquisition,
    Destination,
    Project,
    SeriesOptions,
    project_type,
)
from tomofilt.series.tiltseries import TiltSeries
from tomofilt_aretomo.create import create_output
from tomofilt_aretomo.layout import (
    Layout,
    find_alignments,
    imod_folders,
    looks_like_aretomo,
    refuse_missing,
)
from tomofilt_aretomo.series import read_series

__all__ = ["PROJECT_TYPE", "AretomoProject", "AretomoProjectType"]


@dataclass(frozen=True)
class AretomoProject:
    """Tilt series that AreTomo has aligned (a :class:`~tomofilt.series.projects.Project`).

    What only a folder of -OutImod tells is read as the IMOD folder that it is.

    Parameters
    ----------
    path : Path
        An .aln file, or a folder.
    """

    path: Path

    @cached_property
    def _layouts(self) -> Mapping[str, Layout]:
        return {layout.name: layout for layout in find_alignments(self.path)}

    @cached_property
    def _imod(self) -> Mapping[str, Project]:
        """IMOD folders without an .aln beside them."""
        folders = {} if self.path.is_file() else imod_folders(self.path)
        return {
            name: project_type("imod").open(folder)
            for name, folder in folders.items()
            if name not in self._layouts
        }

    @property
    def names(self) -> Sequence[str]:
        """Base names of the alignments, in alphabetical order."""
        return tuple(sorted([*self._layouts, *self._imod]))

    def read(self, name: str, options: SeriesOptions = AS_IT_IS) -> TiltSeries:
        """Read a tilt series; see :func:`~tomofilt_aretomo.series.read_series`."""
        self._check(name)
        if name in self._imod:
            project = self._imod[name]
            return replace(project.read(project.names[0], options), name=name)
        return read_series(self._layouts[name], options)

    def destination(self, name: str, output_dir: Path | None) -> Destination:
        """Place ``<name>_tomofilt_rec.mrc`` in the folder asked for, else beside the alignment."""
        self._check(name)
        folder = self.path if self.path.is_dir() else self.path.parent
        if name in self._layouts:
            folder = self._layouts[name].folder
        return Destination((output_dir or folder) / f"{safe_name(name)}_tomofilt_rec.mrc")

    def commit(self, finished: Mapping[str, Destination], output_dir: Path | None) -> None:
        """Do nothing: AreTomo keeps no list of tomograms."""

    def _check(self, name: str) -> None:
        if name not in self.names:
            raise InputError(f"{self.path} has no tilt series {name}")


class AretomoProjectType:
    """Outputs of AreTomo (a :class:`~tomofilt.series.projects.ProjectType`)."""

    name = "aretomo"

    def detect(self, path: Path) -> bool:
        """Tell whether the path is an .aln file or a folder with some."""
        return looks_like_aretomo(path)

    def open(self, path: Path) -> AretomoProject:
        """Open an .aln file, a folder with some, or a ``*_Imod`` folder that has one beside it."""
        refuse_missing(path)
        return AretomoProject(path)

    def create(self, folder: Path, series: TiltSeries, acquisition: Acquisition) -> Path:
        """Write a new output; see :func:`~tomofilt_aretomo.create.create_output`."""
        return create_output(folder, series, acquisition)


PROJECT_TYPE = AretomoProjectType()
