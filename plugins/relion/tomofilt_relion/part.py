"""A part of a RELION 5 project, written from tilt series of any project.

RELION then extracts particles where they are seen in tomofilt's tomograms, whichever program the
tilt series came from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tomofilt.errors import InputError, OutputExistsError
from tomofilt.io.files import safe_name
from tomofilt.io.record import read_record
from tomofilt.io.star import Table, read_star, write_star
from tomofilt.series.ctf import Ctf
from tomofilt.series.geometry import TiltGeometry, VolumeGrid
from tomofilt.series.projects import Destination, geometry_about
from tomofilt.series.tiltseries import ImageSource, TiltSeries
from tomofilt_relion.geometry import Alignment, alignment_from_maps
from tomofilt_relion.output import project_path, refuse_foreign_set

__all__ = ["export_series"]

FloatArray = NDArray[np.float64]

_COMMENT = "Created by tomofilt"
_FOLDER = Path("tilt_series")
#: What RELION wants to know and the project does not tell.
_ASSUMED = {"voltage_kv": 300.0, "cs_mm": 2.7, "amplitude_contrast": 0.07, "hand": -1.0}
#: Misplacement by what RELION's alignments cannot say that is worth a note, in pixels.
_WORTH_SAYING_PX = 0.1


def export_series(
    folder: Path, found: Sequence[tuple[TiltSeries, Destination]]
) -> Mapping[str, Sequence[str]]:
    """Write ``tomograms.star`` and ``tilt_series/NAME.star`` into a RELION project's folder.

    Stacks get a link ``tilt_series/NAME.mrcs``. Rows of other series that are in tomograms.star
    from an earlier export stay.

    Parameters
    ----------
    folder : Path
    found : sequence of (TiltSeries, Destination)
        Each with the place of its tomogram, if there is one.

    Returns
    -------
    mapping of str to sequence of str
        What RELION's files cannot say, and what was assumed, by the name of the series.

    Raises
    ------
    InputError
        Two series have one name, or images are kept in a way that RELION cannot read.
    OutputError, OutputExistsError
    """
    names = [safe_name(series.name) for series, _ in found]
    for name in names:
        if names.count(name) > 1:
            raise InputError(
                f"two of the tilt series are called {name}: export each to a folder of its own"
            )
    folder = folder.absolute()
    refuse_foreign_set(folder)
    (folder / _FOLDER).mkdir(parents=True, exist_ok=True)
    notes, rows = {}, {}
    for series, destination in found:
        part = _Part.of(series, destination)
        path = folder / _FOLDER / f"{series.name}.star"
        table = Table(_images(folder, series) | part.columns())
        write_star(path, {series.name: table}, replace=True, comment=_COMMENT)
        rows[series.name] = part.row(folder, path)
        notes[series.name] = part.notes()
    path = folder / "tomograms.star"
    earlier = read_star(path)["global"].rows() if path.exists() else ()
    merged = {row["rlnTomoName"]: row for row in earlier} | rows
    columns = dict.fromkeys(column for row in merged.values() for column in row)
    table = Table({c: [row.get(c, "N/A") for row in merged.values()] for c in columns})
    write_star(path, {"global": table}, replace=True, comment=_COMMENT)
    return notes


@dataclass(frozen=True, eq=False)
class _Part:
    """A tilt series in RELION's terms.

    Parameters
    ----------
    series : TiltSeries
    destination : Destination
    tomogram : VolumeGrid
        Voxels that positions are counted in: those of the tomogram, if there is one.
    has_tomogram : bool
    size_px : (x, y, z)
        Unbinned; even, for RELION's particles count from N / 2 and its projections from floor(N/2).
    geometry : TiltGeometry
        About RELION's specimen centre.
    alignment : Alignment
    """

    series: TiltSeries
    destination: Destination
    tomogram: VolumeGrid
    has_tomogram: bool
    size_px: tuple[int, int, int]
    geometry: TiltGeometry
    alignment: Alignment

    @classmethod
    def of(cls, series: TiltSeries, destination: Destination) -> _Part:
        pixel = series.images.pixel_angst
        made = _tomogram(series, destination)
        grid = made or series.grid
        nx, ny, nz = (n + n % 2 for n in series.grid.shape[::-1])
        # a binned voxel j is at binning * j, so that voxel 0 stays where it is
        zc, yc, xc = (n / 2 * pixel / grid.voxel_angst for n in (nz, ny, nx))
        geometry = geometry_about(series.geometry, grid, (zc, yc, xc))
        alignment = alignment_from_maps(geometry, series.images.shape[1:], pixel)
        return cls(series, destination, grid, made is not None, (nx, ny, nz), geometry, alignment)

    def columns(self) -> dict[str, list[str]]:
        """Columns of numbers of the table of images."""
        series, alignment = self.series, self.alignment
        zero = np.zeros(len(self.geometry))
        pixel = series.images.pixel_angst
        numbers = {
            "rlnTomoNominalStageTiltAngle": series.tilt_deg,
            "rlnTomoNominalTiltAxisAngle": alignment.zrot_deg,
            "rlnMicrographPreExposure": (
                zero if series.dose_e_per_a2 is None else series.dose_e_per_a2
            ),
            "rlnTomoXTilt": alignment.xtilt_deg,
            "rlnTomoYTilt": alignment.ytilt_deg,
            "rlnTomoZRot": alignment.zrot_deg,
            "rlnTomoXShiftAngst": alignment.shift_px[:, 0] * pixel,
            "rlnTomoYShiftAngst": alignment.shift_px[:, 1] * pixel,
            "rlnCtfScalefactor": np.cos(np.radians(alignment.ytilt_deg)),
            "rlnDefocusU": zero,
            "rlnDefocusV": zero,
            "rlnDefocusAngle": zero,
        }
        ctf = series.ctf
        if ctf is not None:
            deeper = np.where(ctf.known, self._deeper_angst(ctf), 0.0)
            numbers["rlnDefocusU"] = ctf.defocus_u_angst + deeper
            numbers["rlnDefocusV"] = ctf.defocus_v_angst + deeper
            numbers["rlnDefocusAngle"] = ctf.astigmatism_deg
            if ctf.phase_shift_deg.any():
                numbers["rlnPhaseShift"] = ctf.phase_shift_deg
        return {name: [f"{value:.6f}" for value in values] for name, values in numbers.items()}

    def _deeper_angst(self, ctf: Ctf) -> FloatArray:
        """By how much RELION's specimen centre has more underfocus than what a CTF is told for."""
        maps = self.series.geometry.image_from_volume
        slope, origin = ctf.gradient(self.series.geometry)
        at_centre = np.einsum("vi,vi->v", slope, maps[:, :, 3] - origin)
        depth = np.cross(maps[:, 0, :3], maps[:, 1, :3])
        depth /= np.linalg.norm(depth, axis=1, keepdims=True)
        pixel = self.series.images.pixel_angst
        middle = np.array(self.size_px[::-1]) / 2 * pixel
        moved = middle - np.array(self.tomogram.centre) * self.tomogram.voxel_angst
        return np.asarray(at_centre + ctf.hand * depth @ moved[::-1])

    def row(self, folder: Path, tilts_path: Path) -> dict[str, str]:
        """Row of the table of tomograms."""
        series, ctf = self.series, self.series.ctf
        optics = {
            name: assumed if ctf is None else getattr(ctf, name)
            for name, assumed in _ASSUMED.items()
        }
        if ctf is None and series.voltage_kv is not None:
            optics["voltage_kv"] = series.voltage_kv
        pixel = series.images.pixel_angst
        nx, ny, nz = self.size_px
        row = {
            "rlnTomoName": series.name,
            "rlnTomoTiltSeriesStarFile": project_path(folder, tilts_path),
            "rlnVoltage": f"{optics['voltage_kv']:.6f}",
            "rlnSphericalAberration": f"{optics['cs_mm']:.6f}",
            "rlnAmplitudeContrast": f"{optics['amplitude_contrast']:.6f}",
            "rlnMicrographOriginalPixelSize": f"{pixel:.6f}",
            "rlnTomoHand": f"{optics['hand']:.6f}",
            "rlnOpticsGroupName": "opticsGroup1",
            "rlnTomoTiltSeriesPixelSize": f"{pixel:.6f}",
            "rlnTomoTomogramBinning": f"{self.tomogram.voxel_angst / pixel:.6f}",
            "rlnTomoSizeX": str(nx),
            "rlnTomoSizeY": str(ny),
            "rlnTomoSizeZ": str(nz),
        }
        if self.has_tomogram:
            column = "rlnTomoReconstructedTomogram"
            row[column] = project_path(folder, self.destination.volume)
            halves = [self.destination.half(number).volume for number in (1, 2)]
            if all(half.is_file() for half in halves):
                row |= {
                    f"{column}Half{i}": project_path(folder, h) for i, h in enumerate(halves, 1)
                }
        return row

    def notes(self) -> list[str]:
        """What RELION's files cannot say, and what was assumed."""
        series, notes = self.series, []
        lost = self._misplaced_px()
        if lost > _WORTH_SAYING_PX:
            notes.append(
                "RELION's alignment has angles and shifts alone: without the magnification of the "
                f"images, particles at the edge of the tomogram are off by up to {lost:.1f} px"
            )
        if series.geometry.local is not None:
            notes.append("the local alignment is left out, because RELION's files have none")
        if series.ctf is None:
            notes.append("no defocus is known: rlnDefocusU and V are 0; run CTF estimation first")
        if series.dose_e_per_a2 is None:
            notes.append("no exposure is known: rlnMicrographPreExposure is 0")
        if series.ctf_done or series.dose_done:
            done = " and ".join(text for text in (series.ctf_done, series.dose_done) if text)
            notes.append(f"RELION will correct these images once more: {done}")
        if not self.has_tomogram:
            notes.append(
                "there is no tomogram of tomofilt's with this alignment yet: positions are those "
                f"of the unbinned one that would go to {self.destination.volume}"
            )
        return notes

    def _misplaced_px(self) -> float:
        """Distance on the images, at most, between RELION's projections and the series' own."""
        series, pixel = self.series, self.series.images.pixel_angst
        ours = self.alignment.geometry(series.images.shape[1:], pixel)
        half = np.array(self.size_px) / 2 * pixel
        corners = half * [[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]
        apart = ours.project(corners) - self.geometry.project(corners)
        return float(np.linalg.norm(apart, axis=-1).max() / pixel)


def _tomogram(series: TiltSeries, destination: Destination) -> VolumeGrid | None:
    """Voxels of the tomogram that tomofilt made with the same alignment; None without one."""
    if not destination.volume.is_file():
        return None
    try:
        record = read_record(destination.record)
    except InputError:
        return None
    if record is None or record.output.orientation != "zyx" or record.output.flip_z:
        return None
    output = record.output
    own = dict(zip(series.views.tolist(), series.geometry.image_from_volume, strict=True))
    maps = {view.image - 1: view.image_from_volume for view in record.views}
    if not all(i in own and np.allclose(maps[i], own[i], atol=1e-5) for i in maps):
        return None
    return VolumeGrid(output.shape_zyx, output.voxel_angst, output.specimen_centre_zyx)


def _images(folder: Path, series: TiltSeries) -> dict[str, list[str]]:
    """Columns that name the images, full and of halves."""
    sources = {"": series.images}
    if series.halves is not None:
        sources |= dict(zip(("Even", "Odd"), series.halves, strict=True))
    return {
        f"rlnMicrographName{which}": _references(folder, series, images, which)
        for which, images in sources.items()
    }


def _references(folder: Path, series: TiltSeries, images: ImageSource, which: str) -> list[str]:
    files = images.files
    if len(files) == images.shape[0]:
        return [project_path(folder, files[view]) for view in series.views]
    if len(files) != 1:
        raise InputError(
            f"{series.name} has {images.shape[0]} images in {len(files)} files: neither one file "
            "each nor one for all, which an export to RELION needs"
        )
    # RELION takes a file for a stack by its ending
    link, target = folder / _FOLDER / f"{series.name}{which}.mrcs", files[0].resolve()
    if not link.is_symlink() and link.exists():
        raise OutputExistsError(f"{link} exists and is not a link of tomofilt's: move it away")
    if not link.is_symlink() or link.resolve() != target:
        link.unlink(missing_ok=True)
        link.symlink_to(target)
    return [f"{view + 1:06d}@{link.relative_to(folder)}" for view in series.views]
