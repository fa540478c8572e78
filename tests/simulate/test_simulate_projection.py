"""The simulator's projector: where things land, and how much arrives."""

import numpy as np
import pytest

from tomofilt.errors import InputError
from tomofilt.series.geometry import ImageGrid, TiltGeometry, VolumeGrid
from tomofilt.simulate.projection import extent_angst, project

TILTS = np.array([-75.0, -60.0, -44.0, -10.0, 0.0, 30.0, 46.0, 60.0])


def blob(grid, place_angst, sigma_px):
    z, y, x = np.indices(grid.shape)
    cz, cy, cx = np.array(grid.centre) + np.array(place_angst[::-1]) / grid.voxel_angst
    distance2 = (z - cz) ** 2 + (y - cy) ** 2 + (x - cx) ** 2
    return np.exp(-distance2 / (2 * sigma_px**2)).astype(np.float32)


def tilted(rotation_deg=84.0, xtilt_deg=2.0):
    shifts = np.random.default_rng(0).uniform(-20, 20, (len(TILTS), 2))
    return TiltGeometry.from_angles(TILTS, rotation_deg, xtilt_deg, shifts)


@pytest.mark.parametrize(
    ("volume_shape", "image_shape"), [((40, 70, 90), (64, 65)), ((41, 71, 91), (65, 64))]
)
@pytest.mark.parametrize("pixel_angst", [10.0, 8.0])
def test_blobs_land_where_the_view_maps_say(volume_shape, image_shape, pixel_angst):
    grid = VolumeGrid.centred(volume_shape, 10.0)
    images = ImageGrid.centred(image_shape, pixel_angst)
    place, sigma = (83.0, -61.0, 37.0), 2.0
    geometry = tilted()
    found = project(blob(grid, place, sigma), grid, geometry, images).astype(np.float64)
    y, x = np.indices(image_shape)
    mass = found.sum(axis=(1, 2))
    centroid = np.stack([(found * x).sum((1, 2)), (found * y).sum((1, 2))], axis=1) / mass[:, None]
    expected = geometry.project([place])[:, 0] / pixel_angst + images.centre[::-1]
    np.testing.assert_allclose(centroid, expected, atol=0.02)
    # density x path in pixels, on an area of pixels
    voxels = 10.0 / pixel_angst
    np.testing.assert_allclose(mass, (2 * np.pi) ** 1.5 * (sigma * voxels) ** 3, rtol=1e-4)


def test_narrow_blobs_keep_their_shape():
    """A Gaussian projects to a Gaussian; with sigma 1.3 voxels, 4 % are left at 0.31/voxel."""
    grid = VolumeGrid((30, 40, 44), 10.0, (14.3, 19.1, 21.7))
    images = ImageGrid.centred((40, 44), 10.0)
    sigma = 1.3
    geometry = tilted(rotation_deg=3.0, xtilt_deg=0.0)
    found = project(blob(grid, (0, 0, 0), sigma), grid, geometry, images)
    y, x = np.indices(images.shape)
    for image, (u, v) in zip(found, geometry.image_from_volume[:, :, 3] / 10, strict=True):
        distance2 = (x - images.centre[1] - u) ** 2 + (y - images.centre[0] - v) ** 2
        expected = np.sqrt(2 * np.pi) * sigma * np.exp(-distance2 / (2 * sigma**2))
        np.testing.assert_allclose(image, expected, atol=0.01 * expected.max())


def test_agrees_with_the_projector_of_reconstructions_on_smooth_densities():
    from tomofilt.projectors.cpu import SliceProjector, slice_table

    grid = VolumeGrid.centred((44, 33, 66), 10.0)
    images = ImageGrid.centred((33, 50), 10.0)
    density = blob(grid, (90.0, 20.0, -40.0), 4.0) - 0.5 * blob(grid, (-110.0, -50.0, 30.0), 5.0)
    # near 45 deg, voxels line up along the rays, and the linear projector sums up a moire
    geometry = TiltGeometry.from_angles([-60, -30, -10, 0, 20, 60])
    _, slices = geometry.factor()
    other = SliceProjector(
        slice_table(slices, grid, images), (len(geometry), *images.shape), grid.shape
    ).forward(density)
    own = project(density, grid, geometry, images)
    assert np.abs(own - other).max() < 0.01 * np.abs(own).max()


def test_slab_as_wide_as_needed_fills_the_images():
    """Within the extent, rays cross the whole slab: thickness / cos(tilt)."""
    images = ImageGrid.centred((20, 32), 10.0)
    geometry = TiltGeometry.from_angles(TILTS[1:], 25.0, 0.0, (12.0, -7.0))
    half_x, half_y = extent_angst(geometry, images, 160.0)
    # the splines ring at the sides of the grid, by 0.27 less with each voxel
    nx, ny = (2 * int(np.ceil(half / 10)) + 17 for half in (half_x, half_y))
    grid = VolumeGrid.centred((26, ny, nx), 10.0)
    slab = np.zeros(grid.shape, np.float32)
    slab[5:21] = 1.0
    found = project(slab, grid, geometry, images)
    path = 16 / np.cos(np.radians(TILTS[1:]))
    np.testing.assert_allclose(found.mean(axis=(1, 2)), path, rtol=0.01)
    gentle = np.abs(TILTS[1:]) < 45  # steeper views step along x, where the edges are sampled
    flat = found[gentle] / path[gentle, None, None]
    np.testing.assert_allclose(flat, 1.0, rtol=1e-4)


def test_threads_change_nothing():
    grid, images = VolumeGrid.centred((20, 30, 40), 10.0), ImageGrid.centred((70, 68), 10.0)
    density = np.random.default_rng(1).normal(size=grid.shape).astype(np.float32)
    one = project(density, grid, tilted(), images, threads=1)
    np.testing.assert_array_equal(one, project(density, grid, tilted(), images, threads=3))


def test_refusals():
    grid, images = VolumeGrid.centred((8, 9, 10), 10.0), ImageGrid.centred((9, 10), 10.0)
    with pytest.raises(InputError, match=r"\(8, 9, 9\)"):
        project(np.zeros((8, 9, 9), np.float32), grid, tilted(), images)
    along_y = TiltGeometry.from_angles([0.0], xtilt_deg=80.0)
    with pytest.raises(InputError, match="along y"):
        project(np.zeros(grid.shape, np.float32), grid, along_y, images)
