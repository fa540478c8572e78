"""Angles of an IMOD folder's views: tilt angles, x tilts and Z factors, a line for each section."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tomofilt.errors import InputError
from tomofilt.io.mrc import MrcStack
from tomofilt.io.text import count, read_number_lines
from tomofilt.series.checks import refuse_angles
from tomofilt_imod.com import Command
from tomofilt_imod.geometry import TiltOptions, ViewAngles
from tomofilt_imod.layout import Layout
from tomofilt_imod.ledger import Ledger

__all__ = ["read_angles"]

FloatArray = NDArray[np.float64]


def read_angles(
    layout: Layout,
    stack: MrcStack,
    options: TiltOptions,
    used: NDArray[np.intp],
    ledger: Ledger,
) -> ViewAngles:
    """Read the tilt angles, x tilts and Z factors of all views of the stack.

    Parameters
    ----------
    layout : Layout
    stack : MrcStack
    options : TiltOptions
        What is added to the angles before they are checked.
    used : (view,) int
        The sections that are not left out: the others' angles may be anything.
    ledger : Ledger

    Raises
    ------
    MissingFileError, InputError
        A file is not there, does not fit the stack, or has an angle that cannot be.
    """
    tilt = layout.tilt
    path = tilt.input_file("TILTFILE") or layout.beside(".tlt")
    tilt_deg, lines = _view_numbers(path, 1, "angle", stack, ledger)
    refuse_angles(
        tilt_deg[used] + options.angle_offset_deg,
        "a tilt",
        lambda i: f"{path} line {lines[used[i]]}{_with(tilt, 'OFFSET')}",
    )
    ledger.fact(
        "tilt_angles",
        f"{len(tilt_deg)} from {tilt_deg.min():g} to {tilt_deg.max():g} deg",
        path.name,
    )
    if tilt.entries and "TILTFILE" not in tilt:
        ledger.notes.append(f"{tilt.path.name} has no TILTFILE: {path.name} is used")

    xtilt_deg, z_factors = np.zeros_like(tilt_deg), np.zeros((len(tilt_deg), 2))
    xtilt_path, z_path = tilt.input_file("XTILTFILE"), tilt.input_file("ZFACTORFILE")
    if not tilt.entries and layout.beside(".xtilt").is_file():
        xtilt_path = layout.beside(".xtilt")  # the tilt.com that etomo writes always names it
    if xtilt_path is not None:
        xtilt_deg, lines = _view_numbers(xtilt_path, 1, "x tilt", stack, ledger)
        ledger.fact(
            "xtilt_angles", f"{xtilt_deg.min():g} to {xtilt_deg.max():g} deg", xtilt_path.name
        )
    refuse_angles(
        xtilt_deg[used] - options.xaxis_tilt_deg,
        "an x tilt",
        lambda i: (
            f"{tilt.path} XAXISTILT {tilt.text('XAXISTILT')}"
            if xtilt_path is None
            else f"{xtilt_path} line {lines[used[i]]}{_with(tilt, 'XAXISTILT')}"
        ),
    )
    if z_path is not None:
        z_factors = _view_numbers(z_path, 2, "number", stack, ledger)[0].reshape(-1, 2)
        ledger.fact("z_factors", f"up to {np.abs(z_factors).max():g}", z_path.name)
    return ViewAngles(tilt_deg, xtilt_deg, z_factors, use_local_z_factors=z_path is not None)


def _with(tilt: Command, key: str) -> str:
    """Name what a com file adds to angles, if it does."""
    text = tilt.text(key)
    return f" with {tilt.source(key)} {text}" if text else ""


def _view_numbers(
    path: Path, per_view: int, noun: str, stack: MrcStack, ledger: Ledger
) -> tuple[FloatArray, list[int]]:
    """Read the first ``per_view`` numbers for each section of the stack, and their lines."""
    sections = stack.shape[0]
    needed = per_view * sections
    rows = read_number_lines(path)
    for line, row in rows:
        if len(row) > per_view and len(rows) >= sections:
            raise InputError(
                f"{path} line {line} holds {count(len(row), 'number')}, but {path.name} has a line "
                f"for each of {count(sections, 'section')}, and {count(per_view, 'number')} a line "
                "is needed: remove the other columns, and write decimals with a point, not a comma"
            )
    numbers = [(number, line) for line, row in rows for number in row]
    if len(numbers) < needed:
        raise InputError(
            f"{path} has {count(len(numbers), noun)} but {stack.path.name} has "
            f"{count(sections, 'section')}{', two numbers each' if per_view == 2 else ''}: was a "
            "view removed? Each section needs its line, also those left out with EXCLUDELIST2 or "
            f"--exclude; regenerate the {path.suffix or 'file'}, or take the stack it was made for"
        )
    if len(numbers) > needed:
        ledger.notes.append(
            f"{path.name} has {count(len(numbers), noun)} but {stack.path.name} has "
            f"{count(sections, 'section')}: the first {needed} are used, as tilt does"
        )
    ledger.files.append(path)
    values, lines = zip(*numbers[:needed], strict=True)
    return np.array(values), list(lines)
