"""What a projector is: a linear operator between a tomogram and its tilt images."""

from __future__ import annotations

from typing import Any, Protocol

from numpy.typing import NDArray

__all__ = ["Projector"]


class Projector(Protocol):
    """A pair of exactly transposed linear maps, without any length or angle factor.

    The back-projection of an image adds, to every voxel, the image's value where the voxel lands.
    """

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(view, y, x) of the images."""

    @property
    def volume_shape(self) -> tuple[int, int, int]:
        """(z, y, x) of the volume."""

    def adjoint(self, images: NDArray[Any]) -> NDArray[Any]:
        """Back-project: (view, y, x) to (z, y, x), float32 or float64 as given."""

    def forward(self, volume: NDArray[Any]) -> NDArray[Any]:
        """Project: (z, y, x) to (view, y, x), the transpose of :meth:`adjoint`."""
