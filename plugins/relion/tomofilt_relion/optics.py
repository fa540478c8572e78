"""Contrast transfer and dose of a series, as RELION's tables tell them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

import numpy as np
from numpy.typing import NDArray

from tomofilt.io.star import Table
from tomofilt.series.ctf import LEAST_DEFOCUS_ANGST, Ctf
from tomofilt.series.ledger import Ledger
from tomofilt_relion.images import NamedImages
from tomofilt_relion.tomograms import TomogramSet

__all__ = ["dose_done", "number", "series_ctf"]

FloatArray = NDArray[np.float64]


def dose_done(images: NamedImages) -> str | None:
    """Why images count as dose-weighted: RELION then writes the unweighted ones beside them."""
    first = images.files[0]
    other = first.with_name(f"{first.stem}_noDW{first.suffix}")
    if other.exists():
        return f"motion correction has weighted the images: {other.name} is beside them"
    return None


def series_ctf(tomograms: TomogramSet, name: str, tilts: Table, ledger: Ledger) -> Ctf | None:
    """Contrast transfer of all rows; None, with a note, where the set does not tell it."""
    columns = ("rlnDefocusU", "rlnDefocusV", "rlnDefocusAngle")
    missing = [column for column in columns if column not in tilts]
    row = tomograms.rows[name]
    optics = {
        column: number(row.get(column, ""))
        for column in (
            "rlnVoltage",
            "rlnSphericalAberration",
            "rlnAmplitudeContrast",
            "rlnTomoHand",
        )
    }
    missing += [column for column, value in optics.items() if value is None]
    if missing:
        ledger.notes.append(
            f"the CTF is not known: {name} lacks {', '.join(missing)} (from RELION's Import and "
            "CtfFind jobs)"
        )
        return None
    u, v, angle = (_lenient(tilts[column]) for column in columns)
    phase = _lenient(tilts["rlnPhaseShift"]) if "rlnPhaseShift" in tilts else np.zeros(len(tilts))
    broken = ~np.isfinite(u + v + angle + phase)
    unknown = broken | (np.abs(u + v) / 2 < LEAST_DEFOCUS_ANGST)
    for values in (u, v, angle, phase):
        values[broken] = 0.0
    if unknown.all():
        ledger.notes.append(
            f"the CTF is not known: every rlnDefocusU and V of {name} is 0 or missing"
        )
        return None
    if unknown.any():
        rows = ", ".join(str(i + 1) for i in np.flatnonzero(unknown))
        ledger.notes.append(f"rows without a defocus, whose CTF is left as it is: {rows}")
    known = ~unknown
    ledger.fact(
        "defocus_angst",
        f"{min(u[known].min(), v[known].min()):.0f} to {max(u[known].max(), v[known].max()):.0f}",
        "rlnDefocusU/V/Angle",
    )
    voltage, cs, contrast, hand = (cast(float, value) for value in optics.values())
    slope = number(row.get("rlnTomoDefocusSlope", ""))
    ledger.fact("hand", hand, tomograms.source(name, "rlnTomoHand"))
    return Ctf(
        defocus_u_angst=u,
        defocus_v_angst=v,
        astigmatism_deg=angle,
        phase_shift_deg=phase,
        voltage_kv=voltage,
        cs_mm=cs,
        amplitude_contrast=contrast,
        hand=hand * (1.0 if slope is None else slope),
    )


def _lenient(texts: Sequence[str]) -> FloatArray:
    """Numbers; NaN for what is none."""
    values = [number(text) for text in texts]
    return np.array([math.nan if value is None else value for value in values])


def number(text: str) -> float | None:
    """Return a finite number; None for what is none."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
