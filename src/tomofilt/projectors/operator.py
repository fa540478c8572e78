"""Projection of a volume into aligned images as a linear operator, on numpy arrays and tensors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tomofilt.errors import InputError
from tomofilt.series.geometry import ImageGrid, SliceGeometry, VolumeGrid

if TYPE_CHECKING:
    from torch import Tensor

    from tomofilt.projectors.cpu import SliceProjector

__all__ = ["Operator", "Scene"]

Array = NDArray[np.floating]


class Scene(Protocol):
    """What :meth:`Operator.of` takes: an :class:`~tomofilt.align.frame.AlignedFrame`, say."""

    @property
    def slices(self) -> SliceGeometry:
        """Where the views look."""

    @property
    def volume(self) -> VolumeGrid:
        """The voxels."""

    @property
    def grid(self) -> ImageGrid:
        """The pixels of the images on the tilt axis."""


class Operator:
    """The projection ``A`` of a volume into images whose tilt axis is y; ``A.T`` back-projects.

    ``A(volume)`` and ``A.T(images)`` are exactly transposed: ``<A x, y> = <x, A.T y>`` to
    rounding. Both take numpy arrays or torch tensors, float32 or float64, and return the same kind;
    through tensors gradients flow, and CUDA tensors are worked on where they are.

    Parameters
    ----------
    slices : SliceGeometry
    volume : VolumeGrid
    images : ImageGrid
        Rows are as far apart as voxels.
    first_px, step_px : scalar or (view,)
        Pixel position of the first sample of a row and the spacing of samples, in pixels, when
        rows hold other samples than the pixels (filtered rows of :class:`RowFilter`, say).
    samples : int, optional
        Number of samples of a row; default is the number of pixels.

    Attributes
    ----------
    domain_shape : (z, y, x)
    range_shape : (view, y, sample)

    Raises
    ------
    InputError
        If rows and voxels are not equally spaced.
    """

    def __init__(
        self,
        slices: SliceGeometry,
        volume: VolumeGrid,
        images: ImageGrid,
        *,
        first_px: ArrayLike = 0.0,
        step_px: ArrayLike = 1.0,
        samples: int | None = None,
    ) -> None:
        from tomofilt.projectors.cpu import slice_table

        self.table = slice_table(slices, volume, images, first_px, step_px)
        self.domain_shape = volume.shape
        self.range_shape = (len(self.table), images.shape[0], samples or images.shape[1])

    @classmethod
    def of(cls, scene: Scene) -> Operator:
        """The operator of a frame: from its volume to its images, pixel by pixel."""
        return cls(scene.slices, scene.volume, scene.grid)

    @property
    def T(self) -> Adjoint:  # noqa: N802 - the mathematical name
        """The adjoint: back-projection without a filter."""
        return Adjoint(self)

    @overload
    def __call__(self, volume: Tensor) -> Tensor: ...
    @overload
    def __call__(self, volume: Array) -> Array: ...
    def __call__(self, volume: Tensor | Array) -> Tensor | Array:
        """Project a volume (z, y, x) to images (view, y, sample).

        Raises
        ------
        InputError
            If the volume has another shape.
        """
        _check(volume, self.domain_shape, "a volume")
        if isinstance(volume, np.ndarray):
            return self._projector().forward(volume)
        from tomofilt.projectors.autograd import project

        projected: Tensor = project(volume, self._table_for(volume), self.range_shape)
        return projected

    def adjoint(self, images: Tensor | Array) -> Tensor | Array:
        """Back-project images; what :attr:`T` calls."""
        _check(images, self.range_shape, "images")
        if isinstance(images, np.ndarray):
            return self._projector().adjoint(images)
        from tomofilt.projectors.autograd import backproject

        volume: Tensor = backproject(images, self._table_for(images), self.domain_shape)
        return volume

    def _projector(self) -> SliceProjector:
        from tomofilt.projectors.cpu import SliceProjector

        return SliceProjector(self.table, self.range_shape, self.domain_shape)

    def _table_for(self, values: Tensor) -> Tensor:
        import torch

        return torch.from_numpy(self.table).to(values.device)


class Adjoint:
    """Back-projection: images (view, y, sample) to a volume (z, y, x). Its ``T`` projects."""

    def __init__(self, operator: Operator) -> None:
        self.T = operator
        self.domain_shape, self.range_shape = operator.range_shape, operator.domain_shape

    @overload
    def __call__(self, images: Tensor) -> Tensor: ...
    @overload
    def __call__(self, images: Array) -> Array: ...
    def __call__(self, images: Tensor | Array) -> Tensor | Array:
        """Back-project images (view, y, sample) to a volume (z, y, x).

        Raises
        ------
        InputError
            If the images have another shape.
        """
        return self.T.adjoint(images)


def _check(values: Tensor | Array, expected: tuple[int, int, int], what: str) -> None:
    shape = tuple(values.shape)
    if shape != expected:
        raise InputError(
            f"{what} of shape {shape} given to an operator for {expected}: give the images of the "
            "stack that the operator was made for, or state how their rows are sampled (first_px, "
            "step_px, samples)"
        )
