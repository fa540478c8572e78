"""Filtering by torch against filtering by scipy; torch on the CPU stands for torch on a GPU."""

import numpy as np
import pytest
import torch

from tomofilt.errors import InputError
from tomofilt.filters.apply import RowFilter
from tomofilt.filters.device import DeviceRowFilter
from tomofilt.filters.imod import ImodFilter
from tomofilt.filters.registry import parse
from tomofilt.series.geometry import TiltGeometry

TILTS = np.linspace(-60.0, 57.0, 8)


def row_filter(chosen, width, interpolation=None):
    _, slices = TiltGeometry.from_angles(TILTS).factor()
    return RowFilter(
        chosen,
        slices,
        pixel_angst=10.0,
        density_pixel_angst=5.0,
        thickness_angst=1500.0,
        width_px=width,
        interpolation=interpolation,
    )


@pytest.mark.parametrize("interpolation", ["fine", "linear"])
@pytest.mark.parametrize("width", [64, 81])
@pytest.mark.parametrize("name", ["ramp", "hann", "sirt-like:10", "none"])
def test_equals_the_cpu(name, width, interpolation):
    cpu = row_filter(parse(name), width, interpolation)
    rows = np.random.default_rng(2).normal(size=(3, 70, width)).astype(np.float32)
    views = [5, 0, 7]
    expected = np.stack([cpu.filter_rows(v, r) for v, r in zip(views, rows, strict=True)])
    found = DeviceRowFilter(cpu, "cpu").filter_rows(views, torch.from_numpy(rows)).numpy()
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= 2e-6 * np.abs(expected).max()


def test_imod_is_left_to_the_cpu():
    with pytest.raises(InputError, match="use --device cpu"):
        DeviceRowFilter(row_filter(parse("hann"), 64, "imod"), "cpu")
    with pytest.raises(InputError, match="use --device cpu"):
        DeviceRowFilter(row_filter(ImodFilter(), 64, "linear"), "cpu")
