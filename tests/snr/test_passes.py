"""Sums in one pass, against the same in numpy."""

import numpy as np
import pytest

from tomofilt.snr.passes import add_bands, fade_out, moments


def test_moments_of_what_is_not_zero():
    rng = np.random.default_rng(0)
    image = rng.normal(3, 2, size=(40, 50)).astype(np.float32)
    window = rng.uniform(size=image.shape).astype(np.float32)
    image[:, :7] = 0
    low, high = 0.5, 5.0
    sums = np.zeros(7)
    moments(image, window, low, high, sums)
    some, weights = image[image != 0].astype(float), window[image != 0].astype(float)
    values, cut = some - 2.75, np.clip(some, low, high) - 2.75
    expected = [
        some.size,
        values.sum(),
        (values**2).sum(),
        cut.sum(),
        (cut**2).sum(),
        (weights * cut).sum(),
        weights.sum(),
    ]
    np.testing.assert_allclose(sums, expected, rtol=1e-10)
    faded = fade_out(image, window, low, high, 2.0)
    plain = np.where(image != 0, (np.clip(image, low, high) - 2.0) * window, 0)
    np.testing.assert_allclose(faded, plain, atol=1e-6)


@pytest.mark.parametrize("lowest", [0.0, 0.03])
def test_bands_of_two_spectra(lowest):
    rng = np.random.default_rng(1)
    first, second = (
        (rng.normal(size=(64, 9)) + 1j * rng.normal(size=(64, 9))).astype(np.complex64)
        for _ in range(2)
    )
    second[:, 4] = 0
    k_along = np.fft.fftfreq(64)
    lines, k_across = np.array([0, 2, 4, 8]), np.array([0.05, 0.1, 0.2, 0.4])
    edges = np.array([0.08, 0.15, 0.3, 0.45])
    sums = np.zeros((4, 3, 6))
    add_bands(first, second, lines, k_across, k_along, lowest, edges, sums)
    a, b = first[:, lines], second[:, lines]
    radius = np.hypot(k_along[:, None], k_across)
    terms = (a * b.conj()).real, (a * b.conj()).imag, abs(a) ** 2, abs(b) ** 2, a.real**0, radius
    for band in range(3):
        inside = (radius >= edges[band]) & (radius < edges[band + 1])
        inside &= (b != 0) & (np.abs(k_along)[:, None] > lowest)
        expected = np.stack([(term * inside).sum(axis=0) for term in terms], axis=-1)
        np.testing.assert_allclose(sums[:, band], expected, rtol=1e-5, atol=1e-5)
