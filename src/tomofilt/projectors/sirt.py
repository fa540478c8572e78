"""SIRT on the default projector: rows of the specimen are solved for, a block at a time.

Without x tilt a row of voxels along x and one row of every image belong together and know no other
rows, so that memory does not grow with the tomogram's length.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tomofilt.projectors import kernels
from tomofilt.projectors.cpu import SliceProjector, slice_table
from tomofilt.series.geometry import ImageGrid, SliceGeometry, VolumeGrid
from tomofilt.util.lanes import cache_lines
from tomofilt.util.threads import run_all

if TYPE_CHECKING:
    from torch import Tensor

    from tomofilt.projectors.device import DeviceProjector, Shape

__all__ = ["DeviceSirt", "SirtSolver", "block_bytes", "widened"]

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

#: Rays of steeper views would leave any slab sideways; the slab is not widened for them.
_STEEPEST = np.cos(np.radians(70.0))


def widened(slices: SliceGeometry, images: ImageGrid, box: VolumeGrid) -> tuple[VolumeGrid, int]:
    """The slab that the rays through a tomogram cross from its first plane to its last.

    Returns
    -------
    slab : VolumeGrid
        The voxels of ``box`` and more at either side in x.
    before : int
        How many there are before the first voxel of ``box``.
    """
    a, b, c = slice_table(slices, box, images)[:, :3].T
    nz, ny, nx = box.shape
    z = np.array([0.0, nz - 1.0])
    low, high = 0.0, nx - 1.0
    for view in np.flatnonzero(np.abs(a) > _STEEPEST * np.hypot(a, b)):
        corners = a[view] * np.array([[0.0], [nx - 1.0]]) + b[view] * z + c[view]
        # a voxel falls on two pixels, and a pixel takes in what is up to one from it
        seen = max(corners.min() - 1, 0.0) - 1, min(corners.max() + 1, images.shape[1] - 1.0) + 1
        if seen[0] < seen[1]:
            x = (np.array(seen)[:, None] - b[view] * z - c[view]) / a[view]
            low, high = min(low, x.min()), max(high, x.max())
    before = int(np.ceil(-low))
    zc, yc, xc = box.centre
    shape = (nz, ny, before + int(np.ceil(high)) + 1)
    return VolumeGrid(shape, box.voxel_angst, (zc, yc, xc + before)), before


def block_bytes(slices: SliceGeometry, images: ImageGrid, box: VolumeGrid) -> int:
    """Memory that the solver takes for a block of rows."""
    slab, _ = widened(slices, images, box)
    nz, _, nx = slab.shape
    packed = 2 * len(slices.a) * (images.shape[1] + 2 * kernels.PAD)
    return 4 * kernels.BLOCK * (nz * (nx + box.shape[2]) + packed)


class SirtSolver:
    """Simultaneous iterative reconstruction (Gilbert, J. Theor. Biol. 36, 105, 1972).

    ``x += C A^T R (y - A x)``, from zero, with A the projection and R and C the inverse sums of its
    rows and columns, found by projecting and back-projecting ones. The sum of the squared
    differences ``y - A x``, weighted by R, falls with each iteration. Densities may be negative.

    An image sees more of the specimen than the tomogram holds, so a wider slab is solved for, wide
    enough for every ray through the tomogram. Rays that leave this slab sideways are not used.

    Voxels that are dropped into pixels with linear weights fall unevenly near 45 degrees, by up to
    a tenth. The rows of A are scaled such that a slab of ones projects to the length of its rays,
    which evens that out, and takes care of magnification too.

    Parameters
    ----------
    slices : SliceGeometry
        x tilt is not followed.
    images : ImageGrid
        Of the images on the tilt axis, as large as voxels.
    box : VolumeGrid
        The tomogram.
    threads : int, optional
    """

    def __init__(
        self,
        slices: SliceGeometry,
        images: ImageGrid,
        box: VolumeGrid,
        threads: int | None = None,
    ) -> None:
        self.grid, self._before = widened(slices, images, box)
        self._width = box.shape[2]
        table = slice_table(slices, self.grid, images)
        table[:, 3:] = 0.0
        nz, _, nx = self.grid.shape
        self._projector = SliceProjector(
            table, (len(table), kernels.BLOCK, images.shape[1]), self.grid.shape, threads=threads
        )
        self.threads = self._projector.threads
        slab = self._slab()
        slab[:] = 1.0
        packed = self.packed_images()
        self._projector.forward_block(slab, packed)
        sums = packed[:, :, 0]
        used = np.zeros(sums.shape, dtype=bool)
        used[:, kernels.PAD : -kernels.PAD] = _whole_rays(table, images.shape[1], (nz, nx))
        # a view on edge has no whole rays
        steepness = np.maximum(np.abs(table[:, 0]), 1e-6)
        path = (nz * np.hypot(table[:, 0], table[:, 1]) / steepness).astype(np.float32)[:, None]
        self._gain = np.divide(path, sums, where=used, out=np.zeros_like(sums))
        self._weight = used.astype(np.float32) / path
        packed[:] = self._gain[:, :, None]
        slab[:] = 0.0
        self._adjoint(packed, slab, np.ones((nz, nx), np.float32))
        sums = slab[:, :, 0]
        self._voxel_weight = np.divide(1.0, sums, where=sums > 1e-3, out=np.zeros_like(sums))

    def packed_images(self) -> Float32:
        """Room for a block of rows of all images; see :func:`kernels.pack_rows`."""
        return self._projector.packed_buffer(np.dtype(np.float32))

    def _slab(self) -> Float32:
        nz, _, nx = self.grid.shape
        return cache_lines((nz, nx, kernels.BLOCK), np.float32)

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
        gain = self._gain[:, :, None]
        weight = gain * self._weight[:, :, None]
        slab, rest = self._slab(), self.packed_images()
        slab[:] = 0.0
        np.multiply(weight, packed, out=rest)

        def weigh(view: int) -> None:
            rest[view] *= gain[view]
            np.subtract(packed[view], rest[view], out=rest[view])
            rest[view] *= weight[view]

        for iteration in range(iterations):
            if iteration:
                self._projector.forward_block(slab, rest, weigh)
            self._adjoint(rest, slab, self._voxel_weight)
            advance()
        inside = slab[:, self._before : self._before + self._width]
        return np.ascontiguousarray(inside.swapaxes(1, 2))

    def _adjoint(self, packed: Float32, slab: Float32, weight: Float32) -> None:
        """Add the weighted back-projection to a slab."""
        nz, _, nx = self.grid.shape
        projector, tile = self._projector, kernels.TILE
        nowhere: NDArray[Any] = np.empty((nz, 0, nx), np.float32)

        def one(corner: tuple[int, int]) -> None:
            (z, x), z_stop, x_stop = corner, min(corner[0] + tile, nz), min(corner[1] + tile, nx)
            columns = cache_lines((tile * tile, kernels.BLOCK), np.float32)
            # the sums stay in the work space, where y is innermost as it is in the slab
            kernels.backproject_tile(
                packed, projector.table, projector.limits, 0, (z, z_stop), (x, x_stop), columns,
                nowhere, 0,
            )  # fmt: skip
            sums = columns[: (z_stop - z) * (x_stop - x)].reshape(z_stop - z, x_stop - x, -1)
            sums *= weight[z:z_stop, x:x_stop, None]
            slab[z:z_stop, x:x_stop] += sums

        run_all(self.threads, one, [(z, x) for z in range(0, nz, tile) for x in range(0, nx, tile)])


def _whole_rays(table: Float64, width: int, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Pixels (view, width) whose rays, and their neighbours', stay in a slab (z, x) all the way."""
    nz, nx = shape
    pixel = np.arange(width)
    whole = np.ones((len(table), width), dtype=bool)
    for z in (0, nz - 1):
        first = (table[:, 1] * z + table[:, 2])[:, None]
        last = first + table[:, :1] * (nx - 1)
        # a hair of tolerance: rounding must not lose a ray along the very edge
        whole &= pixel >= np.minimum(first, last) + 1 - 1e-6
        whole &= pixel <= np.maximum(first, last) - 1 + 1e-6
    return whole


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
        return 4 * (3 * nz * nx + 4 * self._solver._gain.size)

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
                solver._gain[:, inner],
                (solver._gain * solver._weight)[:, inner],
                solver._voxel_weight,
            )
        )
        views, rows, width = images.shape
        nz, _, nx = solver.grid.shape
        projector = self._make(solver._projector.table, (views, rows, width), (nz, rows, nx))
        slab = images.new_zeros((nz, rows, nx))
        for iteration in range(iterations):
            seen = projector.forward(slab) if iteration else 0.0
            slab += voxel_weight * projector.adjoint(weight * (images - gain * seen))
            advance()
        return slab[:, :, solver._before : solver._before + solver._width]
