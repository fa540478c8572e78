"""`tomofilt train head` and `tomofilt reconstruct --denoise`: what is asked for."""

import numpy as np
import pytest

from tomofilt.denoise import decision as decision_module
from tomofilt.denoise import train as train_module
from tomofilt.denoise.bands import BANDS
from tomofilt.denoise.decision import Decision
from tomofilt.denoise.head import GATED, INPUTS, UNITS, Head
from tomofilt.filters.wiener import WienerExact
from tomofilt.io.bundle import load_bundle
from tomofilt.reconstruction import gold as gold_module
from tomofilt.reconstruction import measure as measure_module
from tomofilt.reconstruction.settings import Settings
from tomofilt.series.projects import SeriesOptions


@pytest.fixture
def trained(monkeypatch):
    """Heads that pass the lowest bands alone, at once; how they were asked for."""
    head = Head(
        hidden=np.zeros((INPUTS, UNITS), np.float32),
        threshold=np.zeros(UNITS, np.float32),
        gate=np.zeros((GATED, UNITS), np.float32),
        linear=np.zeros(GATED, np.float32),
        limit=np.full(BANDS, 1e9),
        deviation=np.ones(BANDS),
    )
    asked = []

    def decide(problem, images, *, given=None, seed=0):
        assert isinstance(problem.filter, WienerExact)
        assert problem.filter.preset == "view"
        asked.append(given)
        return Decision(head, "good", {"seed": seed})

    monkeypatch.setattr(decision_module, "decide", decide)
    monkeypatch.setattr(train_module, "decide", decide)
    monkeypatch.setattr(measure_module, "measured", lambda problem, images: problem)
    monkeypatch.setattr(gold_module, "fill_gold", lambda problem, images, settings: None)
    return asked


def test_a_head_is_kept_and_asked_for(run, stage, trained, tmp_path):
    path = tmp_path / "mine.tomofilt.safetensors"
    series = ("--imod-dir", "data/TS_7", "--bin", 2)
    code, out, err = run("train", "head", *series, "-o", path)
    assert code == 0, err
    assert "--denoise --head" in out
    assert trained == [None]
    assert load_bundle(path, "head").metadata["series"] == "TS_7"
    code, _, err = run("train", "head", *series, "-o", path)
    assert code == 2
    assert "--overwrite" in err

    code, _, err = run("reconstruct", *series, "--denoise", "--head", path)
    assert code == 0, err
    assert stage.settings == Settings(bin=2, denoise=True, head=path)
    code, _, err = run("reconstruct", *series, "--denoise", "-f", "ramp")
    assert stage.settings.filter == "ramp"  # the plan says that the two do not go together


def test_one_series_of_several(run, stage, trained, tmp_path):
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
def test_refuses(run, trained, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    code, _, err = run("train", "head", "-o", "x.tomofilt.safetensors", *arguments)
    assert code == 2
    assert words in err
    assert not trained
    assert not list(tmp_path.iterdir())
