"""SIRT on the default projector: rows of the specimen are solved for, a block at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tomofilt.projectors import kernels
from tomofilt.projectors.wide import WideSlab
from tomofilt.series.geometry import ImageGrid, SliceGeometry, VolumeGrid

if TYPE_CHECKING:
    from torch import Tensor

    from tomofilt.projectors.device import DeviceProjector, Shape

__all__ = ["DeviceSirt", "SirtSolver"]

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]


class SirtSolver(WideSlab):
    """Simultaneous iterative reconstruction (Gilbert, J. Theor. Biol. 36, 105, 1972).

    ``x += C A^T R (y - A x)``, from zero, with A the projection and R and C the inverse sums of its
    rows and columns, found by projecting and back-projecting ones. The sum of the squared
    differences ``y - A x``, weighted by R, falls with each iteration. Densities may be negative.

    Parameters
    ----------
    slices, images, box, threads
        See :class:`WideSlab`.

    Attributes
    ----------
    weight : (view, sample) float32
        R, on packed rows; zero where rays are not used.
    voxel_weight : (z, x) float32
        C.
    """

    def __init__(
        self,
        slices: SliceGeometry,
        images: ImageGrid,
        box: VolumeGrid,
        threads: int | None = None,
    ) -> None:
        super().__init__(slices, images, box, threads)
        nz, _, nx = self.grid.shape
        self.weight = (self.gain > 0).astype(np.float32) / self.path
        packed, slab = self.packed_images(), self.slab()
        packed[:] = self.gain[:, :, None]
        slab[:] = 0.0
        self.adjoint(packed, slab, np.ones((nz, nx), np.float32))
        sums = slab[:, :, 0]
        self.voxel_weight = np.divide(1.0, sums, where=sums > 1e-3, out=np.zeros_like(sums))

    def solve(
        self,
        packed: Float32,
        iterations: int,
        advance: Callable[[], None] = lambda: None,
    ) -> Float32:
        """Solve for one block of rows.

        Parameters
        ----------
        packed : (view, sample, BLOCK) float32
            Line integrals in voxels; destroyed.
        iterations : int
        advance : callable
            Called after each iteration.

        Returns
        -------
        (z, BLOCK, x) float32
            The tomogram's part of the slab.
        """
        gain = self.gain[:, :, None]
        weight = gain * self.weight[:, :, None]
        slab, rest = self.slab(), self.packed_images()
        slab[:] = 0.0
        np.multiply(weight, packed, out=rest)

        def weigh(view: int) -> None:
            rest[view] *= gain[view]
            np.subtract(packed[view], rest[view], out=rest[view])
            rest[view] *= weight[view]

        for iteration in range(iterations):
            if iteration:
                self.projector.forward_block(slab, rest, weigh)
            self.adjoint(rest, slab, self.voxel_weight)
            advance()
        inside = slab[:, self.before : self.before + self.width]
        return np.ascontiguousarray(inside.swapaxes(1, 2))


class DeviceSirt:
    """The iteration of a :class:`SirtSolver` on a GPU, for any number of rows at a time.

    Parameters
    ----------
    solver : SirtSolver
        Has the slab and all weights.
    make : callable
        Makes a projector, whose pair is exact, from table, image shape and volume shape.
    """

    def __init__(
        self, solver: SirtSolver, make: Callable[[Float64, Shape, Shape], DeviceProjector]
    ) -> None:
        self._solver, self._make = solver, make

    @property
    def row_bytes(self) -> int:
        """Memory of the GPU that one row of voxels and images takes."""
        nz, _, nx = self._solver.grid.shape
        return 4 * (3 * nz * nx + 4 * self._solver.gain.size)

    def solve(self, images: Tensor, iterations: int, advance: Callable[[], None]) -> Tensor:
        """Solve for some rows.

        Parameters
        ----------
        images : (view, rows, width) float32 Tensor on the GPU
            Line integrals in voxels.
        iterations : int
        advance : callable
            Called after each iteration.

        Returns
        -------
        (z, rows, x) float32 Tensor on the GPU
        """
        import torch

        solver = self._solver
        inner = slice(kernels.PAD, -kernels.PAD)
        gain, weight, voxel_weight = (
            torch.from_numpy(array).to(images.device)[:, None]
            for array in (
                solver.gain[:, inner],
                (solver.gain * solver.weight)[:, inner],
                solver.voxel_weight,
            )
        )
        views, rows, width = images.shape
        nz, _, nx = solver.grid.shape
        projector = self._make(solver.projector.table, (views, rows, width), (nz, rows, nx))
        slab = images.new_zeros((nz, rows, nx))
        for iteration in range(iterations):
            seen = projector.forward(slab) if iteration else 0.0
            slab += voxel_weight * projector.adjoint(weight * (images - gain * seen))
            advance()
        return slab[:, :, solver.before : solver.before + solver.width]
