"""PSNR and SSIM against scikit-image; FSC by region on volumes whose wedge is known."""

import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from strategies_evaluate import tomogram_of

from tomofilt.errors import InputError
from tomofilt.evaluate.against_truth import (
    affine_match,
    compare_with_truth,
    psnr_db,
    ssim,
    truth_fsc,
)
from tomofilt.simulate import simulated_series


@pytest.fixture(scope="module")
def truth():
    from scipy.ndimage import gaussian_filter

    volume = np.random.default_rng(0).standard_normal((40, 44, 48))
    return (gaussian_filter(volume, 1.5) * 5 + 0.3).astype(np.float32)


@pytest.fixture(scope="module")
def noisy(truth):
    noise = np.random.default_rng(1).standard_normal(truth.shape)
    return (truth + 0.4 * noise).astype(np.float32)


@pytest.mark.parametrize("data_range", [1.0, 2.7])
def test_psnr_and_ssim_are_scikit_images(truth, noisy, data_range):
    expected = peak_signal_noise_ratio(
        truth.astype(float), noisy.astype(float), data_range=data_range
    )
    assert psnr_db(noisy, truth, data_range) == pytest.approx(expected, abs=1e-6)
    expected = structural_similarity(
        truth.astype(float),
        noisy.astype(float),
        data_range=data_range,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
    )
    assert ssim(noisy, truth, data_range) == pytest.approx(expected, abs=1e-9)
    assert psnr_db(truth, truth, data_range) == np.inf
    assert ssim(truth, truth, data_range) == pytest.approx(1)


def test_affine_match_is_a_straight_line_fit(truth, noisy):
    slope, offset, correlation = affine_match(noisy, truth)
    expected = np.polyfit(noisy.ravel().astype(float), truth.ravel().astype(float), 1)
    np.testing.assert_allclose([slope, offset], expected, rtol=1e-5)
    assert correlation == pytest.approx(np.corrcoef(noisy.ravel(), truth.ravel())[0, 1], abs=1e-6)


def test_scale_and_contrast_matter_only_to_the_raw_figures(truth, noisy):
    tilts = np.linspace(-60, 60, 41)
    plain = compare_with_truth(noisy, truth, 10.0, tilts)
    scaled = compare_with_truth(-20 * noisy + 300, truth, 10.0, tilts)
    assert (plain.slope > 0, scaled.slope < 0) == (True, True)
    assert scaled.slope == pytest.approx(-plain.slope / 20, rel=1e-4)
    for name in ("psnr_db", "ssim"):
        assert getattr(scaled, name) == pytest.approx(getattr(plain, name), abs=1e-3)
    assert scaled.psnr_raw_db < plain.psnr_raw_db - 20
    assert plain.psnr_raw_db < plain.psnr_db
    for region in ("all", "sampled", "wedge"):
        np.testing.assert_allclose(
            scaled.fsc[region].correlation, plain.fsc[region].correlation, atol=1e-4
        )


def test_figures_are_of_the_central_three_quarters(truth, noisy):
    spoilt = noisy.copy()
    spoilt[:4], spoilt[:, :, -5:] = 100, -50
    clean, other = (compare_with_truth(each, truth, 10.0) for each in (noisy, spoilt))
    assert (other.psnr_db, other.ssim) == (clean.psnr_db, clean.ssim)
    low, high = np.percentile(truth[5:35, 6:38, 6:42], (0.1, 99.9))
    assert clean.data_range == pytest.approx(high - low)
    inner = clean.slope * noisy[5:35, 6:38, 6:42] + clean.offset
    expected = peak_signal_noise_ratio(
        truth[5:35, 6:38, 6:42].astype(float), inner.astype(float), data_range=high - low
    )
    assert clean.psnr_db == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("tilts", [(-60, 60), (-40, 62), (0, 50), (20, 110)])
def test_the_missing_wedge_is_where_no_view_looked(tilts):
    """The Fourier values along the views' directions are kept, all others are made noise."""
    shape = (32, 20, 36)
    rng = np.random.default_rng(3)
    truth = rng.standard_normal(shape).astype(np.float32)
    other = np.fft.fftn(rng.standard_normal(shape))
    spectrum = np.fft.fftn(truth)
    k_z, k_x = np.fft.fftfreq(shape[0])[:, None], np.fft.fftfreq(shape[2])
    seen = np.zeros((shape[0], shape[2]), bool)
    # the slice theorem: a view at tilt t measured the values with k = s (cos t, sin t) in (x, z)
    angle = np.degrees(np.arctan2(k_z, k_x)) + np.zeros_like(seen)
    for turn in (-180, 0, 180):
        seen |= (angle + turn >= tilts[0]) & (angle + turn <= tilts[1])
    seen[0, 0] = True
    volume = np.fft.ifftn(np.where(seen[:, None], spectrum, other)).real.astype(np.float32)
    curves = truth_fsc(volume, truth, 10.0, np.array([tilts[0], 1.0 * sum(tilts) / 2, tilts[1]]))
    high = curves["all"].frequency > 0.2  # below, the taper mixes the two
    assert curves["sampled"].correlation[high].mean() > 0.9
    assert abs(curves["wedge"].correlation[high].mean()) < 0.12
    assert set(truth_fsc(volume, truth, 10.0)) == {"all"}


def test_a_wedge_the_wrong_way_round_is_noticed():
    """A one-sided tilt range tells the sign of the tilt axis."""
    tilts = np.arange(-10.0, 61.0, 2)
    made = simulated_series(seed=1, shape=(32, 48, 64), tilt_deg=tilts, snr=np.inf)
    volume = tomogram_of(made.tilt_series(clean=True), filter="ramp")
    right, wrong = (truth_fsc(volume, made.truth, 10.0, angles) for angles in (tilts, -tilts))
    assert right["sampled"].mean(0.3) > 0.9
    assert right["wedge"].mean(0.3) < right["sampled"].mean(0.3) - 0.3
    assert wrong["sampled"].mean(0.3) < right["sampled"].mean(0.3) - 0.15


def test_bad_input():
    good = np.random.default_rng(0).standard_normal((12, 12, 12)).astype(np.float32)
    with pytest.raises(InputError, match="no truth of"):
        compare_with_truth(good, good[:-1], 10.0)
    for constant in (0.0, 1e6):
        with pytest.raises(InputError, match="truth is constant"):
            compare_with_truth(good, np.full_like(good, constant), 10.0)
        with pytest.raises(InputError, match="volume is constant"):
            compare_with_truth(np.full_like(good, constant), good, 10.0)
    with pytest.raises(InputError, match="NaN"):
        compare_with_truth(np.where(good > 2, np.nan, good), good, 10.0)
    with pytest.raises(InputError, match="too small for SSIM"):
        compare_with_truth(good[:10], good[:10] + 1, 10.0)
