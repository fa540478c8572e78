"""The executable itself, `doctor` and `filters`."""

import json
import re
import subprocess
import sys

import pytest
import torch
from PIL import Image

import tomofilt
from tomofilt.cli import doctor
from tomofilt.reconstruction.budget import DEFAULT_BYTES
from tomofilt.reconstruction.settings import Settings


def test_version(run):
    assert run("--version") == (0, f"tomofilt {tomofilt.__version__}\n", "")


@pytest.mark.parametrize("flag", ["-h", "--help"])
@pytest.mark.parametrize(
    "command", [[], ["reconstruct"], ["inspect"], ["doctor"], ["filters"], ["filters", "show"]]
)
def test_help(run, command, flag):
    code, out, _ = run(*command, flag)
    assert code == 0
    assert "Usage: tomofilt" in out


def test_help_states_the_librarys_defaults(run):
    text = re.sub(r"[\s│]+", " ", run("reconstruct", "--help")[1])
    assert f"[default: {Settings().filter}]" in text
    assert f"[default: about {DEFAULT_BYTES / 1e9:.1f} GB]" in text
    assert "none|frames|tilts" in text
    assert "--only-do-unfinished" not in text


def test_no_command_is_a_usage_error(run):
    assert run()[0] == 2
    assert run("reconstrct")[0] == 2


def test_python_m_runs_the_same():
    done = subprocess.run(
        [sys.executable, "-m", "tomofilt", "reconstruct"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr == (
        "tomofilt: nothing to reconstruct: give --imod-dir DIR or --relion-star FILE, or just a "
        "path\n"
    )


def test_public_names_are_there():
    for name in tomofilt.__all__:
        assert getattr(tomofilt, name) is not None
    assert set(tomofilt.__all__) <= set(dir(tomofilt))
    with pytest.raises(AttributeError, match="no attribute 'reconstructor'"):
        tomofilt.reconstructor  # noqa: B018


# The next two leave torch and entry points out: they are slow, and not tomofilt's.
@pytest.fixture
def calm(monkeypatch):
    gpus = {"torch_built_for": "the CPU alone", "triton": None, "astra_has_cuda": None}
    auto = {"device": "cpu", "engine": "numba", "reason": "no NVIDIA driver"}
    monkeypatch.setattr(doctor, "_gpus", lambda: {**gpus, "devices": [], "auto": auto})
    monkeypatch.setattr(
        doctor, "_plugins", lambda: [{"name": "imod", "from": "tomofilt_imod", "error": None}]
    )


def test_doctor(run, calm, monkeypatch):
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "6")
    monkeypatch.setattr(doctor.shutil, "which", lambda name: None)
    code, out, _ = run("doctor")
    assert code == 0
    assert "no NVIDIA GPU found; if there is one, install its driver" in out
    assert "triton         not installed; it comes with torch" in out
    assert "--device auto  the CPU: no NVIDIA driver" in out
    assert "(SLURM_CPUS_PER_TASK=6)" in out
    assert "No problems found." in out
    found = json.loads(run("doctor", "--json")[1])
    assert found["versions"]["tomofilt"] == tomofilt.__version__
    assert found["machine"]["threads"] == 6
    assert found["machine"]["memory_bytes"]["total"] > 1e8
    assert found["optional"]["tomosipo"]["get_it"].startswith("pip install git+https://")
    assert found["problems"] == []


def test_doctor_names_what_is_missing(run, calm, monkeypatch):
    monkeypatch.setattr(doctor, "REQUIRED", ("numpy", "no-such-library"))
    monkeypatch.setattr(
        doctor, "_plugins", lambda: [{"name": "x", "from": "y", "error": "ImportError: z"}]
    )
    code, out, _ = run("doctor")
    assert code == 3
    assert "Problem: no-such-library is not installed" in out
    assert "Problem: plug-in x is broken: ImportError: z" in out


def test_doctor_tries_each_gpu(run, cuda, monkeypatch):
    monkeypatch.setattr(doctor.shutil, "which", lambda name: None)
    cuda.astra.fail = lambda box: box.copy_(torch.ones_like(box)) if cuda.current() else None
    code, out, _ = run("doctor")
    assert code == 0
    assert "torch          built for CUDA 13.0" in out
    assert "GPU 1          a GPU of the tests, 1 GB, 1 GB free" in out
    assert "GPU 0, astra   works" in out
    assert "GPU 0, triton  works" in out
    assert "GPU 1, astra   ASTRA on GPU 1: cuda:1: back-projection of 5 x 24 x 17 voxels" in out
    assert re.search(r"triton         \d+\.\d+", out)
    assert re.search(r"--device auto  cuda:0 by triton, for large work$", out, re.MULTILINE)
    cuda.astra.features.clear()
    found = json.loads(run("doctor", "--json")[1])["gpu"]
    assert found["astra_has_cuda"] is False


@pytest.mark.parametrize("has_astra", [True, False])
def test_doctor_names_what_a_gpu_lacks(run, cuda, monkeypatch, has_astra):
    monkeypatch.setitem(sys.modules, "triton", None)
    if not has_astra:
        cuda.astra.features.clear()
    chosen = run("doctor")[1].partition("--device auto  ")[2]
    taken = "cuda:0 by astra, for large work" if has_astra else "the CPU"
    assert chosen.startswith(f"{taken}: Triton cannot be imported (import of")
    assert ("; astra-toolbox 2.5.0 is built without CUDA" in chosen) != has_astra


@pytest.mark.parametrize("library", ["torch", "triton", "astra"])
def test_doctor_outlives_broken_libraries(run, monkeypatch, library):
    monkeypatch.setitem(sys.modules, library, None)
    code, out, _ = run("doctor")
    assert code == 0
    assert "--device auto  the CPU: " in out
    assert (library == "torch") == ("built for not usable (import of torch halted" in out)


def test_doctor_asks_nvidia_smi(monkeypatch, tmp_path):
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 'NVIDIA H200, 143771 MiB, 570.1'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert doctor._nvidia_smi() == ["NVIDIA H200, 143771 MiB, 570.1"]
    program.write_text("#!/bin/sh\nexit 9\n")
    [line] = doctor._nvidia_smi()
    assert line.startswith("nvidia-smi fails")


def test_filters_list(run):
    code, out, _ = run("filters", "list")
    assert code == 0
    assert "gaussian:SIGMA" in out
    assert "sirt-like:N" in out
    assert "sirt:N[,SIGMA]" in out


def test_filters_show(run, tmp_path):
    plot = tmp_path / "ramp.png"
    arguments = ["ramp", "--pixel-size", "5", "--tilts", "-30:60:3", "--plot", plot]
    code, out, _ = run("filters", "show", *arguments)
    assert code == 0
    assert "31 views from -30 to 60 deg, 5 A/px" in out
    assert "steepest view" in out
    rows = {line.split()[0]: line.split() for line in out.splitlines() if "█" in line}
    # a ramp: frequency, resolution, and gains in proportion to frequency
    assert rows["0.250"][1] == "20"
    assert float(rows["0.500"][2]) == pytest.approx(2 * float(rows["0.250"][2]), rel=2e-3)
    assert len(rows["0.500"][3]) == 2 * len(rows["0.250"][3])
    with Image.open(plot) as picture:
        assert picture.size == (1050, 630)


@pytest.mark.parametrize("tilts", ["-60:60:0", "60:-60:3", "-60:60", "a:b:c", "0:1e9:1", "nan:1:1"])
def test_filters_show_refuses_tilts(run, tilts):
    code, _, err = run("filters", "show", "ramp", f"--tilts={tilts}")
    assert code == 2
    assert "give first, last and step" in err


def test_filters_show_refuses(run):
    assert run("filters", "show", "rampe")[0] == 2
    assert run("filters", "show", "ramp", "--pixel-size", "0")[0] == 2
    code, _, err = run("filters", "show", "sirt:10")
    assert code == 2
    assert "sirt-like:10" in err


@pytest.mark.parametrize(
    "spec",
    [
        "ramp",
        "shepp-logan",
        "cosine",
        "hamming",
        "hann",
        "gaussian:0.2",
        "radial:0.35,0.035",
        "sirt-like:8",
        "exact",
        "none",
        "imod",
    ],
)
def test_every_filter_can_be_shown(run, spec):
    assert run("filters", "show", spec)[0] == 0


def test_doctor_tries_the_plug_ins():
    found = {plugin["name"]: plugin for plugin in doctor._plugins()}
    assert found["imod"] == {
        "name": "imod",
        "from": "tomofilt_imod.project:PROJECT_TYPE",
        "error": None,
    }
