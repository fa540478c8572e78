"""The filter that is computed from the series itself, end to end on simulated series."""

from dataclasses import asdict, replace

import mrcfile
import numpy as np
import pytest
from doubles import Images
from runs import problem_of, reconstructed, tomogram_of

from tomofilt.align.stack import AlignedStack
from tomofilt.errors import InputError
from tomofilt.filters.protocol import FilterContext
from tomofilt.filters.registry import parse
from tomofilt.filters.wiener import OVERLAP_THICKNESS, Measurement, WienerExact
from tomofilt.reconstruction.settings import Settings
from tomofilt.reconstruction.setup import make_problem
from tomofilt.series.projects import Destination
from tomofilt.simulate.series import ImagesInMemory, simulated_series


class FlatSnr:
    """One SNR at all frequencies, in the place of a measured one."""

    def __init__(self, values):
        self.values = np.asarray(values, dtype=float)

    def __call__(self, k):
        return np.broadcast_to(
            self.values.reshape(-1, *(1,) * np.ndim(k)), (len(self.values), *np.shape(k))
        ).copy()


def gains_of(snr, tilts, k, thickness=1000.0):
    context = FilterContext(np.asarray(tilts, float), np.ones(len(tilts)), 10.0, 10.0, 500.0, 8, 16)
    found = Measurement(FlatSnr(snr), thickness / OVERLAP_THICKNESS, 0.0, "test")
    return WienerExact("match", found).gains(k, np.zeros(1), context)


def test_limits_of_the_formula():
    """Dense views of one SNR: the ramp times t / (t + k dtheta D / L); no signal: nothing."""
    tilts = np.arange(-90.0, 90.0, 0.5)
    k = np.array([0.005, 0.01, 0.02])
    step = np.radians(0.5)
    for snr in (100.0, 1.0, 0.01):
        gains = gains_of(np.full(len(tilts), snr), tilts, k)[len(tilts) // 2]
        lobe = 1.1789797  # area of sinc's main lobe
        expected = k * step * 10.0 * snr / (snr + k * step * 1000.0 / lobe)
        np.testing.assert_allclose(gains, expected, rtol=5e-3)
    assert np.all(gains_of(np.zeros(5), np.arange(5.0), k) == 0)


def test_a_noisy_view_counts_less():
    tilts = np.array([-3.0, 0.0, 3.0])
    low, high, _ = gains_of([0.1, 1.0, 1.0], tilts, np.array([0.02]))[:, 0]
    assert 0 < low < 0.2 * high


def run(series, tmp_path, **settings):
    destination = Destination(tmp_path / "rec.mrc")
    chosen = Settings(**{"preview": False, "overwrite": True, "device": "cpu", **settings})
    result, heard = reconstructed(series, destination, chosen)
    return mrcfile.read(destination.volume), result, heard.text


def psnr(volume, truth):
    """Decibels after an affine match, away from the edges."""
    inside = tuple(slice(n // 8, n - n // 8) for n in truth.shape)
    own, true = volume[inside].ravel().astype(float), truth[inside].ravel().astype(float)
    slope, level = np.polyfit(own, true, 1)
    return 10 * np.log10(np.ptp(true) ** 2 / np.mean((slope * own + level - true) ** 2))


@pytest.mark.parametrize("with_halves", [True, False])
def test_it_knows_a_good_filter_without_the_truth(tmp_path, with_halves):
    """It comes close to, or beats, the Gaussian that only the truth can choose, and the ramp."""
    simulated = simulated_series(seed=4, snr=0.1)
    series = simulated.tilt_series()
    if not with_halves:
        series = replace(series, halves=None)
    own, result, notes = run(series, tmp_path, filter="wiener-exact:match")
    assert ("even and odd frames" if with_halves else "neighbouring views") in notes
    assert result.record.filter.measured["has_signal"]
    ramp = psnr(run(series, tmp_path, filter="ramp")[0], simulated.truth)
    tuned = max(
        psnr(run(series, tmp_path, filter=f"gaussian:{sigma}")[0], simulated.truth)
        for sigma in (0.05, 0.08, 0.11, 0.15)
    )
    score = psnr(own, simulated.truth)
    assert score > ramp + 1.0
    assert score > tuned - 0.3


def test_pure_noise_is_told(tmp_path):
    simulated = simulated_series(seed=1, snr=0.1)
    noise = np.random.default_rng(0).normal(size=simulated.images.shape)
    series = replace(
        simulated.tilt_series(), halves=None, images=Images(noise, tmp_path / "noise.mrc")
    )
    _, result, _ = run(series, tmp_path)
    assert not result.record.filter.measured["has_signal"]
    assert "views have nothing in common" in [flag.name for flag in result.record.flags]


def test_series_it_cannot_be_computed_for(tmp_path):
    series = simulated_series(seed=1, snr=0.1).tilt_series()
    two = replace(series.select([0, 1]), halves=None)
    with pytest.raises(InputError, match="needs three or more"):
        run(two, tmp_path)
    with pytest.raises(InputError, match="no preset"):
        parse("wiener-exact:pretty")


def test_measuring_does_not_depend_on_threads(tmp_path):
    series = simulated_series(seed=2, snr=0.3).tilt_series()
    facts = [problem_of(series, threads=n).filter.facts() for n in (1, 2)]
    assert facts[0] == facts[1]


@pytest.mark.parametrize("where", ["memory", "disk"])
def test_images_aligned_to_be_measured_make_the_same_tomogram(tmp_path, monkeypatch, where):
    """Filtered where they lie, in memory or on disk, they are as if aligned again."""
    made = simulated_series(3, shape=(24, 48, 56), snr=0.5, rotation_deg=84.0, shift_angst=8.0)
    series = replace(made.tilt_series(), halves=None)
    destination = Destination(tmp_path / "TS_rec.mrc")
    settings = Settings(halves="tilts", preview=False)
    if where == "disk":
        needed = make_problem(series, settings).room.used_bytes
        settings = replace(settings, max_memory_bytes=needed + 1000)
    stores, filtered = [], AlignedStack.filtered

    def noticed(stack, *arguments, in_place, **more):
        stores.append((stack.memory_bytes > 0, in_place))
        return filtered(stack, *arguments, in_place=in_place, **more)

    monkeypatch.setattr(AlignedStack, "filtered", noticed)
    reconstructed(series, destination, settings)
    assert stores == [(where == "memory", True)]
    problem = problem_of(series, **asdict(settings))
    assert problem.filter.measurement.snr.has_signal
    volume = tomogram_of(problem)
    np.testing.assert_array_equal(mrcfile.read(destination.volume), volume)
    halves = [mrcfile.read(destination.half(number).volume) for number in (1, 2)]
    np.testing.assert_allclose(np.mean(halves, axis=0), volume, atol=1e-4 * np.abs(volume).max())


def test_gold_beads_are_filled_before_anything_is_measured(tmp_path):
    """Two beads in a noisy series: kept as balls, erased, or left with their streaks."""
    simulated = simulated_series(seed=4, snr=0.1, shape=(32, 96, 96))
    stack = simulated.images.copy()
    places = np.array([[-200.0, 150.0, 60.0], [180.0, -210.0, -50.0]])
    y, x = np.indices(stack.shape[1:])
    for view, tilt in enumerate(np.radians(simulated.scheme.tilt_deg)):
        for place in places:
            u = place[0] * np.cos(tilt) + place[2] * np.sin(tilt)
            r = 10 * np.hypot(x - 47.5 - u / 10, y - 47.5 - place[1] / 10)
            stack[view] += 100 * np.clip((50 - r) / 10 + 0.5, 0, 1)
    images = ImagesInMemory(stack, 10.0)
    series = replace(simulated.tilt_series(), halves=None, images=images)
    made, notes = {}, {}
    for gold in ("keep", "erase", "as-is"):
        made[gold], result, notes[gold] = run(series, tmp_path, gold=gold)
        if gold != "as-is":
            assert result.record.gold["beads"] == 2
            np.testing.assert_allclose(result.record.gold["diameter_angst"], 100, rtol=0.1)
    assert "2 gold beads of 10 nm found" in notes["keep"]
    assert "found" not in notes["as-is"]
    z, y, x = np.rint(places[0][::-1] / 10 + simulated.grid.centre).astype(int)
    bead = np.s_[z - 1 : z + 2, y - 1 : y + 2, x - 1 : x + 2]
    beside = np.s_[z, y, x + 8 : x + 20]
    scale = made["erase"].std()
    assert made["keep"][bead].mean() > 8 * scale
    assert abs(made["erase"][bead].mean()) < 3 * scale
    # the bar on either side of a bead is gone
    assert made["as-is"][beside].mean() < -2 * scale
    assert abs(made["keep"][beside].mean()) < 1.5 * scale
    np.testing.assert_array_equal(made["keep"][beside], made["erase"][beside])
