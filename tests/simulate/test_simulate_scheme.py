"""Tilt schemes: angles, order, exposures."""

import numpy as np
import pytest

from tomofilt.errors import InputError
from tomofilt.series.angles import angles_of_range
from tomofilt.simulate.scheme import tilt_scheme


def test_dose_symmetric_order_starts_at_the_flat_slab():
    scheme = tilt_scheme([-6, -3, 0, 3, 6], "dose-symmetric", 2.0)
    assert scheme.acquired.tolist() == [3, 1, 0, 2, 4]
    np.testing.assert_allclose(scheme.exposure_before_e_per_a2, [6, 2, 0, 4, 8])
    np.testing.assert_allclose(scheme.exposure_e_per_a2, [7, 3, 1, 5, 9])


def test_pretilt_moves_the_slab_and_the_start():
    scheme = tilt_scheme(angles_of_range(-60, 40, 10), "dose-symmetric", 1.0, pretilt_deg=10.0)
    np.testing.assert_allclose(scheme.tilt_deg, angles_of_range(-50, 50, 10))
    np.testing.assert_allclose(scheme.stage_deg, angles_of_range(-60, 40, 10))
    assert scheme.stage_deg[scheme.acquired == 0] == -10.0


def test_continuous_order_and_lost_views():
    """Lost views have damaged the specimen all the same."""
    scheme = tilt_scheme([6, -6, 3, -3, 0], "continuous", 3.0, missing=(2, 3))
    np.testing.assert_allclose(scheme.tilt_deg, [-6, 3, 6])
    np.testing.assert_allclose(scheme.exposure_before_e_per_a2, [0, 9, 12])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"stage_deg": []}, "no tilt is left"),
        ({"stage_deg": [0, 3], "missing": (1, 2)}, "no tilt is left"),
        ({"stage_deg": [0, 3], "missing": (3,)}, "there are 2"),
        ({"stage_deg": [0, 0, 3]}, "different"),
        ({"stage_deg": [0, np.nan]}, "finite"),
        ({"stage_deg": [-60, 60], "pretilt_deg": -30}, "-90 deg"),
    ],
)
def test_refusals(arguments, message):
    with pytest.raises(InputError, match=message):
        tilt_scheme(order="continuous", dose_e_per_a2=1.0, **arguments)
