"""Learned filters for other series: what each method recovers, and what is said about it."""

from dataclasses import replace

import numpy as np
import pytest

from tomofilt.errors import InputError
from tomofilt.filters import FilterContext, parse
from tomofilt.filters.learned import GridNodes, LearnedFilter, RadialNodes, fit
from tomofilt.filters.transfer import METHODS, for_series, transfer

K = np.geomspace(1e-3, 0.05, 8)
TILTS = np.arange(-60.0, 61, 2)
OTHERS = np.linspace(-57.3, 54.1, 35)


def truth(tilt_deg, k=K):
    """A gain that falls with frequency, and the faster the thicker the specimen looks."""
    path = 1 / np.cos(np.radians(np.asarray(tilt_deg)[:, None]))
    return np.exp(-((k / 0.03) ** 2) * path) / (1 + 0.3 * path)


def learned(tilts=TILTS, values=truth):
    return LearnedFilter("ramp", "per-tilt", RadialNodes(K), tilts, values(tilts), name="smooth")


def context_for(tilts, pixel=10.0, density=10.0, width=128):
    return FilterContext(tilts, np.ones(len(tilts)), pixel, density, 1500.0, width, 3 * width // 2)


@pytest.mark.parametrize(
    ("method", "error"),
    [("nearest", 0.01), ("linear", 3e-4), ("cubic", 1e-4), ("polynomial", 1.5e-3)],
)
def test_smooth_gains_are_recovered(method, error):
    found = transfer(learned(), OTHERS, method)
    worst = np.abs(found.coefficients - truth(OTHERS)).max() / truth(OTHERS).max()
    assert error / 4 < worst < error


def test_a_polynomial_of_the_angle_is_recovered_exactly():
    def quartic(tilts):
        x = np.asarray(tilts)[:, None] / 60
        return 1 + 0.2 * x - 0.5 * x**2 + K * (x**3 - x**4)

    found = transfer(learned(values=quartic), OTHERS)
    np.testing.assert_allclose(found.coefficients, quartic(OTHERS), rtol=1e-9)


def test_polynomials_average_the_noise_of_the_training():
    rng = np.random.default_rng(5)
    noise = 0.1 * rng.standard_normal((61, 8))
    noisy = learned(values=lambda tilts: truth(tilts) + noise)

    def rms(method):
        return np.sqrt(np.mean((transfer(noisy, OTHERS, method).coefficients - truth(OTHERS)) ** 2))

    # 5 parameters for 61 views: a noise of 0.1 sqrt(5 / 61) = 0.029
    assert rms("polynomial") < 0.035
    assert rms("linear") > 2 * rms("polynomial")


@pytest.mark.parametrize("method", ["nearest", "linear", "cubic"])
def test_the_same_tilts_change_nothing(method):
    refined = TILTS + 0.3 * np.sin(np.arange(61.0))
    chosen = learned(refined)
    np.testing.assert_allclose(
        transfer(chosen, refined, method).coefficients, chosen.coefficients, rtol=1e-9
    )
    turned = transfer(chosen, refined[::-1], method)
    np.testing.assert_allclose(turned.coefficients, chosen.coefficients[::-1], rtol=1e-9)


def test_the_same_tilts_need_no_transfer():
    chosen = learned()
    found = for_series(chosen, TILTS[3:40] + 0.02, 10.0)
    assert found.notes == ()
    assert repr(found) == repr(chosen)


def test_the_same_scheme_needs_no_transfer():
    """Views are paired as in training: by rank, if none is off by more than a degree."""
    chosen = learned()
    tilts = (TILTS + 0.9 * np.sin(np.arange(61.0)))[::-1]
    found = for_series(chosen, tilts, 10.0)
    assert found.notes == ("tilts differ by up to 0.90 deg from those of the training",)
    np.testing.assert_array_equal(found.coefficients, chosen.coefficients[::-1])
    np.testing.assert_array_equal(found.tilt_deg, tilts)
    assert "transferred" in for_series(chosen, TILTS + 1.1, 10.0).notes[0]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("base", ["flat", "ramp"])
def test_fewer_views_count_more(method, base):
    """The ramp learned on 61 tilts is the ramp on 35: the angular step comes with the series."""
    pixel = 7.84
    nodes = GridNodes(np.fft.rfftfreq(192, 10.0), np.linspace(-0.05, 0.05, 33))
    empty = LearnedFilter(base, "per-tilt", nodes, TILTS, np.ones((61, *nodes.shape)))
    chosen = fit(parse("ramp"), empty, context_for(TILTS))
    context = context_for(OTHERS, pixel, pixel, 96)
    k = np.linspace(1e-3, 0.05, 40)
    found = transfer(chosen, OTHERS, method).gains(k, np.zeros(1), context)
    expected = parse("ramp").gains(k, np.zeros(1), context)
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    step = np.radians(np.diff(OTHERS)[0])
    np.testing.assert_allclose(found[17], step * pixel * k, rtol=1e-9)


@pytest.mark.parametrize("method", METHODS)
def test_beyond_the_training_nothing_runs_away(method):
    wider = np.array([-75.0, -60.0, 0.0, 60.0, 80.0])
    found = transfer(learned(), wider, method)
    np.testing.assert_allclose(found.coefficients[[0, 4]], found.coefficients[[1, 3]])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("tilts", [[0.0], [-10.0, 20.0], [-3.0, 0.0, 0.0, 3.0]])
def test_few_tilts(method, tilts):
    tilts = np.array(tilts)
    found = transfer(learned(tilts), np.array([-20.0, 0.0, 1.0]), method)
    assert np.isfinite(found.coefficients).all()
    np.testing.assert_allclose(found.coefficients[1], truth([0.0])[0], rtol=0.1)


def test_views_at_one_tilt_count_as_their_mean():
    values = np.arange(4.0)[:, None] * np.ones(8)
    chosen = learned(np.array([-3.0, 0.0, 0.0, 3.0]), lambda _: values)
    found = transfer(chosen, np.array([0.0, 1.5]), "linear")
    np.testing.assert_allclose(found.coefficients[:, 0], [1.5, 2.25])


def test_what_is_noted():
    found = for_series(learned(), np.linspace(-65, 60, 35), 5.0)
    assert found.notes == (
        "transferred from 61 tilts from -60 to 60 deg to 35 tilts from -65 to 60 deg by "
        "polynomials of order 4 over the angle, by least squares",
        "2 views are steeper than the -60 to 60 deg of the training and filtered as the steepest "
        "there",
        "nothing was learned beyond 20 A: between there and 10 A the factors are those at 20 A",
    )
    np.testing.assert_array_equal(found.tilt_deg, np.linspace(-65, 60, 35))


def test_filters_of_any_tilt_are_not_transferred():
    shared = replace(learned(), angles="shared", coefficients=truth([0.0]))
    assert for_series(shared, OTHERS + 20, 10.0).notes == ()
    with pytest.raises(InputError, match="smooth has shared angles and goes with any tilts"):
        transfer(shared, OTHERS)
