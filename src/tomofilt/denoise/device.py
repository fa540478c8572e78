"""A head at work on a GPU: what ``gates`` and ``kernel`` do for a tomogram, by torch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tomofilt.denoise.bands import CoarseBands
from tomofilt.denoise.gates import FLOOR, SMOOTHING_PX, averages
from tomofilt.denoise.head import FIRST_GATED, Head
from tomofilt.denoise.kernel import spline_weights
from tomofilt.projectors.device import device_errors

__all__ = ["DeviceHead"]

Float32 = NDArray[np.float32]
#: Planes of a block that are made at a time.
_PLANES = 16


class DeviceHead:
    """A head, with its weights for one tomogram, on a GPU.

    Parameters
    ----------
    head : Head
    coarse : sequence of two CoarseBands
        Of the tomogram.
    device : torch.device or str

    Raises
    ------
    ResourceError
        If the memory of the GPU does not suffice.
    """

    def __init__(
        self, head: Head, coarse: Sequence[CoarseBands], device: torch.device | str
    ) -> None:
        self._device, self._grids = torch.device(device), coarse
        with device_errors(self._device):
            low, high = (self._tensor(each.values) for each in coarse)
            self._limit = self._tensor(head.largest[FIRST_GATED:])[:, None, None, None]
            self._low_bands = len(low)
            weights = self._gate_weights(head, low, high)
            self._values = torch.cat([low, weights]), high

    def apply(self, block: Float32, z_start: int, y_start: int) -> Float32:
        """A block (planes, rows, x) denoised; see :func:`tomofilt.denoise.kernel.apply_head`."""
        out = np.empty_like(block)
        planes, rows, width = block.shape
        with device_errors(self._device):
            along, across = (
                [self._splines(grid, axis, start, count) for grid in self._grids]
                for axis, start, count in ((1, y_start, rows), (2, 0, width))
            )
            lines = [each @ values for each, values in zip(along, self._values, strict=True)]
            for z in range(0, planes, _PLANES):
                part = block[z : z + _PLANES]
                down = [self._splines(grid, 0, z_start + z, len(part)) for grid in self._grids]
                low, high = (
                    torch.einsum("pz,czyx,wx->cpyw", *each)
                    for each in zip(down, lines, across, strict=True)
                )
                weights, bands = low[self._low_bands :], torch.cat([low[: self._low_bands], high])
                whole = self._tensor(part)
                gated = torch.cat([bands[FIRST_GATED:], (whole - bands.sum(0))[None]])
                # a weight of 1 changes nothing, nor is what the limits cut off changed
                change = (weights - 1) * torch.clamp(gated, -self._limit, self._limit)
                out[z : z + _PLANES] = (whole + change.sum(0)).cpu().numpy()
        return out

    def _gate_weights(self, head: Head, low: Tensor, high: Tensor) -> Tensor:
        """B-spline coefficients of the weights; see :func:`tomofilt.denoise.gates.gate_weights`."""
        deviation, most = (
            self._tensor(values.astype(np.float32))[:, None, None, None]
            for values in (head.deviation, head.limit)
        )
        n = self._low_bands
        inside = self._contracted(low, [_at_nodes(size) for size in low.shape[1:]]) / deviation[:n]
        inputs = [torch.clamp(inside, -most[:n], most[:n])]
        for band, sigma_px in enumerate(SMOOTHING_PX, start=1):
            values, grid = (low[band], 0) if band < n else (high[band - n], 1)
            energy = torch.minimum((values / deviation[band]).square(), most[band].square())
            matrices = averages(sigma_px, self._grids[grid], self._grids[0])
            inputs.append(torch.log(self._contracted(energy[None], matrices) + FLOOR))
        # the network is small, and there is one of it
        weights = self._tensor(head.weights(torch.cat(inputs).cpu().numpy()))
        return self._contracted(weights, [_coefficients(size) for size in low.shape[1:]])

    def _splines(self, grid: CoarseBands, axis: int, start: int, count: int) -> Tensor:
        """Matrix along one axis from B-spline coefficients to ``count`` voxels from ``start``.

        Nearly empty, but on a CPU torch multiplies by it eight times as fast as it picks values.
        """
        first, weight = spline_weights(start + np.arange(count), grid.first_px[axis], grid.step_px)
        matrix = np.zeros((count, grid.values.shape[axis + 1]), dtype=np.float32)
        np.put_along_axis(matrix, first[:, None] + np.arange(4), weight, axis=1)
        return self._tensor(matrix)

    def _contracted(self, values: Tensor, matrices: Iterable[Float32]) -> Tensor:
        """Multiply (channel, z, y, x) by a matrix along each axis."""
        for matrix in matrices:
            values = torch.tensordot(values, self._tensor(matrix), ([1], [1]))
        return values

    def _tensor(self, array: NDArray[np.generic]) -> Tensor:
        return torch.tensor(array, device=self._device)


def _at_nodes(size: int) -> Float32:
    """Matrix from coefficients of cubic B-splines to their values, the ends repeated."""
    matrix = (np.eye(size, k=-1) + 4 * np.eye(size) + np.eye(size, k=1)) / 6
    matrix[0, 0] += 1 / 6
    matrix[-1, -1] += 1 / 6
    return matrix.astype(np.float32)


def _coefficients(size: int) -> Float32:
    """Matrix from values at nodes to coefficients of cubic B-splines that are mirrored there."""
    matrix = (np.eye(size, k=-1) + 4 * np.eye(size) + np.eye(size, k=1)) / 6
    matrix[0, 1] = matrix[-1, -2] = 2 / 6
    return np.asarray(np.linalg.inv(matrix), dtype=np.float32)
