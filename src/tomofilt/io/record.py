"""The record beside each tomogram, ``NAME.json``: what went in, what was applied, what came out.

It has a schema, given by :class:`Record`, and is written and read here alone. Whoever reads it gets
typed values, and a damaged record is one error that names the file and the place in it.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import numpy as np

from tomofilt.errors import InputError, MissingFileError
from tomofilt.io.files import read_input, write_bytes_atomic

__all__ = [
    "AppliedFilter",
    "Denoising",
    "Fact",
    "Flag",
    "Gains",
    "InputFile",
    "Output",
    "OutputFolder",
    "OutputKind",
    "Record",
    "Scale",
    "Unbinned",
    "View",
    "is_record",
    "read_record",
    "record_as_json",
    "write_record",
]

#: Changes when a reader of the older schema would misunderstand the newer.
SCHEMA = 2

OutputKind = Literal["whole", "half1", "half2", "denoised"]
Row = tuple[float, float, float, float]

# By its first words a record is known as tomofilt's own even when the rest of it is damaged.
_OURS = re.compile(rb'\s*\{\s*"program"\s*:\s*"tomofilt"')


class _Part(msgspec.Struct, frozen=True, kw_only=True):
    """What all parts of a record have in common: they are not changed once made."""


class InputFile(_Part, frozen=True, kw_only=True):
    """A file that was read.

    Parameters
    ----------
    file : str
        Its path, as it was when the tomogram was made.
    bytes, modified_ns : int
        Size and time of the last change when the work began.
    content : str
        See :func:`tomofilt.io.files.content_digest`.
    """

    file: str
    bytes: int
    modified_ns: int
    content: str


class Scale(_Part, frozen=True, kw_only=True):
    """How densities became the values in the file: ``density * factor + then_add``."""

    factor: float
    then_add: float


class OutputFolder(_Part, frozen=True, kw_only=True):
    """An OME-Zarr of the same voxels, and how much is in it.

    Parameters
    ----------
    file : str
        Its name.
    files, bytes : int
    """

    file: str
    files: int
    bytes: int


class Output(_Part, frozen=True, kw_only=True):
    """The volume itself.

    Parameters
    ----------
    file : str
        Its name.
    kind : "whole", "half1", "half2" or "denoised"
    shape_zyx : (z, y, x)
        Voxels, of the tomogram and not of the file's axes.
    voxel_angst : float
    specimen_centre_zyx : (z, y, x)
        Voxel, counted from 0, that is the specimen centre.
    orientation : "zyx" or "xzy"
        Axes of the file: sections along z, or along y as IMOD's ``tilt`` writes them.
    flip_z : bool
        Whether it was mirrored in z.
    dtype : str
    data : str
        Digest of everything behind the header: see :func:`tomofilt.io.files.content_digest`.
    minimum, maximum, mean, rms : float
    clipped_voxels : int
    scaled_by : Scale
    zarr : OutputFolder, optional
        None where nobody asked for it.
    """

    file: str
    kind: OutputKind
    shape_zyx: tuple[int, int, int]
    voxel_angst: float
    specimen_centre_zyx: tuple[float, float, float]
    orientation: Literal["zyx", "xzy"]
    flip_z: bool
    dtype: str
    data: str
    minimum: float
    maximum: float
    mean: float
    rms: float
    clipped_voxels: int
    scaled_by: Scale
    zarr: OutputFolder | None = None


class Unbinned(_Part, frozen=True, kw_only=True):
    """What the tomogram is a binned version of.

    Parameters
    ----------
    pixel_angst : float
        Of the images.
    size_xyz : (x, y, z)
        Voxels of the project's tomogram, each as large as such a pixel.
    """

    pixel_angst: float
    size_xyz: tuple[int, int, int]


class Gains(_Part, frozen=True, kw_only=True):
    """Gains of the filter across the tilt axis; each line of numbers is one text."""

    tilt_deg: str
    cycles_per_px: str
    of_views: tuple[str, ...]


class AppliedFilter(_Part, frozen=True, kw_only=True):
    """The filter.

    Parameters
    ----------
    spec : str
        As on the command line: ``ramp``, ``gaussian:0.2``.
    parameters : str
        Everything about it, for people to read.
    interpolation : str
    padded_px : int
        Length of the rows that are transformed.
    gains_sha256 : str
        Of the gains as they were applied.
    factor : float
        On top of the gains; 2 for halves of the tilts.
    measured : mapping
        What was measured in the images for it; each filter has its own.
    gains : Gains, optional
        None where the filter has none that depend on frequency alone, as SIRT.
    """

    spec: str
    parameters: str
    interpolation: str
    padded_px: int
    gains_sha256: str
    factor: float
    measured: dict[str, Any]
    gains: Gains | None


class Denoising(_Part, frozen=True, kw_only=True):
    """What became of denoising.

    Parameters
    ----------
    fingerprint : str
        Of the denoised tomogram, be it made or refused.
    refused : str, optional
        Why there is none.
    measured : mapping
        How the network was trained and tried.
    """

    fingerprint: str
    refused: str | None
    measured: dict[str, Any]


class Fact(_Part, frozen=True, kw_only=True):
    """A value that was used, and where it was found."""

    value: Any
    source: str


class Flag(_Part, frozen=True, kw_only=True):
    """Something about a finished tomogram that somebody should look at.

    Parameters
    ----------
    name : str
        Of the check that raised it: see :mod:`tomofilt.jobs.flags`.
    sentence : str
        What is the matter, with its numbers.
    mend : str
        What to do about it.
    """

    name: str
    sentence: str
    mend: str


class View(_Part, frozen=True, kw_only=True):
    """An image that took part; images count from 1."""

    image: int
    tilt_deg: float
    image_from_volume: tuple[Row, Row]


class Record(_Part, frozen=True, kw_only=True):
    """Everything about one finished tomogram.

    Parameters
    ----------
    program, schema
        What kind of file this is.
    version : str
        Of tomofilt.
    finished : str
        When, ISO 8601.
    command : tuple of str
    fingerprint : str
        Of ``depends_on``; the header of the volume repeats it.
    depends_on : mapping
        The parts of what the result depends on, by names for people:
        :mod:`tomofilt.jobs.fingerprint`.
    series : str
    unbinned : Unbinned
    output : Output
    filter : AppliedFilter
    corrections : mapping
        Of the contrast transfer and the dose, with the reasons.
    denoising : Denoising, optional
        None where nobody asked for it.
    gold : mapping, optional
        Gold beads that were found; None where they were not looked for.
    projector : "slice", "direct", "triton" or "astra"
    gpus : tuple of str
    settings : mapping
        What was asked for: fields of :class:`tomofilt.reconstruction.settings.Settings`.
    applied : mapping of str to Fact
        Every number that the project gave.
    views : tuple of View
    excluded : tuple of int
        Images that were left out, counted from 1.
    blank : tuple of int
        Used images whose pixels are all equal, counted from 1.
    notes : tuple of str
    flags : tuple of Flag
        The verdict: what somebody should look at.
    inputs : tuple of InputFile
    seconds : mapping
        Wall-clock time of each phase.
    peak_memory_bytes, threads : int
    machine, libraries : mapping
    """

    program: Literal["tomofilt"] = "tomofilt"
    schema: Literal[2]
    version: str
    finished: str
    command: tuple[str, ...]
    fingerprint: str
    depends_on: dict[str, str]
    series: str
    unbinned: Unbinned
    output: Output
    filter: AppliedFilter
    corrections: dict[str, Any]
    denoising: Denoising | None
    gold: dict[str, Any] | None = None
    projector: str
    gpus: tuple[str, ...]
    settings: dict[str, Any]
    applied: dict[str, Fact]
    views: Annotated[tuple[View, ...], msgspec.Meta(min_length=1)]
    excluded: tuple[int, ...]
    blank: tuple[int, ...] = ()
    notes: tuple[str, ...]
    flags: tuple[Flag, ...] = ()
    inputs: tuple[InputFile, ...]
    seconds: dict[str, float]
    peak_memory_bytes: int
    threads: int
    machine: dict[str, str]
    libraries: dict[str, str]


def is_record(path: Path) -> bool:
    """Whether the file begins as tomofilt's records do; the rest of it may be damaged."""
    try:
        return _OURS.match(read_input(path)) is not None
    except (InputError, MissingFileError):
        return False


def read_record(path: Path) -> Record | None:
    """Read a record; None where there is no file, or one that another program made.

    Raises
    ------
    InputError
        It is tomofilt's and damaged, or written by a version with another schema.
    """
    try:
        data = read_input(path)
    except MissingFileError:
        return None
    if not _OURS.match(data):
        return None
    try:
        return msgspec.json.decode(data, type=Record)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path}: the record is damaged, or of another version of tomofilt ({error}): "
            "reconstruct again with --overwrite"
        ) from error


def record_as_json(record: Record) -> dict[str, Any]:
    """The record as dicts, lists, numbers and texts."""
    plain: dict[str, Any] = msgspec.to_builtins(record, enc_hook=_plain)
    return plain


def write_record(path: Path, record: Record) -> None:
    """Write a record, in place of an earlier one.

    Raises
    ------
    OutputError
        As :class:`tomofilt.io.files.PartialFile`.
    """
    text = msgspec.json.format(msgspec.json.encode(record, enc_hook=_plain), indent=1)
    write_bytes_atomic(path, text + b"\n", replace=True)


def _plain(value: object) -> object:
    """What JSON has no words for, in its words."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    return str(value)
