"""The GPU's slice projector against the CPU's, in Triton's interpreter on the CPU."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from strategies_gpu import cpu_projectors

from tomofilt.errors import InputError, ResourceError
from tomofilt.projectors import device, select
from tomofilt.projectors.cpu import SliceProjector

pytest.importorskip("triton", reason="triton is not installed: pip install 'tomofilt[gpu-test]'")


@pytest.fixture(scope="module")
def triton_slice():
    """The module of the projector, its kernels interpreted."""
    from tomofilt.projectors import triton_slice

    if type(triton_slice.gather_images).__name__ != "InterpretedFunction":
        pytest.skip("no interpreter where there is a GPU: tests/gpu runs the compiled kernels")
    return triton_slice


@pytest.fixture(scope="module", autouse=True)
def cheap(triton_slice):
    """The interpreter's time goes by programs, not by what one does."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(triton_slice, "BLOCK", (16, 64))
        patch.setattr(triton_slice, "free_bytes", lambda gpu: 2**30)
        patch.setattr(device, "free_bytes", lambda gpu: 2**30)
        yield


def noise(shape, dtype, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def relative(ours, theirs):
    """Relative rms; of what is zero, the rms."""
    return np.linalg.norm(ours - theirs) / (np.linalg.norm(theirs) or 1.0)


@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
@given(cpu=cpu_projectors(), seed=st.integers(0, 2**31))
def test_equals_the_cpu_and_is_transposed(triton_slice, cpu, seed):
    gpu = triton_slice.TritonProjector(cpu.table, cpu.image_shape, cpu.volume_shape, "cpu")
    for dtype, parity, transpose in ((np.float32, 1e-5, 1e-6), (np.float64, 1e-12, 1e-14)):
        images, volume = noise(cpu.image_shape, dtype, seed), noise(cpu.volume_shape, dtype, seed)
        cast, seen = gpu.forward(volume), gpu.adjoint(images)
        assert cast.dtype == seen.dtype == dtype
        exact = cpu.forward(volume.astype(np.float64)), cpu.adjoint(images.astype(np.float64))
        assert relative(cast, exact[0]) <= parity
        assert relative(seen, exact[1]) <= parity
        left = np.vdot(cast.astype(np.float64), images.astype(np.float64))
        right = np.vdot(volume.astype(np.float64), seen.astype(np.float64))
        size = np.linalg.norm(cast) * np.linalg.norm(images)
        size += np.linalg.norm(volume) * np.linalg.norm(seen)
        assert abs(left - right) <= transpose * size


@pytest.fixture(scope="module")
def pair(triton_slice):
    """Both projectors, with x tilt, and a view on edge."""
    table = np.array(
        [
            [0.8, 0.6, 3.25, 0.1, 1.0],
            [1.0, 0.0, 2.0, -0.05, 0.5],
            [0.0, 1.0, 9.5, 0.02, 0.0],
            [-0.7, 0.7, 16.0, 0.0, 2.25],
        ]
    )
    cpu = SliceProjector(table, (4, 12, 21), (3, 9, 18))
    gpu = triton_slice.TritonProjector(table, cpu.image_shape, cpu.volume_shape, "cpu")
    return cpu, gpu


def test_view_on_edge_and_mirrored(pair):
    cpu, gpu = pair
    images, volume = noise(cpu.image_shape, np.float64), noise(cpu.volume_shape, np.float64)
    np.testing.assert_allclose(gpu.adjoint(images), cpu.adjoint(images), atol=1e-12)
    np.testing.assert_allclose(gpu.forward(volume), cpu.forward(volume), atol=1e-12)


def test_cut_to_fit_into_memory(pair, triton_slice, monkeypatch):
    cpu, gpu = pair
    images, volume = noise(cpu.image_shape, np.float32), noise(cpu.volume_shape, np.float32)
    made = []

    def watch(work):
        def watched(*given):
            made.append(given)
            return work(*given)

        return watched

    monkeypatch.setattr(gpu, "make_box", watch(gpu.make_box))
    monkeypatch.setattr(triton_slice, "project", watch(triton_slice.project))
    monkeypatch.setattr(device, "free_bytes", lambda gpu: 8_000)
    assert relative(gpu.adjoint(images), cpu.adjoint(images)) < 1e-5
    assert len(made) == 2
    made.clear()
    monkeypatch.setattr(triton_slice, "free_bytes", lambda gpu: 10_400)
    assert relative(gpu.forward(volume), cpu.forward(volume)) < 1e-5
    assert len(made) == 2


def test_tensors_stay_where_they_are(pair):
    cpu, gpu = pair
    images = torch.from_numpy(noise(cpu.image_shape, np.float32)).requires_grad_()
    volume = gpu.adjoint(images)
    assert not volume.requires_grad
    np.testing.assert_allclose(volume.numpy(), gpu.adjoint(images.detach().numpy()), atol=1e-5)


def test_not_contiguous(pair):
    cpu, gpu = pair
    images = torch.from_numpy(noise(cpu.image_shape, np.float32))
    volume = torch.from_numpy(noise(cpu.volume_shape, np.float32))
    other = images.transpose(1, 2).contiguous().transpose(1, 2)
    torch.testing.assert_close(gpu.adjoint(other), gpu.adjoint(images))
    other = volume.transpose(0, 2).contiguous().transpose(0, 2)
    torch.testing.assert_close(gpu.forward(other), gpu.forward(volume))


def test_wrong_shapes_and_types(pair):
    _, gpu = pair
    with pytest.raises(InputError, match=r"images of shape \(1, 2, 3\)"):
        gpu.adjoint(noise((1, 2, 3), np.float32))
    with pytest.raises(InputError, match=r"volume of shape \(1, 2, 3\)"):
        gpu.forward(torch.zeros(1, 2, 3))


def test_check_of_a_gpu(triton_slice):
    assert select.parity("triton", "cpu") < 1e-6


def test_out_of_memory(pair, monkeypatch):
    cpu, gpu = pair
    given = []

    def fail(band, first_row, start, shape):
        given.append(shape[0])
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(gpu, "make_box", fail)
    with pytest.raises(ResourceError, match="failed twice"):
        gpu.adjoint(noise(cpu.image_shape, np.float32))
    assert given == [3, 1]
    with pytest.raises(ResourceError, match=r"CUDA out of memory.*larger --bin"):
        gpu.adjoint(torch.zeros(cpu.image_shape))


COMPILE = """
import sys
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource, compile
from tomofilt.projectors import triton_slice as module

for kernel in (module.gather_images, module.gather_voxels):
    for tilted in (False, True):
        for real in ("fp32", "fp64"):
            names = [parameter.name for parameter in kernel.params]
            rows, columns = module.BLOCK
            fixed = {"tilted": tilted, "block_rows": rows, "block_columns": columns}
            types = dict.fromkeys(names, "i32")
            types |= dict.fromkeys(("images", "places", "volume", "reaches"), "*" + real)
            types |= dict.fromkeys(fixed, "constexpr")
            source = ASTSource(
                fn=kernel,
                signature={name: types[name] for name in names},
                constexprs={(names.index(name),): value for name, value in fixed.items()},
            )
            target = GPUTarget(sys.argv[1], *eval(sys.argv[2]))
            made = compile(source, target=target, options={"enable_fp_fusion": True})
            print(kernel.__name__, tilted, real, sorted(made.asm))
"""


@pytest.mark.parametrize(
    ("backend", "chip", "product"),
    [
        ("cuda", "(80, 32)", "cubin"),
        ("cuda", "(90, 32)", "cubin"),
        ("hip", "('gfx942', 64)", "hsaco"),
    ],
    ids=["sm_80", "sm_90", "gfx942"],
)
def test_compiles_without_a_gpu(backend, chip, product, tmp_path):
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", COMPILE, backend, chip],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env={**os.environ, "TRITON_CACHE_DIR": str(tmp_path), "TRITON_INTERPRET": "0"},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(product) == 8
