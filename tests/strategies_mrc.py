"""MRC files built byte by byte from the format's description, without the code under test."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from itertools import pairwise, zip_longest

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

STAMP = 1146047817
DTYPES = {0: "u1", 1: "i2", 2: "f4", 6: "u2", 12: "f2"}


def mrc_header(
    shape: tuple[int, int, int],
    mode: int,
    *,
    order: str = "<",
    machst: bytes | None = None,
    map_id: bytes = b"MAP ",
    pixel_angst: float = 2.5,
    grid: tuple[int, int, int] | None = None,
    cell: tuple[float, float, float] | None = None,
    axes: tuple[int, int, int] = (1, 2, 3),
    stats: tuple[float, float, float] = (0.0, 0.0, 0.0),
    nsymbt: int = 0,
    imod_flags: int | None = None,
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0),
    labels: tuple[str, ...] = (),
) -> bytes:
    nz, ny, nx = shape
    mx, my, mz = grid or (nx, ny, nz)
    cell = cell or (mx * pixel_angst, my * pixel_angst, mz * pixel_angst)
    if machst is None:
        machst = b"DD\0\0" if order == "<" else b"\x11\x11\0\0"
    raw = bytearray(1024)
    struct.pack_into(order + "10i", raw, 0, nx, ny, nz, mode, 0, 0, 0, mx, my, mz)
    struct.pack_into(order + "6f", raw, 40, *cell, 90, 90, 90)
    struct.pack_into(order + "3i3f", raw, 64, *axes, *stats)
    struct.pack_into(order + "2i", raw, 88, 0, nsymbt)
    if imod_flags is not None:
        struct.pack_into(order + "2i", raw, 152, STAMP, imod_flags)
    struct.pack_into(order + "3f", raw, 196, *origin)
    raw[208:216] = map_id + machst
    struct.pack_into(order + "i", raw, 220, len(labels))
    for i, text in enumerate(labels):
        raw[224 + 80 * i : 304 + 80 * i] = text.ljust(80).encode()
    return bytes(raw)


def packed(pixels: NDArray[np.generic], mode: int, order: str) -> bytes:
    """Pixels as stored: 4-bit ones in pairs, the left one in the low half, rows filled up."""
    if mode != 101:
        return pixels.astype(pixels.dtype.newbyteorder(order)).tobytes()
    raw = bytearray()
    for row in pixels.reshape(-1, pixels.shape[-1]).tolist():
        raw += bytes(
            left + 16 * right for left, right in zip_longest(row[::2], row[1::2], fillvalue=0)
        )
    return bytes(raw)


@dataclass(frozen=True)
class MrcFile:
    """A file and what a reader must find in it."""

    raw: bytes
    pixels: NDArray[np.generic]
    mode: int
    value_offset: int
    pixel_angst: float
    trailing: int


@st.composite
def mrc_files(draw: st.DrawFn, modes: tuple[int, ...] = (0, 1, 2, 6, 12, 101)) -> MrcFile:
    mode = draw(st.sampled_from(modes))
    shape = (draw(st.integers(1, 4)), draw(st.integers(1, 7)), draw(st.integers(1, 9)))
    order, machst = draw(
        st.sampled_from([("<", b"DD\0\0"), ("<", b"DA\0\0"), (">", b"\x11\x11\0\0")])
    )
    imod_flags = draw(st.sampled_from([None, 0, 1, 8, 9]))
    dtype = np.dtype(DTYPES.get(mode, "u1"))
    stats = (0.0, 0.0, 0.0)
    if mode == 0 and imod_flags is None:
        # (dmin, dmax) that IMOD takes for signed, for unsigned, and for neither
        low, high = draw(st.sampled_from([(-3.0, 100.0), (0.0, 200.0), (-3.0, 200.0), (0.0, 0.0)]))
        stats = (low, high, 0.0)
    signed = mode == 0 and (imod_flags & 1 if imod_flags is not None else stats[:2] == (-3, 100))
    if signed:
        dtype = np.dtype("i1")
    elements = {"allow_nan": False, "allow_infinity": False} if dtype.kind == "f" else None
    if mode == 101:
        pixels = draw(hnp.arrays(dtype, shape, elements=st.integers(0, 15)))
    else:
        pixels = draw(hnp.arrays(dtype, shape, elements=hnp.from_dtype(dtype, **(elements or {}))))
    nsymbt = draw(st.sampled_from([0, 1, 246, 1024]))
    grid = draw(st.sampled_from([None, (3, 5, 1), (64, 64, 64)]))
    pixel_angst = draw(st.floats(0.5, 30, width=32).filter(lambda value: value != 1))
    trailing = draw(st.sampled_from([0, 0, 3]))
    header = mrc_header(
        shape,
        mode,
        order=order,
        machst=machst,
        grid=grid,
        pixel_angst=pixel_angst,
        stats=stats,
        nsymbt=nsymbt,
        imod_flags=imod_flags,
    )
    raw = header + b"\xaa" * nsymbt + packed(pixels, mode, order) + b"\xbb" * trailing
    offset = 128 if signed and imod_flags is not None else 0
    return MrcFile(raw, pixels, mode, offset, pixel_angst, trailing)


@st.composite
def partitions(draw: st.DrawFn, length: int) -> list[tuple[int, int]]:
    """``length`` cut into consecutive (start, stop) ranges."""
    cuts = draw(st.sets(st.integers(1, length - 1))) if length > 1 else set()
    edges = [0, *sorted(cuts), length]
    return list(pairwise(edges))
