"""How well a tomogram predicts views that it was made without."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tomofilt.align.stack import AlignedStack
from tomofilt.denoise.central import central_images
from tomofilt.evaluate.rings import BANDS, band_correlation
from tomofilt.evaluate.views import columns_inside
from tomofilt.projectors.cpu import SliceProjector, slice_table
from tomofilt.reconstruction.problem import Problem

__all__ = ["LeftOutViews", "bands_with_signal"]

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

#: Frequency, in cycles per voxel, above which left-out views are hardly predicted at all.
_HIGHEST = 0.25


class LeftOutViews:
    """Views that a tomogram was made without.

    Parameters
    ----------
    problem : Problem
        With all views.
    stack : AlignedStack
        Its images, in which gold has been filled.
    central : Problem
        Of the central rows of the tomogram, made from other views.
    views : (view,) int
        The views that were left out.
    bands : sequence of (low, high)
        In cycles per voxel.
    """

    def __init__(
        self,
        problem: Problem,
        stack: AlignedStack,
        central: Problem,
        views: NDArray[np.intp],
        bands: list[tuple[float, float]],
    ) -> None:
        self._central, self._bands = central, bands
        self._images = central_images(problem, stack, views).numpy()
        self._slices = problem.frame.slices.select(views)

    def correlation(self, tomogram: Float32) -> Float64:
        """Correlation (view, band) of the projections of a tomogram (z, y, x) with the images."""
        grid, frame = self._central.grid, self._central.frame
        projector = SliceProjector(
            slice_table(self._slices, grid, frame.grid),
            (len(self._slices.a), *frame.grid.shape),
            grid.shape,
            threads=self._central.threads,
        )
        rows = slice(frame.halo, frame.grid.shape[0] - frame.halo)
        inside = columns_inside(self._slices, grid, frame.grid)
        projected = projector.forward(tomogram)
        return np.array(
            [
                band_correlation(image[rows, columns], view[rows, columns], self._bands)
                for image, view, columns in zip(self._images, projected, inside, strict=True)
                if columns is not None
            ]
        )


def bands_with_signal(reach: float) -> list[tuple[float, float]]:
    """Bands of frequencies that begin below the one (cycles per voxel) where the signal ends."""
    return [band for band in BANDS if band[0] < reach and band[1] <= _HIGHEST]
