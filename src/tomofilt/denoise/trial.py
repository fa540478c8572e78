"""Left-out views, and how well tomograms that know nothing of them predict them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tomofilt.align.stack import AlignedStack
from tomofilt.denoise.middle import middle_of
from tomofilt.evaluate.rings import BANDS, band_correlation
from tomofilt.evaluate.views import columns_inside
from tomofilt.projectors.cpu import SliceProjector, slice_table
from tomofilt.reconstruction.problem import Problem
from tomofilt.series.geometry import SliceGeometry

__all__ = ["Score", "Trial"]

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

#: Bands that count, in cycles per voxel: above, left-out views are hardly predicted at all.
COUNTED = tuple(band for band in BANDS if band[1] <= 0.25)
#: Standard errors from which on a loss is one.
LOSS = 2.0


@dataclass(frozen=True, eq=False)
class Score:
    """Gain in correlation over the linear tomogram: (view, band)."""

    gain: Float64

    @property
    def mean(self) -> Float64:
        """Of the views, for each band."""
        return np.asarray(self.gain.mean(axis=0))

    @property
    def standard_error(self) -> Float64:
        """Of the mean."""
        return np.asarray(self.gain.std(axis=0, ddof=1) / np.sqrt(len(self.gain)))

    @property
    def mean_gain(self) -> float:
        """Of all bands."""
        return float(self.gain.mean())

    @property
    def loses(self) -> bool:
        """Whether it is worse in some band, by more than chance."""
        return bool(np.any(self.mean < -LOSS * self.standard_error))

    def facts(self) -> dict[str, object]:
        """For the record."""
        return {
            "gain": [round(float(gain), 4) for gain in self.mean],
            "standard_error": [round(float(error), 4) for error in self.standard_error],
        }


class Trial:
    """Views that a tomogram was made without.

    Parameters
    ----------
    problem : Problem
        With all views.
    stack : AlignedStack
        Its images.
    middle : Problem
        Of the middle rows of the tomogram, made from other views.
    left : (view,) int
        The views that were left out.
    """

    def __init__(
        self, problem: Problem, stack: AlignedStack, middle: Problem, left: NDArray[np.intp]
    ) -> None:
        self._numbers = problem.series.views[left] + 1
        self._middle = middle
        self._images = middle_of(problem, stack, left).numpy()
        self._slices: SliceGeometry = problem.frame.slices.select(left)
        self._linear: Float64 = np.zeros((0, len(COUNTED)))

    def begin(self, tomogram: Float32) -> Float32:
        """Take the linear tomogram as what others are compared with; returns its projections."""
        projected = self.project(tomogram)
        self._linear = self._correlation(projected)
        return projected

    def project(self, tomogram: Float32) -> Float32:
        """The tomogram (z, y, x) as the left-out views see it: (view, y, x)."""
        grid, images = self._middle.grid, self._middle.frame.grid
        projector = SliceProjector(
            slice_table(self._slices, grid, images),
            (len(self._slices.a), *images.shape),
            grid.shape,
            threads=self._middle.threads,
        )
        return projector.forward(tomogram)

    def score(self, projected: Float32) -> Score:
        """Compare projections of a tomogram with those of the linear one."""
        return Score(self._correlation(projected) - self._linear)

    def facts(self) -> dict[str, object]:
        """For the record."""
        return {
            "images": [int(number) for number in self._numbers],
            "bands_per_px": [list(band) for band in COUNTED],
            "correlation_of_linear": [round(float(c), 4) for c in self._linear.mean(axis=0)],
        }

    def _correlation(self, projected: Float32) -> Float64:
        """Correlation with what was measured: (view, band)."""
        frame = self._middle.frame
        halo, ny = frame.halo, projected.shape[1]
        inside = columns_inside(self._slices, self._middle.grid, frame.grid)
        return np.stack(
            [
                band_correlation(
                    image[halo : ny - halo, columns], view[halo : ny - halo, columns], COUNTED
                )
                for image, view, columns in zip(self._images, projected, inside, strict=True)
                if columns is not None
            ]
        )
