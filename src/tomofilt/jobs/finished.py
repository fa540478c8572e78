"""The state of a result on disk: finished, to be made, or somebody else's file in its place."""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping
from pathlib import Path

from tomofilt.draw.png import is_own_png
from tomofilt.errors import InputError, OutputExistsError
from tomofilt.io.files import content_digest, open_input
from tomofilt.io.mrc_header import MrcHeader, parse_header
from tomofilt.io.ome_zarr import own_mark
from tomofilt.io.record import OutputFolder, Record, is_record, read_record
from tomofilt.jobs.fingerprint import differences, fingerprint
from tomofilt.series.projects import Destination

__all__ = ["data_digest", "finished", "folder_facts", "known_record", "zarr_finished"]

_PROGRAM = "TOMOFILT:"


def finished(
    destination: Destination,
    depends_on: Mapping[str, str],
    *,
    overwrite: bool,
    picture: bool,
    zarr: bool,
) -> bool:
    """Whether a tomogram is there, whole, as its record says, and made of the same parts.

    What is left of an interrupted run, cut short or damaged is tomofilt's own and is not finished:
    it is made again.

    Parameters
    ----------
    destination : Destination
    depends_on : mapping
        From :func:`tomofilt.jobs.fingerprint.dependencies`.
    overwrite : bool
        Whether tomofilt's own results may be replaced although they are finished, or were made
        of other parts.
    picture, zarr : bool
        Whether a preview and an OME-Zarr are going to be written.

    Raises
    ------
    OutputExistsError
        If a file is in the way that must not be replaced: of somebody else's, whatever
        ``overwrite`` says, or a result that was made of other parts.
    """
    volume, record, preview = destination.volume, destination.record, destination.preview
    if os.path.lexists(record) and not is_record(record):
        raise _foreign(record)
    if picture and os.path.lexists(preview) and not is_own_png(preview):
        raise _foreign(preview)
    if zarr:
        zarr_finished(destination, depends_on, overwrite=overwrite)
    known = known_record(record)
    if not os.path.lexists(volume):
        return False
    header = _own_header(volume, known)
    if header is None or volume.stat().st_size < header.file_bytes:
        return False
    own = next(text for text in header.labels if text.startswith(_PROGRAM))
    if fingerprint(depends_on) not in own:
        if overwrite:
            return False
        why = f"differs: {differences(known.depends_on, depends_on)}" if known else own
        raise OutputExistsError(
            f"{volume} was made with other settings or inputs ({why}): give --overwrite to "
            "replace it, or another folder with -o"
        )
    if known is None or known.fingerprint not in own:
        return False  # the run was cut short before its record: it is made again, bit for bit
    if data_digest(volume, header) != known.output.data:
        if not header.labels[-1].startswith(_PROGRAM) and not overwrite:
            raise OutputExistsError(
                f"{volume} was changed by another program after tomofilt made it "
                f"({header.labels[-1].split(':')[0].strip()}): give --overwrite to make it anew, "
                "or another folder with -o"
            )
        return False
    return not overwrite


def zarr_finished(
    destination: Destination, depends_on: Mapping[str, str], *, overwrite: bool
) -> bool:
    """Whether the OME-Zarr of a tomogram is there, whole, as its record says, of the same parts.

    Parameters and errors are those of :func:`finished`.
    """
    folder = destination.zarr
    if not os.path.lexists(folder):
        return False
    mark = own_mark(folder)
    if mark is None:
        raise _foreign(folder)
    if overwrite:
        return False
    if mark != fingerprint(depends_on):
        raise OutputExistsError(
            f"{folder} was made with other settings or inputs ({mark}): remove it, give "
            "--overwrite to replace it and the tomogram, or another folder with -o"
        )
    known = known_record(destination.record)
    return known is not None and known.output.zarr == folder_facts(folder)


def folder_facts(folder: Path) -> OutputFolder:
    """How much is in a folder."""
    sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
    return OutputFolder(file=folder.name, files=len(sizes), bytes=sum(sizes))


def known_record(path: Path) -> Record | None:
    """The record, None where there is none or a damaged one, which counts as none."""
    try:
        return read_record(path)
    except InputError:
        return None


def data_digest(volume: Path, header: MrcHeader) -> str:
    """Digest of the densities; the header, to which IMOD's users add titles, does not count."""
    return content_digest(volume, skip=header.row_offset(0, 0))


def _own_header(volume: Path, known: Record | None) -> MrcHeader | None:
    """Header of a volume of tomofilt's own, None if it was cut short within the header."""
    try:
        with open_input(volume) as file:
            raw = file.read(1024)
        header = parse_header(raw)
    except InputError:
        if known is not None and _is_stump(volume, known):
            return None
        raise _foreign(volume) from None
    if not any(text.startswith(_PROGRAM) for text in header.labels):
        raise _foreign(volume)
    return header


def _is_stump(volume: Path, known: Record) -> bool:
    """Whether a file is the first few bytes of the volume that the record tells of."""
    with open_input(volume) as file:
        raw = file.read(1025)
    shape = known.output.shape_zyx
    if known.output.orientation == "xzy":
        shape = (shape[1], shape[0], shape[2])
    begin = struct.pack("<3i", *reversed(shape))
    return len(raw) < 1024 and known.output.file == volume.name and begin.startswith(raw[:12])


def _foreign(path: Path) -> OutputExistsError:
    return OutputExistsError(
        f"{path} exists and tomofilt did not make it: "
        "move it away, or choose another folder with -o"
    )
