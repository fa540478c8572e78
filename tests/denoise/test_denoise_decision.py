"""When a series is denoised, and when not."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import mrcfile
import numpy as np
import pytest
from runs import problem_of, reconstructed

from tomofilt.denoise import decision, examples
from tomofilt.denoise.bands import BANDS, CoarseBands
from tomofilt.denoise.decision import Decision, decide
from tomofilt.denoise.examples import Examples, displacement_px
from tomofilt.denoise.fit import fit_head
from tomofilt.denoise.head import GATED, INPUTS, UNITS, Head
from tomofilt.errors import InputError
from tomofilt.io.bundle import load_bundle, save_bundle
from tomofilt.jobs.plan import make_plan
from tomofilt.reconstruction.settings import Settings
from tomofilt.series.projects import Destination
from tomofilt.simulate import simulated_series
from tomofilt.simulate.series import ImagesInMemory
from tomofilt.util.log import notes_told_to

SETTINGS = Settings(device="cpu", threads=2, preview=False)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(examples, "_VOXELS", 60_000)


@pytest.fixture(scope="module")
def series():
    made = simulated_series(2, shape=(48, 72, 80), snr=0.5)
    return replace(made.tilt_series(), halves=None)


@pytest.fixture(scope="module")
def problem(series):
    return problem_of(series, **asdict(SETTINGS))


def decided(problem, **how):
    with problem.images() as images:
        return decide(problem, images, **how)


def plain_head(**changes) -> Head:
    """A head that leaves the tomogram as it is."""
    parts = {
        "hidden": np.zeros((INPUTS, UNITS), np.float32),
        "threshold": np.zeros(UNITS, np.float32),
        "gate": np.zeros((GATED, UNITS), np.float32),
        "linear": np.ones(GATED, np.float32),
        "limit": np.full(BANDS, 1e3),
        "deviation": np.ones(BANDS),
        **changes,
    }
    return Head(**parts)


def refusal(problem, **how) -> str:
    notes = []
    with notes_told_to(notes.append):
        found = decided(problem, **how)
    assert found.head is None
    assert found.facts["refused"] == found.reason
    assert found.reason in notes[-1]
    json.dumps(found.facts)
    return found.reason


def with_snr(problem, factor: float, **changes):
    found = problem.filter.measurement
    snr = replace(found.snr, log_factor=found.snr.log_factor + np.log(factor), **changes)
    return problem.with_filter(replace(problem.filter, measurement=replace(found, snr=snr)))


def test_a_head_is_trained_and_taken(problem):
    found = decided(problem)
    assert found.head is not None, found.reason
    facts = found.facts
    json.dumps(facts)
    folds = facts["folds"]
    images = [image for fold in folds for image in fold["images"]]
    assert len(set(images)) == len(images) == facts["gain"]["views"] == 10
    for fold in folds:
        assert fold["held_out_loss"] < fold["held_out_loss_of_linear"]
    assert facts["gain"]["mean"] > decision.LEAST_GAIN * facts["gain"]["standard_error"]
    assert facts["strength"] == found.head.strength
    assert facts["strength"] in decision.STRENGTHS
    again = decided(problem)
    for name in ("hidden", "gate", "linear"):
        assert np.array_equal(getattr(found.head, name), getattr(again.head, name))


def test_no_signal(problem):
    assert "no signal" in refusal(with_snr(problem, 1.0, has_signal=False))


def test_little_signal(problem):
    assert "below 0.05" in refusal(with_snr(problem, 1e-4))


def test_a_small_volume(problem, monkeypatch):
    monkeypatch.setattr(decision, "FEWEST_VOXELS", 300_000)
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
    assert "cannot be tested" in refusal(problem.select(few).with_filter(chosen))


@pytest.mark.parametrize("axis", [1, 2])
def test_halves_that_are_displaced(problem, series, axis):
    stack = np.stack([series.images.read(i) for i in range(len(series.views))])
    order = np.argsort(series.tilt_deg)
    stack[order[::2]] = np.roll(stack[order[::2]], 2, axis=axis)
    moved = replace(problem, series=replace(series, images=ImagesInMemory(stack, 10.0)))
    assert "apart" in refusal(moved)


def test_a_head_that_loses_on_left_out_views(problem):
    shut = np.array([1, 0, 0, 1, 1], np.float32)
    assert "left-out views" in refusal(problem, given=plain_head(linear=shut))


def test_the_tomogram_itself_is_no_gain(problem):
    assert "left-out views" in refusal(problem, given=plain_head())


def test_a_head_that_goes_too_far_is_held_back(problem):
    head = decided(problem).head
    further = replace(head, gate=3 * head.gate, linear=1 + 3 * (head.linear - 1))
    assert decided(problem, given=further).facts["strength"] < 1


def test_after_a_ctf_a_head_is_held_back(problem):
    after = replace(problem, series=replace(problem.series, ctf_done="corrected before"))
    assert decided(problem).facts["strength"] > 0.5
    assert decided(after).facts["strength"] <= 0.5


def test_left_out_views_see_the_specimen_alone(problem):
    from tomofilt.denoise.central import CentralRows
    from tomofilt.denoise.prediction import LeftOutViews

    found = replace(problem.filter.measurement, thickness_angst=150.0, centre_angst=40.0)
    thin = problem.with_filter(replace(problem.filter, measurement=found))
    everything = np.arange(len(problem.series.views))
    with thin.images() as images:
        central = CentralRows(thin, images.aligned(), everything)
        views = LeftOutViews(thin, images.aligned(), central.problem, everything[18:23])
        _, block = central.volume(everything)
    noisy = block + np.random.default_rng(0).normal(size=block.shape).astype(np.float32)
    inside = np.abs(np.arange(48) - 23.5 - 4) < 1.4 * 7.5 + 2
    noisy[inside] = block[inside]
    found, expected = (views.correlation(views.project(each)) for each in (noisy, block))
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert expected.min() > 0.2


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


def test_training_finds_gates():
    rng = np.random.default_rng(3)
    bands = rng.normal(size=(60_000, GATED)).astype(np.float32)
    inputs = rng.normal(size=(len(bands), INPUTS)).astype(np.float32)
    target = bands[:, 0] + np.maximum(inputs[:, 4] + 0.5, 0) * bands[:, 2]
    target += rng.normal(size=len(target)) / 10
    some = Examples(
        bands=bands,
        target=target.astype(np.float32),
        inputs=inputs,
        held_out=np.arange(len(target)) % 5 == 4,
        limit=np.full(BANDS, 10.0),
        deviation=np.ones(BANDS),
    )
    fit = fit_head(some, 0)
    assert fit.loss < 0.05 < 0.5 < fit.linear_loss
    again = fit_head(some, 0)
    assert np.array_equal(again.head.hidden, fit.head.hidden)
    with pytest.raises(ValueError, match="held out"):
        fit_head(replace(some, held_out=np.zeros(len(target), bool)), 0)


def test_the_gradient_is_the_derivative():
    from tomofilt.denoise import fit

    rng = np.random.default_rng(4)
    x = rng.normal(size=int(fit._ENDS[-1])).astype(np.float32) / 3
    count = 2 * fit._PIECE + 400
    bands, inputs, target = (
        rng.normal(size=s).astype(np.float32) for s in ((GATED, count), (INPUTS, count), count)
    )

    def loss(x):
        hidden, threshold, gate, linear = fit._arrays(x)
        weights = np.maximum(inputs.T @ hidden + threshold, 0) @ gate.T + linear
        return np.mean(((weights * bands.T).sum(axis=1) - target) ** 2)

    slope, found = fit._gradient(x, bands, inputs, target)
    assert found == pytest.approx(loss(x.astype(np.float64)), rel=1e-5)
    for i in (3, 150, 159, 200, 243):
        step = np.zeros(len(x))
        step[i] = 1e-5
        assert slope[i] == pytest.approx((loss(x + step) - loss(x - step)) / 2e-5, abs=1e-4)


def test_a_head_is_passed_on(tmp_path):
    rng = np.random.default_rng(5)
    head = plain_head(
        hidden=rng.normal(size=(INPUTS, UNITS)).astype(np.float32),
        gate=rng.normal(size=(GATED, UNITS)).astype(np.float32),
    )
    path = tmp_path / "x.tomofilt.safetensors"
    save_bundle(path, head.to_bundle({"from": "here"}))
    found = Head.from_bundle(load_bundle(path, "head"), path)
    bands = rng.normal(size=(BANDS, 50)).astype(np.float32)
    inputs = rng.normal(size=(INPUTS, 50)).astype(np.float32)
    assert np.array_equal(found(bands, inputs), head(bands, inputs))
    # a series of other densities
    other = found.for_tomogram(np.full(BANDS, 3.0))
    np.testing.assert_allclose(other(3 * bands, inputs), 3 * head(bands, inputs), rtol=1e-4)
    bundle = load_bundle(path, "head")
    old = {"hidden": np.zeros((8, BANDS)), "output": np.zeros(8)}
    for tensors, words in (
        ({**bundle.tensors, "hidden": np.zeros((2, 2))}, "hidden"),
        ({**bundle.tensors, "limit": np.zeros(BANDS)}, "positive"),
        (old, "older tomofilt"),
    ):
        with pytest.raises(InputError, match=words):
            Head.from_bundle(replace(bundle, tensors=tensors), path)


def run(series, folder: Path, **settings):
    destination = Destination(folder / "TS.mrc")
    result, heard = reconstructed(series, destination, replace(SETTINGS, **settings))
    return destination, result, heard


def test_both_tomograms_are_written(series, tmp_path, monkeypatch):
    shrunk = plain_head(linear=np.zeros(GATED, np.float32))
    accepted = Decision(shrunk, "good", {"head": "low"})
    asked = []
    monkeypatch.setattr(
        decision, "decide", lambda problem, images, **_: asked.append(problem) or accepted
    )
    plain, _, _ = run(series, tmp_path / "plain")
    destination, _, _ = run(series, tmp_path / "out", denoise=True)
    linear = mrcfile.read(destination.volume)
    assert np.array_equal(linear, mrcfile.read(plain.volume))
    denoised = mrcfile.read(destination.denoised.volume)
    assert 0 < denoised.std() < 0.9 * linear.std()
    assert destination.denoised.volume.name == "TS_denoised.mrc"
    for each in (destination, destination.denoised):
        record = json.loads(each.record.read_text())
        assert record["denoising"]["measured"]["head"] == "low"
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
    refused = Decision(None, "because", {"refused": "because"})
    monkeypatch.setattr(decision, "decide", lambda problem, images, **_: refused)
    destination, result, _ = run(series, tmp_path / "out", denoise=True)
    assert destination.volume.exists()
    assert not destination.denoised.volume.exists()
    assert result.record.denoising.refused == "because"
    _, again, _ = run(series, tmp_path / "out", denoise=True)
    assert again.skipped


def test_what_denoising_does_not_go_with(series, tmp_path):
    for changes, words in (
        ({"filter": "ramp"}, "made for -f wiener-exact, not for ramp"),
        ({"filter": "map:1"}, "made for -f wiener-exact, not for map:1"),
        ({"projector": "direct"}, "direct projector"),
    ):
        with pytest.raises(InputError, match=words):
            make_plan(
                series,
                Destination(tmp_path / "TS.mrc"),
                replace(SETTINGS, denoise=True, **changes),
            )


def test_a_head_from_the_truth_and_its_use(tmp_path):
    from tomofilt.denoise.train import train_on_truth

    made = simulated_series(4, shape=(48, 72, 80), snr=0.5)
    series = replace(made.tilt_series(), halves=None)
    problem = problem_of(series, **asdict(SETTINGS))
    with problem.images() as images:
        head, metadata = train_on_truth(problem, images, made.truth)
    told = metadata["training"]
    assert told["held_out_loss"] < 0.95 * told["held_out_loss_of_linear"]
    path = tmp_path / "x.tomofilt.safetensors"
    save_bundle(path, head.to_bundle(metadata))
    _, result, _ = run(series, tmp_path / "out", denoise=True, head=path)
    folds = result.record.denoising.measured["folds"]
    assert not any("held_out_loss" in fold for fold in folds)
    with problem.images() as images, pytest.raises(InputError, match="voxels"):
        train_on_truth(problem, images, made.truth[1:])
    with pytest.raises(InputError, match="--denoise"):
        run(series, tmp_path / "other", head=path)
