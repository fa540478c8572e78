"""Bundles: trained filters and heads in a file for others, ``NAME.tomofilt.safetensors``.

A bundle is a safetensors file (https://github.com/huggingface/safetensors): arrays, and one text of
JSON that says what they are. Loading it runs no code. The text holds a digest of the rest, which
shows whether the file was damaged; it does not prove who made it.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomofilt.errors import InputError, MissingFileError, OutputExistsError
from tomofilt.io.files import PartialFile, open_input

__all__ = ["SUFFIX", "Bundle", "check_place", "load_bundle", "save_bundle"]

SUFFIX = ".tomofilt.safetensors"

#: Version of the format; a reader refuses versions that it does not know.
_SCHEMA = 1
_KINDS = ("filter", "head")
_DTYPES = {"F32": "float32", "F64": "float64", "I64": "int64"}
_NAME = re.compile(r"[a-z][a-z0-9_.]{0,63}")
_MOST_TENSORS = 256
_MOST_BYTES = 512 * 2**20
_MOST_HEADER_BYTES = 4 * 2**20
#: Name of the only entry of the header's ``__metadata__``.
_ENTRY = "tomofilt"


@dataclass(frozen=True, eq=False)
class Bundle:
    """Arrays and what is known about them.

    Attributes
    ----------
    kind : "filter" or "head"
        The code that uses a bundle of a kind checks its arrays and metadata.
    tensors : mapping
        float32, float64 or int64 arrays by name; all numbers finite.
    metadata : mapping
        Anything that JSON can hold: parametrisation, training, metrics, licence, citation.
    sha256 : str
        Digest of the file that the bundle was read from; empty if it was not read from a file.
    """

    kind: str
    tensors: Mapping[str, NDArray[Any]]
    metadata: Mapping[str, Any]
    sha256: str = ""


def save_bundle(path: Path, bundle: Bundle, *, overwrite: bool = False) -> None:
    """Write a bundle, whole or not at all.

    Parameters
    ----------
    path : Path
        Ends in :data:`SUFFIX`.
    bundle : Bundle
    overwrite : bool
        Replace an existing bundle. A file that is not a bundle is never replaced.

    Raises
    ------
    InputError
        The bundle could not be loaded again, for example because a number is not finite.
    OutputError
        The file exists, or the folder cannot be written to.
    """
    from safetensors.numpy import save

    path = Path(path)
    check_place(path)
    if bundle.kind not in _KINDS:
        raise InputError(f"{path}: {bundle.kind!r} is no kind of bundle: {', '.join(_KINDS)}")
    tensors = {
        name: np.array(value, dtype=value.dtype.newbyteorder("<"), order="C")
        for name, value in bundle.tensors.items()
    }
    _check_tensors(path, tensors)
    try:
        metadata = json.dumps(bundle.metadata, allow_nan=False, sort_keys=True)
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: the metadata cannot be written as JSON: {error}") from error
    text = json.dumps(
        {
            "schema": _SCHEMA,
            "version": version("tomofilt"),
            "kind": bundle.kind,
            "sha256": _digest(bundle.kind, tensors, metadata),
            "metadata": metadata,
        }
    )
    data = save(tensors, metadata={_ENTRY: text})
    if len(data) > _MOST_BYTES or len(text) > _MOST_HEADER_BYTES // 2:
        raise InputError(
            f"{path}: {len(data):,} bytes, {len(text):,} of them metadata, are more than a bundle "
            f"may have ({_MOST_BYTES:,} and {_MOST_HEADER_BYTES // 2:,}): choose fewer parameters"
        )
    with PartialFile(path) as partial:
        if os.path.lexists(path) and overwrite:
            _refuse_foreign(path)
        partial.pwrite_all(0, data)
        partial.commit(replace=overwrite)


def check_place(path: Path) -> None:
    """Check the name and the folder of a bundle before hours of training are spent.

    Raises
    ------
    InputError
        The name does not end in :data:`SUFFIX`, or the folder does not exist.
    """
    if not path.name.endswith(SUFFIX) or path.name == SUFFIX:
        raise InputError(f"{path}: a bundle's name ends in {SUFFIX}: give NAME{SUFFIX}")
    if not path.parent.is_dir():
        raise InputError(f"{path}: the folder {path.parent} does not exist: create it first")


def load_bundle(path: Path, kind: str | None = None) -> Bundle:
    """Read a bundle and check everything that can be checked without knowing its use.

    Parameters
    ----------
    path : Path
    kind : str, optional
        The kind that the bundle must be of.

    Raises
    ------
    MissingFileError
        There is no such file.
    InputError
        The file is not a bundle, is damaged, is of a newer version, or of another kind.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    path = Path(path)
    data = _read(path)
    entry = _entry(path, data)
    try:
        tensors: dict[str, NDArray[Any]] = load(data)
    except (SafetensorError, ValueError, KeyError, OverflowError, MemoryError) as error:
        raise InputError(
            f"{path}: the arrays do not fit the file ({error}): copy it again"
        ) from error
    _check_tensors(path, tensors)
    if entry["sha256"] != _digest(entry["kind"], tensors, entry["metadata"]):
        raise InputError(
            f"{path}: the contents do not match their digest: the file was damaged or edited; "
            "get it again from where it was made"
        )
    metadata = _parsed(path, entry["metadata"])
    if kind is not None and entry["kind"] != kind:
        raise InputError(f"{path} is a bundle of kind {entry['kind']!r}, not {kind!r}")
    return Bundle(entry["kind"], tensors, metadata, sha256(data).hexdigest())


def _read(path: Path) -> bytes:
    try:
        with open_input(path) as file:
            size = os.fstat(file.fileno()).st_size
            if size > _MOST_BYTES:
                raise InputError(
                    f"{path}: {size:,} bytes are more than any bundle has ({_MOST_BYTES:,}): "
                    f"give a file NAME{SUFFIX} that tomofilt made"
                )
            return file.read(_MOST_BYTES)
    except MissingFileError:
        raise MissingFileError(f"{path}: there is no such bundle") from None


def _entry(path: Path, data: bytes) -> dict[str, Any]:
    """Read what the header says about the whole bundle; check the data types of its arrays."""
    foreign = InputError(f"{path} is no bundle of tomofilt's: give a file NAME{SUFFIX}")
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or length > min(_MOST_HEADER_BYTES, len(data) - 8):
        raise foreign
    try:
        header = _parsed(path, data[8 : 8 + length].decode())
        entry = _parsed(path, header.pop("__metadata__")[_ENTRY])
        schema = entry["schema"]
    except (UnicodeDecodeError, InputError, KeyError, TypeError, AttributeError):
        raise foreign from None
    if schema != _SCHEMA:
        raise InputError(
            f"{path}: the bundle is written in schema {schema!r:.20}, and this tomofilt "
            f"({version('tomofilt')}) reads schema {_SCHEMA}: update tomofilt"
        )
    for name in ("kind", "sha256", "metadata"):
        if not isinstance(entry.get(name), str):
            raise InputError(f"{path}: the bundle does not say its {name}: get it again")
    for name, facts in header.items():
        dtype = facts.get("dtype") if isinstance(facts, dict) else None
        if not isinstance(dtype, str) or dtype not in _DTYPES:
            raise InputError(
                f"{path}: array {name!r:.80} is of type {dtype!r:.20}; bundles hold "
                f"{', '.join(_DTYPES.values())}"
            )
    return entry


def _parsed(path: Path, text: str) -> dict[str, Any]:
    """Read a JSON object; refuse NaN and infinity."""

    def finite(literal: str) -> float:
        value = float(literal)
        if not np.isfinite(value):
            raise ValueError(f"{literal} is no number")
        return value

    try:
        parsed = json.loads(text, parse_constant=finite, parse_float=finite)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: the metadata cannot be read: {error}") from error
    if not isinstance(parsed, dict):
        raise InputError(f"{path}: the metadata are no JSON object: get the bundle again")
    return parsed


def _check_tensors(path: Path, tensors: Mapping[str, NDArray[Any]]) -> None:
    if not 1 <= len(tensors) <= _MOST_TENSORS:
        raise InputError(f"{path}: {len(tensors)} arrays; a bundle has 1 to {_MOST_TENSORS}")
    for name, value in tensors.items():
        if not _NAME.fullmatch(name):
            raise InputError(f"{path}: {name!r:.80} is no name for an array in a bundle")
        if value.dtype.name not in _DTYPES.values():
            raise InputError(
                f"{path}: array {name!r} is of type {value.dtype}; bundles hold "
                f"{', '.join(_DTYPES.values())}"
            )
        if not np.isfinite(value).all():
            count = int(np.count_nonzero(~np.isfinite(value)))
            raise InputError(
                f"{path}: {count} of {value.size} numbers in array {name!r} are not finite: "
                "the training went wrong, or the file is damaged"
            )


def _digest(kind: str, tensors: Mapping[str, NDArray[Any]], metadata: str) -> str:
    digest = sha256(json.dumps([kind, metadata]).encode())
    for name in sorted(tensors):
        value = tensors[name]
        digest.update(json.dumps([name, value.dtype.name, value.shape]).encode())
        digest.update(np.ascontiguousarray(value).tobytes())
    return digest.hexdigest()


def _refuse_foreign(path: Path) -> None:
    try:
        _entry(path, _read(path))
    except InputError:
        raise OutputExistsError(
            f"{path} exists and is no bundle of tomofilt's: move it away, or choose another name"
        ) from None
