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
from tomofilt.series.checks import refuse_angles
from tomofilt.series.ledger import Ledger
from tomofilt.series.projects import SeriesOptions
from tomofilt.series.tiltseries import TiltSeries
from tomofilt_relion.geometry import (
    Alignment,
    default_xy,
    geometry_from_matrices,
    volume_grid,
)
from tomofilt_relion.images import NamedImages
from tomofilt_relion.optics import dose_done, number, series_ctf
from tomofilt_relion.tilts import has_matrices, read_matrices, relion5_tilts, size_of_matrices
from tomofilt_relion.tomograms import TomogramSet

__all__ = ["pixel_angst", "read_series"]

FloatArray = NDArray[np.float64]

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
    ledger.notes += images.notes
    excluded = _excluded(options.exclude, len(tilts), where, ledger)
    used = np.setdiff1d(np.arange(len(tilts)), excluded)
    if used.size == 0:
        raise InputError(f"{where}: all {len(tilts)} images are excluded")
    images.refuse_repeated(used.tolist())
    alignment = _alignment(tilts, where, pixel, tilt_offset_deg)
    _refuse_angles(alignment, used, where, tilt_offset_deg)
    if has_matrices(raw) and "rlnTomoYTilt" in raw:
        ledger.notes.append(
            f"{path.name} has matrices (rlnTomoProjX/Y/Z/W) and angles: the matrices are used, as "
            "in RELION"
        )
    if has_matrices(raw) and not tilt_offset_deg:
        size_px = size_of_matrices(tomograms, name)
        geometry = geometry_from_matrices(read_matrices(raw, where), size_px, image_shape, pixel)
        ledger.fact("alignment", "matrices", f"{path.name} rlnTomoProjX/Y/Z/W")
    else:
        geometry = alignment.geometry(image_shape, pixel)
        ledger.fact("alignment", "angles and shifts", f"{path.name} rlnTomoX/YTilt, ZRot, Shift")
    if tilt_offset_deg:
        ledger.fact("tilt_offset_deg", tilt_offset_deg, "--tiltangle_offset")

    size_px = _size(tomograms, name, options, default_xy(image_shape, alignment.zrot_deg), ledger)
    tilt_deg = alignment.ytilt_deg
    views = used[np.argsort(tilt_deg[used], kind="stable")]
    binning = tomograms.positive(name, "rlnTomoTomogramBinning")
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
        voltage_kv=number(tomograms.rows[name].get("rlnVoltage", "")) or None,
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
    found = tomograms.positive(name, "rlnTomoTiltSeriesPixelSize")
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


def _alignment(tilts: Table, where: str, pixel: float, tilt_offset_deg: float) -> Alignment:
    xtilt = "rlnTomoXTilt"
    shifts = [_numbers(tilts, f"rlnTomo{axis}ShiftAngst", where) for axis in "XY"]
    return Alignment(
        xtilt_deg=_numbers(tilts, xtilt, where) if xtilt in tilts else np.zeros(len(tilts)),
        ytilt_deg=_numbers(tilts, "rlnTomoYTilt", where) + tilt_offset_deg,
        zrot_deg=_numbers(tilts, "rlnTomoZRot", where),
        shift_px=np.stack(shifts, axis=1) / pixel,
    )


def _refuse_angles(
    alignment: Alignment, used: NDArray[np.intp], where: str, tilt_offset_deg: float
) -> None:
    offset = f" with --tiltangle_offset {tilt_offset_deg:g}" if tilt_offset_deg else ""
    for degrees, column, what in (
        (alignment.ytilt_deg, f"rlnTomoYTilt{offset}", "a tilt"),
        (alignment.xtilt_deg, "rlnTomoXTilt", "an x tilt"),
    ):
        places = [f"{where}: row {row + 1}, {column}," for row in used]
        refuse_angles(degrees[used], what, places.__getitem__)


def _size(
    tomograms: TomogramSet,
    name: str,
    options: SeriesOptions,
    filled_px: tuple[int, int],
    ledger: Ledger,
) -> tuple[int, int, int]:
    """Unbinned size (x, y, z): as asked for, else as the set says, else what the images fill."""
    pixel = cast(float, ledger.facts["pixel_angst"].value)
    known = [tomograms.positive(name, f"rlnTomoSize{axis}") for axis in "XYZ"]
    thickness_nm = tomograms.positive(name, "rlnTomoTomogramThickness")
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
