"""A slab wide enough for every ray through a tomogram, and its rows projected there and back.

Without x tilt a row of voxels along x and one row of every image belong together and know no other
rows, so that memory does not grow with the tomogram's length.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomofilt.projectors import kernels
from tomofilt.projectors.cpu import SliceProjector, slice_table
from tomofilt.series.geometry import ImageGrid, SliceGeometry, VolumeGrid
from tomofilt.util.lanes import cache_lines
from tomofilt.util.threads import run_all

__all__ = ["WideSlab", "block_bytes", "widened"]

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
    """Memory that a block of rows takes, in the slab and in the images."""
    slab, _ = widened(slices, images, box)
    nz, _, nx = slab.shape
    packed = 2 * len(slices.a) * (images.shape[1] + 2 * kernels.PAD)
    return 4 * kernels.BLOCK * (nz * (nx + box.shape[2]) + packed)


class WideSlab:
    """Projection and its transpose between images and all that their rays cross.

    An image sees more of the specimen than the tomogram holds, so the slab is wider, wide enough
    for every ray through the tomogram. Rays that leave this slab sideways are not used.

    Voxels that are dropped into pixels with linear weights fall unevenly near 45 degrees, by up to
    a tenth. The rows of the projection are scaled such that a slab of ones projects to the length
    of its rays, which evens that out, and takes care of magnification too.

    Parameters
    ----------
    slices : SliceGeometry
        x tilt is not followed.
    images : ImageGrid
        Of the images on the tilt axis, as large as voxels.
    box : VolumeGrid
        The tomogram.
    threads : int, optional

    Attributes
    ----------
    grid : VolumeGrid
        The slab.
    before : int
        Its voxels before the first of ``box``, along x.
    width : int
        Voxels of ``box`` along x.
    projector : SliceProjector
        Without the scale of its rows.
    gain : (view, sample) float32
        That scale, on packed rows; zero where rays are not used.
    path : (view, 1) float32
        Length of the rays of a view, in voxels.
    """

    def __init__(
        self,
        slices: SliceGeometry,
        images: ImageGrid,
        box: VolumeGrid,
        threads: int | None = None,
    ) -> None:
        self.grid, self.before = widened(slices, images, box)
        self.width = box.shape[2]
        table = slice_table(slices, self.grid, images)
        table[:, 3:] = 0.0
        nz, _, nx = self.grid.shape
        self.projector = SliceProjector(
            table, (len(table), kernels.BLOCK, images.shape[1]), self.grid.shape, threads=threads
        )
        self.threads = self.projector.threads
        slab = self.slab()
        slab[:] = 1.0
        packed = self.packed_images()
        self.projector.forward_block(slab, packed)
        sums = packed[:, :, 0]
        used = np.zeros(sums.shape, dtype=bool)
        used[:, kernels.PAD : -kernels.PAD] = _whole_rays(table, images.shape[1], (nz, nx))
        # a view on edge has no whole rays
        steepness = np.maximum(np.abs(table[:, 0]), 1e-6)
        self.path = (nz * np.hypot(table[:, 0], table[:, 1]) / steepness).astype(np.float32)[
            :, None
        ]
        self.gain = np.divide(self.path, sums, where=used, out=np.zeros_like(sums))

    @property
    def whole(self) -> NDArray[np.bool_]:
        """Pixels (view, width) whose rays stay in the slab all the way."""
        return np.asarray(self.gain[:, kernels.PAD : -kernels.PAD] > 0)

    def packed_images(self) -> Float32:
        """Room for a block of rows of all images; see :func:`kernels.pack_rows`."""
        return self.projector.packed_buffer(np.dtype(np.float32))

    def slab(self) -> Float32:
        """Room for a block of rows of the slab: (z, x, BLOCK)."""
        nz, _, nx = self.grid.shape
        return cache_lines((nz, nx, kernels.BLOCK), np.float32)

    def adjoint(self, packed: Float32, slab: Float32, weight: Float32) -> None:
        """Add the back-projection, times the weight (z, x) of each voxel, to a slab."""
        nz, _, nx = self.grid.shape
        projector, tile = self.projector, kernels.TILE
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

    def there_and_back(
        self,
        images: Float32,
        weight: Float32,
        out: Float32,
        advance: Callable[[], None] = lambda: None,
    ) -> None:
        """Back-project images, weigh the voxels, and project them again.

        Parameters
        ----------
        images : (view, y, x) float32
        weight : (z, x) float32
            Of each voxel of the slab.
        out : (view, y, x) float32
            Overwritten.
        advance : callable
            Called after each block of rows.
        """
        samples = slice(kernels.PAD, -kernels.PAD)
        slab, packed = self.slab(), self.packed_images()
        gain = self.gain[:, samples]
        for start in range(0, images.shape[1], kernels.BLOCK):
            rows = slice(start, min(start + kernels.BLOCK, images.shape[1]))

            def load(view: int, rows: slice = rows) -> None:
                kernels.pack_rows(gain[view] * images[view, rows], packed[view])

            def unload(view: int, rows: slice = rows) -> None:
                inner = packed[view, samples, : rows.stop - rows.start]
                kernels.transpose_rows(inner, out[view, rows])
                out[view, rows] *= gain[view]

            run_all(self.threads, load, range(len(images)))
            slab[:] = 0.0
            self.adjoint(packed, slab, weight)
            self.projector.forward_block(slab, packed, unload)
            advance()


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
