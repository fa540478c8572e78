"""Faults in the files of IMOD folders, as users had them: what is refused, with file and line."""

import shutil

import mrcfile
import numpy as np
import pytest
from strategies_imod import NX, NY, TILTS, VIEWS, ImodFolder, format_xf, rotation_xf, write_stack

from tomofilt.errors import InputError
from tomofilt.io.mrc import MrcStack


@pytest.fixture
def folder(tmp_path):
    return ImodFolder(tmp_path / "data")


def notes(series):
    return "\n".join(series.notes)


# -------------------------------------------------------------------------- numbers that cannot be


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("-40 \n-20\n1\n900\n40\n", r"TS\.tlt line 4 has a tilt of 900 deg, but .* 90 deg at most"),
        ("-400\n\n-200\n1\n200\n400\n", r"TS\.tlt line 1 has a tilt of -400 deg, and 3 more"),
        ("-40\n-20\n1\nnan\n40\n", r"TS\.tlt line 4: 'nan' is not a list of finite numbers"),
        ("-40\n-20\n1\n1e400\n40\n", r"TS\.tlt line 4"),
        ("-40,0\n-20,0\n1,0\n20,0\n40,0\n", r"TS\.tlt line 1 holds 2 numbers.*not a comma"),
        ("-40\n-20\n1\n20,5\n40\n", r"TS\.tlt line 4 holds 2 numbers.*line for each of 5 sections"),
        ("0 -40\n1 -20\n2 1\n3 20\n4 40\n", r"TS\.tlt line 1 holds 2 numbers.*other columns"),
        ("0\n" * VIEWS, r"TS\.tlt.*all tilt angles are 0"),
        ("x\n" * VIEWS, r"TS\.tlt line 1: 'x' is not a list"),
    ],
)
def test_angles_that_cannot_be(folder, text, message):
    folder.write(".tlt", text)
    with pytest.raises(InputError, match=message):
        folder.read()


@pytest.mark.parametrize(
    "text",
    [
        "-40 -20 1 20 40",
        "-40, -20, 1, 20, 40\n",
        "-40 -20 1\n20 40\n",
        "-40\n-20\n1\n20\n40\n\n60\n",
    ],
)
def test_lists_in_the_other_ways_of_imod_are_read(folder, text):
    folder.write(".tlt", text)
    np.testing.assert_array_equal(folder.read().tilt_deg, TILTS)


def test_views_that_are_left_out_may_have_any_angle_and_transform(folder):
    folder.raw(rotation_xf(0.0))
    lines = (folder.path / "TS.xf").read_text().splitlines()
    folder.write(".xf", "\n".join([*lines[:3], "0 0 0 0 0 0", lines[4]]))
    folder.write(".tlt", "-40\n-20\n1\n900\n40\n")
    with pytest.raises(InputError, match=r"TS\.xf line 4 has a transform that magnifies by 0"):
        folder.read()
    folder.tilt("EXCLUDELIST 4")
    assert list(folder.read().views) == [0, 1, 2, 4]


@pytest.mark.parametrize("key", ["FULLIMAGE", "SHIFT", "SUBSETSTART", "SLICE", "RADIAL", "SCALE"])
@pytest.mark.parametrize("value", ["nan nan", "inf 1", "1 -inf", "1e400 1", "1e30 1"])
def test_pairs_in_com_files_that_cannot_be(folder, key, value):
    folder.tilt(f"{key} {value}")
    with pytest.raises(InputError, match=rf"tilt\.com has {key} {value}, but no such number"):
        folder.read()


@pytest.mark.parametrize("key", ["WIDTH", "THICKNESS", "OFFSET", "XAXISTILT", "LOG", "IMAGEBINNED"])
@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "1e30"])
def test_numbers_in_com_files_that_cannot_be(folder, key, value):
    folder.tilt(f"{key} {value}", thickness=None if key == "THICKNESS" else 8)
    with pytest.raises(InputError, match=rf"tilt\.com has {key} {value}, but no such number"):
        folder.read()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("OFFSET 900", r"TS\.tlt line 1 with tilt\.com OFFSET 900 has a tilt of 860 deg, and 4"),
        ("XAXISTILT 900", r"tilt\.com XAXISTILT 900 has an x tilt of -900 deg"),
        ("XAXISTILT -91", r"has an x tilt of 91 deg"),
        ("WIDTH 1e9", r"TS: a tomogram of 1e\+09 x 12 x 8 px .* larger than any file"),
        ("SHIFT 1e6 0", r"TS: no view meets the tomogram"),
        ("IMAGEBINNED -2", r"tilt\.com has IMAGEBINNED -2, but it takes a whole number, 0 or more"),
        ("IMAGEBINNED 1.5", r"tilt\.com has IMAGEBINNED 1\.5, but it takes a whole number"),
        ("EXCLUDELIST2 1-99999999999", r"EXCLUDELIST2 has view 99999999999, but .* views 1 to 5"),
    ],
)
def test_geometry_in_com_files_that_cannot_be(folder, line, message):
    folder.tilt(line)
    with pytest.raises(InputError, match=message):
        folder.read()


def test_x_tilts_that_cannot_be(folder):
    folder.write(".xtilt", "0\n0\n0\n0\n-95\n")
    folder.tilt("XTILTFILE TS.xtilt")
    with pytest.raises(InputError, match=r"TS\.xtilt line 5 has an x tilt of -95 deg"):
        folder.read()
    folder.write(".xtilt", "3\n" * VIEWS)  # the same for all is what tiltalign finds as a rule
    assert folder.read().notes == ()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("4 0 0 4 0 0", r"magnifies by 4"),
        ("0.25 0 0 0.25 0 0", r"magnifies by 0\.25"),
        ("1 0 0 1.5 0 0", r"stretches one axis 1\.50 times"),
        ("1 0.3 0 1 0 0", r"skews the axes by 17 deg"),
    ],
)
def test_transforms_that_no_alignment_makes(folder, line, message):
    folder.raw(rotation_xf(0.0))
    lines = (folder.path / "TS.xf").read_text().splitlines()
    folder.write(".xf", "\n".join([*lines[:2], line, *lines[3:]]))
    with pytest.raises(InputError, match=rf"TS\.xf line 3 has a transform that {message}"):
        folder.read()


def test_shifts_beside_the_tomogram(folder):
    folder.raw(rotation_xf(0.0, [(300.0, 0.0)] * VIEWS))
    with pytest.raises(InputError, match="no view meets the tomogram: the images are 10 x 12 px"):
        folder.read()


@pytest.mark.parametrize(("key", "value"), [("Voltage", "0"), ("AmplitudeContrast", "-7")])
def test_optics_that_cannot_be(folder, key, value):
    folder.write(".defocus", "1 5 -40 40 3000 2\n")
    folder.write("ctfcorrection.com", f"$ctfphaseflip -StandardInput\n{key} {value}\n")
    series = folder.read()
    assert series.ctf is None
    assert "the CTF is not known: a" in notes(series)


# ----------------------------------------------------------------- what does not belong together


def change_header(path, **fields):
    with mrcfile.mmap(path, "r+", permissive=True) as mrc:
        for name, value in fields.items():
            mrc.header[name] = value


@pytest.mark.parametrize(
    "fields", [{"mode": 0}, {"nx": NX // 2}, {"nz": VIEWS - 1}, {"ny": NY - 1}]
)
def test_a_stack_longer_than_its_header_says(folder, fields):
    """Mode 0 on real numbers, or nx halved, gives images of something else."""
    raw = bytearray(folder.ali.read_bytes())
    places = {"nx": 0, "ny": 4, "nz": 8, "mode": 12}
    for name, value in fields.items():
        raw[places[name] : places[name] + 4] = int(value).to_bytes(4, "little")
    folder.ali.write_bytes(bytes(raw) + bytes(600))
    with pytest.raises(InputError, match=r"TS_ali\.mrc is longer than its header says: .* copy or"):
        folder.read()


def test_a_few_bytes_too_many_are_said(folder):
    folder.ali.write_bytes(folder.ali.read_bytes() + bytes(100))
    assert "TS_ali.mrc is 100 bytes longer than its header says" in notes(folder.read())


def test_full_image_and_subset_tell_the_size_of_the_aligned_stack(folder):
    """Without newst.com: etomo writes half of what the aligned stack is smaller as SUBSETSTART."""
    shifts = [(1.0 * i, -2.0) for i in range(VIEWS)]
    folder.raw(rotation_xf(-90.0, shifts))
    folder.newst("SizeToOutputInXandY 20,16")
    folder.tilt(f"FULLIMAGE {NY} {NX}", "SUBSETSTART -4 -3")
    right = folder.read()
    (folder.path / "newst.com").unlink()
    found = folder.read()
    assert found.aligned_shape == right.aligned_shape == (16, 20)
    assert found.grid == right.grid
    np.testing.assert_array_equal(
        found.geometry.image_from_volume, right.geometry.image_from_volume
    )
    assert found.facts["aligned_shape_px"].source == "tilt.com FULLIMAGE - 2 SUBSETSTART"


@pytest.mark.parametrize("raw", [True, False])
def test_an_alignment_of_other_pixels(folder, raw):
    """The .xf and tilt.com of an unbinned stack, given with the stack binned by 4."""
    shifts = np.array([(0.5 * i, -0.25) for i in range(VIEWS)])
    if raw:
        folder.raw(rotation_xf(-90.0, shifts))
        folder.tilt(f"FULLIMAGE {NY} {NX}", "SHIFT 1 0.5", "OFFSET 0 0.25")
    else:
        folder.tilt(f"FULLIMAGE {NX} {NY}", "SHIFT 1 0.5", "OFFSET 0 0.25")
    right = folder.read()
    if raw:
        folder.write(".xf", format_xf(rotation_xf(-90.0, 4 * shifts)))
    full = f"{4 * NY} {4 * NX}" if raw else f"{4 * NX} {4 * NY}"
    folder.tilt(f"FULLIMAGE {full}", "SHIFT 4 2", "OFFSET 0 1", thickness=32)
    with pytest.raises(InputError, match=rf"FULLIMAGE {full}, 4 times .*alignment-pixel-size 0\.5"):
        folder.read()
    found = folder.read(alignment_pixel_angst=0.5)
    assert found.grid == right.grid
    np.testing.assert_allclose(
        found.geometry.image_from_volume, right.geometry.image_from_volume, atol=1e-3
    )
    assert found.facts["alignment_pixel_angst"].value == 0.5


def test_views_that_alignment_left_out_are_said(folder):
    (folder.path / "align.com").write_text("$tiltalign -StandardInput\nExcludeList 2,4-5\n")
    folder.tilt("EXCLUDELIST 4")
    assert "align.com left views 2,5 out of the alignment, but they are used" in notes(
        folder.read()
    )


def test_a_full_image_that_was_not_turned_leaves_blank_parts(folder):
    folder.raw(rotation_xf(-90.0), shape=(VIEWS, 12, 24))
    folder.tilt("FULLIMAGE 24 12", "WIDTH 24")
    assert "24 unbinned px wide in x, but the least tilted image fills only 12" in notes(
        folder.read()
    )


def test_a_pixel_size_that_only_the_metadata_have(folder):
    change_header(folder.ali, cella=(NX, NY, VIEWS))
    with pytest.raises(InputError, match=r"gives a pixel size of 1 A, .*--input-pixel-size$"):
        MrcStack(folder.ali)
    folder.ali.with_name("TS_ali.mrc.mdoc").write_text("PixelSpacing = 10\nVoltage = 300\n")
    with pytest.raises(InputError, match=r"--input-pixel-size \(TS_ali\.mrc\.mdoc says 10\)"):
        MrcStack(folder.ali)


# ------------------------------------------------------------------------------------- halves


def test_a_black_half_is_said_and_not_used(folder):
    write_stack(folder.path / "TS_EVN_ali.mrc", seed=1)
    shutil.copy(write_stack(folder.path / "zeros.mrc", seed=2), folder.path / "TS_ODD_ali.mrc")
    assert folder.read().halves is not None
    with mrcfile.open(folder.path / "TS_ODD_ali.mrc", "r+") as mrc:
        mrc.data[:] = 0.0
    series = folder.read()
    assert series.halves is None
    assert series.halves_refused == "TS_ODD_ali.mrc is blank (or not finite)"
    assert "TS_ODD_ali.mrc is blank" in notes(series)
