"""When a series is denoised, and when not."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import mrcfile
import numpy as np
import pytest
from runs import problem_of, reconstructed

from tomofilt.denoise import supervision, verdict
from tomofilt.denoise.bands import BANDS, CoarseBands
from tomofilt.denoise.fit import fit_head
from tomofilt.denoise.head import UNITS, Head, Taught
from tomofilt.denoise.supervision import Lesson, displacement_px
from tomofilt.denoise.verdict import Verdict, judge
from tomofilt.errors import InputError
from tomofilt.io.bundle import load_bundle, save_bundle
from tomofilt.jobs.plan import make_plan
from tomofilt.reconstruction.settings import Settings
from tomofilt.series.projects import Destination
from tomofilt.simulate import simulated_series
from tomofilt.simulate.series import ImagesInMemory
from tomofilt.util.log import notes_told_to

MATCH = Settings(filter="wiener-exact:match", device="cpu", threads=2, preview=False)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(supervision, "_VOXELS", 30_000)


@pytest.fixture(scope="module")
def series():
    made = simulated_series(2, shape=(48, 72, 80), snr=0.5)
    return replace(made.tilt_series(), halves=None)


@pytest.fixture(scope="module")
def problem(series):
    return problem_of(series, **asdict(MATCH))


def judged(problem, **how):
    with problem.images() as images:
        return judge(problem, images, **how)


def plain_head(**changes) -> Head:
    """A head that leaves the tomogram as it is."""
    parts = {
        "hidden": np.zeros((UNITS, BANDS), np.float32),
        "threshold": np.zeros(UNITS, np.float32),
        "output": np.zeros(UNITS, np.float32),
        "linear": np.ones(BANDS, np.float32),
        "bias": np.float32(0),
        "limit": np.full(BANDS, 1e3, np.float32),
        **changes,
    }
    return Head(**parts)


def given(**changes) -> Taught:
    return Taught(plain_head(**changes), np.ones(BANDS))


def refusal(problem, **how) -> str:
    notes = []
    with notes_told_to(notes.append):
        found = judged(problem, **how)
    assert found.taught is None
    assert found.facts["refused"] == found.reason
    assert found.reason in notes[-1]
    json.dumps(found.facts)
    return found.reason


def with_snr(problem, factor: float, **changes):
    found = problem.filter.measurement
    snr = replace(found.snr, log_factor=found.snr.log_factor + np.log(factor), **changes)
    return problem.with_filter(replace(problem.filter, measurement=replace(found, snr=snr)))


def test_a_head_is_trained_and_taken(problem):
    found = judged(problem)
    assert found.taught is not None, found.reason
    facts = found.facts
    json.dumps(facts)
    images = facts["left_out"]["images"]
    assert len(images) == 5
    assert len(facts["heads"]) == 2
    for head in facts["heads"]:
        assert head["held_out_loss"] < head["held_out_loss_of_linear"]
        assert head["halves_agree"]["after"] > head["halves_agree"]["before"]
    again = judged(problem)
    for name in ("hidden", "output", "linear"):
        assert np.array_equal(getattr(found.taught.head, name), getattr(again.taught.head, name))


def test_no_signal(problem):
    assert "no signal" in refusal(with_snr(problem, 1.0, has_signal=False))


def test_little_signal(problem):
    assert "below 0.05" in refusal(with_snr(problem, 1e-4))


def test_a_small_volume(problem, monkeypatch):
    monkeypatch.setattr(verdict, "FEWEST_VOXELS", 300_000)
    assert "too few to learn" in refusal(problem)


def test_few_views(problem):
    few = np.arange(0, 41, 7)
    found = problem.filter.measurement
    snr = replace(
        found.snr,
        log_factor=found.snr.log_factor[few],
        decay_angst2=found.snr.decay_angst2[few],
    )
    chosen = replace(problem.filter, measurement=replace(found, snr=snr))
    assert "cannot be tried" in refusal(problem.select(few).with_filter(chosen))


@pytest.mark.parametrize("axis", [1, 2])
def test_halves_that_are_displaced(problem, series, axis):
    stack = np.stack([series.images.read(i) for i in range(len(series.views))])
    order = np.argsort(series.tilt_deg)
    stack[order[::2]] = np.roll(stack[order[::2]], 2, axis=axis)
    moved = replace(problem, series=replace(series, images=ImagesInMemory(stack, 10.0)))
    assert "apart" in refusal(moved)


def test_halves_that_agree_no_better(problem):
    noisy = np.zeros(BANDS, np.float32)
    noisy[-1] = 1
    assert "agree no better" in refusal(problem, given=given(linear=noisy))


def test_a_head_that_loses_on_left_out_views(problem):
    # all but the lowest band is thrown away: halves agree, views are not predicted
    low = np.zeros(BANDS, np.float32)
    low[0] = 1
    assert "left-out views" in refusal(problem, given=given(linear=low))


def test_the_tomogram_itself_is_no_gain(problem, monkeypatch):
    monkeypatch.setattr(verdict, "_agreement", lambda halves, head: float(head is not None))
    assert "left-out views" in refusal(problem, given=given())


@pytest.mark.parametrize("shift", [(0.0, 0.0), (2.0, -3.0), (0.7, 0.4)])
def test_displacement(shift):
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(0)
    shape = (12, 40, 48)
    values = np.stack([gaussian_filter(rng.normal(size=shape), 1.2) for _ in range(4)])
    k_y, k_x = np.fft.fftfreq(shape[1])[:, None], np.fft.fftfreq(shape[2])
    turn = np.exp(-2j * np.pi * (k_y * shift[0] + k_x * shift[1]) / 4)
    moved = np.fft.ifft2(np.fft.fft2(values) * turn).real
    moved += 0.1 * values.std() * rng.normal(size=moved.shape)
    first, second = (
        CoarseBands(each.astype(np.float32), 4.0, (-4.0, -4.0, -4.0)) for each in (moved, values)
    )
    *found, share = displacement_px(first, second)
    np.testing.assert_allclose(found, shift, atol=0.25)
    assert share < 1 if any(shift) else share > 0.99


def test_training_finds_a_network():
    rng = np.random.default_rng(3)
    bands = rng.normal(size=(30_000, BANDS)).astype(np.float32)
    target = bands[:, 0] + 2 * np.maximum(bands[:, 1] - bands[:, 3] - 0.5, 0)
    target += rng.normal(size=len(target)) / 10
    held_out = np.arange(len(target)) % 5 == 4
    taught = Lesson(
        bands, target.astype(np.float32), held_out, np.full(BANDS, 10.0), np.ones(BANDS)
    )
    fit = fit_head(taught, 0, threads=2)
    assert fit.loss < 0.02 < 0.1 < fit.linear_loss
    one = fit_head(taught, 0, threads=1)
    assert np.array_equal(one.head.hidden, fit.head.hidden)
    blind = fit_head(taught, 0, first_band=2)
    assert not blind.head.hidden[:, :2].any()
    assert blind.loss < blind.linear_loss


def test_a_head_is_passed_on(tmp_path):
    rng = np.random.default_rng(5)
    taught = given(
        hidden=rng.normal(size=(UNITS, BANDS)).astype(np.float32),
        output=rng.normal(size=UNITS).astype(np.float32),
    )
    path = tmp_path / "x.tomofilt.safetensors"
    save_bundle(path, taught.to_bundle({"from": "here"}))
    found = Taught.from_bundle(load_bundle(path, "head"), path)
    bands = rng.normal(size=(BANDS, 50)).astype(np.float32)
    assert np.array_equal(found.head(bands), taught.head(bands))
    # a series of other densities
    other = found.for_bands(np.full(BANDS, 3.0))
    np.testing.assert_allclose(other(3 * bands), 3 * taught.head(bands), rtol=1e-4, atol=1e-4)
    bundle = load_bundle(path, "head")
    with pytest.raises(InputError, match="hidden"):
        Taught.from_bundle(
            replace(bundle, tensors={**bundle.tensors, "hidden": np.zeros((2, 2))}), path
        )


def run(series, folder: Path, **settings):
    destination = Destination(folder / "TS.mrc")
    result, heard = reconstructed(series, destination, replace(MATCH, **settings))
    return destination, result, heard


def test_both_tomograms_are_written(series, tmp_path, monkeypatch):
    shrunk = plain_head(linear=np.full(BANDS, 0.5, np.float32))
    accepted = Verdict(Taught(shrunk, np.ones(BANDS)), "good", {"head": "half"})
    asked = []
    monkeypatch.setattr(
        verdict, "judge", lambda problem, images, given: asked.append(problem) or accepted
    )
    plain, _, _ = run(series, tmp_path / "plain")
    destination, _, _ = run(series, tmp_path / "out", denoise=True)
    linear = mrcfile.read(destination.volume)
    assert np.array_equal(linear, mrcfile.read(plain.volume))
    denoised = mrcfile.read(destination.denoised.volume)
    np.testing.assert_allclose(denoised, linear / 2, atol=1e-6)
    assert destination.denoised.volume.name == "TS_denoised.mrc"
    for each in (destination, destination.denoised):
        record = json.loads(each.record.read_text())
        assert record["denoising"]["measured"]["head"] == "half"
    _, again, _ = run(series, tmp_path / "out", denoise=True)
    assert again.skipped
    # a tomogram without its denoised one is made again with it
    destination.denoised.volume.unlink()
    _, third, _ = run(series, tmp_path / "out", denoise=True)
    assert not third.skipped
    assert np.array_equal(mrcfile.read(destination.denoised.volume), denoised)
    assert len(asked) == 2
    # and is as good as one that was made without
    _, fourth, _ = run(series, tmp_path / "out")
    assert fourth.skipped


def test_a_refused_series_has_its_tomogram(series, tmp_path, monkeypatch):
    refused = Verdict(None, "because", {"refused": "because"})
    monkeypatch.setattr(verdict, "judge", lambda problem, images, given: refused)
    destination, result, _ = run(series, tmp_path / "out", denoise=True)
    assert destination.volume.exists()
    assert not destination.denoised.volume.exists()
    assert result.record.denoising.refused == "because"
    _, again, _ = run(series, tmp_path / "out", denoise=True)
    assert again.skipped


def test_what_denoising_does_not_go_with(series, tmp_path):
    for changes, words in (
        ({"filter": "ramp"}, "wiener-exact:match"),
        ({"projector": "direct"}, "direct projector"),
    ):
        with pytest.raises(InputError, match=words):
            make_plan(
                series,
                Destination(tmp_path / "TS.mrc"),
                replace(MATCH, denoise=True, **changes),
            )


def test_a_head_from_the_truth_and_its_use(tmp_path):
    from tomofilt.denoise.teach import teach_from_truth

    made = simulated_series(4, shape=(48, 72, 80), snr=0.5)
    series = replace(made.tilt_series(), halves=None)
    problem = problem_of(series, **asdict(MATCH))
    with problem.images() as images:
        taught, metadata = teach_from_truth(problem, images, made.truth)
    told = metadata["training"]
    assert told["held_out_loss"] < 0.95 * told["held_out_loss_of_linear"]
    path = tmp_path / "x.tomofilt.safetensors"
    save_bundle(path, taught.to_bundle(metadata))
    _, result, _ = run(series, tmp_path / "out", denoise=True, head=path)
    heads = result.record.denoising.measured["heads"]
    assert [head["from"] for head in heads] == ["a bundle"]
    with problem.images() as images, pytest.raises(InputError, match="voxels"):
        teach_from_truth(problem, images, made.truth[1:])
    with pytest.raises(InputError, match="--denoise"):
        run(series, tmp_path / "other", head=path)
