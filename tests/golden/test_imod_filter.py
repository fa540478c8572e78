"""IMOD's filter against volumes that IMOD's ``tilt`` wrote, through a naive back-projection."""

from pathlib import Path

import mrcfile
import numpy as np
import pytest

from tomofilt.series.geometry import TiltGeometry
from tomofilt_imod.tilt_filter import ImodFilter
from tomofilt_imod.tilt_program import ETOMO, TiltProgram
from tomofilt_imod.tilt_rows import TiltRows

TS_01 = Path(__file__).parents[1] / "data" / "imod" / "TS_01"
SLICES = slice(40, 48)
THICKNESS = 40

VARIANTS = {
    "nocos": TiltProgram(ImodFilter(), cosine=(0, 0)),
    "default_new": TiltProgram(ImodFilter()),
    "radial_legacy": TiltProgram(ImodFilter(radial_cutoff=0.35, radial_falloff=0.05)),
    "fakesirt_10": TiltProgram(ImodFilter(fake_sirt_iterations=10)),
}


@pytest.fixture(scope="module")
def series():
    stack = mrcfile.read(TS_01 / "TS_01_ali.mrc").astype(np.float32)
    return stack[:, SLICES], float(stack.mean(dtype=np.float64)), np.loadtxt(TS_01 / "TS_01.tlt")


def reconstruct(chosen, rows, mean, tilt_deg, margin=0):
    """IMOD's back-projection (row, i, x): linear between samples, the mean where data end.

    ``margin`` is by how many voxels the volume that lines are stretched for is thicker.
    """
    width = rows.shape[2]
    _, slices = TiltGeometry.from_angles(tilt_deg).factor()
    x = np.arange(width) - (width - 1) / 2
    z = -(np.arange(THICKNESS) - (THICKNESS - 1) / 2)
    u_px = slices.a[:, None, None] * x + slices.b[:, None, None] * z[:, None] + (width - 1) / 2
    row_filter = TiltRows(
        chosen,
        slices,
        pixel_angst=10.0,
        density_pixel_angst=10.0,
        thickness_angst=400.0,
        width_px=width,
        needed_px=u_px.min(axis=(1, 2)) - np.abs(slices.b) * margin / 2,
        weights=np.ones(len(tilt_deg)),
    )
    assert row_filter.padded_px == 96
    # IMOD fills with the mean over the views, whatever the weight of the view that ends.
    fill = mean * row_filter.dc_gain.mean()
    volume = np.zeros((rows.shape[1], THICKNESS, width))
    for view in range(len(tilt_deg)):
        samples = row_filter.filter_rows(view, rows[view])
        position = (u_px[view] - row_filter.first_px[view]) / row_filter.step_px[view]
        left = np.clip(np.floor(position).astype(int), 0, samples.shape[1] - 2)
        value = samples[:, left] + (samples[:, left + 1] - samples[:, left]) * (position - left)
        has_data = (u_px[view] >= -1e-9) & (u_px[view] <= width - 1 + 1e-9)
        volume += np.where(has_data, value, fill)
    return volume + chosen.filter.offset


def compare(volume, expected):
    """Rms of the difference over the deviation, and the slope."""
    error = np.sqrt(np.mean((volume - expected) ** 2)) / expected.std()
    return error, np.polyfit(expected.ravel(), volume.ravel(), 1)[0]


@pytest.mark.parametrize("name", VARIANTS)
def test_variants(series, name):
    expected = mrcfile.read(TS_01 / "variants" / f"{name}.mrc").astype(float)
    error, slope = compare(reconstruct(VARIANTS[name], *series), expected)
    assert error <= 3e-5
    assert slope == pytest.approx(1, abs=3e-6)


def test_etomo_tilt_com(series):
    """With an X-tilt file, ``tilt`` stretches lines for four more voxels of thickness.

    etomo.mrc is rows 40 to 47 of what ``tilt`` made from TS_01/tilt.com.
    """
    expected = mrcfile.read(TS_01 / "variants" / "etomo.mrc").astype(float)
    error, slope = compare(reconstruct(ETOMO, *series, margin=4), expected)
    assert error <= 3e-5
    assert slope == pytest.approx(1, abs=3e-6)


def test_the_stretch_matters(series):
    """The tolerances above tell the cosine stretch, and where its samples start, apart."""
    expected = mrcfile.read(TS_01 / "variants" / "default_new.mrc").astype(float)
    assert compare(reconstruct(VARIANTS["nocos"], *series), expected)[0] > 0.1
    assert compare(reconstruct(VARIANTS["default_new"], *series, margin=4), expected)[0] > 1e-3


def test_scale(series):
    """SCALE add mul is (value + add) * mul."""
    plain = reconstruct(VARIANTS["nocos"], *series)
    scaled = reconstruct(
        TiltProgram(ImodFilter(output_add=12.5, output_mul=250.0), cosine=(0, 0)), *series
    )
    np.testing.assert_allclose(scaled, (plain + 12.5) * 250, rtol=1e-5)
