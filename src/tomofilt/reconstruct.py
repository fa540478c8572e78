"""One tilt series, from prepared images to a finished tomogram file, slab by slab."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from tomofilt.filters.protocol import Interpolation
from tomofilt.projects import Destination
from tomofilt.tiltseries import TiltSeries

__all__ = ["Reporter", "Result", "Settings", "reconstruct"]


class Reporter(Protocol):
    """Whoever wants to hear how the work goes on."""

    def note(self, message: str) -> None:
        """A line of plain text worth reading."""

    def progress(self, done: int, total: int) -> None:
        """Work units finished so far; called often, total stays the same within a series."""


@dataclass(frozen=True)
class Settings:
    """Everything a user can choose about a reconstruction.

    Lengths named ``_px`` are in unbinned input pixels, as IMOD and RELION count them.

    Attributes
    ----------
    filter : str
        Specification ``NAME[:ARG]``; see :mod:`tomofilt.filters`.
    cutoff : str, optional
        Cut-off of the windowed filters: cycles per pixel, or a resolution such as ``"60A"``.
    bin : float, optional
        Output voxel size in input pixels. Exclusive with ``pixel_angst``.
    pixel_angst : float, optional
        Output voxel size in angstrom.
    thickness_angst, thickness_px : float, optional
        Thickness of the tomogram; default from the project.
    shape_px : (x, y, z), optional
        Size of the tomogram.
    interpolation : "fine", "linear" or "imod", optional
        How filtered rows are sampled; default is the filter's own.
    projector : "fast" or "direct"
    orientation : "zyx" or "xzy"
        Axis order of the file: as IMOD's ``trimvol -rx``, or as ``tilt`` writes (y, z, x).
    dtype : str, optional
        float32, float16, int16 or int8; default is the filter's own.
    invert, flip_z : bool
        Negate densities; mirror the tomogram in z (which inverts its handedness).
    threads : int, optional
    max_memory_bytes : int, optional
    overwrite : bool
        Replace a finished tomogram that tomofilt made earlier.
    preview : bool
        Write the PNG with the central slices.
    halves : "none", "frames" or "tilts"
        Also write the two half tomograms.
    """

    filter: str = "sirt-like:10"
    cutoff: str | None = None
    bin: float | None = None
    pixel_angst: float | None = None
    thickness_angst: float | None = None
    thickness_px: float | None = None
    shape_px: tuple[int, int, int] | None = None
    interpolation: Interpolation | None = None
    projector: Literal["fast", "direct"] = "fast"
    orientation: Literal["zyx", "xzy"] = "zyx"
    dtype: str | None = None
    invert: bool = False
    flip_z: bool = False
    threads: int | None = None
    max_memory_bytes: int | None = None
    overwrite: bool = False
    preview: bool = True
    halves: Literal["none", "frames", "tilts"] = "none"


@dataclass(frozen=True)
class Result:
    """What became of one tilt series.

    Attributes
    ----------
    destination : Destination
    skipped : bool
        True when a finished tomogram with the same settings was there already.
    seconds : mapping
        Seconds of each phase: read, align, filter, back-project, write (phases overlap).
    record : mapping
        What the JSON record holds.
    """

    destination: Destination
    skipped: bool
    seconds: Mapping[str, float] = field(default_factory=dict)
    record: Mapping[str, Any] = field(default_factory=dict)


def reconstruct(
    series: TiltSeries, destination: Destination, settings: Settings, reporter: Reporter
) -> Result:
    """Reconstruct one tilt series into ``destination``."""
    raise NotImplementedError
