"""Projections of a given volume with the tilts and the noise of another series."""

from dataclasses import replace

import numpy as np
import pytest

from tomofilt.errors import InputError
from tomofilt.series.geometry import TiltGeometry
from tomofilt.simulate import simulated_series
from tomofilt.simulate.like import measure_noise, radial_power, series_like
from tomofilt.simulate.series import ImagesInMemory

TILTS = np.arange(-54.0, 55.0, 6.0) + 0.3


@pytest.fixture(scope="module")
def real():
    """What stands in for a real series: its SNR and spectra are known."""
    return simulated_series(
        8, shape=(40, 128, 128), tilt_deg=TILTS, snr=0.3, rotation_deg=12.0, shift_angst=20.0
    )


@pytest.fixture(scope="module")
def volume():
    return 7.0 * simulated_series(9, shape=(36, 80, 96), tilt_deg=[0.0]).truth


def snr_in_band(signal, noise, pixel, band=(0.004, 0.045)):
    k = (np.arange(48) + 0.5) / 48 / (2 * pixel)
    used = (k > band[0]) & (k < band[1])
    powers = [
        (np.array([radial_power(image, pixel, k) for image in stack]) * k)[:, used].sum(1)
        for stack in (signal, noise)
    ]
    return powers[0] / powers[1]


def test_power_of_white_noise_and_of_a_wave():
    rng = np.random.default_rng(0)
    k = (np.arange(20) + 0.5) / 20 / 8.0  # 4 A per pixel
    power = radial_power(rng.normal(5.0, 3.0, (200, 180)).astype(np.float32), 4.0, k)
    np.testing.assert_allclose(np.average(power, weights=k), 9.0 * 16.0, rtol=0.03)
    x = np.arange(180) * 4.0
    wave = np.broadcast_to(np.cos(2 * np.pi * 0.05 * x), (200, 180)).astype(np.float32)
    power = radial_power(wave, 4.0, k)
    assert abs(k[power.argmax()] - 0.05) < 1 / 160


@pytest.mark.parametrize("halves", [True, False])
def test_noise_level_is_measured(real, halves):
    """From frame halves, or from what neighbouring views share: within a fifth of the truth."""
    series = real.tilt_series()
    if not halves:
        series = replace(series, halves=None)
    k, _, noise = measure_noise(series, 10.0, 400.0, 2)
    level = np.average(noise, axis=1, weights=k)  # white: sigma^2 pixel^2
    expected = (real.images - real.clean).var(axis=(1, 2)) * 100.0
    np.testing.assert_allclose(level, expected, rtol=0.2)


def test_each_view_gets_the_snr_of_the_real_one(real, volume):
    series, facts = series_like(volume, 10.0, real.tilt_series(), 1, 2)
    assert series.clean.shape == (len(TILTS), 80, 96)
    np.testing.assert_allclose(series.scheme.tilt_deg, TILTS)
    np.testing.assert_allclose(
        series.scheme.exposure_before_e_per_a2, real.scheme.exposure_before_e_per_a2
    )
    upright = TiltGeometry.from_angles(TILTS).image_from_volume
    np.testing.assert_allclose(series.geometry.image_from_volume, upright)
    np.testing.assert_array_equal(series.truth, volume)
    found = snr_in_band(series.clean, series.images - series.clean, 10.0)
    wanted = snr_in_band(real.clean, real.images - real.clean, 10.0)
    ratio = found / wanted
    assert np.median(ratio) == pytest.approx(1.0, abs=0.25)
    assert np.abs(np.log(ratio)).max() < np.log(2)
    assert len(facts["snr_of_views"]) == len(TILTS)
    again, _ = series_like(volume, 10.0, real.tilt_series(), 1, 1)
    np.testing.assert_array_equal(again.halves, series.halves)


def test_coarser_volume_stands_for_binned_images(real, volume):
    """Binning takes no power from low frequencies: the noise there is the same."""
    fine = measure_noise(real.tilt_series(), 10.0, 400.0, 2)
    coarse = measure_noise(real.tilt_series(), 25.0, 400.0, 2)
    assert coarse[0].max() < 0.5 / 25.0
    np.testing.assert_allclose(
        np.average(coarse[2], axis=1, weights=coarse[0]),
        [np.interp(coarse[0], fine[0], row).mean() for row in fine[2]],
        rtol=0.25,
    )
    series, _ = series_like(volume, 25.0, real.tilt_series(), 1, 2)
    assert series.pixel_angst == 25.0


def test_refusals(real, volume):
    with pytest.raises(InputError, match=r"voxels of 5 A, smaller than the pixels of TS, 10 A"):
        series_like(volume, 5.0, real.tilt_series(), 0, 2)
    with pytest.raises(InputError, match="nothing to project"):
        series_like(np.ones((8, 8, 8), np.float32), 10.0, real.tilt_series(), 0, 2)
    noise = np.random.default_rng(0).normal(size=(2, *real.clean.shape)).astype(np.float32)
    even, odd = (ImagesInMemory(half, 10.0) for half in noise)
    blank = replace(
        real.tilt_series(), images=ImagesInMemory(noise.sum(0), 10.0), halves=(even, odd)
    )
    with pytest.raises(InputError, match="nothing but noise"):
        series_like(volume, 10.0, blank, 0, 2)
