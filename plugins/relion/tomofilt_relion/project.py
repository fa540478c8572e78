"""RELION projects: the tilt series of a STAR file, and the job folder their tomograms go to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tomofilt.errors import InputError
from tomofilt.io.files import safe_name
from tomofilt.series.projects import AS_IT_IS, Acquisition, Destination, SeriesOptions
from tomofilt.series.tiltseries import TiltSeries
from tomofilt_relion.create import create_project
from tomofilt_relion.output import refuse_foreign_set, write_set
from tomofilt_relion.projections import Projection
from tomofilt_relion.series import read_series
from tomofilt_relion.tomograms import TomogramSet, looks_like_set, open_set

__all__ = ["PROJECT_TYPE", "RelionProject", "RelionProjectType"]


@dataclass(frozen=True, eq=False)
class RelionProject:
    """The tilt series of a RELION STAR file (a :class:`~tomofilt.series.projects.Project`).

    Parameters
    ----------
    tomograms : TomogramSet
    tilt_offset_deg : float
        Added to every rlnTomoYTilt, in the reconstruction and in the STAR files written.
    projection : Projection, optional
        Slices of each tomogram that are summed up as well.
    """

    tomograms: TomogramSet
    tilt_offset_deg: float = 0.0
    projection: Projection | None = None

    @property
    def names(self) -> Sequence[str]:
        """Every rlnTomoName, in the file's order."""
        return tuple(self.tomograms.rows)

    def read(self, name: str, options: SeriesOptions = AS_IT_IS) -> TiltSeries:
        """One tilt series; see :func:`~tomofilt_relion.series.read_series`."""
        self._check(name)
        return read_series(self.tomograms, name, options, self.tilt_offset_deg)

    def destination(self, name: str, output_dir: Path | None) -> Destination:
        """``tomograms/rec_<name>.mrc`` in the job's folder.

        Raises
        ------
        InputError
            No folder was given.
        OutputExistsError
            It holds the tomograms of another program.
        """
        self._check(name)
        folder = _job_folder(output_dir)
        refuse_foreign_set(folder)
        return Destination(folder / "tomograms" / f"rec_{safe_name(name)}.mrc")

    def commit(self, finished: Mapping[str, Destination], output_dir: Path | None) -> None:
        """Write the STAR files for the next job; see :func:`~tomofilt_relion.output.write_set`."""
        write_set(
            self.tomograms,
            finished,
            _job_folder(output_dir),
            self.tilt_offset_deg,
            self.projection,
        )

    def _check(self, name: str) -> None:
        if name not in self.tomograms.rows:
            raise InputError(f"{self.tomograms.path} has no tilt series {name}")


class RelionProjectType:
    """STAR files of RELION 5 and 4 (a :class:`~tomofilt.series.projects.ProjectType`)."""

    name = "relion"

    def detect(self, path: Path) -> bool:
        """Whether the path is a STAR file."""
        return looks_like_set(path)

    def open(self, path: Path) -> RelionProject:
        """Open a set of tilt series; its images are read when they are asked for."""
        return RelionProject(open_set(path))

    def create(self, folder: Path, series: TiltSeries, acquisition: Acquisition) -> Path:
        """Write a new project; see :func:`~tomofilt_relion.create.create_project`."""
        return create_project(folder, series, acquisition)


def _job_folder(output_dir: Path | None) -> Path:
    if output_dir is None:
        raise InputError(
            "where should the tomograms go? Give the folder of a job with -o, Tomograms/job010 say"
        )
    return output_dir


PROJECT_TYPE = RelionProjectType()
