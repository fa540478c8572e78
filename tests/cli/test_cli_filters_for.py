"""`tomofilt filters show --for`: a filter as it is for a series."""

import json

import mrcfile
import numpy as np
import pytest
from PIL import Image

from tomofilt.cli.app import main
from tomofilt.filters.learned import LearnedFilter, RadialNodes, read_filter
from tomofilt.io.bundle import SUFFIX, save_bundle
from tomofilt.simulate import simulated_series

TILTS = np.arange(-42.0, 43.0, 6.0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """An IMOD folder with an aligned stack."""
    path = tmp_path_factory.mktemp("TS")
    made = simulated_series(seed=2, shape=(32, 72, 64), tilt_deg=TILTS, snr=0.5)
    with mrcfile.new(path / "TS_ali.mrc") as mrc:
        mrc.set_data(made.images)
        mrc.voxel_size = 10.0
    (path / "TS.tlt").write_text("".join(f"{tilt:7.2f}\n" for tilt in TILTS))
    lines = ["InputProjections TS_ali.mrc", "TILTFILE TS.tlt", "THICKNESS 32"]
    (path / "tilt.com").write_text("\n".join(["$tilt -StandardInput", *lines, ""]))
    return path


def run(capsys, *arguments):
    code = main([str(argument) for argument in arguments])
    output = capsys.readouterr()
    return code, output.out, output.err


def test_a_measured_filter(capsys, folder, tmp_path):
    plot = tmp_path / "gains.png"
    code, out, _ = run(
        capsys, "filters", "show", "wiener-exact:match", "--for", folder, "--plot", plot
    )
    assert code == 0
    assert "from neighbouring views" in out
    assert "15 views from -42 to 42 deg, 10 A/px, 64 px wide, tomogram 320 A thick" in out
    gains, snr = out.split("SNR  0 deg")
    assert gains.count("█") > 20
    table = [line.split() for line in snr.splitlines() if line.strip()[:2] == "0."]
    values = [float(row[2]) for row in table[1:]]
    assert len(values) == 20
    assert values == sorted(values, reverse=True)
    with Image.open(plot) as picture:
        assert picture.height > picture.width  # gains above, SNR below


def test_any_filter_takes_the_series_numbers(capsys, folder):
    code, out, _ = run(capsys, "filters", "show", "ramp", "--for", folder)
    assert code == 0
    assert "15 views from -42 to 42 deg" in out
    assert "SNR" not in out


def test_what_it_refuses(capsys, folder):
    code, _, err = run(capsys, "filters", "show", "wiener-exact")
    assert code == 2
    assert "--for FOLDER" in err
    code, _, err = run(capsys, "filters", "show", "ramp", "--for", folder, "--pixel-size", "5")
    assert code == 2
    assert "give neither" in err


def test_the_record_holds_what_was_measured(capsys, folder, tmp_path):
    code, _, err = run(capsys, "reconstruct", "--imod-dir", folder, "-o", tmp_path, "-v")
    assert code == 0
    assert "wiener-exact:view: SNR at" in err
    [path] = tmp_path.glob("*.json")
    found = json.loads(path.read_text())["filter"]
    assert found["spec"] == "wiener-exact:view"
    assert found["measured"]["has_signal"]
    assert len(found["measured"]["snr"]["factor"]) == len(TILTS)
    assert found["measured"]["signal_reaches_angst"] > 0
    # measured or not, the same inputs give the same fingerprint: it is skipped
    code, _, err = run(capsys, "reconstruct", "--imod-dir", folder, "-o", tmp_path)
    assert code == 0
    assert "finished already" in err


def test_learned_filters_take_the_tilts_of_a_project(capsys, folder, tmp_path):
    nodes = RadialNodes(np.array([0.01, 0.05]))
    learned = LearnedFilter("ramp", "per-tilt", nodes, np.arange(-60.0, 61, 5), np.ones((25, 2)))
    old, new = (tmp_path / f"{name}{SUFFIX}" for name in ("old", "new"))
    save_bundle(old, learned.to_bundle({}))
    code, _, err = run(capsys, "filters", "transfer", old, "--to", folder, "-o", new)
    assert code == 0, err
    np.testing.assert_allclose(read_filter(new).tilt_deg, TILTS, atol=1e-3)
    plot = tmp_path / "profiles.png"
    code, out, _ = run(
        capsys, "filters", "compare", old, "wiener-exact:match", "--for", folder, "--plot", plot
    )
    assert code == 0
    assert "learned:old: transferred from 25 tilts" in out
    assert "learned:old 15, wiener-exact:match 15" in out
    assert plot.exists()
