"""The adapter to ASTRA against the CPU projectors, with ASTRA's CUDA kernel stated in numpy."""

import sys
from contextlib import contextmanager
from pathlib import Path

import fake_astra
import numpy as np
import pytest
import torch
from fake_astra import AstraError, install, kernel

from tomofilt.errors import InputError, ResourceError
from tomofilt.projectors import device, select
from tomofilt.projectors.astra import AstraProjector
from tomofilt.projectors.cpu import SliceProjector, slice_table
from tomofilt.projectors.direct import DirectProjector, index_maps
from tomofilt.projectors.sampling import sample, spread
from tomofilt.projectors.vectors import table_maps
from tomofilt.series.geometry import ImageGrid, TiltGeometry, VolumeGrid

GOLDEN = Path(__file__).parents[1] / "data" / "geometry" / "geometry_bp.npz"


@pytest.fixture
def astra(monkeypatch):
    fake = install(monkeypatch)
    yield fake
    assert not fake.alive, "a projector of ASTRA was not given back"


def direct_problem(volume_shape=(9, 17, 14), image_shape=(21, 19)):
    """Images as they are: rotation, x tilt, shifts, magnification, centres off the middle."""
    rng = np.random.default_rng(5)
    geometry = TiltGeometry.from_angles(
        np.linspace(-60, 60, 7), np.linspace(75, 95, 7), 4.0, rng.uniform(-20, 20, (7, 2))
    )
    maps = geometry.image_from_volume * np.linspace(0.9, 1.2, 7)[:, None, None]
    nz, ny, nx = volume_shape
    volume = VolumeGrid(volume_shape, 10.0, (nz // 2, ny // 2, nx // 2 - 0.25))
    images = ImageGrid(image_shape, (9.0, 8.0), (image_shape[0] / 2, image_shape[1] // 2))
    return TiltGeometry(maps), volume, images


def slice_problem(volume_shape=(12, 30, 16), image_shape=(36, 41), xtilt=3.0):
    """Images on the tilt axis, two samples a pixel."""
    _, slices = TiltGeometry.from_angles(np.linspace(-55, 60, 9), xtilt_deg=xtilt).factor()
    volume = VolumeGrid.centred(volume_shape, 8.0)
    images = ImageGrid((image_shape[0], 21), (8.0, 8.0), (17.0, 10.0))
    table = slice_table(slices, volume, images, 0.0, 0.5)
    return table, (9, *image_shape), volume_shape


def noise(shape, dtype=np.float32):
    return np.random.default_rng(6).normal(size=shape).astype(dtype)


def relative(ours, theirs):
    return np.linalg.norm(ours - theirs) / np.linalg.norm(theirs)


@pytest.mark.parametrize("name", ["simple", "full", "odd"])
def test_statement_of_the_kernel(name):
    with np.load(GOLDEN) as data:
        case = {k.removeprefix(f"{name}/"): data[k] for k in data if k.startswith(f"{name}/")}
    nz, ny, nx = case["vol_shape"]
    low, high = (
        case["vol_pos_zyx"] + sign * case["vol_shape"] * case["voxel"] / 2 for sign in (-1, 1)
    )
    option = {f"WindowMin{a}": value for a, value in zip("ZYX", low, strict=True)}
    option |= {f"WindowMax{a}": value for a, value in zip("ZYX", high, strict=True)}
    volume = {"GridRowCount": ny, "GridColCount": nx, "GridSliceCount": nz, "option": option}
    rows, columns = case["det_shape"]
    projections = {
        "DetectorRowCount": rows,
        "DetectorColCount": columns,
        "Vectors": case["astra_vectors"],
    }
    assert relative(kernel(volume, projections, case["sino_v_t_u"]), case["bp_zyx"]) < 1e-6


class TestParity:
    def test_direct_geometry(self, astra):
        geometry, volume, images = direct_problem()
        maps = index_maps(geometry.image_from_volume, volume, images)
        cpu = DirectProjector(geometry, volume, images)
        gpu = AstraProjector(maps, cpu.image_shape, cpu.volume_shape, "cpu")
        data, density = noise(cpu.image_shape), noise(cpu.volume_shape)
        assert relative(gpu.adjoint(data), cpu.adjoint(data)) < 1e-5
        assert relative(gpu.forward(density), cpu.forward(density)) < 1e-5
        assert astra.made

    @pytest.mark.parametrize("xtilt", [0.0, 3.0])
    def test_slice_geometry(self, astra, xtilt):
        table, image_shape, volume_shape = slice_problem(xtilt=xtilt)
        cpu = SliceProjector(table, image_shape, volume_shape)
        gpu = AstraProjector(table_maps(table), image_shape, volume_shape, "cpu")
        data, density = noise(image_shape), noise(volume_shape)
        assert relative(gpu.adjoint(data), cpu.adjoint(data)) < 1e-5
        assert relative(gpu.forward(density), cpu.forward(density)) < 1e-5

    @pytest.mark.parametrize(("xtilt", "expected"), [(0.0, 2.0e-3), (3.0, 4.4e-3)])
    def test_textures_explain_what_a_gpu_differs_by(self, astra, monkeypatch, xtilt, expected):
        # without x tilt, an odd number of rows falls onto rows of the images
        table, image_shape, volume_shape = slice_problem((12, 29, 16), xtilt=xtilt)
        data = noise(image_shape)
        exact = SliceProjector(table, image_shape, volume_shape).adjoint(data.astype(np.float64))
        monkeypatch.setattr(fake_astra, "look_up", fake_astra.textures)
        gpu = AstraProjector(table_maps(table), image_shape, volume_shape, "cpu")
        assert relative(gpu.adjoint(data), exact) == pytest.approx(expected, rel=0.1)
        # as measured on an H100
        assert select.parity("astra", "cpu") == pytest.approx(4.5e-3, rel=0.02)

    def test_double_precision_is_exact_and_needs_no_astra(self, astra):
        table, image_shape, volume_shape = slice_problem()
        cpu = SliceProjector(table, image_shape, volume_shape)
        gpu = AstraProjector(table_maps(table), image_shape, volume_shape, "cpu")
        data, density = noise(image_shape, np.float64), noise(volume_shape, np.float64)
        np.testing.assert_allclose(gpu.adjoint(data), cpu.adjoint(data), atol=1e-11)
        np.testing.assert_allclose(gpu.forward(density), cpu.forward(density), atol=1e-11)
        assert not astra.made

    def test_tensors_in_tensors_out(self, astra):
        table, image_shape, volume_shape = slice_problem()
        gpu = AstraProjector(table_maps(table), image_shape, volume_shape, "cpu")
        data = noise(image_shape)
        given = torch.from_numpy(data).requires_grad_()
        volume = gpu.adjoint(given)
        assert isinstance(volume, torch.Tensor)
        np.testing.assert_array_equal(volume.numpy(), gpu.adjoint(data))

    def test_through_tomosipo_and_without(self, astra, monkeypatch):
        pytest.importorskip("tomosipo", reason="tomosipo is not installed")
        geometry, volume, images = direct_problem()
        maps = index_maps(geometry.image_from_volume, volume, images)
        gpu = AstraProjector(maps, (7, *images.shape), volume.shape, "cpu")
        data = noise((7, *images.shape))
        through = gpu.adjoint(data)
        monkeypatch.setitem(sys.modules, "tomosipo", None)
        without = gpu.adjoint(data)
        np.testing.assert_allclose(through, without, rtol=0, atol=1e-6 * np.abs(without).max())

    def test_check_of_a_gpu(self, astra):
        """The check at run time passes on the right kernel and sees a wrong one."""
        assert select.parity("astra", "cpu") < 1e-5

        def wrong(box):
            box[:-1] = 1.0
            box[-1] = 1e9
            return "silent"

        astra.fail = wrong
        assert select.parity("astra", "cpu") > 0.5


class TestBoxes:
    def test_rows_of_a_volume(self, astra):
        table, image_shape, volume_shape = slice_problem()
        gpu = AstraProjector(table_maps(table), image_shape, volume_shape, "cpu")
        data = noise(image_shape)
        whole = gpu.adjoint(data)
        box = np.full((12, 6, 16), np.nan, np.float32)
        gpu.adjoint_rows(data, 12, box)
        np.testing.assert_allclose(box, whole[:, 12:18], atol=1e-5)

    def test_rows_outside_every_image_are_zero(self, astra):
        maps = np.zeros((1, 2, 4))
        maps[:, 0, 0] = maps[:, 1, 1] = 1.0
        maps[:, 1, 3] = -20.0
        gpu = AstraProjector(maps, (1, 4, 5), (2, 8, 5), "cpu")
        assert not gpu.adjoint(noise((1, 4, 5))).any()
        assert not astra.made

    def test_fitted_into_free_memory(self, astra, monkeypatch):
        geometry, volume, images = direct_problem()
        maps = index_maps(geometry.image_from_volume, volume, images)
        gpu = AstraProjector(maps, (7, *images.shape), volume.shape, "cpu")
        data = noise((7, *images.shape))
        whole = gpu.adjoint(data)
        assert astra.made == [(10, 17, 14)]  # and the plane that shows a failure
        astra.made.clear()
        monkeypatch.setattr(device, "free_bytes", lambda gpu: 20_000)
        np.testing.assert_allclose(gpu.adjoint(data), whole, atol=1e-5)
        assert len(astra.made) > 5
        assert sum((z - 1) * y * x for z, y, x in astra.made) == whole.size


class TestFailure:
    @pytest.fixture
    def gpu(self, astra):
        table, image_shape, volume_shape = slice_problem()
        return AstraProjector(table_maps(table), image_shape, volume_shape, "cpu")

    @staticmethod
    def out_of_memory(box):
        raise torch.OutOfMemoryError("CUDA out of memory")

    @staticmethod
    def raise_astra_error(box):
        raise AstraError("BP failed")

    @staticmethod
    def leave_zeros(box):
        return "silent"

    @staticmethod
    def leave_something(box):
        box.normal_()
        return "silent"

    FAILURES = ("out_of_memory", "raise_astra_error", "leave_zeros", "leave_something")

    @pytest.mark.parametrize("failure", FAILURES)
    def test_halved_once(self, astra, gpu, failure):
        data = noise(gpu.image_shape)
        whole = gpu.adjoint(data)
        astra.made.clear()
        large = gpu.volume_shape[0] + 1
        astra.fail = lambda box: getattr(self, failure)(box) if len(box) == large else None
        np.testing.assert_allclose(gpu.adjoint(data), whole, atol=1e-5)
        assert [shape[0] for shape in astra.made] == [13, 7, 7]
        # what did not fit once is not tried again
        gpu.adjoint(data)
        assert [shape[0] for shape in astra.made] == [13, 7, 7, 7, 7]

    @pytest.mark.parametrize("failure", FAILURES)
    def test_then_given_up(self, astra, gpu, failure):
        astra.fail = getattr(self, failure)
        with pytest.raises(ResourceError, match=r"6 x 30 x 16 voxels .* failed twice"):
            gpu.adjoint(noise(gpu.image_shape))
        assert len(astra.made) == 2
        assert not astra.linked

    @pytest.mark.parametrize("data", [np.zeros, np.ones, "one pixel"])
    def test_zeros_are_told_from_a_result_of_zeros(self, astra, gpu, data):
        """Whatever the images are: nearly all of a volume may rightly be zero."""
        images = np.zeros(gpu.image_shape, np.float32)
        if data is np.ones:
            images[:] = -3e4
        elif data == "one pixel":
            images[4, 10, 12] = 1e-20
        expected = SliceProjector(slice_problem()[0], gpu.image_shape, gpu.volume_shape)
        found = gpu.adjoint(images)
        np.testing.assert_allclose(found, expected.adjoint(images), rtol=1e-5, atol=1e-2)
        astra.fail = self.leave_zeros
        with pytest.raises(ResourceError, match="failed twice"):
            gpu.adjoint(images)

    def test_smallest_images(self, astra):
        table = slice_problem()[0][:1]
        for width in (1, 2):
            gpu = AstraProjector(table_maps(table), (1, 1, width), (1, 1, 9), "cpu")
            cpu = SliceProjector(table, (1, 1, width), (1, 1, 9))
            data = noise(cpu.image_shape)
            np.testing.assert_allclose(gpu.adjoint(data), cpu.adjoint(data), atol=1e-5)

    def test_gpu_is_torchs_current_one(self, astra, monkeypatch):
        """torch exports a tensor only while its GPU is the current one."""

        @contextmanager
        def make_current(gpu):
            astra.current = gpu.index
            yield
            astra.current = None

        seen = []
        astra.fail = lambda box: seen.append(astra.current)
        monkeypatch.setattr(torch.cuda, "device", make_current)
        table, image_shape, volume_shape = slice_problem()
        gpu = AstraProjector(table_maps(table), image_shape, volume_shape, "cuda:1")
        monkeypatch.setattr(gpu, "upload", torch.from_numpy)
        gpu.adjoint(noise(image_shape))
        assert seen == [1]

    def test_a_gpu_that_breaks(self, astra, gpu):
        def fail(box):
            raise getattr(torch, "AcceleratorError", torch.OutOfMemoryError)("CUDA error: gone")

        astra.fail = fail
        with pytest.raises(ResourceError, match=r"CUDA error: gone.*--device cpu"):
            gpu.adjoint(noise(gpu.image_shape))

    def test_no_room_for_the_images(self, astra, gpu, monkeypatch):
        def full(array):
            raise torch.OutOfMemoryError("CUDA out of memory")

        monkeypatch.setattr(gpu, "upload", full)
        for dtype in (np.float32, np.float64):
            with pytest.raises(ResourceError, match=r"CUDA out of memory.*larger --bin"):
                gpu.adjoint(noise(gpu.image_shape, dtype))
        with pytest.raises(ResourceError, match=r"CUDA out of memory.*larger --bin"):
            gpu.forward(noise(gpu.volume_shape))

    def test_wrong_shapes(self, gpu):
        with pytest.raises(InputError, match=r"images of shape \(1, 2, 3\)"):
            gpu.adjoint(noise((1, 2, 3)))
        with pytest.raises(InputError, match="2 images need 2 x 2 x 4 maps"):
            AstraProjector(np.zeros((3, 2, 4)), (2, 5, 5), (2, 2, 2))
        with pytest.raises(InputError, match="too large for ASTRA"):
            AstraProjector(np.zeros((2, 2, 4)), (2, 5, 20000), (2, 2, 2))


class TestExactPair:
    def test_equals_the_direct_projector(self):
        geometry, volume, images = direct_problem()
        maps = index_maps(geometry.image_from_volume, volume, images)
        cpu = DirectProjector(geometry, volume, images)
        data, density = noise(cpu.image_shape, np.float64), noise(cpu.volume_shape, np.float64)
        seen = sample(torch.from_numpy(data), maps, volume.shape).numpy()
        cast = spread(torch.from_numpy(density), maps, cpu.image_shape).numpy()
        np.testing.assert_allclose(seen, cpu.adjoint(data), atol=1e-12)
        np.testing.assert_allclose(cast, cpu.forward(density), atol=1e-12)
        assert np.vdot(cast, data) == pytest.approx(np.vdot(density, seen), rel=1e-12)

    def test_gradient_of_one_is_the_other(self):
        geometry, volume, images = direct_problem((3, 4, 5), (4, 5))
        maps = index_maps(geometry.image_from_volume, volume, images)
        data = torch.from_numpy(noise((7, 4, 5), np.float64)).requires_grad_()
        density = torch.from_numpy(noise((3, 4, 5), np.float64))
        (gradient,) = torch.autograd.grad(sample(data, maps, (3, 4, 5)), data, density)
        expected = spread(density, maps, (7, 4, 5))
        np.testing.assert_allclose(gradient.numpy(), expected.numpy(), atol=1e-12)
