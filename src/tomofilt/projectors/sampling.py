"""The exact pair in plain torch, on any device: images sampled at voxels, and its transpose.

:func:`sample` gives each voxel the bilinear value of every image where the voxel lands, zero beyond
the outermost pixels: what the CPU projectors compute. :func:`spread` is its transpose, through the
same weights. In float64 the pair passes ``gradcheck``; ASTRA's back-projection is the same
:func:`sample` up to the 8-bit fractions of GPU textures, and its forward projection is the
transpose of neither.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["sample", "spread"]

#: Voxels whose positions in an image are held at a time, 16 bytes each and more.
_VOXELS_AT_ONCE = 2**24


def sample(images: Tensor, maps: NDArray[np.float64], volume_shape: tuple[int, int, int]) -> Tensor:
    """Back-project: (view, y, x) to (z, y, x), the plain sum over the views.

    Parameters
    ----------
    images : Tensor, float32 or float64
    maps : (view, 2, 4)
        From voxel (x, y, z, 1) to (column, row), in indices; see
        :func:`tomofilt.projectors.direct.index_maps`.
    volume_shape : (z, y, x)
    """
    volume = images.new_zeros(volume_shape)
    for view, planes, positions in _positions(images, maps, volume_shape):
        seen = torch.nn.functional.grid_sample(
            images[view, None, None],
            positions,
            mode="bilinear",
            padding_mode="zeros",
            align_corners=False,
        )
        volume[planes] += seen.reshape(volume[planes].shape)
    return volume


def spread(volume: Tensor, maps: NDArray[np.float64], image_shape: tuple[int, int, int]) -> Tensor:
    """Project: (z, y, x) to (view, y, x), the transpose of :func:`sample`."""
    images = volume.new_zeros(image_shape)
    nz, ny, nx = volume.shape
    for view, planes, positions in _positions(images, maps, (nz, ny, nx)):
        # the gradient of grid_sample with respect to its input, by the operator that autograd uses
        image, _ = torch.ops.aten.grid_sampler_2d_backward(
            volume[planes].reshape(1, 1, -1, nx),
            images[view, None, None],
            positions,
            interpolation_mode=0,
            padding_mode=0,
            align_corners=False,
            output_mask=[True, False],
        )
        images[view] += image[0, 0]
    return images


def _positions(
    images: Tensor, maps: NDArray[np.float64], volume_shape: tuple[int, int, int]
) -> Iterator[tuple[int, slice, Tensor]]:
    """Where the voxels of some planes land, (1, planes * y, x, 2), as ``grid_sample`` counts."""
    nz, ny, nx = volume_shape
    z, y, x = (
        torch.arange(n, dtype=torch.float64, device=images.device).reshape(shape)
        for n, shape in ((nz, (-1, 1, 1)), (ny, (-1, 1)), (nx, (-1,)))
    )
    step = max(1, _VOXELS_AT_ONCE // (ny * nx))
    sizes = (images.shape[2], images.shape[1])
    for view, view_map in enumerate(maps.tolist()):
        for start in range(0, nz, step):
            planes = slice(start, min(start + step, nz))
            axes = [
                ((m[0] * x + m[1] * y + m[2] * z[planes] + m[3]) * 2 + 1) / size - 1
                for m, size in zip(view_map, sizes, strict=True)
            ]
            positions = torch.stack(axes, dim=-1).to(images.dtype)
            yield view, planes, positions.reshape(1, -1, nx, 2)
