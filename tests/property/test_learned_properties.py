"""Learned filters: real and even whatever was learned, and the formula they are defined by."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from strategies_learned import grids, learned_filters, radial

from tomofilt.filters import FilterContext
from tomofilt.filters.learned import LearnedFilter

FFT_ACROSS = np.fft.fftfreq(12, 5.0)
FFT_ALONG = np.fft.fftfreq(10, 5.0)


def context_for(tilts):
    return FilterContext(tilts, np.ones(len(tilts)), 5.0, 2.5, 800.0, 8, 12)


@given(learned_filters())
def test_kernels_are_real(chosen):
    context = context_for(chosen.tilt_deg)
    gains = chosen.gains(FFT_ACROSS, FFT_ALONG[:, None], context)
    assert gains.dtype == np.float64
    mirrored = np.roll(gains[:, ::-1, ::-1], (1, 1), axis=(1, 2))
    # but for Nyquist frequencies, which stand for both signs in an FFT
    np.testing.assert_array_equal(gains[:, 1:5, 1:6], mirrored[:, 1:5, 1:6])
    np.testing.assert_array_equal(gains[:, 0], mirrored[:, 0])
    np.testing.assert_array_equal(gains[:, :, 0], mirrored[:, :, 0])


@given(learned_filters(), st.floats(-0.3, 0.3), st.floats(-0.3, 0.3))
def test_gains_are_even(chosen, across, along):
    context = context_for(chosen.tilt_deg)
    here = chosen.gains(np.array(across), np.array(along), context)
    there = chosen.gains(np.array(-across), np.array(-along), context)
    np.testing.assert_array_equal(here, there)


@given(learned_filters())
def test_gains_are_the_product(chosen):
    across, along = FFT_ACROSS, FFT_ALONG[:, None]
    context = context_for(chosen.tilt_deg)
    index, weight = chosen.nodes.interpolation(across, along)
    assert index.shape == weight.shape == (10, 12, index.shape[-1])
    np.testing.assert_allclose(weight.sum(-1), 1, atol=1e-12)
    assert weight.min() >= 0
    nodes = np.zeros((120, int(np.prod(chosen.nodes.shape))))
    np.add.at(nodes, (np.arange(120)[:, None], index.reshape(120, -1)), weight.reshape(120, -1))
    terms = chosen.coefficients.astype(float).reshape(len(chosen.coefficients), -1)
    product = chosen.angle_basis(chosen.tilt_deg) @ terms @ nodes.T
    expected = chosen.base_gains(across, along, context) * product.reshape(-1, 10, 12)
    found = chosen.gains(across, along, context)
    np.testing.assert_allclose(found, expected, atol=1e-9 * max(1, np.abs(expected).max()))


@given(radial | grids(), st.data())
def test_values_at_nodes_are_the_coefficients(nodes, data):
    values = np.arange(np.prod(nodes.shape), dtype=float)
    across, along = nodes.places(0.0, 1.0)
    index, weight = nodes.interpolation(across, along)
    found = np.sum(values[index] * weight, -1).reshape(nodes.shape)
    expected = values.reshape(nodes.shape).copy()
    if expected.ndim == 2:  # zero across the axis: both signs along it are one frequency
        half = expected.shape[1] // 2
        expected[0, :half] = expected[0, ::-1][:half]
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)


@given(learned_filters())
def test_bundles_hold_the_whole_filter(chosen):
    found = LearnedFilter.from_bundle(chosen.to_bundle({"licence": "CC0-1.0"}), "name")
    assert repr(found) == repr(chosen)
    assert found.spec == "learned:name"
    context = context_for(chosen.tilt_deg)
    np.testing.assert_array_equal(
        found.gains(FFT_ACROSS, FFT_ALONG[:, None], context),
        chosen.gains(FFT_ACROSS, FFT_ALONG[:, None], context),
    )
