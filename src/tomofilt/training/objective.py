"""The loss of a filter on one series and its gradient, a slab of rows at a time.

Only filtered images and one slab of the tomogram are held, whatever the size of the tomogram.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tomofilt.training.losses import Loss
from tomofilt.training.model import FilteredBackProjection

__all__ = ["Value", "backward", "reconstruct"]

Float32 = NDArray[np.float32]

#: Rows of a slab: what the projector works on together.
_ROWS = 128
_NOTHING = torch.zeros(())


@dataclass(frozen=True)
class Value:
    """A loss: its data term, and the sum of all terms."""

    data: float
    total: float


def backward(
    model: FilteredBackProjection, coefficients: Tensor, loss: Loss, *, with_truth: bool = True
) -> Value:
    """Evaluate a loss, and add its gradient to that of whatever the coefficients came from.

    Parameters
    ----------
    model : FilteredBackProjection
    coefficients : Tensor
        With a gradient, or made from tensors that have one.
    loss : Loss
    with_truth : bool
        False: as if the truth were zero, for products with the normal matrix.
    """
    filtered = model.filter(coefficients)
    mean = (model.mean_response * coefficients).sum()
    gradient = torch.empty_like(filtered)
    ny, scale = filtered.shape[1], model.truth_std
    # the variation along y needs the first row of the next slab
    halo = 1 if loss.tv_volume else 0
    data = total = by_mean = 0.0
    for start in range(0, ny, _ROWS - halo):
        rows = min(_ROWS - halo, ny - start)
        stop = min(start + rows + halo, ny)
        volume = model.backproject(filtered.detach()[:, start:stop])
        truth = model.truth[:, start : start + rows] if with_truth else _NOTHING
        value, variation, by_volume, down = loss.of_volume(
            volume, rows, truth, float(mean.detach()), scale, model.truth.numel()
        )
        part = model.project(by_volume)
        if start and halo:
            part[:, 0] += gradient[:, start]
        gradient[:, start:stop] = part
        data += value
        total += value + variation
        by_mean += down
    outputs, gradients = [filtered, mean], [gradient, torch.full_like(mean, by_mean)]
    if loss.tv_filter or loss.tv_projections:
        extra = loss.of_coefficients(coefficients) + loss.of_projections(filtered, scale)
        total += float(extra.detach())
        outputs.append(extra)
        gradients.append(torch.ones_like(extra))
    torch.autograd.backward(outputs, gradients)
    return Value(data, total)


def reconstruct(model: FilteredBackProjection, coefficients: Tensor) -> Float32:
    """The tomogram of some coefficients: (z, y, x) float32."""
    with torch.no_grad():
        volume: Float32 = model(coefficients).numpy().astype(np.float32, copy=False)
    return volume
