"""Fiducial models: where beads are in the images, as they were tracked or marked to be erased.

The format is that of IMOD's binary models ("IMOD Binary File Format", version 1.2): big-endian, a
header of 240 bytes, then chunks that begin with four letters.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tomofilt.errors import InputError
from tomofilt_imod.layout import Layout
from tomofilt_imod.ledger import Ledger
from tomofilt_imod.stacks import Images
from tomofilt_imod.transforms import read_xf

__all__ = ["Model", "read_fiducials", "read_model"]

FloatArray = NDArray[np.float64]

#: Bytes of the file's header, of an object's, and of those of contours and meshes.
_HEADER, _OBJECT, _LIST = 240, 176, 16
#: Bytes of a point, and of an index into those of a mesh.
_POINT, _INDEX = 12, 4


@dataclass(frozen=True, eq=False)
class Model:
    """The points of a model, contour by contour.

    Parameters
    ----------
    size_px : (nx, ny, nz)
        Of the stack that it was made on.
    pixel_angst : float
        Of that stack; 0 if the model does not say.
    contours : list of (point, 3)
        x, y in pixels from the corner of an image; z is the section, from 0.
    """

    size_px: tuple[int, int, int]
    pixel_angst: float
    contours: list[FloatArray]


def read_model(path: Path) -> Model:
    """Read the points of an IMOD model.

    Raises
    ------
    InputError
        The file is no such model, or ends too early.
    """
    data = path.read_bytes()
    if data[:4] != b"IMOD" or len(data) < _HEADER:
        raise InputError(f"{path} is no IMOD model: it does not begin with IMOD and 232 bytes more")
    size = struct.unpack_from(">3i", data, 136)
    contours, pixel, place = [], 0.0, _HEADER
    try:
        while (kind := data[place : place + 4]) != b"IEOF":
            place += 4
            if kind == b"OBJT":
                length = _OBJECT
            elif kind == b"CONT":
                (points,) = struct.unpack_from(">i", data, place)
                read = np.frombuffer(data, ">f4", 3 * points, place + _LIST)
                length = _LIST + _POINT * points
                contours.append(read.reshape(-1, 3).astype(np.float64))
            elif kind == b"MESH":
                vertices, indices = struct.unpack_from(">2i", data, place)
                length = _LIST + _POINT * vertices + _INDEX * indices
            else:
                (length,) = struct.unpack_from(">i", data, place)
                place += 4
                if kind == b"MINX":
                    (pixel,) = struct.unpack_from(">f", data, place + 36)
            place += length
            # a negative length of a damaged file would be read for ever
            if length < 0 or place > len(data):
                raise ValueError
    except (struct.error, ValueError) as error:
        raise InputError(
            f"{path} ends after {len(data)} bytes, in the middle of an IMOD model: copy it again, "
            "or take it away"
        ) from error
    return Model(size, float(pixel), contours)


def read_fiducials(layout: Layout, images: Images, ledger: Ledger) -> FloatArray | None:
    """Where the beads of SET.fid and SET_erase.fid are in the images.

    SET.fid is a model on the prealigned stack, which SET.prexg was made with; SET_erase.fid one on
    the aligned stack.

    Parameters
    ----------
    layout : Layout
    images : Images
    ledger : Ledger

    Returns
    -------
    (bead, section, 2), or None without models that can be used
        x, y in angstrom about the middle of the images; NaN where a bead has no point.
    """
    found = []
    for suffix in (".fid", "_erase.fid"):
        path = layout.beside(suffix)
        if not path.is_file():
            continue
        try:
            aligned = suffix != ".fid"
            positions = _in_images(read_model(path), path, layout, images, ledger, aligned=aligned)
        except (InputError, OSError) as error:
            ledger.notes.append(f"{error}; its beads are looked for without it")
            continue
        ledger.files.append(path)
        name = "beads_to_erase" if aligned else "fiducial_beads"
        ledger.fact(name, len(positions), path.name)
        found.append(positions)
    return np.concatenate(found) if found else None


def _in_images(
    model: Model, path: Path, layout: Layout, images: Images, ledger: Ledger, *, aligned: bool
) -> FloatArray:
    sections, spacing = images.stack.shape[0], images.stack.header.spacing_angst[0]
    # both pixel sizes are from headers: those of the images count even if the user corrects them
    scale = model.pixel_angst / spacing if model.pixel_angst > 0 and spacing > 0 else 1.0
    if min(model.size_px[:2]) < 1:
        raise InputError(f"{path} does not say how large the images are that it was made on")
    beads = np.full((len(model.contours), sections, 2), np.nan)
    for bead, points in zip(beads, model.contours, strict=True):
        section = np.rint(points[:, 2]).astype(int)
        if np.any((section < 0) | (section >= sections)):
            raise InputError(
                f"{path} has a point in section {section.max() + 1}, but {images.stack.path.name} "
                f"has {sections}: it is of another stack"
            )
        bead[section] = scale * (points[:, :2] - np.array(model.size_px[:2]) / 2)
    if not aligned:
        beads = _moved(beads, _raw_from(layout, ".prexg", path, ledger))
        if images.raw_from_aligned is None:
            back = _raw_from(layout, ".xf", path, ledger)
            linear = np.linalg.inv(back[:, :, :2])
            beads = _moved(beads, np.concatenate([linear, -linear @ back[:, :, 2:]], axis=2))
    elif images.raw_from_aligned is not None:
        beads = _moved(beads, images.raw_from_aligned)
    return beads * images.stack.pixel_angst


def _moved(beads: FloatArray, maps: FloatArray) -> FloatArray:
    """Positions (bead, section, 2) through the map (2, 3) of each section."""
    moved = np.einsum("sij,bsj->bsi", maps[: beads.shape[1], :, :2], beads)
    return np.asarray(moved + maps[: beads.shape[1], :, 2])


def _raw_from(layout: Layout, suffix: str, model: Path, ledger: Ledger) -> FloatArray:
    """Maps to raw pixels, (section, 2, 3), by the transforms that a model needs."""
    path = layout.beside(suffix)
    if not path.is_file():
        raise InputError(f"{model} cannot be used, as {path.name} is not there")
    ledger.files.append(path)
    return read_xf(path).raw_from_aligned(np.zeros(2))
