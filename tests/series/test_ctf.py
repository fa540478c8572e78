"""The CTF's formula, and images corrected for it, against textbooks and slower ways."""

from dataclasses import replace

import numpy as np
import pytest

from tomofilt.align.phases import ImageCorrection, _wiener_weight
from tomofilt.series.ctf import Ctf, wavelength_angst
from tomofilt.series.geometry import ImageGrid, TiltGeometry, VolumeGrid
from tomofilt.simulate.camera import expected_counts
from tomofilt.simulate.physics import Optics
from tomofilt.simulate.scheme import tilt_scheme

PIXEL, SIZE, DEFOCUS = 2.5, 200, 12000.0
#: Cycles per pixel; the first zero is at 1 / 15 A, 0.16 cycles per pixel.
BEYOND = (0.18, 0.5)


def ctf_of(views=1, u=30000.0, v=30000.0, axis=0.0, phase=0.0, hand=-1.0, **numbers):
    one = np.ones(views)
    given = {"voltage_kv": 300.0, "cs_mm": 2.7, "amplitude_contrast": 0.07} | numbers
    return Ctf(u * one, v * one, axis * one, phase * one, hand=hand, **given)


@pytest.mark.parametrize(("voltage", "wavelength"), [(100, 0.0370), (200, 0.0251), (300, 0.0197)])
def test_wavelengths_are_those_of_the_tables(voltage, wavelength):
    # Williams & Carter, Transmission Electron Microscopy, table 1.2
    assert wavelength_angst(voltage) == pytest.approx(wavelength, abs=5e-5)


def textbook_phase(ctf, k_x, k_y, deeper_angst=0.0):
    """CTFFIND's chi, amplitude contrast included, from h, m, e and c and an angle."""
    h, mass, charge, light = 6.62607015e-34, 9.1093837e-31, 1.602176634e-19, 299792458.0
    volts = 1e3 * ctf.voltage_kv
    momentum = np.sqrt(2 * mass * charge * volts * (1 + charge * volts / (2 * mass * light**2)))
    wave = h / momentum * 1e10
    k, angle = np.hypot(k_x, k_y), np.arctan2(k_y, k_x)
    u, v, axis = ctf.defocus_u_angst[0], ctf.defocus_v_angst[0], np.radians(ctf.astigmatism_deg[0])
    defocus = 0.5 * (u + v + (u - v) * np.cos(2 * (angle - axis))) + deeper_angst
    chi = np.pi * wave * k**2 * (defocus - 0.5 * wave**2 * k**2 * ctf.cs_mm * 1e7)
    return chi + np.radians(ctf.phase_shift_deg[0]) + np.arcsin(ctf.amplitude_contrast)


@pytest.mark.parametrize("phase", [0.0, 60.0])
@pytest.mark.parametrize("volts", [2e5, 3e5])
def test_phases_are_flipped_where_the_textbook_has_the_ctf_negative(volts, phase):
    point = np.zeros((256, 256), np.float32)
    point[128, 128] = 1
    ctf = ctf_of(u=14000.0, v=11000.0, axis=35.0, phase=phase, voltage_kv=volts / 1e3)
    geometry, grid = TiltGeometry.from_angles([0.0]), ImageGrid.centred(point.shape, PIXEL)
    seen = ImageCorrection(geometry, grid, ctf=ctf).correct(0, point)
    sign = (np.fft.rfft2(seen) / np.fft.rfft2(point)).real
    k_y, k_x = np.fft.fftfreq(256, PIXEL)[:, None], np.fft.rfftfreq(256, PIXEL)
    expected = np.sin(textbook_phase(ctf, k_x, k_y))
    # where rings are wider than a frequency, away from zeros
    clear = (np.abs(expected) > 0.4) & (np.hypot(k_x, k_y) < 0.19)
    assert 0.3 < (expected[clear] < 0).mean() < 0.7
    np.testing.assert_array_equal(sign[clear] < 0, expected[clear] < 0)


def test_defocus_runs_over_the_image_as_each_program_says():
    geometry = TiltGeometry.from_angles([0.0, 50.0], 0.0, 0.0, [[0, 0], [30.0, 0]])
    slope, origin = ctf_of(2).gradient(geometry)
    # IMOD and rlnTomoHand -1: at positive tilt the right side is more underfocused
    np.testing.assert_allclose(slope, [[0, 0], [np.tan(np.radians(50)), 0]], atol=1e-12)
    np.testing.assert_allclose(origin, [[0, 0], [30, 0]])
    np.testing.assert_allclose(ctf_of(2, hand=1.0).gradient(geometry)[0], -slope)
    turned = TiltGeometry.from_angles([0.0, 50.0], 90.0)
    np.testing.assert_allclose(
        ctf_of(2).gradient(turned)[0], [[0, 0], [0, np.tan(np.radians(50))]], atol=1e-12
    )


def test_contrast_keeps_its_sign_and_a_flat_image_its_value():
    flat = np.full((64, 60), 3.0, np.float32)
    grid = ImageGrid.centred(flat.shape, PIXEL)
    correction = ImageCorrection(TiltGeometry.from_angles([0.0]), grid, ctf=ctf_of())
    np.testing.assert_allclose(correction.correct(0, flat), 3, rtol=1e-4)


def test_views_without_a_defocus_are_left_alone():
    image = np.random.default_rng(1).standard_normal((40, 50)).astype(np.float32)
    geometry = TiltGeometry.from_angles([0.0, 10.0])
    grid = ImageGrid.centred(image.shape, PIXEL)
    ctf = replace(ctf_of(2), defocus_u_angst=np.array([3e4, 0]), defocus_v_angst=np.array([3e4, 0]))
    correction = ImageCorrection(geometry, grid, ctf=ctf)
    assert correction.correct(1, image) is image
    assert not np.allclose(correction.correct(0, image), image, atol=0.1)


def tilted_image(tilt_deg, rotation_deg=0.0, hand=-1):
    """A tilted layer of noise, imaged with a CTF that is every place's own, and without one."""
    layer = VolumeGrid.centred((3, 480, 480), PIXEL)
    density = np.zeros(layer.shape, np.float32)
    density[1] = 0.01 * np.random.default_rng(7).standard_normal(layer.shape[1:])
    geometry = TiltGeometry.from_angles([tilt_deg], rotation_deg)
    images = ImageGrid.centred((SIZE, SIZE), PIXEL)
    scheme = tilt_scheme([tilt_deg], "continuous", 1e-3)
    optics = Optics(defocus_angst=DEFOCUS, hand=hand)

    def image(which):
        counts = expected_counts(density, layer, geometry, scheme, images, which, 0.0)[0]
        return np.asarray(counts / counts.mean() - 1, np.float32)

    return geometry, images, image(optics), image(replace(optics, defocus_angst=0.0))


def agreement(first, second, band):
    k = np.hypot(np.fft.fftfreq(SIZE)[:, None], np.fft.fftfreq(SIZE))
    inside = (k >= band[0]) & (k < band[1])
    parts = [np.fft.ifft2(np.fft.fft2(image) * inside).real for image in (first, second)]
    return np.corrcoef(*(part[24:-24, 24:-24].ravel() for part in parts))[0, 1]


@pytest.mark.parametrize("rotation_deg", [0.0, 85.0, 40.0])
@pytest.mark.parametrize("hand", [-1, 1])
def test_tilted_images_agree_with_the_specimen_beyond_the_first_zero(hand, rotation_deg):
    geometry, grid, seen, truth = tilted_image(60.0, rotation_deg, hand)
    ctf = ctf_of(u=DEFOCUS, v=DEFOCUS, hand=hand)
    right, wrong, level = (
        agreement(ImageCorrection(geometry, grid, ctf=each).correct(0, seen), truth, BEYOND)
        for each in (ctf, replace(ctf, hand=-float(hand)), replace(ctf, hand=0.0))
    )
    assert abs(agreement(seen, truth, BEYOND)) < 0.1
    assert right > 0.85
    assert level < right - 0.01
    assert wrong < right - 0.08


def place_by_place(ctf, geometry, grid, image, margin=64):
    """Every column flipped with its own defocus: one transform of the whole image for each."""
    slope, origin = ctf.gradient(geometry)
    wide = np.pad(image, margin, mode="symmetric")
    spectrum = np.fft.rfft2(wide)
    k_y, k_x = np.fft.fftfreq(len(wide), PIXEL)[:, None], np.fft.rfftfreq(wide.shape[1], PIXEL)
    flipped = np.empty_like(image)
    for column in range(image.shape[1]):
        x = (column - grid.centre[1]) * PIXEL
        chi = textbook_phase(ctf, k_x, k_y, slope[0, 0] * (x - origin[0, 0]))
        sign = np.where(np.floor(chi / np.pi) % 2 == 0, 1, -1)
        columns = np.fft.irfft2(spectrum * sign, wide.shape)
        flipped[:, column] = columns[margin:-margin, margin + column]
    return flipped


def test_strips_do_as_well_as_every_column_by_itself():
    geometry, grid, seen, truth = tilted_image(60.0)
    ctf = ctf_of(u=DEFOCUS, v=DEFOCUS)
    strips = ImageCorrection(geometry, grid, ctf=ctf).correct(0, seen)
    exact = place_by_place(ctf, geometry, grid, seen)
    inner = np.s_[24:-24, 24:-24]
    # what differs are the long tails of a sharp flip, and frequencies next to zeros
    assert np.linalg.norm((strips - exact)[inner]) < 0.3 * np.linalg.norm(exact[inner])
    for band in ((0.1, 0.2), (0.2, 0.3), (0.3, 0.5)):
        assert agreement(strips, truth, band) > agreement(exact, truth, band) - 0.015


def test_x_tilt_makes_the_defocus_run_along_the_axis_too():
    geometry = TiltGeometry.from_angles([0.0], 0.0, 40.0)
    slope, _ = ctf_of().gradient(geometry)
    assert slope[0, 0] == pytest.approx(0)
    assert abs(slope[0, 1]) == pytest.approx(np.tan(np.radians(40.0)))


def test_blocks_along_the_axis_do_what_strips_do():
    image = np.random.default_rng(4).standard_normal((150, 180)).astype(np.float32)
    ctf = ctf_of(u=DEFOCUS, v=DEFOCUS - 900, axis=90.0)
    leaning, tilted = TiltGeometry.from_angles([0.0], 0.0, 60.0), TiltGeometry.from_angles([-60.0])
    slopes = [ctf.gradient(geometry)[0][0] for geometry in (leaning, tilted)]
    np.testing.assert_allclose(slopes[0], slopes[1][::-1], atol=1e-9)
    along = ImageCorrection(leaning, ImageGrid.centred(image.shape, PIXEL), ctf=ctf)
    turned = replace(ctf, astigmatism_deg=np.zeros(1))
    across = ImageCorrection(tilted, ImageGrid.centred(image.T.shape, PIXEL), ctf=turned)
    np.testing.assert_allclose(
        along.correct(0, image), across.correct(0, np.ascontiguousarray(image.T)).T, atol=2e-4
    )


def test_astigmatism_turns_with_the_images():
    image = np.random.default_rng(2).standard_normal((96, 96)).astype(np.float32)
    grid = ImageGrid.centred(image.shape, PIXEL)
    ctf = ctf_of(u=9000.0, v=7000.0, axis=20.0)
    geometry = TiltGeometry.from_angles([0.0])
    quarter = np.array([[[0.0, -1.0, 0.0], [1.0, 0.0, 0.0]]])  # image x is the frame's -y
    plain = ImageCorrection(geometry, grid, ctf=ctf).correct(0, image)
    turned = np.ascontiguousarray(np.rot90(image, -1, axes=(1, 0)))
    done = ImageCorrection(geometry, grid, ctf=ctf, image_from_frame=quarter).correct(0, turned)
    back = np.rot90(done, 1, axes=(1, 0))
    np.testing.assert_allclose(back[40:-40, 40:-40], plain[40:-40, 40:-40], atol=0.12)


def test_the_wiener_form_weighs_by_the_ctf_and_raises_what_is_below_its_peak():
    image = np.random.default_rng(5).standard_normal((512, 512)).astype(np.float32)
    grid = ImageGrid.centred(image.shape, PIXEL)
    ctf, geometry = ctf_of(u=8000.0, v=8000.0), TiltGeometry.from_angles([0.0])
    flipped, weighted = (
        ImageCorrection(geometry, grid, ctf=ctf, wiener=wiener).correct(0, image)
        for wiener in (False, True)
    )
    k = np.hypot(np.fft.fftfreq(512, PIXEL)[:, None], np.fft.fftfreq(512, PIXEL))
    ratio = np.abs(np.fft.fft2(weighted)) / np.abs(np.fft.fft2(flipped))
    chi = textbook_phase(ctf, k, 0.0)
    below = chi < 1.2
    raised = np.minimum(1 / np.sin(chi), 4)
    peaks = (chi > 4) & (np.abs(np.sin(chi)) > 0.98)
    zeros = (chi > 4) & (np.abs(np.sin(chi)) < 0.05)
    assert np.median((ratio / raised)[below]) == pytest.approx(1, abs=0.1)
    assert np.median(ratio[peaks]) == pytest.approx(2, abs=0.1)
    assert np.median(ratio[zeros]) < 0.4  # what leaks there from beside, as images end


def test_wiener_weights_keep_the_amplitude_of_the_signal():
    chi = np.linspace(0.01, 6, 5000)
    ctf = np.abs(np.sin(np.pi * chi))
    weights = np.array([_wiener_weight(each) for each in chi])
    low = chi < 0.5
    np.testing.assert_allclose(weights[low], np.minimum(1 / ctf[low], 4), rtol=1e-6)
    assert np.abs(np.diff(weights)).max() < 0.1  # no jump anywhere
    for first in range(1, 6):  # signal comes out as it went in, on average over each period
        period = (chi >= first) & (chi < first + 1)
        assert (weights * ctf)[period].mean() == pytest.approx(1, abs=0.01)
