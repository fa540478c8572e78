"""The windows against rows that ODL filtered (tests/data/odl/README.md)."""

from pathlib import Path

import numpy as np
import pytest

from tomofilt.filters import FilterContext
from tomofilt.filters.analytic import Frequency, Windowed

ROWS = np.load(Path(__file__).parents[1] / "data" / "odl" / "odl_filtered.npz")
CASES = [
    ("Ram-Lak", "ramp", 1.0, ""),
    ("Ram-Lak", "ramp", 0.7, ""),
    ("Ram-Lak", "ramp", 1.0, "_nopad"),
    ("Ram-Lak", "ramp", 0.7, "_nopad"),
    ("Shepp-Logan", "shepp-logan", 1.0, ""),
    ("Cosine", "cosine", 1.0, ""),
    ("Hamming", "hamming", 1.0, ""),
    ("Hann", "hann", 1.0, ""),
    ("Hann", "hann", 0.7, ""),
]


@pytest.mark.parametrize(("odl_name", "window", "scaling", "suffix"), CASES)
def test_odl_filtered_rows(odl_name, window, scaling, suffix):
    expected = ROWS[f"filtered_{odl_name}_fs{scaling}{suffix}"]
    rows = ROWS["sino"].astype(float)
    n = rows.shape[1]
    length = n if suffix else 2 * n - 1
    left = (length - n) // 2
    padded = np.pad(rows, ((0, 0), (left, length - n - left)))
    # For odd lengths ODL's frequency grid is shifted by half a bin and lacks zero frequency.
    k = (np.arange(length) - length // 2 + 0.5) / length
    phase = np.exp(-1j * np.pi * np.arange(length) / length)
    # ODL's gain is |omega| dtheta / (2 alen) with alen = 61 dtheta; |omega| = 2 pi |k|.
    context = FilterContext(
        tilt_deg=np.linspace(-60, 60, 61),
        scale=np.ones(61),
        pixel_angst=1.0,
        density_pixel_angst=1.0,
        thickness_angst=64.0,
        width_px=n,
        padded_px=length,
    )
    step = np.radians(2.0)
    gains = Windowed(window, Frequency(0.5 * scaling)).gains(k, np.zeros(1), context)[30]
    spectrum = np.fft.fft(padded * phase)
    spectrum *= np.fft.ifftshift(gains) * (np.pi / 61 / step)
    filtered = (np.fft.ifft(spectrum) / phase).real[:, left : left + n]
    assert np.abs(filtered - expected).max() <= 3e-7 * np.abs(expected).max()
