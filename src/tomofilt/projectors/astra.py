"""Back-projection on a GPU by ASTRA, on torch tensors that are linked without a copy.

ASTRA gives ``(voxel volume / |u x v|) * sum of bilinear samples``, zero beyond the detector, for
detector axes u and v across the ray. :class:`AstraProjector` counts in voxels and multiplies the
images of each view by their pixel area first, so that its adjoint is the plain sum of the CPU
projectors, but for the textures of GPUs: they round the fractions between pixels to 8 bits.

Which pair is exact: ASTRA's forward projection (Joseph's method) is *not* the transpose of its
back-projection; gradients through that pair point the right way but are 18 % off in the upper half
of the frequencies. ``forward`` therefore is :func:`tomofilt.projectors.sampling.spread`, the
transpose of the sampling that ASTRA does, exact up to those 8 bits. In float64 both directions are
:mod:`~tomofilt.projectors.sampling`: exact, slower, and what ``gradcheck`` gets to see.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from typing import Any, TypeAlias, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tomofilt.errors import InputError, ResourceError
from tomofilt.projectors.gpu import require
from tomofilt.projectors.sampling import sample, spread
from tomofilt.projectors.vectors import DetectorVectors, astra_geometries, tomosipo_geometries
from tomofilt.series.geometry import TiltGeometry, VolumeGrid

__all__ = ["AstraProjector", "parity"]

Array = TypeVar("Array", NDArray[Any], Tensor)
AnyArray: TypeAlias = NDArray[Any] | Tensor

#: CUDA arrays, into which ASTRA copies the images, have no longer side.
_LONGEST_SIDE = 16384
#: Part of the free memory that is planned with; the rest is for what the allocators waste.
_SHARE = 0.8
_MEND = "free some of the GPU's memory, use a larger --bin, another GPU, or --device cpu"


class AstraProjector:
    """Back-projection by ASTRA, and its transpose, for one GPU.

    Takes and returns arrays of numpy, or tensors on any device. Volumes that do not fit are made in
    slabs; float64 is computed in float64, without ASTRA.

    Parameters
    ----------
    maps : (view, 2, 4)
        From voxel (x, y, z, 1) to (column, row), in indices: from
        :func:`tomofilt.projectors.direct.index_maps` or
        :func:`tomofilt.projectors.vectors.table_maps`.
    image_shape : (view, y, x)
    volume_shape : (z, y, x)
    device : torch.device or str
        A CUDA device. Nothing is done there before the first call.

    Raises
    ------
    InputError
        If shapes do not go together, or an image is larger than a GPU's textures.
    """

    def __init__(
        self,
        maps: NDArray[np.float64],
        image_shape: tuple[int, int, int],
        volume_shape: tuple[int, int, int],
        device: torch.device | str = "cuda:0",
    ) -> None:
        if maps.shape != (image_shape[0], 2, 4):
            raise InputError(
                f"{image_shape[0]} images need {image_shape[0]} x 2 x 4 maps, not {maps.shape}"
            )
        if max(image_shape) > _LONGEST_SIDE:
            raise InputError(
                f"images of {image_shape} (views, rows, samples) are too large for a GPU, which "
                f"takes {_LONGEST_SIDE} a side: use a larger --bin, --interpolation linear, or "
                "--device cpu"
            )
        self.maps = np.array(maps, dtype=np.float64)
        self.image_shape = image_shape
        self.volume_shape = volume_shape
        self.device = torch.device(device)

    def adjoint(self, images: Array) -> Array:
        """Back-project images (view, y, x) to a volume (z, y, x)."""
        _check_shape(images, self.image_shape, "images")
        volume = _empty_like(images, self.volume_shape)
        if volume.dtype in (np.float64, torch.float64):
            with self.memory_errors():
                _fill(volume, sample(self._upload(images), self.maps, self.volume_shape))
            return volume
        nz, ny, nx = self.volume_shape
        views, _, samples = self.image_shape
        # a row of images is there as it came, in ASTRA's order and in ASTRA's texture
        row_bytes = 4 * (3 * views * samples + nz * nx)
        step = int(np.clip(_SHARE * free_bytes(self.device) // row_bytes, 1, ny))
        for start in range(0, ny, step):
            self.adjoint_rows(images, start, volume[:, start : start + step])
        return volume

    def forward(self, volume: Array) -> Array:
        """Project a volume (z, y, x) to images (view, y, x): the transpose, not ASTRA's forward."""
        _check_shape(volume, self.volume_shape, "volume")
        images = _empty_like(volume, self.image_shape)
        with self.memory_errors():
            _fill(images, spread(self._upload(volume), self.maps, self.image_shape))
        return images

    def adjoint_rows(self, images: AnyArray, y_start: int, volume: AnyArray) -> None:
        """Back-project into rows y_start.. of the volume: float32 (z, rows, x), overwritten."""
        first, stop = self.reach(y_start, volume.shape[1])
        low, high = np.clip([first, stop], 0, self.image_shape[1]).tolist()
        if low == high:
            volume[:] = 0
        else:
            self.adjoint_box(images[:, low:high], low, volume, 0, y_start)

    def adjoint_box(
        self, images: AnyArray, first_row: int, volume: AnyArray, z_start: int, y_start: int
    ) -> None:
        """Back-project a band of the images into a box of the volume.

        Parameters
        ----------
        images : (view, rows, x) float32
            Rows first_row.. of the images; rows elsewhere count as zero.
        first_row : int
        volume : (planes, rows, x) float32
            Planes z_start.. and rows y_start.. of the volume, overwritten.
        z_start, y_start : int

        Raises
        ------
        ResourceError
            If the GPU cannot be used, or ran out of memory again after the box was halved.
        """
        maps = self.maps.copy()
        maps[:, :, 3] += maps[:, :, 1] * y_start
        maps[:, 1, 3] -= first_row
        vectors = DetectorVectors.from_maps(maps, (images.shape[1], images.shape[2]))
        area = np.linalg.norm(np.cross(vectors.u, vectors.v), axis=1)
        with self.memory_errors():
            band = self._upload(images).permute(1, 0, 2)
            # ASTRA divides by the pixel area; contiguous is what it links without a copy
            band = (band * torch.from_numpy(area).to(band)[:, None]).contiguous()
        rows, nx = volume.shape[1:]
        free = _SHARE * free_bytes(self.device) - 4 * band.numel()
        planes = int(np.clip(free // (4 * rows * nx), 1, len(volume)))
        halved = False
        start = 0
        while start < len(volume):
            part = volume[start : start + planes]
            shifted = maps.copy()
            shifted[:, :, 3] += maps[:, :, 2] * (z_start + start)
            if halved:
                torch.cuda.empty_cache()
            try:
                box = _backproject(shifted, band, (len(part), rows, nx))
            except (torch.OutOfMemoryError, _UnfinishedError) as error:
                if halved:
                    raise ResourceError(
                        f"{self.device}: back-projection of {len(part)} x {rows} x {nx} voxels "
                        f"from {band.shape[1]} views failed twice ({error}): {_MEND}"
                    ) from error
                halved, planes = True, max(1, len(part) // 2)
                continue
            _fill(part, box)
            start += len(part)

    def reach(self, y_start: int, rows: int) -> tuple[int, int]:
        """Image rows (first, stop) on which voxels of some rows land; they may not exist."""
        nz, _, nx = self.volume_shape
        ends = ((0, nx - 1), (y_start, y_start + rows - 1), (0, nz - 1), (1,))
        landing = self.maps[:, 1] @ np.array(list(product(*ends)), dtype=np.float64).T
        # the tolerance keeps rounding from asking for a row whose weight is nothing
        return int(np.floor(landing.min() + 1e-6)), int(np.ceil(landing.max() - 1e-6)) + 1

    @contextmanager
    def memory_errors(self) -> Iterator[None]:
        """Say ResourceError, with the mend, where torch runs out of the GPU's memory."""
        try:
            yield
        except torch.OutOfMemoryError as error:
            raise ResourceError(f"{self.device}: {error}: {_MEND}") from error

    def _upload(self, array: AnyArray) -> Tensor:
        if self.device.type == "cuda":
            require(self.device.index or 0)
        given = array.detach() if isinstance(array, Tensor) else torch.from_numpy(array)
        return given.to(self.device)


def parity(gpu: int) -> float:
    """Relative rms by which a small back-projection on a GPU differs from the CPU's.

    Views differ in tilt, magnification and x tilt, so that a wrong axis, sign, centre or scale
    shows.
    """
    rng = np.random.default_rng(0)
    geometry = TiltGeometry.from_angles(
        np.linspace(-60, 50, 7), np.linspace(-20, 90, 7), 5.0, rng.uniform(-2, 2, (7, 2))
    )
    maps = geometry.image_from_volume * np.linspace(0.8, 1.3, 7)[:, None, None]
    volume_shape, image_shape = (11, 24, 17), (7, 26, 31)
    middle = np.array([(n - 1) / 2 for n in volume_shape])[::-1]
    maps[:, :, 3] += np.array([15.0, 12.5]) - maps[:, :, :3] @ middle
    images = rng.normal(size=image_shape).astype(np.float32)
    expected = sample(torch.from_numpy(images), maps, volume_shape).numpy()
    projector = AstraProjector(maps, image_shape, volume_shape, f"cuda:{gpu}")
    difference = projector.adjoint(images) - expected
    return float(np.linalg.norm(difference) / np.linalg.norm(expected))


def free_bytes(device: torch.device) -> int:
    """Memory of a GPU that nothing occupies, torch's own reserves given back first."""
    require(device.index or 0)
    torch.cuda.empty_cache()
    return int(torch.cuda.mem_get_info(device)[0])


class _UnfinishedError(RuntimeError):
    """ASTRA left voxels unwritten, or said that it failed."""


def _backproject(
    maps: NDArray[np.float64], band: Tensor, box_shape: tuple[int, int, int]
) -> Tensor:
    """Run ASTRA on images (row, view, column) of the device that they are on."""
    gpu = band.device.index or 0
    require(gpu)
    import astra

    grid = VolumeGrid.centred(box_shape, 1.0)
    about_middle = maps.copy()
    about_middle[:, :, 3] += maps[:, :, :3] @ np.array(grid.centre)[::-1]
    rows, _, columns = band.shape
    vectors = DetectorVectors.from_maps(about_middle, (rows, columns))
    volume_geometry, projection_geometry = _geometries(vectors, grid, (rows, columns))
    # ASTRA may fail without raising: what it has not written stays NaN
    box = torch.full(box_shape, torch.nan, dtype=torch.float32, device=band.device)
    projector = astra.create_projector(
        "cuda3d", projection_geometry, volume_geometry, {"GPUIndex": gpu}
    )
    # ASTRA works on a stream of its own, which knows nothing of torch's
    torch.cuda.synchronize(band.device)
    try:
        astra.projector3d.direct_BP(projector, band, out=box)
    except astra.log.AstraError as error:
        raise _UnfinishedError(f"ASTRA: {error}") from error
    finally:
        astra.projector3d.delete(projector)
    torch.cuda.synchronize(band.device)
    if torch.isnan(box.sum()):
        raise _UnfinishedError("ASTRA left voxels unwritten")
    return box


def _geometries(
    vectors: DetectorVectors, grid: VolumeGrid, image_shape: tuple[int, int]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """ASTRA's geometries, by way of tomosipo's where it is installed."""
    try:
        volume, projections = tomosipo_geometries(vectors, grid, image_shape)
    except ResourceError:
        return astra_geometries(vectors, grid, image_shape)
    return volume.to_astra(), projections.to_astra()


def _empty_like(array: Array, shape: tuple[int, int, int]) -> Array:
    if isinstance(array, Tensor):
        return array.new_empty(shape)
    return np.empty(shape, dtype=array.dtype)


def _fill(target: AnyArray, values: Tensor) -> None:
    """Copy values from the device to an array or a tensor anywhere."""
    (target if isinstance(target, Tensor) else torch.from_numpy(target)).copy_(values)


def _check_shape(array: AnyArray, expected: tuple[int, int, int], what: str) -> None:
    if tuple(array.shape) != expected:
        raise InputError(
            f"{what} of shape {tuple(array.shape)} given to a projector for {expected}"
        )
