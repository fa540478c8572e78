"""How well a reconstruction predicts images that it was made without: a score without any truth.

Some views are left out, the tomogram is made from the others and projected the way the left-out
views looked, and each projection is correlated with its image, frequency band by frequency band.
The images are noisy and so the correlations are small, for every filter alike: what counts is
which filter has the larger one, view by view. :mod:`tomofilt.evaluate.witnesses` says what is
done so that this follows the specimen, and not gold beads or empty planes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tomofilt.errors import InputError
from tomofilt.evaluate.rings import BANDS
from tomofilt.evaluate.witnesses import Witnesses, call_witnesses
from tomofilt.reconstruction.gold import fill_gold
from tomofilt.reconstruction.images import SeriesImages
from tomofilt.reconstruction.measure import measured
from tomofilt.reconstruction.problem import Problem, Slab
from tomofilt.reconstruction.settings import Settings
from tomofilt.reconstruction.setup import make_problem
from tomofilt.series.tiltseries import TiltSeries

__all__ = ["LeftOut", "Slabs", "left_out_correlation", "measured_slabs", "spread_views"]

Float64 = NDArray[np.float64]
#: What makes a tomogram, slab by slab, from a problem and the images of its series.
Slabs = Callable[[Problem, SeriesImages], Iterable[Slab]]

#: Bands that are told apart; those of :data:`BANDS` that do not overlap.
NARROW = BANDS[:-1]
#: All frequencies together: the last column of a :class:`LeftOut`.
EVERYTHING = (0.0, 0.5)
#: Part of the views, at either end of the tilt range, that is never left out: steep views have few
#: neighbours, thick ice and few whole rays.
_OUTERMOST = 0.15
#: A band holds signal if its mean correlation is more than so many standard errors.
_SIGNAL = 3.0


@dataclass(frozen=True, eq=False)
class LeftOut:
    """Correlation of left-out images with projections of tomograms made without them.

    Attributes
    ----------
    images : (view,) int
        Index of each left-out image.
    tilt_deg : (view,)
    bands : (band, 2)
        In cycles per pixel. The last is all frequencies, weighed as the tomogram holds them: see
        :func:`tomofilt.evaluate.rings.volume_correlation`. By this number tomograms are ranked.
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

    @property
    def has_signal(self) -> NDArray[np.bool_]:
        """Bands in which images are predicted at all: above, there is only chance to compare."""
        return np.asarray(~(self.mean < _SIGNAL * self.standard_error))

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
    slabs_of: Slabs | None = None,
    bands: Sequence[tuple[float, float]] = NARROW,
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
    slabs_of : callable, optional
        Makes the tomogram of the views that are kept, slab by slab, each used before the next is
        made. Default: :func:`measured_slabs`, the filter of the settings.
    bands : sequence of (low, high)
        In cycles per pixel of the tomogram; all frequencies together come last, after these.

    Notes
    -----
    Memory: a reconstruction's, and the left-out images and projections of one fold.

    Raises
    ------
    InputError
        If the series has too few views, or the tomogram is too thick for its width.
    """
    if rows_px is not None:
        if rows_px < 1:
            raise InputError(f"{rows_px} rows leave no tomogram to compare with")
        nz, ny, nx = series.grid.shape
        series = replace(series, grid=series.grid.resized((nz, min(rows_px, ny), nx)))
    problem = make_problem(series, settings)
    witnesses = call_witnesses(
        series,
        settings,
        lambda usable: spread_views(series.tilt_deg, usable=usable) if folds is None else folds,
    )
    with problem.images() as images:
        fill_gold(problem, images, settings)
        results = [
            _one_fold(problem, images, left, slabs_of or measured_slabs, witnesses, bands)
            for left in witnesses.folds
        ]
    views = np.concatenate(witnesses.folds)
    return LeftOut(
        images=series.views[views],
        tilt_deg=series.tilt_deg[views],
        bands=np.array([*bands, EVERYTHING], dtype=np.float64),
        pixel_angst=problem.grid.voxel_angst,
        correlation=np.concatenate(results),
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


def measured_slabs(problem: Problem, images: SeriesImages) -> Iterable[Slab]:
    """Reconstruct slab by slab; a filter that has to be measured is measured on these images."""
    return measured(problem, images).slabs(images)


def _one_fold(
    problem: Problem,
    images: SeriesImages,
    left: NDArray[np.intp],
    slabs_of: Slabs,
    witnesses: Witnesses,
    bands: Sequence[tuple[float, float]],
) -> Float64:
    """Correlations (view, band)."""
    views = np.setdiff1d(np.arange(len(problem.series.views)), left)
    kept = problem.select(views)
    with images.select(views, kept.preparation) as some:
        return witnesses.correlation(left, slabs_of(kept, some), bands)


def _standard_error(values: Float64) -> Float64:
    if len(values) < 2:
        return np.full(values.shape[1], np.nan)
    return np.asarray(values.std(axis=0, ddof=1) / np.sqrt(len(values)))


def _numbers(images: NDArray[np.intp]) -> str:
    return ", ".join(str(int(image) + 1) for image in images)
