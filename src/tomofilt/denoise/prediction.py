"""How well tomograms predict views that they were made without."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tomofilt.align.stack import AlignedStack
from tomofilt.denoise.central import central_images
from tomofilt.evaluate.rings import volume_correlation
from tomofilt.evaluate.views import columns_inside
from tomofilt.evaluate.witnesses import plane_weights
from tomofilt.filters.wiener import WienerExact
from tomofilt.projectors.cpu import SliceProjector, slice_table
from tomofilt.reconstruction.problem import Problem

__all__ = ["LeftOutViews"]

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]


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
        """Correlation (view,) of projections with the images, all frequencies together.

        Each counts as the tomogram holds it: the larger this is, the larger the PSNR. See
        :func:`tomofilt.evaluate.rings.volume_correlation`.
        """
        frame = self._central.frame
        rows = slice(frame.halo, frame.grid.shape[0] - frame.halo)
        inside = columns_inside(self._slices, self._central.grid, frame.grid)
        return np.array(
            [
                volume_correlation(image[rows, columns], projection[rows, columns])
                for image, projection, columns in zip(
                    self._images, projections, inside, strict=True
                )
                if columns is not None
            ]
        )
