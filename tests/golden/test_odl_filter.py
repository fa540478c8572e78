"""Filters and filtered back-projection against ODL's (tests/data/odl/README.md)."""

from pathlib import Path

import numpy as np
import pytest

from tomofilt.filters import FilterContext
from tomofilt.filters.analytic import Frequency, Windowed
from tomofilt.filters.apply import RowFilter
from tomofilt.projectors.cpu import SliceProjector, slice_table
from tomofilt.series.geometry import ImageGrid, TiltGeometry, VolumeGrid

DATA = Path(__file__).parents[1] / "data" / "odl"
ROWS = np.load(DATA / "odl_filtered.npz")
SLICES = np.load(DATA / "odl_reconstructed.npz")
WINDOWS = {
    "Ram-Lak": "ramp",
    "Shepp-Logan": "shepp-logan",
    "Cosine": "cosine",
    "Hamming": "hamming",
    "Hann": "hann",
}
CASES = [(name, 1.0) for name in WINDOWS] + [("Ram-Lak", 0.7), ("Hann", 0.7)]
# ODL's gain is |omega| dtheta / (2 alen) with alen = 61 dtheta and |omega| = 2 pi |k|, ours |k|
# dtheta.
ODL_SCALE = np.pi / np.radians(122)
_, VIEWS = TiltGeometry.from_angles(np.linspace(-60, 60, 61)).factor()


def filtered_as_odl(rows, name, scaling, *, padded=True):
    """Our gains on ODL's frequencies: for odd lengths half a bin off, without zero frequency."""
    n = rows.shape[1]
    length = 2 * n - 1 if padded else n
    left = (length - n) // 2
    wide = np.pad(rows.astype(float), ((0, 0), (left, length - n - left)))
    k = (np.arange(length) - length // 2 + 0.5) / length
    phase = np.exp(-1j * np.pi * np.arange(length) / length)
    context = FilterContext(VIEWS.tilt_deg, VIEWS.scale, 1.0, 1.0, 64.0, n, length)
    window = Windowed(WINDOWS[name], Frequency(0.5 * scaling))
    gains = window.gains(k, np.zeros(1), context)[30] * ODL_SCALE
    spectrum = np.fft.fft(wide * phase) * np.fft.ifftshift(gains)
    return (np.fft.ifft(spectrum) / phase).real[:, left : left + n]


@pytest.mark.parametrize(
    ("name", "scaling", "suffix"),
    [(*case, "") for case in CASES] + [("Ram-Lak", 1.0, "_nopad"), ("Ram-Lak", 0.7, "_nopad")],
)
def test_filtered_rows(name, scaling, suffix):
    expected = ROWS[f"filtered_{name}_fs{scaling}{suffix}"]
    filtered = filtered_as_odl(ROWS["sino"], name, scaling, padded=not suffix)
    # ODL's own numbers are float32
    assert np.abs(filtered - expected).max() <= 2e-7 * np.abs(expected).max()


def backprojected(rows):
    """The slice of the volume, indexed [ix, iy]."""
    volume, images = VolumeGrid.centred((64, 1, 64), 1.0), ImageGrid.centred((1, 91), 1.0)
    projector = SliceProjector(
        slice_table(VIEWS, volume, images), (61, *images.shape), volume.shape
    )
    return projector.adjoint(rows[:, None].astype(np.float32))[:, 0].T


def difference(found, expected):
    """Scale of what was found, and its relative difference when it is matched, within the disc."""
    x, y = np.mgrid[:64, :64] - 31.5
    disc = np.hypot(x, y) < 31
    found, expected = found[disc].astype(float), expected[disc].astype(float)
    scale = found @ expected / (expected @ expected)
    return scale, np.linalg.norm(found / scale - expected) / np.linalg.norm(expected)


def test_unfiltered_backprojection():
    scale, error = difference(backprojected(SLICES["sino"]), SLICES["bp_astra_cpu"])
    assert scale == pytest.approx(1, abs=5e-4)
    assert error < 0.012


# How far ODL's back-projector, which follows rays, is from one that follows voxels: the sharper the
# filter, the farther. With ODL's own rows it is 3.3 % (Ram-Lak) and 2.1 % (Hann).
KERNELS = {
    ("Ram-Lak", 1.0): 0.0345,
    ("Shepp-Logan", 1.0): 0.0305,
    ("Cosine", 1.0): 0.0255,
    ("Hamming", 1.0): 0.024,
    ("Hann", 1.0): 0.0235,
    ("Ram-Lak", 0.7): 0.0285,
    ("Hann", 0.7): 0.022,
}


@pytest.mark.parametrize(("name", "scaling"), CASES)
def test_reconstruction_from_odls_frequencies(name, scaling):
    rows = filtered_as_odl(SLICES["sino"], name, scaling)
    expected = SLICES[f"fbp_astra_cpu_{name}_fs{scaling}"]
    scale, error = difference(backprojected(rows), expected)
    assert scale == pytest.approx(0.9965, abs=0.0025)
    assert error < KERNELS[name, scaling]


@pytest.mark.parametrize(("name", "scaling"), CASES)
def test_reconstruction_with_our_padding(name, scaling):
    """As `reconstruct --interpolation linear` does it: 1 % less at low frequencies."""
    window = Windowed(WINDOWS[name], Frequency(0.5 * scaling))
    row_filter = RowFilter(
        window,
        VIEWS,
        pixel_angst=1.0,
        density_pixel_angst=1.0,
        thickness_angst=64.0,
        width_px=91,
        interpolation="linear",
    )
    sinogram = SLICES["sino"]
    rows = [row_filter.filter_rows(view, sinogram[view : view + 1])[0] for view in range(61)]
    found = backprojected(np.stack(rows) * ODL_SCALE)
    scale, error = difference(found, SLICES[f"fbp_astra_cpu_{name}_fs{scaling}"])
    assert scale == pytest.approx(0.988, abs=0.002)
    assert error < KERNELS[name, scaling]


@pytest.mark.parametrize(("name", "largest"), [("Ram-Lak", 0.196), ("Hann", 0.137)])
def test_odl_with_another_back_projector(name, largest):
    """ODL differs more from itself: scikit-image clamps rows at their ends."""
    other, own = SLICES[f"fbp_skimage_{name}_fs1.0"], SLICES[f"fbp_astra_cpu_{name}_fs1.0"]
    found = backprojected(filtered_as_odl(SLICES["sino"], name, 1.0))
    scale, error = difference(found, other)
    assert scale == pytest.approx(0.985, abs=0.005)
    assert error < min(largest, difference(own, other)[1])
