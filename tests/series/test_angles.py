"""Tilt angles as people write them."""

import numpy as np
import pytest

from tomofilt.errors import InputError, MissingFileError
from tomofilt.series.angles import angles_of_range, read_angles


@pytest.mark.parametrize(
    ("text", "angles"),
    [
        ((-60, 60, 3), np.arange(-60, 61, 3)),
        ((60, -60, -3), np.arange(60, -61, -3)),
        ((-1, 1, 0.1), np.linspace(-1, 1, 21)),
        # never beyond the last, also where that is no whole number of steps away
        ((0, 5, 2), [0, 2, 4]),
        ((-50, 50, 3.5), -50 + 3.5 * np.arange(29)),
        ((7, 7, 1), [7]),
    ],
)
def test_ranges(text, angles):
    np.testing.assert_allclose(angles_of_range(*text), angles)


@pytest.mark.parametrize(
    "text",
    [
        (0, 60, 0),
        (0, 0, 0),
        (0, 60, -3),
        (60, 0, 3),
        (-60, 60, 1e-9),
        (np.nan, 60, 3),
        (-np.inf, 60, 3),
        (-60, 60, np.inf),
    ],
)
def test_no_ranges(text):
    with pytest.raises(InputError, match="no list of tilts"):
        angles_of_range(*text)


@pytest.mark.parametrize("text", [" -3.10\n\n0.0\r\n  2.95\n", "-3.1, 0 2.95\n"])
def test_a_file(tmp_path, text):
    path = tmp_path / "TS.tlt"
    path.write_text(text)
    np.testing.assert_allclose(read_angles(path), [-3.1, 0, 2.95])


@pytest.mark.parametrize("text", ["view 1\n", "1\nnan\n", "-3.1 0.0\n0.0 2.5\n", "\n"])
def test_files_of_something_else(tmp_path, text):
    path = tmp_path / "TS.tlt"
    path.write_text(text)
    with pytest.raises(InputError, match=r"TS\.tlt.* tilt angle.* one angle in degrees on each"):
        read_angles(path)


def test_no_file(tmp_path):
    with pytest.raises(MissingFileError, match=r"absent\.tlt"):
        read_angles(tmp_path / "absent.tlt")
