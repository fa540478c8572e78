"""tomofilt's geometry as tomosipo and ASTRA state it: rays, detector centres, detector axes.

A parallel beam along ``ray`` throws the point p onto the pixel (column, row) of a detector at ::

    centre + (column - (nx - 1) / 2) u + (row - (ny - 1) / 2) v + s ray = p        for some s

With the view map ``(column, row) = B p + q``, u and v are the columns of the pseudo-inverse of B,
``ray`` is the normal of its two rows, and the centre is the pseudo-inverse of B applied to
((nx - 1) / 2, (ny - 1) / 2) - q. The detector so stands across the ray; for a rotation M and pixels
of size px that is u = px M[0], v = px M[1], ray = M[2].

The world is angstrom about the specimen centre; its axes are tomofilt's own x, y, z. Both programs
want projections as (row, view, column): permute an image stack (view, y, x) by (1, 0, 2).
Nothing here needs a GPU, and :func:`to_astra` does not even need ASTRA.

With x tilt in slice geometry, or a magnification that differs with direction, u and v are not
perpendicular to each other. ASTRA, and so tomosipo's operators, take that as it is; only tomosipo's
``project_point`` (0.7.0) does not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomofilt.errors import InputError, ResourceError
from tomofilt.series.geometry import ImageGrid, SliceGeometry, TiltGeometry, VolumeGrid

__all__ = ["DetectorVectors", "table_maps", "to_astra", "to_tomosipo"]

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class DetectorVectors:
    """Parallel beams onto flat detectors, one a view; every vector is (x, y, z).

    Attributes
    ----------
    ray : (view, 3)
        Unit vector along the beam.
    centre : (view, 3)
        Middle of the detector's array of pixels.
    u, v : (view, 3)
        Steps from a pixel to the next column and to the next row.
    """

    ray: FloatArray
    centre: FloatArray
    u: FloatArray
    v: FloatArray

    @classmethod
    def from_maps(cls, maps: FloatArray, image_shape: tuple[int, int]) -> DetectorVectors:
        """Vectors of views that map world points to pixels.

        Parameters
        ----------
        maps : (view, 2, 4)
            From (x, y, z, 1) to (column, row).
        image_shape : (ny, nx)
        """
        ny, nx = image_shape
        inverse: FloatArray = np.linalg.pinv(maps[:, :, :3]).astype(np.float64)
        normal = np.cross(maps[:, 0, :3], maps[:, 1, :3])
        middle = np.array([(nx - 1) / 2, (ny - 1) / 2])
        return cls(
            ray=normal / np.linalg.norm(normal, axis=1, keepdims=True),
            centre=np.einsum("vij,vj->vi", inverse, middle - maps[:, :, 3]),
            u=inverse[:, :, 0],
            v=inverse[:, :, 1],
        )

    @classmethod
    def from_geometry(
        cls, geometry: TiltGeometry | SliceGeometry, images: ImageGrid
    ) -> DetectorVectors:
        """Vectors in angstrom about the specimen centre.

        Parameters
        ----------
        geometry : TiltGeometry or SliceGeometry
            Of the images as they are, or of images warped onto the tilt axis.
        images : ImageGrid

        Raises
        ------
        InputError
            If the alignment is local: its rays are no parallel beam.
        """
        if isinstance(geometry, SliceGeometry):
            maps = np.zeros((len(geometry.a), 2, 4))
            maps[:, 0, 0], maps[:, 0, 2], maps[:, 0, 3] = geometry.a, geometry.b, geometry.u0_angst
            maps[:, 1, 1], maps[:, 1, 2] = 1.0, geometry.e
        elif geometry.local is not None:
            raise InputError(
                "a local alignment bends the rays of a view, which tomosipo and ASTRA cannot "
                "express: leave the local alignment out, or use tomofilt's direct projector"
            )
        else:
            maps = geometry.image_from_volume.copy()
        maps /= np.array(images.pixel_angst)[::-1, None]
        maps[:, :, 3] += np.array(images.centre)[::-1]
        return cls.from_maps(maps, images.shape)


def to_astra(
    geometry: TiltGeometry | SliceGeometry, volume: VolumeGrid, images: ImageGrid
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Volume and projection geometry of ASTRA, in angstrom about the specimen centre.

    Parameters
    ----------
    geometry : TiltGeometry or SliceGeometry
    volume : VolumeGrid
    images : ImageGrid
        Of the images as they are handed over: their size, pixel and centre.

    Returns
    -------
    volume_geometry, projection_geometry : dict
        What ``astra.create_vol_geom`` and ``astra.create_proj_geom("parallel3d_vec", ...)`` return.

    Raises
    ------
    InputError
        If the alignment is local.
    """
    return astra_geometries(DetectorVectors.from_geometry(geometry, images), volume, images.shape)


def to_tomosipo(
    geometry: TiltGeometry | SliceGeometry, volume: VolumeGrid, images: ImageGrid
) -> tuple[Any, Any]:
    """Volume and ``parallel_vec`` geometry of tomosipo, in angstrom about the specimen centre.

    Parameters
    ----------
    geometry, volume, images
        As for :func:`to_astra`.

    Returns
    -------
    volume_geometry, projection_geometry
        For ``tomosipo.operator(volume_geometry, projection_geometry)``.

    Raises
    ------
    InputError
        If the alignment is local.
    ResourceError
        If tomosipo is not installed, or too old for this numpy.
    """
    return tomosipo_geometries(
        DetectorVectors.from_geometry(geometry, images), volume, images.shape
    )


def table_maps(table: NDArray[np.float64]) -> NDArray[np.float64]:
    """Maps (view, 2, 4) in indices from the (view, 5) table of the slice geometry.

    Parameters
    ----------
    table : (view, 5)
        From :func:`tomofilt.projectors.cpu.slice_table`.
    """
    maps = np.zeros((len(table), 2, 4))
    maps[:, 0, 0], maps[:, 0, 2], maps[:, 0, 3] = table[:, :3].T
    maps[:, 1, 1] = 1.0
    maps[:, 1, 2], maps[:, 1, 3] = table[:, 3:].T
    return maps


def astra_geometries(
    vectors: DetectorVectors, volume: VolumeGrid, image_shape: tuple[int, int]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """As :func:`to_astra`, from vectors in the volume's unit of length."""
    nz, ny, nx = volume.shape
    rows, columns = image_shape
    middle, half = _middle_xyz(volume), np.array([nx, ny, nz]) * volume.voxel_angst / 2
    window = {
        f"Window{end}{axis}": float(value)
        for axis, low, high in zip("XYZ", middle - half, middle + half, strict=True)
        for end, value in (("Min", low), ("Max", high))
    }
    return (
        {"GridRowCount": ny, "GridColCount": nx, "GridSliceCount": nz, "option": window},
        {
            "type": "parallel3d_vec",
            "DetectorRowCount": rows,
            "DetectorColCount": columns,
            "Vectors": np.concatenate([vectors.ray, vectors.centre, vectors.u, vectors.v], axis=1),
        },
    )


def tomosipo_geometries(
    vectors: DetectorVectors, volume: VolumeGrid, image_shape: tuple[int, int]
) -> tuple[Any, Any]:
    """As :func:`to_tomosipo`, from vectors in the volume's unit of length."""
    try:
        import tomosipo

        return (
            tomosipo.volume(
                shape=volume.shape,
                pos=tuple(_middle_xyz(volume)[::-1]),
                size=tuple(n * volume.voxel_angst for n in volume.shape),
            ),
            tomosipo.parallel_vec(
                shape=image_shape,
                ray_dir=vectors.ray[:, ::-1],
                det_pos=vectors.centre[:, ::-1],
                det_v=vectors.v[:, ::-1],
                det_u=vectors.u[:, ::-1],
            ),
        )
    except (ImportError, TypeError) as error:  # with numpy 2, versions before 0.7 take no number
        raise ResourceError(
            f"tomosipo cannot be used ({error}): install 0.7 or later with "
            "pip install git+https://github.com/cicwi/tomosipo.git"
        ) from error


def _middle_xyz(volume: VolumeGrid) -> FloatArray:
    """Middle of the array of voxels, in angstrom about the specimen centre."""
    voxels = [(n - 1) / 2 - centre for n, centre in zip(volume.shape, volume.centre, strict=True)]
    return np.array(voxels[::-1]) * volume.voxel_angst
