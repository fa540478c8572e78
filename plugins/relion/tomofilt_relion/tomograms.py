"""A set of tilt series as RELION keeps it: one table of series, and a table of images for each.

RELION 5 has the images of each series in a STAR file of its own, which the ``global`` table names.
RELION 4 has them in the same file, with matrices instead of angles, and no names of images but that
of a stack. Paths are relative to the project's folder.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tomofilt.errors import InputError, MissingFileError
from tomofilt.io.star import Table, read_star
from tomofilt_relion.images import file_of

__all__ = ["TomogramSet", "looks_like_set", "open_set"]

_FILES = ("rlnTomoTiltSeriesStarFile", "rlnTomoTiltSeriesName")


@dataclass(frozen=True, eq=False)
class TomogramSet:
    """A STAR file with a set of tilt series.

    Parameters
    ----------
    path : Path
    root : Path
        The project's folder.
    series : Table
        The ``global`` table.
    """

    path: Path
    root: Path
    series: Table

    @property
    def is_relion4(self) -> bool:
        """Whether the images of the series are in the same file."""
        return "rlnTomoTiltSeriesStarFile" not in self.series

    @cached_property
    def rows(self) -> Mapping[str, Mapping[str, str]]:
        """Row of the ``global`` table of each series, by its name."""
        return {row["rlnTomoName"]: row for row in self.series.rows()}

    def source(self, name: str, column: str) -> str:
        """Where a value of a series stands, in words."""
        return f"{self.path.name} {column} of {name}"

    def positive(self, name: str, column: str) -> float | None:
        """A positive number of a series; None where it is absent, 0 or N/A, as RELION writes none.

        Raises
        ------
        InputError
            It is anything else.
        """
        text = self.rows[name].get(column, "")
        if text.lower() in ("", "n/a", "none"):
            return None
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not 0 <= value < math.inf:
            raise InputError(
                f"{self.path}: {column} of {name} is {text!r}, but a positive number is needed"
            )
        return value or None

    def tilts_path(self, name: str) -> Path:
        """File with the images of a series."""
        if self.is_relion4:
            return self.path
        return self.root / self.rows[name]["rlnTomoTiltSeriesStarFile"]

    def tilts(self, name: str) -> Table:
        """Table of the images of a series, as it is in the file.

        Raises
        ------
        MissingFileError, InputError
            It cannot be read, or does not have the series' name.
        """
        path = self.tilts_path(name)
        blocks = self._blocks if self.is_relion4 else read_star(path)
        if name not in blocks:
            others = [block for block in blocks if block != "global"]
            raise InputError(
                f"{path} has no data_{name} but {_listed([f'data_{block}' for block in others])}: "
                "a block of images must have the rlnTomoName of its series; rename it"
            )
        return blocks[name]

    @cached_property
    def _blocks(self) -> Mapping[str, Table]:
        return read_star(self.path)


def looks_like_set(path: Path) -> bool:
    """Whether the path is a STAR file; never raises."""
    return path.suffix == ".star" and path.is_file()


def open_set(path: Path) -> TomogramSet:
    """Open a RELION 5 or 4 set, or the one of an optimisation set; no images are read yet.

    Raises
    ------
    MissingFileError, InputError
        The file is not there, is of another kind, or holds no images that could be used.
    """
    path = path.absolute()
    blocks = read_star(path, first_block_only=True)
    if "global" not in blocks:
        blocks = read_star(path)
        named = _named_by_optimisation_set(path, blocks)
        if named is not None:
            return open_set(named)
    if "global" not in blocks:
        raise InputError(
            f"{path} is no set of tilt series: it has {_listed([f'data_{b}' for b in blocks])} but "
            f"no data_global. {_hint(blocks)}"
        )
    table = blocks["global"]
    if "rlnTomoName" not in table or not len(table):
        raise InputError(
            f"{path}: data_global "
            + ("names no tilt series" if "rlnTomoName" in table else "has no column rlnTomoName")
            + ": make the set again with RELION's Import job"
        )
    names = table["rlnTomoName"]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f"{path}: {twice} is the rlnTomoName of two tilt series: rename one")
    _refuse_stand_ins(path, table)
    return TomogramSet(path, _project_folder(path, table), table)


def _named_by_optimisation_set(path: Path, blocks: Mapping[str, Table]) -> Path | None:
    """The set of tomograms that an optimisation set names; None if it is none."""
    column = "rlnTomoTomogramsFile"
    found = [table[column][0] for table in blocks.values() if column in table]
    if not found:
        return None
    for folder in dict.fromkeys((Path.cwd(), *path.parents)):
        if (folder / found[0]).is_file():
            return folder / found[0]
    raise MissingFileError(
        f"{path}: {column} {found[0]} was found neither from the working folder nor from any "
        "folder above: run tomofilt in the folder of the RELION project"
    )


def _refuse_stand_ins(path: Path, table: Table) -> None:
    """Say so when there are no images at all behind a set."""
    if "rlnTomoTiltSeriesStarFile" in table:
        return
    if "rlnTomoTiltSeriesName" not in table:
        raise InputError(
            f"{path}: data_global has neither rlnTomoTiltSeriesStarFile (RELION 5) nor "
            "rlnTomoTiltSeriesName (RELION 4), so that no images are known: give the "
            "aligned_tilt_series.star of an Align tilt-series job"
        )
    for stack in table["rlnTomoTiltSeriesName"]:
        if Path(stack).name.startswith("dummy_tiltseries"):
            raise InputError(
                f"{path} was exported by Warp with particles: {stack} stands in for the tilt "
                "series, and the matrices have no shifts, so that nothing can be reconstructed "
                "from it. Give the tomostack folders of Warp (with .xf and .tlt) as IMOD folders"
            )


def _project_folder(path: Path, table: Table) -> Path:
    """Return the working folder or the one above the set from which its paths lead to files.

    The working folder has to wait when the set lies elsewhere: another project may well have files
    of the same names.
    """
    column = next(name for name in _FILES if name in table)
    named = [file_of(text) for text in table[column] if text]
    here = Path.cwd()
    above = [here, *path.parents] if path.is_relative_to(here) else [*path.parents, here]
    folders = list(dict.fromkeys(above))
    for folder in folders:
        # the first is enough as a rule; one that is missing must not hide the others
        if any((folder / text).is_file() for text in named[:1]):
            return folder
    for folder in folders:
        if any((folder / text).is_file() for text in named):
            return folder
    raise MissingFileError(
        f"{path}: {column} {named[0] if named else ''} was found neither from the working folder "
        f"{here} nor from any folder above the STAR file: run tomofilt in the folder of the "
        "RELION project"
    )


def _hint(blocks: Mapping[str, Table]) -> str:
    if "particles" in blocks:
        return "It is a set of particles: give the tomograms.star that they were picked in"
    if any("rlnMicrographPreExposure" in table for table in blocks.values()):
        return "It is a single tilt series: give the set that names it"
    return "Give an aligned_tilt_series.star or a tomograms.star"


def _listed(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "") if names else "no blocks"
