"""What every projector on a GPU shares: boxes that fit into its memory, and errors with a mend."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import product
from typing import Any, TypeAlias, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tomofilt.errors import InputError, ResourceError

__all__ = [
    "DeviceProjector",
    "UnfinishedError",
    "as_tensor",
    "check_shape",
    "device_errors",
    "empty_like",
    "free_bytes",
    "on_device",
]

Array = TypeVar("Array", NDArray[Any], Tensor)
AnyArray: TypeAlias = NDArray[Any] | Tensor
Shape: TypeAlias = tuple[int, int, int]

#: Part of the free memory that is planned with; the rest is for what the allocators waste.
_SHARE = 0.8
_MEND = "free some of the GPU's memory, use a larger --bin, another GPU, or --device cpu"
#: torch before 2.8 has no name of its own for what goes wrong on a GPU beside its memory.
_AcceleratorError: type[Exception] = getattr(torch, "AcceleratorError", torch.OutOfMemoryError)


class UnfinishedError(RuntimeError):
    """A back-projection failed and can be tried again with a smaller box."""


class DeviceProjector(ABC):
    """Back-projection, and its transpose, on one GPU.

    Takes and returns arrays of numpy, or tensors on any device.

    Parameters
    ----------
    maps : (view, 2, 4)
        From voxel (x, y, z, 1) to (column, row), in indices: from
        :func:`tomofilt.projectors.direct.index_maps` or
        :func:`tomofilt.projectors.vectors.table_maps`.
    image_shape : (view, y, x)
    volume_shape : (z, y, x)
    device : torch.device or str
        A GPU. Nothing is done there before the first call.

    Raises
    ------
    InputError
        If shapes do not go together.
    """

    #: Copies of the images that a back-projection holds on the GPU at a time.
    image_copies = 1

    def __init__(
        self,
        maps: NDArray[np.float64],
        image_shape: Shape,
        volume_shape: Shape,
        device: torch.device | str = "cuda:0",
    ) -> None:
        if maps.shape != (image_shape[0], 2, 4):
            raise InputError(
                f"{image_shape[0]} images need {image_shape[0]} x 2 x 4 maps, not {maps.shape}"
            )
        self.maps = np.array(maps, dtype=np.float64)
        self.image_shape = image_shape
        self.volume_shape = volume_shape
        self.device = torch.device(device)
        self._most_planes = volume_shape[0]

    @abstractmethod
    def forward(self, volume: Array) -> Array:
        """Project a volume (z, y, x) to images (view, y, x): the transpose of :meth:`adjoint`."""

    @abstractmethod
    def require(self) -> None:
        """Raise ResourceError where this projector cannot be called on its GPU."""

    @abstractmethod
    def prepare(self, images: Tensor) -> Tensor:
        """Bring a band of images, already on the GPU, into the order that boxes are made from."""

    @abstractmethod
    def make_box(
        self, band: Tensor, first_row: int, start: tuple[int, int], shape: Shape
    ) -> Tensor:
        """Back-project what :meth:`prepare` returned into the box that starts at (z, y)."""

    def adjoint(self, images: Array) -> Array:
        """Back-project images (view, y, x) to a volume (z, y, x)."""
        check_shape(images, self.image_shape, "images")
        volume = empty_like(images, self.volume_shape)
        nz, ny, nx = self.volume_shape
        views, _, samples = self.image_shape
        # a row of images is there as it came, and in the copies that boxes are made from
        row_bytes = volume.itemsize * ((1 + self.image_copies) * views * samples + 2 * nz * nx)
        self.require()
        step = int(np.clip(_SHARE * free_bytes(self.device) // row_bytes, 1, ny))
        for start in range(0, ny, step):
            self.adjoint_rows(images, start, volume[:, start : start + step])
        return volume

    def adjoint_rows(self, images: AnyArray, y_start: int, volume: AnyArray) -> None:
        """Back-project into rows y_start.. of the volume (z, rows, x), overwritten."""
        first, stop = self.reach(y_start, volume.shape[1])
        low, high = np.clip([first, stop], 0, self.image_shape[1]).tolist()
        if low == high:
            volume[:] = 0
            return
        with device_errors(self.device):
            boxes = self.boxes(self.upload(images[:, low:high]), low, y_start, volume.shape[1])
            for z, box in boxes:
                as_tensor(volume[z : z + len(box)]).copy_(box)

    def boxes(
        self, images: Tensor, first_row: int, y_start: int, rows: int
    ) -> Iterator[tuple[int, Tensor]]:
        """Back-project a band of the images into all planes of some rows, box by box.

        Memory is planned for two boxes, so that one may be copied while the next is made.

        Parameters
        ----------
        images : (view, rows, x) Tensor on the GPU
            Rows first_row.. of the images; rows elsewhere count as zero.
        first_row, y_start, rows : int

        Yields
        ------
        z_start : int
        box : (planes, rows, x) Tensor on the GPU

        Raises
        ------
        ResourceError
            If the GPU ran out of memory again after the box was halved.
        """
        nz, _, nx = self.volume_shape
        with on_device(self.device):
            band = self.prepare(images)
            del images  # its memory is free for boxes where nobody else holds it
            plane_bytes = 2 * rows * nx * band.itemsize
            # the first copy is in place by now
            free = _SHARE * free_bytes(self.device) - (self.image_copies - 1) * band.nbytes
            planes = int(np.clip(free // plane_bytes, 1, self._most_planes))
            z, halved = 0, False
            while z < nz:
                shape = (min(planes, nz - z), rows, nx)
                try:
                    box = self.make_box(band, first_row, (z, y_start), shape)
                except (torch.OutOfMemoryError, UnfinishedError) as error:
                    if halved:
                        raise ResourceError(
                            f"{self.device}: back-projection of {shape[0]} x {rows} x {nx} voxels "
                            f"from {self.image_shape[0]} views failed twice ({error}): {_MEND}"
                        ) from error
                    halved = True
                    planes = self._most_planes = max(1, shape[0] // 2)
                    torch.cuda.empty_cache()
                    continue
                yield z, box
                z += len(box)

    def reach(self, y_start: int, rows: int) -> tuple[int, int]:
        """Image rows (first, stop) on which voxels of some rows land; they may not exist."""
        nz, _, nx = self.volume_shape
        ends = ((0, nx - 1), (y_start, y_start + rows - 1), (0, nz - 1), (1,))
        landing = self.maps[:, 1] @ np.array(list(product(*ends)), dtype=np.float64).T
        # the tolerance keeps rounding from asking for a row whose weight is nothing
        return int(np.floor(landing.min() + 1e-6)), int(np.ceil(landing.max() - 1e-6)) + 1

    def upload(self, array: AnyArray) -> Tensor:
        """The array as a tensor on the GPU, without gradient."""
        self.require()
        return as_tensor(array).to(self.device)


@contextmanager
def device_errors(device: torch.device) -> Iterator[None]:
    """Say ResourceError, with the mend, where a GPU fails or its memory does not suffice."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise ResourceError(f"{device}: {error}: {_MEND}") from error
    except _AcceleratorError as error:
        raise ResourceError(f"{device} failed: {error}: use another GPU or --device cpu") from error


def on_device(device: torch.device) -> AbstractContextManager[Any]:
    """Make a GPU the current one: torch exports no tensor of another to ASTRA or Triton."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


def free_bytes(device: torch.device) -> int:
    """Memory of a GPU that nothing occupies, what torch keeps in reserve included."""
    reserve = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(torch.cuda.mem_get_info(device)[0]) + reserve


def as_tensor(array: AnyArray) -> Tensor:
    """A tensor on the same memory, without gradient."""
    return array.detach() if isinstance(array, Tensor) else torch.from_numpy(array)


def empty_like(array: Array, shape: Shape) -> Array:
    """An array of another shape, of the same kind, type and place."""
    if isinstance(array, Tensor):
        return array.new_empty(shape)
    return np.empty(shape, dtype=array.dtype)


def check_shape(array: AnyArray, expected: Shape, what: str) -> None:
    """Raise InputError where an array is not of the projector's shape."""
    if tuple(array.shape) != expected:
        raise InputError(
            f"{what} of shape {tuple(array.shape)} given to a projector for {expected}"
        )
