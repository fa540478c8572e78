"""What training makes small: the difference to the truth, and total variation.

Every term is a mean over elements, in units of the truth's standard deviation, so that its weight
means the same for volumes of any size and scale.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["Loss", "total_variation"]

#: Below this part of a standard deviation, isotropic total variation is rounded off.
_SMOOTH = 1e-4


@dataclass(frozen=True)
class Loss:
    """A data term and up to three of total variation.

    The mean of the tomogram is left out of the data term: filters do not see it, and truths and
    images have different ones.

    Parameters
    ----------
    data : "mse" or "huber"
    huber_delta : float
        Where Huber's loss becomes linear, in standard deviations of the truth.
    tv_volume, tv_filter, tv_projections : float
        Weights of the total variation of the tomogram, of the filter's coefficients, and of the
        filtered images (times the number of views, which gives them a tomogram's scale).
    tv_kind : "anisotropic" or "isotropic"
        Sum of the absolute differences along the axes, or length of the gradient.
    """

    data: Literal["mse", "huber"] = "mse"
    huber_delta: float = 1.0
    tv_volume: float = 0.0
    tv_filter: float = 0.0
    tv_projections: float = 0.0
    tv_kind: Literal["anisotropic", "isotropic"] = "anisotropic"

    @property
    def is_quadratic(self) -> bool:
        """Whether it is a quadratic function of the coefficients."""
        return self.data == "mse" and not (self.tv_volume or self.tv_filter or self.tv_projections)

    def of_volume(
        self, volume: Tensor, rows: int, truth: Tensor, mean: float, truth_std: float, voxels: int
    ) -> tuple[float, float, Tensor, float]:
        """What some rows of a tomogram add to the loss, and its gradient.

        Parameters
        ----------
        volume : (z, >= rows, x)
            Overwritten. The row after the last is only there for the total variation.
        rows : int
        truth : (z, rows, x)
            Without the mean of the whole.
        mean : float
            Of the whole tomogram.
        truth_std : float
        voxels : int
            Of the whole tomogram.

        Returns
        -------
        data, variation : float
        gradient : Tensor
            By the volume.
        mean_gradient : float
            By the mean.
        """
        weight = 1 / (voxels * truth_std**2)
        if self.data == "mse" and not self.tv_volume:
            # without automatic differentiation: each of its steps is one more pass over the volume
            residual = volume.sub_(truth)
            squares = float(torch.dot(residual.reshape(-1), residual.reshape(-1)))
            # summed over the tomogram, this is the square of the difference without means
            data = weight * (squares - volume.numel() * mean**2)
            return data, 0.0, residual.mul_(2 * weight), -2 * weight * volume.numel() * mean
        volume.requires_grad_()
        level = torch.tensor(mean, dtype=volume.dtype, requires_grad=True)
        residual = volume[:, :rows] - level - truth
        if self.data == "mse":
            value = weight * residual.square().sum()
        else:
            value = self._huber(residual / truth_std) / voxels
        variation = value.new_zeros(())
        if self.tv_volume:
            variation = total_variation(volume / truth_std, self.tv_kind, rows)
            variation = variation * (self.tv_volume / voxels)
        by_volume, by_level = torch.autograd.grad(value + variation, (volume, level))
        return float(value.detach()), float(variation.detach()), by_volume, float(by_level)

    def _huber(self, residual: Tensor) -> Tensor:
        delta, size = self.huber_delta, residual.abs()
        return torch.where(size <= delta, size.square(), delta * (2 * size - delta)).sum()

    def of_coefficients(self, coefficients: Tensor) -> Tensor:
        """Weighted total variation of the coefficients (term, nodes)."""
        total = total_variation(coefficients, self.tv_kind)
        return self.tv_filter * total / coefficients.numel()

    def of_projections(self, filtered: Tensor, truth_std: float) -> Tensor:
        """Weighted total variation of filtered images (view, y, x), each for itself."""
        scaled = filtered * (len(filtered) / truth_std)
        total = torch.stack([total_variation(image, self.tv_kind) for image in scaled]).sum()
        return self.tv_projections * total / filtered.numel()


def total_variation(
    values: Tensor, kind: Literal["anisotropic", "isotropic"], rows: int | None = None
) -> Tensor:
    """Sum of the absolute differences, or of the lengths of the gradient, over all axes.

    Parameters
    ----------
    values : Tensor
        Differences beyond the end of an axis are zero.
    kind : "anisotropic" or "isotropic"
    rows : int, optional
        Count differences that begin in the first so many places of the second axis only.
    """
    kept = values if rows is None else values[:, :rows]
    if kind == "anisotropic":
        total = values.new_zeros(())
        for axis in range(values.ndim):
            source = values if axis == 1 else kept
            total = total + source.diff(dim=axis).abs().sum()
        return total
    squares = torch.zeros_like(kept)
    for axis in range(values.ndim):
        source = values if axis == 1 else kept
        step = source.diff(dim=axis).square()
        missing = kept.shape[axis] - step.shape[axis]
        pad = [0, 0] * (values.ndim - 1 - axis) + [0, missing]
        squares = squares + functional.pad(step, pad)
    # rounded at zero, where a length has no gradient
    return (squares + _SMOOTH**2).sqrt().sum() - _SMOOTH * squares.numel()
