"""Finished volumes, and what their records say about how they were made."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np
from numpy.typing import NDArray

from tomofilt.errors import InputError
from tomofilt.io.mrc import MrcStack
from tomofilt.io.mrc_header import MrcHeader, read_header
from tomofilt.io.record import Record, read_record
from tomofilt.series.geometry import TiltGeometry

if TYPE_CHECKING:
    from tomofilt.reconstruction.settings import Settings

__all__ = ["Tomogram", "check_alike"]

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]


@dataclass(frozen=True)
class Tomogram:
    """A volume in an MRC file, with its axes as (z, y, x) however the file orders them.

    A mirrored tomogram (``--flip-z``) is turned back, as its record says that it was one.

    Parameters
    ----------
    path : Path

    Raises
    ------
    MissingFileError, InputError
        The file cannot be read, or its voxels are no cubes of a known size.
    """

    path: Path

    def __post_init__(self) -> None:
        spacing = np.array(self._header.spacing_angst)
        if not np.all(spacing > 0) or spacing.max() > 1.01 * spacing.min():
            x, y, z = spacing
            raise InputError(
                f"the header of {self.path} gives voxels of {x:g} x {y:g} x {z:g} A: correct it, "
                "so that sizes and frequencies mean something"
            )

    @cached_property
    def _header(self) -> MrcHeader:
        return read_header(self.path)

    @property
    def voxel_angst(self) -> float:
        """Edge of a voxel in angstrom."""
        return float(self._header.spacing_angst[0])

    @property
    def shape(self) -> tuple[int, int, int]:
        """(nz, ny, nx)."""
        first, second, nx = self._header.shape
        return (second, first, nx) if self._lies else (first, second, nx)

    @cached_property
    def record(self) -> Record | None:
        """What tomofilt wrote down when it made the volume, None for others' volumes.

        Raises
        ------
        InputError
            The record is damaged.
        """
        record = read_record(self.path.with_suffix(".json"))
        return record if record is not None and record.output.file == self.path.name else None

    @property
    def label(self) -> str:
        """What to call it in a table: its file name, and its filter where that is known."""
        return self.path.name if self.record is None else self.record.filter.spec

    @property
    def settings(self) -> Settings | None:
        """The settings that it was made with.

        Raises
        ------
        InputError
            The record holds settings of another version of tomofilt.
        """
        from tomofilt.reconstruction.settings import Settings

        if self.record is None:
            return None
        try:
            return msgspec.convert(self.record.settings, Settings, dec_hook=lambda kind, v: kind(v))
        except msgspec.ValidationError as error:
            raise InputError(
                f"{self.path.with_suffix('.json')}: the settings in the record are damaged, or of "
                f"another version of tomofilt ({error}): reconstruct again with --overwrite"
            ) from error

    @property
    def geometry(self) -> TiltGeometry | None:
        """The views that it was made from."""
        if self.record is None:
            return None
        return TiltGeometry(np.array([view.image_from_volume for view in self.record.views]))

    def half(self, number: int) -> Path:
        """Where the half tomogram 1 or 2 that belongs to it would be."""
        from tomofilt.series.projects import Destination

        return Destination(self.path).half(number).volume

    def read(self) -> Float32:
        """The whole volume, (z, y, x) float32.

        Raises
        ------
        InputError
            It holds NaN or infinity, or nothing but one value.
        """
        volume = np.empty(self.shape, dtype=np.float32)
        for section, values in self._sections():
            if self._lies:
                volume[:, section] = values[::-1]
            else:
                volume[section] = values
        return volume[::-1] if self._flipped else volume

    def check(self) -> None:
        """Look at every voxel, one section at a time.

        Raises
        ------
        InputError
            As :meth:`read`; also when the size is not the one that its record says.
        """
        told = self.shape if self.record is None else self.record.output.shape_zyx
        if self.shape != told:
            sizes = [" x ".join(map(str, shape[::-1])) for shape in (self.shape, told)]
            raise InputError(
                f"{self.path} has {sizes[0]} voxels (x, y, z), but its record tells of {sizes[1]}: "
                "it is not the volume that the record was written for"
            )
        for _ in self._sections():
            pass

    def part(self, z_start: int, y_start: int, shape: tuple[int, int, int]) -> Float32:
        """Some planes and rows of the volume, (planes, rows, x), all of x."""
        source = MrcStack(self.path, self.voxel_angst)
        planes, rows, _ = shape
        z = np.arange(z_start, z_start + planes)
        if self._flipped:
            z = self.shape[0] - 1 - z
        if not self._lies:
            return np.stack([source.read(int(i), y_start, y_start + rows) for i in z])
        sections = [source.read(y)[::-1][z] for y in range(y_start, y_start + rows)]
        return np.stack(sections, axis=1)

    def _sections(self) -> Iterator[tuple[int, Float32]]:
        """Every section of the file, after which the whole is known to be finite and not empty."""
        source = MrcStack(self.path, self.voxel_angst)
        low, high = np.inf, -np.inf
        for section in range(source.shape[0]):
            values = source.read(section)
            # min and max return NaN when there is one
            low, high = np.minimum(low, values.min()), np.maximum(high, values.max())
            yield section, values
        if not np.isfinite([low, high]).all():
            raise InputError(
                f"{self.path} holds NaN or infinite voxels: find out where they come from before "
                "measuring anything"
            )
        if low == high:
            raise InputError(f"{self.path} is empty: every voxel is {low:g}")

    @property
    def _flipped(self) -> bool:
        """Whether it was mirrored in z."""
        return self.record is not None and self.record.output.flip_z

    @property
    def _lies(self) -> bool:
        """Whether sections run along y, with z downwards in each, as IMOD's ``tilt`` writes."""
        return self.record is not None and self.record.output.orientation == "xzy"


def check_alike(first: Tomogram, second: Tomogram) -> None:
    """Refuse two volumes that do not have the same voxels.

    Raises
    ------
    InputError
        Names both files and both numbers.
    """
    if abs(second.voxel_angst / first.voxel_angst - 1) > 0.01:
        raise InputError(
            f"{first.path} has voxels of {first.voxel_angst:g} A but {second.path} of "
            f"{second.voxel_angst:g} A: reconstruct with --pixel-size {second.voxel_angst:g}"
        )
    if first.shape != second.shape:
        sizes = [" x ".join(map(str, each.shape[::-1])) for each in (first, second)]
        raise InputError(
            f"{first.path} has {sizes[0]} voxels (x, y, z) but {second.path} {sizes[1]}: "
            "reconstruct with the same --shape"
        )
