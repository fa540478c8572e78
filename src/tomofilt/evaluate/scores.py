"""All that can be measured about a finished tomogram, with what there is to measure it by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomofilt.errors import InputError
from tomofilt.evaluate.against_truth import TruthScores, compare_with_truth
from tomofilt.evaluate.contrast import labelled_contrast
from tomofilt.evaluate.detection import (
    Detection,
    background_places,
    detection,
    radial_template,
)
from tomofilt.evaluate.left_out import LeftOut, left_out_correlation
from tomofilt.evaluate.recipe import check_recipe
from tomofilt.evaluate.rings import BANDS, RingCorrelation, ring_correlation
from tomofilt.evaluate.specimen import read_label_names, read_particles
from tomofilt.evaluate.tomograms import Tomogram, check_alike
from tomofilt.evaluate.views import halves_by_view, volumes_by_view
from tomofilt.series.geometry import TiltGeometry, VolumeGrid
from tomofilt.series.tiltseries import TiltSeries

__all__ = ["References", "Scores", "ViewCorrelation", "measure"]

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

#: Particles are looked at out to this radius.
_PARTICLE_REACH_ANGST = 250.0
#: Fewest particles of a kind that an area under a curve can be made of.
_FEWEST_PARTICLES = 5


@dataclass(frozen=True)
class References:
    """What tomograms are measured by; whatever is None is left out.

    Parameters
    ----------
    truth : Path, optional
        Volume on the same voxels.
    halves : (Path, Path), optional
        Half tomograms; default are those that tomofilt wrote beside the tomogram, if any.
    project : Path, optional
        Project with the tilt series that the tomogram was made from, for leaving views out.
    input_pixel_angst : float, optional
        Pixel size of the images of ``project``, in angstrom; default is as the project says.
    rows_px : int, optional
        See :func:`tomofilt.evaluate.left_out.left_out_correlation`.
    tilt_deg : (view,), optional
        Tilt angles; default are those of the tomogram's record.
    labels : Path, optional
        Volume on the same voxels with a whole number for each kind of object, 0 for none.
    particles : Path, optional
        Particle list; needs ``truth``.
    """

    truth: Path | None = None
    halves: tuple[Path, Path] | None = None
    project: Path | None = None
    input_pixel_angst: float | None = None
    rows_px: int | None = None
    tilt_deg: Float64 | None = None
    labels: Path | None = None
    particles: Path | None = None


@dataclass(frozen=True, eq=False)
class ViewCorrelation:
    """Fourier ring correlation view by view.

    Attributes
    ----------
    tilt_deg : (view,)
    bands : (band, 2)
        In cycles per pixel.
    correlation : (view, band)
        NaN for views that see hardly any whole ray of the volume.
    """

    tilt_deg: Float64
    bands: Float64
    correlation: Float64


@dataclass(frozen=True, eq=False)
class Scores:
    """What was measured about one tomogram; None where there was nothing to measure it by.

    Attributes
    ----------
    tomogram : Tomogram
    truth : TruthScores, optional
    halves : RingCorrelation, optional
        Fourier shell correlation of the half tomograms.
    by_view : mapping
        Correlation of projections with the truth's (``"truth"``), of the halves' (``"halves"``),
        of even- and odd-frame images (``"frames"``).
    left_out : LeftOut, optional
    contrast : mapping
        Contrast-to-noise ratio of each label.
    detection : mapping
        Of each kind of particle.
    """

    tomogram: Tomogram
    truth: TruthScores | None
    halves: RingCorrelation | None
    by_view: Mapping[str, ViewCorrelation]
    left_out: LeftOut | None
    contrast: Mapping[str, float]
    detection: Mapping[str, Detection]

    def as_json(self) -> dict[str, Any]:
        """Everything, with the curves, as JSON can hold it."""
        truth, halves, left_out = self.truth, self.halves, self.left_out
        record = self.tomogram.record
        return {
            "tomogram": str(self.tomogram.path),
            "filter": record.filter.spec if record else None,
            "voxel_angst": self.tomogram.voxel_angst,
            "truth": truth
            and {
                "contrast_inverted": truth.slope < 0,
                **{
                    name: _finite(getattr(truth, name))
                    for name in (
                        "psnr_db",
                        "psnr_raw_db",
                        "ssim",
                        "ssim_raw",
                        "correlation",
                        "slope",
                        "offset",
                        "data_range",
                    )
                },
                "fsc": {name: _curve(curve) for name, curve in truth.fsc.items()},
            },
            "halves": halves and _curve(halves),
            "by_view": {
                name: {
                    "tilt_deg": views.tilt_deg.tolist(),
                    "bands_cycles_per_px": views.bands.tolist(),
                    "correlation": [_numbers(row) for row in views.correlation],
                }
                for name, views in self.by_view.items()
            },
            "left_out": left_out
            and {
                "scored": "the recipe in the record, reconstructed again without these views",
                "images": [int(image) + 1 for image in left_out.images],
                "tilt_deg": left_out.tilt_deg.tolist(),
                "bands_cycles_per_px": left_out.bands.tolist(),
                "last_band": "all frequencies, weighed as in the volume",
                "correlation": left_out.correlation.tolist(),
                "mean": _numbers(left_out.mean),
                "standard_error": _numbers(left_out.standard_error),
            },
            "contrast_to_noise": dict(self.contrast),
            "detection": {
                kind: {
                    "auc": found.auc,
                    "auc_whitened": found.auc_whitened,
                    "particles": found.particles,
                }
                for kind, found in self.detection.items()
            },
        }


def measure(path: Path, references: References, threads: int | None = None) -> Scores:
    """Measure a tomogram by everything that is at hand.

    Raises
    ------
    MissingFileError, InputError
        Something is missing, empty or not finite, or differs in voxels.
    """
    from tomofilt.util.threads import available_threads

    threads = threads or available_threads()
    tomogram = Tomogram(path)
    if references.particles is not None and references.truth is None:
        raise InputError("templates of the particles are made from the truth: give --truth too")
    halves = _halves(tomogram, references)
    series = _series(tomogram, references)
    needs_volume = references.truth or references.labels
    geometry, grid = _geometry(tomogram, references), _grid(tomogram)
    slices = None if geometry is None else geometry.factor()[1]
    volume = tomogram.read() if needs_volume else None
    truth_scores = half_curve = None
    by_view: dict[str, ViewCorrelation] = {}
    found: dict[str, Detection] = {}
    contrast: dict[str, float] = {}
    bands = np.array(BANDS)
    if references.truth is not None and volume is not None:
        truth = _matching(tomogram, references.truth)
        tilts = None if slices is None else slices.tilt_deg
        truth_scores = compare_with_truth(volume, truth, tomogram.voxel_angst, tilts, threads)
        sign = np.float32(-1 if truth_scores.slope < 0 else 1)
        if slices is not None:
            curves = volumes_by_view(volume, truth, grid, slices, threads=threads)
            by_view["truth"] = ViewCorrelation(slices.tilt_deg, bands, sign * curves)
        if references.particles is not None:
            found = _detect(sign * volume, truth, grid, references.particles, threads)
        del truth
    if references.labels is not None and volume is not None:
        contrast = _contrast(tomogram, volume, references.labels)
    del volume
    if halves is not None:
        pair = [_matching(tomogram, half) for half in halves]
        (half_curve,) = ring_correlation(pair[0], pair[1], tomogram.voxel_angst, threads=threads)
        if slices is not None:
            curves = volumes_by_view(pair[0], pair[1], grid, slices, threads=threads)
            by_view["halves"] = ViewCorrelation(slices.tilt_deg, bands, curves)
        del pair
    left_out = None
    settings = tomogram.settings
    if series is not None and settings is not None and tomogram.record is not None:
        # what another machine had does not count here
        here = replace(settings, threads=threads, max_memory_bytes=None, device="auto")
        check_recipe(tomogram, tomogram.record, series, here)
        frames = halves_by_view(series)
        if frames is not None:
            by_view["frames"] = ViewCorrelation(series.tilt_deg, bands, frames)
        left_out = left_out_correlation(series, here, rows_px=references.rows_px)
    return Scores(tomogram, truth_scores, half_curve, by_view, left_out, contrast, found)


def _matching(tomogram: Tomogram, path: Path) -> Float32:
    other = Tomogram(path)
    check_alike(tomogram, other)
    return other.read()


def _halves(tomogram: Tomogram, references: References) -> tuple[Path, Path] | None:
    if references.halves is not None:
        return references.halves
    first, second = tomogram.half(1), tomogram.half(2)
    return (first, second) if first.exists() and second.exists() else None


def _series(tomogram: Tomogram, references: References) -> TiltSeries | None:
    """The tilt series that a tomogram was made from, with the views that it was made from."""
    from tomofilt.series.projects import ALIGNMENT_PIXEL, SeriesOptions, detect, read_series

    if references.project is None:
        return None
    record = tomogram.record
    if record is None:
        raise InputError(
            f"{tomogram.path} has no record of tomofilt beside it, so that there is no telling how "
            "to make it again without some views: leave --series out, or reconstruct with tomofilt"
        )
    project = detect(references.project)
    if record.series not in project.names:
        raise InputError(
            f"{references.project} has no series {record.series}, from which {tomogram.path} "
            f"was made: it has {', '.join(project.names)}"
        )
    scaled = record.applied.get(ALIGNMENT_PIXEL)
    options = SeriesOptions(
        input_pixel_angst=references.input_pixel_angst,
        alignment_pixel_angst=None if scaled is None else scaled.value,
        exclude=record.excluded,
        shape_px=record.unbinned.size_xyz,
    )
    return read_series(project, record.series, options)


def _geometry(tomogram: Tomogram, references: References) -> TiltGeometry | None:
    if references.tilt_deg is not None:
        return TiltGeometry.from_angles(references.tilt_deg)
    return tomogram.geometry


def _grid(tomogram: Tomogram) -> VolumeGrid:
    if tomogram.record is None:
        return VolumeGrid.centred(tomogram.shape, tomogram.voxel_angst)
    centre = tomogram.record.output.specimen_centre_zyx
    return VolumeGrid(tomogram.shape, tomogram.voxel_angst, centre)


def _contrast(tomogram: Tomogram, volume: Float32, path: Path) -> dict[str, float]:
    stored = _matching(tomogram, path)
    labels = np.rint(stored).astype(np.int16)
    if not np.array_equal(labels, stored) or labels.min() < 0:
        raise InputError(f"{path} is no label volume: it holds other than whole numbers from 0 on")
    known = read_label_names(path)
    present = [int(label) for label in np.unique(labels) if label]
    names = {label: known.get(label, f"label {label}") for label in present}
    try:
        return labelled_contrast(volume, labels, names)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _detect(
    volume: Float32, truth: Float32, grid: VolumeGrid, path: Path, threads: int
) -> dict[str, Detection]:
    particles = read_particles(path, grid.shape, grid.voxel_angst)
    reach = max(2, round(_PARTICLE_REACH_ANGST / grid.voxel_angst))
    everywhere = np.concatenate(list(particles.values()))
    found = {}
    for kind, places in particles.items():
        inside = np.all((places >= 0) & (places <= np.array(grid.shape) - 1), axis=1)
        if inside.sum() < _FEWEST_PARTICLES:
            continue
        template = radial_template(truth, places[inside], reach)
        radius = len(template) // 2
        background = background_places(grid.shape, everywhere, 2 * radius, radius)
        found[kind] = detection(volume, template, places[inside], background, threads)
    if not found:
        raise InputError(
            f"{path} lists fewer than {_FEWEST_PARTICLES} particles of each kind inside the volume"
        )
    return found


def _curve(curve: RingCorrelation) -> dict[str, Any]:
    return {
        "cycles_per_px": curve.frequency.tolist(),
        "correlation": _numbers(curve.correlation),
        "standard_error": curve.standard_error.tolist(),
        "resolution_0.143_angst": _finite(curve.resolution_angst(0.143)),
        "resolution_0.5_angst": _finite(curve.resolution_angst(0.5)),
    }


def _numbers(values: Float64) -> list[float | None]:
    return [_finite(float(value)) for value in values]


def _finite(value: float | None) -> float | None:
    """JSON has no infinity and no NaN."""
    return None if value is None or not np.isfinite(value) else float(value)
