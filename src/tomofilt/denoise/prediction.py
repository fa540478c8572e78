"""How well tomograms predict views that they were made without."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tomofilt.align.stack import AlignedStack
from tomofilt.denoise.central import central_images
from tomofilt.evaluate.rings import BANDS, band_correlation
from tomofilt.evaluate.views import columns_inside
from tomofilt.filters.wiener import WienerExact
from tomofilt.projectors.cpu import SliceProjector, slice_table
from tomofilt.reconstruction.grids import plane_weights
from tomofilt.reconstruction.problem import Problem

__all__ = ["LeftOutViews"]

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

#: Frequency, in cycles per voxel, above which left-out views are hardly predicted at all.
_HIGHEST = 0.25


class LeftOutViews:
    """Views that a tomogram was made without.

    Planes in which no specimen was measured are not projected: there denoising takes noise away
    that nobody looks at.

    Parameters
    ----------
    problem : Problem
        With all views, and with a filter that has been measured.
    stack : AlignedStack
        Its images, in which gold has been filled.
    central : Problem
        Of the central rows of the tomogram, made from other views.
    views : (view,) int
        The views that were left out.
    """

    def __init__(
        self, problem: Problem, stack: AlignedStack, central: Problem, views: NDArray[np.intp]
    ) -> None:
        assert isinstance(problem.filter, WienerExact)
        found = problem.filter.measurement
        assert found is not None
        self._central = central
        self._images = central_images(problem, stack, views).numpy()
        self._slices = problem.frame.slices.select(views)
        reach = found.reach_k * central.grid.voxel_angst
        #: Bands of frequencies, in cycles per voxel, that begin below the one where signal ends.
        self.bands = [band for band in BANDS if band[0] < reach and band[1] <= _HIGHEST]
        self._planes = plane_weights(central.grid, found.thickness_angst, found.centre_angst)

    def project(self, tomogram: Float32) -> Float32:
        """Projections (view, y, x) of a tomogram (z, y, x), as the views look at it."""
        grid, frame = self._central.grid, self._central.frame
        projector = SliceProjector(
            slice_table(self._slices, grid, frame.grid),
            (len(self._slices.a), *frame.grid.shape),
            grid.shape,
            threads=self._central.threads,
        )
        return projector.forward(tomogram * self._planes[:, None, None])

    def correlation(self, projections: Float32) -> Float64:
        """Correlation (view,) of projections with the images, mean over the bands with signal."""
        frame = self._central.frame
        rows = slice(frame.halo, frame.grid.shape[0] - frame.halo)
        inside = columns_inside(self._slices, self._central.grid, frame.grid)
        return np.array(
            [
                band_correlation(image[rows, columns], projection[rows, columns], self.bands).mean()
                for image, projection, columns in zip(
                    self._images, projections, inside, strict=True
                )
                if columns is not None
            ]
        )
