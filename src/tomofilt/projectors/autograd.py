"""The slice projector as torch operators: differentiable, compilable, batched.

``torch.ops.tomofilt.backproject`` and ``torch.ops.tomofilt.project`` are each other's gradient, to
rounding: on the CPU by the kernels of :mod:`tomofilt.projectors.cpu`, on a GPU by those of
:mod:`tomofilt.projectors.triton_slice`. ASTRA has no part in it: its pair is not exact.
The geometry goes in as a tensor, so that operators hold no Python state.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from tomofilt.projectors.cpu import SliceProjector

if TYPE_CHECKING:
    from tomofilt.projectors.triton_slice import TritonProjector

__all__ = ["backproject", "project"]


@torch.library.custom_op("tomofilt::backproject", mutates_args=(), device_types="cpu")
def backproject(images: Tensor, table: Tensor, volume_shape: Sequence[int]) -> Tensor:
    """Back-project images (view, y, sample) into a volume of shape (z, y, x).

    Parameters
    ----------
    images : Tensor, float32 or float64
    table : (view, 5) float64 Tensor
        From :func:`tomofilt.projectors.cpu.slice_table`; no gradient flows into it.
    volume_shape : (z, y, x)
    """
    operator = _operator(table, images.shape, volume_shape)
    return torch.from_numpy(operator.adjoint(_array(images)))


@torch.library.custom_op("tomofilt::project", mutates_args=(), device_types="cpu")
def project(volume: Tensor, table: Tensor, image_shape: Sequence[int]) -> Tensor:
    """Project a volume (z, y, x) to images of shape (view, y, sample)."""
    operator = _operator(table, image_shape, volume.shape)
    return torch.from_numpy(operator.forward(_array(volume)))


@backproject.register_kernel("cuda")
def _(images: Tensor, table: Tensor, volume_shape: Sequence[int]) -> Tensor:
    return _on_gpu(table, images.shape, volume_shape, images.device).adjoint(images)


@project.register_kernel("cuda")
def _(volume: Tensor, table: Tensor, image_shape: Sequence[int]) -> Tensor:
    return _on_gpu(table, image_shape, volume.shape, volume.device).forward(volume)


def _on_gpu(
    table: Tensor, image_shape: Sequence[int], volume_shape: Sequence[int], device: torch.device
) -> TritonProjector:
    from tomofilt.projectors.triton_slice import TritonProjector

    views, rows, samples = image_shape
    nz, ny, nx = volume_shape
    values = table.detach().cpu().numpy()
    return TritonProjector(values, (views, rows, samples), (nz, ny, nx), device)


def _operator(
    table: Tensor, image_shape: Sequence[int], volume_shape: Sequence[int]
) -> SliceProjector:
    views, rows, samples = image_shape
    nz, ny, nx = volume_shape
    return SliceProjector(table.detach().numpy(), (views, rows, samples), (nz, ny, nx))


def _array(tensor: Tensor) -> np.ndarray[Any, Any]:
    return np.ascontiguousarray(tensor.detach().numpy())


@backproject.register_fake
def _(images: Tensor, table: Tensor, volume_shape: Sequence[int]) -> Tensor:
    return images.new_empty(tuple(volume_shape))


@project.register_fake
def _(volume: Tensor, table: Tensor, image_shape: Sequence[int]) -> Tensor:
    return volume.new_empty(tuple(image_shape))


def _keep(ctx: Any, inputs: tuple[Tensor, Tensor, Sequence[int]], output: Tensor) -> None:
    given, table, _ = inputs
    ctx.save_for_backward(table)
    ctx.shape = tuple(given.shape)


def _backproject_gradient(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
    return project(gradient, ctx.saved_tensors[0], ctx.shape), None, None


def _project_gradient(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
    return backproject(gradient, ctx.saved_tensors[0], ctx.shape), None, None


backproject.register_autograd(_backproject_gradient, setup_context=_keep)
project.register_autograd(_project_gradient, setup_context=_keep)


def _batched(operator: Any) -> Any:
    def rule(
        info: Any, in_dims: tuple[int | None, ...], given: Tensor, table: Tensor, shape: Any
    ) -> tuple[Tensor, int]:
        if in_dims[1] is not None:
            raise NotImplementedError("batches of geometries: loop over them")
        pieces = given.movedim(in_dims[0] or 0, 0)
        return torch.stack([operator(piece, table, shape) for piece in pieces]), 0

    return rule


torch.library.register_vmap(backproject, _batched(backproject))
torch.library.register_vmap(project, _batched(project))
