"""What the next RELION job reads: ``tomograms.star`` and a STAR file for each tilt series.

RELION copies every column it was given and adds to them; so does this, and always in full: RELION
itself leaves out the binning at bin 1, and the sizes and names of tomograms that were finished
before.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from tomofilt.errors import OutputError, OutputExistsError
from tomofilt.io.files import PartialFile
from tomofilt.io.record import Record, read_record
from tomofilt.io.star import Table, format_star, read_star, write_star
from tomofilt.series.projects import Destination
from tomofilt_relion.projections import Projection
from tomofilt_relion.tilts import relion5_tilts
from tomofilt_relion.tomograms import TomogramSet

__all__ = ["project_path", "refuse_foreign_set", "write_set"]

_COMMENT = "Created by tomofilt"
_NOTHING = "N/A"  # as RELION writes where a series has no file of a kind
_RECONSTRUCTED = "rlnTomoReconstructedTomogram"
#: Projections of the tomogram and of its halves; the last name is misspelt in RELION too.
_PROJECTED = (
    "rlnTomogramProjection",
    "rlnTomogramProjectionHalf1",
    "rlnTomogramHProjectionalf2",
)
#: Files that other jobs made of their tomograms.
_DERIVED = (
    f"{_RECONSTRUCTED}Half1",
    f"{_RECONSTRUCTED}Half2",
    f"{_RECONSTRUCTED}Denoised",
    *_PROJECTED,
)


def refuse_foreign_set(folder: Path) -> None:
    """Raise OutputExistsError if the folder has a tomograms.star that tomofilt did not write."""
    path = folder / "tomograms.star"
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            ours = _COMMENT in file.readline()
    except FileNotFoundError:
        return
    if not ours:
        raise OutputExistsError(
            f"{path} exists and tomofilt did not write it: choose the folder of a new job with -o"
        )


def write_set(
    tomograms: TomogramSet,
    finished: Mapping[str, Destination],
    folder: Path,
    tilt_offset_deg: float = 0.0,
    projection: Projection | None = None,
) -> None:
    """Write ``tilt_series/<name>.star`` of finished series, and ``tomograms.star`` last.

    Rows of other series that an earlier run wrote there stay as they are; series that were never
    finished have none.

    Parameters
    ----------
    tomograms : TomogramSet
        What was reconstructed.
    finished : mapping of name to Destination
    folder : Path
        The job's folder.
    tilt_offset_deg : float
        What was added to every rlnTomoYTilt, and is added in the files.
    projection : Projection, optional
        Which slices of each tomogram are summed up, in ``projections/``.

    Raises
    ------
    InputError, OutputError
    """
    refuse_foreign_set(folder)
    rows = {}
    for name, destination in finished.items():
        record = _record(destination)
        pixel = record.unbinned.pixel_angst
        path = folder / "tilt_series" / f"{name}.star"
        path.parent.mkdir(parents=True, exist_ok=True)
        tilts = _tilts(tomograms, name, pixel, tilt_offset_deg)
        write_star(path, {name: tilts}, replace=True, comment=_COMMENT)
        rows[name] = _row(tomograms, name, destination, path, record)
        if projection is not None:
            rows[name] |= _projections(tomograms.root, destination, record, projection)
    _patiently(lambda: _write_global(folder / "tomograms.star", tomograms, rows))


def _write_global(
    path: Path, tomograms: TomogramSet, rows: Mapping[str, Mapping[str, str]]
) -> None:
    # Other processes may be adding their series: what they wrote is read while none of them writes.
    with PartialFile(path) as file:
        earlier = read_star(path)["global"].rows() if path.exists() else ()
        known = {row["rlnTomoName"]: row for row in earlier} | dict(rows)
        order = [name for name in tomograms.rows if name in known]
        order += [name for name in known if name not in tomograms.rows]
        table = _table([known[name] for name in order])
        file.pwrite_all(0, format_star({"global": table}, comment=_COMMENT).encode())
        file.commit(replace=True)


def _patiently(write: Callable[[], None]) -> None:
    """Try again for some seconds while another process writes the same file."""
    for _ in range(20):
        try:
            return write()
        except OutputError as error:
            if "another process" not in str(error):
                raise
            time.sleep(0.5)
    return write()


def _row(
    tomograms: TomogramSet,
    name: str,
    destination: Destination,
    tilts_path: Path,
    record: Record,
) -> dict[str, str]:
    """Row of a finished series in tomograms.star."""
    given = tomograms.rows[name]
    pixel = record.unbinned.pixel_angst
    sizes = dict(zip("XYZ", record.unbinned.size_xyz, strict=True))
    row = {column: text for column, text in given.items() if column not in _DERIVED} | {
        "rlnTomoTiltSeriesStarFile": project_path(tomograms.root, tilts_path),
        "rlnTomoTiltSeriesPixelSize": given.get("rlnTomoTiltSeriesPixelSize", f"{pixel:.6f}"),
        "rlnTomoTomogramBinning": f"{record.output.voxel_angst / pixel:.6f}",
        **{f"rlnTomoSize{axis}": str(size) for axis, size in sizes.items()},
        _RECONSTRUCTED: project_path(tomograms.root, destination.volume),
    }
    if _has_denoised(destination, record):
        row[f"{_RECONSTRUCTED}Denoised"] = project_path(tomograms.root, destination.denoised.volume)
    for number, half in enumerate(_halves(destination, record), start=1):
        row[f"{_RECONSTRUCTED}Half{number}"] = project_path(tomograms.root, half.volume)
    return row


def _halves(destination: Destination, record: Record) -> list[Destination]:
    """Both half tomograms of a finished one, or none."""
    halves = [destination.half(number) for number in (1, 2)]
    return halves if all(_belongs(half, record) for half in halves) else []


def _projections(
    root: Path, destination: Destination, record: Record, projection: Projection
) -> dict[str, str]:
    """Write the projections of a tomogram and its halves; return their columns."""
    made = [destination, *_halves(destination, record)]
    return {
        column: project_path(root, projection.write(each))
        for column, each in zip(_PROJECTED, made, strict=False)
    }


def _record(destination: Destination) -> Record:
    record = read_record(destination.record)
    if record is None:
        raise OutputError(f"{destination.record} is gone, or no record of tomofilt any more")
    return record


def _has_denoised(destination: Destination, record: Record) -> bool:
    """Whether a tomogram was denoised when it was made, and not refused."""
    made = record.denoising is not None and record.denoising.refused is None
    return made and _belongs(destination.denoised, record)


def _belongs(half: Destination, record: Record) -> bool:
    """Whether a half or denoised tomogram is there and was made as the full one was."""
    if not (half.volume.is_file() and half.record.is_file()):
        return False
    own = _record(half)
    same_voxels = all(
        getattr(own.output, name) == getattr(record.output, name)
        for name in ("shape_zyx", "voxel_angst", "specimen_centre_zyx")
    )
    return same_voxels and own.filter.spec == record.filter.spec


def _tilts(tomograms: TomogramSet, name: str, pixel: float, tilt_offset_deg: float) -> Table:
    """Table of images as the next job is to read it."""
    tilts = relion5_tilts(tomograms, name, tomograms.tilts(name), pixel)
    ytilt_deg = np.array([float(text) for text in tilts["rlnTomoYTilt"]]) + tilt_offset_deg
    columns = {}
    if tilt_offset_deg:
        columns["rlnTomoYTilt"] = [f"{angle:.6f}" for angle in ytilt_deg]
    if "rlnCtfScalefactor" not in tilts:
        columns["rlnCtfScalefactor"] = [f"{x:.6f}" for x in np.cos(np.radians(ytilt_deg))]
    return tilts.replaced(columns)


def _table(rows: Sequence[Mapping[str, str]]) -> Table:
    """Table of rows, which need not have the same columns."""
    columns = dict.fromkeys(column for row in rows for column in row)
    return Table({column: [row.get(column, _NOTHING) for row in rows] for column in columns})


def project_path(root: Path, path: Path) -> str:
    """Path as it stands in STAR files: from the project's folder, if it is in there."""
    path = Path(os.path.abspath(path))  # noqa: PTH100 - links in the project stay as they are
    return str(path.relative_to(root) if path.is_relative_to(root) else path)
