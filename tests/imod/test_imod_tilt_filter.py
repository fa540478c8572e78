import numpy as np
import pytest

from tomofilt.errors import InputError
from tomofilt.filters import FilterContext
from tomofilt_imod.tilt_filter import ImodFilter, imod_padded_length

WIDTH, PADDED, PIXEL = 80, 96, 5.0
BINS = np.arange(PADDED // 2 + 1.0)
TILT = np.array([-4.0, 0.0, 2.0, 3.0, 8.0])


def line(chosen, tilt_deg=TILT):
    """Gains on FFT bins, with zero frequency as the protocol gives it."""
    bins = BINS.copy()
    bins[0] = 2 / np.pi**2
    context = FilterContext(
        tilt_deg=tilt_deg,
        scale=np.ones(len(tilt_deg)),
        pixel_angst=PIXEL,
        density_pixel_angst=PIXEL,
        thickness_angst=200.0,
        width_px=WIDTH,
        padded_px=PADDED,
    )
    return chosen.gains(bins / (PADDED * PIXEL), np.zeros(1), context)


def flat_line(**options):
    """Gains of one of equally weighted views, times their number."""
    return line(ImodFilter(density_weights=(), **options))[0] * len(TILT)


@pytest.mark.parametrize(
    ("nx", "largest", "expected"),
    [
        (512, 5, 576),
        (512, 13, 572),
        (512, 19, 570),
        (80, 5, 96),
        (80, 19, 96),
        (128, 13, 144),
        (81, 13, 96),
    ],
)
def test_padded_length(nx, largest, expected):
    assert imod_padded_length(nx, largest) == expected


def test_ramp_counts_bins():
    expected = np.where(BINS == 0, 0.2, BINS)
    np.testing.assert_allclose(flat_line(), expected, rtol=1e-12)


def test_view_weights_by_hand():
    """Gaps 4, 2, 1, 5: weight 2 for the nearest on either side, 2/3 for the next; mean gap 3."""
    near, far = 2.0, 2 / 3
    expected = [
        (near * 4 + far * 2) / (near + far),
        (near * (4 + 2) + far * 1) / (2 * near + far),
        (near * (2 + 1) + far * (4 + 5)) / (2 * near + 2 * far),
        (near * (1 + 5) + far * 2) / (2 * near + far),
        (near * 5 + far * 1) / (near + far),
    ]
    gains = line(ImodFilter())[:, 1]
    np.testing.assert_allclose(gains, np.array(expected) / 3 / 5)
    shuffled = np.array([3, 0, 4, 1, 2])
    np.testing.assert_allclose(line(ImodFilter(), TILT[shuffled])[:, 1], gains[shuffled])


@pytest.mark.parametrize("tilt", [[7.0], [1.0, 1.0]])
def test_views_without_gaps_have_weight_one(tilt):
    np.testing.assert_allclose(line(ImodFilter(), np.array(tilt))[:, 3], 3 / len(tilt))


def test_radial_stays_constant_under_its_gaussian():
    # int(80 * 0.3) = 24 unpadded, 28.8 -> 29 padded bins: the last free bin is 28.
    gains = flat_line(radial_cutoff=0.3, radial_falloff=0.05, true_sigma=True)
    beyond = np.maximum(BINS - 28, 0) / (0.05 * PADDED)
    expected = np.minimum(np.where(BINS == 0, 0.2, BINS), 28) * np.exp(-(beyond**2) / 2)
    np.testing.assert_allclose(gains, expected, rtol=1e-6)
    legacy = flat_line(radial_cutoff=0.3, radial_falloff=0.05)
    np.testing.assert_allclose(legacy[40] / 28, np.exp(-(beyond[40] ** 2)), rtol=1e-6)


def test_radial_in_fft_pixels():
    np.testing.assert_allclose(
        flat_line(radial_cutoff=24, radial_falloff=4, true_sigma=True),
        flat_line(radial_cutoff=0.3, radial_falloff=0.05, true_sigma=True),
    )


def test_radial_ends_beyond_eight_sigma():
    gains = flat_line(radial_cutoff=0.2, radial_falloff=1.0, true_sigma=True)
    # One unpadded pixel is 1.2 bins: nothing is left beyond bin 18 + 9.6.
    assert gains[27] > 0
    assert np.all(gains[28:] == 0)


def test_multiply_by_gaussian_keeps_the_ramp():
    gains = flat_line(
        radial_cutoff=0.3, radial_falloff=0.05, true_sigma=True, multiply_gaussian=True
    )
    assert gains[40] == pytest.approx(40 * np.exp(-((12 / 4.8) ** 2) / 2))


def test_hamming_like():
    gains = flat_line(hamming_from=0.1)
    # From 8 of 80 pixels (9.6 -> 10 bins, the last free one 9); sigma 0.438 * 32 pixels.
    beyond = np.maximum(BINS - 9, 0) / (0.438 * 32 * 1.2)
    np.testing.assert_allclose(gains[1:], (BINS * np.exp(-(beyond**2) / 2))[1:], rtol=1e-6)


def test_fake_sirt():
    gains = flat_line(fake_sirt_iterations=12)
    f = BINS[1:] / (PADDED + 2)
    np.testing.assert_allclose(gains[1:], BINS[1:] * (1 - (1 - 0.00195 / f) ** 12.3))
    assert gains[0] == pytest.approx(0.2)


def test_flat_fraction():
    flat = flat_line(flat_fraction=1.0)
    np.testing.assert_allclose(flat[1:], WIDTH / 2.2)
    assert flat[0] == pytest.approx(0.2)
    np.testing.assert_allclose(flat_line(flat_fraction=0.25)[8], 6 + 0.25 * WIDTH / 2.2)


def test_gains_are_continuous_between_bins():
    chosen = ImodFilter(radial_cutoff=0.3, radial_falloff=0.05, fake_sirt_iterations=5)
    context = FilterContext(TILT, np.ones(5), PIXEL, PIXEL, 200.0, WIDTH, PADDED)
    bins = np.linspace(0, 48, 48001)
    gains = chosen.gains(bins / (PADDED * PIXEL), np.zeros(1), context)[0]
    assert np.abs(np.diff(gains)).max() < 2e-3


def test_output_options():
    chosen = ImodFilter(output_add=20.0, output_mul=250.0, output_mode=1)
    assert (chosen.offset, chosen.dtype) == (5000.0, "int16")
    np.testing.assert_allclose(line(chosen), 250 * line(ImodFilter()))
    assert [ImodFilter(output_mode=mode).dtype for mode in (0, 2)] == ["int8", "float32"]


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"radial_cutoff": 0.3}, "RADIAL needs two"),
        ({"radial_cutoff": 0.3, "radial_falloff": 0.05, "hamming_from": 0.1}, "keep one"),
        ({"flat_fraction": 1.5}, "FlatFilterFraction"),
        ({"fake_sirt_iterations": 0}, "FakeSIRTiterations"),
        ({"output_mode": 6}, "MODE 6"),
        ({"flat_fraction": 0.5, "fake_sirt_iterations": 5}, "keep one"),
        ({"largest_prime": 7}, "give 13"),
    ],
)
def test_refuses(options, match):
    with pytest.raises(InputError, match=match):
        ImodFilter(**options)
