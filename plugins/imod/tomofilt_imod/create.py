"""A new IMOD folder: raw stack, alignment and com files of one tilt series."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tomofilt.io.files import safe_name, write_text_atomic
from tomofilt.series.geometry import SliceGeometry
from tomofilt.series.projects import Acquisition, geometry_about, write_stack
from tomofilt.series.tiltseries import TiltSeries
from tomofilt_imod.defocus import DefocusTable

__all__ = ["create_folder"]

FloatArray = NDArray[np.float64]


def create_folder(folder: Path, series: TiltSeries, acquisition: Acquisition) -> Path:
    """Write what etomo leaves of an alignment, with the raw stack but no aligned one.

    ``NAME.mrc`` (and ``NAME_EVN.mrc``, ``NAME_ODD.mrc``), ``NAME.xf``, ``.tlt``, ``.rawtlt``,
    ``.mrc.mdoc``, ``newst.com`` and ``tilt.com``; with a CTF, ``NAME.defocus`` and
    ``ctfcorrection.com``. newstack and tilt, or tomofilt, make a tomogram
    whose voxels are those of ``series.grid``.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    OutputError, OutputExistsError
    """
    name = safe_name(series.name)
    folder.mkdir(parents=True, exist_ok=True)
    write_stack(folder / f"{name}.mrc", series.images)
    if series.halves is not None:
        for half, images in zip(("EVN", "ODD"), series.halves, strict=True):
            write_stack(folder / f"{name}_{half}.mrc", images)
    nz, ny, nx = series.grid.shape
    # tilt puts the specimen centre half a voxel below the middle in x, and above it in z, of odd
    # sizes
    centre = (nz - 1 - (nz // 2 - 0.5), (ny - 1) / 2, nx // 2 - 0.5)
    warp, slices = geometry_about(series.geometry, series.grid, centre).factor()
    texts = {
        f"{name}.xf": _xf(warp, slices, series.images.pixel_angst),
        f"{name}.tlt": _angles(slices.tilt_deg),
        f"{name}.rawtlt": _angles(acquisition.stage_deg),
        f"{name}.mrc.mdoc": _mdoc(name, series, acquisition),
        "ctfcorrection.com": _com(
            "ctfphaseflip",
            [
                f"InputStack\t{name}_ali.mrc",
                f"AngleFile\t{name}.tlt",
                f"OutputFileName\t{name}_ctfcorr_ali.mrc",
                f"DefocusFile\t{name}.defocus",
                f"Voltage\t{acquisition.voltage_kv:g}",
                f"SphericalAberration\t{acquisition.cs_mm:g}",
                "DefocusTol\t200",
                f"PixelSize\t{series.images.pixel_angst / 10:g}",
                f"AmplitudeContrast\t{acquisition.amplitude_contrast:g}",
                "InterpolationWidth\t20",
                *(["InvertTiltAngles"] if acquisition.hand > 0 else []),
            ],
        ),
        "newst.com": _com(
            "newstack",
            [
                f"InputFile\t{name}.mrc",
                f"OutputFile\t{name}_ali.mrc",
                f"TransformFile\t{name}.xf",
                "TaperAtFill\t1,0",
                "AdjustOrigin",
                f"SizeToOutputInXandY\t{nx},{ny}",
            ],
        ),
        "tilt.com": _com(
            "tilt",
            [
                f"InputProjections {name}_ali.mrc",
                f"OutputFile {name}_full_rec.mrc",
                "IMAGEBINNED 1",
                f"TILTFILE {name}.tlt",
                f"THICKNESS {nz}",
                f"WIDTH {nx}",
                "RADIAL 0.35 0.035",
                "FalloffIsTrueSigma 1",
                "XAXISTILT 0.0",
                "MODE 2",
                f"FULLIMAGE {nx} {ny}",
                "SUBSETSTART 0 0",
                "AdjustOrigin",
            ],
        ),
    }
    if np.any(acquisition.defocus_angst):
        texts[f"{name}.defocus"] = _defocus(slices.tilt_deg, acquisition)
    else:
        del texts["ctfcorrection.com"]
    for file, text in texts.items():
        write_text_atomic(folder / file, text, replace=False)
    return folder


def _xf(warp: FloatArray, slices: SliceGeometry, pixel_angst: float) -> str:
    """Lines of an .xf: from raw to aligned images, where the tilt axis is the middle column.

    What is left of a shift across the axis (``slices.u0_angst``) becomes part of it.
    """
    linear = np.linalg.inv(warp[:, :, :2])
    shift = -(linear @ warp[:, :, 2:])[:, :, 0]
    shift[:, 0] -= slices.u0_angst
    shift /= pixel_angst
    return "".join(
        "".join(f"{value:12.7f}" for value in a.ravel()) + f"{dx:12.3f}{dy:12.3f}\n"
        for a, (dx, dy) in zip(linear, shift, strict=True)
    )


def _angles(degrees: FloatArray) -> str:
    return "".join(f"{angle:9.4f}\n" for angle in degrees)


def _defocus(tilt_deg: FloatArray, acquisition: Acquisition) -> str:
    numbers = np.arange(1, len(tilt_deg) + 1)
    nm, zero = acquisition.defocus_angst / 10, np.zeros(len(tilt_deg))
    sign = -1 if acquisition.hand > 0 else 1  # as ctfplotter saw them
    angles = sign * np.stack([tilt_deg, tilt_deg], axis=1)
    return DefocusTable(numbers, numbers, angles, nm, nm, zero, zero).text()


def _mdoc(name: str, series: TiltSeries, acquisition: Acquisition) -> str:
    """Metadata as SerialEM writes them beside a stack, as far as there are any."""
    _, ny, nx = series.images.shape
    lines = [
        f"PixelSpacing = {series.images.pixel_angst:g}",
        f"ImageFile = {name}.mrc",
        f"ImageSize = {nx} {ny}",
        "DataMode = 2",
        f"Voltage = {acquisition.voltage_kv:g}",
    ]
    for view, angle in enumerate(acquisition.stage_deg):
        lines += ["", f"[ZValue = {view}]", f"TiltAngle = {angle:.2f}"]
        lines.append(f"ExposureDose = {acquisition.dose_e_per_a2:g}")
        if series.dose_e_per_a2 is not None:
            lines.append(f"PriorRecordDose = {series.dose_e_per_a2[view]:g}")
        lines.append(f"Defocus = {-acquisition.defocus_angst[view] / 1e4:g}")
    return "\n".join(lines) + "\n"


def _com(program: str, lines: list[str]) -> str:
    return "\n".join([f"${program} -StandardInput", *lines, "$if (-e ./savework) ./savework", ""])
