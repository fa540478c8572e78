"""The header of MRC files, as MRC2014 and IMOD define it.

Byte offsets and meanings follow MRC2014 (Cheng et al., J. Struct. Biol. 192, 2015) and IMOD's
``mrc_format.txt``. Where the two differ, the stamp in the file decides:

* Bytes (mode 0) are signed in MRC2014. IMOD marks its files with a stamp and says in a flag whether
  bytes are signed; its programs show the values 0..255 for both kinds, adding 128 to signed bytes.
  Without the stamp, IMOD guesses the sign from the header's minimum and maximum.
* For IMOD, the origin is the position of the coordinate origin as seen from the first voxel. For
  MRC2014 it has the opposite sign. Here it always has IMOD's sign.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from tomofilt.errors import InputError
from tomofilt.io.files import open_input

__all__ = ["LARGEST_AXIS", "MrcHeader", "parse_header", "read_header"]

_HEADER_BYTES = 1024
#: Some programs fill up the last block of a file; less than this is no sign of a wrong header.
_PADDING_BYTES = 512
LARGEST_AXIS = 1_000_000

_BYTE_ORDERS: dict[bytes, Literal["<", ">"]] = {
    b"\x44\x44": "<",
    b"\x44\x41": "<",
    b"\x11\x11": ">",
}
_IMOD_STAMP = 1146047817
_SIGNED_FLAG, _ORIGIN_FLAG = 1, 4
_STORED = {0: "u1", 1: "i2", 2: "f4", 6: "u2", 12: "f2", 101: "u1"}


@dataclass(frozen=True)
class MrcHeader:
    """What the header of an MRC file says.

    Attributes
    ----------
    shape : (nz, ny, nx)
        Sections, rows, columns.
    mode : int
        0 (bytes), 1 (int16), 2 (float32), 6 (uint16), 12 (float16) or 101 (4-bit).
    spacing_angst : (x, y, z)
        Cell length over grid size, in angstrom; 0 where the header has no grid size.
    dmin, dmax, dmean, rms : float
        Statistics as the header has them, of the values as stored.
    origin_angst : (x, y, z)
        Origin in IMOD's sign, angstrom.
    ispg : int
        Space group: 0 for a stack of images, 1 for a volume.
    labels : tuple of str
    nsymbt : int
        Bytes of extended header.
    byte_order : "<" or ">"
    is_imod, signed_bytes : bool
        Whether the file bears IMOD's stamp, and whether mode-0 bytes are signed.
    """

    shape: tuple[int, int, int]
    mode: int
    spacing_angst: tuple[float, float, float]
    dmin: float
    dmax: float
    dmean: float
    rms: float
    origin_angst: tuple[float, float, float] = (0.0, 0.0, 0.0)
    ispg: int = 1
    labels: tuple[str, ...] = ()
    nsymbt: int = 0
    byte_order: Literal["<", ">"] = "<"
    is_imod: bool = True
    signed_bytes: bool = False

    @property
    def dtype(self) -> np.dtype[Any]:
        """Data type of the stored items (two pixels an item for mode 101)."""
        return np.dtype(self.byte_order + ("i1" if self.signed_bytes else _STORED[self.mode]))

    @property
    def items_per_row(self) -> int:
        """Stored items in a row; rows of 4-bit pixels are padded to whole bytes."""
        nx = self.shape[2]
        return (nx + 1) // 2 if self.mode == 101 else nx

    @property
    def row_bytes(self) -> int:
        """Bytes of a row."""
        return self.items_per_row * self.dtype.itemsize

    @property
    def file_bytes(self) -> int:
        """Bytes that a complete file has at least."""
        return self.row_offset(self.shape[0], 0)

    @property
    def value_offset(self) -> int:
        """What IMOD adds to the stored values: 128 for its own signed bytes, else 0."""
        return 128 if self.is_imod and self.signed_bytes else 0

    def row_offset(self, z: int, y: int) -> int:
        """Byte at which a row starts."""
        return _HEADER_BYTES + self.nsymbt + (z * self.shape[1] + y) * self.row_bytes

    def to_bytes(self, tilt_angles_deg: tuple[float, ...] = (0.0,) * 6) -> bytes:
        """Header as tomofilt writes it: little-endian, with IMOD's stamp, no extended header.

        Parameters
        ----------
        tilt_angles_deg : 6 floats
            IMOD's original, then current, rotation about x, y, z.
        """
        from mrcfile.dtypes import HEADER_DTYPE

        nz, ny, nx = self.shape
        spacing = self.spacing_angst
        fields = np.zeros((), HEADER_DTYPE.newbyteorder("<"))
        for name, value in {
            "nx": nx,
            "ny": ny,
            "nz": nz,
            "mode": self.mode,
            "mx": nx,
            "my": ny,
            "mz": nz,
            "cella": (nx * spacing[0], ny * spacing[1], nz * spacing[2]),
            "cellb": (90.0, 90.0, 90.0),
            "mapc": 1,
            "mapr": 2,
            "maps": 3,
            "dmin": self.dmin,
            "dmax": self.dmax,
            "dmean": self.dmean,
            "ispg": self.ispg,
            "nversion": 20140,
            "origin": self.origin_angst,
            "map": b"MAP ",
            "machst": (0x44, 0x44, 0, 0),
            "rms": self.rms,
            "nlabl": len(self.labels),
        }.items():
            fields[name] = value
        fields["label"][: len(self.labels)] = [text.ljust(80) for text in self.labels]
        raw = bytearray(fields.tobytes())
        struct.pack_into("<2i", raw, 152, _IMOD_STAMP, _SIGNED_FLAG if self.signed_bytes else 0)
        struct.pack_into("<6f", raw, 172, *tilt_angles_deg)
        return bytes(raw)


def read_header(path: Path) -> MrcHeader:
    """Read and check the header of an MRC file; only the pixel size is not checked.

    Raises
    ------
    MissingFileError
        There is no such file.
    InputError
        It cannot be read, is not an MRC file, is shorter or much longer than its header says, or
        holds something other than images of real numbers.
    """
    path = Path(path)
    with open_input(path) as file:
        try:
            raw = file.read(_HEADER_BYTES)
            found_bytes = os.fstat(file.fileno()).st_size
        except OSError as error:
            raise InputError(f"{path} cannot be read: {error.strerror}") from error
    try:
        header = parse_header(raw)
    except InputError as error:
        raise InputError(f"{path} {error}") from None
    if found_bytes < header.file_bytes:
        nz, ny, nx = header.shape
        raise InputError(
            f"{path} is truncated: {nx} x {ny} x {nz} voxels of mode {header.mode} need "
            f"{header.file_bytes:,} bytes, but it has {found_bytes:,}; copy or make the file again"
        )
    _refuse_surplus(path, header, found_bytes - header.file_bytes)
    return header


def _refuse_surplus(path: Path, header: MrcHeader, surplus_bytes: int) -> None:
    """Refuse a file with room for one more column, row or section than its header has."""
    nz, ny, nx = header.shape
    least = min(nz * ny, nz * nx, ny * nx) * header.dtype.itemsize
    if surplus_bytes >= max(least, _PADDING_BYTES):
        raise InputError(
            f"{path} is longer than its header says: {nx} x {ny} x {nz} voxels of mode "
            f"{header.mode} need {header.file_bytes:,} bytes, but it has "
            f"{header.file_bytes + surplus_bytes:,}: the size or the mode in the header is wrong; "
            "copy or make the file again"
        )


def parse_header(raw: bytes) -> MrcHeader:
    """Interpret the first 1024 bytes of an MRC file of either byte order.

    Raises
    ------
    InputError
        They are not the header of images of real numbers; the message starts with a verb.
    """
    from mrcfile.dtypes import HEADER_DTYPE

    if len(raw) < _HEADER_BYTES:
        raise InputError(
            f"has {len(raw)} bytes, but an MRC header alone takes {_HEADER_BYTES}: "
            "copy or make the file again"
        )
    byte_order = _BYTE_ORDERS.get(raw[212:214])
    if raw[208:211] != b"MAP" or byte_order is None:
        raise InputError(
            f"is not an MRC file: bytes 208 to 213 are {raw[208:214].hex(' ')}, not 'MAP ' "
            "(4d 41 50 20) and a machine stamp (44 44, 44 41 or 11 11): convert it with newstack"
        )
    fields = np.frombuffer(raw, HEADER_DTYPE.newbyteorder(byte_order), count=1)[0]
    stamp, flags = struct.unpack_from(byte_order + "2i", raw, 152)
    _refuse_unusable(fields)
    dmin, dmax = float(fields["dmin"]), float(fields["dmax"])
    is_imod = stamp == _IMOD_STAMP
    if is_imod:
        signed = bool(flags & _SIGNED_FLAG)
        origin_sign = -1.0 if flags & _ORIGIN_FLAG else 1.0
    else:
        signed = dmin < 0 and dmax < 128  # IMOD's guess: unsigned when in doubt
        origin_sign = -1.0
    grid = (int(fields["mx"]), int(fields["my"]), int(fields["mz"]))
    texts = fields["label"][: min(max(int(fields["nlabl"]), 0), 10)]
    return MrcHeader(
        shape=(int(fields["nz"]), int(fields["ny"]), int(fields["nx"])),
        mode=int(fields["mode"]),
        spacing_angst=_triple(
            float(cell) / n if n > 0 else 0.0 for cell, n in zip(fields["cella"], grid, strict=True)
        ),
        dmin=dmin,
        dmax=dmax,
        dmean=float(fields["dmean"]),
        rms=float(fields["rms"]),
        origin_angst=_triple(origin_sign * float(value) + 0.0 for value in fields["origin"]),
        ispg=int(fields["ispg"]),
        labels=tuple(text.decode("ascii", "replace").rstrip() for text in texts),
        nsymbt=int(fields["nsymbt"]),
        byte_order=byte_order,
        is_imod=is_imod,
        signed_bytes=signed and int(fields["mode"]) == 0,
    )


def _refuse_unusable(fields: Any) -> None:
    size = [int(fields[name]) for name in ("nx", "ny", "nz")]
    mode, nsymbt = int(fields["mode"]), int(fields["nsymbt"])
    axes = tuple(int(fields[name]) for name in ("mapc", "mapr", "maps"))
    if not all(1 <= n <= LARGEST_AXIS for n in size) or nsymbt < 0:
        raise InputError(
            f"is damaged or not an MRC file: its header claims {' x '.join(map(str, size))} voxels "
            f"and {nsymbt} bytes of extended header: copy or make the file again"
        )
    if mode not in _STORED:
        kind = "complex numbers (a transform)" if mode in (3, 4) else "no kind of image known here"
        raise InputError(
            f"has mode {mode}, {kind}; it must be one of {', '.join(map(str, _STORED))}: "
            "give real images, or convert it with newstack -mode 2"
        )
    if axes not in ((1, 2, 3), (0, 0, 0)):
        raise InputError(
            f"stores its axes in the order {axes}, but (1, 2, 3), x fastest, is needed: reorder it"
        )


def _triple(numbers: Iterable[float]) -> tuple[float, float, float]:
    x, y, z = numbers
    return x, y, z
