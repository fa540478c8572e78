"""The physics between a projection and the detector's counts, against formulas and statistics."""

import numpy as np
import pytest

from tomofilt.series.angles import angles_of_range
from tomofilt.series.dose import critical_exposure
from tomofilt.series.geometry import ImageGrid, TiltGeometry, VolumeGrid
from tomofilt.simulate.camera import count_electrons, expected_counts, frequencies
from tomofilt.simulate.molecules import bundled
from tomofilt.simulate.phantom import Contents
from tomofilt.simulate.physics import (
    PHASE_RAD_PER_ANGST,
    WAVELENGTH_ANGST,
    Optics,
    contrast_transfer,
    damage,
    mtf,
    transmission,
)
from tomofilt.simulate.scheme import TiltScheme, tilt_scheme
from tomofilt.simulate.series import Simulation, simulate


def test_published_numbers():
    # Grant & Grigorieff (2015): critical exposures of a few electrons/A^2 at 3 A, tens at 20 A
    np.testing.assert_allclose(
        critical_exposure([1 / 3, 1 / 10, 1 / 20]), [4.3366, 14.138, 38.75], rtol=1e-3
    )
    assert damage(1 / 10, critical_exposure(1 / 10)) == pytest.approx(np.exp(-0.5))
    assert damage(0.0, 100.0) == pytest.approx(1.0)
    assert pytest.approx(0.019687, rel=1e-4) == WAVELENGTH_ANGST  # at 300 kV
    np.testing.assert_allclose(transmission([0, 60], 3000.0), np.exp([-1, -2]))
    assert mtf(0.05, 10.0) == pytest.approx(0.6)  # at Nyquist


def test_ctf():
    """Amplitude contrast at the origin, zeros where chi + asin(A) is a multiple of pi."""
    optics = Optics(defocus_angst=20000.0, cs_mm=2.7, amplitude_contrast=0.1)
    assert contrast_transfer(0.0, 20000.0, optics) == pytest.approx(-0.2)
    k = np.linspace(0, 0.1, 20001)
    transfer = contrast_transfer(k, 20000.0, optics)
    zeros = k[1:][np.diff(np.sign(transfer)) != 0]
    lam, cs = WAVELENGTH_ANGST, 2.7e7
    for n, zero in enumerate(zeros[:5], start=1):
        # lambda^3 Cs k^4 / 2 - lambda dz k^2 + (n - asin(A) / pi) = 0, by hand
        a, b, c = cs * lam**3 / 2, -lam * 20000.0, n - np.arcsin(0.1) / np.pi
        assert zero**2 == pytest.approx((-b - np.sqrt(b * b - 4 * a * c)) / (2 * a), rel=1e-3)
    flat = Optics(defocus_angst=0.0)
    np.testing.assert_array_equal(contrast_transfer(k, 0.0, flat), -2.0)


def one_blob(
    place=(0.0, 0.0, 0.0), tilt=0.0, *, dose=3.0, exposure_index=0, size=(64, 64), **optics
):
    """Expected counts of a small Gaussian of density, and the parts they are made from."""
    grid = VolumeGrid.centred((24, 72, 160), 10.0)
    z, y, x = np.indices(grid.shape)
    cz, cy, cx = np.array(grid.centre) + np.array(place[::-1]) / 10
    blob = np.exp(-((z - cz) ** 2 + (y - cy) ** 2 + (x - cx) ** 2) / (2 * 1.5**2))
    geometry = TiltGeometry.from_angles([tilt], 0.0)
    scheme = TiltScheme(np.array([tilt]), np.array([tilt]), np.array([exposure_index]), dose)
    images = ImageGrid.centred(size, 10.0)
    counts = expected_counts(
        (0.05 * blob).astype(np.float32), grid, geometry, scheme, images, Optics(**optics), 1500.0
    )
    return counts[0].astype(np.float64), images


def contrast_spectrum(place, tilt, defocus, exposure, images, optics):
    """Fourier transform of what a blob's contrast should be, by formula alone."""
    ky = np.fft.fftfreq(images.shape[0], 10.0)[:, None]
    kx = np.fft.rfftfreq(images.shape[1], 10.0)
    k = frequencies(images)
    sigma = 15.0
    phase = 0.05 * PHASE_RAD_PER_ANGST * (2 * np.pi) ** 1.5 * sigma**3 / 100.0
    u, v = (
        TiltGeometry.from_angles([tilt]).project([place])[0, 0] + np.array(images.centre[::-1]) * 10
    )
    shape = np.exp(-2 * (np.pi * sigma * k) ** 2 - 2j * np.pi * (kx * u + ky * v))
    factors = contrast_transfer(k, defocus, optics) * mtf(k, 10.0) * damage(k, exposure)
    return phase * shape * factors


@pytest.mark.parametrize("index", [0, 35])
def test_blob_has_contrast_of_ctf_mtf_and_damage(index):
    counts, images = one_blob(exposure_index=index)
    optics = Optics()
    expected = contrast_spectrum((0, 0, 0), 0.0, 30000.0, 3.0 * (index + 0.5), images, optics)
    contrast = counts / (300.0 * transmission(0.0, 1500.0)) - 1
    np.testing.assert_allclose(
        contrast, np.fft.irfft2(expected, s=images.shape), atol=0.005 * np.abs(contrast).max()
    )


@pytest.mark.parametrize("hand", [-1, 1])
@pytest.mark.parametrize("x_angst", [-500.0, 450.0])
def test_defocus_follows_the_tilted_slab(hand, x_angst):
    """At 60 deg and x = 500 A, the slab is 433 A higher or lower: rlnTomoHand x (R p)_z."""
    tilt, place = 60.0, (x_angst, 100.0, 0.0)
    optics = Optics(defocus_angst=3000.0, hand=hand)
    counts, images = one_blob(place, tilt, dose=1e-3, defocus_angst=3000.0, hand=hand)
    contrast = counts / (0.1 * transmission(tilt, 1500.0)) - 1
    depth = -np.sin(np.radians(tilt)) * x_angst  # third row of Ry
    fits = {}
    for defocus in (3000.0 + hand * depth, 3000.0, 3000.0 - hand * depth):
        spectrum = contrast_spectrum(place, tilt, defocus, 0.0, images, optics)
        expected = np.fft.irfft2(spectrum, s=images.shape)
        fits[defocus] = np.linalg.norm(contrast - expected) / np.linalg.norm(expected)
    right, none, wrong = fits.values()
    # one defocus for all of a blob that the CTF spreads over some pixels is not exact itself
    assert right < 0.05
    assert none > 5 * right
    assert wrong > 5 * right


def test_counts_are_poisson_and_halves_independent():
    expected = np.full((2, 200, 200), 30.0, np.float32)
    expected[1] = 4.0
    even, odd = count_electrons(expected, np.random.default_rng(0))
    np.testing.assert_array_equal(even, np.rint(even))
    full = even + odd
    for image, mean in zip(full, (30.0, 4.0), strict=True):
        assert image.mean() == pytest.approx(mean, abs=5 * np.sqrt(mean) / 200)
        assert image.var() == pytest.approx(mean, rel=5 * np.sqrt(2) / 200)
    correlation = np.corrcoef(even[0].ravel(), odd[0].ravel())[0, 1]
    assert abs(correlation) < 5 / 200


def shrec_like(seed=0):
    """A part of SHREC 2021's settings: 5 A, 180 nm, 61 tilts, 110 e/A^2, 3.5 um."""
    contents = Contents(bundled(), crowding=0.25, membranes=1)
    scheme = tilt_scheme(angles_of_range(-60, 60, 2), "continuous", 110 / 61)
    views = np.array([0, 30, 60])  # the rest of the series changes nothing about these
    scheme = TiltScheme(
        scheme.tilt_deg[views], scheme.stage_deg[views], scheme.acquired[views], 110 / 61
    )
    optics = Optics(defocus_angst=35000.0)
    return simulate(
        Simulation(scheme, contents, (360, 100, 100), 5.0, 1795.0, optics, 0.0, 6.0, seed)
    )


def test_shrec_like_settings():
    """Particles, counts, SNR and spectra are those that the settings imply."""
    series = shrec_like()
    _, ny, nx = series.phantom.grid.shape
    particles = len(series.phantom.particles) / (ny * nx) * 1024**2
    assert 1000 < particles < 3000  # SHREC has so many in 1024 x 1024 px

    dose = 25 * 110 / 61
    through = transmission(series.scheme.tilt_deg, 1795.0)
    np.testing.assert_allclose(series.images.mean((1, 2)), dose * through, rtol=0.05)
    noise = series.images - series.clean
    np.testing.assert_allclose(noise.var((1, 2)), series.clean.mean((1, 2)), rtol=0.05)
    assert 0.01 < series.snr < 0.15

    # white noise; signal that the CTF's zeros and damage take away
    from tomofilt.simulate.like import radial_power

    k = (np.arange(25) + 0.5) / 25 / 10
    per_count = 25 * series.clean.mean((1, 2))[:, None]
    floor = np.array([radial_power(image, 5.0, k) for image in noise]) / per_count
    # within four standard errors: the window leaves about 2600 independent values
    np.testing.assert_allclose(np.average(floor, axis=1, weights=k), 1.0, atol=4 / np.sqrt(2600))
    assert np.abs(np.log(floor[:, 5:])).max() < 0.5
    signal = np.array([radial_power(image, 5.0, k) for image in series.clean]) / per_count
    transfer = contrast_transfer(k, 35000.0, series.optics)
    zero = int(np.argmax(transfer > 0))  # the first Thon zero of the untilted view
    assert signal[1, zero - 1 : zero + 1].min() < 0.1 * signal[1, 7:9].max()
    assert (signal[:, 3] > 10 * signal[:, 15]).all()
    # steep views, before and after 110 e/A^2, which leave a third of the power about 1/40 A
    early, late = signal[0, 6:10].sum(), signal[2, 6:10].sum()
    assert 0.15 < late / early < 0.7
