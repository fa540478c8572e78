"""Lists of numbers, .xf files and local alignments."""

from pathlib import Path

import numpy as np
import pytest
from strategies_imod import VIEWS, format_local

from tomofilt.errors import InputError
from tomofilt.io.text import read_numbers
from tomofilt_imod.transforms import read_local, read_xf
from tomofilt_imod.views import parse_view_list

DATA = Path(__file__).parents[1] / "data" / "imod"


@pytest.fixture
def file(tmp_path):
    def write(text):
        path = tmp_path / "TS.txt"
        path.write_text(text, newline="")
        return path

    return write


@pytest.mark.parametrize(
    "text", ["1\n-2.5\n3e1\n", "1 -2.5 30", "1,-2.5,\r\n\r\n 30\r\n", "1\t-2.5\n30"]
)
def test_numbers(file, text):
    np.testing.assert_array_equal(read_numbers(file(text)), [1, -2.5, 30])


@pytest.mark.parametrize("line", ["# angles", "2.5 deg", "nan", "1-2"])
def test_not_numbers(file, line):
    with pytest.raises(InputError, match=r"TS\.txt (line 2|holds NaN)"):
        read_numbers(file(f"1\n{line}\n3\n"))


@pytest.mark.parametrize(
    "texts", [["1-3,20"], ["1 2 3 20"], ["1 - 3, 20"], ["20", "3-1"], ["1-3", "2,20"]]
)
def test_view_list(texts):
    assert parse_view_list(texts, "here") == (1, 2, 3, 20)


@pytest.mark.parametrize("text", ["1-", "-3", "1-2-3", "1.5", "all"])
def test_not_a_view_list(text):
    with pytest.raises(InputError, match="neither a view number nor a range"):
        parse_view_list([text], "here")


def test_xf_of_imod():
    transforms = read_xf(DATA / "TS_01" / "TS_01.xf").matrices
    assert transforms.shape == (41, 2, 3)
    np.testing.assert_array_equal(
        transforms[0], [[0.0790398, 0.9958652, -0.066], [-0.9958652, 0.0790398, -2.218]]
    )


@pytest.mark.parametrize(
    "line",
    [
        "   1.0000000   0.0000000   0.0000000   1.0000000  -12345.678-123456.789",
        "1.0000000,0.0,0.0,1.0,-12345.678,-123456.789",
        "1 0 0 1 -12345.678 -123456.789   \r",
    ],
)
@pytest.mark.parametrize("end", ["", "\n", "\n\n", "\n   \n\n"])
def test_xf_spellings(file, line, end):
    expected = [[[1, 0, -12345.678], [0, 1, -123456.789]]]
    np.testing.assert_array_equal(read_xf(file(line + end)).matrices, expected)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1 0 0 1 5", "not a transform"),
        ("1 0 0 1 5 6 7", "not a transform"),
        ("1 0 0 1 x 6", "not a transform"),
        ("1 0 0 1 nan 6", "not a transform"),
        ("1 0 0 1 1e300 6", "not a transform"),
    ],
)
def test_xf_errors(file, line, message):
    with pytest.raises(InputError, match=rf"TS\.txt line 2: .*{message}"):
        read_xf(file(f"1 0 0 1 0 0\n{line}\n"))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1 2 2 4 0 0", "magnifies by 4.47"),
        ("0 0 0 0 0 0", "magnifies by 0, but 0.5 to 2 can"),
        ("0.1 0 0 0.1 0 0", "magnifies by 0.1"),
        ("1.5 0 0 1 0 0", "stretches one axis 1.50 times the other, but 1.2"),
        ("1 0.3 0 1 0 0", "skews the axes by 17 deg, but 10"),
    ],
)
def test_transforms_that_no_alignment_makes(file, line, message):
    transforms = read_xf(file(f"1 0 0 1 0 0\n\n{line}\n"))
    with pytest.raises(InputError, match=rf"TS\.txt line 3 has a transform that {message}"):
        transforms.refuse_impossible(np.array([0, 1]))
    transforms.refuse_impossible(np.array([0]))  # a view that is left out may have any
    assert np.isfinite(transforms.raw_from_aligned(np.zeros(2))).all()


def test_local_of_imod():
    local = read_local(DATA / "TS_01" / "variants" / "v_local.xf", 41)
    np.testing.assert_array_equal(local.x_px, [20, 60])
    np.testing.assert_array_equal(local.y_px, [24, 72])
    assert local.pixel_angst == 10
    assert local.z_factors is None
    assert local.tilt_deg.shape == local.xtilt_deg.shape == (2, 2, 41)
    assert local.tilt_deg[0, 0, 0] == -0.08
    assert local.xtilt_deg[0, 0, 0] == -0.071
    np.testing.assert_array_equal(
        local.transforms[0, 0, 0], [[1.0008293, -0.0013210, 0.470], [0.0013210, 1.0008293, 1.006]]
    )


def test_local_order(file):
    """Patches run in x first; each has tilts, x tilts, Z factors, transforms."""
    tilt = np.arange(4.0 * VIEWS).reshape(2, 2, VIEWS)
    z = np.arange(8.0 * VIEWS).reshape(2, 2, VIEWS, 2) / 8
    local = read_local(file(format_local(tilt=tilt, xtilt=tilt / 2, z=z)), VIEWS)
    np.testing.assert_array_equal(local.tilt_deg, tilt)
    np.testing.assert_array_equal(local.xtilt_deg, tilt / 2)
    np.testing.assert_array_equal(local.z_factors, z)
    np.testing.assert_array_equal(local.x_px, [3, 8])
    np.testing.assert_array_equal(local.y_px, [4, 10])


def test_local_header_of_six_numbers(file):
    text = format_local().replace("5 6 0 2.0 0", "5 6")
    local = read_local(file(text), VIEWS)
    assert local.pixel_angst is None
    assert not local.xtilt_deg.any()


def test_global_xf_in_the_place_of_a_local_alignment():
    assert read_local(DATA / "TS_01" / "TS_01.xf", 41) is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 2 3 4 5 6 0 1 0\n", "its first line has"),
        ("2 2 3 4 5\n", "its first line has"),
        ("2 2 3 4 0 6\n", "0 x 6 pixels apart"),
        (format_local() + "1\n", "has 141 numbers for 2 x 2 patches, but 5 views need 140"),
    ],
)
def test_local_errors(file, text, message):
    with pytest.raises(InputError, match=message):
        read_local(file(text), VIEWS)
