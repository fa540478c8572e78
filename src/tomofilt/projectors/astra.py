"""Back-projection on a GPU by ASTRA, on torch tensors that are linked without a copy.

ASTRA gives ``(voxel volume / |u x v|) * sum of bilinear samples``, zero beyond the detector, for
detector axes u and v across the ray. :class:`AstraProjector` counts in voxels and multiplies the
images of each view by their pixel area first, so that its adjoint is the plain sum of the CPU
projectors, but for the textures of GPUs: they round the weights of pixels to 8 bits.

ASTRA 2.5.0 can leave zeros behind where its memory did not suffice, or stop between views, and say
nothing. So each box has one plane more than is wanted, and each run one view more, the last, which
throws a large value onto that plane alone: a run counts only if the plane has received it.

Which pair is exact: ASTRA's forward projection (Joseph's method) is *not* the transpose of its
back-projection; gradients through that pair point the right way but are 19 % off in the upper half
of the frequencies (docs/gpu.md). ``forward`` therefore is
:func:`tomofilt.projectors.sampling.spread`, the transpose of the sampling that ASTRA does, exact up
to those 8 bits. In float64 both directions are :mod:`~tomofilt.projectors.sampling`: exact, slower,
and what ``gradcheck`` gets to see.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tomofilt.errors import InputError, ResourceError
from tomofilt.projectors.device import (
    Array,
    DeviceProjector,
    Shape,
    UnfinishedError,
    as_tensor,
    check_shape,
    device_errors,
    empty_like,
)
from tomofilt.projectors.gpu import require
from tomofilt.projectors.sampling import sample, spread
from tomofilt.projectors.vectors import DetectorVectors, astra_geometries, tomosipo_geometries
from tomofilt.series.geometry import VolumeGrid

__all__ = ["AstraProjector"]

#: CUDA arrays, into which ASTRA copies the images, have no longer side.
_LONGEST_SIDE = 16384


class AstraProjector(DeviceProjector):
    """Back-projection by ASTRA; float64 is computed in float64, without ASTRA.

    Parameters
    ----------
    maps, image_shape, volume_shape, device
        See :class:`~tomofilt.projectors.device.DeviceProjector`; an NVIDIA GPU.

    Raises
    ------
    InputError
        If shapes do not go together, or an image is larger than a GPU's textures.
    """

    image_copies = 2  # in ASTRA's order and in ASTRA's texture

    def __init__(
        self,
        maps: NDArray[np.float64],
        image_shape: Shape,
        volume_shape: Shape,
        device: torch.device | str = "cuda:0",
    ) -> None:
        super().__init__(maps, image_shape, volume_shape, device)
        if max(image_shape) >= _LONGEST_SIDE:
            raise InputError(
                f"images of {image_shape} (views, rows, samples) are too large for ASTRA, which "
                f"takes less than {_LONGEST_SIDE} a side: use a larger --bin, --interpolation "
                "linear, --projector triton, or --device cpu"
            )

    def require(self) -> None:
        """Raise ResourceError where ASTRA would kill the process."""
        if self.device.type == "cuda":
            require(self.device.index or 0)

    def adjoint(self, images: Array) -> Array:
        """Back-project images (view, y, x) to a volume (z, y, x)."""
        if images.dtype not in (np.float64, torch.float64):
            return super().adjoint(images)
        check_shape(images, self.image_shape, "images")
        volume = empty_like(images, self.volume_shape)
        with device_errors(self.device):
            as_tensor(volume).copy_(sample(self.upload(images), self.maps, self.volume_shape))
        return volume

    def forward(self, volume: Array) -> Array:
        """Project a volume (z, y, x) to images (view, y, x): the transpose, not ASTRA's forward."""
        check_shape(volume, self.volume_shape, "volume")
        images = empty_like(volume, self.image_shape)
        with device_errors(self.device):
            as_tensor(images).copy_(spread(self.upload(volume), self.maps, self.image_shape))
        return images

    def prepare(self, images: Tensor) -> Tensor:
        """Images (view, y, x) in ASTRA's order (y, view, x), and the view that shows a failure."""
        areas = _pixel_areas(np.concatenate([self.maps, self._probe(images.shape[2], 0)]))
        weights = torch.from_numpy(areas).to(images)[:, None]
        band = images.new_zeros((images.shape[1], len(areas), images.shape[2]))
        # ASTRA divides by the area of a pixel
        torch.mul(images.permute(1, 0, 2), weights[:-1], out=band[:, :-1])
        # no sum over the views comes near this value
        low, high = torch.aminmax(images)
        band[0, -1] = weights[-1] * (1 + 4 * len(images) * torch.maximum(-low, high))
        return band

    def make_box(
        self, band: Tensor, first_row: int, start: tuple[int, int], shape: Shape
    ) -> Tensor:
        """Run ASTRA on a band of images, and see that it has done what it was asked."""
        maps = self.maps.copy()
        maps[:, :, 3] += maps[:, :, 1] * start[1] + maps[:, :, 2] * start[0]
        maps[:, 1, 3] -= first_row
        probe = self._probe(band.shape[2], shape[0])
        self.require()
        box = _backproject(np.concatenate([maps, probe]), band, (shape[0] + 1, *shape[1:]))
        known = band[0, -1, 0] / float(_pixel_areas(probe)[0])
        if bool(box[-1].min() < known / 2):
            raise UnfinishedError("ASTRA left voxels unwritten")
        return box[:-1]

    def _probe(self, columns: int, plane: int) -> NDArray[np.float64]:
        """Map of a view along y, whose row 0 is what one plane of a box sees; others see none."""
        probe = np.zeros((1, 2, 4))
        # all voxels of the plane fall into the row, which may be as short as one pixel
        probe[0, 0, 0] = max(columns - 1, 0.1) / max(self.volume_shape[2] - 1, 1)
        probe[0, 1, 2:] = 2.0, -2.0 * plane
        return probe


def _pixel_areas(maps: NDArray[np.float64]) -> NDArray[np.float64]:
    """Area of a pixel across the ray, in voxel faces, for each view."""
    vectors = DetectorVectors.from_maps(maps, (1, 1))
    return np.asarray(np.linalg.norm(np.cross(vectors.u, vectors.v), axis=1))


def _backproject(maps: NDArray[np.float64], band: Tensor, box_shape: Shape) -> Tensor:
    """Run ASTRA on images (row, view, column) of the device that they are on, the current one."""
    import astra
    import astra.experimental

    grid = VolumeGrid.centred(box_shape, 1.0)
    about_middle = maps.copy()
    about_middle[:, :, 3] += maps[:, :, :3] @ np.array(grid.centre)[::-1]
    rows, _, columns = band.shape
    vectors = DetectorVectors.from_maps(about_middle, (rows, columns))
    volume_geometry, projection_geometry = _geometries(vectors, grid, (rows, columns))
    box = torch.zeros(box_shape, dtype=torch.float32, device=band.device)
    if band.device.type == "cuda":
        # ASTRA works on a stream of its own, which knows nothing of torch's; it is done when it
        # returns
        torch.cuda.current_stream(band.device).synchronize()
    projector = astra.create_projector("cuda3d", projection_geometry, volume_geometry)
    linked = []
    try:
        linked.append(astra.data3d.link("-vol", volume_geometry, box))
        linked.append(astra.data3d.link("-sino", projection_geometry, band))
        # direct_BP forgets to raise (ASTRA 2.5.0); this call does not
        astra.experimental.do_composite_BP(projector, linked[:1], linked[1:])
    except astra.log.AstraError as error:
        raise UnfinishedError(f"ASTRA: {error}") from error
    finally:
        astra.data3d.delete(linked)
        astra.projector3d.delete(projector)
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
