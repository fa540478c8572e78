"""How well a reconstruction predicts images that it was made without: a score without any truth.

Some views are left out, the tomogram is made from the others and projected the way the left-out
views looked, and each projection is correlated with its image, frequency band by frequency band.
The images are noisy and so the correlations are small, for every filter alike: what counts is
which filter has the larger one, view by view.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tomofilt.align.corrections import Corrections
from tomofilt.errors import InputError
from tomofilt.evaluate.rings import BANDS, band_correlation
from tomofilt.evaluate.views import columns_inside
from tomofilt.reconstruction.plan import Plan, Settings, make_plan
from tomofilt.series.geometry import VolumeGrid
from tomofilt.series.projects import Destination
from tomofilt.series.tiltseries import TiltSeries

__all__ = [
    "Block",
    "LeftOut",
    "aligned_images",
    "left_out_correlation",
    "make_blocks",
    "plan_of",
    "some_views",
    "spread_views",
]

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
#: First row, first plane and densities (plane, row, x) of a part of a tomogram.
Block = tuple[int, int, Float32]

#: Nothing is written, but images that do not fit into memory wait in a nameless file there.
_PLACE = Destination(Path(tempfile.gettempdir()) / "left-out.mrc")
#: Part of the views, at either end of the tilt range, that is never left out: steep views have few
#: neighbours, thick ice and few whole rays.
_OUTERMOST = 0.15


@dataclass(frozen=True, eq=False)
class LeftOut:
    """Correlation of left-out images with projections of tomograms made without them.

    Attributes
    ----------
    images : (view,) int
        Index of each left-out image.
    tilt_deg : (view,)
    bands : (band, 2)
        In cycles per pixel.
    pixel_angst : float
        The pixel: a voxel of the tomogram.
    correlation : (view, band)
    """

    images: NDArray[np.intp]
    tilt_deg: Float64
    bands: Float64
    pixel_angst: float
    correlation: Float64

    @property
    def mean(self) -> Float64:
        """Mean over the views, for each band."""
        return np.asarray(self.correlation.mean(axis=0))

    @property
    def standard_error(self) -> Float64:
        """Standard error of the mean, for each band; NaN for a single view."""
        return _standard_error(self.correlation)

    def gain_over(self, other: LeftOut) -> tuple[Float64, Float64]:
        """Mean difference to another reconstruction, view by view, and its standard error.

        Views differ from each other far more than filters do, so this is what tells two apart.

        Raises
        ------
        InputError
            If the two do not speak of the same views and bands.
        """
        same = np.array_equal(self.images, other.images) and np.array_equal(self.bands, other.bands)
        if not same or not np.isclose(self.pixel_angst, other.pixel_angst, rtol=1e-3):
            raise InputError(
                "left-out views can only be compared between tomograms of the same series, with "
                "the same views left out and the same voxel size: "
                f"views {_numbers(self.images)} at {self.pixel_angst:g} A and "
                f"{_numbers(other.images)} at {other.pixel_angst:g} A"
            )
        difference = self.correlation - other.correlation
        return np.asarray(difference.mean(axis=0)), _standard_error(difference)


def left_out_correlation(
    series: TiltSeries,
    settings: Settings,
    folds: Sequence[Sequence[int]] | None = None,
    *,
    rows_px: int | None = None,
    blocks_of: Callable[[Plan], Iterable[Block]] | None = None,
    bands: Sequence[tuple[float, float]] = BANDS,
) -> LeftOut:
    """Leave views out, reconstruct, project, and correlate with what was measured.

    Parameters
    ----------
    series : TiltSeries
    settings : Settings
        As for a reconstruction; nothing is written.
    folds : sequence of sequences of int, optional
        Positions, among the used views, of the views that are left out together; one
        reconstruction a fold. Default: :func:`spread_views`, of those whose rays stay inside.
    rows_px : int, optional
        Use only so many rows in the middle of the tomogram, in unbinned pixels of the images.
    blocks_of : callable, optional
        Makes the tomogram from the plan of the views that are kept, block by block, each used
        before the next is made. Default: :func:`make_blocks`, the filter of the settings. A filter
        of another kind is ``lambda plan: make_blocks(replace(plan, filter=...))``.
    bands : sequence of (low, high)
        In cycles per pixel of the tomogram.

    Notes
    -----
    Memory: a reconstruction's, and the left-out images and projections of one fold. An image is
    compared only where its rays stay inside the tomogram from its first plane to its last.

    Raises
    ------
    InputError
        If the series has too few views, or the tomogram is too thick for its width.
    """
    chosen = replace(settings, halves="none", shape_px=_shape(series, settings, rows_px))
    if folds is None:
        plan = make_plan(series, _PLACE, chosen)
        whole = columns_inside(plan.slices, plan.grid, plan.aligned)
        folds = spread_views(series.tilt_deg, usable=np.array([each is not None for each in whole]))
    results = [
        _one_fold(series, chosen, np.asarray(fold, dtype=np.intp), blocks_of or make_blocks, bands)
        for fold in folds
    ]
    views = np.concatenate([np.asarray(fold, dtype=np.intp) for fold in folds])
    return LeftOut(
        images=series.views[views],
        tilt_deg=series.tilt_deg[views],
        bands=np.asarray(bands, dtype=np.float64),
        pixel_angst=results[0][0],
        correlation=np.concatenate([correlation for _, correlation in results]),
    )


def spread_views(
    tilt_deg: Float64,
    folds: int = 2,
    views: int = 5,
    usable: NDArray[np.bool_] | None = None,
) -> list[list[int]]:
    """Choose views to leave out: spread evenly, well inside the tilt range, no two neighbours.

    Parameters
    ----------
    tilt_deg : (view,)
    folds : int
        How many sets of views.
    views : int
        Views in each set; fewer in a short series.
    usable : (view,) bool, optional
        The views to choose from. Default: all.

    Returns
    -------
    Positions in ``tilt_deg``, one list a fold.

    Raises
    ------
    InputError
        There are too few views.
    """
    order = np.argsort(tilt_deg, kind="stable")
    outer = max(2, round(_OUTERMOST * len(order)))
    inner = order[outer : len(order) - outer]
    if usable is not None:
        inner = inner[usable[inner]]
    # at least two views are kept between two that are left out together
    fewest = max(3, folds)
    count = folds * min(views, len(inner) // fewest)
    if count == 0:
        raise InputError(
            f"{len(order)} views are too few to leave some out, or most of them see past the sides "
            f"of the tomogram: at least {fewest} are needed whose rays cross its whole thickness, "
            f"besides the {outer} at either end of the tilt range"
        )
    places = np.linspace(0, len(inner) - 1, count).round().astype(int)
    return [[int(i) for i in inner[places[fold::folds]]] for fold in range(folds)]


def make_blocks(plan: Plan) -> Iterable[Block]:
    """Reconstruct block by block, in memory; a block's memory is used again later.

    A filter that has to be measured is measured on the plan's own views.
    """
    from tomofilt.align.images import survey
    from tomofilt.reconstruction.measure import measured
    from tomofilt.reconstruction.slabs import make_slabs
    from tomofilt.util.progress import Clock, Progress

    plan = measured(plan)
    task = plan.tasks[0]
    surveyed = survey(
        task.images,
        plan.series.views[task.members],
        background=plan.background,
        across_axis=plan.across_axis,
        log_base=plan.series.log_base,
        threads=plan.threads,
    )
    return make_slabs(plan, task, surveyed, Clock(), Progress(_Nobody(), 0, 1))


class _Nobody:
    """Hears nothing (a :class:`tomofilt.util.progress.Reporter`)."""

    def note(self, message: str) -> None:
        pass

    def progress(self, done: int, total: int) -> None:
        pass


def plan_of(series: TiltSeries, settings: Settings) -> Plan:
    """The plan of a tomogram that is made to be looked at and not written."""
    return make_plan(series, _PLACE, replace(settings, halves="none", denoise=False, head=None))


def _one_fold(
    series: TiltSeries,
    settings: Settings,
    left: NDArray[np.intp],
    blocks_of: Callable[[Plan], Iterable[Block]],
    bands: Sequence[tuple[float, float]],
) -> tuple[float, Float64]:
    """Voxel size, and correlations (view, band)."""
    kept = np.setdiff1d(np.arange(len(series.views)), left)
    plan = make_plan(some_views(series, kept), _PLACE, settings)
    measured = aligned_images(some_views(series, left), plan)
    predicted = _project(some_views(series, left), plan, blocks_of(plan))
    correlation = np.empty((len(left), len(bands)))
    rows = slice(plan.halo, predicted.shape[1] - plan.halo)
    slices = series.geometry.select(left).factor()[1]
    for i, columns in enumerate(columns_inside(slices, plan.grid, plan.aligned)):
        if columns is None:
            nz, _, nx = plan.grid.shape
            raise InputError(
                f"{series.name}: hardly a ray of the view at {series.tilt_deg[left[i]]:.1f} deg "
                f"stays inside a tomogram {nx} voxels wide and {nz} thick: leave out views of "
                "lower tilt, or make the tomogram thinner or wider"
            )
        correlation[i] = band_correlation(
            measured[i, rows, columns], predicted[i, rows, columns], bands
        )
    return plan.grid.voxel_angst, correlation


def some_views(series: TiltSeries, chosen: NDArray[np.intp]) -> TiltSeries:
    """A series with only some of its used views."""
    dose = series.dose_e_per_a2
    return replace(
        series,
        geometry=series.geometry.select(chosen),
        views=series.views[chosen],
        tilt_deg=series.tilt_deg[chosen],
        dose_e_per_a2=None if dose is None else dose[chosen],
        ctf=None if series.ctf is None else series.ctf.select(chosen),
    )


def aligned_images(series: TiltSeries, plan: Plan) -> Float32:
    """Images of the left-out views on the tomogram's aligned grid: (view, y, x).

    Their phases are flipped where the tomogram's images are corrected for their CTF.
    """
    from tomofilt.align.images import align, survey

    surveyed = survey(
        series.images,
        series.views,
        background="image",
        across_axis=plan.across_axis,
        log_base=series.log_base,
        threads=plan.threads,
    )
    warp, slices = series.geometry.factor()
    flipped = Corrections("none" if plan.corrections.ctf == "none" else "flip")
    images = align(
        surveyed,
        slices,
        warp,
        plan.aligned,
        image_filter=flipped.image_filter(series, plan.aligned, warp),
        like_newstack=False,
        halo=0,
        threads=plan.threads,
        memory_bytes=plan.allowed_bytes,
        folder=_PLACE.volume.parent,
    )
    with closing(images):
        return np.stack(
            [images.rows(view, 0, plan.aligned.shape[0]) for view in range(len(series.views))]
        )


def _project(series: TiltSeries, plan: Plan, blocks: Iterable[Block]) -> Float32:
    """Projections of a tomogram the way some views look: (view, y, x) on the aligned grid.

    Projection is linear: each block is projected from where it lies, and the images are summed.
    """
    from tomofilt.projectors.direct import DirectProjector

    warp, _ = series.geometry.factor()
    geometry = series.geometry.in_aligned_frame(warp)
    zc, yc, xc = plan.grid.centre
    images = np.zeros((len(geometry), *plan.aligned.shape), dtype=np.float32)
    for y_start, z_start, block in blocks:
        planes, rows, columns = block.shape
        part = VolumeGrid(
            (planes, rows, columns), plan.grid.voxel_angst, (zc - z_start, yc - y_start, xc)
        )
        projector = DirectProjector(geometry, part, plan.aligned, threads=plan.threads)
        images += projector.forward(block)
    return images


def _shape(
    series: TiltSeries, settings: Settings, rows_px: int | None
) -> tuple[int, int, int] | None:
    if rows_px is None:
        return settings.shape_px
    nx, ny, nz = settings.shape_px or series.grid.shape[::-1]
    if rows_px < 1:
        raise InputError(f"{rows_px} rows leave no tomogram to compare with")
    return (nx, min(rows_px, ny), nz)


def _standard_error(values: Float64) -> Float64:
    if len(values) < 2:
        return np.full(values.shape[1], np.nan)
    return np.asarray(values.std(axis=0, ddof=1) / np.sqrt(len(values)))


def _numbers(images: NDArray[np.intp]) -> str:
    return ", ".join(str(int(image) + 1) for image in images)
