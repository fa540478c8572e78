"""Projections of a specimen by cubic splines, for full view maps.

This is not the projector that reconstructions use, and it shares no code with it. The ray of each
pixel steps from plane to plane of the volume, along z or x, whichever is closer to the ray's
direction. In each plane the density is interpolated from the voxels by cubic B-splines (Joseph,
IEEE Trans. Med. Imaging 1, 192, 1982, with splines instead of linear interpolation). With these
steps no frequency that the voxels can represent is aliased along the ray.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tomofilt.errors import InputError
from tomofilt.series.geometry import ImageGrid, TiltGeometry, VolumeGrid
from tomofilt.util.jit import kernel
from tomofilt.util.threads import available_threads, run_all

__all__ = ["extent_angst", "project"]

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

#: Width of the border of zeros around a plane, so that rays may leave it on any side.
_PAD = 8
#: Images are computed in tiles of this edge, so that the voxels of a tile stay in the cache.
_TILE = 64


def project(
    density: Float32,
    volume: VolumeGrid,
    geometry: TiltGeometry,
    images: ImageGrid,
    *,
    threads: int | None = None,
) -> Float32:
    """Line integrals through a volume, which is empty outside its voxels.

    Parameters
    ----------
    density : (z, y, x) float32
    volume : VolumeGrid
    geometry : TiltGeometry
        A local alignment in it is ignored.
    images : ImageGrid
        The images. Their pixels must not be larger than the voxels: they would alias.
    threads : int, optional

    Returns
    -------
    (view, y, x) float32
        Density times path length; the unit of length is the images' pixel size (along x).

    Raises
    ------
    InputError
        A view looks along y.
    """
    if density.shape != volume.shape:
        raise InputError(
            f"the densities have {density.shape} voxels (z, y, x), the volume {volume.shape}"
        )
    views = len(geometry)
    out = np.zeros((views, *images.shape), np.float32)
    directions = _directions(geometry)
    along_x = np.abs(directions[:, 0]) > np.abs(directions[:, 2])
    if np.any(np.abs(directions[:, 1]) > np.abs(directions[:, [0, 2]]).max(axis=1)):
        raise InputError("a view looks along y rather than across it: check its angles")
    threads = threads or available_threads()
    for stepping_in_x in (False, True):
        chosen = np.flatnonzero(along_x == stepping_in_x)
        if not chosen.size:
            continue
        # planes of constant z hold (y, x); planes of constant x hold (z, y)
        order = (2, 0, 1) if stepping_in_x else (0, 1, 2)
        axes = [2 - axis for axis in order]  # numbers of the axes in vectors (x, y, z)
        planes = _spline_planes(density.transpose(order), threads)
        centre = np.array([volume.centre[axis] for axis in order])
        tables = [
            _table(geometry.image_from_volume[view], directions[view], axes, volume, centre, images)
            for view in chosen
        ]
        tiles = [
            (i, y, x)
            for i in range(len(chosen))
            for y in range(0, images.shape[0], _TILE)
            for x in range(0, images.shape[1], _TILE)
        ]

        def one(
            tile: tuple[int, int, int],
            planes: Float32 = planes,
            tables: list[Float64] = tables,
            chosen: NDArray[np.intp] = chosen,
        ) -> None:
            i, y, x = tile
            part = out[chosen[i], y : y + _TILE, x : x + _TILE]
            _integrate(planes, tables[i], y, x, part)

        run_all(threads, one, tiles)
    return out


def extent_angst(
    geometry: TiltGeometry, images: ImageGrid, thickness_angst: float
) -> tuple[float, float]:
    """Half width in x and y, from the specimen centre, of the part of a slab that the images show.

    Parameters
    ----------
    geometry : TiltGeometry
    images : ImageGrid
    thickness_angst : float
        Of the slab.
    """
    (ny, nx), (yc, xc) = images.shape, images.centre
    corners = np.array(
        [
            [(x - xc) * images.pixel_angst[1], (y - yc) * images.pixel_angst[0]]
            for y in (-0.5, ny - 0.5)
            for x in (-0.5, nx - 0.5)
        ]
    )
    reach = np.zeros(2)
    for view in geometry.image_from_volume:
        for z in (-thickness_angst / 2, thickness_angst / 2):
            on_slab = np.linalg.solve(view[:, :2], (corners - view[:, 3] - view[:, 2] * z).T)
            reach = np.maximum(reach, np.abs(on_slab).max(axis=1))
    return float(reach[0]), float(reach[1])


def _directions(geometry: TiltGeometry) -> Float64:
    """Unit vectors (x, y, z) along which the images look."""
    across = np.cross(geometry.image_from_volume[:, 0, :3], geometry.image_from_volume[:, 1, :3])
    return np.asarray(across / np.linalg.norm(across, axis=1, keepdims=True))


def _spline_planes(density: Float32, threads: int) -> Float32:
    """Planes of B-spline coefficients, with zeros around each."""
    from scipy.ndimage import spline_filter1d

    n, rows, columns = density.shape
    planes = np.zeros((n, rows + 2 * _PAD, columns + 2 * _PAD), np.float32)

    def one(plane: int) -> None:
        planes[plane, _PAD:-_PAD, _PAD:-_PAD] = density[plane]
        for axis in (0, 1):
            planes[plane] = spline_filter1d(planes[plane], axis=axis, output=np.float32)

    run_all(threads, one, range(n))
    return planes


def _table(
    view: Float64,
    direction: Float64,
    axes: list[int],
    volume: VolumeGrid,
    centre: Float64,
    images: ImageGrid,
) -> Float64:
    """Where a view's rays meet the planes, in index units.

    Parameters
    ----------
    view : (2, 4)
    direction : (3,)
    axes : [step, row, column]
        Which component of (x, y, z) counts the planes, and which the rows and columns in them.
    centre : (3,)
        Specimen centre in the same order, in voxels.

    Returns
    -------
    (3, 4) array: ``row = t[0] . (1, pixel y, pixel x, plane)``, ``column = t[1] . (...)`` in the
    padded planes; ``t[2, 0]`` is the path length from plane to plane in pixels.
    """
    step, row, column = axes
    voxel = volume.voxel_angst
    inverse = np.linalg.inv(view[:, [row, column]])
    # angstrom from indices: detector = D (1, y, x), step coordinate = voxel (plane - centre)
    detector = np.zeros((2, 4))
    detector[0, [0, 2]] = -images.centre[1] * images.pixel_angst[1], images.pixel_angst[1]
    detector[1, [0, 1]] = -images.centre[0] * images.pixel_angst[0], images.pixel_angst[0]
    detector[:, 0] += -view[:, 3] + view[:, step] * voxel * centre[0]
    detector[:, 3] = -view[:, step] * voxel
    table = np.zeros((3, 4))
    table[:2] = inverse @ detector / voxel
    table[:2, 0] += centre[1:] + _PAD
    table[2, 0] = voxel / abs(direction[step]) / images.pixel_angst[1]
    return table


@kernel
def _weights(t: np.float32) -> tuple[np.float32, np.float32, np.float32, np.float32]:
    """Cubic B-spline at t + 1, t, 1 - t, 2 - t."""
    s = np.float32(1) - t
    sixth = np.float32(1 / 6)
    return (
        s * s * s * sixth,
        np.float32(2 / 3) - t * t * (np.float32(1) - np.float32(0.5) * t),
        np.float32(2 / 3) - s * s * (np.float32(1) - np.float32(0.5) * s),
        t * t * t * sixth,
    )


@kernel
def _misses(row: Float64, k: int, y_first: int, x_first: int, ny: int, nx: int, size: int) -> bool:
    """Whether a whole tile is outside a plane, along one of its axes."""
    at = row[0] + row[3] * k + row[1] * y_first + row[2] * x_first
    spread_y, spread_x = row[1] * (ny - 1), row[2] * (nx - 1)
    low = at + min(spread_y, 0.0) + min(spread_x, 0.0)
    high = at + max(spread_y, 0.0) + max(spread_x, 0.0)
    return bool(high < 1.0 or low >= size - 2.0)


@kernel
def _integrate(planes: Float32, table: Float64, y_first: int, x_first: int, out: Float32) -> None:
    """Add up all planes along the rays of a tile, which starts at a pixel (y, x) of the image."""
    count, rows, columns = planes.shape
    ny, nx = out.shape
    length = np.float32(table[2, 0])
    for k in range(count):
        if _misses(table[0], k, y_first, x_first, ny, nx, rows) or _misses(
            table[1], k, y_first, x_first, ny, nx, columns
        ):
            continue
        plane = planes[k]
        for j in range(ny):
            r0 = table[0, 0] + table[0, 1] * (y_first + j) + table[0, 3] * k
            c0 = table[1, 0] + table[1, 1] * (y_first + j) + table[1, 3] * k
            for i in range(nx):
                r = r0 + table[0, 2] * (x_first + i)
                c = c0 + table[1, 2] * (x_first + i)
                if r < 1.0 or c < 1.0 or r >= rows - 2.0 or c >= columns - 2.0:
                    continue
                r_low, c_low = np.int64(r), np.int64(c)
                a0, a1, a2, a3 = _weights(np.float32(r - r_low))
                b0, b1, b2, b3 = _weights(np.float32(c - c_low))
                p0, p1 = plane[r_low - 1], plane[r_low]
                p2, p3 = plane[r_low + 1], plane[r_low + 2]
                m = c_low - 1
                out[j, i] += length * (
                    a0 * (b0 * p0[m] + b1 * p0[m + 1] + b2 * p0[m + 2] + b3 * p0[m + 3])
                    + a1 * (b0 * p1[m] + b1 * p1[m + 1] + b2 * p1[m + 2] + b3 * p1[m + 3])
                    + a2 * (b0 * p2[m] + b1 * p2[m + 1] + b2 * p2[m + 2] + b3 * p2[m + 3])
                    + a3 * (b0 * p3[m] + b1 * p3[m + 1] + b2 * p3[m + 2] + b3 * p3[m + 3])
                )
