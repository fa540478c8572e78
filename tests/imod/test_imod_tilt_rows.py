"""Rows as IMOD's tilt pads and samples them."""

import numpy as np
import pytest
import torch

from tomofilt.errors import InputError
from tomofilt.filters.device import DeviceRowFilter
from tomofilt.series.geometry import TiltGeometry
from tomofilt_imod.tilt_filter import ImodFilter
from tomofilt_imod.tilt_program import TiltProgram
from tomofilt_imod.tilt_rows import TiltRows

TILT = np.array([-75.0, -60.0, -20.0, 0.0, 20.0, 40.0, 80.0])


def tilt_rows(width=200, needed_px=None, tilt=TILT, **options):
    _, slices = TiltGeometry.from_angles(tilt).factor()
    return TiltRows(
        TiltProgram(ImodFilter(), **options),
        slices,
        pixel_angst=10.0,
        density_pixel_angst=5.0,
        thickness_angst=1500.0,
        width_px=width,
        needed_px=np.zeros(7) if needed_px is None else needed_px,
        weights=np.ones(7),
    )


def noise(*shape):
    return np.random.default_rng(3).standard_normal(shape).astype(np.float32)


def test_rows_do_not_depend_on_their_company():
    rows, filtered = noise(150, 101), tilt_rows(101)
    together = filtered.filter_rows(4, rows)
    for start, stop in [(0, 1), (1, 4), (3, 67), (63, 80), (20, 150)]:
        part = filtered.filter_rows(4, rows[start:stop])
        np.testing.assert_array_equal(part, together[start:stop])


@pytest.mark.parametrize("width", [1, 2, 3, 31, 200, 1024])
@pytest.mark.parametrize("cosine", [(0, 0), (1, 2), (2, 3), (3, 1)])
def test_samples_cover_the_row(width, cosine):
    filtered = tilt_rows(width, cosine=cosine)
    last_px = filtered.first_px + filtered.step_px * (filtered.samples - 1)
    assert np.all(last_px >= width - 1 - 1e-6)
    assert np.all(last_px < width - 1 + filtered.step_px)
    for view in range(7):
        result = filtered.filter_rows(view, noise(3, width))
        assert result.shape == (3, filtered.samples[view])
        assert np.isfinite(result).all()


@pytest.mark.parametrize(("order", "factor"), [(1, 2), (1, 3), (2, 2), (3, 2)])
def test_stretch(order, factor):
    """Samples are where they are said to be: a parabola is found between its pixels."""
    needed = np.array([30.0, 12.6, -3.0, 0.0, 500.0, 1.1, 30.0])
    stretched = tilt_rows(needed_px=needed, cosine=(order, factor))
    np.testing.assert_allclose(stretched.step_px, np.cos(np.radians(TILT)) / factor)
    np.testing.assert_allclose(stretched.first_px, [30, 12.6, 0, 0, 199, 1.1, 30])

    def parabola(x):
        return 0.01 * (x - 70.0) ** 2

    lines = parabola(np.arange(200.0))[None].astype(np.float32)
    for view in (0, 1, 2, 5):
        out = np.empty((1, stretched.samples[view]), np.float32)
        stretched.sample(view, lines, out)
        x = stretched.first_px[view] + stretched.step_px[view] * np.arange(out.shape[1])
        inside = (x > 1) & (x < 198)
        off = {1: 0.0026, 2: 1e-4, 3: 0.25}[order]
        np.testing.assert_allclose(out[0, inside], parabola(x[inside]), atol=off)


def test_nothing_is_stretched_when_a_view_is_steep():
    steep = tilt_rows(tilt=np.array([-81.0, -60, -40, -20, 0, 20, 40]))
    np.testing.assert_array_equal(steep.step_px, 1.0)


def test_padding_is_a_slope_from_end_to_start():
    """A row that is constant stays constant when padded, so only dc_gain acts on it."""
    filtered = tilt_rows()
    constant = np.full((2, 200), 7.0, dtype=np.float32)
    for view in range(7):
        np.testing.assert_allclose(
            filtered.filter_rows(view, constant), 7 * filtered.dc_gain[view], rtol=1e-4
        )


def test_is_left_to_the_cpu():
    with pytest.raises(InputError, match="use --device cpu"):
        DeviceRowFilter(tilt_rows(), torch.device("cpu"))
