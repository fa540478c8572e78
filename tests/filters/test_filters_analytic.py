import numpy as np
import pytest

from tomofilt.errors import InputError
from tomofilt.filters import FilterContext
from tomofilt.filters.analytic import (
    WINDOWS,
    Exact,
    Frequency,
    Gaussian,
    Radial,
    SirtLike,
    Unfiltered,
    Windowed,
    angular_steps,
    sirt_window,
)
from tomofilt.filters.apply import RowFilter
from tomofilt.series.geometry import SliceGeometry, TiltGeometry

PIXEL = 8.0


def context(tilt_deg, *, scale=1.0, thickness_angst=1000.0, density_pixel_angst=4.0):
    tilt = np.asarray(tilt_deg, dtype=float)
    return FilterContext(
        tilt_deg=tilt,
        scale=np.broadcast_to(np.asarray(scale, dtype=float), tilt.shape),
        pixel_angst=PIXEL,
        density_pixel_angst=density_pixel_angst,
        thickness_angst=thickness_angst,
        width_px=256,
        padded_px=384,
    )


SERIES = context(np.arange(-60.0, 61.0, 3.0))
K = np.linspace(0.001, 0.5, 200) / PIXEL
FLAT = np.zeros(1)


def ramp(of):
    unit = angular_steps(of.tilt_deg) * of.scale * of.density_pixel_angst
    return unit[:, None] * K


def test_steps_of_uneven_angles_in_any_order():
    tilt = [10.0, -4.0, 0.0, 3.0]
    expected = [7.0, 4.0, 3.5, 5.0]
    np.testing.assert_allclose(np.degrees(angular_steps(np.array(tilt))), expected)


def test_views_at_one_tilt_share_their_step():
    steps = np.degrees(angular_steps(np.array([0.0, 2.0, 2.0, 4.0])))
    np.testing.assert_allclose(steps, [2.0, 1.0, 1.0, 2.0])
    np.testing.assert_allclose(angular_steps(np.array([5.0, 5.0])), np.pi / 2)


def test_steps_of_a_half_turn_add_up_to_it():
    assert angular_steps(np.arange(-90.0, 90.0, 1.5)).sum() == pytest.approx(np.pi)


def test_ramp_is_density_scaled():
    of = context([-2.0, 0.0, 2.0], scale=[1.0, 1.02, 0.99])
    gains = Windowed("ramp").gains(K, FLAT, of)
    expected = np.radians(2.0) * 4.0 * np.array([1.0, 1.02, 0.99])[:, None] * K
    np.testing.assert_allclose(gains, expected)


def test_ramp_impulse_response_is_the_closed_form_kernel():
    """h0 = 1/4, h_odd = -1 / (pi n)^2, h_even = 0, zero frequency included."""
    width, n = 1001, np.arange(-500, 501)
    _, slices = TiltGeometry.from_angles([-1.0, 0.0, 1.0]).factor()
    rows = RowFilter(
        Windowed("ramp"),
        slices,
        pixel_angst=1.0,
        density_pixel_angst=1.0,
        thickness_angst=100.0,
        width_px=width,
        interpolation="linear",
    )
    impulse = np.zeros((1, width), dtype=np.float32)
    impulse[0, 500] = 1.0
    kernel = np.where(n % 2 == 0, 0.0, -1 / (np.pi * np.where(n == 0, 1, n)) ** 2)
    kernel[500] = 0.25
    response = rows.filter_rows(1, impulse)[0] / np.radians(1.0)
    # Periodic images of the kernel, one padded row away, are what is left.
    np.testing.assert_allclose(response, kernel, atol=2e-7)
    # The sum of the kernel over the padded row is 2 / pi^2 of the first bin.
    first_bin = np.radians(1.0) / rows.padded_px
    np.testing.assert_allclose(rows.dc_gain, 2 / np.pi**2 * first_bin)
    half = np.arange(1, rows.padded_px // 2, 2)
    whole = 0.25 - 2 * np.sum(1 / (np.pi * half) ** 2)
    assert whole * rows.padded_px == pytest.approx(2 / np.pi**2, rel=1e-4)


def test_windows_by_hand():
    middle = np.array([0.5])
    expected = {
        "ramp": 1.0,
        "shepp-logan": np.sin(np.pi / 4) / (np.pi / 4),
        "cosine": np.sqrt(0.5),
        "hamming": 0.54,
        "hann": 0.5,
    }
    for name, value in expected.items():
        assert WINDOWS[name](middle)[0] == pytest.approx(value), name
        assert WINDOWS[name](np.zeros(1))[0] == pytest.approx(1.0), name


def test_cutoff_in_cycles_and_in_angstrom():
    inside = Windowed("ramp", Frequency(0.25)).gains(K, FLAT, SERIES)[0] > 0
    np.testing.assert_array_equal(inside, K * PIXEL <= 0.25)
    as_resolution = Windowed("ramp", Frequency(4 * PIXEL, True)).gains(K, FLAT, SERIES)[0] > 0
    np.testing.assert_array_equal(inside, as_resolution)


def test_a_bin_on_the_cutoff_is_kept_whatever_its_rounding():
    bins = np.fft.rfftfreq(100, PIXEL)
    gains = Windowed("ramp", Frequency(0.29)).gains(bins, FLAT, SERIES)[0]
    assert np.count_nonzero(gains) == 29


def test_gaussian_is_isotropic():
    of = Gaussian(Frequency(100.0, True))
    k = np.array([[0.004], [0.008]])
    along = np.array([0.0, 0.003])
    gains = of.gains(k, along, SERIES)
    assert gains.shape == (41, 2, 2)
    expected = np.exp(-(k**2 + along**2) / (2 * 0.01**2)) * k
    expected = expected * np.radians(3.0) * 4.0
    np.testing.assert_allclose(gains[7], expected)


def test_radial_is_constant_under_its_gaussian():
    of = Radial(Frequency(0.2), Frequency(0.05))
    gains = of.gains(K, FLAT, SERIES) / ramp(SERIES)
    f = K * PIXEL
    beyond = 0.2 / f * np.exp(-((f - 0.2) ** 2) / (2 * 0.05**2))
    np.testing.assert_allclose(gains[3], np.where(f <= 0.2, 1.0, beyond))


@pytest.mark.parametrize(("iterations", "counted"), [(10, 10), (15, 15), (20, 19), (50, 39)])
def test_sirt_window(iterations, counted):
    f = np.array([0.001, 0.00195, 0.01, 0.3])
    expected = [1, 1, 1 - (1 - 0.195) ** (counted + 0.3), 1 - (1 - 0.0065) ** (counted + 0.3)]
    np.testing.assert_allclose(sirt_window(f, iterations), expected)


def test_sirt_like_flattens():
    gains = SirtLike(10).gains(K, FLAT, SERIES)[5]
    flat = 0.00195 * 10.3 / PIXEL * np.radians(3.0) * 4.0
    assert gains[-1] == pytest.approx(flat, rel=0.03)


def test_exact_tends_to_the_ramp_for_dense_views():
    dense = context(np.arange(-90.0, 90.0, 0.1), scale=1.01)
    some = slice(20, None, 30)
    gains = Exact().gains(K[some], FLAT, dense)
    np.testing.assert_allclose(gains[::97], ramp(dense)[::97, some], rtol=2e-3)


def test_exact_at_low_and_high_frequency():
    of = Exact(1000.0)
    n_views = len(SERIES.tilt_deg)
    np.testing.assert_allclose(of.gains(np.array([1e-9]), FLAT, SERIES), 4.0 / 1000.0 / n_views)
    np.testing.assert_allclose(of.gains(np.array([0.05]), FLAT, SERIES), 4.0 / 1000.0)


def test_exact_shares_between_equal_views():
    twice = context([-30.0, 0.0, 0.0, 30.0])
    gains = Exact(1000.0).gains(np.array([0.05]), FLAT, twice)[:, 0]
    np.testing.assert_allclose(gains[1] / gains[0], 0.5)


def test_exact_takes_the_thickness_of_the_context():
    thin, thick = (
        Exact().gains(K, FLAT, context([0.0, 4.0], thickness_angst=t)) for t in (500.0, 1500.0)
    )
    assert np.all(thin > thick)
    np.testing.assert_array_equal(
        thick, Exact(1500.0).gains(K, FLAT, context([0.0, 4.0], thickness_angst=1.0))
    )


def test_unfiltered_has_gain_one():
    gains = Unfiltered().gains(K[:, None], np.zeros(3), SERIES)
    np.testing.assert_array_equal(gains, np.ones((41, 200, 3)))


@pytest.mark.parametrize(
    ("chosen", "tolerance"),
    [
        (Windowed("ramp"), 0.01),
        (Windowed("hann", Frequency(1.0)), 0.015),
        (SirtLike(3000), 0.01),
        (Exact(1000.0), 0.015),
    ],
    ids=lambda value: getattr(value, "spec", None),
)
@pytest.mark.parametrize("scale", [1.0, 1.06])
def test_density_of_a_full_series(chosen, tolerance, scale):
    """A Gaussian blob seen from all sides comes back with its density, at half the sampling."""
    tilt = np.arange(-90.0, 90.0, 1.0)
    radians = np.radians(tilt)
    slices = SliceGeometry(
        scale * np.cos(radians), scale * np.sin(radians), np.zeros(180), np.zeros(180)
    )
    width, pixel, sigma = 201, 8.0, 40.0
    u = (np.arange(width) - 100) * pixel / scale
    # Line integrals in units of the input's voxels, 4 A: twice as fine as the rows.
    line = 3.0 * np.sqrt(2 * np.pi) * (sigma / 4.0) * np.exp(-(u**2) / (2 * sigma**2))
    rows = RowFilter(
        chosen,
        slices,
        pixel_angst=pixel,
        density_pixel_angst=4.0,
        thickness_angst=1000.0,
        width_px=width,
    )
    row = line[None].astype(np.float32)
    x, z = 24.0, -16.0
    total = 0.0
    for view in range(180):
        at = (slices.a[view] * x + slices.b[view] * z) / pixel + 100
        samples = rows.filter_rows(view, row)[0]
        grid = rows.first_px[view] + rows.step_px[view] * np.arange(rows.samples[view])
        total += np.interp(at, grid, samples)
    assert total == pytest.approx(3.0 * np.exp(-(x**2 + z**2) / (2 * sigma**2)), rel=tolerance)


@pytest.mark.parametrize("text", ["", "A", "0", "-0.1", "nan", "inf", "60AA", "0,3", "60 nm"])
def test_frequency_refuses(text):
    with pytest.raises(InputError):
        Frequency.parse(text)


def test_filters_refuse_impossible_numbers():
    with pytest.raises(InputError, match="1 or more"):
        SirtLike(0)
    with pytest.raises(InputError, match="thickness"):
        Exact(-1.0)
