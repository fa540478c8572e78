"""Contrast transfer and exposure of an IMOD folder's views, and what is corrected already."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tomofilt.errors import InputError
from tomofilt.io.mrc import MrcStack
from tomofilt.io.text import count
from tomofilt.series.ctf import Ctf
from tomofilt_imod.com import Command, read_command
from tomofilt_imod.defocus import DefocusTable, read_defocus
from tomofilt_imod.layout import Layout
from tomofilt_imod.ledger import Ledger
from tomofilt_imod.mdoc import BY_ANGLE, Mdoc, read_mdoc
from tomofilt_imod.stacks import Images
from tomofilt_imod.transforms import read_xf

__all__ = ["find_mdoc", "read_ctf", "read_exposure", "told_by_stack"]

FloatArray = NDArray[np.float64]

#: Written when ctfphaseflip runs; and how many labels a header has room for.
_LOG, _MOST_LABELS = "ctfcorrection.log", 10
#: What is assumed where no com file tells it, by the com files' names, and the record's names.
_ASSUMED = {"Voltage": 300.0, "SphericalAberration": 2.7, "AmplitudeContrast": 0.07}
_FACTS = {
    "Voltage": "voltage_kv",
    "SphericalAberration": "cs_mm",
    "AmplitudeContrast": "amplitude_contrast",
}


def told_by_stack(stack: MrcStack, layout: Layout) -> tuple[str | None, str | None]:
    """Why images count as CTF-corrected, and as dose-weighted, if they do."""
    labels = " ".join(stack.header.labels).lower()
    name = stack.path.name
    ctf = dose = None
    if "ctfphaseflip" in labels:
        ctf = f"{name} says in its header that ctfphaseflip has corrected it"
    elif "_ctfcorr" in name:
        ctf = f"{name} is corrected by ctfphaseflip, as its name says"
    elif len(stack.header.labels) >= _MOST_LABELS and (layout.folder / _LOG).is_file():
        ctf = f"{_LOG} says that ctfphaseflip has run, the header of {name} has no room to say it"
    if "dose" in labels and "mtffilter" in labels:
        dose = f"{name} says in its header that mtffilter has weighted it for dose"
    elif any(mark in name.lower() for mark in ("dose-filt", "dosefilt", "_dw.", "_dw_")):
        dose = f"{name} is dose-weighted, as its name says"
    return ctf, dose


def read_ctf(
    layout: Layout, images: Images, tilt_deg: FloatArray, mdoc: Mdoc | None, ledger: Ledger
) -> Ctf | None:
    """Read the defocus file, with what ctfcorrection.com and ctfplotter.com say about the optics.

    Parameters
    ----------
    layout : Layout
    images : Images
    tilt_deg : (view,)
        Of all views of the stack.
    mdoc : Mdoc, optional
    ledger : Ledger

    Returns
    -------
    Ctf of all views, in the frame of the images, or None; then a note says why.
    """
    commands = [_command(layout, name, ledger) for name in ("ctfphaseflip", "ctfplotter")]
    named = [path for command in commands if (path := command.file("DefocusFile")) is not None]
    path = next((path for path in named if path.is_file()), layout.defocus_file())
    if path is None:
        if named:
            ledger.notes.append(f"{named[0].name} is not there: the CTF is not known")
        return None
    try:
        table = read_defocus(path)
    except InputError as error:
        ledger.notes.append(f"{error}: the CTF is not known")
        return None
    numbered = table.numbered_from_1(tilt_deg)
    if numbered is not table:
        ledger.notes.append(f"{path.name} counts views from 0, as ctfplotter once did")
    u_nm, v_nm, axis_deg, phase_deg = numbered.at(tilt_deg)
    ledger.files.append(path)
    ledger.fact("defocus_nm", f"{u_nm.min():.0f} to {u_nm.max():.0f}", path.name)
    _note_gaps(path, numbered, len(tilt_deg), ledger)
    optics = {key: _optics(key, commands, mdoc, path, ledger) for key in _ASSUMED}
    hand = 1.0 if _inverted(commands, numbered, tilt_deg, path, ledger) else -1.0
    rotation_deg, origin_angst = _frame(layout, images, commands[0], numbered, path, ledger)
    return Ctf(
        defocus_u_angst=10 * u_nm,
        defocus_v_angst=10 * v_nm,
        astigmatism_deg=axis_deg + rotation_deg,
        phase_shift_deg=phase_deg,
        voltage_kv=optics["Voltage"],
        cs_mm=optics["SphericalAberration"],
        amplitude_contrast=optics["AmplitudeContrast"],
        hand=hand,
        origin_angst=origin_angst,
    )


def _command(layout: Layout, program: str, ledger: Ledger) -> Command:
    path = layout.com_file({"ctfphaseflip": "ctfcorrection", "ctfplotter": "ctfplotter"}[program])
    if not path.is_file():
        return Command(path)
    try:
        command = read_command(path, program)
    except InputError as error:
        ledger.notes.append(f"{error}: {path.name} is not used")
        return Command(path)
    ledger.files.append(path)
    return command


def _note_gaps(path: Path, table: DefocusTable, views: int, ledger: Ledger) -> None:
    missing = int((~table.covered(views)).sum())
    if missing and len(table.first) > 1:
        ledger.notes.append(
            f"{path.name} has no line for {count(missing, 'view')} of {views}: their defocus is "
            "interpolated between their neighbours in tilt"
        )
    if table.has_cut_on:
        ledger.notes.append(f"{path.name}: cut-on frequencies of the phase shift are not used")


def _optics(
    key: str, commands: list[Command], mdoc: Mdoc | None, path: Path, ledger: Ledger
) -> float:
    for command in commands:
        value = command.number(key)
        if value is not None:
            ledger.fact(_FACTS[key], value, command.source(key))
            return value
    if key == "Voltage" and mdoc is not None and mdoc.voltage_kv is not None:
        ledger.fact(_FACTS[key], mdoc.voltage_kv, f"{mdoc.path.name} Voltage")
        return mdoc.voltage_kv
    assumed = _ASSUMED[key]
    ledger.notes.append(
        f"{path.name} is there, but neither ctfcorrection.com nor ctfplotter.com tells {key}: "
        f"{assumed:g} is assumed"
    )
    ledger.fact(_FACTS[key], assumed, "assumed")
    return assumed


def _inverted(
    commands: list[Command],
    table: DefocusTable,
    tilt_deg: FloatArray,
    path: Path,
    ledger: Ledger,
) -> bool:
    """Whether ctfphaseflip is to invert the tilt angles: the gradient runs the other way."""
    for command in commands:
        if command.entries:
            inverted = command.flag("InvertTiltAngles")
            ledger.fact("defocus_inverted", inverted, command.source("InvertTiltAngles"))
            return inverted
    inverted = table.angles_not_inverted or table.is_inverted(tilt_deg)
    if inverted:
        ledger.notes.append(
            f"{path.name} was made with inverted tilt angles: the defocus gradient runs against "
            "IMOD's usual direction"
        )
    ledger.fact("defocus_inverted", inverted, path.name)
    return inverted


def _frame(
    layout: Layout,
    images: Images,
    phaseflip: Command,
    table: DefocusTable,
    path: Path,
    ledger: Ledger,
) -> tuple[FloatArray | float, FloatArray | None]:
    """How far axes turn from raw images to those in use (deg), and where the defocus holds.

    ctfplotter looks at raw images. ctfphaseflip has their middle at the nominal defocus if it is
    given the transforms, and the middle of the aligned images otherwise.
    """
    if images.raw_from_aligned is not None:
        origin = np.zeros((len(images.raw_from_aligned), 2))
        return 0.0, origin if phaseflip.text("TransformFile") else None
    xf_path = phaseflip.file("TransformFile")
    shifted = xf_path is not None and xf_path.is_file()
    if xf_path is None or not shifted:
        xf_path = layout.beside(".xf")
    sections = images.stack.shape[0]
    if not xf_path.is_file() or len(transforms := read_xf(xf_path)) != sections:
        if np.any(table.u_nm != table.v_nm):
            ledger.notes.append(
                f"{path.name}: the axes of astigmatism are those of the raw images, and without "
                f"{layout.name}.xf they are taken for those of the aligned ones"
            )
        return 0.0, None
    if not shifted:
        if phaseflip.entries and np.any(table.u_nm != table.v_nm):
            ledger.notes.append(
                f"{path.name}: the axes of astigmatism are turned with {xf_path.name}; "
                "ctfphaseflip leaves them as they are, as ctfcorrection.com has no TransformFile"
            )
        return transforms.rotation_deg, None
    pixel = images.frame.pixel_angst * float(images.frame.scale)
    return transforms.rotation_deg, transforms.matrices[:, :, 2] * pixel


def find_mdoc(layout: Layout) -> Mdoc | None:
    """The metadata beside the raw stack, if they are there and have sections."""
    raw = layout.raw_stack()
    names = [] if raw is None else [raw.with_name(f"{raw.name}.mdoc"), raw.with_suffix(".mdoc")]
    names += [layout.beside(suffix) for suffix in (".st.mdoc", ".mrc.mdoc", ".mdoc")]
    for path in names:
        if path.is_file():
            try:
                found = read_mdoc(path)
            except InputError:
                continue
            if found.sections:
                return found
    return None


def read_exposure(mdoc: Mdoc | None, tilt_deg: FloatArray, ledger: Ledger) -> FloatArray | None:
    """Exposure before each view of the stack; None where the metadata do not tell it."""
    if mdoc is None:
        return None
    try:
        before, source = mdoc.exposure_before(tilt_deg)
    except InputError as error:
        ledger.notes.append(f"{error}: the exposure is not known")
        return None
    ledger.files.append(mdoc.path)
    ledger.fact("exposure_e_per_a2", f"{before.min():g} to {before.max():g}", source)
    if source.endswith(BY_ANGLE):
        ledger.notes.append(
            f"the sections of {mdoc.path.name} are not in the order of the images: each image has "
            "the exposure of the section with its tilt angle"
        )
    return before
