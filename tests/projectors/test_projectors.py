"""The projectors against each other and against torch's own checks."""

import numpy as np
import pytest
import torch

from tomofilt.projectors.autograd import backproject, project
from tomofilt.projectors.cpu import SliceProjector, slice_table
from tomofilt.projectors.direct import DirectProjector
from tomofilt.projectors.kernels import pack_rows
from tomofilt.series.geometry import ImageGrid, LocalGeometry, TiltGeometry, VolumeGrid


def upright(tilts, xtilt=0.0, shift=0.0):
    shifts = np.stack([np.linspace(-shift, shift, len(tilts)), np.zeros(len(tilts))], axis=1)
    return TiltGeometry.from_angles(tilts, xtilt_deg=xtilt, shift_angst=shifts)


def both(geometry, volume, images):
    warp, slices = geometry.factor()
    assert np.allclose(warp[:, :, :2], np.eye(2), atol=1e-12)
    table = slice_table(slices, volume, images)
    shape = (len(geometry), *images.shape)
    return SliceProjector(table, shape, volume.shape), DirectProjector(geometry, volume, images)


@pytest.mark.parametrize("size", [(20, 150, 33), (21, 130, 32), (5, 7, 9)])
def test_fast_equals_direct(size):
    volume = VolumeGrid.centred(size, 10.0)
    images = ImageGrid.centred((size[1], size[2] + 6), 10.0)
    fast, direct = both(upright(np.linspace(-60, 61, 19), shift=15.0), volume, images)
    rng = np.random.default_rng(1)
    data = rng.normal(size=fast.image_shape)
    np.testing.assert_allclose(fast.adjoint(data), direct.adjoint(data), atol=1e-12)
    density = rng.normal(size=size)
    np.testing.assert_allclose(fast.forward(density), direct.forward(density), atol=1e-11)


@pytest.mark.parametrize("differing", [0.0, 0.05])
def test_fast_equals_direct_with_xtilt(differing):
    """A row of voxels needs two rows of the detector; the in-plane part is left to the warp.

    Views that lean alike are interpolated together, others one by one.
    """
    size = (24, 140, 20)
    volume = VolumeGrid(size, 8.0, (11.0, 70.25, 9.5))
    images = ImageGrid((160, 30), (8.0, 8.0), (78.75, 14.5))
    _, slices = TiltGeometry.from_angles(np.linspace(-50, 55, 9), xtilt_deg=7.0).factor()
    maps = np.zeros((9, 2, 4))
    maps[:, 0, 0], maps[:, 0, 2], maps[:, 0, 3] = slices.a, slices.b, slices.u0_angst
    maps[:, 1, 1], maps[:, 1, 2] = 1.0, slices.e + differing * np.linspace(-1, 1, 9)
    fast, direct = both(TiltGeometry(maps), volume, images)
    assert fast.has_xtilt
    rng = np.random.default_rng(2)
    data = rng.normal(size=fast.image_shape)
    np.testing.assert_allclose(fast.adjoint(data), direct.adjoint(data), atol=1e-12)
    density = rng.normal(size=size)
    np.testing.assert_allclose(fast.forward(density), direct.forward(density), atol=1e-11)


def test_one_point_lands_where_the_convention_says():
    """x_image = x cos(tilt) + z sin(tilt): a wrong handedness would miss by 20 pixels."""
    volume = VolumeGrid.centred((41, 9, 61), 1.0)
    images = ImageGrid.centred((9, 61), 1.0)
    fast, _ = both(upright([30.0]), volume, images)
    density = np.zeros(volume.shape)
    density[20 + 20, 4, 30 + 10] = 1.0
    row = fast.forward(density)[0, 4]
    assert np.sum(row * np.arange(61)) - 30 == pytest.approx(
        10 * np.cos(np.pi / 6) + 20 * np.sin(np.pi / 6)
    )


def test_constant_local_maps_equal_global_maps():
    geometry = upright(np.linspace(-40, 40, 5))
    volume = VolumeGrid.centred((8, 12, 14), 5.0)
    images = ImageGrid.centred((12, 14), 5.0)
    patches = np.broadcast_to(geometry.image_from_volume[:, None, None], (5, 2, 3, 2, 4))
    local = LocalGeometry(np.array([-20.0, 0.0, 20.0]), np.array([-15.0, 15.0]), patches)
    data = np.random.default_rng(3).normal(size=(5, 12, 14))
    plain = DirectProjector(geometry, volume, images).adjoint(data)
    varied = DirectProjector(TiltGeometry(geometry.image_from_volume, local), volume, images)
    np.testing.assert_allclose(varied.adjoint(data), plain, atol=1e-12)


@pytest.mark.parametrize("lean", [0.0, 0.04])
def test_blocks_do_not_change_a_bit(lean):
    """A voxel has the same bits whether its rows come first or last in a block."""
    volume = VolumeGrid.centred((10, 200, 24), 1.0)
    images = ImageGrid.centred((200, 24), 1.0)
    geometry = upright(np.linspace(-60, 60, 21))
    fast, _ = both(geometry, volume, images)
    fast.table[:, 3] = lean
    fast = SliceProjector(fast.table, fast.image_shape, fast.volume_shape)
    data = np.random.default_rng(4).normal(size=fast.image_shape).astype(np.float32)
    whole = fast.adjoint(data)
    for start in (1, 37, 100):
        part = SliceProjector(fast.table, (21, 200 - start, 24), (10, 200 - start, 24), threads=1)
        shifted = part.adjoint(np.ascontiguousarray(data[:, start:]))
        clear = slice(1 if lean else 0, None)  # of what the part does not have
        np.testing.assert_array_equal(shifted[:, clear], whole[:, start:][:, clear])


def test_planes_and_threads_do_not_change_a_bit():
    volume = VolumeGrid.centred((70, 40, 50), 1.0)
    images = ImageGrid.centred((40, 50), 1.0)
    fast, _ = both(upright(np.linspace(-60, 60, 21)), volume, images)
    data = np.random.default_rng(5).normal(size=fast.image_shape).astype(np.float32)
    whole = fast.adjoint(data)
    packed = fast.packed_buffer(np.dtype(np.float32))
    for view in range(len(data)):
        pack_rows(data[view], packed[view])
    for start, stop, threads in ((0, 9, 1), (9, 44, 2), (44, 70, 3)):
        part = np.empty((stop - start, 40, 50), np.float32)
        fast.threads = threads
        fast.adjoint_block(packed, part, start)
        np.testing.assert_array_equal(part, whole[start:stop])
    projected = fast.forward(whole)
    fast.threads = 1
    np.testing.assert_array_equal(fast.forward(whole), projected)


class TestTorch:
    @pytest.fixture
    def operator(self):
        _, slices = TiltGeometry.from_angles([-50.0, -10, 20, 60], xtilt_deg=3.0).factor()
        table = slice_table(
            slices, VolumeGrid.centred((4, 5, 6), 1.0), ImageGrid.centred((5, 7), 1.0)
        )
        return torch.from_numpy(table), (4, 5, 7), [4, 5, 6]

    def test_gradcheck(self, operator):
        table, image_shape, volume_shape = operator
        images = torch.randn(image_shape, dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(lambda x: backproject(x, table, volume_shape), images)
        assert torch.autograd.gradgradcheck(lambda x: backproject(x, table, volume_shape), images)
        volume = torch.randn(volume_shape, dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(lambda x: project(x, table, image_shape), volume)

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_opcheck(self, operator, dtype):
        table, image_shape, volume_shape = operator
        images = torch.randn(image_shape, dtype=dtype, requires_grad=True)
        torch.library.opcheck(backproject, (images, table, volume_shape))
        volume = torch.randn(volume_shape, dtype=dtype, requires_grad=True)
        torch.library.opcheck(project, (volume, table, list(image_shape)))

    def test_vmap(self, operator):
        table, image_shape, volume_shape = operator
        images = torch.randn((3, *image_shape), dtype=torch.float64)
        batched = torch.vmap(lambda x: backproject(x, table, volume_shape))(images)
        for one, many in zip(images, batched, strict=True):
            torch.testing.assert_close(backproject(one, table, volume_shape), many)
