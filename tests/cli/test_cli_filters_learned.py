"""`tomofilt filters` with bundles: show, compare, export, transfer."""

import csv

import numpy as np
import pytest
from PIL import Image

from tomofilt.filters import FilterContext
from tomofilt.filters.apply import padded_length
from tomofilt.filters.learned import GridNodes, LearnedFilter, RadialNodes, read_filter
from tomofilt.filters.samples import radial_profile, sampled
from tomofilt.filters.transfer import transfer
from tomofilt.io.bundle import SUFFIX, save_bundle

TILTS = np.arange(-60.0, 61.0, 5.0)
NODES = GridNodes(np.linspace(0, 0.025, 9), np.linspace(-0.025, 0.025, 9))
CONTEXT = FilterContext(TILTS, np.ones(25), 20.0, 20.0, 1500.0, 1024, padded_length(1024))
TRAINING = {"solver": "closed-form", "train": [{"name": "model_1", "pixel_angst": 20.0}]}


@pytest.fixture
def path(tmp_path):
    """A bundle whose gains fall with frequency and tilt, and are negative at the corners."""
    k = np.hypot(NODES.across_per_angst[:, None], NODES.along_per_angst)
    rows = np.cos(np.radians(TILTS))[:, None, None] - 40 * k
    learned = LearnedFilter("flat", "per-tilt", NODES, TILTS, rows)
    path = tmp_path / f"grid{SUFFIX}"
    save_bundle(path, learned.to_bundle({"training": TRAINING, "licence": "CC0-1.0"}))
    return path


def test_show(call, path, tmp_path):
    plot, image = tmp_path / "plot.png", tmp_path / "image.png"
    code, out, _ = call("filters", "show", path, "--plot", plot, "--image", image)
    assert code == 0
    assert "learned:grid: 25 views from -60 to 60 deg, 20 A/px" in out
    assert "9 x 9 factors on a constant, each for 25 tilts from -60 to 60 deg, to 40 A" in out
    assert "learned from 1 series at 20 A (closed-form)" in out
    assert "licence: CC0-1.0" in out
    with Image.open(plot) as picture, Image.open(image) as images:
        assert picture.size == (1050, 630)
        assert images.width > 4 * images.height


def test_show_for_other_tilts(call, path):
    code, out, _ = call("filters", "show", path, "--tilts=-48:48:4", "--pixel-size", "10")
    assert code == 0
    assert "transferred from 25 tilts from -60 to 60 deg to 25 tilts from -48 to 48 deg" in out
    assert "nothing was learned beyond 40 A: between there and 20 A" in out


def test_an_image_of_a_filter_with_a_formula(call, tmp_path):
    image = tmp_path / "image.png"
    assert call("filters", "show", "gaussian:60A", "--image", image, "--tilts=0:0:1")[0] == 0
    with Image.open(image) as picture:
        assert picture.width > picture.height


def test_compare(call, path, tmp_path):
    other, plot = tmp_path / f"fewer{SUFFIX}", tmp_path / "profiles.png"
    code, out, _ = call("filters", "transfer", path, "--tilts=-60:60:10", "-o", other)
    assert code == 0
    code, out, _ = call("filters", "compare", "ramp", path, other, "--plot", plot)
    assert code == 0
    assert "ramp 25, learned:grid 25, learned:fewer 13" in out
    numbers = [line.split() for line in out.splitlines() if line.strip()[:2] == "0."]
    rows = np.array([row[2:] for row in numbers[1:]], dtype=float)
    k = np.linspace(0, 0.5, 11)[1:]
    # the mean of |cos| over directions is 2 / pi; 25 views of 5 degrees, 20 A
    np.testing.assert_allclose(rows[:, 0], 25 * np.radians(5) * k * 2 / np.pi, rtol=5e-3)
    learned = radial_profile(read_filter(path), CONTEXT, k)
    np.testing.assert_allclose(rows[:, 1], learned, rtol=5e-3, atol=1e-5)
    # the sum over views depends on how many there are by the steps of the end views alone
    np.testing.assert_allclose(rows[:, 2], rows[:, 1], rtol=0, atol=0.04 * rows[:, 1].max())
    with Image.open(plot) as picture:
        assert picture.width > 2 * picture.height


def test_export(call, path, tmp_path):
    table, arrays = tmp_path / "gains.csv", tmp_path / "gains.npz"
    for output in (table, arrays):
        assert call("filters", "export", path, "-o", output)[0] == 0
    expected = sampled(read_filter(path), CONTEXT)
    with np.load(arrays) as found:
        np.testing.assert_array_equal(found["tilt_deg"], TILTS)
        np.testing.assert_allclose(found["k_along_per_angst"][[0, 64, 128]], [-0.025, 0, 0.025])
        np.testing.assert_allclose(found["gains"], expected.gains)
        assert str(found["spec"]) == "learned:grid"
    head, *rows = csv.reader(table.read_text().splitlines())
    assert head[:2] == ["k_per_angst", "-60 deg"]
    numbers = np.array(rows, dtype=float)
    np.testing.assert_allclose(numbers[:, 1:].T, expected.gains[:, 64], rtol=1e-6)
    code, _, err = call("filters", "export", path, "-o", table)
    assert code == 2
    assert "exists already" in err
    assert call("filters", "export", "ramp", "-o", table, "--overwrite")[0] == 0
    code, _, err = call("filters", "export", path, "-o", tmp_path / "gains.txt")
    assert code == 2
    assert ".npz or .csv" in err


@pytest.mark.parametrize("method", ["nearest", "linear", "cubic", "polynomial"])
def test_transfer(call, path, tmp_path, method):
    new = tmp_path / f"new{SUFFIX}"
    given = ("filters", "transfer", path, "--tilts=-50:50:4", "--method", method, "-o", new)
    assert call(*given)[0] == 0
    found, expected = read_filter(new), transfer(read_filter(path), -50 + 4 * np.arange(26), method)
    np.testing.assert_allclose(found.coefficients, expected.coefficients)
    assert found.notes[-1] == expected.notes[-1]
    assert found.bundle.metadata["licence"] == "CC0-1.0"
    assert found.bundle.metadata["transferred_from"] == read_filter(path).bundle.sha256
    code, _, err = call(*given)
    assert code == 2
    assert "exists already" in err


def test_transfer_that_cannot_be(call, path, tmp_path):
    new = tmp_path / f"new{SUFFIX}"
    code, _, err = call("filters", "transfer", path, "-o", new)
    assert code == 2
    assert "either --to PROJECT or --tilts" in err
    shared = LearnedFilter(
        "ramp", "shared", RadialNodes(np.array([0.01, 0.02])), TILTS, np.ones((1, 2))
    )
    other = tmp_path / f"shared{SUFFIX}"
    save_bundle(other, shared.to_bundle({}))
    code, _, err = call("filters", "transfer", other, "--tilts=-50:50:4", "-o", new)
    assert code == 2
    assert "nothing to transfer" in err
    code, _, err = call("filters", "transfer", path, "--tilts=-50:50:4", "-o", tmp_path / "new.npz")
    assert code == 2
    assert SUFFIX in err
    assert not new.exists()
