"""How long the phases of a reconstruction take beside each other, so that its bar is honest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tomofilt.filters.wiener import WienerExact
from tomofilt.jobs.outputs import Output
from tomofilt.reconstruction.budget import SLAB_ROWS
from tomofilt.reconstruction.images import Source
from tomofilt.reconstruction.problem import Problem
from tomofilt.reconstruction.settings import Settings

__all__ = ["Effort"]

# Nanoseconds of one core. On other machines the ratios, which count, are much the same.
#: For a pixel on the tilt axis: to bring it there, look for gold, measure, filter.
_IMAGE, _GOLD, _MEASURED, _FILTERED = 30.0, 34.0, 21.0, 42.0
#: For a voxel: to write it, to denoise it.
_WRITTEN, _DENOISED = 6.5, 32.0
#: To train and test networks: for a tomogram of any size, and for each view of a central voxel.
_DECIDED, _DECIDED_VIEW = 2.0e9, 4.9


@dataclass(frozen=True)
class Effort:
    """What the work on a series takes, in seconds of a core that is like the one it was timed on.

    Attributes
    ----------
    image : float
        To bring an image to the tilt axis.
    gold, measuring, deciding : float
        To look for gold, to measure the filter, to train and test networks for denoising.
    volume, denoising : float
        To make a volume from images on the tilt axis, and to denoise it.
    total : float
        Everything together.
    """

    image: float
    gold: float
    measuring: float
    deciding: float
    volume: float
    denoising: float
    total: float

    @classmethod
    def of(cls, problem: Problem, todo: Mapping[str, Output], settings: Settings) -> Effort:
        """The effort for some volumes.

        Parameters
        ----------
        problem : Problem
        todo : mapping of str to Output
            What is to be made, by name.
        settings : Settings
        """
        views, (nz, ny, nx) = len(problem.series.views), problem.grid.shape
        rows, columns = problem.frame.grid.shape
        voxels, pixels = 1e-9 * nz * ny * nx, 1e-9 * views * rows * columns
        is_measured, is_denoised = isinstance(problem.filter, WienerExact), "denoised" in todo
        sources: set[Source] = {output.part.source for output in todo.values()}
        if is_measured and problem.series.halves is not None:
            sources |= {"half1", "half2"}
        image = _IMAGE * pixels / views
        looks_for_gold = settings.gold != "as-is" and not problem.method.native
        gold, measuring = _GOLD * pixels * looks_for_gold, _MEASURED * pixels * is_measured
        central = views * voxels * min(1.0, SLAB_ROWS / ny)
        deciding = (1e-9 * _DECIDED + _DECIDED_VIEW * central) * is_denoised
        volume = problem.kernel_seconds + _WRITTEN * voxels
        volume += _FILTERED * pixels * problem.filter.two_dimensional
        denoising = _DENOISED * voxels * is_denoised
        total = (
            image * views * len(sources)
            + gold
            + measuring
            + deciding
            + volume * len(todo.keys() - {"denoised"})
            + denoising
        )
        return cls(image, gold, measuring, deciding, volume, denoising, total)
