"""The reference projector: images sampled bilinearly through their full view maps.

No resampling beforehand and no packing: slow and simple. The fast projector is tested against it,
and it is what handles maps that vary over the specimen (IMOD local alignment).
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tomofilt.errors import InputError
from tomofilt.series.geometry import ImageGrid, LocalGeometry, TiltGeometry, VolumeGrid
from tomofilt.util.jit import kernel
from tomofilt.util.threads import available_threads, run_all

__all__ = ["DirectProjector", "bracket", "column_map", "index_maps", "local_maps"]

Array: TypeAlias = NDArray[Any]


def index_maps(
    image_from_volume: NDArray[np.float64],
    volume: VolumeGrid,
    images: ImageGrid,
    first_px: float = 0.0,
    step_px: float = 1.0,
) -> NDArray[np.float64]:
    """View maps (..., 2, 4) from angstrom to indices: (x, y, z) voxel to (column, row).

    ``first_px`` and ``step_px`` tell how rows are sampled, as in
    :func:`tomofilt.projectors.cpu.slice_table`.
    """
    maps = np.array(image_from_volume, dtype=np.float64)
    zc, yc, xc = volume.centre
    maps[..., :3] *= volume.voxel_angst
    maps[..., 3] -= maps[..., :3] @ np.array([xc, yc, zc])
    maps[..., 0, :] /= images.pixel_angst[1]
    maps[..., 1, :] /= images.pixel_angst[0]
    maps[..., 0, 3] += images.centre[1] - first_px
    maps[..., 1, 3] += images.centre[0]
    maps[..., 0, :] /= step_px
    return maps


def local_maps(geometry: TiltGeometry) -> LocalGeometry:
    """Maps of all places: of one place when the alignment is global."""
    return geometry.local or LocalGeometry(
        np.zeros(1), np.zeros(1), geometry.image_from_volume[:, None, None]
    )


class DirectProjector:
    """Back-projection and projection through 2 x 4 view maps (exactly transposed).

    Parameters
    ----------
    geometry : TiltGeometry
    volume : VolumeGrid
    images : ImageGrid
        Of the images as handed over, ``shape`` included.
    first_px, step_px : float
        How rows are sampled.
    threads : int, optional
    """

    def __init__(
        self,
        geometry: TiltGeometry,
        volume: VolumeGrid,
        images: ImageGrid,
        *,
        first_px: float = 0.0,
        step_px: float = 1.0,
        threads: int | None = None,
    ) -> None:
        local = local_maps(geometry)
        self.maps = index_maps(local.image_from_volume, volume, images, first_px, step_px)
        self.patch_x = local.x_angst / volume.voxel_angst + volume.centre[2]
        self.patch_y = local.y_angst / volume.voxel_angst + volume.centre[1]
        self.volume_shape = volume.shape
        self.image_shape = (len(geometry), *images.shape)
        self.threads = threads or available_threads()

    def adjoint(self, images: NDArray[Any]) -> NDArray[Any]:
        """Back-project images (view, y, x) to a volume (z, y, x)."""
        volume = np.empty(self.volume_shape, dtype=images.dtype)
        self.adjoint_rows(images, 0, volume)
        return volume

    def adjoint_rows(
        self, images: NDArray[Any], y_start: int, volume: NDArray[Any], *, mean: bool = False
    ) -> None:
        """Back-project into rows y_start.. of the volume: (z, rows, x), overwritten.

        With ``mean``, every voxel is the mean over the views that see it, as RELION normalises its
        unweighted tomograms, instead of the sum over all: a view sees a voxel that lands at
        0 <= column < nx and 0 <= row < ny, and its last column and row go on behind themselves.
        """
        if images.shape != self.image_shape:
            raise InputError(
                f"images of shape {images.shape} given to a projector for {self.image_shape}"
            )
        work = _mean_row if mean else _adjoint_row
        run_all(
            self.threads,
            lambda row: work(
                images, self.maps, self.patch_x, self.patch_y, float(y_start + row), volume[:, row]
            ),
            range(volume.shape[1]),
        )

    def forward(self, volume: NDArray[Any]) -> NDArray[Any]:
        """Project a volume (z, y, x) to images (view, y, x)."""
        if volume.shape != self.volume_shape:
            raise InputError(
                f"volume of shape {volume.shape} given to a projector for {self.volume_shape}"
            )
        images = np.zeros(self.image_shape, dtype=volume.dtype)
        run_all(
            self.threads,
            lambda view: _forward_view(
                volume, self.maps[view], self.patch_x, self.patch_y, images[view]
            ),
            range(len(images)),
        )
        return images


@kernel
def bracket(positions: Array, value: float) -> tuple[int, float]:
    """Index of the patch at or before a value, and the fraction of the way to the next one."""
    last = len(positions) - 1
    if last == 0 or value <= positions[0]:
        return 0, 0.0
    if value >= positions[last]:
        return last - 1, 1.0
    index = int(np.searchsorted(positions, value, side="right")) - 1
    return index, (value - positions[index]) / (positions[index + 1] - positions[index])


@kernel
def column_map(
    maps: Array, patch_x: Array, patch_y: Array, x: float, y: float, line: Array
) -> None:
    """Where the voxel column (x, y) goes in one view: line = (u at z = 0, du, v at z = 0, dv)."""
    i, s = bracket(patch_x, x)
    j, t = bracket(patch_y, y)
    line[:] = 0.0
    for dj in range(2):
        for di in range(2):
            weight = (s if di else 1 - s) * (t if dj else 1 - t)
            if weight == 0.0:
                continue
            m = maps[j + dj, i + di]
            line[0] += weight * (m[0, 0] * x + m[0, 1] * y + m[0, 3])
            line[1] += weight * m[0, 2]
            line[2] += weight * (m[1, 0] * x + m[1, 1] * y + m[1, 3])
            line[3] += weight * m[1, 2]


@kernel
def _adjoint_row(
    images: Array, maps: Array, patch_x: Array, patch_y: Array, y: float, volume: Array
) -> None:
    """One row of voxels, volume (z, x)."""
    views, ny, nx = images.shape
    line = np.empty(4)
    volume[:] = 0
    for x in range(volume.shape[1]):
        for view in range(views):
            column_map(maps[view], patch_x, patch_y, float(x), y, line)
            image = images[view]
            for z in range(volume.shape[0]):
                u = line[0] + line[1] * z
                v = line[2] + line[3] * z
                if u <= -1 or v <= -1 or u >= nx or v >= ny:
                    continue
                column, row = int(np.floor(u)), int(np.floor(v))
                s, t = u - column, v - row
                for dj in range(2):
                    for di in range(2):
                        if 0 <= column + di < nx and 0 <= row + dj < ny:
                            weight = (s if di else 1 - s) * (t if dj else 1 - t)
                            volume[z, x] += weight * image[row + dj, column + di]


@kernel
def _mean_row(
    images: Array, maps: Array, patch_x: Array, patch_y: Array, y: float, volume: Array
) -> None:
    """One row of voxels, volume (z, x): the mean over the views that see each voxel."""
    views, ny, nx = images.shape
    planes, width = volume.shape
    line, lines = np.empty(4), np.empty((4, width))
    places, parts = np.empty((3, width), np.int32), np.empty((2, width))
    count = np.zeros(volume.shape, np.int32)
    volume[:] = 0
    for view in range(views):
        for x in range(width):
            column_map(maps[view], patch_x, patch_y, float(x), y, line)
            lines[:, x] = line
        pixels = images[view].reshape(-1)
        for z in range(planes):
            _places_seen(lines, z, nx, ny, places, parts)
            for x in range(width):
                if places[0, x] < 0:
                    continue
                # unsigned: no index counts from the end
                first, right = np.uint64(places[0, x]), np.uint64(places[1, x])
                below = first + np.uint64(places[2, x])
                s, t = parts[0, x], parts[1, x]
                volume[z, x] += (1 - t) * ((1 - s) * pixels[first] + s * pixels[first + right]) + (
                    t * ((1 - s) * pixels[below] + s * pixels[below + right])
                )
                count[z, x] += 1
    for z in range(planes):
        for x in range(width):
            volume[z, x] /= max(count[z, x], 1)


@kernel
def _places_seen(lines: Array, z: int, nx: int, ny: int, places: Array, parts: Array) -> None:
    """Where the voxels of a row in plane z fall in an image, without branches, for vectors.

    ``lines`` is (4, x), from :func:`column_map`. ``places`` (3, x) receives the pixel before in
    both directions, as an index into the flat image, or -1 where the voxel is not seen; and how far
    on the next ones are, along x and along y. ``parts`` (2, x) is how far beyond it the voxel is.
    """
    for x in range(lines.shape[1]):
        u = lines[0, x] + lines[1, x] * z
        v = lines[2, x] + lines[3, x] * z
        is_seen = (u >= 0) & (u < nx) & (v >= 0) & (v < ny)
        u = u if is_seen else 0.0
        v = v if is_seen else 0.0
        column, row = np.int32(u), np.int32(v)
        places[0, x] = row * np.int32(nx) + column if is_seen else np.int32(-1)
        places[1, x] = np.int32(1) if column + 1 < nx else np.int32(0)
        places[2, x] = np.int32(nx) if row + 1 < ny else np.int32(0)
        parts[0, x], parts[1, x] = u - column, v - row


@kernel
def _forward_view(volume: Array, maps: Array, patch_x: Array, patch_y: Array, image: Array) -> None:
    """Transpose of :func:`_adjoint_row` for one view and all rows."""
    ny, nx = image.shape
    line = np.empty(4)
    for y in range(volume.shape[1]):
        for x in range(volume.shape[2]):
            column_map(maps, patch_x, patch_y, float(x), float(y), line)
            for z in range(volume.shape[0]):
                u = line[0] + line[1] * z
                v = line[2] + line[3] * z
                if u <= -1 or v <= -1 or u >= nx or v >= ny:
                    continue
                column, row = int(np.floor(u)), int(np.floor(v))
                s, t = u - column, v - row
                for dj in range(2):
                    for di in range(2):
                        if 0 <= column + di < nx and 0 <= row + dj < ny:
                            weight = (s if di else 1 - s) * (t if dj else 1 - t)
                            image[row + dj, column + di] += weight * volume[z, y, x]
