"""Reconstruction on two GPUs that are none, by Triton and by ASTRA; see :mod:`fake_cuda`."""

import sys
import threading
from dataclasses import replace
from pathlib import Path

import mrcfile
import numpy as np
import pytest
import torch
from doubles import Images
from runs import reconstructed

from tomofilt.errors import InputError, ResourceError
from tomofilt.jobs.plan import make_plan
from tomofilt.projectors.autograd import backproject, project
from tomofilt.projectors.cpu import SliceProjector
from tomofilt.projectors.select import choose
from tomofilt.reconstruction import budget, setup
from tomofilt.reconstruction import problem as problem_module
from tomofilt.reconstruction.methods import device
from tomofilt.reconstruction.settings import Settings
from tomofilt.reconstruction.setup import make_problem
from tomofilt.series.geometry import LocalGeometry, TiltGeometry, VolumeGrid
from tomofilt.series.projects import Destination
from tomofilt.series.tiltseries import TiltSeries


@pytest.fixture
def make_series(tmp_path):
    def make(xtilt=0.0, shape=(40, 24)):
        tilts = np.linspace(-56, 60, 9)
        noise = np.random.default_rng(0).normal(100, 10, (9, *shape)).astype(np.float32)
        return TiltSeries(
            name="TS",
            images=Images(noise, tmp_path / "TS.mrc"),
            geometry=TiltGeometry.from_angles(tilts, 3.0, xtilt, (4.0, -7.0)),
            views=np.arange(9),
            tilt_deg=tilts,
            grid=VolumeGrid.centred((10, *shape), 10.0),
        )

    return make


@pytest.fixture
def run(tmp_path):
    def call(series, name, **settings):
        destination = Destination(tmp_path / "out" / f"{name}.mrc")
        chosen = Settings(**{"preview": False, "threads": 2, **settings})
        result, heard = reconstructed(series, destination, chosen)
        return mrcfile.read(destination.volume), result, heard

    return call


@pytest.fixture
def gpus(cuda):
    """The stand-in for ASTRA."""
    return cuda.astra


@pytest.mark.parametrize("xtilt", [0.0, 4.0])
@pytest.mark.parametrize("filter", ["sirt-like:10", "none", "wiener-exact:match"])
@pytest.mark.parametrize("halves", ["none", "tilts"])
def test_equals_the_cpu(make_series, run, gpus, xtilt, filter, halves):
    series = make_series(xtilt)
    options = {"filter": filter, "halves": halves}
    expected, _, _ = run(series, "cpu", device="cpu", **options)
    assert not gpus.made
    found, result, listener = run(series, "gpu", device="cuda:0,1", projector="astra", **options)
    assert gpus.made
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()
    assert result.record.projector == "astra"
    assert any("ASTRA on cuda:0, cuda:1" in note for note in listener.notes)
    assert listener.steps == sorted(listener.steps)
    assert listener.steps[-1] == 1.0


@pytest.mark.parametrize("xtilt", [0.0, 4.0])
def test_by_triton_unless_asked_otherwise(make_series, run, cuda, xtilt):
    series = make_series(xtilt)
    expected, _, _ = run(series, "cpu", filter="ramp", device="cpu")
    found, result, listener = run(series, "gpu", filter="ramp", device="cuda:0,1")
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()
    assert result.record.projector == "triton"
    assert any("Triton on cuda:0, cuda:1," in note for note in listener.notes)


def test_by_astra_where_there_is_no_triton(make_series, cuda, monkeypatch):
    monkeypatch.setitem(sys.modules, "triton", None)
    monkeypatch.setattr(setup, "GPU_START_S", 0.0)
    for where in ("auto", "cuda:0"):
        plan = make_plan(make_series(), Destination(Path("x.mrc")), Settings(device=where))
        assert any("ASTRA on cuda:0 (Triton cannot be imported" in line for line in plan.lines())


@pytest.mark.parametrize("core_s", [4.0, 6.0])
def test_a_gpu_is_not_started_for_what_the_cpu_does_sooner(make_series, cuda, monkeypatch, core_s):
    series = make_series()
    work = make_problem(series, Settings()).kernel_seconds
    monkeypatch.setattr(problem_module, "_UPDATE_S", problem_module._UPDATE_S * core_s / work)
    settings = Settings(device="auto", threads=1)
    plan = make_plan(series, Destination(Path("x.mrc")), settings)
    assert plan.problem.device.gpus == (() if core_s < 5 else ("cuda:0",))
    told = any("on the CPU (4.0 s for it, less than a GPU needs" in line for line in plan.lines())
    assert told == (core_s < 5)
    # more threads do it sooner; who names an engine gets it
    assert not make_problem(series, replace(settings, threads=2)).device.gpus
    assert make_problem(series, replace(settings, projector="astra")).device.gpus


class ExactPair:
    """The CPU's projector on tensors, for Triton's, which is held against it elsewhere."""

    def __init__(self, engine, table, image_shape, volume_shape, device):
        assert engine == "triton"
        self.cpu = SliceProjector(table, image_shape, volume_shape)

    def forward(self, volume):
        return torch.from_numpy(self.cpu.forward(volume.cpu().numpy())).to(volume)

    def adjoint(self, images):
        return torch.from_numpy(self.cpu.adjoint(images.cpu().numpy())).to(images)


@pytest.mark.parametrize("xtilt", [0.0, 4.0])
@pytest.mark.parametrize("free", [2**30, 200_000])
def test_sirt(make_series, run, cuda, monkeypatch, free, xtilt):
    monkeypatch.setattr(device, "gpu_projector", ExactPair)
    monkeypatch.setattr(device, "free_bytes", lambda gpu: free)
    series = make_series(xtilt)
    expected, _, _ = run(series, "cpu", filter="sirt:5", device="cpu")
    found, result, listener = run(series, "gpu", filter="sirt:5", device="cuda:1")
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()
    assert result.record.projector == "triton"
    assert listener.steps == sorted(listener.steps)
    assert listener.steps[-1] == 1.0


def test_sirt_needs_more_than_astra(make_series, cuda):
    settings = Settings(filter="sirt:5", device="cuda:0", projector="astra")
    with pytest.raises(InputError, match="ASTRA has no projection that -f sirt:5 could use"):
        make_problem(make_series(), settings)


def test_slabs_fit_into_memory(make_series, run, gpus, monkeypatch):
    series = make_series(shape=(300, 24))
    whole, _, _ = run(series, "whole", device="cuda:0,1", projector="astra")
    shapes = set(gpus.made)
    frugal = make_problem(series).room.used_bytes
    monkeypatch.setattr(budget, "DEFAULT_BYTES", frugal - 60_000)
    gpus.made.clear()
    cut, _, _ = run(series, "cut", device="cuda:0,1", projector="astra")
    assert max(shape[1] for shape in gpus.made) < max(shape[1] for shape in shapes)
    assert np.abs(cut - whole).max() <= 1e-5 * np.abs(whole).max()


def test_a_failure_leaves_nothing(make_series, run, gpus, tmp_path):
    def fail(box):
        raise torch.OutOfMemoryError("CUDA out of memory")

    choose("cuda:0", "astra")  # it works when it is tried
    gpus.fail = fail
    with pytest.raises(ResourceError, match="failed twice"):
        run(make_series(), "gpu", device="cuda:0", projector="astra")
    assert list((tmp_path / "out").iterdir()) == []
    assert not gpus.alive


def test_one_thread_a_gpu(make_series, run, cuda):
    choose("cuda:0,1", "astra")  # tried in this thread
    seen = set()
    cuda.astra.fail = lambda box: seen.add((cuda.current(), threading.get_ident()))
    run(make_series(shape=(600, 24)), "gpu", device="cuda:0,1", projector="astra")
    assert sorted(gpu for gpu, _ in seen) == [0, 1]
    assert len({thread for _, thread in seen} - {threading.get_ident()}) == 2


def test_memory_that_cannot_be_locked(make_series, run, cuda):
    """It is locked for the GPU in use, so that no other is touched; else any memory will do."""
    series = make_series()
    seen = set()
    cuda.pin = seen.add
    expected, _, _ = run(series, "locked", device="cuda:1")
    assert seen == {1}

    def refuse(gpu):
        raise RuntimeError("CUDA error: out of memory")

    cuda.pin = refuse
    found, _, _ = run(series, "not", device="cuda:1")
    np.testing.assert_array_equal(found, expected)


def test_finished_on_one_device_is_finished_on_the_other(make_series, run, gpus):
    series = make_series()
    run(series, "rec", device="cuda:0")
    assert run(series, "rec", device="cpu")[1].skipped


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"filter": "imod"}, "IMOD's filtering"),
        ({"projector": "direct"}, "the direct projector"),
        ({"normalise": "count", "filter": "none"}, "the direct projector"),
    ],
)
def test_what_is_left_to_the_cpu(make_series, gpus, settings, reason):
    destination = Destination(Path("x.mrc"))
    with pytest.raises(InputError, match=f"TS: {reason}.*--device auto"):
        make_plan(make_series(), destination, Settings(device="cuda:0", **settings))
    plan = make_plan(make_series(), destination, Settings(device="auto", **settings))
    assert not plan.problem.device.gpus
    assert any(f"on the CPU ({reason}" in line for line in plan.lines())
    plan = make_plan(make_series(), destination, Settings(device="cpu", **settings))
    assert not any("on the CPU" in line for line in plan.lines())


def test_local_alignment_is_left_to_the_cpu(make_series, gpus):
    series = make_series()
    maps = series.geometry.image_from_volume
    local = LocalGeometry(np.zeros(1), np.zeros(1), maps[:, None, None])
    series = replace(series, geometry=TiltGeometry(maps, local))
    with pytest.raises(InputError, match="a local alignment is computed on the CPU only"):
        make_problem(series, Settings(device="cuda:0"))


@pytest.mark.parametrize(("operator", "back"), [(backproject, True), (project, False)])
def test_operators_have_a_kernel_for_cuda(cuda, operator, back):
    name = operator._opoverload.name().partition(".")[0]
    assert torch._C._dispatch_has_kernel_for_dispatch_key(name, "CUDA")
    table = np.array([[0.8, 0.6, 1.25, 0.1, 1.0], [1.0, 0.0, 2.0, -0.05, 0.5]])
    cpu = SliceProjector(table, (2, 6, 9), (3, 5, 8))
    given, made = (cpu.image_shape, cpu.volume_shape)[:: 1 if back else -1]
    values = np.random.default_rng(0).normal(size=given)
    on_gpu = torch.from_numpy(values).to("cuda:1")
    found = operator._backend_fns["cuda"](on_gpu, torch.from_numpy(table), made)
    assert found.device == torch.device("cuda:1")
    expected = (cpu.adjoint if back else cpu.forward)(values)
    np.testing.assert_allclose(found.cpu().numpy(), expected, atol=1e-12)
