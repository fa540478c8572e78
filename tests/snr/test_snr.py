"""SNR, thickness and height of specimens that are known."""

from functools import cache

import numpy as np
import pytest
from scipy.optimize import least_squares

from tomofilt.projectors.cpu import SliceProjector, slice_table
from tomofilt.reconstruction.solve import aligned
from tomofilt.series.geometry import ImageGrid, SliceGeometry, VolumeGrid
from tomofilt.simulate import simulated_series
from tomofilt.snr import (
    NO_WEIGHT,
    Coherence,
    fit_snr,
    frame_coherence,
    line_coherence,
    line_spectra,
    measure_thickness,
    model,
)
from tomofilt.snr.spectra import levelled, taper

PIXEL = 10.0
TILTS = np.arange(-45.0, 46.0, 3.0)
THICK, HIGH = 36, 6  # voxels
GRID = ImageGrid.centred((96, 128), PIXEL)


def slices(tilt_deg=TILTS):
    tilt = np.radians(tilt_deg)
    return SliceGeometry(np.cos(tilt), np.sin(tilt), np.zeros(len(tilt)), np.zeros(len(tilt)))


@cache
def projections():
    """Images of a slab of smooth random density, wider than the images, off the middle in z."""
    rng = np.random.default_rng(0)
    shape = (64, 96, 320)
    radius = np.sqrt(
        sum(
            np.fft.fftfreq(n).reshape([-1 if i == axis else 1 for i in range(3)]) ** 2
            for axis, n in enumerate(shape)
        )
    )
    spectrum = np.fft.fftn(rng.normal(size=shape)) * np.exp(-((radius / 0.15) ** 2) / 2)
    volume = np.fft.ifftn(spectrum).real.astype(np.float32)
    z = np.arange(64) - 31.5
    volume[np.abs(z - HIGH) > THICK / 2] = 0
    grid = VolumeGrid.centred(shape, PIXEL)
    table = slice_table(slices(), grid, GRID)
    images = SliceProjector(table, (len(TILTS), *GRID.shape), shape, threads=1).forward(volume)
    return images / images.std()


def noisy(snr, seed=1):
    rng = np.random.default_rng(seed)
    images = projections()
    return images + (rng.normal(size=images.shape) / np.sqrt(snr)).astype(np.float32)


def power(images, k):
    """Power of images in a band about k, over that of white noise of variance 1."""
    window = np.hanning(96)[:, None] * np.hanning(128)
    spectra = np.abs(np.fft.fft2((images - images.mean((1, 2), keepdims=True)) * window)) ** 2
    radius = np.hypot(np.fft.fftfreq(96, PIXEL)[:, None], np.fft.fftfreq(128, PIXEL))
    return spectra[:, np.abs(radius / k - 1) < 0.1].mean() / (window**2).sum()


def spectra_of(images, geometry=None):
    return line_spectra(lambda view: images[view], geometry or slices(), GRID, 1)


@pytest.mark.parametrize("width", [60, 61])
def test_lines_are_those_of_the_fourier_transform(width):
    """At frequencies that a tilt scales, about an axis that is not in the middle."""
    image = np.random.default_rng(5).normal(7, 2, size=(40, width)).astype(np.float32)
    grid = ImageGrid((40, width), (PIXEL, PIXEL), (19.5, width / 2 + 3))
    tilt = np.radians([0.0, 30.0, 75.0, 90.0])
    geometry = SliceGeometry(np.cos(tilt), np.sin(tilt), np.full(4, 12.0), np.zeros(4))
    spectra = line_spectra(lambda view: image, geometry, grid, 1)
    faded, _ = levelled(image, taper(40), taper(width))
    x = (np.arange(width) - grid.centre[1]) * PIXEL - 12.0
    for view, k_across in enumerate(spectra.k_across):
        held = k_across < 0.45 / PIXEL
        turns = np.exp(-2j * np.pi * x[:, None] * k_across[held])
        expected = np.fft.fft(faded @ turns, axis=0)
        assert held.any() == (view < 3)
        np.testing.assert_allclose(spectra.values[view][:, held], expected, atol=2e-3)
        assert not spectra.values[view][:, ~held].any()
    assert list(spectra.order) == [0, 1, 2]


def test_spots_are_clipped_at_five_deviations_from_the_median():
    rng = np.random.default_rng(6)
    for width in (50, 51, 53):
        image = rng.normal(-20, 3, size=(50, width)).astype(np.float32)
        image[10, 10] = 400
        some = image[::3, ::3].astype(np.float64)
        reach = 5 * 1.4826 * np.median(np.abs(some - np.median(some)))
        cut = np.clip(image.astype(np.float64), *(np.median(some) + np.array([-reach, reach])))
        _, spots = levelled(image, taper(50), taper(width))
        assert spots == pytest.approx(1 - cut.var() / image.astype(np.float64).var(), rel=1e-4)


def test_images_without_contrast():
    for image in (np.zeros((40, 60)), np.full((40, 60), 3.0), np.tile([0.0, 3.0], (40, 30))):
        assert levelled(image.astype(np.float32), taper(40), taper(60)) == (None, 0.0)
    nearly = np.full((40, 60), 3.0, dtype=np.float32)
    nearly[20:] = 4.0
    nearly[:12] = 0
    faded, spots = levelled(nearly, taper(40), taper(60))
    assert (faded[12:20] < 0).all()
    assert (faded[20:] > 0).all()
    assert not faded[:12].any()
    assert spots == 0


def test_thickness_and_height():
    """Of a slab: what its coherence says is what it is."""
    spectra = spectra_of(noisy(1.0))
    for tomogram in (400.0, 640.0, 1000.0):
        thickness, height = measure_thickness(spectra, tomogram)
        assert thickness == pytest.approx(THICK * PIXEL, rel=0.12)
        assert height == pytest.approx(HIGH * PIXEL, abs=25)


def test_a_thin_specimen_seen_by_many_noisy_views_stays_thin():
    """Distant lines lack the low frequencies, whose coherence is high: that is no thickness."""
    ice_angst = 160.0
    tilts = np.linspace(-60, 60, 91)
    made = simulated_series(
        3, shape=(24, 96, 128), snr=1.0, ice_angst=ice_angst, tilt_deg=tilts, dose_e_per_a2=0.0
    )
    stack = aligned(made.tilt_series())
    spectra = line_spectra(stack.image, stack.frame.slices, stack.frame.grid, 1)
    thickness, height = measure_thickness(spectra, 240.0)
    assert 0.8 * ice_angst < thickness < 1.5 * ice_angst
    assert abs(height) < 20


def test_thickness_does_not_depend_on_threads():
    spectra = spectra_of(noisy(1.0))
    assert measure_thickness(spectra, 640.0, 1) == measure_thickness(spectra, 640.0, 3)


@pytest.mark.parametrize("snr", [0.1, 1.0])
@pytest.mark.parametrize("source", ["neighbours", "halves"])
def test_the_snr_is_found(source, snr):
    if source == "neighbours":
        spectra = spectra_of(noisy(snr))
        coherence = line_coherence(spectra, THICK * PIXEL, HIGH * PIXEL)
    else:
        # each half with half of the signal and half of the noise's variance
        halves = [noisy(snr / 2, seed) for seed in (1, 2)]
        coherence = frame_coherence(
            [lambda view, half=half: half[view] for half in halves], len(TILTS), GRID, 1
        )
    found = fit_snr(coherence, len(TILTS), PIXEL)
    assert found.has_signal
    for k in (0.01, 0.016, 0.022):
        expected = snr * power(projections(), k)
        assert found(np.array([k])).mean() == pytest.approx(expected, rel=0.2), k


def test_noise_is_no_signal():
    rng = np.random.default_rng(4)
    noise = rng.normal(size=projections().shape).astype(np.float32)
    spectra = spectra_of(noise)
    assert measure_thickness(spectra, 640.0) is None
    found = fit_snr(line_coherence(spectra, 640.0, 0.0), len(TILTS), PIXEL)
    assert not found.has_signal
    assert found(np.array([0.002, 0.02])).max() < 1.1e-3


def test_a_view_of_noise_and_a_blank_one():
    images = noisy(1.0).copy()
    images[10] = np.random.default_rng(5).normal(size=images[10].shape)
    images[20] = 7.0
    spectra = spectra_of(images)
    assert 20 not in spectra.order
    assert len(spectra.order) == len(TILTS) - 1
    found = fit_snr(line_coherence(spectra, THICK * PIXEL, HIGH * PIXEL), len(TILTS), PIXEL)
    assert np.flatnonzero(found.log_factor == NO_WEIGHT).tolist() == [10]
    clean = fit_snr(
        line_coherence(spectra_of(noisy(1.0)), THICK * PIXEL, HIGH * PIXEL), len(TILTS), PIXEL
    )
    k = np.array([0.005, 0.01])
    np.testing.assert_allclose(found(k)[[5, 9, 25]], clean(k)[[5, 9, 25]], rtol=0.2)


def test_order_of_the_views_is_no_matter():
    images = noisy(1.0)
    order = np.random.default_rng(2).permutation(len(TILTS))
    straight = spectra_of(images)
    shuffled = line_spectra(lambda view: images[order[view]], slices(TILTS[order]), GRID, 1)
    assert measure_thickness(shuffled, 640.0) == pytest.approx(measure_thickness(straight, 640.0))
    k = np.array([0.004, 0.02])
    one = fit_snr(line_coherence(straight, 360.0, 60.0), len(TILTS), PIXEL)(k)
    other = fit_snr(line_coherence(shuffled, 360.0, 60.0), len(TILTS), PIXEL)(k)
    np.testing.assert_allclose(other, one[order], rtol=1e-6)


def test_gold_is_clipped_and_told():
    images = noisy(1.0).copy()
    images[:, 40:44, 60:64] += 100.0
    spectra = spectra_of(images)
    assert np.all(spectra.spots > 0.3)
    assert np.all(spectra_of(noisy(1.0)).spots < 0.01)
    k = np.array([0.01])
    found = fit_snr(line_coherence(spectra, 360.0, 60.0), len(TILTS), PIXEL)(k).mean()
    plain = fit_snr(line_coherence(spectra_of(noisy(1.0)), 360.0, 60.0), len(TILTS), PIXEL)(k)
    assert found < 3 * plain.mean()


def test_places_without_data_do_not_count():
    """Zeros where a warped image has no data make no signal of their edge."""
    images = noisy(0.1) + 50.0
    images[:, :, :20] = 0.0
    images[:, :15] = 0.0
    found = fit_snr(line_coherence(spectra_of(images), 360.0, 60.0), len(TILTS), PIXEL)
    expected = 0.1 * power(projections(), 0.01)
    assert found(np.array([0.01])).mean() == pytest.approx(expected, rel=0.5)


def test_views_too_far_apart_say_nothing():
    images = noisy(1.0)[[0, 15, 30]]
    spectra = line_spectra(lambda view: images[view], slices(TILTS[[0, 15, 30]]), GRID, 1)
    assert not line_coherence(spectra, 3600.0, 0.0).samples.any()


def exact(factor, decay, spectrum, k, samples=300.0):
    """Coherences of neighbours without any scatter."""
    views = len(factor)
    pairs = [(m, m + d) for d in (1, 2) for m in range(views - d)]
    snr = spectrum(k) * factor[:, None] * np.exp(-decay[:, None] * k**2)
    q = snr / (1 + snr)
    first, second = np.array(pairs).T
    value = np.sqrt(q[first] * q[second])
    return snr, Coherence(
        first, second, np.broadcast_to(k, value.shape), value, np.full(value.shape, samples), 1.0
    )


@pytest.mark.parametrize("snr", [0.02, 0.3])
def test_the_sum_of_squares_is_as_low_as_scipys(monkeypatch, snr):
    sums = []

    def both(self, x):
        theirs = least_squares(self.residuals, x, self.jacobian, method="lm", x_scale="jac")
        ours = solve(self, x)
        for each in (ours, theirs.x):
            sums.append(np.square(self.residuals(each)).sum())
        return ours

    solve = model._Model.solve
    monkeypatch.setattr(model._Model, "solve", both)
    fit_snr(line_coherence(spectra_of(noisy(snr)), 360.0, 60.0), len(TILTS), PIXEL)
    assert sums[0] <= (1 + 1e-5) * sums[1]


def test_the_model_is_recovered():
    k = np.geomspace(0.001, 0.05, 12)
    rng = np.random.default_rng(0)
    factor, decay = np.exp(rng.normal(0, 0.2, 41)), np.zeros(41)
    truth, coherence = exact(factor, decay, lambda k: 0.02 / (k + 1e-3), k, 1e5)
    found = fit_snr(coherence, 41, PIXEL)
    np.testing.assert_allclose(found(k).mean(axis=0), truth.mean(axis=0), rtol=0.1)
    # of each view, less is believed than measured
    views, true = np.log(found(k[5:6]))[:, 0], np.log(truth[:, 5])
    assert np.corrcoef(views, true)[0, 1] > 0.9
    assert 0.2 < views.std() / true.std() < 1
    assert np.all(np.diff(found.log_spectrum) <= 0)


def test_the_spectrum_never_rises():
    k = np.geomspace(0.001, 0.05, 12)
    _, coherence = exact(np.ones(9), np.zeros(9), lambda k: 0.1 + 400 * k**2, k)
    found = fit_snr(coherence, 9, PIXEL)
    assert np.all(np.diff(found.log_spectrum) <= 0)
    fine = np.linspace(1e-5, 0.08, 400)
    assert np.all(np.diff(found.spectrum(fine)) <= 1e-12)
    assert np.isfinite(found(fine)).all()
