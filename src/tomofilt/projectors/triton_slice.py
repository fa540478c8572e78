"""The slice projector on a GPU, in Triton: both directions exact, for float32 and float64.

A view samples its images at ``sample = a x + b z + c`` and ``row = y + e z + f``, bilinearly, zero
beyond the outermost samples. The back-projection gathers images at voxels. Its transpose gathers
too: for a sample, the few voxels of each plane that land within one of it, with the weights of
the same expressions. So nothing is added from two sides, results are the same each time, and the
pair is exact up to the rounding of its sums.

It needs torch with CUDA or ROCm, and Triton, which comes with both. With ``TRITON_INTERPRET=1``,
set before Triton is imported, it runs on the CPU: slowly, for tests.
"""

from __future__ import annotations

import numpy as np
import torch
import triton
import triton.language as tl
from numpy.typing import NDArray
from torch import Tensor

from tomofilt.projectors.device import (
    Array,
    DeviceProjector,
    Shape,
    as_tensor,
    check_shape,
    device_errors,
    empty_like,
    free_bytes,
    on_device,
)
from tomofilt.projectors.gpu import require
from tomofilt.projectors.vectors import table_maps

__all__ = ["TritonProjector"]

#: Rows and columns of an image or a plane that one program of a kernel makes, and its warps.
BLOCK = (4, 128)
WARPS = 2


class TritonProjector(DeviceProjector):
    """Back-projection and projection in slice geometry on a GPU, exactly transposed.

    Parameters
    ----------
    table : (view, 5)
        From :func:`tomofilt.projectors.cpu.slice_table`.
    image_shape : (view, rows, samples)
    volume_shape : (z, y, x)
    device : torch.device or str

    Raises
    ------
    InputError
        If shapes do not go together.
    """

    def __init__(
        self,
        table: NDArray[np.float64],
        image_shape: Shape,
        volume_shape: Shape,
        device: torch.device | str = "cuda:0",
    ) -> None:
        super().__init__(table_maps(table), image_shape, volume_shape, device)
        self.table = np.array(table, dtype=np.float64)

    def require(self) -> None:
        """Raise ResourceError where Triton has no GPU to run on."""
        if self.device.type == "cuda":
            require(self.device.index or 0, "triton")

    def adjoint(self, images: Array) -> Array:
        """Back-project images (view, y, sample) to a volume (z, y, x)."""
        if not (isinstance(images, Tensor) and images.device == self.device):
            return super().adjoint(images)
        check_shape(images, self.image_shape, "images")
        with device_errors(self.device), on_device(self.device):
            return self.make_box(self.prepare(images.detach()), 0, (0, 0), self.volume_shape)

    def forward(self, volume: Array) -> Array:
        """Project a volume (z, y, x) to images (view, y, sample): the transpose of the adjoint."""
        check_shape(volume, self.volume_shape, "volume")
        images = empty_like(volume, self.image_shape)
        nz, ny, nx = self.volume_shape
        with device_errors(self.device), on_device(self.device):
            self.require()
            sums = torch.zeros(self.image_shape, dtype=as_tensor(volume).dtype, device=self.device)
            if isinstance(volume, Tensor) and volume.device == self.device:
                step = ny
            else:
                room = free_bytes(self.device) // 2 - sums.nbytes
                step = int(np.clip(room // (nz * nx * sums.itemsize), 1, ny))
            for start in range(0, ny, step):
                rows = self.upload(volume[:, start : start + step]).contiguous()
                project(rows, self._moved(0, start, 0), sums)
            as_tensor(images).copy_(sums)
        return images

    def prepare(self, images: Tensor) -> Tensor:
        """The images themselves: boxes are made from them as they are."""
        return images.contiguous()

    def make_box(
        self, band: Tensor, first_row: int, start: tuple[int, int], shape: Shape
    ) -> Tensor:
        """Back-project rows first_row.. of the images into the box that starts at (z, y)."""
        box = band.new_empty(shape)
        views, rows, samples = band.shape
        nz, ny, nx = shape
        places, is_tilted = _places(self._moved(*start, first_row), nz, band)
        grid = (triton.cdiv(nx, BLOCK[1]), triton.cdiv(ny, BLOCK[0]), nz)
        gather_images[grid](
            band, places, box, views, rows, samples, nz, ny, nx,
            tilted=is_tilted, block_rows=BLOCK[0], block_columns=BLOCK[1],
            num_warps=WARPS, enable_fp_fusion=True,
        )  # fmt: skip
        return box

    def _moved(self, z: int, y: int, row: int) -> NDArray[np.float64]:
        """The table for voxels counted from (z, y) and images counted from a row."""
        table = self.table.copy()
        table[:, 2] += table[:, 1] * z
        table[:, 4] += table[:, 3] * z + y - row
        return table


def project(volume: Tensor, table: NDArray[np.float64], images: Tensor) -> None:
    """Add the projection of a volume (z, y, x) to images (view, y, sample)."""
    views, rows, samples = images.shape
    nz, ny, nx = volume.shape
    places, is_tilted = _places(table, nz, volume)
    with np.errstate(divide="ignore"):
        inverse = 1 / table[:, 0]
        # voxels within one sample of a sample, and one to spare at either end for rounding
        reach = np.minimum(np.ceil(2 * np.abs(inverse)) + 2, nx)
    inverse[reach == nx] = 0.0  # all voxels of the row are looked at, from the first
    reaches = torch.from_numpy(np.stack([inverse, reach], axis=1)).to(volume)
    grid = (triton.cdiv(samples, BLOCK[1]), triton.cdiv(rows, BLOCK[0]), views)
    gather_voxels[grid](
        images, places, reaches, volume, rows, samples, nz, ny, nx,
        tilted=is_tilted, block_rows=BLOCK[0], block_columns=BLOCK[1],
        num_warps=WARPS, enable_fp_fusion=True,
    )  # fmt: skip


def _places(table: NDArray[np.float64], nz: int, like: Tensor) -> tuple[Tensor, bool]:
    """Where planes land, (view, z, 5): a, and ``b z + c`` and ``e z + f`` as integer and fraction.

    They are split in float64, so that positions are good to the rounding of ``a x`` alone. Also
    whether rows fall between rows.
    """
    z = np.arange(nz)
    a, b, c, e, f = (table[:, i, None] for i in range(5))
    sample, row = b * z + c, e * z + f
    parts = np.stack(
        [
            np.broadcast_to(a, sample.shape),
            np.floor(sample),
            sample - np.floor(sample),
            np.floor(row),
            row - np.floor(row),
        ],
        axis=-1,
    )
    return torch.from_numpy(parts).to(like), bool(np.any(parts[..., 4]))


@triton.jit
def gather_images(
    images, places, volume, views, rows, samples, nz, ny, nx,
    tilted: tl.constexpr, block_rows: tl.constexpr, block_columns: tl.constexpr,
):  # fmt: skip
    """Sum all views at the voxels of one plane; a program makes a block of them."""
    real = images.dtype.element_ty
    z = tl.program_id(2)
    y = tl.program_id(1) * block_rows + tl.arange(0, block_rows)
    x = tl.program_id(0) * block_columns + tl.arange(0, block_columns)
    total = tl.full((block_rows, block_columns), 0, real)
    image = images  # moved view by view: an index within one never passes 32 bits
    for view in range(views):
        place = places + (view * nz + z) * 5
        position = tl.load(place) * x.to(real) + tl.load(place + 2)
        left = tl.floor(position)
        right_weight = position - left
        sample = left.to(tl.int32) + tl.load(place + 1).to(tl.int32)
        row = y + tl.load(place + 3).to(tl.int32)
        has_left = (sample >= 0) & (sample < samples)
        has_right = (sample >= -1) & (sample < samples - 1)
        has_row = (row >= 0) & (row < rows)
        at = image + row[:, None] * samples + sample[None, :]
        value = tl.load(at, mask=has_row[:, None] & has_left[None, :], other=0.0)
        right = tl.load(at + 1, mask=has_row[:, None] & has_right[None, :], other=0.0)
        value += right_weight[None, :] * (right - value)
        if tilted:
            has_next = (row >= -1) & (row < rows - 1)
            at += samples
            below = tl.load(at, mask=has_next[:, None] & has_left[None, :], other=0.0)
            right = tl.load(at + 1, mask=has_next[:, None] & has_right[None, :], other=0.0)
            below += right_weight[None, :] * (right - below)
            value += tl.load(place + 4) * (below - value)
        total += value
        image += rows * samples
    inside = (y[:, None] < ny) & (x[None, :] < nx)
    tl.store(volume + (z.to(tl.int64) * ny + y[:, None]) * nx + x[None, :], total, mask=inside)


@triton.jit
def gather_voxels(
    images, places, reaches, volume, rows, samples, nz, ny, nx,
    tilted: tl.constexpr, block_rows: tl.constexpr, block_columns: tl.constexpr,
):  # fmt: skip
    """Add all planes to the samples of one view; a program makes a block of them."""
    real = images.dtype.element_ty
    view = tl.program_id(2)
    row = tl.program_id(1) * block_rows + tl.arange(0, block_rows)
    wanted = tl.program_id(0) * block_columns + tl.arange(0, block_columns)
    total = tl.full((block_rows, block_columns), 0, real)
    inverse = tl.load(reaches + 2 * view)
    reach = tl.load(reaches + 2 * view + 1).to(tl.int32)
    plane = volume  # moved plane by plane: an index within one never passes 32 bits
    for z in range(nz):
        place = places + (view * nz + z) * 5
        a = tl.load(place)
        whole = tl.load(place + 1).to(tl.int32)
        fraction = tl.load(place + 2)
        below_weight = tl.load(place + 4)
        distance = (wanted - whole).to(real) - fraction
        first = tl.minimum((distance - 1) * inverse, (distance + 1) * inverse)
        first_x = tl.floor(first).to(tl.int32)
        y = row - tl.load(place + 3).to(tl.int32)
        for step in range(reach):
            x = first_x + step
            # the very expressions of gather_images, so that the weights are the same bits
            position = a * x.to(real) + fraction
            left = tl.floor(position)
            right_weight = position - left
            sample = left.to(tl.int32) + whole
            weight = tl.where(
                sample == wanted, 1 - right_weight, tl.where(sample == wanted - 1, right_weight, 0)
            )
            has_x = (x >= 0) & (x < nx) & (weight != 0)
            at = plane + y[:, None] * nx + x[None, :]
            value = tl.load(at, mask=((y >= 0) & (y < ny))[:, None] & has_x[None, :], other=0.0)
            if tilted:
                has_y = (y >= 1) & (y < ny + 1)
                above = tl.load(at - nx, mask=has_y[:, None] & has_x[None, :], other=0.0)
                value += below_weight * (above - value)
            total += weight[None, :] * value
        plane += ny * nx
    inside = (row[:, None] < rows) & (wanted[None, :] < samples)
    at = images + (view.to(tl.int64) * rows + row[:, None]) * samples + wanted[None, :]
    tl.store(at, tl.load(at, mask=inside, other=0.0) + total, mask=inside)
