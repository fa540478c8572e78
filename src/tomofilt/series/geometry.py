"""Where every image of a tilt series looks: frozen values in one convention.

Conventions (docs/conventions.md has the whole page):

* Arrays are (z, y, x) and (view, y, x); vectors in formulas are (x, y, z).
* Lengths are angstrom and angles degrees at every public boundary.
* A view is one affine map, ``image_from_volume`` (2 x 4): it takes a point ``(x, y, z, 1)`` in
  angstrom about the specimen centre to a detector point ``(x, y)`` in angstrom about the image
  centre. The centre of an axis of n pixels is (n - 1) / 2.
* For plain angles the map is the upper two rows of ``Rz(rotation) Ry(tilt) Rx(xtilt)`` plus a
  shift; right-handed, so that ``x_image = x cos(tilt) + z sin(tilt)`` for an upright tilt axis.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tomofilt.errors import InputError

__all__ = ["ImageGrid", "LocalGeometry", "SliceGeometry", "TiltGeometry", "VolumeGrid"]

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class VolumeGrid:
    """The voxels of a tomogram.

    Parameters
    ----------
    shape : (nz, ny, nx)
        Number of voxels.
    voxel_angst : float
        Edge of a voxel in angstrom, the same on all axes.
    centre : (z, y, x)
        Voxel index, in general not an integer, of the specimen centre.
    """

    shape: tuple[int, int, int]
    voxel_angst: float
    centre: tuple[float, float, float]

    def __post_init__(self) -> None:
        if min(self.shape) < 1:
            raise InputError(f"a volume of {self.shape} voxels (z, y, x) is empty")
        if not self.voxel_angst > 0:
            raise InputError(f"a voxel size of {self.voxel_angst} A is not positive")

    @classmethod
    def centred(cls, shape: tuple[int, int, int], voxel_angst: float) -> VolumeGrid:
        """Grid whose middle, (n - 1) / 2 on each axis, is the specimen centre."""
        nz, ny, nx = shape
        return cls(shape, voxel_angst, ((nz - 1) / 2, (ny - 1) / 2, (nx - 1) / 2))

    def resized(self, shape: tuple[int, int, int]) -> VolumeGrid:
        """A box of another size about the same middle."""
        z, y, x = (
            centre + (new - old) / 2
            for centre, new, old in zip(self.centre, shape, self.shape, strict=True)
        )
        return VolumeGrid(shape, self.voxel_angst, (z, y, x))

    def binned(self, factor: float, *, first_voxel_kept: bool = False) -> VolumeGrid:
        """The same box in voxels ``factor`` times larger.

        Parameters
        ----------
        factor : float
        first_voxel_kept : bool
            False: the middle of the box stays the middle, and sizes are rounded down (IMOD). True:
            the centre of the first voxel stays where it is, so that binned voxel j is at unbinned
            ``factor * j``; y and x are rounded, z is rounded down (RELION).
        """
        half = 0.5 if first_voxel_kept else 1e-6
        nz, ny, nx = (n / factor for n in self.shape)
        shape = (max(1, int(nz + 1e-6)), max(1, int(ny + half)), max(1, int(nx + half)))
        if first_voxel_kept:
            zc, yc, xc = (c / factor for c in self.centre)
        else:
            zc, yc, xc = (
                (new - 1) / 2 + (c - (old - 1) / 2) / factor
                for c, new, old in zip(self.centre, shape, self.shape, strict=True)
            )
        return VolumeGrid(shape, self.voxel_angst * factor, (zc, yc, xc))


@dataclass(frozen=True)
class ImageGrid:
    """The pixels of an image.

    Parameters
    ----------
    shape : (ny, nx)
        Number of pixels.
    pixel_angst : (y, x)
        Pixel spacing in angstrom; the two differ by a hair after a Fourier crop.
    centre : (y, x)
        Pixel index of the image centre, the origin of detector coordinates.
    """

    shape: tuple[int, int]
    pixel_angst: tuple[float, float]
    centre: tuple[float, float]

    @classmethod
    def centred(cls, shape: tuple[int, int], pixel_angst: float) -> ImageGrid:
        """Square pixels, with the centre at (n - 1) / 2."""
        ny, nx = shape
        return cls(shape, (pixel_angst, pixel_angst), ((ny - 1) / 2, (nx - 1) / 2))


@dataclass(frozen=True, eq=False)
class SliceGeometry:
    """What is left of a tilt geometry once each image is warped to the common tilt axis.

    A point (x, y, z) of the volume, in angstrom about the specimen centre, lands in the warped
    image at ``u = a x + b z + u0`` and ``v = y + e z``, in angstrom about the image centre.
    Arrays have one value a view; ``e`` is zero without x tilt.
    """

    a: FloatArray
    b: FloatArray
    u0_angst: FloatArray
    e: FloatArray

    @property
    def tilt_deg(self) -> FloatArray:
        """Direction of the central slice of each view in the x-z plane, degrees."""
        return np.asarray(np.degrees(np.arctan2(self.b, self.a)))

    @property
    def scale(self) -> FloatArray:
        """Magnification of each view across the tilt axis."""
        return np.hypot(self.a, self.b)

    @property
    def has_xtilt(self) -> bool:
        """Whether some view needs rows beside a voxel's own (e != 0)."""
        return bool(np.any(self.e != 0.0))

    def select(self, views: ArrayLike) -> SliceGeometry:
        """The same geometry for some views (indices or a mask)."""
        index = np.asarray(views)
        return SliceGeometry(self.a[index], self.b[index], self.u0_angst[index], self.e[index])


@dataclass(frozen=True, eq=False)
class LocalGeometry:
    """View maps that vary over the specimen (IMOD local alignment).

    The map at a voxel column (x, y) is interpolated bilinearly between the maps of the four
    surrounding patches, and taken from the nearest edge patch outside the lattice.

    Parameters
    ----------
    x_angst, y_angst : (nx_patch,), (ny_patch,)
        Ascending patch positions about the specimen centre.
    image_from_volume : (view, ny_patch, nx_patch, 2, 4)
        One map a view and patch.
    """

    x_angst: FloatArray
    y_angst: FloatArray
    image_from_volume: FloatArray

    def maps_at(self, x_angst: FloatArray, y_angst: FloatArray) -> FloatArray:
        """Maps (view, point, 2, 4) of the columns of points (x, y)."""
        (i, s), (j, t) = _between(self.x_angst, x_angst), _between(self.y_angst, y_angst)
        maps = self.image_from_volume
        s, t = s[:, None, None], t[:, None, None]
        rows = [(1 - s) * maps[:, row, i[0]] + s * maps[:, row, i[1]] for row in j]
        return np.asarray((1 - t) * rows[0] + t * rows[1])


@dataclass(frozen=True, eq=False)
class TiltGeometry:
    """The view maps of a tilt series.

    Parameters
    ----------
    image_from_volume : (view, 2, 4)
        See the module's conventions. Made read-only.
    local : LocalGeometry, optional
        Position-dependent maps that replace ``image_from_volume`` when sampling.
    """

    image_from_volume: FloatArray
    local: LocalGeometry | None = None

    def __post_init__(self) -> None:
        maps = np.array(self.image_from_volume, dtype=np.float64)
        if maps.ndim != 3 or maps.shape[1:] != (2, 4):
            raise InputError(f"view maps have shape {maps.shape}; expected (views, 2, 4)")
        if not np.isfinite(maps).all():
            raise InputError("a view map holds NaN or infinity: check the alignment files")
        maps.setflags(write=False)
        object.__setattr__(self, "image_from_volume", maps)

    def __len__(self) -> int:
        return len(self.image_from_volume)

    def __repr__(self) -> str:
        maps = np.array2string(self.image_from_volume, separator=", ", threshold=2**31)
        return f"TiltGeometry(np.array({' '.join(maps.split())}))"

    @classmethod
    def from_angles(
        cls,
        tilt_deg: ArrayLike,
        rotation_deg: ArrayLike = 0.0,
        xtilt_deg: ArrayLike = 0.0,
        shift_angst: ArrayLike = (0.0, 0.0),
    ) -> TiltGeometry:
        """View maps from angles: ``Rz(rotation) Ry(tilt) Rx(xtilt)`` and a detector shift.

        Parameters
        ----------
        tilt_deg : (view,)
            Rotation about the tilt axis.
        rotation_deg, xtilt_deg : scalar or (view,)
            In-plane rotation of the tilt axis away from y, and tilt about x (applied first).
        shift_angst : (2,) or (view, 2)
            Shift (x, y) on the detector, after the rotations.
        """
        tilt = np.radians(np.atleast_1d(np.asarray(tilt_deg, dtype=np.float64)))
        rotation = np.radians(np.broadcast_to(np.asarray(rotation_deg, float), tilt.shape))
        xtilt = np.radians(np.broadcast_to(np.asarray(xtilt_deg, float), tilt.shape))
        matrix = rotation_z(rotation) @ rotation_y(tilt) @ rotation_x(xtilt)
        shift = np.broadcast_to(np.asarray(shift_angst, float), (len(tilt), 2))
        return cls(np.concatenate([matrix[:, :2], shift[:, :, None]], axis=2))

    def select(self, views: ArrayLike) -> TiltGeometry:
        """The same geometry for some views (indices or a mask)."""
        index = np.asarray(views)
        local = self.local
        if local is not None:
            local = replace(local, image_from_volume=local.image_from_volume[index])
        return TiltGeometry(self.image_from_volume[index], local)

    def in_aligned_frame(self, image_from_aligned: FloatArray) -> TiltGeometry:
        """Maps to warped images, from the maps to the images themselves and their warps.

        Parameters
        ----------
        image_from_aligned : (view, 2, 3)
            From :meth:`factor`.
        """
        inverse = np.linalg.inv(image_from_aligned[:, :, :2])

        def warped(maps: FloatArray) -> FloatArray:
            axes = (len(maps), *(1,) * (maps.ndim - 3))
            moved = maps.copy()
            moved[..., 3] -= image_from_aligned[:, :, 2].reshape(*axes, 2)
            return np.asarray(inverse.reshape(*axes, 2, 2) @ moved)

        local = self.local
        if local is not None:
            local = replace(local, image_from_volume=warped(local.image_from_volume))
        return TiltGeometry(warped(self.image_from_volume), local)

    def project(self, points_angst: ArrayLike) -> FloatArray:
        """Detector positions (view, point, 2) of specimen points (point, 3), both (x, y[, z])."""
        points = np.asarray(points_angst, dtype=np.float64)
        maps = self.image_from_volume
        return np.asarray(np.einsum("vij,pj->vpi", maps[:, :, :3], points) + maps[:, None, :, 3])

    def factor(self) -> tuple[FloatArray, SliceGeometry]:
        """Split each view, exactly, into an in-plane warp and a slice geometry.

        With the columns m_x, m_y, m_z, t of the view map, the warp's columns are the unit vector
        along m_x and m_y itself, so that ``image = warp @ (u, v, 1)`` with
        ``u = a x + b z + u0`` and ``v = y + e z``. A shift along u is part of the warp where images
        have to be warped anyway; it stays in the slice geometry (u0) when no image is rotated,
        scaled or sheared in its plane.

        Returns
        -------
        image_from_aligned : (view, 2, 3)
            The warp, in angstrom: detector position from aligned position (u, v, 1).
        slices : SliceGeometry
        """
        maps = self.image_from_volume
        m_x, m_y, m_z, shift = (maps[:, :, i] for i in range(4))
        a = np.hypot(m_x[:, 0], m_x[:, 1])
        across = np.where(
            a[:, None] > 0, m_x / np.where(a > 0, a, 1.0)[:, None], _perpendicular(m_y)
        )
        plane = np.stack([across, m_y], axis=2)
        if np.any(np.abs(np.linalg.det(plane)) < 1e-6):
            raise InputError(
                "a view looks along the tilt axis, so that it has no slice geometry: "
                "check its tilt and x-tilt angles"
            )
        inverse = np.linalg.inv(plane)
        b, e = np.moveaxis(np.einsum("vij,vj->vi", inverse, m_z), 1, 0)
        u0, v0 = np.moveaxis(np.einsum("vij,vj->vi", inverse, shift), 1, 0)
        e = np.where(np.abs(e) < 1e-9, 0.0, e)
        moved = m_y * v0[:, None]
        if not np.allclose(plane, np.eye(2), atol=1e-6):
            moved = moved + across * u0[:, None]
            u0 = np.zeros_like(u0)
        warp = np.concatenate([plane, moved[:, :, None]], axis=2)
        return warp, SliceGeometry(a, b, u0, e)


def _between(
    positions: FloatArray, values: FloatArray
) -> tuple[tuple[NDArray[np.intp], NDArray[np.intp]], FloatArray]:
    """Indices of the positions on either side of each value, and how far it is between them."""
    last = len(positions) - 1
    place = np.interp(values, positions, np.arange(last + 1))
    low = np.minimum(place.astype(np.intp), max(last - 1, 0))
    return (low, np.minimum(low + 1, last)), place - low


def rotation_x(angle_rad: ArrayLike) -> FloatArray:
    """Right-handed rotation matrices about x, shape (..., 3, 3)."""
    return _rotation(angle_rad, 1, 2)


def rotation_y(angle_rad: ArrayLike) -> FloatArray:
    """Right-handed rotation matrices about y, shape (..., 3, 3)."""
    return _rotation(angle_rad, 2, 0)


def rotation_z(angle_rad: ArrayLike) -> FloatArray:
    """Right-handed rotation matrices about z, shape (..., 3, 3)."""
    return _rotation(angle_rad, 0, 1)


def _rotation(angle_rad: ArrayLike, i: int, j: int) -> FloatArray:
    angle = np.asarray(angle_rad, dtype=np.float64)
    matrix = np.zeros((*angle.shape, 3, 3))
    matrix[..., [0, 1, 2], [0, 1, 2]] = 1.0
    matrix[..., i, i] = matrix[..., j, j] = np.cos(angle)
    matrix[..., j, i] = np.sin(angle)
    matrix[..., i, j] = -np.sin(angle)
    return matrix


def _perpendicular(vector: FloatArray) -> FloatArray:
    turned = np.stack([vector[:, 1], -vector[:, 0]], axis=1)
    return np.asarray(turned / np.linalg.norm(turned, axis=1, keepdims=True))
