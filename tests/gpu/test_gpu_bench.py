"""bench/gpu.py at small sizes, with doubles for a GPU: it is to run where nobody has tried it."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
from fake_astra import install

from tomofilt.projectors import device

BENCH = Path(__file__).parents[2] / "bench"


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.syspath_prepend(BENCH)
    spec = importlib.util.spec_from_file_location("bench_gpu", BENCH / "gpu.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "bench_gpu", module)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def machine(bench, monkeypatch):
    """The CPU as if it were a GPU, and problems that Triton's interpreter gets through."""
    triton_slice = pytest.importorskip("tomofilt.projectors.triton_slice", reason="no triton here")
    if type(triton_slice.gather_images).__name__ != "InterpretedFunction":
        pytest.skip("there is a GPU: run bench/gpu.py itself")
    install(monkeypatch)
    for module in (device, triton_slice):
        monkeypatch.setattr(module, "free_bytes", lambda gpu: 2**30)
    monkeypatch.setattr(bench, "PARITY_CASES", [((3, 7, 9), 4.0, 2)])
    monkeypatch.setattr(bench, "GRADIENT_VOLUME", (4, 6, 12))
    monkeypatch.setattr(bench, "BLOCKS", [(4, 32)])
    monkeypatch.setattr(bench, "VIEWS", 3)
    return bench.Machine("cpu", 3, (4, 8, 16))


def test_steps(bench, machine):
    for step in (bench.describe, bench.parity, bench.gradients, bench.rates, bench.end_to_end):
        found = step(machine)
        assert "wrong" not in found, (step.__name__, found)
        assert found


def test_wrong_results_are_told(bench, machine, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(bench, "LIMITS", {"astra": 1e-12, "triton": 1e-12})
    monkeypatch.setattr(bench, "STEPS", [bench.parity, lambda machine: 1 / 0])
    assert bench.run(machine, bench.Console(), tmp_path / "found.json") == 1
    printed = capsys.readouterr().out
    assert "against 1e-12" in printed
    assert "ZeroDivisionError" in printed
    assert (tmp_path / "found.json").exists()


def test_dry_run():
    done = subprocess.run(
        [sys.executable, BENCH / "gpu.py", "--dry-run"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    for step in ("parity", "gradients", "memory_failure", "second_gpu", "rates", "end_to_end"):
        assert f". {step}: " in done.stdout
