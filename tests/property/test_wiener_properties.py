"""The Wiener-exact filter for any tilts and any SNR."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tomofilt.filters import FilterContext
from tomofilt.filters.wiener import Measurement, WienerExact
from tomofilt.snr import SpectralSnr

numbers = st.floats(-6, 6)
tilts = st.lists(st.floats(-75, 75), min_size=1, max_size=12).map(np.array)
#: Overlaps of views are added up in single precision.
ROUNDING = 2e-6
ACROSS, ALONG = np.geomspace(1e-5, 0.07, 15), np.linspace(-0.07, 0.07, 5)[:, None]


@st.composite
def measured(draw):
    """Tilts, and a measured filter for them."""
    tilt_deg = draw(tilts)
    falls = np.array(draw(st.lists(st.floats(0, 3), min_size=4, max_size=4)))
    snr = SpectralSnr(
        k=np.array([0.002, 0.008, 0.02, 0.05]),
        log_spectrum=draw(numbers) - np.cumsum(falls),
        log_factor=np.array([draw(numbers) for _ in tilt_deg]),
        decay_angst2=np.array([100 * draw(numbers) for _ in tilt_deg]),
    )
    found = Measurement(snr, draw(st.floats(50, 5000)), 0.0, "", draw(st.floats(1e-3, 0.1)))
    return tilt_deg, WienerExact(draw(st.sampled_from(["match", "view"])), found)


def gains(chosen, tilt_deg, across=ACROSS, along=ALONG):
    context = FilterContext(tilt_deg, np.ones(len(tilt_deg)), 7.0, 3.5, 900.0, 100, 150)
    return chosen.gains(across, along, context)


@given(measured())
def test_gains_are_finite_bounded_and_even(case):
    tilt_deg, chosen = case
    result = gains(chosen, tilt_deg)
    assert result.shape == (len(tilt_deg), 5, 15)
    assert np.isfinite(result).all()
    assert result.min() >= 0
    # one view alone, without noise
    assert result.max() <= 3.5 * 1.18 / (1.5 * chosen.measurement.thickness_angst)
    np.testing.assert_array_equal(result, gains(chosen, tilt_deg, -ACROSS, -ALONG))


@given(measured(), st.randoms(use_true_random=False))
def test_gains_belong_to_their_views(case, random):
    tilt_deg, chosen = case
    order = list(range(len(tilt_deg)))
    random.shuffle(order)
    found = chosen.measurement
    snr = SpectralSnr(
        found.snr.k,
        found.snr.log_spectrum,
        found.snr.log_factor[order],
        found.snr.decay_angst2[order],
    )
    shuffled = WienerExact(
        chosen.preset, Measurement(snr, found.thickness_angst, 0.0, "", found.reach_k)
    )
    np.testing.assert_allclose(
        gains(shuffled, tilt_deg[order]), gains(chosen, tilt_deg)[order], rtol=ROUNDING, atol=1e-300
    )


@given(measured(), st.floats(0.1, 3))
def test_more_signal_in_all_views_never_means_less_gain(case, more):
    tilt_deg, chosen = case
    found = chosen.measurement
    snr = SpectralSnr(
        found.snr.k,
        found.snr.log_spectrum,
        found.snr.log_factor + more,
        found.snr.decay_angst2,
    )
    richer = WienerExact(
        chosen.preset, Measurement(snr, found.thickness_angst, 0.0, "", found.reach_k)
    )
    before = gains(chosen, tilt_deg)
    assert np.all(gains(richer, tilt_deg) >= before * (1 - ROUNDING))
