"""`tomofilt train head` and `tomofilt reconstruct --denoise`: what is asked for."""

import numpy as np
import pytest

from tomofilt.denoise import teach as teach_module
from tomofilt.denoise import verdict as verdict_module
from tomofilt.denoise.bands import BANDS
from tomofilt.denoise.head import UNITS, Head, Taught
from tomofilt.denoise.verdict import Verdict
from tomofilt.filters.wiener import WienerExact
from tomofilt.io.bundle import load_bundle
from tomofilt.reconstruction import measure as measure_module
from tomofilt.reconstruction.settings import Settings
from tomofilt.series.projects import SeriesOptions


@pytest.fixture
def taught(monkeypatch):
    """Heads that halve the tomogram, at once; how they were asked for."""
    head = Head(
        hidden=np.zeros((UNITS, BANDS), np.float32),
        threshold=np.zeros(UNITS, np.float32),
        output=np.zeros(UNITS, np.float32),
        linear=np.full(BANDS, 0.5, np.float32),
        bias=np.float32(0),
        limit=np.full(BANDS, 1e9, np.float32),
    )
    made = Taught(head, np.ones(BANDS))
    asked = []

    def judge(problem, images, *, given=None, seed=0):
        assert isinstance(problem.filter, WienerExact)
        assert problem.filter.preset == "match"
        asked.append(given)
        return Verdict(made, "good", {"seed": seed})

    monkeypatch.setattr(verdict_module, "judge", judge)
    monkeypatch.setattr(teach_module, "judge", judge)
    monkeypatch.setattr(measure_module, "measured", lambda problem, images: problem)
    return asked


def test_a_head_is_kept_and_asked_for(run, stage, taught, tmp_path):
    path = tmp_path / "mine.tomofilt.safetensors"
    series = ("--imod-dir", "data/TS_7", "--bin", 2)
    code, out, err = run("train", "head", *series, "-o", path)
    assert code == 0, err
    assert "--denoise --head" in out
    assert taught == [None]
    assert load_bundle(path, "head").metadata["series"] == "TS_7"
    code, _, err = run("train", "head", *series, "-o", path)
    assert code == 2
    assert "--overwrite" in err

    code, _, err = run("reconstruct", *series, "--denoise", "--head", path)
    assert code == 0, err
    assert stage.settings == Settings(filter="wiener-exact:match", bin=2, denoise=True, head=path)
    code, _, err = run("reconstruct", *series, "--denoise", "-f", "ramp")
    assert stage.settings.filter == "ramp"  # the plan says that the two do not go together


def test_one_series_of_several(run, stage, taught, tmp_path):
    stage.names = ["TS_01", "TS_02"]
    path = tmp_path / "mine.tomofilt.safetensors"
    command = ("train", "head", "--relion-star", "all.star", "-o", path)
    code, _, err = run(*command)
    assert (code, "--tomogram-name, TS_01" in err) == (2, True)
    assert run(*command, "--tn", "TS_02", "--thickness", 900)[0] == 0
    assert load_bundle(path, "head").metadata["series"] == "TS_02"
    assert stage.opened[-1][2].read_with == {"TS_02": SeriesOptions(thickness_angst=900.0)}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "give --imod-dir DIR or --relion-star FILE"),
        (("--imod-dir", "TS", "--relion-star", "x.star"), "exclude each other"),
        (("--imod-dir", "absent"), "there is no such folder"),
        (("--imod-dir", "TS", "--lr", "0.1"), "No such option: --lr"),
        (("--imod-dir", "TS", "-o", "nowhere/x.tomofilt.safetensors"), "nowhere does not exist"),
        (("--imod-dir", "TS", "-o", "x.h5"), "ends in"),
    ],
)
def test_refuses(run, taught, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    code, _, err = run("train", "head", "-o", "x.tomofilt.safetensors", *arguments)
    assert code == 2
    assert words in err
    assert not taught
    assert not list(tmp_path.iterdir())
