"""Sums in one pass, against the same in numpy."""

import numpy as np
import pytest

from tomofilt.snr.passes import add_bands, add_likeness, level


@pytest.mark.parametrize("width", [50, 51])
def test_an_image_is_levelled_and_folded(width):
    rng = np.random.default_rng(0)
    image = rng.normal(3, 2, size=(40, width)).astype(np.float32)
    image[:, :7] = 0
    window_y, window_x = (rng.uniform(size=n).astype(np.float32) for n in image.shape)
    low, high = 0.5, 5.0
    out = np.empty((1, *image.shape), np.float32)
    share = level(image, window_y, window_x, low, high, out)
    window = np.outer(window_y, window_x) * (image != 0)
    cut = np.clip(image, low, high)
    expected = (cut - np.average(cut, weights=window)) * window
    np.testing.assert_allclose(out[0], expected, atol=1e-6)
    np.testing.assert_allclose(share, cut[:, 7:].var() / image[:, 7:].var(), rtol=1e-6)
    half = (width + 1) // 2
    folded = np.empty((2, 40, half), np.float32)
    assert level(image, window_y, window_x, low, high, folded) == share
    right, left = out[0, :, width - half :], out[0, :, half - 1 :: -1]
    np.testing.assert_array_equal(folded, [right + left, right - left])


def spectra(views, shape=(64, 9)):
    """Random spectra of some views, and their frequencies."""
    rng = np.random.default_rng(1)
    values = rng.normal(size=(views, *shape)) + 1j * rng.normal(size=(views, *shape))
    k_across = np.outer(1 + 0.1 * np.arange(views), 0.05 * np.arange(1, shape[1] + 1))
    return values.astype(np.complex64), k_across, np.fft.fftfreq(shape[0])


def inside_of(a, b, radius, k_along, lowest):
    has_data = (a != 0) & (b != 0)
    return has_data & (np.abs(k_along)[:, None] > lowest) & (radius < 0.5)


@pytest.mark.parametrize("lowest", [0.0, 0.03])
def test_bands_of_pairs_of_spectra(lowest):
    values, k_across, k_along = spectra(3)
    values[1, :, 4] = 0
    first, second = np.array([0, 2]), np.array([1, 0])
    lines = np.ones((2, 9), dtype=bool)
    lines[1, ::2] = False
    edges = np.array([0.08, 0.15, 0.3, 0.45])
    sums = np.zeros((2, 9, 3, 6))
    add_bands(values, first, second, lines, k_across, k_along, lowest, edges, sums)
    for pair, (m, n) in enumerate(zip(first, second, strict=True)):
        a, b = values[m], values[n]
        radius = np.hypot(k_along[:, None], np.sqrt(k_across[m] * k_across[n]))
        terms = (
            (a * b.conj()).real,
            (a * b.conj()).imag,
            abs(a) ** 2,
            abs(b) ** 2,
            a.real**0,
            radius,
        )
        used = inside_of(a, b, radius, k_along, lowest) & lines[pair]
        for band in range(3):
            inside = used & (radius >= edges[band]) & (radius < edges[band + 1])
            expected = np.stack([(term * inside).sum(axis=0) for term in terms], axis=-1)
            np.testing.assert_allclose(sums[pair, :, band], expected, rtol=1e-5, atol=1e-5)


def test_likeness_about_turned_axes():
    """Phases of two spectra, sorted by bands and by distances from the axis."""
    values, k_across, k_along = spectra(2)
    values *= 1e12  # the fourth power of that has no place in single precision
    values[1, :, 4] = 0
    k_x = k_across[0]
    phases = np.exp(2j * np.pi * np.linspace(0, 1, 9)).astype(np.complex64)
    angles, edges, steps, highest = np.array([0.0, 0.3]), np.array([0.1, 0.2, 0.3]), 20.0, 0.4
    sums = np.zeros((2, 2, 5, 3))
    add_likeness(
        values,
        np.array([0]),
        np.array([1]),
        phases[None],
        k_x,
        k_across,
        k_along,
        0.03,
        highest,
        edges,
        np.array([steps]),
        np.array([np.cos(angles), np.sin(angles)]),
        sums,
    )
    a, b = values.astype(np.complex128)
    radius = np.hypot(k_along[:, None], np.sqrt(k_across[0] * k_across[1]))
    used = inside_of(a, b, radius, k_along, 0.03) & (radius < highest)
    band = np.clip(np.digitize(radius, edges) - 1, 0, 1)
    cosine = np.cos(np.angle(a * phases * b.conj()))
    for j, angle in enumerate(angles):
        for sign, part in ((1, 0), (-1, 1)):
            across = k_x * np.cos(angle) + sign * k_along[:, None] * np.sin(angle)
            place = (np.abs(across) * steps).astype(int)
            inside = used & (place < 5)
            expected = np.zeros((2, 2, 5))
            np.add.at(expected[0], (band[inside], place[inside]), cosine[inside])
            np.add.at(expected[1], (band[inside], place[inside]), 1)
            np.testing.assert_allclose(sums[j, :, :, part], expected[0], atol=1e-5)
            np.testing.assert_array_equal(sums[j, :, :, 2], expected[1])
