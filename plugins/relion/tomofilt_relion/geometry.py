"""RELION's projection geometry, turned into tomofilt's view maps and volume grid, and back.

RELION takes the unbinned voxel p (counted from 0) of a tomogram of N voxels to the pixel (u, v) of
a motion-corrected image of n pixels by ::

    (u, v, depth) = Rz(ZRot) Ry(YTilt) Rx(XTilt) (p - floor(N / 2)) + (floor(n / 2) + shift / a, 0)

where a is the pixel size. The voxel j of a tomogram binned by b lies at p = b j. RELION 4 has the
4 x 4 matrix of that map in rlnTomoProjX, Y, Z and W instead of angles and shifts. Centres, signs
and the order of the rotations were verified with RELION's own programs on synthetic data.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tomofilt.series.geometry import TiltGeometry, VolumeGrid

__all__ = [
    "Alignment",
    "alignment_from_maps",
    "alignment_from_matrices",
    "default_xy",
    "geometry_from_matrices",
    "volume_grid",
]

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Alignment:
    """The alignment columns of a tilt series, one value for each image.

    Parameters
    ----------
    xtilt_deg, ytilt_deg, zrot_deg : (image,)
    shift_px : (image, 2)
        rlnTomoXShiftAngst and rlnTomoYShiftAngst over the pixel size.
    """

    xtilt_deg: FloatArray
    ytilt_deg: FloatArray
    zrot_deg: FloatArray
    shift_px: FloatArray

    def geometry(self, image_shape: tuple[int, int], pixel_angst: float) -> TiltGeometry:
        """View maps of all images, whose size is ``image_shape`` (y, x)."""
        about_middle = self.shift_px + _floor(image_shape) - _middle(image_shape)
        return TiltGeometry.from_angles(
            self.ytilt_deg, self.zrot_deg, self.xtilt_deg, about_middle * pixel_angst
        )


def geometry_from_matrices(
    matrices: FloatArray,
    size_px: tuple[int, int, int],
    image_shape: tuple[int, int],
    pixel_angst: float,
) -> TiltGeometry:
    """View maps of RELION 4's matrices, which may hold a magnification too.

    Parameters
    ----------
    matrices : (image, 4, 4)
        From (x, y, z, 1) in unbinned voxels to (u, v, depth, 1) in pixels.
    size_px : (x, y, z)
        Unbinned size of the tomogram that the matrices refer to.
    image_shape : (y, x)
    pixel_angst : float
    """
    maps = matrices[:, :2].copy()
    maps[:, :, 3] = (_specimen_centre_px(matrices, size_px) - _middle(image_shape)) * pixel_angst
    return TiltGeometry(maps)


def alignment_from_matrices(
    matrices: FloatArray, size_px: tuple[int, int, int], image_shape: tuple[int, int]
) -> Alignment:
    """Angles and shifts of RELION 4's matrices; see :func:`geometry_from_matrices`.

    Notes
    -----
    ``R = Rz Ry Rx``, so that YTilt = asin(-R20), XTilt = atan2(R21, R22), ZRot = atan2(R10, R00).
    Rows are normalised first: a magnification is dropped, as RELION 5 itself does.
    """
    r = matrices[:, :3, :3] / np.linalg.norm(matrices[:, :3, :3], axis=2, keepdims=True)
    return Alignment(
        xtilt_deg=np.degrees(np.arctan2(r[:, 2, 1], r[:, 2, 2])),
        ytilt_deg=np.degrees(np.arcsin(np.clip(-r[:, 2, 0], -1, 1))),
        zrot_deg=np.degrees(np.arctan2(r[:, 1, 0], r[:, 0, 0])),
        shift_px=_specimen_centre_px(matrices, size_px) - _floor(image_shape),
    )


def alignment_from_maps(
    geometry: TiltGeometry, image_shape: tuple[int, int], pixel_angst: float
) -> Alignment:
    """Angles and shifts of view maps about the specimen centre of RELION, floor(N / 2).

    A magnification or stretch is dropped, as by :func:`alignment_from_matrices`.
    """
    maps = geometry.image_from_volume
    matrices = np.zeros((len(maps), 4, 4))
    matrices[:, :2, :3] = maps[:, :, :3]
    matrices[:, 2, :3] = np.cross(maps[:, 0, :3], maps[:, 1, :3])
    matrices[:, :2, 3] = maps[:, :, 3] / pixel_angst + _middle(image_shape)
    return alignment_from_matrices(matrices, (0, 0, 0), image_shape)


def volume_grid(size_px: tuple[int, int, int], pixel_angst: float) -> VolumeGrid:
    """Unbinned voxels of a tomogram of (x, y, z): the specimen centre is at floor(N / 2)."""
    nx, ny, nz = size_px
    return VolumeGrid((nz, ny, nx), pixel_angst, (nz // 2, ny // 2, nx // 2))


def default_xy(image_shape: tuple[int, int], zrot_deg: FloatArray) -> tuple[int, int]:
    """Even size (x, y) of a tomogram that images of a shape (y, x) fill.

    Where the tilt axis lies along the images' x axis, the sides change places.
    """
    ny, nx = (n - n % 2 or n for n in image_shape)
    turned = np.mean(np.sin(np.radians(zrot_deg)) ** 2) > 0.5
    return (ny, nx) if turned else (nx, ny)


def _specimen_centre_px(matrices: FloatArray, size_px: tuple[int, int, int]) -> FloatArray:
    """Pixel (u, v) at which each image shows the specimen centre."""
    centre = np.array([*(n // 2 for n in size_px), 1], dtype=np.float64)
    return np.asarray(matrices[:, :2] @ centre)


def _floor(image_shape: tuple[int, int]) -> FloatArray:
    """Where RELION counts from in an image, (x, y)."""
    return np.array([n // 2 for n in reversed(image_shape)], dtype=np.float64)


def _middle(image_shape: tuple[int, int]) -> FloatArray:
    """Where tomofilt counts from in an image, (x, y)."""
    return np.array([(n - 1) / 2 for n in reversed(image_shape)])
