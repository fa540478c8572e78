"""Gains of the Wiener-exact filter, and the table that they are applied from."""

import json
from dataclasses import replace

import numpy as np
import pytest

from tomofilt.errors import InputError
from tomofilt.filters import FilterContext, parse
from tomofilt.filters.analytic import MAIN_LOBE_AREA, Exact
from tomofilt.filters.apply import ImageFilter
from tomofilt.filters.table import GainTable
from tomofilt.filters.wiener import OVERLAP_THICKNESS, Measurement, WienerExact, signal_reach
from tomofilt.series.geometry import TiltGeometry
from tomofilt.snr import NO_WEIGHT, SpectralSnr

TILTS = np.array([-61.0, -50.5, -37.0, -30.0, -12.0, 0.0, 4.0, 20.0, 33.0, 59.0])
CONTEXT = FilterContext(TILTS, np.ones(10), 10.0, 5.0, 1500.0, 200, 300)
K = np.geomspace(1e-4, 0.05, 60)


def snr_of(level, views=10):
    """A falling spectrum of about that level, the same for all views."""
    k = np.geomspace(0.0006, 0.05, 12)
    zeros = np.zeros(views)
    return SpectralSnr(k, np.log(level) - 40 * k, zeros, zeros.copy())


def match(snr, thickness=1000.0):
    return WienerExact("match", Measurement(snr, thickness, 0.0, "a test"))


def test_with_much_signal_it_is_the_exact_filter():
    flat = SpectralSnr(K[[0, -1]], np.log([99.0, 99.0]), np.zeros(10), np.zeros(10))
    flat = replace(flat, log_factor=flat.log_factor + 14)
    gains = match(flat).gains(K, np.zeros(1), CONTEXT)
    exact = Exact(OVERLAP_THICKNESS * 1000.0 / MAIN_LOBE_AREA).gains(K, np.zeros(1), CONTEXT)
    np.testing.assert_allclose(gains, exact, rtol=1e-5)


def test_views_without_weight_change_nothing():
    """A blank view has no gain, and the others are as without it."""
    snr = snr_of(2.0)
    snr.log_factor[3] = NO_WEIGHT
    gains = match(snr).gains(K, np.zeros(1), CONTEXT)
    assert gains[3].max() < 1e-6 * gains[2].max()
    others = np.delete(np.arange(10), 3)
    context = replace(CONTEXT, tilt_deg=TILTS[others], scale=np.ones(9))
    without = match(snr_of(2.0, 9)).gains(K, np.zeros(1), context)
    np.testing.assert_allclose(gains[others], without, rtol=1e-6)


def test_gains_depend_on_both_frequencies():
    chosen = match(snr_of(1.0))
    across, along = np.meshgrid(np.linspace(0.001, 0.05, 7), np.linspace(-0.05, 0.05, 9))
    together = chosen.gains(across, along, CONTEXT)
    apart = chosen.gains(across[:1], along[:, :1], CONTEXT)
    np.testing.assert_allclose(apart, together, rtol=1e-6)
    # less signal far off the axis: less gain
    assert np.all(together[:, 4, :-1] > together[:, 0, :-1])
    one = chosen.gains(across[2, 3:4], along[2, 3:4], CONTEXT)
    np.testing.assert_allclose(one[:, 0], together[:, 2, 3], rtol=1e-6)


def test_magnified_views_keep_their_densities():
    """Where all views overlap, and where none do, gains hardly know of the magnification."""
    plain = match(snr_of(1.0)).gains(np.array([0.05]), np.zeros(1), CONTEXT)
    magnified = replace(CONTEXT, scale=np.full(10, 1.02))
    scaled = match(snr_of(1.0)).gains(np.array([0.05]), np.zeros(1), magnified)
    np.testing.assert_allclose(scaled, plain, rtol=0.05)


def test_the_view_preset_keeps_half_of_the_amplitude_where_the_signal_ends():
    found = Measurement(snr_of(5.0), 1000.0, 0.0, "a test", reach_k=0.02)
    k = np.array([1e-5, 0.01, 0.02])
    view, all_of_it = (
        WienerExact(preset, found).gains(k, np.zeros(1), CONTEXT) for preset in ("view", "match")
    )
    kept = np.tile(0.5 ** np.array([0, 0.25, 1]), (10, 1))
    np.testing.assert_allclose(view / all_of_it, kept, rtol=1e-6)


def test_the_signal_ends_where_overlapping_views_have_too_little():
    """A line in log k: SNR k^-2, alone or from several views that overlap fully."""
    k = np.array([1e-3, 0.1])
    falling = np.log(0.2 * (0.02 / k) ** 2)
    one = SpectralSnr(k, falling, np.zeros(1), np.zeros(1))
    assert signal_reach(one, np.zeros(1), 500.0) == pytest.approx(0.02, rel=0.03)
    four = SpectralSnr(k, falling, np.zeros(4), np.zeros(4))
    assert signal_reach(four, np.zeros(4), 500.0) == pytest.approx(0.04, rel=0.03)
    assert signal_reach(replace(four, has_signal=False), np.zeros(4), 500.0) == np.inf
    strong = replace(four, log_spectrum=falling + 5)
    assert signal_reach(strong, np.zeros(4), 500.0) == np.inf


@pytest.mark.parametrize(("step_deg", "snr"), [(1.0, 0.02), (3.0, 0.3)])
def test_evenly_spaced_views_overlap_or_leave_gaps(step_deg, snr):
    """n main lobes side by side: dense views share n times their SNR, sparse ones miss the rest."""
    tilts = np.arange(-60, 60.1, step_deg)
    zeros = np.zeros(len(tilts))
    k = np.array([1e-3, 0.1])
    found = signal_reach(SpectralSnr(k, np.log([snr, snr]), zeros, zeros), tilts, 500.0)
    n = MAIN_LOBE_AREA / (OVERLAP_THICKNESS * 500.0 * found * np.radians(step_deg))
    assert (n < 1) == (step_deg > 1)
    assert n * snr / (1 + snr * max(0, 1 - n)) == pytest.approx(0.2, rel=0.08)


def test_it_says_what_was_measured():
    found = Measurement(snr_of(5.0), 1234.5, -20.0, "neighbouring views", 0.02)
    facts = WienerExact("view", found).facts()
    assert json.loads(json.dumps(facts)) == facts
    assert facts["specimen_thickness_angst"] == 1234.5
    assert facts["signal_reaches_angst"] == 50.0
    assert len(facts["snr"]["factor"]) == 10
    assert "signal_reaches_angst" not in match(snr_of(5.0)).facts()
    assert WienerExact("match").facts() == {}


def test_names():
    assert parse("wiener-exact") == WienerExact("view")
    assert parse("wiener-exact:match").spec == "wiener-exact:match"
    # fingerprints are made from the repr before anything is measured
    assert repr(match(snr_of(1.0))) == repr(WienerExact("match"))
    with pytest.raises(InputError, match="'match' is for"):
        parse("wiener-exact:sharp")
    with pytest.raises(InputError, match="made from the images"):
        WienerExact().gains(K, K, CONTEXT)


VIEW = WienerExact("view", Measurement(snr_of(5.0), 1000.0, 0.0, "a test", 0.02))


@pytest.mark.parametrize(
    ("chosen", "share"),
    [(parse("gaussian:0.06"), 2e-4), (VIEW, 5e-3), (match(snr_of(5.0)), 5e-3)],
)
def test_the_table_is_true_to_the_gains(chosen, share):
    """At any frequency, in any orientation, to a small share of the largest gain."""
    lowest, highest = 1e-4, 0.08
    table = GainTable(chosen, CONTEXT, lowest, highest)
    k_y, k_x = np.fft.fftfreq(90, 10.0), np.fft.rfftfreq(128, 10.0)
    for turn in (np.eye(2), np.array([[0.1, -1.0], [1.0, 0.1]])):
        across = turn[0, 0] * k_x + turn[0, 1] * k_y[:, None]
        along = turn[1, 0] * k_x + turn[1, 1] * k_y[:, None]
        across = np.where(np.abs(across) < lowest, np.copysign(lowest, across), across)
        expected = chosen.gains(across, along, CONTEXT)
        for view in (0, 5):
            spectrum = np.ones((90, 65), dtype=np.complex64)
            table.multiply(view, spectrum, k_y, k_x, turn)
            error = np.abs(spectrum.real - expected[view]).max()
            assert error < share * expected.max()


def test_a_noisy_image_comes_out_smoother_along_both_axes():
    _, slices = TiltGeometry.from_angles(TILTS).factor()
    filtered = ImageFilter(
        match(snr_of(0.1)),
        slices,
        (120, 100),
        pixel_angst=(10.0, 10.0),
        density_pixel_angst=10.0,
        thickness_angst=1000.0,
    ).filter_image(5, np.random.default_rng(0).normal(size=(120, 100)).astype(np.float32))
    for axis in (0, 1):
        steps = np.diff(filtered, axis=axis)
        assert steps.std() < 1.2 * filtered.std()  # of white noise: 1.41
