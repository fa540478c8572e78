"""MRC files: stacks are read when needed and checked, results are written in pieces.

What the header's fields mean to which program is in :mod:`tomofilt.io.mrc_header`.
"""

from __future__ import annotations

import dataclasses
import math
import threading
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tomofilt.errors import InputError, OutputError
from tomofilt.io.files import PartialFile
from tomofilt.io.mrc_header import LARGEST_AXIS, MrcHeader, parse_header, read_header

__all__ = ["MrcHeader", "MrcStack", "MrcWriter", "Statistics", "label", "read_header"]

_MODES = {"int8": 0, "int16": 1, "float32": 2, "float16": 12}
_RANGES = {"int8": (0, 255), "int16": (-32768, 32767), "float16": (-65504, 65504)}
_PIECE = 1 << 16  # voxels whose float32, float64 and stored copies stay in the cache together
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

# Original, then current rotation about x, y, z: tilt lays volumes flat, trimvol -rx stands them up.
_TILT_ANGLES_DEG = {"zyx": (90.0, 0.0, 0.0, 0.0, 0.0, 0.0), "xzy": (0.0, 0.0, 0.0, 90.0, 0.0, 0.0)}

MrcType = Literal["float32", "float16", "int16", "int8"]


class MrcStack:
    """Images of an MRC file, read when asked for (an ``ImageSource``).

    Values are those that IMOD's programs see: 128 is added to signed bytes with IMOD's stamp.

    Parameters
    ----------
    path : Path
    pixel_angst : float, optional
        Pixel size in angstrom, instead of the header's.

    Attributes
    ----------
    path, files
        The file, alone and as a tuple.
    header : MrcHeader
        Everything else the header says: labels, origin, spacing of all axes, mode.
    shape : (image, y, x)
    pixel_angst : float
    dmin, dmax, dmean : float
        The header's statistics, on the scale of :meth:`read`. Many programs leave them unset;
        :attr:`mean` is safe.

    Raises
    ------
    MissingFileError, InputError
        As :func:`read_header`; also when the header has no plausible pixel size.
    """

    def __init__(self, path: Path, pixel_angst: float | None = None) -> None:
        self.path = Path(path)
        self.files = (self.path,)
        self.header = header = read_header(self.path)
        self.shape = header.shape
        self.pixel_angst = self._checked_pixel_size(pixel_angst)
        self.dmin = header.dmin + header.value_offset
        self.dmax = header.dmax + header.value_offset
        self.dmean = header.dmean + header.value_offset

    def _checked_pixel_size(self, given: float | None) -> float:
        if given is not None:
            if not 0 < given < math.inf:
                raise InputError(f"a pixel size of {given} A for {self.path} is not positive")
            return float(given)
        x, y, _ = self.header.spacing_angst
        if not 0 < x < math.inf or x == 1.0:
            raise InputError(
                f"the header of {self.path} gives a pixel size of {x:g} A, which programs write "
                "when they do not know it: give --input-pixel-size"
            )
        if not math.isclose(x, y, rel_tol=0.01):
            raise InputError(
                f"the header of {self.path} gives pixels of {x:g} A in x but {y:g} A in y: "
                "give --input-pixel-size"
            )
        return x

    def read(self, image: int, y_start: int = 0, y_stop: int | None = None) -> NDArray[np.float32]:
        """Rows ``y_start`` to ``y_stop`` of one image; several threads may read at once.

        Returns
        -------
        (rows, x) float32

        Raises
        ------
        InputError
            The file can no longer be read.
        IndexError
            There is no such image or row.
        """
        header = self.header
        images, ny, nx = self.shape
        y_stop = ny if y_stop is None else y_stop
        if not (0 <= image < images and 0 <= y_start <= y_stop <= ny):
            raise IndexError(
                f"rows {y_start}:{y_stop} of image {image} are not within {images} images of "
                f"{ny} rows ({self.path})"
            )
        rows, items = y_stop - y_start, header.items_per_row
        try:
            # Reads at positions, not a memory map: memory does not grow while a stack is read.
            offset = header.row_offset(image, y_start)
            stored = np.fromfile(self.path, header.dtype, rows * items, offset=offset)
        except OSError as error:
            raise InputError(f"{self.path} can no longer be read: {error.strerror}") from error
        if stored.size < rows * items:
            raise InputError(
                f"{self.path} has become shorter since it was opened: image {image} ends after "
                f"{stored.size} of {rows * items} values; copy or make the file again"
            )
        stored = stored.reshape(rows, items)
        if header.mode == 101:  # lower four bits first, whatever the byte order
            stored = np.stack([stored & 15, stored >> 4], axis=-1).reshape(rows, 2 * items)[:, :nx]
        pixels: NDArray[np.float32] = stored.astype(np.float32, order="C", copy=False)
        if header.value_offset:
            pixels += np.float32(header.value_offset)
        return pixels

    @cached_property
    def mean(self) -> float:
        """Mean of all images: the header's if it lies between its extremes, else computed here."""
        if self.dmin < self.dmax and self.dmin <= self.dmean <= self.dmax:
            return self.dmean
        return float(np.mean([self.read(i).mean(dtype=np.float64) for i in range(self.shape[0])]))


@dataclasses.dataclass(frozen=True)
class Statistics:
    """Extremes, mean and standard deviation of a volume."""

    minimum: float
    maximum: float
    mean: float
    rms: float


class MrcWriter:
    """A volume or stack written block by block; the file appears when it is complete and checked.

    Used as a context manager; without :meth:`commit` no file remains. The header has everything
    that IMOD's own output has (stamp, flags, cell, labels, statistics) and is valid MRC2014.

    Parameters
    ----------
    path : Path
        Final name.
    shape : (nz, ny, nx)
        Axes of the file; the slowest comes first.
    voxel_angst : float
    dtype : "float32", "float16", "int16" or "int8"
        Integers are rounded and clipped. ``int8`` takes values 0..255 and stores them minus 128
        with IMOD's flag for signed bytes, as IMOD does: IMOD and :class:`MrcStack` read 0..255,
        MRC2014 programs read -128..127.
    origin_angst : (x, y, z)
        In IMOD's sign: plus half the size for a volume centred on zero.
    labels : sequence of str
        At most 10 of 80 ASCII characters; see :func:`label`.
    orientation : "zyx" or "xzy"
        Recorded as IMOD's ``tilt angles``: a volume as ``tilt`` writes it (y, thickness, x) is
        "xzy", one turned upright by ``trimvol -rx`` is "zyx".
    is_volume : bool
        Otherwise a stack of images.
    replace : bool
        Whether an existing file may be replaced.
    allow_constant : bool
        Whether a result without any contrast counts as a success.

    Attributes
    ----------
    clipped : int
        Voxels so far that did not fit the data type and were clipped.

    Raises
    ------
    OutputExistsError
        The file exists and may not be replaced.
    OutputError
        The file cannot be written (:class:`~tomofilt.io.files.PartialFile`), or the result is not
        finite, incomplete or constant.
    """

    def __init__(
        self,
        path: Path,
        shape: tuple[int, int, int],
        voxel_angst: float,
        *,
        dtype: MrcType = "float32",
        origin_angst: tuple[float, float, float] = (0.0, 0.0, 0.0),
        labels: tuple[str, ...] = (),
        orientation: Literal["zyx", "xzy"] = "zyx",
        is_volume: bool = True,
        replace: bool = False,
        allow_constant: bool = False,
    ) -> None:
        if min(shape) < 1 or max(shape) > LARGEST_AXIS or not 0 < voxel_angst < math.inf:
            raise ValueError(f"no MRC file can have {shape} voxels of {voxel_angst} A")
        if len(labels) > 10 or any(len(text) > 80 or not text.isascii() for text in labels):
            raise ValueError("an MRC header holds at most 10 labels of 80 ASCII characters")
        self.path = Path(path)
        self.shape = shape
        self.dtype = dtype
        self.orientation = orientation
        self.replace = replace
        self.allow_constant = allow_constant
        self.clipped = 0
        self._header = MrcHeader(
            shape=shape,
            mode=_MODES[dtype],
            spacing_angst=(voxel_angst,) * 3,
            dmin=math.nan,
            dmax=math.nan,
            dmean=math.nan,
            rms=math.nan,
            origin_angst=origin_angst,
            ispg=int(is_volume),
            labels=labels,
            signed_bytes=dtype == "int8",
        )
        self._file = PartialFile(self.path)
        self._written = np.zeros(shape[:2], dtype=bool)
        self._sums = (math.inf, -math.inf, 0.0, 0.0)
        self._lock = threading.Lock()

    def __enter__(self) -> MrcWriter:
        if not self.replace:
            self._file.refuse_existing()  # before the work, not only after it
        self._file.__enter__()
        try:
            self._file.reserve(self._header.file_bytes)
        except BaseException:
            self._file.__exit__()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        self._file.__exit__(*exception)

    @property
    def statistics(self) -> Statistics:
        """Statistics of all that was written, on the scale of the values given to :meth:`write`."""
        low, high, total, squares = self._sums
        count = int(np.count_nonzero(self._written)) * self.shape[2]
        mean = total / count
        return Statistics(low, high, mean, math.sqrt(max(squares / count - mean * mean, 0.0)))

    def write(
        self,
        block: NDArray[np.float32],
        z: int = 0,
        y: int = 0,
        stats: tuple[float, float, float, float] | None = None,
    ) -> None:
        """Write a block to ``[z : z + dz, y : y + dy, :]``; any order, several threads at once.

        Parameters
        ----------
        block : (dz, dy, nx) float32
        z, y : int
            Where its first voxel goes. Each row can be written once.
        stats : (min, max, sum, sum of squares), optional
            Of the block, if the caller has them anyway. They save a pass over float32 data; values
            of other types are always summed up here, after rounding and clipping.
        """
        nz, ny, nx = self.shape
        dz, dy, width = block.shape
        if block.size == 0 or width != nx or not (0 <= z <= nz - dz and 0 <= y <= ny - dy):
            raise ValueError(f"a block of {block.shape} at z={z}, y={y} is not within {self.shape}")
        with self._lock:
            rows = self._written[z : z + dz, y : y + dy]
            if rows.any():
                raise ValueError(f"rows of the block of {block.shape} at z={z}, y={y} came before")
            rows[:] = True
        given = stats if self.dtype == "float32" else None
        if given is not None:
            self._add(given)
        planes = max(1, _PIECE // (dy * nx))
        for start in range(0, dz, planes):
            values = np.ascontiguousarray(block[start : start + planes], np.float32).reshape(-1)
            stored: NDArray[Any] = values
            if self.dtype != "float32":
                stored = np.empty(values.size, self._header.dtype)
            if given is None:
                for first in range(0, values.size, _PIECE):
                    piece = slice(first, first + _PIECE)
                    self._add(self._encode(values[piece], stored[piece]))
            self._put(stored, z + start, y, dy)

    def _encode(
        self, values: NDArray[np.float32], stored: NDArray[Any]
    ) -> tuple[float, float, float, float]:
        """Fill ``stored`` (unless it is ``values`` itself) and return the sums of its values."""
        low, high = float(values.min()), float(values.max())
        self._refuse_nonfinite(low, high)
        if self.dtype == "float32":
            return (low, high, *_sums(values))
        if self.dtype != "float16":
            values = np.rint(values)
        least, most = _RANGES[self.dtype]
        if low < least or high > most:
            with self._lock:
                self.clipped += int(np.count_nonzero((values < least) | (values > most)))
            values = np.clip(values, least, most)
        stored[:] = values - self._header.value_offset
        if self.dtype == "float16":
            values = stored.astype(np.float32)
        return (float(values.min()), float(values.max()), *_sums(values))

    def _add(self, sums: tuple[float, float, float, float]) -> None:
        self._refuse_nonfinite(*sums)
        with self._lock:
            low, high, total, squares = self._sums
            self._sums = (
                min(low, sums[0]),
                max(high, sums[1]),
                total + sums[2],
                squares + sums[3],
            )

    def _refuse_nonfinite(self, *numbers: float) -> None:
        if not all(map(math.isfinite, numbers)):
            raise OutputError(
                f"{self.path}: the result holds voxels that are not finite numbers (range "
                f"{numbers[0]} to {numbers[1]}): look for such pixels in the input images"
            )

    def _put(self, stored: NDArray[Any], z: int, y: int, dy: int) -> None:
        """Write whole planes of ``dy`` rows, in the file from plane ``z`` and row ``y`` on."""
        raw = stored.view(np.uint8).data
        run = len(raw) if dy == self.shape[1] else dy * self._header.row_bytes
        for plane, start in enumerate(range(0, len(raw), run)):
            self._file.pwrite_all(self._header.row_offset(z + plane, y), raw[start : start + run])

    def flush(self) -> None:
        """Move what was written so far to the disk, now rather than all at the end."""
        self._file.flush()

    def commit(self) -> None:
        """Complete the header, read the file back to check it, and give it its final name."""
        missing = int(np.count_nonzero(~self._written))
        if missing:
            raise OutputError(
                f"{self.path}: {missing} of {self._written.size} rows were never written; "
                "please report this as a fault of tomofilt"
            )
        found = self.statistics
        if found.minimum == found.maximum and not self.allow_constant:
            raise OutputError(
                f"{self.path}: every voxel came out as {found.minimum:g}; check that the input "
                "images are not blank and the thickness and the tilt angles are right"
            )
        header = dataclasses.replace(
            self._header,
            dmin=found.minimum - self._header.value_offset,
            dmax=found.maximum - self._header.value_offset,
            dmean=found.mean - self._header.value_offset,
            rms=found.rms,
        )
        raw = header.to_bytes(_TILT_ANGLES_DEG[self.orientation] if header.ispg else (0.0,) * 6)
        self._file.pwrite_all(0, raw)
        size = self._file.path.stat().st_size
        if size != header.file_bytes or read_header(self._file.path) != parse_header(raw):
            raise OutputError(
                f"{self.path}: the disk does not return what was written ({size:,} of "
                f"{header.file_bytes:,} bytes): check the disk, then rerun"
            )
        self._file.commit(replace=self.replace)


def label(text: str, when: datetime | None = None) -> str:
    """Header label in IMOD's style: program and text, the date from column 57 on.

    Parameters
    ----------
    text : str
        What was done; what exceeds 45 characters is cut, what is not ASCII becomes "?".
    when : datetime, optional
        Default is now.
    """
    when = when or datetime.now()
    date = f"{when.day:2d}-{_MONTHS[when.month - 1]}-{when:%y  %H:%M:%S}"
    plain = f"TOMOFILT: {text}".encode("ascii", "replace").decode()
    return f"{plain:<56.55}{date}"


def _sums(values: NDArray[np.float32]) -> tuple[float, float]:
    """Sum and sum of squares in double precision, fast for pieces that fit the cache."""
    wide = values.astype(np.float64)
    total = float(wide.sum())
    np.square(wide, out=wide)
    return total, float(wide.sum())
