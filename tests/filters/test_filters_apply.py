from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from tomofilt.filters import parse
from tomofilt.filters.apply import ImageFilter, RowFilter
from tomofilt.series.geometry import TiltGeometry

TILT = np.array([-85.0, -60.0, -20.0, 0.0, 20.0, 40.0, 81.0])
_, SLICES = TiltGeometry.from_angles(TILT).factor()
PHYSICS = {"density_pixel_angst": 5.0, "thickness_angst": 1500.0}


def row_filter(chosen, width=200, **options):
    return RowFilter(chosen, SLICES, pixel_angst=10.0, width_px=width, **PHYSICS, **options)


def image_filter(chosen, shape, **options):
    return ImageFilter(chosen, SLICES, shape, pixel_angst=(10.0, 10.0), **PHYSICS, **options)


def noise(*shape):
    return np.random.default_rng(3).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("interpolation", ["fine", "linear"])
@pytest.mark.parametrize("spec", ["hann", "gaussian:0.1"])
def test_rows_do_not_depend_on_their_company(spec, interpolation):
    rows = noise(150, 101)
    filtered = row_filter(parse(spec), 101, interpolation=interpolation)
    together = filtered.filter_rows(4, rows)
    for start, stop in [(0, 1), (1, 4), (0, 7), (3, 67), (63, 80), (149, 150), (20, 150)]:
        part = filtered.filter_rows(4, rows[start:stop])
        np.testing.assert_array_equal(part, together[start:stop])


@pytest.mark.parametrize("spec", ["hann", "exact"])
def test_threads_share_a_filter(spec):
    rows = noise(64, 300)
    filtered = row_filter(parse(spec), 300)
    alone = [filtered.filter_rows(view, rows) for view in range(7)]
    with ThreadPoolExecutor(4) as pool:
        shared = list(pool.map(lambda view: filtered.filter_rows(view, rows), [*range(7)] * 4))
    for i, result in enumerate(shared):
        np.testing.assert_array_equal(result, alone[i % 7])


@pytest.mark.parametrize("width", [1, 2, 3, 31, 200, 1024])
@pytest.mark.parametrize("interpolation", ["fine", "linear"])
@pytest.mark.parametrize("spec", ["ramp", "exact"])
def test_samples_cover_the_row(width, interpolation, spec):
    filtered = row_filter(parse(spec), width, interpolation=interpolation)
    assert filtered.padded_px % 2 == 0
    assert filtered.padded_px >= width + 15
    last_px = filtered.first_px + filtered.step_px * (filtered.samples - 1)
    assert np.all(last_px >= width - 1 - 1e-6)
    assert np.all(last_px < width - 1 + filtered.step_px)
    np.testing.assert_allclose(
        filtered.first_px + filtered.step_px * filtered.last_sample, width - 1, atol=1e-9
    )
    for view in range(7):
        result = filtered.filter_rows(view, noise(3, width))
        assert result.shape == (3, filtered.samples[view])
        assert result.dtype == np.float32
        assert np.isfinite(result).all()


def test_fine_samples_are_those_of_the_continuous_row():
    """Between fine samples, linear interpolation finds a wave that pixels alone do not show."""
    x = np.linspace(80, 120, 1001)
    wave = 0.4
    row = np.cos(2 * np.pi * wave * np.arange(200) + 0.3)[None].astype(np.float32)
    truth = np.cos(2 * np.pi * wave * x + 0.3)
    rms = {}
    for interpolation in ("fine", "linear"):
        filtered = row_filter(parse("none"), interpolation=interpolation)
        samples = filtered.filter_rows(2, row)[0]
        found = np.interp(x, filtered.step_px[2] * np.arange(len(samples)), samples)
        rms[interpolation] = np.sqrt(np.mean((found - truth) ** 2) * 2)
        if interpolation == "fine":
            # The mean amplitude is right; harmonics of the sampling are the rest.
            assert np.mean(found * truth) / np.mean(truth**2) == pytest.approx(1, abs=0.01)
    assert rms["fine"] < 0.2 < 0.5 < rms["linear"]


def test_fine_without_compensation_is_the_row():
    """At low frequency, where linear interpolation is transparent, pixels keep their values."""
    row = np.exp(-((np.arange(200) - 90.3) ** 2) / (2 * 12.0**2))[None].astype(np.float32)
    samples = row_filter(parse("none")).filter_rows(0, row)[0]
    np.testing.assert_allclose(samples[::2], row[0], atol=2e-3)
    between = np.exp(-((np.arange(199) + 0.5 - 90.3) ** 2) / (2 * 12.0**2))
    np.testing.assert_allclose(samples[1::2], between, atol=2e-3)


def test_two_dimensional_filters_leave_rows_to_the_interpolation():
    rows = noise(5, 90)
    np.testing.assert_array_equal(
        row_filter(parse("gaussian:0.1"), 90, interpolation="linear").filter_rows(1, rows), rows
    )
    np.testing.assert_array_equal(
        row_filter(parse("gaussian:0.1"), 90).filter_rows(1, rows),
        row_filter(parse("none"), 90).filter_rows(1, rows),
    )


def test_gains_follow_the_view():
    rows = noise(3, 200)
    filtered = row_filter(parse("ramp"), interpolation="linear")
    # Steps of 25 and 32.5 degrees.
    np.testing.assert_allclose(
        filtered.filter_rows(0, rows) * 32.5,
        filtered.filter_rows(1, rows) * 25,
        rtol=2e-4,
        atol=1e-6,
    )


@pytest.mark.parametrize("shape", [(40, 60), (61, 37)])
@pytest.mark.parametrize("spec", ["hann", "sirt-like:10", "none", "exact"])
def test_one_dimensional_filters_act_on_rows_of_images(spec, shape):
    image = noise(*shape)
    by_image = image_filter(parse(spec), shape)
    by_row = row_filter(parse(spec), shape[1], interpolation="linear")
    for view in (0, 3):
        expected = by_row.filter_rows(view, image)
        result = by_image.filter_image(view, image)
        np.testing.assert_allclose(result, expected, atol=2e-6 * np.abs(expected).max())
    np.testing.assert_allclose(by_image.dc_gain, by_row.dc_gain)


@pytest.mark.parametrize("spec", ["hann", "gaussian:0.1"])
def test_upright_matrices_change_nothing(spec):
    shape = (64, 80)
    image = noise(*shape)
    upright = np.broadcast_to(np.eye(2), (7, 2, 2))
    # An image with room around it, since the amounts of padding differ.
    image *= np.outer(np.hanning(64), np.hanning(80))
    plain = image_filter(parse(spec), shape).filter_image(2, image)
    turned = image_filter(parse(spec), shape, image_from_aligned=upright)
    result = turned.filter_image(2, image)
    np.testing.assert_allclose(result, plain, atol=1e-5 * np.abs(plain).max())


@pytest.mark.parametrize("spec", ["hann", "gaussian:0.1"])
def test_a_quarter_turn(spec):
    """An image with the tilt axis on x is filtered as the turned image is."""
    aligned = noise(64, 80)
    quarter = np.broadcast_to(np.array([[0.0, -1.0], [1.0, 0.0]]), (7, 2, 2))
    upright = np.broadcast_to(np.eye(2), (7, 2, 2))
    # Aligned u is image y, aligned v is image -x.
    image = np.ascontiguousarray(aligned.T[:, ::-1])
    expected = image_filter(parse(spec), (64, 80), image_from_aligned=upright)
    turned = image_filter(parse(spec), (80, 64), image_from_aligned=quarter)
    result = turned.filter_image(4, image)[:, ::-1].T
    wanted = expected.filter_image(4, aligned)
    np.testing.assert_allclose(result, wanted, atol=1e-5 * np.abs(wanted).max())


@pytest.mark.parametrize("spec", ["hann", "gaussian:0.1"])
@pytest.mark.parametrize("k_aligned", [(0.02, 0.0), (0.015, 0.02), (0.01, -0.02)])
def test_waves_in_a_turned_frame(spec, k_aligned):
    """A wave keeps its form and is multiplied by the gain of its frequency in the frame."""
    rotation = np.radians(33.0)
    turn = np.array([[np.cos(rotation), -np.sin(rotation)], [np.sin(rotation), np.cos(rotation)]])
    warp = turn * 1.03
    k_x, k_y = np.linalg.inv(warp).T @ k_aligned
    n = 256
    axis = (np.arange(n) - (n - 1) / 2) * 10.0
    wave = np.cos(2 * np.pi * (k_x * axis + k_y * axis[:, None]))
    image = wave * np.exp(-(axis**2 + axis[:, None] ** 2) / (2 * 350.0**2))
    chosen = parse(spec)
    filtered = image_filter(chosen, (n, n), image_from_aligned=np.broadcast_to(warp, (7, 2, 2)))
    result = filtered.filter_image(3, image.astype(np.float32))
    gain = chosen.gains(np.array(k_aligned[0]), np.array(k_aligned[1]), filtered._context)[3]
    middle = slice(108, 148)
    ratio = np.sum(result[middle, middle] * wave[middle, middle]) / np.sum(
        image[middle, middle] * wave[middle, middle]
    )
    assert ratio == pytest.approx(gain, rel=0.01)
