"""bench/gpu.py, all of it, on GPUs that are none: it is to run where nobody has tried it."""

import importlib.util
import json
import re
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tomofilt.cli.app import main

BENCH = Path(__file__).parents[2] / "bench"


@pytest.fixture
def bench(monkeypatch):
    """The script, with problems that Triton's interpreter gets through."""
    monkeypatch.syspath_prepend(BENCH)
    spec = importlib.util.spec_from_file_location("bench_gpu", BENCH / "gpu.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "bench_gpu", module)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "PARITY_CASES", [((3, 7, 9), 4.0, 2)])
    monkeypatch.setattr(module, "GRADIENT_VOLUME", (4, 12, 24))
    monkeypatch.setattr(module, "FAILURE_VOLUME", (3, 32, 32))
    monkeypatch.setattr(module, "BLOCKS", [(4, 32, 1)])
    monkeypatch.setattr(module, "VIEWS", 3)
    return module


@pytest.fixture
def machine(bench, cuda, monkeypatch):
    """Where it runs; programs that it would start run in this process."""

    programs = {
        "pytest": lambda arguments: SimpleNamespace(returncode=0, stdout="3 passed in 1 s"),
        "tomofilt": lambda arguments: SimpleNamespace(returncode=main(arguments), stderr=""),
    }
    fake = SimpleNamespace(run=lambda command, **_: programs[command[2]](command[3:]))
    monkeypatch.setattr(bench, "subprocess", fake)
    return bench.Machine("cuda:0", 3, (4, 8, 16))


def test_every_step(bench, machine, tmp_path, capsys):
    path = tmp_path / "found.json"
    assert bench.run_steps(bench.STEPS, machine, bench.Console(width=200, markup=False), path) == 0
    found = json.loads(path.read_text())
    assert list(found) == [step.__name__ for step in bench.STEPS]
    assert found["describe"]["gpus"] == 2
    for engine, limit in bench.LIMITS.items():
        assert found["second_gpu"][engine] < limit
    for name in ("tomofilt on the GPU", "ASTRA's own pair"):
        assert found["gradients"][name]["cosine"] > 0.98
        assert found["gradients"][name]["size"] == pytest.approx(1, abs=0.1)
    # one box too many: an error; room for it: the right result
    ends = {name: str(end).partition(":")[0] for name, end in found["memory_failure"].items()}
    for engine in ("astra", "triton"):
        assert ends[f"{engine}, no room for images"] == "ResourceError"
        assert ends[f"{engine}, none for boxes"] == "ResourceError"
        assert "right all the same" in ends[f"{engine}, little"]
        assert found["end_to_end"][f"{engine}, second"]["peak of the card, GB"] > 0
    assert found["tests"]["pytest"] == ["3 passed in 1 s"]
    printed = capsys.readouterr().out
    assert re.search(r"│ rates +│ triton forward, G/s +│ [\d.e-]+ +│", printed)


def test_what_goes_wrong_is_told(bench, machine, monkeypatch, capsys, tmp_path):
    def slow(machine, found):
        found["a first number"] = 1.0
        signal.raise_signal(signal.SIGALRM)

    def broken(machine, found):
        raise ValueError("[red] is no colour here")

    before = signal.getsignal(signal.SIGALRM)
    monkeypatch.setattr(bench, "LIMITS", {"astra": 1e-12, "triton": 1e-12})
    monkeypatch.setattr(bench, "STEPS", {bench.parity: 60, slow: 60, broken: 60})
    path = tmp_path / "found.json"
    assert bench.run_steps(bench.STEPS, machine, bench.Console(width=200, markup=False), path) == 1
    found = json.loads(path.read_text())
    assert "against 1e-12" in found["parity"]["wrong"]
    assert found["slow"]["a first number"] == 1.0
    assert found["slow"]["wrong"] == "TimeoutError: not done within 60 s"
    assert "ValueError: [red] is no colour here" in capsys.readouterr().out
    assert signal.getsignal(signal.SIGALRM) is before


def test_silence_is_told(bench, machine, monkeypatch):
    """Zeros where memory ends, should a projector ever let them pass."""

    def lying(case, engine, device):
        return SimpleNamespace(adjoint=lambda images: np.zeros(case.volume_shape))

    found = {}
    monkeypatch.setattr(bench.Problem, "gpu", lying)
    bench.memory_failure(machine, found)
    assert found["wrong"] == "SILENT: a result that is off by 1.0e+00"


def test_an_engine_that_fails_does_not_hide_the_other(bench, machine, monkeypatch):
    def broken(case, engine, device):
        if engine == "astra":
            raise TypeError("no such position")
        return gpu(case, engine, device)

    gpu = bench.Problem.gpu
    monkeypatch.setattr(bench.Problem, "gpu", broken)
    for step, name in (
        (bench.compiling, "{}, s"),
        (bench.parity, "{} (3, 7, 9) x tilt 4, 2 samples a pixel"),
        (bench.memory_failure, "{}, little"),
        (bench.rates, "{} back, G/s"),
    ):
        found = {}
        step(machine, found)
        assert "TypeError: no such position" in found["wrong"], step
        assert "TypeError" not in str(found[name.format("triton")]), step


def test_tests_that_fail_are_told(bench, machine, monkeypatch):
    done = SimpleNamespace(returncode=1, stdout="FAILED one\n1 failed in 1 s")
    monkeypatch.setattr(bench, "subprocess", SimpleNamespace(run=lambda command, **_: done))
    found = {}
    bench.tests(machine, found)
    assert found == {"pytest": ["1 failed in 1 s"], "wrong": done.stdout}


def test_takes_four_minutes_at_most(bench):
    assert sum(bench.STEPS.values()) <= 240


def test_dry_run():
    done = subprocess.run(
        [sys.executable, BENCH / "gpu.py", "--dry-run"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    for step in ("parity", "gradients", "memory_failure", "second_gpu", "rates", "end_to_end"):
        assert f". {step}, up to " in done.stdout


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_without_a_gpu_there_is_nothing_to_measure():
    done = subprocess.run(
        [sys.executable, BENCH / "gpu.py"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "no GPU to measure: " in done.stderr
