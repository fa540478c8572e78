"""Where there is no GPU: no crash, the right exit code, the reason and the mend."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from tomofilt.errors import InputError, ResourceError
from tomofilt.projectors import gpu, select

HAS_GPU = torch.cuda.is_available()
no_gpu = pytest.mark.skipif(HAS_GPU, reason="this machine has a GPU")

#: Everything looks well until ASTRA itself is asked.
PRETEND = """
from pathlib import Path
import torch
from tomofilt.projectors import gpu, select
gpu.DRIVER_FILES = (Path("/"),)
torch.version.cuda = "13.0"
torch.cuda.is_available = lambda: True
torch.cuda.device_count = lambda: 1
"""
BACK_PROJECT = """
import sys
import numpy as np
from tomofilt.errors import TomofiltError
from tomofilt.projectors.astra import AstraProjector
maps = np.zeros((2, 2, 4))
maps[:, 0, 0] = maps[:, 1, 1] = 1.0
try:
    projector = AstraProjector(maps, (2, 5, 6), (3, 5, 6))
    getattr(projector, "METHOD")(np.ones(getattr(projector, "SHAPE"), "DTYPE"))
except TomofiltError as error:
    print(error, file=sys.stderr)
    sys.exit(error.exit_code)
"""


def run_python(*arguments):
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, check=False, timeout=100
    )


@pytest.fixture(autouse=True)
def fresh():
    """What is found out once a process is found out anew by each test."""
    gpu.problem.cache_clear()
    gpu.triton_problem.cache_clear()
    select.unusable.cache_clear()
    yield
    gpu.problem.cache_clear()
    gpu.triton_problem.cache_clear()
    select.unusable.cache_clear()


@no_gpu
@pytest.mark.parametrize(
    ("method", "dtype"),
    [("adjoint", "float32"), ("forward", "float32"), ("adjoint", "float64")],
)
def test_projector_raises_and_does_not_crash(method, dtype):
    shape = "image_shape" if method == "adjoint" else "volume_shape"
    script = BACK_PROJECT.replace("METHOD", method).replace("SHAPE", shape).replace("DTYPE", dtype)
    done = run_python("-c", script)
    assert done.returncode == 3, done.stderr
    assert "GPU 0 cannot be used: " in done.stderr
    assert "--device cpu" in done.stderr


@no_gpu
def test_astra_itself_is_asked_last():
    """A driver and a torch that claim a GPU do not get ASTRA's 3-D code called."""
    pytest.importorskip("astra", reason="astra-toolbox is not installed")
    script = BACK_PROJECT.replace("METHOD", "adjoint").replace("SHAPE", "image_shape")
    done = run_python("-c", PRETEND + script.replace("DTYPE", "float32"))
    assert done.returncode == 3, done.stderr
    assert "finds no GPU that it can use, though torch does" in done.stderr


@no_gpu
def test_command_line(tmp_path):
    done = run_python("-m", "tomofilt", "reconstruct", str(tmp_path), "--device", "cuda")
    assert done.returncode == 3, done.stderr
    assert "--device cpu" in done.stderr


@no_gpu
def test_auto_takes_the_cpu_and_says_why():
    choice = select.choose("auto")
    assert choice.gpus == ()
    assert choice.reason
    assert select.choose("cpu") == select.Choice()
    with pytest.raises(ResourceError, match="GPU 1 cannot be used"):
        select.choose("cuda:1")
    for engine in ("triton", "astra"):
        assert select.choose("auto", engine) == choice  # what all engines lack is said once
        with pytest.raises(InputError, match=f"--projector {engine} is for GPUs"):
            select.choose("cpu", engine)


def test_without_a_driver_torch_is_not_even_imported():
    script = (
        "import sys; from pathlib import Path; from tomofilt.projectors import gpu, select\n"
        "gpu.DRIVER_FILES = (Path('/does/not/exist'),)\n"
        "assert 'no NVIDIA driver' in select.choose('auto').reason\n"
        "assert not {'torch', 'numba', 'scipy', 'astra'} & set(sys.modules)"
    )
    done = run_python("-c", script)
    assert done.returncode == 0, done.stderr


class TestReasons:
    @pytest.fixture
    def machine(self, monkeypatch):
        """A machine on which everything is in place; each test takes something away."""
        monkeypatch.setitem(sys.modules, "triton", SimpleNamespace())
        monkeypatch.setattr(gpu, "DRIVER_FILES", (Path("/"),))
        monkeypatch.setattr(torch.version, "cuda", "13.0")
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
        fake = SimpleNamespace(
            use_cuda=lambda: True,
            has_feature=lambda feature: feature == "cuda",
            __version__="2.5.0",
            projector3d=SimpleNamespace(direct_BP=None),
        )
        monkeypatch.setitem(sys.modules, "astra", fake)
        return fake

    @pytest.fixture
    def parity(self, monkeypatch):
        """What the check of each engine gives: a difference, or an error; tests change it."""
        values = {"triton": 3e-6, "astra": 4.5e-3}

        def measure(engine, device):
            if isinstance(values[engine], Exception):
                raise values[engine]
            return values[engine]

        monkeypatch.setattr(select, "parity", measure)
        return values

    def test_all_in_place(self, machine, parity):
        assert gpu.problem(1) is None
        assert select.choose("auto") == select.Choice(("cuda:0",))
        assert select.choose("cuda:1,0,1") == select.Choice(("cuda:1", "cuda:0"))

    def test_no_driver(self, machine, monkeypatch):
        monkeypatch.setattr(gpu, "DRIVER_FILES", (Path("/does/not/exist"),))
        assert "no NVIDIA driver" in gpu.problem(0)

    def test_torch_without_cuda(self, machine, monkeypatch):
        monkeypatch.setattr(torch.version, "cuda", None)
        assert "install a CUDA build" in gpu.problem(0)

    def test_torch_sees_nothing(self, machine, monkeypatch):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        assert "CUDA_VISIBLE_DEVICES" in gpu.problem(0)

    def test_no_such_gpu(self, machine):
        assert "there is no GPU 2: they are numbered 0 to 1" in gpu.problem(2)

    def test_no_astra(self, machine, monkeypatch):
        monkeypatch.setitem(sys.modules, "astra", None)
        assert "pip install 'tomofilt[astra]'" in gpu.problem(0)

    def test_no_torch(self, machine, monkeypatch):
        monkeypatch.setitem(sys.modules, "torch", None)
        assert "torch fails when it looks for GPUs (import of torch" in gpu.problem(0)

    def test_torch_for_amd(self, machine, parity, monkeypatch):
        monkeypatch.setattr(torch.version, "hip", "6.4")
        monkeypatch.setitem(sys.modules, "astra", None)
        assert gpu.built_for() == "ROCm 6.4"
        assert select.choose("auto") == select.Choice(("cuda:0",))

    def test_astra_without_cuda(self, machine):
        machine.has_feature = lambda feature: False
        assert "astra-toolbox 2.5.0 is built without CUDA" in gpu.problem(0)

    def test_a_torch_that_breaks_when_asked(self, machine, monkeypatch):
        def broken():
            raise RuntimeError("no CUDA-capable device is detected")

        monkeypatch.setattr(torch.cuda, "is_available", broken)
        assert "(no CUDA-capable device is detected)" in select.choose("auto").reason

    def test_old_astra(self, machine):
        machine.projector3d, machine.__version__ = SimpleNamespace(), "2.3.1"
        assert "astra-toolbox 2.3.1 is too old: 2.5.0" in gpu.problem(0)

    def test_astra_sees_nothing(self, machine):
        machine.use_cuda = lambda: False
        assert "finds no GPU that it can use" in gpu.problem(0)

    @pytest.mark.parametrize(
        "value",
        [
            0.18,
            float("nan"),
            ResourceError("failed twice"),
            # a GPU that torch has no kernels for, or that another process has for itself
            getattr(torch, "AcceleratorError", RuntimeError)("CUDA error: no kernel image\nmore"),
            BufferError("cannot export a tensor of another device"),
        ],
        ids=lambda value: type(value).__name__,
    )
    def test_wrong_results(self, machine, parity, value):
        """Whatever goes wrong, auto takes the CPU and says what; a GPU by name ends the run."""
        parity |= {"triton": value, "astra": value}
        words = str(value).partition("\n")[0]
        reason = words if isinstance(value, Exception) else "please report"
        chosen = select.choose("auto")
        assert chosen.gpus == ()
        assert "more" not in chosen.reason
        triton, astra = chosen.reason.split("; ")
        assert triton.startswith("Triton on GPU 0")
        assert astra.startswith("ASTRA on GPU 0")
        assert reason in triton
        assert reason in astra
        with pytest.raises(ResourceError, match=f"{reason}.*{reason}"):
            select.choose("cuda:0")

    def test_astra_where_triton_does_not_work(self, machine, parity):
        """Alike for auto and for GPUs that are named, and on all of them the same engine."""
        parity["triton"] = RuntimeError("Failed to find C compiler.")
        why = "Triton on GPU 0: RuntimeError: Failed to find C compiler."
        assert select.choose("auto") == select.Choice(("cuda:0",), why, "astra")
        assert select.choose("cuda:0,1") == select.Choice(("cuda:0", "cuda:1"), why, "astra")

    @pytest.mark.parametrize(("asked", "other"), [("triton", "astra"), ("astra", "triton")])
    def test_an_engine_asked_for_is_not_replaced(self, machine, parity, asked, other):
        assert select.choose("auto", asked) == select.Choice(("cuda:0",), engine=asked)
        select.unusable.cache_clear()
        parity[asked] = RuntimeError("broken")
        assert select.choose("cuda:0", other).engine == other
        assert select.choose("auto", asked).reason.endswith("on GPU 0: RuntimeError: broken")
        with pytest.raises(ResourceError, match=r"GPU 1 cannot be used: .* on GPU 1: .*broken;"):
            select.choose("cuda:1", asked)

    def test_triton_is_held_to_more(self, machine, parity):
        parity["triton"] = parity["astra"]
        assert "Triton on GPU 0 gives back-projections that are off by 0.4%" in (
            select.choose("auto").reason
        )

    def test_no_triton(self, machine, monkeypatch):
        monkeypatch.setitem(sys.modules, "triton", None)
        assert "it comes with torch for Linux" in gpu.triton_problem(0)

    def test_asked_once(self, machine, parity, monkeypatch):
        assert select.choose("auto", "astra").gpus == ("cuda:0",)
        machine.use_cuda = None
        assert select.choose("auto", "astra").gpus == ("cuda:0",)


class TestSpelling:
    @pytest.mark.parametrize(
        ("device", "gpu", "expected"),
        [
            ("auto", None, "auto"),
            ("cpu", None, "cpu"),
            ("cuda", None, "cuda:0"),
            ("cuda:2", None, "cuda:2"),
            ("auto", "0,1", "cuda:0,1"),
            ("cuda", "1", "cuda:1"),
            ("cuda:1", "1", "cuda:1"),
        ],
    )
    def test_understood(self, device, gpu, expected):
        assert select.device_text(device, gpu) == expected

    @pytest.mark.parametrize(
        ("device", "gpu", "message"),
        [
            ("tpu", None, "--device tpu is unknown"),
            ("cuda:", None, "--device cuda: is unknown"),
            ("auto", "one", "--gpu one is no list"),
            ("cpu", "0", "contradict"),
            ("cuda:0", "0,1", "contradict"),
        ],
    )
    def test_refused(self, device, gpu, message):
        with pytest.raises(InputError, match=message):
            select.device_text(device, gpu)
