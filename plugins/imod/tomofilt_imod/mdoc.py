"""Acquisition metadata that SerialEM writes beside a stack: exposure and voltage."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tomofilt.errors import InputError
from tomofilt.io.text import read_text

__all__ = ["BY_ANGLE", "Mdoc", "read_mdoc"]

#: How the source ends where sections were told by their angles.
BY_ANGLE = ", by tilt angle"

FloatArray = NDArray[np.float64]

_SECTION = re.compile(r"\[ZValue\s*=\s*(\d+)\s*\]")
_DATES = ("%d-%b-%y %H:%M:%S", "%d-%b-%Y %H:%M:%S", "%Y-%b-%d %H:%M:%S")
#: Angles of the same view differ by less, once their common offset is taken off.
_SAME_DEG = 1.0


@dataclass(frozen=True)
class Mdoc:
    """The sections of an .mdoc file.

    Parameters
    ----------
    path : Path
    general : mapping of str to str
        What stands before the first section.
    sections : tuple of mapping
        Of every ZValue, in their order.
    """

    path: Path
    general: Mapping[str, str]
    sections: tuple[Mapping[str, str], ...]

    @property
    def voltage_kv(self) -> float | None:
        """Acceleration voltage."""
        voltage = _number(self.general.get("Voltage"))
        return voltage if voltage else None

    @property
    def pixel_angst(self) -> float | None:
        """Pixel size, of all images or else of the first."""
        first = self.sections[0] if self.sections else {}
        spacing = _number(self.general.get("PixelSpacing") or first.get("PixelSpacing"))
        return spacing if spacing and spacing > 0 else None

    def exposure_before(self, tilt_deg: FloatArray) -> tuple[FloatArray, str]:
        """Exposure in electrons/A^2 before each view of the stack, and from what.

        ``PriorRecordDose`` where all sections have it, else ``ExposureDose`` added up in the order
        of ``DateTime``. Section i belongs to image i where there are as many; only a stack that was
        sorted by tilt beside metadata in the order of acquisition, or one with fewer images, has
        its sections told by their angles.

        Parameters
        ----------
        tilt_deg : (view,)
            Of all views of the stack; they may differ from the nominal angles by an offset, and by
            their sign.

        Returns
        -------
        (view,) array, and its source in words

        Raises
        ------
        InputError
            The exposure cannot be told; the message says why, without what to do.
        """
        number = len(self.sections)
        if number < len(tilt_deg):
            raise InputError(
                f"{self.path.name} has {number} sections, but the stack has {len(tilt_deg)}"
            )
        exposure, source = self._exposure()
        angles = np.array([_number(s.get("TiltAngle"), np.nan) for s in self.sections], float)
        alike = number == len(tilt_deg)
        if np.isnan(angles).any():
            if alike:
                return exposure, source
            raise InputError(
                f"{self.path.name} lacks TiltAngle, and has more sections than the stack"
            )
        if alike and min(_spread(angles - tilt_deg), _spread(angles + tilt_deg)) < _SAME_DEG:
            return exposure, source
        # nearest angles, each section once, after a common offset
        order, place = np.argsort(angles), np.argsort(tilt_deg)
        chosen = order
        if not alike:
            chosen = order[np.abs(angles[order][None] - tilt_deg[place][:, None]).argmin(axis=1)]
        if (
            len(np.unique(chosen)) < len(chosen)
            or _spread(angles[chosen] - tilt_deg[place]) >= _SAME_DEG
        ):
            raise InputError(f"the tilt angles in {self.path.name} are not those of the stack")
        before = np.empty(len(tilt_deg))
        before[place] = exposure[chosen]
        return before, f"{source}{BY_ANGLE}"

    def _exposure(self) -> tuple[FloatArray, str]:
        prior = [_number(section.get("PriorRecordDose")) for section in self.sections]
        if None not in prior and any(prior):
            return np.array(prior, dtype=np.float64), f"{self.path.name} PriorRecordDose"
        own = [_number(section.get("ExposureDose")) for section in self.sections]
        if None in own or not any(own):
            raise InputError(f"{self.path.name} has neither PriorRecordDose nor ExposureDose")
        times = [_time(section.get("DateTime", "")) for section in self.sections]
        if None in times or len(set(times)) < len(times):
            raise InputError(
                f"{self.path.name} has ExposureDose but no DateTime that tells the order of views"
            )
        order = sorted(range(len(times)), key=times.__getitem__)  # type: ignore[arg-type]
        doses = np.array(own, dtype=np.float64)
        before = np.empty(len(order))
        before[order] = np.cumsum(doses[order]) - doses[order]
        return before, f"{self.path.name} ExposureDose, in the order of DateTime"


def read_mdoc(path: Path) -> Mdoc:
    """Read an .mdoc file; keys that are of no use here are kept too.

    Raises
    ------
    MissingFileError, InputError
        As :func:`~tomofilt.io.text.read_text`.
    """
    general: dict[str, str] = {}
    sections: dict[int, dict[str, str]] = {}
    into: dict[str, str] | None = general
    for line in map(str.strip, read_text(path).splitlines()):
        if match := _SECTION.fullmatch(line):
            into = sections.setdefault(int(match[1]), {})
        elif line.startswith("[") and not line.startswith("[T"):
            into = None  # a section of another kind
        elif "=" in line and into is not None and not line.startswith("["):
            key, value = line.split("=", 1)
            into[key.strip()] = value.strip()
    return Mdoc(path, general, tuple(sections[z] for z in sorted(sections)))


def _number(text: str | None, default: float | None = None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return default
    return value if np.isfinite(value) else default


def _time(text: str) -> datetime | None:
    for form in _DATES:
        try:
            return datetime.strptime(" ".join(text.split()), form)
        except ValueError:
            continue
    return None


def _spread(difference: FloatArray) -> float:
    """Largest distance from the median."""
    return float(np.abs(difference - np.median(difference)).max())
