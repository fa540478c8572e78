"""A new RELION 5 project: one aligned tilt series, as the jobs up to its alignment leave it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tomofilt.io.files import safe_name
from tomofilt.io.star import Table, write_star
from tomofilt.series.projects import Acquisition, geometry_about, write_stack
from tomofilt.series.tiltseries import TiltSeries
from tomofilt_relion.geometry import alignment_from_maps

__all__ = ["create_project"]

_MOTION = Path("MotionCorr/job002")
_ALIGNED = Path("AlignTiltSeries/job005")
_COMMENT = "Created by tomofilt"


def create_project(folder: Path, series: TiltSeries, acquisition: Acquisition) -> Path:
    """Write images, ``aligned_tilt_series.star`` and the STAR file of the series.

    Besides an alignment job's columns, ``rlnTomoSizeX/Y/Z`` are there, so that tomograms have the
    voxels of ``series.grid`` unless another size is asked for.

    Returns
    -------
    Path
        ``AlignTiltSeries/job005/aligned_tilt_series.star`` in the folder.

    Raises
    ------
    OutputError, OutputExistsError
    """
    name = safe_name(series.name)
    tilts_path = _ALIGNED / "tilt_series" / f"{name}.star"
    for path in (_MOTION, tilts_path.parent):
        (folder / path).mkdir(parents=True, exist_ok=True)
    columns = _images(folder, name, series)
    columns |= {
        column: [f"{value:.6f}" for value in values]
        for column, values in _numbers(series, acquisition).items()
    }
    write_star(folder / tilts_path, {name: Table(columns)}, replace=False, comment=_COMMENT)
    nz, ny, nx = series.grid.shape
    pixel = series.images.pixel_angst
    row = {
        "rlnTomoName": name,
        "rlnTomoTiltSeriesStarFile": str(tilts_path),
        "rlnVoltage": f"{acquisition.voltage_kv:.6f}",
        "rlnSphericalAberration": f"{acquisition.cs_mm:.6f}",
        "rlnAmplitudeContrast": f"{acquisition.amplitude_contrast:.6f}",
        "rlnMicrographOriginalPixelSize": f"{pixel:.6f}",
        "rlnTomoHand": f"{acquisition.hand:.6f}",
        "rlnOpticsGroupName": "optics1",
        "rlnTomoTiltSeriesPixelSize": f"{pixel:.6f}",
        "rlnTomoImportFractionalDose": f"{acquisition.dose_e_per_a2:.6f}",
        "rlnTomoSizeX": str(nx),
        "rlnTomoSizeY": str(ny),
        "rlnTomoSizeZ": str(nz),
    }
    path = folder / _ALIGNED / "aligned_tilt_series.star"
    table = Table({column: [value] for column, value in row.items()})
    write_star(path, {"global": table}, replace=False, comment=_COMMENT)
    return path


def _images(folder: Path, name: str, series: TiltSeries) -> dict[str, list[str]]:
    """Write the stacks, full and halves; return the columns that name their images."""
    stacks = [("", "", series.images)]
    if series.halves is not None:
        even, odd = series.halves
        stacks += [("Even", "_EVN", even), ("Odd", "_ODD", odd)]
    columns = {}
    for column, suffix, images in stacks:
        path = _MOTION / f"{name}{suffix}.mrcs"
        write_stack(folder / path, images)
        references = [f"{number:06d}@{path}" for number in range(1, images.shape[0] + 1)]
        columns[f"rlnMicrographName{column}"] = references
    return columns


def _numbers(series: TiltSeries, acquisition: Acquisition) -> dict[str, NDArray[np.float64]]:
    """Columns of numbers, one value for each image."""
    nz, ny, nx = series.grid.shape
    # RELION has the specimen centre at floor(N / 2)
    geometry = geometry_about(series.geometry, series.grid, (nz // 2, ny // 2, nx // 2))
    pixel = series.images.pixel_angst
    alignment = alignment_from_maps(geometry, series.images.shape[1:], pixel)
    zero = np.zeros(len(geometry))
    exposure = zero if series.dose_e_per_a2 is None else series.dose_e_per_a2
    return {
        "rlnTomoNominalStageTiltAngle": acquisition.stage_deg,
        "rlnTomoNominalTiltAxisAngle": alignment.zrot_deg,
        "rlnMicrographPreExposure": exposure,
        "rlnTomoNominalDefocus": -acquisition.defocus_angst / 1e4,
        "rlnDefocusU": acquisition.defocus_angst,
        "rlnDefocusV": acquisition.defocus_angst,
        "rlnDefocusAngle": zero,
        "rlnCtfAstigmatism": zero,
        "rlnTomoXTilt": alignment.xtilt_deg,
        "rlnTomoYTilt": alignment.ytilt_deg,
        "rlnTomoZRot": alignment.zrot_deg,
        "rlnTomoXShiftAngst": alignment.shift_px[:, 0] * pixel,
        "rlnTomoYShiftAngst": alignment.shift_px[:, 1] * pixel,
    }
