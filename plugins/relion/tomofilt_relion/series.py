"""One tilt series of a RELION project: images, alignment, tomogram, and whence each number."""

from __future__ import annotations

import math
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from tomofilt.errors import InputError
from tomofilt.io.files import safe_name
from tomofilt.io.star import Table
from tomofilt.series.projects import SeriesOptions
from tomofilt.series.tiltseries import TiltSeries
from tomofilt_relion.geometry import (
    Alignment,
    alignment_from_matrices,
    default_xy,
    geometry_from_matrices,
    volume_grid,
)
from tomofilt_relion.images import NamedImages
from tomofilt_relion.ledger import Ledger
from tomofilt_relion.optics import dose_done, series_ctf
from tomofilt_relion.tomograms import TomogramSet

__all__ = ["pixel_angst", "read_series", "relion5_tilts"]

FloatArray = NDArray[np.float64]

_MATRIX = tuple(f"rlnTomoProj{row}" for row in "XYZW")
#: The columns without which nothing can be reconstructed, and the RELION job that writes them.
_NEEDED = {
    "Motion correction": ("rlnMicrographName",),
    "Align tilt-series": (
        "rlnTomoYTilt",
        "rlnTomoZRot",
        "rlnTomoXShiftAngst",
        "rlnTomoYShiftAngst",
    ),
}
_HALVES = ("rlnMicrographNameEven", "rlnMicrographNameOdd")


def read_series(
    tomograms: TomogramSet,
    name: str,
    options: SeriesOptions,
    tilt_offset_deg: float = 0.0,
) -> TiltSeries:
    """Read a tilt series of a set.

    Parameters
    ----------
    tomograms : TomogramSet
    name : str
    options : SeriesOptions
        ``input_pixel_angst`` is for a set without pixel size; ``exclude`` counts rows. RELION puts
        the specimen centre where the size asked for has it, whatever the set's own size.
    tilt_offset_deg : float
        Added to every rlnTomoYTilt.

    Raises
    ------
    MissingFileError
        A STAR file or an image is not there.
    InputError
        Columns are missing, files do not fit each other, or hold something unusable.
    """
    safe_name(name)
    ledger = Ledger()
    path = tomograms.tilts_path(name)
    where = f"{path}: data_{name}"
    pixel = pixel_angst(tomograms, name, options.input_pixel_angst)
    ledger.fact("pixel_angst", pixel, tomograms.source(name, "rlnTomoTiltSeriesPixelSize"))
    raw = tomograms.tilts(name)
    tilts = relion5_tilts(tomograms, name, raw, pixel)
    images = NamedImages(tomograms.root, tilts["rlnMicrographName"], pixel)
    image_shape = images.shape[1:]
    alignment = _alignment(tilts, where, pixel, tilt_offset_deg)
    if _has_matrices(raw) and not tilt_offset_deg:
        size_px = _size_of_matrices(tomograms, name)
        geometry = geometry_from_matrices(_matrices(raw, where), size_px, image_shape, pixel)
        ledger.fact("alignment", "matrices", f"{path.name} rlnTomoProjX/Y/Z/W")
    else:
        geometry = alignment.geometry(image_shape, pixel)
        ledger.fact("alignment", "angles and shifts", f"{path.name} rlnTomoX/YTilt, ZRot, Shift")
    if tilt_offset_deg:
        ledger.fact("tilt_offset_deg", tilt_offset_deg, "--tiltangle_offset")

    size_px = _size(tomograms, name, options, default_xy(image_shape, alignment.zrot_deg), ledger)
    excluded = _excluded(options.exclude, len(tilts), where, ledger)
    used = np.setdiff1d(np.arange(len(tilts)), excluded)
    if used.size == 0:
        raise InputError(f"{where}: all {len(tilts)} images are excluded")
    tilt_deg = alignment.ytilt_deg
    views = used[np.argsort(tilt_deg[used], kind="stable")]
    binning = _positive(tomograms.rows[name].get("rlnTomoTomogramBinning", ""))
    if binning:
        ledger.fact("binning", binning, tomograms.source(name, "rlnTomoTomogramBinning"))
    _note_unused(tomograms, name, tilts, ledger)
    exposure = _exposure(tomograms, name, tilts, where, ledger)
    ctf = series_ctf(tomograms, name, tilts, ledger)
    return TiltSeries(
        name=name,
        images=images,
        geometry=geometry.select(views),
        views=views,
        tilt_deg=tilt_deg[views],
        grid=volume_grid(size_px, pixel),
        binning=binning or 1.0,
        first_voxel_kept=True,
        origin_angst=(0.0, 0.0, 0.0),
        axes_fixed=True,
        excluded=excluded,
        halves=_halves(tomograms.root, tilts, pixel),
        dose_e_per_a2=None if exposure is None else exposure[views],
        dose_done=dose_done(images),
        voltage_kv=_positive(tomograms.rows[name].get("rlnVoltage", "")),
        ctf=None if ctf is None else ctf.select(views),
        facts=ledger.facts,
        notes=tuple(ledger.notes),
        files=(*dict.fromkeys((tomograms.path, path)), *images.files),
    )


def pixel_angst(tomograms: TomogramSet, name: str, given: float | None = None) -> float:
    """Pixel size of the motion-corrected images of a series.

    Raises
    ------
    InputError
        The set has none and none was given, or two different ones are known.
    """
    found = _positive(tomograms.rows[name].get("rlnTomoTiltSeriesPixelSize", ""))
    if given is None:
        if found is None:
            raise InputError(
                f"{tomograms.path}: {name} has no rlnTomoTiltSeriesPixelSize (from RELION's Motion "
                "correction job): run that job, or give --input-pixel-size"
            )
        return found
    if found is not None and not math.isclose(found, given, rel_tol=1e-3):
        raise InputError(
            f"{tomograms.path}: {name} has rlnTomoTiltSeriesPixelSize {found:g} A, but "
            f"--input-pixel-size says {given:g} A: correct the one in the STAR file, because the "
            "next jobs read it too"
        )
    return found or given


def relion5_tilts(tomograms: TomogramSet, name: str, raw: Table, pixel_angst: float) -> Table:
    """Table of images with RELION 5's columns, those of RELION 4 converted.

    Raises
    ------
    InputError
        It has no rows or lacks columns; they are named with the job that writes them.
    """
    where = f"{tomograms.tilts_path(name)}: data_{name}"
    if not len(raw):
        raise InputError(f"{where} has no images")
    if not tomograms.is_relion4:
        _refuse_incomplete(raw, where)
        return raw
    if not _has_matrices(raw):
        raise InputError(
            f"{where} has no rlnTomoProjX, rlnTomoProjY, rlnTomoProjZ and rlnTomoProjW, the "
            "matrices that are RELION 4's alignment: import the tilt series with their alignment"
        )
    row = tomograms.rows[name]
    frames = _positive(row.get("rlnTomoFrameCount", ""))
    if frames and frames != len(raw):
        raise InputError(
            f"{where} has {len(raw)} rows, but rlnTomoFrameCount is {frames:g}: was an image left "
            "out? Each row must belong to an image of the stack"
        )
    stack = row["rlnTomoTiltSeriesName"]
    references = [f"{number:06d}@{stack}" for number in range(1, len(raw) + 1)]
    image_shape = NamedImages(tomograms.root, references, pixel_angst).shape[1:]
    matrices = _matrices(raw, where)
    alignment = alignment_from_matrices(matrices, _size_of_matrices(tomograms, name), image_shape)
    columns = {
        "rlnTomoXTilt": alignment.xtilt_deg,
        "rlnTomoYTilt": alignment.ytilt_deg,
        "rlnTomoZRot": alignment.zrot_deg,
        "rlnTomoXShiftAngst": alignment.shift_px[:, 0] * pixel_angst,
        "rlnTomoYShiftAngst": alignment.shift_px[:, 1] * pixel_angst,
    }
    texts = {column: [f"{value:.6f}" for value in values] for column, values in columns.items()}
    return raw.replaced({"rlnMicrographName": references, **texts})


def _refuse_incomplete(tilts: Table, where: str) -> None:
    missing = {
        job: [column for column in columns if column not in tilts]
        for job, columns in _NEEDED.items()
    }
    missing = {job: columns for job, columns in missing.items() if columns}
    if missing:
        lacks = " and ".join(
            f"{', '.join(columns)} (from RELION's {job} job)" for job, columns in missing.items()
        )
        raise InputError(f"{where} lacks {lacks}: run that first and give the set it writes")


def _alignment(tilts: Table, where: str, pixel: float, tilt_offset_deg: float) -> Alignment:
    xtilt = "rlnTomoXTilt"
    shifts = [_numbers(tilts, f"rlnTomo{axis}ShiftAngst", where) for axis in "XY"]
    return Alignment(
        xtilt_deg=_numbers(tilts, xtilt, where) if xtilt in tilts else np.zeros(len(tilts)),
        ytilt_deg=_numbers(tilts, "rlnTomoYTilt", where) + tilt_offset_deg,
        zrot_deg=_numbers(tilts, "rlnTomoZRot", where),
        shift_px=np.stack(shifts, axis=1) / pixel,
    )


def _has_matrices(tilts: Table) -> bool:
    """Whether matrices are the only alignment there is."""
    return "rlnTomoYTilt" not in tilts and all(column in tilts for column in _MATRIX)


def _matrices(tilts: Table, where: str) -> FloatArray:
    """Matrices (image, 4, 4) of RELION 4's bracketed vectors."""
    rows = []
    for column in _MATRIX:
        try:
            rows.append([[float(x) for x in text.strip("[]").split(",")] for text in tilts[column]])
        except ValueError:
            raise InputError(f"{where}: {column} holds no vectors such as [1,0,0,0]") from None
    try:
        matrices = np.array(rows, dtype=np.float64).transpose(1, 0, 2)
    except ValueError:
        matrices = np.empty(0)
    if matrices.shape[1:] != (4, 4) or not np.isfinite(matrices).all():
        raise InputError(f"{where}: rlnTomoProjX/Y/Z/W must be vectors of four numbers")
    if not matrices[:, :2, 3].any():
        raise InputError(
            f"{where}: the matrices have no shifts, only rotations, as in what Warp exports with "
            "particles: nothing can be reconstructed from them. Give the tomostack folders of Warp "
            "(with .xf and .tlt) as IMOD folders"
        )
    return matrices


def _size_of_matrices(tomograms: TomogramSet, name: str) -> tuple[int, int, int]:
    """Unbinned size (x, y, z) of the tomogram whose voxels RELION 4's matrices speak of."""
    row = tomograms.rows[name]
    sizes = [_positive(row.get(f"rlnTomoSize{axis}", "")) for axis in "XYZ"]
    if None in sizes:
        raise InputError(
            f"{tomograms.path}: {name} has no rlnTomoSizeX, rlnTomoSizeY and rlnTomoSizeZ, but "
            "RELION 4's matrices refer to them"
        )
    nx, ny, nz = (round(size) for size in sizes if size is not None)
    return nx, ny, nz


def _size(
    tomograms: TomogramSet,
    name: str,
    options: SeriesOptions,
    filled_px: tuple[int, int],
    ledger: Ledger,
) -> tuple[int, int, int]:
    """Unbinned size (x, y, z): as asked for, else as the set says, else what the images fill."""
    row = tomograms.rows[name]
    pixel = cast(float, ledger.facts["pixel_angst"].value)
    known = [_positive(row.get(f"rlnTomoSize{axis}", "")) for axis in "XYZ"]
    thickness_nm = _positive(row.get("rlnTomoTomogramThickness", ""))
    nx, ny, nz = (*filled_px, 0)
    source = "what the images fill"
    if None not in known:
        nx, ny, nz = (round(size) for size in known if size is not None)
        source = tomograms.source(name, "rlnTomoSizeX/Y/Z")
    elif thickness_nm:
        nz = 2 * round(thickness_nm * 10 / pixel / 2)
        source += f"; {tomograms.source(name, 'rlnTomoTomogramThickness')}"
    if options.shape_px is not None:
        source = "the size asked for"
    if options.thickness_px is not None or options.thickness_angst is not None:
        source += "; the thickness asked for"
    nz, ny, nx = options.shape((nz, ny, nx), pixel)
    if nz < 1:
        raise InputError(
            f"{tomograms.path}: the thickness of {name} is unknown, for the set has neither "
            "rlnTomoSizeZ nor rlnTomoTomogramThickness: give --thickness in angstrom, or "
            "--thickness-px (--d) in unbinned pixels"
        )
    ledger.fact("size_px", [nx, ny, nz], source)
    for axis, size, filled in zip("xy", (nx, ny), filled_px, strict=True):
        if size > 1.05 * filled:
            ledger.notes.append(
                f"the tomogram is {size} unbinned px wide in {axis}, but untilted images fill only "
                f"{filled} of them (the tilt axis counts): the rest will be blank"
            )
    return nx, ny, nz


def _excluded(exclude: tuple[int, ...], count: int, where: str, ledger: Ledger) -> tuple[int, ...]:
    asked = sorted(set(exclude))
    outside = [number for number in asked if not 1 <= number <= count]
    if outside:
        raise InputError(
            f"--exclude names view {outside[0]}, but {where} has {count}: count its rows from 1"
        )
    if asked:
        ledger.fact("excluded_on_request", asked, "--exclude")
    return tuple(number - 1 for number in asked)


def _halves(root: Path, tilts: Table, pixel: float) -> tuple[NamedImages, NamedImages] | None:
    if not all(column in tilts for column in _HALVES):
        return None
    even, odd = (NamedImages(root, tilts[column], pixel) for column in _HALVES)
    return even, odd


def _exposure(
    tomograms: TomogramSet, name: str, tilts: Table, where: str, ledger: Ledger
) -> FloatArray | None:
    column = "rlnMicrographPreExposure"
    if column not in tilts:
        return None
    before = _numbers(tilts, column, where)
    ledger.fact("exposure_e_per_a2", f"{before.min():g} to {before.max():g}", column)
    return before


def _note_unused(tomograms: TomogramSet, name: str, tilts: Table, ledger: Ledger) -> None:
    columns = (*tomograms.rows[name], *tilts.columns)
    if any(column.startswith("rlnTomoDeformation") for column in columns):
        ledger.notes.append(
            "image deformations from Bayesian polishing are not applied, as in RELION's own "
            "reconstruction"
        )


def _numbers(tilts: Table, column: str, where: str) -> FloatArray:
    values = []
    for row, text in enumerate(tilts[column], start=1):
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise InputError(f"{where}: {column} is {text!r} in row {row}, which is no number")
        values.append(value)
    return np.array(values)


def _positive(text: str) -> float | None:
    """Return a positive number; None for what RELION writes when it has none (0, ``N/A``, nan)."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0 < value < math.inf else None
