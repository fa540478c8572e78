"""The examples run, and the data that they ship are what their README says."""

import ast
import importlib
import importlib.util
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from runs import tomogram_of

import tomofilt
from tomofilt.cli.app import main
from tomofilt.io.mrc import MrcStack
from tomofilt.reconstruction.setup import make_problem

EXAMPLES = Path(__file__).parents[2] / "examples"


def load(script: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(Path(script).stem, EXAMPLES / script)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("shape", [(96, 128), (98, 128), (102, 98)])
def test_binning_keeps_the_image_centre_and_the_mean(shape):
    factor = 4
    about_centre = np.array([9.3, -12.6])  # y, x in the old pixels
    y, x = (np.arange(n) - (n - 1) / 2 - p for n, p in zip(shape, about_centre, strict=True))
    blob = np.exp(-(y[:, None] ** 2 + x**2) / (2 * 8.0**2))

    binned = load("mycoplasma/make_binned_copy.py").fourier_bin(blob, factor)

    assert binned.shape == (shape[0] // factor, shape[1] // factor)
    assert binned.sum() * factor**2 == pytest.approx(blob.sum(), rel=1e-3)
    found = [
        (np.arange(n) - (n - 1) / 2) @ binned.sum(axis=1 - axis) / binned.sum()
        for axis, n in enumerate(binned.shape)
    ]
    assert found == pytest.approx(about_centre / factor, abs=0.01)


def test_shipped_series_is_whole():
    folder = EXAMPLES / "mycoplasma"
    stack = MrcStack(folder / "00254.mrc")
    assert stack.shape == (41, 157, 163)
    assert stack.pixel_angst == 40.0
    images = np.stack([stack.read(i) for i in range(41)])
    assert (stack.dmin, stack.dmax) == (images.min(), images.max())
    assert stack.dmean == pytest.approx(images.mean(dtype=np.float64), rel=1e-6)
    assert images.std(axis=(1, 2)).min() > 300  # counts: rounding is no noise
    assert len(np.loadtxt(folder / "00254.tlt")) == 41
    assert np.loadtxt(folder / "00254.xf").shape == (41, 6)


def statements(script: str) -> int:
    """Statements of a script: its imports, and those of main() without docstring and return."""
    tree = ast.parse((EXAMPLES / script).read_text())
    main = next(node for node in tree.body if getattr(node, "name", "") == "main")
    inside = [node for node in ast.walk(main) if isinstance(node, ast.stmt)]
    return len(inside) - 2  # main itself and its docstring


def test_a_filter_of_ones_own(tmp_path):
    path = tmp_path / "rec.mrc"
    load("from_python.py").main(str(path))
    volume, voxel_angst = tomofilt.read_volume(path)
    assert volume.shape == (40, 78, 81)
    assert voxel_angst == pytest.approx(80.0)
    # as the command line's own filter of that kind has it, but for scale and interpolation
    window = tomofilt.RampTimes(lambda k: np.exp(-((k * 80 / 0.2) ** 2)), "own")
    problem = make_problem(
        tomofilt.open(EXAMPLES / "mycoplasma"), tomofilt.Settings(bin=2, dose_weight="off")
    )
    expected = tomogram_of(problem.with_filter(window))
    inner = np.s_[8:-8, 16:-16, 16:-16]
    assert np.corrcoef(volume[inner].ravel(), expected[inner].ravel())[0, 1] > 0.98
    assert statements("from_python.py") <= 8


def test_a_filter_is_trained_and_applied(tmp_path):
    bundle = tmp_path / "mine.tomofilt.safetensors"
    script = load("train_a_filter.py")
    first, last = (script.main(str(bundle), steps) for steps in (1, 12))
    assert last < 0.95 * first
    folder = str(EXAMPLES / "mycoplasma")
    out = ["-o", str(tmp_path), "--no-preview", "-q", "--bin", "2"]
    assert main(["reconstruct", "--imod-dir", folder, "-m", str(bundle), *out]) == 0
    assert (tmp_path / "00254_tomofilt_rec.mrc").exists()
    assert statements("train_a_filter.py") <= 20


def test_seed_report_example(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(EXAMPLES / "seed_report")
    common, experiment = map(importlib.import_module, ("common", "initialisation"))
    setup = replace(common.Setup.make(tmp_path, "tiny"), steps=1)
    section = experiment.run(setup)

    psnr = {score.name: score.psnr for score in section.scores}
    assert psnr["the minimum (closed form)"] > psnr["ramp"] + 1
    page = common.write_page(setup, [section], 1.0).read_text()
    assert page.count("data:image/png;base64,") == len(section.pictures)
    for score in section.scores:
        assert f"<td>{score.name}</td>" in page
