"""Triton and ASTRA on a real GPU against the CPU projectors, on noise."""

from contextlib import suppress

import numpy as np
import pytest
import torch

from tomofilt.errors import ResourceError
from tomofilt.projectors import device as device_module
from tomofilt.projectors.astra import AstraProjector
from tomofilt.projectors.autograd import backproject, project
from tomofilt.projectors.cpu import SliceProjector, slice_table
from tomofilt.projectors.direct import DirectProjector, index_maps
from tomofilt.projectors.gpu import problem
from tomofilt.projectors.select import gpu_projector, unusable
from tomofilt.projectors.vectors import to_tomosipo
from tomofilt.series.geometry import ImageGrid, TiltGeometry, VolumeGrid

#: Relative rms: Triton rounds positions to float32, ASTRA's textures weigh pixels with 8 bits.
TOLERANCES = {"triton": 1e-5, "astra": 5e-3}


@pytest.fixture
def tolerance(engine):
    return TOLERANCES[engine]


@pytest.fixture
def astra_gpu(gpu):
    reason = problem(0)
    if reason is not None:
        pytest.skip(reason)
    return gpu


def noise(shape, dtype=np.float32):
    return np.random.default_rng(0).normal(size=shape).astype(dtype)


def relative(ours, theirs):
    return np.linalg.norm(ours - theirs) / np.linalg.norm(theirs)


def pair(engine, size=(40, 130, 97), xtilt=0.0, oversampling=1):
    """The slice projectors of the CPU and of the GPU."""
    nz, ny, nx = size
    _, slices = TiltGeometry.from_angles(np.linspace(-60, 60, 21), xtilt_deg=xtilt).factor()
    volume = VolumeGrid((nz, ny, nx), 8.0, (nz / 2, ny / 2, nx // 2))
    images = ImageGrid.centred((ny + 7, nx + 12), 8.0)
    table = slice_table(slices, volume, images, 0.0, 1 / oversampling)
    shape = (21, ny + 7, oversampling * (nx + 11) + 1)
    return SliceProjector(table, shape, size), gpu_projector(engine, table, shape, size, "cuda:0")


def test_check_at_run_time(engine):
    assert unusable(0, engine) is None


@pytest.mark.parametrize("size", [(40, 130, 97), (33, 64, 128), (1, 5, 7)])
@pytest.mark.parametrize("xtilt", [0.0, 4.0])
@pytest.mark.parametrize("oversampling", [1, 2])
def test_slice_geometry(engine, tolerance, size, xtilt, oversampling):
    cpu, ours = pair(engine, size, xtilt, oversampling)
    images, volume = noise(cpu.image_shape), noise(cpu.volume_shape)
    assert relative(ours.adjoint(images), cpu.adjoint(images.astype(np.float64))) < tolerance
    assert relative(ours.forward(volume), cpu.forward(volume.astype(np.float64))) < tolerance


def test_direct_geometry(astra_gpu):
    geometry = TiltGeometry.from_angles(np.linspace(-60, 60, 15), 84.0, 3.0, (20.0, -35.0))
    maps = geometry.image_from_volume * np.linspace(0.9, 1.1, 15)[:, None, None]
    volume, images = VolumeGrid.centred((30, 60, 70), 10.0), ImageGrid.centred((80, 75), 9.0)
    cpu = DirectProjector(TiltGeometry(maps), volume, images)
    maps = index_maps(maps, volume, images)
    ours = AstraProjector(maps, cpu.image_shape, cpu.volume_shape, astra_gpu)
    data = noise(cpu.image_shape)
    assert relative(ours.adjoint(data), cpu.adjoint(data)) < TOLERANCES["astra"]


def test_tensors_stay_on_the_gpu(engine, tolerance):
    cpu, ours = pair(engine)
    data = noise(cpu.image_shape)
    volume = ours.adjoint(torch.from_numpy(data).to("cuda:0"))
    assert volume.device == torch.device("cuda:0")
    assert relative(volume.cpu().numpy(), ours.adjoint(data)) < tolerance


def test_transpose(engine, tolerance):
    _, ours = pair(engine, xtilt=4.0)
    for dtype, limit in ((np.float32, tolerance), (np.float64, 1e-12)):
        images, volume = noise(ours.image_shape, dtype), noise(ours.volume_shape, dtype)
        left = np.vdot(ours.forward(volume), images)
        right = np.vdot(volume, ours.adjoint(images))
        size = np.linalg.norm(ours.adjoint(images)) * np.linalg.norm(volume)
        assert abs(left - right) <= limit * size


def test_slabs_make_the_same_volume(engine, tolerance, monkeypatch):
    _, ours = pair(engine, xtilt=4.0)
    images = noise(ours.image_shape)
    whole = ours.adjoint(images)
    monkeypatch.setattr(device_module, "free_bytes", lambda device: 4_000_000)
    assert relative(ours.adjoint(images), whole) < tolerance


def test_out_of_memory_is_told(engine, monkeypatch):
    """Planned with memory that is not there: an error or the right result, never zeros."""
    cpu, ours = pair(engine, (64, 256, 512))
    images = noise(cpu.image_shape)
    monkeypatch.setattr(device_module, "free_bytes", lambda device: 10**13)
    torch.cuda.empty_cache()
    free = torch.cuda.mem_get_info(0)[0]
    hog = torch.empty(max(0, free - 3 * images.nbytes), dtype=torch.uint8, device="cuda:0")
    with suppress(ResourceError):
        assert relative(ours.adjoint(images), cpu.adjoint(images)) < 1e-2
    del hog
    torch.cuda.empty_cache()


def test_second_gpu(engine, tolerance):
    if torch.cuda.device_count() < 2:
        pytest.skip("there is one GPU")
    cpu, _ = pair(engine)
    ours = gpu_projector(engine, cpu.table, cpu.image_shape, cpu.volume_shape, "cuda:1")
    images = noise(cpu.image_shape)
    assert relative(ours.adjoint(images), cpu.adjoint(images.astype(np.float64))) < tolerance


def test_results_of_a_side_stream_are_waited_for(engine):
    _, ours = pair(engine)
    data = torch.from_numpy(noise(ours.image_shape)).to("cuda:0")
    expected = ours.adjoint(data)
    busy = torch.randn(4096, 4096, device="cuda:0")
    with torch.cuda.stream(torch.cuda.Stream("cuda:0")):
        for _ in range(20):
            busy = busy @ busy / 64
        found = ours.adjoint(data + 0 * busy[0, 0].nan_to_num(0.0, 0.0, 0.0))
    torch.cuda.synchronize()
    torch.testing.assert_close(found, expected)


class TestOperators:
    @pytest.fixture
    def problem(self, gpu):
        cpu, _ = pair("triton", (4, 5, 6), xtilt=3.0)
        table = torch.from_numpy(cpu.table).to(gpu)
        return table, cpu.image_shape, list(cpu.volume_shape)

    def test_gradcheck(self, gpu, problem):
        table, image_shape, volume_shape = problem
        images = torch.randn(image_shape, dtype=torch.float64, device=gpu, requires_grad=True)
        assert torch.autograd.gradcheck(
            lambda given: backproject(given, table, volume_shape), images
        )

    @pytest.mark.parametrize(("dtype", "limit"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
    def test_equal_the_cpus(self, gpu, problem, dtype, limit):
        table, image_shape, volume_shape = problem
        for operator, given, other in (
            (backproject, image_shape, volume_shape),
            (project, volume_shape, list(image_shape)),
        ):
            data = torch.randn(given, dtype=dtype)
            expected = operator(data, table.cpu(), other).numpy()
            found = operator(data.to(gpu), table, other).cpu().numpy()
            assert relative(found, expected) < limit

    def test_opcheck(self, gpu, problem):
        table, image_shape, volume_shape = problem
        images = torch.randn(image_shape, device=gpu, requires_grad=True)
        torch.library.opcheck(
            backproject, (images, table, volume_shape), test_utils="test_faketensor"
        )


def test_tomosipo_operator_back_projects_the_same(astra_gpu):
    tomosipo = pytest.importorskip("tomosipo", reason="tomosipo is not installed")
    pytest.importorskip("tomosipo.torch_support", reason="tomosipo lacks torch support")
    geometry = TiltGeometry.from_angles(np.linspace(-60, 60, 15), 84.0, 3.0, (20.0, -35.0))
    volume, images = VolumeGrid.centred((30, 60, 70), 10.0), ImageGrid.centred((80, 75), 10.0)
    data = noise((15, 80, 75))
    operator = tomosipo.operator(*to_tomosipo(geometry, volume, images))
    projections = torch.from_numpy(data.transpose(1, 0, 2).copy()).to(astra_gpu)
    found = operator.T(projections).cpu().numpy()
    # voxel volume over pixel area: 10 A
    expected = 10.0 * DirectProjector(geometry, volume, images).adjoint(data)
    assert relative(found, expected) < TOLERANCES["astra"]
