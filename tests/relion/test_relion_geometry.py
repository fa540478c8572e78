"""RELION's geometry against its formulas, written out for a point at a time."""

import numpy as np
import pytest

from tomofilt_relion.geometry import (
    Alignment,
    alignment_from_matrices,
    default_xy,
    geometry_from_matrices,
    volume_grid,
)

PIXEL = 3.5
ALIGNMENT = Alignment(
    xtilt_deg=np.array([2.5, -1.0, 0.0]),
    ytilt_deg=np.array([-57.0, 3.0, 44.0]),
    zrot_deg=np.array([85.3, -12.7, 178.0]),
    shift_px=np.array([[4.2, -3.1], [0.0, 7.7], [-2.0, 1.5]]),
)


def rotation(view):
    """Rz(ZRot) Ry(YTilt) Rx(XTilt), each as RELION has it."""
    x, y, z = np.radians(
        [ALIGNMENT.xtilt_deg[view], ALIGNMENT.ytilt_deg[view], ALIGNMENT.zrot_deg[view]]
    )
    cos, sin = np.cos, np.sin
    rx = np.array([[1, 0, 0], [0, cos(x), -sin(x)], [0, sin(x), cos(x)]])
    ry = np.array([[cos(y), 0, sin(y)], [0, 1, 0], [-sin(y), 0, cos(y)]])
    rz = np.array([[cos(z), -sin(z), 0], [sin(z), cos(z), 0], [0, 0, 1]])
    return rz @ ry @ rx


def relion_pixel(point, view, size_px, image_shape):
    """Pixel (u, v), counted from 0, of an unbinned voxel."""
    centre = [n // 2 for n in size_px]
    image_centre = [n // 2 for n in reversed(image_shape)]
    turned = rotation(view) @ (np.array(point) - centre)
    return turned[:2] + image_centre + ALIGNMENT.shift_px[view]


def matrices(size_px, image_shape):
    """RELION 4's matrices of the same alignment."""
    found = np.tile(np.eye(4), (3, 1, 1))
    for view in range(3):
        found[view, :3, :3] = rotation(view)
        found[view, :2, 3] = relion_pixel((0, 0, 0), view, size_px, image_shape)
    return found


def our_pixel(geometry, grid, point, view, image_shape):
    """Pixel of a voxel of a grid, the way the rest of tomofilt sees it."""
    zc, yc, xc = grid.centre
    about_centre = (np.array(point) - [xc, yc, zc]) * grid.voxel_angst
    detector = geometry.project([about_centre])[view, 0] / PIXEL
    return detector + [(n - 1) / 2 for n in reversed(image_shape)]


@pytest.mark.parametrize("image_shape", [(80, 96), (61, 75), (80, 75)])
@pytest.mark.parametrize("size_px", [(64, 60, 32), (63, 61, 31)])
def test_voxels_land_where_relion_has_them(image_shape, size_px):
    grid = volume_grid(size_px, PIXEL)
    assert grid.shape == size_px[::-1]
    for geometry in (
        ALIGNMENT.geometry(image_shape, PIXEL),
        geometry_from_matrices(matrices(size_px, image_shape), size_px, image_shape, PIXEL),
    ):
        for view in range(3):
            for point in ((0, 0, 0), (20, 11, 7), (40.5, 3.25, 30)):
                expected = relion_pixel(point, view, size_px, image_shape)
                found = our_pixel(geometry, grid, point, view, image_shape)
                assert found == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("binning", [2.0, 2.5, 1.37])
def test_binned_voxels_lie_on_multiples(binning):
    size_px, image_shape = (64, 61, 31), (62, 66)
    grid = volume_grid(size_px, PIXEL).binned(binning, first_voxel_kept=True)
    geometry = ALIGNMENT.geometry(image_shape, PIXEL)
    for point in ((0, 0, 0), (3, 10, 5)):
        expected = relion_pixel(np.multiply(point, binning), 0, size_px, image_shape)
        found = our_pixel(geometry, grid, point, 0, image_shape)
        assert found == pytest.approx(expected, abs=1e-9)


def test_matrices_give_their_angles_and_shifts_back():
    size_px, image_shape = (63, 60, 31), (80, 75)
    found = alignment_from_matrices(matrices(size_px, image_shape), size_px, image_shape)
    assert found.xtilt_deg == pytest.approx(ALIGNMENT.xtilt_deg, abs=1e-9)
    assert found.ytilt_deg == pytest.approx(ALIGNMENT.ytilt_deg, abs=1e-9)
    assert found.zrot_deg == pytest.approx(ALIGNMENT.zrot_deg, abs=1e-9)
    assert found.shift_px == pytest.approx(ALIGNMENT.shift_px, abs=1e-9)


def test_magnified_matrices_keep_their_angles():
    size_px, image_shape = (64, 60, 32), (80, 96)
    magnified = matrices(size_px, image_shape)
    magnified[:, :3, :3] *= 1.02
    found = alignment_from_matrices(magnified, size_px, image_shape)
    assert found.ytilt_deg == pytest.approx(ALIGNMENT.ytilt_deg, abs=1e-9)
    maps = geometry_from_matrices(magnified, size_px, image_shape, PIXEL).image_from_volume
    assert np.linalg.norm(maps[:, :, :3], axis=2) == pytest.approx(np.full((3, 2), 1.02))


@pytest.mark.parametrize(
    ("image_shape", "zrot", "expected"),
    [
        ((80, 96), [-12.7, -12.0], (96, 80)),
        ((80, 96), [85.3, 85.0], (80, 96)),
        ((80, 96), [-94.0, -95.0], (80, 96)),
        ((80, 96), [179.0, -179.0], (96, 80)),
        ((81, 97), [0.0], (96, 80)),
        ((4092, 5760), [84.0], (4092, 5760)),
        ((1, 6), [0.0], (6, 1)),
    ],
)
def test_default_size_is_even_and_turned_with_the_axis(image_shape, zrot, expected):
    assert default_xy(image_shape, np.array(zrot)) == expected
