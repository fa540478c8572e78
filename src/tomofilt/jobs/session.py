"""A row a series: what the overview of a session says of it, from its record."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from tomofilt.io.record import Record

__all__ = ["TOLD_PER_PX", "Row"]

#: The SNR is told at these frequencies, cycles per voxel.
TOLD_PER_PX = (0.02, 0.1, 0.25)
#: In this order series are to be looked at.
_STATES = ("failed", "look", "ok")


@dataclass(frozen=True)
class Row:
    """One series; the numbers are the columns of ``tomofilt_session.csv``.

    Attributes
    ----------
    series : str
    state : "failed", "look" or "ok"
    flags : str
        Names of the checks that say: look.
    x, y, z : int
        Voxels.
    voxel_angst, box_angst, specimen_angst, specimen_height_angst : float
        Of a voxel; thickness of the tomogram and of the specimen; height of the specimen's middle
        above that of the tomogram.
    snr_low, snr_middle, snr_high : float
        SNR (power over power) of the least tilted view at 0.02, 0.1 and 0.25 cycles per voxel.
    signal_to_angst : float
        Where the signal ends.
    neighbours_agree : float
        How surely neighbouring views match, in standard errors, all together.
    denoising_strength : float
        How far the denoised tomogram goes from the linear one towards the network's, from 0 to 1.
    views, excluded : int
    seconds : float
    memory_gb : float
    message : str
        What the flags or the error say, with what to do.
    volume : str
        The tomogram, from the folder of the overview.
    """

    series: str
    state: str
    flags: str = ""
    x: int | None = None
    y: int | None = None
    z: int | None = None
    voxel_angst: float | None = None
    box_angst: float | None = None
    specimen_angst: float | None = None
    specimen_height_angst: float | None = None
    snr_low: float | None = None
    snr_middle: float | None = None
    snr_high: float | None = None
    signal_to_angst: float | None = None
    neighbours_agree: float | None = None
    denoising_strength: float | None = None
    views: int | None = None
    excluded: int | None = None
    seconds: float | None = None
    memory_gb: float | None = None
    message: str = ""
    volume: str = ""

    @classmethod
    def of_record(cls, record: Record, volume: str, seconds: float | None = None) -> Row:
        """What a record says of its series.

        Parameters
        ----------
        record : Record
        volume : str
        seconds : float, optional
            Default: the sum of the record's phases.
        """
        found, (nz, ny, nx) = record.filter.measured, record.output.shape_zyx
        voxel = record.output.voxel_angst
        low, middle, high = _snr(record)
        denoised = record.denoising.measured if record.denoising else {}
        return cls(
            series=record.series,
            state="look" if record.flags else "ok",
            flags="; ".join(flag.name for flag in record.flags),
            x=nx,
            y=ny,
            z=nz,
            voxel_angst=voxel,
            box_angst=round(nz * voxel, 1),
            specimen_angst=found.get("specimen_thickness_angst"),
            specimen_height_angst=found.get("specimen_height_angst"),
            snr_low=low,
            snr_middle=middle,
            snr_high=high,
            signal_to_angst=found.get("signal_reaches_angst"),
            neighbours_agree=(found.get("neighbours") or {}).get("all_together"),
            denoising_strength=denoised.get("strength"),
            views=len(record.views),
            excluded=len(record.excluded),
            seconds=round(seconds or sum(record.seconds.values()), 1),
            memory_gb=round(record.peak_memory_bytes / 1e9, 2),
            message=" ".join(f"{flag.sentence}: {flag.mend}." for flag in record.flags),
            volume=volume,
        )

    @property
    def rank(self) -> tuple[int, int, str]:
        """The worst first: failed, then the most flags."""
        return _STATES.index(self.state), -self.flags.count(";") - bool(self.flags), self.series

    @classmethod
    def columns(cls) -> tuple[str, ...]:
        """Names of the columns of the CSV file."""
        return tuple(field.name for field in fields(cls))


def _snr(record: Record) -> list[float | None]:
    """SNR of the least tilted view at the frequencies that are told."""
    snr: dict[str, Any] | None = record.filter.measured.get("snr")
    if snr is None:
        return [None] * len(TOLD_PER_PX)
    view = int(np.argmin([abs(view.tilt_deg) for view in record.views]))
    k = np.array(TOLD_PER_PX) / record.output.voxel_angst
    with np.errstate(divide="ignore"):
        spectrum = np.interp(np.log(k), np.log(snr["k_per_angst"]), np.log(snr["spectrum"]))
    values = np.exp(spectrum - snr["decay_angst2"][view] * k**2) * snr["factor"][view]
    return [float(f"{value:.3g}") for value in values]
