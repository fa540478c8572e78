"""`tomofilt reconstruct -m`: learned filters on IMOD and RELION projects."""

import json
import shutil

import mrcfile
import numpy as np
import pytest

from tomofilt.filters.learned import LearnedFilter, RadialNodes
from tomofilt.io.bundle import SUFFIX, save_bundle
from tomofilt.simulate import simulated_series
from tomofilt.simulate.folder import write_series

TILTS = np.arange(-42.0, 43.0, 6.0)
K = np.geomspace(1e-3, 0.072, 10)


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made") / "out"
    made = simulated_series(seed=2, shape=(40, 56, 64), tilt_deg=TILTS, snr=0.5)
    imod, relion, _ = write_series(folder, made, {})
    return imod, relion


def bundle(path, tilts=TILTS, angles="per-tilt", factor=1.0, **metadata):
    rows = len(tilts) if angles == "per-tilt" else 1
    coefficients = factor * np.tile(np.exp(-((K / 0.03) ** 2)), (rows, 1))
    chosen = LearnedFilter("ramp", angles, RadialNodes(K), tilts, coefficients)
    save_bundle(path, chosen.to_bundle(metadata), overwrite=True)
    return path


def record_in(folder):
    [path] = folder.glob("*.json")
    return json.loads(path.read_text())


def volume_in(folder):
    [path] = folder.glob("*.mrc")
    return mrcfile.read(path)


def test_imod_and_relion(call, simulated, tmp_path):
    imod, relion = simulated
    path = bundle(tmp_path / f"smooth{SUFFIX}", licence="CC0-1.0")
    volumes = []
    for name, given in (("imod", ("--imod-dir", imod)), ("relion", ("--relion-star", relion))):
        code, _, err = call("reconstruct", *given, "-m", path, "-o", tmp_path / name, "-v")
        assert code == 0, err
        assert "filter learned:smooth" in err
        assert "10 factors on the ramp, each for 15 tilts from -42 to 42" in err
        assert "transferred" not in err
        [tomogram] = (tmp_path / name).rglob("*.mrc")
        volumes.append(mrcfile.read(tomogram))
        found = json.loads(tomogram.with_suffix(".json").read_text())["filter"]
        assert found["measured"]["metadata"]["licence"] == "CC0-1.0"
        assert len(found["gains"]["of_views"]) == 15
    scale = volumes[0].std()
    assert np.abs(volumes[0] - volumes[1])[2:-2, 4:-4, 4:-4].max() < 0.05 * scale


def test_it_does_what_the_formula_of_its_gains_does(call, simulated, tmp_path):
    """exp(-k^2 / 0.03^2) learned on close nodes is a Gaussian of sigma 0.03 / sqrt(2) per A."""
    fine = np.linspace(0, 0.072, 200)
    chosen = LearnedFilter(
        "ramp", "shared", RadialNodes(fine), TILTS, np.exp(-((fine / 0.03) ** 2))[None]
    )
    path = tmp_path / f"gaussian{SUFFIX}"
    save_bundle(path, chosen.to_bundle({}))
    sigma = f"gaussian:{10 * 0.03 / 2**0.5}"
    gaussian = ("-f", sigma, "--dose-weight", "off")  # a learned filter's gains hold the dose
    for name, given in (("learned", ("-m", path)), ("gaussian", gaussian)):
        code, _, err = call("reconstruct", simulated[0], *given, "-o", tmp_path / name)
        assert code == 0, err
    expected = volume_in(tmp_path / "gaussian")
    error = volume_in(tmp_path / "learned") - expected
    assert np.abs(error).max() < 5e-4 * np.abs(expected).max()


def test_other_tilts_are_transferred_and_it_is_said(call, simulated, tmp_path):
    path = bundle(tmp_path / f"wide{SUFFIX}", np.arange(-60.0, 61.0, 2.5))
    code, out, _ = call("reconstruct", simulated[0], "-m", path, "--dry-run")
    assert code == 0
    assert "note: learned:wide: transferred from 49 tilts" in out
    code, _, err = call("reconstruct", simulated[0], "-m", path, "-o", tmp_path / "out", "-v")
    assert code == 0
    said = "transferred from 49 tilts from -60 to 60 deg to 15 tilts from -42 to 42 deg by poly"
    assert said in err
    assert any(said in note for note in record_in(tmp_path / "out")["filter"]["measured"]["notes"])
    code, _, _ = call("reconstruct", simulated[0], "-o", tmp_path / "same", "-m", bundle(path))
    assert code == 0
    # its gains do not change with tilt: nothing may change with the step either
    first, second = volume_in(tmp_path / "out"), volume_in(tmp_path / "same")
    assert np.abs(first - second).max() < 1e-5 * np.abs(second).max()


def test_contents_count_and_paths_do_not(call, simulated, tmp_path):
    path = bundle(tmp_path / f"first{SUFFIX}")
    given = ("reconstruct", simulated[0], "-o", tmp_path / "out", "-m")
    assert call(*given, path)[0] == 0
    other = shutil.copy(path, tmp_path / f"second{SUFFIX}")
    code, _, err = call(*given, other)
    assert code == 0
    assert "finished already" in err
    code, _, err = call(*given, bundle(path, factor=1.01))
    assert code != 0
    assert "made with other settings or inputs" in err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("-f", "ramp"), "--filter and --model exclude each other"),
        (("--cutoff", "0.3"), "no cut-off"),
    ],
)
def test_what_does_not_go_together(call, simulated, tmp_path, words, says):
    path = bundle(tmp_path / f"any{SUFFIX}")
    code, _, err = call("reconstruct", simulated[0], "-m", path, *words, "-o", tmp_path / "out")
    assert code != 0
    assert says in err
    assert not (tmp_path / "out").exists()


def test_a_bundle_that_was_tampered_with(call, simulated, tmp_path):
    path = bundle(tmp_path / f"any{SUFFIX}")
    content = path.read_bytes()
    path.write_bytes(content.replace(b"per-tilt", b"shared  "))
    code, _, err = call("reconstruct", simulated[0], "-m", path, "-o", tmp_path / "out")
    assert code != 0
    assert f"{path}: the contents do not match their digest" in err
    assert not list((tmp_path / "out").glob("*"))
