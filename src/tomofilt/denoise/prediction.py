"""How well a tomogram predicts views that it was made without."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tomofilt.align.stack import AlignedStack
from tomofilt.denoise.central import central_images
from tomofilt.evaluate.rings import taper
from tomofilt.evaluate.views import columns_inside
from tomofilt.projectors.cpu import SliceProjector, slice_table
from tomofilt.reconstruction.problem import Problem

__all__ = ["HIGHEST", "LeftOutViews"]

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

#: Frequencies that count, in cycles per voxel. Below, images hold gradients; above, nothing is
#: predicted by any tomogram.
LOWEST, HIGHEST = 0.006, 0.25


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
    highest : float
        Highest frequency that counts, in cycles per voxel: where the signal ends.
    """

    def __init__(
        self,
        problem: Problem,
        stack: AlignedStack,
        central: Problem,
        views: NDArray[np.intp],
        highest: float,
    ) -> None:
        self._central, self._highest = central, min(highest, HIGHEST)
        self._images = central_images(problem, stack, views).numpy()
        self._slices = problem.frame.slices.select(views)

    def correlation(self, tomogram: Float32) -> Float64:
        """Correlation (view,) of the projections of a tomogram (z, y, x) with the images.

        Frequencies count as in a tomogram: in proportion to their distance from the tilt axis.
        """
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
                self._one(image[rows, columns], view[rows, columns])
                for image, view, columns in zip(self._images, projected, inside, strict=True)
                if columns is not None
            ]
        )

    def _one(self, image: Float32, projection: Float32) -> float:
        from scipy import fft

        window = np.outer(*(taper(n) for n in image.shape)).astype(np.float32)
        k_y, k_x = np.fft.fftfreq(image.shape[0])[:, None], np.fft.rfftfreq(image.shape[1])
        k = np.hypot(k_y, k_x)
        weight = np.where((k >= LOWEST) & (k <= self._highest), k_x, 0.0)
        a, b = (fft.rfft2((each - each.mean()) * window) for each in (image, projection))
        powers = (weight * np.abs(a) ** 2).sum() * (weight * np.abs(b) ** 2).sum()
        return float((weight * (a * b.conj()).real).sum() / np.sqrt(powers)) if powers else 0.0
