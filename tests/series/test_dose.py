"""Radiation damage: published numbers, and what weights do to signal and noise."""

import numpy as np

from tomofilt.series.dose import critical_exposure, dose_weights

EXPOSURE = np.array([1.5, 4.5, 40.0, 118.5])


def test_critical_exposure_at_published_frequencies():
    # 0.245 k^-1.665 + 2.81 worked out by hand at 1/3, 1/10 and 1/20 A; 0.8 of it at 200 kV
    np.testing.assert_allclose(
        critical_exposure([1 / 3, 1 / 10, 1 / 20]), [4.3366, 14.138, 38.75], rtol=1e-3
    )
    np.testing.assert_allclose(critical_exposure(0.1, 200.0), 0.8 * 14.138, rtol=1e-3)


def test_low_frequencies_and_the_noise_are_kept():
    k = np.linspace(0, 0.3, 50)
    weights = dose_weights(k, EXPOSURE)
    np.testing.assert_allclose(weights[:, 0], 1, rtol=1e-6)
    np.testing.assert_allclose((weights**2).mean(axis=0), 1)
    assert np.all(np.diff(weights, axis=0) <= 0)  # the more exposed, the less


def test_weighted_views_show_no_more_than_the_undamaged_specimen():
    k = np.linspace(0.01, 0.3, 50)
    left = np.exp(-EXPOSURE[:, None] / (2 * critical_exposure(k)))
    kept = (dose_weights(k, EXPOSURE) * left).mean(axis=0)
    np.testing.assert_allclose(kept, np.sqrt((left**2).mean(axis=0)))
    assert np.all(kept <= 1)
    # and the SNR is the best that views can be summed to
    others = np.random.default_rng(1).uniform(0, 1, (200, len(EXPOSURE), 1))
    ratio = (others * left).sum(axis=1) / np.sqrt((others**2).sum(axis=1))
    assert np.all(ratio <= kept * np.sqrt(len(EXPOSURE)) + 1e-9)


def test_nothing_underflows():
    early, late = (dose_weights(np.array([0.4]), np.array([n, n + 3.0])) for n in (0.0, 3000.0))
    np.testing.assert_allclose(early, late)
