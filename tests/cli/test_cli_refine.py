"""`tomofilt train --self`: what it asks the library for, and what it writes."""

from types import SimpleNamespace

import numpy as np
import pytest

from tomofilt.filters.learned import read_filter
from tomofilt.filters.refined import RefinedFilter
from tomofilt.io.bundle import load_bundle
from tomofilt.training import refine as module


@pytest.fixture
def asked(monkeypatch):
    """A refinement that finds the same at once."""
    calls = []

    def refine(series, settings, halves, note):
        calls.append(SimpleNamespace(series=series, settings=settings, halves=halves))
        note("  that is a gain: it is kept")
        found = RefinedFilter("match", k_per_angst=(0.01, 0.02), factors=(1.1, 0.9))
        gain = np.full(9, 0.01)
        learned = np.array([1.1, 0.9])
        return module.Refinement(found, True, "tilts", learned, np.inf, gain, gain / 4)

    monkeypatch.setattr(module, "refine", refine)
    return calls


def test_writes_a_bundle_that_reconstruct_takes(run, asked, tmp_path):
    path = tmp_path / "mine.tomofilt.safetensors"
    code, out, err = run(
        "train", "--self", "--imod-dir", "data/TS_7", "--bin", 2, "--thickness", 1500, "-o", path
    )
    assert code == 0, err
    assert "refined" in out
    assert "it is kept" in err
    (call,) = asked
    assert (call.series.name, call.halves) == ("TS_7", None)
    assert call.settings.bin == 2.0
    assert read_filter(path).factors == (1.1, 0.9)
    # it is measured anew on each series, so there is nothing to transfer, or to show without one
    code, _, err = run(
        "filters",
        "transfer",
        path,
        "--tilts",
        "-60:60:3",
        "-o",
        tmp_path / "x.tomofilt.safetensors",
    )
    assert code == 2
    assert "nothing to transfer" in err
    assert "--for FOLDER" in run("filters", "show", path)[2]
    training = load_bundle(path).metadata["training"]
    assert training["series"] == ["TS_7"]
    assert training["shrinkage"] == "infinite"
    # never over an earlier one by itself, and that is known before anything is learned
    command = ("train", "--self", "--imod-dir", "data/TS_7", "-o", path)
    code, _, err = run(*command)
    assert code == 2
    assert "--overwrite" in err
    assert len(asked) == 1
    assert run(*command, "--overwrite", "--halves", "none")[0] == 0
    assert asked[-1].halves == "none"


def test_one_series_of_several(run, stage, asked, tmp_path):
    stage.names = ["TS_01", "TS_02"]
    path = tmp_path / "mine.tomofilt.safetensors"
    code, _, err = run("train", "--self", "--relion-star", "all.star", "-o", path)
    assert code == 2
    assert "--tomogram-name, TS_01" in err
    command = ("train", "--self", "--relion-star", "all.star", "--tomogram-name", "TS_02")
    assert run(*command, "-o", path)[0] == 0
    assert asked[-1].series.name == "TS_02"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--self",), "give --imod-dir DIR or --relion-star FILE"),
        (("--self", "--imod-dir", "TS", "--relion-star", "x.star"), "exclude each other"),
        (("--self", "--imod-dir", "TS", "--lr", "0.1"), "--lr does not go with --self"),
        (("--self", "--imod-dir", "TS", "--simulate", "3"), "--simulate does not go with --self"),
        (("--simulate", "3", "--halves", "none"), "--halves goes with --self only"),
        (("--self", "--imod-dir", "absent"), "there is no such folder"),
    ],
)
def test_refuses(run, asked, tmp_path, arguments, words):
    code, _, err = run("train", *arguments, "-o", tmp_path / "x.tomofilt.safetensors")
    assert code == 2
    assert words in err
    assert not asked
    assert not list(tmp_path.iterdir())


def test_a_name_that_is_no_bundles(run, asked, tmp_path):
    code, _, err = run("train", "--self", "--imod-dir", "TS", "-o", tmp_path / "x.h5")
    assert code == 2
    assert "ends in" in err
    assert not asked
