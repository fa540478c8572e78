"""A head at work in the slab loop of a tomogram."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from tomofilt.align.stack import OnImage
from tomofilt.denoise.bands import Splitter
from tomofilt.denoise.gates import gate_weights
from tomofilt.denoise.head import Head
from tomofilt.denoise.kernel import apply_head
from tomofilt.errors import InputError
from tomofilt.filters.wiener import WienerExact
from tomofilt.reconstruction.budget import SLAB_ROWS
from tomofilt.reconstruction.methods.fbp import Fbp
from tomofilt.reconstruction.problem import Problem

__all__ = ["Denoiser", "band_bytes", "check_denoising"]

Float32 = NDArray[np.float32]
#: What the coarse bands of a tomogram and their weights take: of its images, of its voxels, of a
#: slab's voxels.
_IMAGES, _VOXELS, _LINES = 1.5, 0.7, 1.0625


class Denoiser:
    """Denoises the blocks of a tomogram as they come.

    Parameters
    ----------
    problem : Problem
    head : Head
    """

    def __init__(self, problem: Problem, head: Head) -> None:
        self._problem, self._head = problem, head
        self._splitter = Splitter(problem)
        self._apply: Callable[[Float32, int, int], Float32] | None = None

    def on_image(self) -> OnImage:
        """Return what filters the aligned images, all of them before the first block comes."""
        return self._splitter.filter_image

    def apply(self, block: Float32, z_start: int, y_start: int) -> Float32:
        """A block (planes, rows, x) denoised."""
        if self._apply is None:
            self._apply = self._weighed()
            del self._splitter
        return self._apply(block, z_start, y_start)

    def _weighed(self) -> Callable[[Float32, int, int], Float32]:
        """What denoises blocks, by weights for the whole tomogram."""
        problem, head = self._problem, self._head
        coarse = self._splitter.back_project(np.arange(len(problem.series.views)))
        if problem.device.gpus:
            from tomofilt.denoise.device import DeviceHead  # loads torch

            return DeviceHead(head, coarse, problem.device.gpus[0]).apply
        weights = gate_weights(head, coarse)
        return lambda block, z_start, y_start: apply_head(
            head, coarse, weights, block, z_start, y_start, problem.threads
        )


def check_denoising(problem: Problem) -> None:
    """Refuse what a tomogram cannot be denoised with.

    Raises
    ------
    InputError
        The filter or the method is another one than the network is made for.
    """
    name, spec = problem.series.name, problem.method.spec
    # map:N measures with it, and is none
    if not isinstance(problem.filter, WienerExact) or spec != problem.filter.spec:
        raise InputError(
            f"{name}: the network of --denoise is made for -f wiener-exact, not for {spec}: leave "
            "the filter out, or --denoise"
        )
    if not isinstance(problem.method, Fbp):
        local = problem.series.geometry.local is not None
        why = "is aligned locally" if local else "uses the direct projector"
        raise InputError(f"{name} {why}, which --denoise cannot do yet: leave --denoise out")


def band_bytes(problem: Problem) -> int:
    """Memory for bands and weights on coarse grids: images, voxels, and a slab, fine along x."""
    nz, ny, nx = problem.grid.shape
    images = len(problem.series.views) * ny * problem.frame.grid.shape[1]
    everywhere = int(4 * (_IMAGES * images + _VOXELS * nz * ny * nx))
    return everywhere + int(4 * (_LINES + 2) * nz * SLAB_ROWS * nx)
