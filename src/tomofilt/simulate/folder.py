"""A simulated series on disk: an IMOD folder, a RELION project, and the true specimen."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from tomofilt.errors import OutputError, OutputExistsError
from tomofilt.io.files import write_text_atomic
from tomofilt.io.star import Table, write_star
from tomofilt.series.projects import Acquisition, project_type, write_stack
from tomofilt.simulate.phantom import Phantom
from tomofilt.simulate.physics import VOLTAGE_KV, Optics
from tomofilt.simulate.series import ImagesInMemory, SimulatedSeries, cut_out

__all__ = ["NAME", "refuse_occupied", "write_series"]

#: Name of the tilt series.
NAME = "TS_01"


def refuse_occupied(folder: Path) -> None:
    """Raise OutputExistsError unless a folder is new or empty."""
    if folder.is_dir() and not any(folder.iterdir()):
        return
    if folder.exists():
        raise OutputExistsError(
            f"{folder} exists already and is not an empty folder: choose a new one"
        )


def write_series(
    folder: Path, series: SimulatedSeries, facts: Mapping[str, Any]
) -> tuple[Path, ...]:
    """Write ``imod/``, ``relion/`` and ``truth/`` into a new folder.

    Both projects have the same geometry. Their default tomograms have the same voxels as
    ``truth/volume.mrc``. ``truth`` also gets ``record.json`` and, if the specimen was generated
    here, ``labels.mrc`` and ``particles.star``.

    Parameters
    ----------
    folder : Path
        New or empty.
    series : SimulatedSeries
    facts : mapping
        Entries of the record besides those that follow from the series.

    Returns
    -------
    (imod, relion, truth)
        Paths for ``--imod-dir`` and ``--relion-star``, and the path of the record.

    Raises
    ------
    OutputExistsError, OutputError
    """
    refuse_occupied(folder)
    truth = folder / "truth"
    try:
        truth.mkdir(parents=True)
    except OSError as error:
        raise OutputError(
            f"{folder}: the folder cannot be made ({error.strerror}); choose another one"
        ) from error
    optics = series.optics or Optics(defocus_angst=0.0)
    scheme = series.scheme
    acquisition = Acquisition(
        stage_deg=scheme.stage_deg,
        dose_e_per_a2=scheme.dose_e_per_a2,
        defocus_angst=np.full(len(scheme.tilt_deg), optics.defocus_angst),
        voltage_kv=VOLTAGE_KV,
        cs_mm=optics.cs_mm,
        amplitude_contrast=optics.amplitude_contrast,
        hand=optics.hand,
    )
    tilt_series = series.tilt_series(NAME)
    paths = [
        project_type(kind).create(folder / kind, tilt_series, acquisition)
        for kind in ("imod", "relion")
    ]
    voxel = series.grid.voxel_angst
    write_stack(truth / "volume.mrc", ImagesInMemory(series.truth, voxel), is_volume=True)
    record = _record(series, facts)
    if series.phantom is not None:
        labels = cut_out(series.phantom.labels, series.phantom.grid, series.grid)
        stored = ImagesInMemory(labels.astype(np.float32), voxel)
        write_stack(truth / "labels.mrc", stored, is_volume=True, dtype="int16")
        table = _particles(series.phantom, series)
        write_star(truth / "particles.star", {"particles": table}, replace=False)
        record["labels"] = {kind: i + 1 for i, kind in enumerate(series.phantom.kinds)}
        kinds = table["rlnGroupName"]
        record["particles"] = {kind: kinds.count(kind) for kind in dict.fromkeys(kinds)}
    path = truth / "record.json"
    write_text_atomic(path, json.dumps(record, indent=1, default=str) + "\n", replace=False)
    return (*paths, path)


def _record(series: SimulatedSeries, facts: Mapping[str, Any]) -> dict[str, Any]:
    scheme, maps = series.scheme, series.geometry.image_from_volume
    return {
        "program": "tomofilt simulate",
        "version": version("tomofilt"),
        **facts,
        "shape_zyx": series.grid.shape,
        "voxel_angst": series.grid.voxel_angst,
        "specimen_centre_zyx": series.grid.centre,
        "image_shape_yx": series.clean.shape[1:],
        "dose_e_per_a2": scheme.dose_e_per_a2,
        "snr_untilted": round(series.snr, 5),
        "views": [
            {
                "tilt_deg": round(float(scheme.tilt_deg[view]), 4),
                "stage_deg": round(float(scheme.stage_deg[view]), 4),
                "acquired": int(scheme.acquired[view]) + 1,
                "image_from_volume": maps[view].round(6).tolist(),
            }
            for view in range(len(maps))
        ],
    }


def _particles(phantom: Phantom, series: SimulatedSeries) -> Table:
    """Particles whose centres are in the tomogram, as a RELION 5 particle list.

    Coordinates are RELION's: relative to voxel N/2 of a tomogram of N voxels. Point r of the map is
    at the particle's position plus ``A r``, where A is RELION's matrix, the inverse of
    ``Rz(rot) Ry(tilt) Rz(psi)``.
    """
    from scipy.spatial.transform import Rotation

    centre, size = np.array(series.grid.centre)[::-1], np.array(series.grid.shape)[::-1]
    voxel = series.grid.voxel_angst
    numeric = [f"rlnCenteredCoordinate{axis}Angst" for axis in "XYZ"]
    numeric += [f"rlnAngle{angle}" for angle in ("Rot", "Tilt", "Psi")]
    names = ["rlnTomoName", *numeric, "rlnClassNumber", "rlnGroupName"]
    # a small series may have no particles
    columns: dict[str, list[str]] = {name: [] for name in names}
    for particle in phantom.particles:
        place = np.array(particle.position_angst) / voxel + centre
        if np.any(place < -0.5) or np.any(place > size - 0.5):
            continue
        angles = Rotation.from_matrix(particle.rotation).inv().as_euler("ZYZ", degrees=True)
        numbers = [f"{number:.4f}" for number in (*(place - size / 2) * voxel, *angles)]
        number_of_kind = str(phantom.kinds.index(particle.kind) + 1)
        row = [NAME, *numbers, number_of_kind, particle.kind]
        for name, value in zip(names, row, strict=True):
            columns[name].append(value)
    return Table(columns)
