"""IMOD folders as projects: one tilt series each, or two axes, read from their com files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tomofilt.errors import InputError
from tomofilt.series.projects import AS_IT_IS, Acquisition, Destination, SeriesOptions
from tomofilt.series.tiltseries import TiltSeries
from tomofilt_imod.create import create_folder
from tomofilt_imod.layout import Layout, find_layouts, looks_like_imod
from tomofilt_imod.series import read_series

__all__ = ["PROJECT_TYPE", "ImodProject", "ImodProjectType"]


@dataclass(frozen=True)
class ImodProject:
    """The tilt series of an IMOD folder (a :class:`~tomofilt.series.projects.Project`).

    Parameters
    ----------
    layouts : tuple of Layout
        One, or one for each axis of a dual-axis data set.
    """

    layouts: tuple[Layout, ...]

    @property
    def names(self) -> Sequence[str]:
        """The base name of the data set, with the axis if it has two."""
        return tuple(layout.name for layout in self.layouts)

    def read(self, name: str, options: SeriesOptions = AS_IT_IS) -> TiltSeries:
        """Read a tilt series; see :func:`~tomofilt_imod.series.read_series`."""
        return read_series(self._layout(name), options)

    def destination(self, name: str, output_dir: Path | None) -> Destination:
        """Place ``<name>_tomofilt_rec.mrc`` in the folder asked for, else beside the data.

        The tomogram of one of two axes has the name that IMOD's combine looks for, tilt.com's.
        """
        layout = self._layout(name)
        folder = layout.folder if output_dir is None else output_dir
        if layout.axis:
            output = layout.tilt.file("OutputFile")
            return Destination(folder / (output.name if output else f"{name}_rec.mrc"))
        return Destination(folder / f"{name}_tomofilt_rec.mrc")

    def commit(self, finished: Mapping[str, Destination], output_dir: Path | None) -> None:
        """Do nothing: IMOD keeps no list of tomograms."""

    def _layout(self, name: str) -> Layout:
        for layout in self.layouts:
            if layout.name == name:
                return layout
        raise InputError(
            f"{self.layouts[0].folder} holds the tilt series {', '.join(self.names)}, not {name}"
        )


class ImodProjectType:
    """IMOD's folders (a :class:`~tomofilt.series.projects.ProjectType`)."""

    name = "imod"

    def detect(self, path: Path) -> bool:
        """Tell whether the path is a folder with IMOD's files, or one of those."""
        return looks_like_imod(path)

    def open(self, path: Path) -> ImodProject:
        """Open a folder, or the series that an .edf, .xf or .tlt file belongs to."""
        return ImodProject(find_layouts(path))

    def create(self, folder: Path, series: TiltSeries, acquisition: Acquisition) -> Path:
        """Write a new folder; see :func:`~tomofilt_imod.create.create_folder`."""
        return create_folder(folder, series, acquisition)


PROJECT_TYPE = ImodProjectType()
