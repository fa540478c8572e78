"""The size that is asked for, about the middle of the project's own."""

import math

import pytest

from tomofilt.errors import InputError
from tomofilt.series.geometry import VolumeGrid
from tomofilt.series.projects import SeriesOptions

OWN = VolumeGrid((12, 30, 40), 10.0, (5.0, 14.5, 20.0))


@pytest.mark.parametrize(
    ("asked", "shape"),
    [
        ({}, (12, 30, 40)),
        ({"thickness_angst": 200.0}, (20, 30, 40)),
        ({"thickness_px": 31.0}, (31, 30, 40)),
        ({"shape_px": (16, 22, 10)}, (10, 22, 16)),
        ({"shape_px": (16, 22, 10), "thickness_px": 8.0}, (8, 22, 16)),
    ],
)
def test_the_box_keeps_its_middle(asked, shape):
    grid = SeriesOptions(**asked).grid(OWN)
    assert grid.shape == shape
    assert grid.voxel_angst == OWN.voxel_angst
    for centre, n, own_centre, own_n in zip(grid.centre, shape, OWN.centre, OWN.shape, strict=True):
        assert centre - (n - 1) / 2 == own_centre - (own_n - 1) / 2


@pytest.mark.parametrize(
    "asked", [{"thickness_px": -5.0}, {"thickness_px": 0.4}, {"thickness_angst": math.nan}]
)
def test_thicknesses_that_leave_nothing(asked):
    with pytest.raises(InputError, match=r"thickness of .* leaves no tomogram"):
        SeriesOptions(**asked).grid(OWN)


def test_two_thicknesses():
    with pytest.raises(InputError, match="--thickness and --thickness-px"):
        SeriesOptions(thickness_angst=100.0, thickness_px=10)
