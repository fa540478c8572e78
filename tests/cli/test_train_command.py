"""The command ``tomofilt train filter``, from options to bundles."""

import json
import re
import signal
import subprocess
import sys
from dataclasses import replace

import mrcfile
import numpy as np
import pytest
from runs import tomogram_of

from tomofilt.cli.app import main
from tomofilt.errors import InputError
from tomofilt.filters.learned import read_filter
from tomofilt.io.bundle import load_bundle
from tomofilt.simulate.series import ImagesInMemory
from tomofilt.training import cases as cases_module
from tomofilt.training.cases import Case, Cases, check_cases, simulated_cases

TINY = ("--simulate", "1", "--shape", "24", "20", "14", "--tilts", "-60:60:20", "--snr", "0.5")
NAME = "small.tomofilt.safetensors"


@pytest.fixture
def train(tmp_path, capsys, monkeypatch):
    """Run it in an empty folder; exit code and errors."""
    import torch

    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)
    before = torch.get_num_threads()
    torch.set_num_threads(1)

    def run(*arguments, out=NAME):
        code = main(["train", "filter", "-o", str(tmp_path / out), *map(str, arguments)])
        return code, capsys.readouterr().err

    yield run
    torch.set_num_threads(before)


def files(folder):
    return sorted(path.name for path in folder.iterdir())


def test_bundle_reconstructs_what_training_saw(train, tmp_path):
    code, said = train(*TINY, "--nodes", "5", "--licence", "CC-BY-4.0")
    assert code == 0
    assert files(tmp_path) == ["small.jsonl", "small.png", NAME]
    bundle = load_bundle(tmp_path / NAME, "filter")
    assert bundle.metadata["licence"] == "CC-BY-4.0"
    assert bundle.metadata["citation"] == "not stated"
    training = bundle.metadata["training"]
    assert training["solver"] == "closed-form"
    assert training["parametrisation"] == "per-tilt"
    (known,) = training["train"]
    assert (known["pixel_angst"], len(known["tilt_deg"])) == (10, 7)
    assert {len(digest) for digest in known["sha256"].values()} == {64}
    log = [json.loads(line) for line in (tmp_path / "small.jsonl").read_text().splitlines()]
    best = max(entry["psnr_db"] for entry in log)
    case = simulated_cases(1, shape=(14, 20, 24), tilt_deg=np.arange(-60.0, 61, 20), snr=0.5)
    problem = case.validation[0].problem
    volume = tomogram_of(problem.with_filter(read_filter(tmp_path / NAME)))
    assert case.validation[0].psnr_db(volume) == pytest.approx(best, abs=5e-3)
    metrics = bundle.metadata["metrics"]
    assert metrics["validation_psnr_db"] == pytest.approx(best, abs=1e-4)
    assert f"learned {metrics['test_psnr_db']['learned']:.2f}" in said


def test_pairs_of_projects_and_truths(train, tmp_path, capsys):
    for seed, name in enumerate(("a", "b", "c")):
        size = ("--shape", 40, 32, 24, "--molecule", "1bxn", "--membranes", 1)
        quiet = ("--tilts", "-60:60:15", "--seed", seed, "--defocus", 0, "-q")
        assert main(["simulate", str(tmp_path / name), *map(str, size + quiet)]) == 0
    table = "\n".join(
        f'[[{purpose}]]\nproject = "{name}/{kind}"\ntruth = "{name}/truth/volume.mrc"'
        for purpose, name, kind in (
            ("train", "a", "imod"),
            ("validation", "b", "relion/AlignTiltSeries/job005/aligned_tilt_series.star"),
            ("test", "c", "imod"),
        )
    )
    (tmp_path / "pairs.toml").write_text(table)
    code, said = train("--pairs", tmp_path / "pairs.toml", "--parametrisation", "radial")
    assert code == 0, said
    metadata = load_bundle(tmp_path / NAME).metadata
    # electrons show protein dark
    assert metadata["training"]["train"][0]["scale"] < 0
    scores = metadata["metrics"]["test_psnr_db"]
    assert scores["learned"] > scores["ramp"]


def test_kill_and_resume_end_as_if_nothing_happened(train, tmp_path):
    arguments = (*TINY, "--solver", "adamw", "--steps", "6", "--nodes", "4", "--loss", "huber")
    code, _ = train(*arguments, out="whole.tomofilt.safetensors")
    assert code == 0
    killed = f"""
import os, signal, torch
torch.set_num_threads(1)
torch.set_num_threads = lambda _: None
from tomofilt.training import gradient
save = gradient._save
def save_and_die(path, fingerprint, coefficients, optimizer, state):
    save(path, fingerprint, coefficients, optimizer, state)
    if state.step == 3:
        os.kill(os.getpid(), signal.SIGKILL)
gradient._save = save_and_die
from tomofilt.cli.app import main
main(["train", "filter", "-o", {str(tmp_path / NAME)!r}, *{arguments!r}])
"""
    done = subprocess.run([sys.executable, "-c", killed], capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL
    left = [name for name in files(tmp_path) if name.startswith("small")]
    assert left == ["small.checkpoint.safetensors", "small.jsonl"]
    code, said = train(*arguments)
    assert code == 2
    assert "--resume" in said
    code, said = train(*arguments, "--lr", "0.5", "--resume")
    assert code == 2
    assert "other options or data" in said
    code, said = train(*arguments, "--resume")
    assert code == 0, said
    resumed, whole = (
        load_bundle(tmp_path / name).tensors["coefficients"]
        for name in (NAME, "whole.tomofilt.safetensors")
    )
    # sums in single precision depend, in the last bit, on where the memory of a process begins
    np.testing.assert_allclose(resumed, whole, rtol=1e-6)
    logs = [(tmp_path / name).read_text().splitlines() for name in ("small.jsonl", "whole.jsonl")]
    for entry, expected in zip(*logs, strict=True):
        assert json.loads(entry) == pytest.approx(json.loads(expected), rel=1e-5)
    assert "small.checkpoint.safetensors" not in files(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "give one of"),
        (("--simulate", "1", "--shrec", "x"), "give one of"),
        (("--shrec", "absent", "--train-models", "1-3", "--test-models", "2"), "model 2 is in"),
        (("--shrec", "absent", "--train-models", "one"), "'one' is no model"),
        (("--pairs", "absent.toml"), "there is no such file"),
        ((*TINY, "--nodes", "1"), "too few"),
        ((*TINY, "--nodes", "many"), "a number of frequencies, or all"),
        ((*TINY, "--solver", "closed-form", "--loss", "huber"), "--solver adamw"),
        ((*TINY, "--freeze", "tilt"), "only a factorised filter"),
        ((*TINY, "--lr", "0"), "--lr 0: give a number above 0"),
        ((*TINY, "--solver", "adamw", "--lr", "1e30", "--steps", "9"), "smaller --lr"),
        ((*TINY, "--max-memory", "1kB"), "needs about"),
        ((*TINY, "--init", "ramq", "--solver", "adamw"), "Did you mean 'ramp'"),
        ((*TINY, "--snr", "-1"), "--snr -1: give a ratio above 0"),
    ],
)
def test_what_cannot_be_done_is_said_and_leaves_nothing(train, tmp_path, arguments, message):
    code, said = train(*arguments)
    assert code == (3 if "--max-memory" in arguments else 2)
    assert message in said
    assert not [
        name for name in files(tmp_path) if "checkpoint" not in name and "jsonl" not in name
    ]


def test_a_missing_folder_is_told_before_training(train, tmp_path):
    code, said = train(*TINY, out=f"nowhere/{NAME}")
    assert code == 2
    assert "nowhere does not exist: create it first" in said
    assert files(tmp_path) == []


def test_existing_files_are_kept(train, tmp_path):
    (tmp_path / NAME).write_bytes(b"precious")
    code, said = train(*TINY)
    assert (code, "exists already" in said) == (2, True)
    code, said = train(*TINY, "--overwrite", "--nodes", "4")
    assert (code, "is no bundle" in said) == (2, True)
    assert (tmp_path / NAME).read_bytes() == b"precious"
    code, said = train(*TINY, out="small.pt")
    assert (code, "a bundle's name ends in" in said) == (2, True)
    (tmp_path / NAME).rename(tmp_path / "small.png")
    code, said = train(*TINY, "--overwrite")
    assert (code, "small.png exists and tomofilt did not make it" in said) == (2, True)
    assert files(tmp_path) == ["small.png"]


def broken(case, change):
    stack = case.series.images.stack.copy()
    truth = case.truth.copy()
    change(stack, truth)
    images = ImagesInMemory(stack, case.series.images.pixel_angst)
    return Case(replace(case.series, images=images), truth)


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (("stack", (2,)), 4.0, "image 3 has the same value everywhere"),
        (("stack", (1, 5, 5)), np.nan, "image 2 holds NaN"),
        (("truth", (3, 3, 3)), np.inf, "1 of .* voxels of the truth are NaN or infinite"),
        (("truth", (slice(None),)), 0.5, "the truth is 0.5 everywhere"),
    ],
)
def test_broken_data_leave_no_bundle(train, tmp_path, monkeypatch, place, value, message):
    made = simulated_cases(1, shape=(10, 20, 20), tilt_deg=np.arange(-60.0, 61, 30))

    def change(stack, truth):
        (stack if place[0] == "stack" else truth)[place[1]] = value

    bad = Cases([broken(made.train[0], change)], made.validation)
    monkeypatch.setattr(cases_module, "simulated_cases", lambda *_, **__: bad)
    code, said = train("--simulate", "1")
    assert code == 2
    assert re.search(message, " ".join(said.split()))
    assert files(tmp_path) == []


def test_sets_that_overlap_are_refused():
    made = simulated_cases(1, shape=(10, 20, 20), tilt_deg=np.arange(-60.0, 61, 30))
    case = made.train[0]
    with pytest.raises(InputError, match="has the same truth as simulated_0"):
        check_cases(Cases([case], [Case(made.validation[0].series, case.truth)]))
    with pytest.raises(InputError, match="has the same images as simulated_0"):
        check_cases(Cases([case], made.validation, [Case(case.series, made.test[0].truth)]))
    with pytest.raises(InputError, match="the truth has"):
        check_cases(Cases([Case(case.series, case.truth[:-1])], made.validation))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[trains]]", "trains is no list of cases"),
        ('[[train]]\nproject = "x"', "give project = FOLDER and truth"),
        ('[[train]]\nproject = "x"\ntruth = "y"\nsize = 3', "size is unknown"),
    ],
)
def test_tables_that_say_something_else(train, tmp_path, text, message):
    (tmp_path / "pairs.toml").write_text(text)
    code, said = train("--pairs", tmp_path / "pairs.toml")
    assert (code, message in said) == (2, True)


def test_truth_of_another_size(train, tmp_path):
    size = ("--shape", "40", "32", "24", "--molecule", "1bxn", "--tilts", "-40:40:20", "-q")
    assert main(["simulate", str(tmp_path / "a"), *size]) == 0
    with mrcfile.open(tmp_path / "a/truth/volume.mrc", "r+") as file:
        file.voxel_size = 20.0
    entry = 'project = "a/imod"\ntruth = "a/truth/volume.mrc"\n'
    (tmp_path / "pairs.toml").write_text(f"[[train]]\n{entry}")
    code, said = train("--pairs", tmp_path / "pairs.toml")
    assert (code, "bin = 2" in said) == (2, True)
