"""Ring and shell correlation against a plain numpy version, known spectra and white noise."""

import numpy as np
import pytest

from tomofilt.errors import InputError
from tomofilt.evaluate.rings import (
    BANDS,
    RingCorrelation,
    band_correlation,
    radial_power,
    ring_correlation,
    taper,
    volume_correlation,
)
from tomofilt.series.geometry import ImageGrid, TiltGeometry, VolumeGrid
from tomofilt.simulate.projection import project


def noise(shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def plain(first, second):
    """The same without half spectra, weights or planes: every Fourier value by itself."""
    shape = first.shape
    window = np.ones(())
    for n in shape:
        window = window[..., None] * taper(n)
    a, b = (np.fft.fftn((each - each.mean()) * window) for each in (first, second))
    axes = np.meshgrid(*(np.fft.fftfreq(n) for n in shape), indexing="ij")
    ring = np.rint(np.sqrt(sum(axis**2 for axis in axes)) * max(shape))
    curve, count = [], []
    for r in range(1, max(shape) // 2 + 1):
        inside = ring == r
        norm = np.sqrt((abs(a[inside]) ** 2).sum() * (abs(b[inside]) ** 2).sum())
        curve.append((a[inside] * b[inside].conj()).sum().real / norm)
        count.append(inside.sum())
    return np.array(curve), np.array(count)


@pytest.mark.parametrize("shape", [(12, 16, 18), (13, 15, 17), (9, 20, 11), (24, 31), (33, 20)])
def test_against_a_plain_version(shape):
    first = noise(shape)
    second = first + noise(shape, 1)
    (curve,) = ring_correlation(first, second, 10.0, threads=2)
    expected, count = plain(first, second)
    np.testing.assert_allclose(curve.correlation, expected, atol=2e-6)
    np.testing.assert_allclose(curve.frequency, np.arange(1, max(shape) // 2 + 1) / max(shape))
    share = np.prod([(taper(n) ** 2).sum() ** 2 / (n * (taper(n) ** 4).sum()) for n in shape])
    np.testing.assert_allclose(curve.values, count * share ** (1 - 1 / len(shape)), rtol=1e-12)


@pytest.mark.parametrize("shape", [(32, 40, 36), (150, 160)])
def test_white_noise_scatters_by_its_standard_error(shape):
    scores = []
    for seed in range(12):
        (curve,) = ring_correlation(noise(shape, 2 * seed), noise(shape, 2 * seed + 1), 10.0)
        kept = curve.values > 50
        scores.append((curve.correlation / curve.standard_error)[kept])
    scores = np.concatenate(scores)
    assert len(scores) > 150
    # the standard deviation of n numbers scatters by 1 / sqrt(2 n)
    assert abs(scores.mean()) < 4 / np.sqrt(len(scores))
    assert scores.std() == pytest.approx(1, abs=0.06 + 3 / np.sqrt(2 * len(scores)))
    assert abs(scores).max() < 4.5


def test_a_radial_gain_changes_nothing():
    first, second = noise((20, 24, 22)), noise((20, 24, 22)) + noise((20, 24, 22), 1)
    (before,) = ring_correlation(first, second, 10.0)
    (after,) = ring_correlation(3 * first + 7, second, 10.0)
    np.testing.assert_allclose(after.correlation, before.correlation, atol=1e-5)
    (same,) = ring_correlation(first, first, 10.0)
    np.testing.assert_allclose(same.correlation, 1, atol=1e-6)
    (opposite,) = ring_correlation(first, -first, 10.0)
    np.testing.assert_allclose(opposite.correlation, -1, atol=1e-6)


def test_regions_add_up_to_everything():
    first, second = noise((10, 12, 14)), noise((10, 12, 14)) + noise((10, 12, 14), 1)
    regions = np.random.default_rng(2).integers(0, 3, size=(10, 8))
    parts = ring_correlation(first, second, 10.0, regions=regions)
    (whole,) = ring_correlation(first, second, 10.0)
    assert len(parts) == 4
    np.testing.assert_allclose(parts[-1].correlation, whole.correlation, atol=1e-12)
    np.testing.assert_allclose(sum(part.values for part in parts[:3]), whole.values)
    regions = (np.fft.fftfreq(10)[:, None] ** 2 + np.fft.rfftfreq(14) ** 2 > 0.04).astype(int)
    low, high, _ = ring_correlation(first, second, 10.0, regions=regions)
    assert np.isnan(high.correlation[high.frequency < 0.15]).all()
    assert np.isfinite(high.mean(0.5))
    assert not np.isnan(low.correlation).any()


def test_resolution_is_where_the_curve_first_falls_below():
    frequency = np.arange(1, 51) / 100
    falling = np.clip(1 - 2 * frequency, 0, 1)  # 0.5 at 0.25 cycles per pixel
    falling[45:] = 0.9  # what comes back later does not count
    curve = RingCorrelation(frequency, falling, np.full(50, 1000.0), 4.0)
    assert curve.resolution_angst(0.5) == pytest.approx(16.0)
    assert curve.resolution_angst(0.143) == pytest.approx(4 / ((1 - 0.143) / 2), rel=0.02)
    assert curve.mean(0.1) == pytest.approx(falling[:10].mean())
    high = RingCorrelation(frequency, np.full(50, 0.6), np.full(50, 1000.0), 4.0)
    assert high.resolution_angst(0.5) is None
    assert high.resolution_angst(0.7) == np.inf
    few = RingCorrelation(frequency, falling * (frequency > 0.02), np.arange(50) * 10.0, 4.0)
    assert few.resolution_angst(0.5) == pytest.approx(16.0)  # rings of few values are passed over


def test_bands_are_rings_of_the_same_spectra():
    first = noise((60, 71))
    second = first + 2 * noise((60, 71), 1)
    window = np.outer(taper(60), taper(71))
    a, b = (np.fft.fft2((each - each.mean()) * window) for each in (first, second))
    k = np.hypot(np.fft.fftfreq(60)[:, None], np.fft.fftfreq(71))
    for (low, high), found in zip(BANDS, band_correlation(first, second, BANDS), strict=True):
        inside = (k >= low) & (k < high)
        cross = (a[inside] * b[inside].conj()).sum().real
        norm = np.sqrt((abs(a[inside]) ** 2).sum() * (abs(b[inside]) ** 2).sum())
        assert found == pytest.approx(cross / norm if inside.any() else 0, abs=1e-5)
    assert band_correlation(first, np.zeros_like(first), BANDS).tolist() == [0.0] * len(BANDS)


def test_images_are_weighed_as_the_volume_holds_them():
    """The correlation of projections from all sides is that of the volumes, whatever the noise."""
    from scipy import ndimage

    z, y, x = np.indices((48, 48, 48)) - 23.5
    ball = np.clip(19 - np.sqrt(z**2 + y**2 + x**2), 0, 4).astype(np.float32) / 4
    grain = ndimage.gaussian_filter(noise((48, 48, 48)), 2.0)
    first = ball * grain / grain.std()
    second = ball * ndimage.gaussian_filter(grain / grain.std() + 6 * noise(grain.shape, 1), 0.7)
    first, second = (each - ball * (each.sum() / ball.sum()) for each in (first, second))
    expected = np.vdot(first, second) / np.sqrt(np.vdot(first, first) * np.vdot(second, second))
    grid, images = VolumeGrid.centred((48, 48, 48), 1.0), ImageGrid.centred((64, 64), 1.0)
    around = TiltGeometry.from_angles(np.arange(0.0, 180, 10))
    pairs = [project(each, grid, around, images) for each in (first, second)]
    found = np.mean([volume_correlation(a, b) for a, b in zip(*pairs, strict=True)])
    assert found == pytest.approx(expected, abs=0.01)
    flat = np.mean([band_correlation(a, b, [(0, 0.5)])[0] for a, b in zip(*pairs, strict=True)])
    assert flat > expected + 0.15
    assert volume_correlation(noise((8, 8)), np.zeros((8, 8), np.float32)) == 0.0


def test_radial_power_of_white_noise_is_its_variance():
    frequency, power = radial_power(3 * noise((40, 44, 42)))
    assert frequency[-1] == 0.5
    np.testing.assert_allclose(power[8:], 9.0, rtol=0.1)
    assert power[4:].mean() == pytest.approx(9.0, rel=0.02)


def test_shapes_have_to_agree():
    with pytest.raises(InputError, match=r"\(4, 4\) and \(4, 5\)"):
        ring_correlation(noise((4, 4)), noise((4, 5)), 1.0)
