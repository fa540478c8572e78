"""A head at work in the slab loop of a tomogram."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tomofilt.denoise.bands import CoarseBands, Splitter
from tomofilt.denoise.head import Head
from tomofilt.denoise.kernel import apply_head
from tomofilt.reconstruction.plan import Plan

__all__ = ["Denoiser"]

Float32 = NDArray[np.float32]


class Denoiser:
    """Denoises the blocks of a tomogram as they come.

    Parameters
    ----------
    plan : Plan
    head : Head
    """

    def __init__(self, plan: Plan, head: Head) -> None:
        self._plan, self._head = plan, head
        self._splitter = Splitter(plan)
        self._coarse: list[CoarseBands] | None = None

    def filter_image(self, view: int, image: Float32) -> Float32:
        """Filter an aligned image of one of the plan's views; its bands are kept."""
        return self._splitter.filter_image(view, image)

    def apply(self, block: Float32, z_start: int, y_start: int) -> Float32:
        """A block (planes, rows, x) denoised; all images have been filtered before."""
        if self._coarse is None:
            self._coarse = self._splitter.back_project(np.arange(len(self._plan.slices.a)))
            del self._splitter
        return apply_head(self._head, self._coarse, block, z_start, y_start, self._plan.threads)
