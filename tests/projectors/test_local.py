"""Local alignment on the fast path, against the projector that follows every voxel's own map."""

import numpy as np
import pytest

from tomofilt.errors import InputError
from tomofilt.projectors.direct import DirectProjector
from tomofilt.projectors.local import LARGEST_ERROR_PX, LocalProjector
from tomofilt.series.geometry import ImageGrid, LocalGeometry, TiltGeometry, VolumeGrid

VOXEL = 8.0


def locally_aligned(turn_deg, seed=1, views=7):
    """Patches that are turned, shifted, stretched and tilted a little, each in its own way."""
    rng = np.random.default_rng(seed)
    tilts = np.linspace(-55, 58, views)
    x, y = VOXEL * np.array([-30.0, 0.0, 35.0]), VOXEL * np.array([-70.0, 10.0, 80.0])
    maps = np.empty((views, 3, 3, 2, 4))
    for index in np.ndindex(3, 3):
        patch = TiltGeometry.from_angles(
            tilts + rng.normal(0, 0.3, views),
            rng.normal(0, turn_deg, views),
            shift_angst=rng.normal(0, 0.05 * VOXEL, (views, 2)),
        )
        maps[(slice(None), *index)] = patch.image_from_volume
    return TiltGeometry(
        TiltGeometry.from_angles(tilts).image_from_volume, LocalGeometry(x, y, maps)
    )


VOLUME = VolumeGrid.centred((21, 150, 70), VOXEL)
#: Two samples a pixel.
IMAGES, STEP = ImageGrid((150, 140), (VOXEL, VOXEL), (74.5, 34.75)), 0.5


@pytest.mark.parametrize(("turn_deg", "rows"), [(0.0, 16), (0.1, 8), (0.3, 4)])
def test_close_to_each_voxels_own_map(turn_deg, rows):
    """Back-projected coordinates are where voxels land, so that differences are distances."""
    geometry = locally_aligned(turn_deg)
    fast = LocalProjector(geometry, VOLUME, IMAGES, step_px=STEP, threads=2)
    direct = DirectProjector(geometry, VOLUME, IMAGES, step_px=STEP)
    assert fast.rows == rows
    assert fast.error_px <= LARGEST_ERROR_PX
    row, column = np.indices(IMAGES.shape, dtype=np.float64)
    largest = 0.0
    for view in range(len(geometry)):
        images = np.zeros(fast.image_shape)

        def difference(image, images=images, view=view):
            images[view] = image
            return direct.adjoint(images) - fast.adjoint(images)

        images[view] = 1.0
        inside = (direct.adjoint(images) > 1 - 1e-9) & (fast.adjoint(images) > 1 - 1e-9)
        assert inside.mean() > 0.3
        distance = np.hypot(STEP * difference(column), difference(row))[inside]
        largest = max(largest, distance.max())
    assert largest <= fast.error_px + 1e-9
    assert largest > 0.5 * fast.error_px


def test_equals_direct_where_maps_hardly_vary():
    geometry = locally_aligned(0.0)
    same = np.broadcast_to(geometry.image_from_volume[:, None, None], (7, 3, 3, 2, 4))
    local = geometry.local
    geometry = TiltGeometry(
        geometry.image_from_volume, LocalGeometry(local.x_angst, local.y_angst, same)
    )
    images = np.random.default_rng(2).normal(size=(7, *IMAGES.shape))
    fast = LocalProjector(geometry, VOLUME, IMAGES, step_px=STEP)
    assert fast.error_px < 1e-9
    expected = DirectProjector(geometry, VOLUME, IMAGES, step_px=STEP).adjoint(images)
    np.testing.assert_allclose(fast.adjoint(images), expected, atol=1e-9)


def test_too_much_variation_is_told():
    fast = LocalProjector(locally_aligned(3.0), VOLUME, IMAGES, step_px=STEP)
    assert fast.rows == 4
    assert fast.error_px > LARGEST_ERROR_PX


def test_blocks_and_threads_do_not_change_a_bit():
    geometry = locally_aligned(0.1)
    images = np.random.default_rng(3).normal(size=(7, *IMAGES.shape)).astype(np.float32)
    fast = LocalProjector(geometry, VOLUME, IMAGES, step_px=STEP, threads=1)
    whole = fast.adjoint(images)
    packed = fast.packed_images()
    for view, image in enumerate(images):
        fast.pack(image, packed[view])
    fast.threads = 3
    last = np.empty((21, 22, 70), np.float32)
    fast.adjoint_block(packed, 128, last)
    np.testing.assert_array_equal(last, whole[:, 128:])
    with pytest.raises(InputError, match="multiples of 128"):
        fast.adjoint_block(packed, 64, last)
