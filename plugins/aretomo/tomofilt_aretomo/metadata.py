"""What AreTomo3 writes beside an alignment: CTF (``_CTF.txt``) and exposure (``_TLT.txt``)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tomofilt.errors import InputError
from tomofilt.io.text import count, read_text
from tomofilt.series.ctf import Ctf
from tomofilt.series.ledger import Ledger
from tomofilt_aretomo.aln import Alignment

__all__ = ["read_ctf", "read_exposure"]

FloatArray = NDArray[np.float64]

#: AreTomo's files do not tell them; its own defaults are these.
_VOLTAGE_KV, _CS_MM, _AMPLITUDE_CONTRAST = 300.0, 2.7, 0.07
#: Angles of the same image differ by less.
_SAME_DEG = 1.0


def read_ctf(path: Path, alignment: Alignment, ledger: Ledger) -> Ctf | None:
    """Contrast transfer of the aligned images, in the order of the alignment.

    A line is ``number, underfocus 1 and 2 (A), direction of the first (deg), phase shift (rad),
    score, resolution`` and, since AreTomo3 2.0, the hand of the defocus gradient. Images are those
    of the alignment, or all, dark ones included, by ascending tilt.

    Parameters
    ----------
    path : Path
    alignment : Alignment
    ledger : Ledger

    Returns
    -------
    Ctf or None
        None, with a note, where the file cannot be used.
    """
    if not path.is_file():
        return None
    try:
        table = _table(path, least=5)
        if len(table) == len(alignment) + len(alignment.dark):
            table = np.delete(table, alignment.dark[:, 0], axis=0)
        if len(table) != len(alignment):
            raise InputError(
                f"{path} has {count(len(table), 'line')} for "
                f"{count(len(alignment), 'aligned image')}"
            )
    except InputError as error:
        ledger.notes.append(f"{error}: the CTF is not known")
        return None
    u, v, axis_deg, phase_rad = table[:, 1:5].T
    hand = table[0, 7] if table.shape[1] > 7 else 0.0
    if not hand:
        hand = -1.0
        ledger.notes.append(f"{path.name} does not tell the hand of the defocus: -1 is assumed")
    ledger.notes.append(
        f"AreTomo's files do not tell the microscope: {_VOLTAGE_KV:g} kV, Cs {_CS_MM:g} mm and "
        f"amplitude contrast {_AMPLITUDE_CONTRAST:g} are assumed for the CTF"
    )
    ledger.files.append(path)
    ledger.fact("defocus_angst", f"{min(*u, *v):.0f} to {max(*u, *v):.0f}", path.name)
    ledger.fact("hand", float(hand), path.name)
    return Ctf(
        defocus_u_angst=u,
        defocus_v_angst=v,
        astigmatism_deg=axis_deg,
        phase_shift_deg=np.degrees(phase_rad),
        voltage_kv=_VOLTAGE_KV,
        cs_mm=_CS_MM,
        amplitude_contrast=_AMPLITUDE_CONTRAST,
        hand=float(hand),
    )


def read_exposure(
    path: Path, alignment: Alignment, sections: NDArray[np.intp], ledger: Ledger
) -> FloatArray | None:
    """Exposure in electrons/A^2 before each aligned image.

    A line for each section of the raw stack: tilt angle of the stage, place in the order of
    acquisition, and, since AreTomo3 2.0, exposure of the image.

    Parameters
    ----------
    path : Path
    alignment : Alignment
    sections : (image,) int
        Raw section of each aligned image.
    ledger : Ledger
    """
    if not path.is_file():
        return None
    try:
        table = _table(path, least=2)
        if sections.max() >= len(table):
            raise InputError(
                f"{path} has {count(len(table), 'line')}, but the stack more sections than that"
            )
        stage_deg = alignment.tilt_deg - alignment.alpha_deg
        if np.abs(table[sections, 0] - stage_deg).max() > _SAME_DEG:
            raise InputError(f"the tilt angles in {path} are not those of {alignment.path.name}")
    except InputError as error:
        ledger.notes.append(f"{error}: the exposure is not known")
        return None
    if table.shape[1] < 3 or not table[:, 2].any():
        ledger.notes.append(f"{path.name} tells the order of the images, but not their exposure")
        return None
    order = np.argsort(table[:, 1], kind="stable")
    before = np.empty(len(table))
    before[order] = np.cumsum(table[order, 2]) - table[order, 2]
    ledger.files.append(path)
    exposure = before[sections]
    ledger.fact("exposure_e_per_a2", f"{exposure.min():g} to {exposure.max():g}", path.name)
    return np.asarray(exposure)


def _table(path: Path, least: int) -> FloatArray:
    """Lines of numbers, all of one length."""
    rows: list[list[float]] = []
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        if line.strip() and not line.lstrip().startswith("#"):
            try:
                row = [float(field) for field in line.split()]
            except ValueError:
                row = []
            if (
                len(row) < least
                or (rows and len(row) != len(rows[0]))
                or not np.isfinite(row).all()
            ):
                raise InputError(f"{path} line {number}: {line.strip()!r} was not expected")
            rows.append(row)
    if not rows:
        raise InputError(f"{path} holds no image")
    return np.array(rows)
