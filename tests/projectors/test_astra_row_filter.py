"""Filtering by torch against filtering by scipy; torch on the CPU stands for torch on a GPU."""

import numpy as np
import pytest
import torch

from tomofilt.errors import InputError
from tomofilt.filters.apply import ImageFilter, RowFilter
from tomofilt.filters.device import DeviceImageFilter, DeviceRowFilter
from tomofilt.filters.registry import parse
from tomofilt.filters.wiener import Measurement, WienerExact
from tomofilt.series.geometry import TiltGeometry
from tomofilt.snr import SpectralSnr

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


def measured():
    """A filter with gains across and along the tilt axis."""
    k, zeros = np.geomspace(0.0006, 0.05, 12), np.zeros(len(TILTS))
    snr = SpectralSnr(k, np.log(2.0) - 40 * k, zeros, zeros.copy())
    return WienerExact("match", Measurement(snr, 1000.0, 0.0, "a test"))


def test_rows_of_images_that_are_filtered_already():
    rows = torch.ones(2, 5, 64)
    assert (
        DeviceRowFilter(row_filter(measured(), 64, "linear"), "cpu").filter_rows([1, 4], rows)
        is rows
    )


def test_what_is_left_to_the_cpu():
    class Other(RowFilter):
        pass

    rows = row_filter(parse("ramp"), 64)
    rows.__class__ = Other
    with pytest.raises(InputError, match="for the CPU only: use --device cpu"):
        DeviceRowFilter(rows, "cpu")


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("chosen", [parse("ramp"), measured()], ids=["rows", "both axes"])
def test_images_equal_the_cpus(chosen, turned):
    geometry = TiltGeometry.from_angles(TILTS, 80.0)
    warp, slices = geometry.factor()
    cpu = ImageFilter(
        chosen,
        slices,
        (70, 81),
        pixel_angst=(10.0, 10.0),
        density_pixel_angst=5.0,
        thickness_angst=1500.0,
        image_from_aligned=warp[:, :, :2] if turned else None,
    )
    image = np.random.default_rng(2).normal(size=(70, 81)).astype(np.float32)
    image.flags.writeable = False  # as a file that is mapped into memory
    gpu = DeviceImageFilter(cpu, "cpu")
    for view in (0, 5):
        expected, found = cpu.filter_image(view, image), gpu.filter_image(view, image)
        assert found.dtype == np.float32
        assert np.abs(found - expected).max() <= 2e-6 * np.abs(expected).max()
