"""Defocus and exposure of IMOD folders: where they are from, and what is said when they are not."""

import mrcfile
import numpy as np
import pytest
from strategies_imod import PIXEL_ANGST, TILTS, VIEWS, ImodFolder, format_xf, rotation_xf

from tomofilt.errors import InputError
from tomofilt_imod.defocus import read_defocus
from tomofilt_imod.mdoc import read_mdoc

COM = """$ctfphaseflip -StandardInput
InputStack TS_ali.mrc
DefocusFile TS.defocus
Voltage 200
SphericalAberration\t2.0
AmplitudeContrast 0.1
PixelSize 0.2
"""


@pytest.fixture
def folder(tmp_path):
    return ImodFolder(tmp_path / "data")


def single_views(*defocus_nm, extra="2"):
    lines = [f"{i + 1} {i + 1} {TILTS[i]} {TILTS[i]} {nm}" for i, nm in enumerate(defocus_nm)]
    return "\n".join([f"{lines[0]} {extra}", *lines[1:], ""])


def notes(series):
    return "\n".join(series.notes)


def test_defocus_and_optics(folder):
    folder.write(".defocus", single_views(3000, 3100, 3200, 3300, 3400))
    folder.write("ctfcorrection.com", COM)
    folder.tilt("EXCLUDELIST 2")
    series = folder.read()
    np.testing.assert_allclose(series.ctf.defocus_u_angst, [30000, 32000, 33000, 34000])
    np.testing.assert_allclose(series.ctf.defocus_v_angst, series.ctf.defocus_u_angst)
    ctf = series.ctf
    assert (ctf.voltage_kv, ctf.cs_mm, ctf.amplitude_contrast, ctf.hand) == (200, 2.0, 0.1, -1)
    assert series.voltage_kv == 200
    assert series.facts["voltage_kv"].source == "ctfcorrection.com Voltage"
    assert series.ctf_done is None
    assert series.notes == ()


def test_what_no_com_file_tells_is_assumed_and_said(folder):
    folder.write(".defocus", single_views(3000, 3100, 3200, 3300, 3400))
    series = folder.read()
    assert (series.ctf.voltage_kv, series.ctf.cs_mm) == (300, 2.7)
    for key, value in (("Voltage", "300"), ("SphericalAberration", "2.7")):
        assert f"ctfplotter.com tells {key}: {value} is assumed" in notes(series)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("20 20 0. 0. 4000\n", [4000] * 5),  # one value for all, as ctfphaseflip's manual has it
        ("1 3 -40 1 3000\n3 5 1 40 4000\n", [3000, 3000, 3512.5, 3987.5, 4000]),
        ("1\t1\t-40\t-40\t3000\t2\n5\t5\t40\t40\t3800\n", [3000, 3200, 3410, 3600, 3800]),
        ("1 0 0. 0. 0 3\n1 1 -40 -40 3000 2800 10\n5 5 40 40 3000 2800 10\n", [3000] * 5),
        ("4 0 0 0 0 3\n1 5 -40 40 3000 90\n", [3000] * 5),
    ],
)
def test_ranges_are_interpolated_by_tilt(folder, text, expected):
    folder.write(".defocus", text)
    folder.write("ctfcorrection.com", COM)
    np.testing.assert_allclose(folder.read().ctf.defocus_u_angst, 10 * np.array(expected))


def test_views_that_have_no_line_are_counted(folder):
    folder.write(".defocus", "1 1 -40 -40 3000 2\n5 5 40 40 3800\n")
    folder.write("ctfcorrection.com", COM)
    assert "TS.defocus has no line for 3 views of 5" in notes(folder.read())


def test_views_counted_from_0(folder):
    lines = [f"{i} {i} {tilt} {tilt} {3000 + 100 * i}" for i, tilt in enumerate(TILTS)]
    for first in (0, 1):
        folder.write(".defocus", "\n".join(lines[first:]) + "\n")
        folder.write("ctfcorrection.com", COM)
        series = folder.read()
        np.testing.assert_allclose(
            series.ctf.defocus_u_angst[first:], 30000 + 1000 * np.arange(first, 5)
        )
        assert "counts views from 0" in notes(series)


def test_inverted_tilt_angles(folder):
    folder.write(".defocus", single_views(3000, 3100, 3200, 3300, 3400))
    folder.write("ctfcorrection.com", COM + "InvertTiltAngles\n")
    assert folder.read().ctf.hand == 1
    folder.path.joinpath("ctfcorrection.com").unlink()
    lines = [f"{i + 1} {i + 1} {-tilt} {-tilt} 3000" for i, tilt in enumerate(TILTS)]
    folder.write(".defocus", "\n".join(lines))
    series = folder.read()
    assert series.ctf.hand == 1
    assert "made with inverted tilt angles" in notes(series)


def test_axes_of_astigmatism_are_those_of_raw_images(folder):
    header = "1 0 0 0 0 3\n"
    folder.write(".defocus", header + "1 5 -40 40 3000 2800 25\n")
    folder.write("ctfcorrection.com", COM)
    assert "TS.xf they are taken for those of the aligned ones" in notes(folder.read())
    shifts = [(10.0 * i, -5.0) for i in range(VIEWS)]
    folder.write(".xf", format_xf(rotation_xf(-85.0, shifts)))
    series = folder.read()
    np.testing.assert_allclose(series.ctf.astigmatism_deg, 25 - 85, atol=1e-4)
    assert series.ctf.origin_angst is None
    folder.write("ctfcorrection.com", COM + "TransformFile TS.xf\n")
    np.testing.assert_allclose(folder.read().ctf.origin_angst, np.array(shifts) * PIXEL_ANGST)
    folder.raw(rotation_xf(-85.0, shifts))
    raw = folder.read().ctf
    np.testing.assert_allclose(raw.astigmatism_deg, 25)
    np.testing.assert_allclose(raw.origin_angst, 0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 1 0 0 three\n", r"line 1: '1 1 0 0 three' is not a line of numbers"),
        ("1 1 -40 -40 3000 2900 30\n", r"line 1 has 7 numbers, but .* \(flags 0\) has 5"),
        ("1 0 0 0 0 3\n1 1 -40 -40 3000\n", r"line 2 has 5 numbers, but .* \(flags 1\) has 7"),
        ("1 0 0 0 0 4\n1 1 -40 -40 3000\n", r"version 4, but only files up to version 3"),
        ("0 0 0 0 0 3\n", r"no defocus below it"),
        ("1 1 -40 -40 3.2 2\n", r"line 1 has a defocus of 3.2 nm, which cannot be"),
        ("1.5 2 -40 -40 3000 2\n", r"does not begin with two view numbers"),
    ],
)
def test_broken_files_are_said_and_not_used(folder, text, message):
    path = folder.write(".defocus", text)
    with pytest.raises(InputError, match=message):
        read_defocus(path)
    series = folder.read()
    assert series.ctf is None
    assert "the CTF is not known" in notes(series)


def test_a_file_that_is_named_but_not_there(folder):
    folder.write("ctfcorrection.com", COM)
    series = folder.read()
    assert series.ctf is None
    assert "TS.defocus is not there: the CTF is not known" in notes(series)


def test_a_com_file_that_cannot_be_read_is_said(folder):
    folder.write(".defocus", single_views(3000, 3100, 3200, 3300, 3400))
    folder.write("ctfcorrection.com", "$tilt -StandardInput\nVoltage 200\n")
    series = folder.read()
    assert series.ctf.voltage_kv == 300
    assert "ctfcorrection.com is not used" in notes(series)


def test_stacks_that_are_corrected_already(folder):
    assert folder.read().ctf_done is None
    with mrcfile.open(folder.ali, "r+") as mrc:
        mrc.add_label("ctfPhaseFlip: CTF correction with phase flipping only")
    assert "says in its header that ctfphaseflip" in folder.read().ctf_done
    with mrcfile.open(folder.ali, "r+") as mrc:
        mrc.header.label = b""
        mrc.header.nlabl = 0
    corrected = folder.ali.rename(folder.path / "TS_ctfcorr_ali.mrc")
    folder.path.joinpath("tilt.com").write_text(
        f"$tilt -StandardInput\nInputProjections {corrected.name}\nTHICKNESS 8\nTILTFILE TS.tlt\n"
    )
    assert (
        folder.read().ctf_done == f"{corrected.name} is corrected by ctfphaseflip, as its name says"
    )


def mdoc(keys, order=range(VIEWS), tilts=TILTS):
    text = "PixelSpacing = 2\nVoltage = 200\n\n[T = SerialEM]\n"
    for z, view in enumerate(order):
        text += f"\n[ZValue = {z}]\nTiltAngle = {tilts[view] + 2.3:.2f}\n"
        text += "".join(f"{key} = {values[view]}\n" for key, values in keys.items())
    return text


PRIOR = (9.0, 3.0, 0.0, 6.0, 12.0)
DATES = tuple(f"05-Nov-21  15:{20 + int(prior)}:38" for prior in PRIOR)


@pytest.mark.parametrize(
    ("keys", "source"),
    [
        ({"PriorRecordDose": PRIOR}, "TS.st.mdoc PriorRecordDose"),
        (
            {"ExposureDose": (3.0,) * 5, "DateTime": DATES},
            "TS.st.mdoc ExposureDose, in the order of DateTime",
        ),
    ],
)
@pytest.mark.parametrize("order", [range(VIEWS), (2, 1, 3, 0, 4)])
def test_exposure(folder, keys, source, order):
    folder.write(".st.mdoc", mdoc(keys, order))
    folder.tilt("EXCLUDELIST 1")
    series = folder.read()
    np.testing.assert_allclose(series.dose_e_per_a2, PRIOR[1:])
    by_angle = "" if order == range(VIEWS) else ", by tilt angle"
    assert series.facts["exposure_e_per_a2"].source == source + by_angle
    assert series.voltage_kv == 200
    assert ("has the exposure of the section with its tilt angle" in notes(series)) == bool(
        by_angle
    )


@pytest.mark.parametrize("shift_deg", [0.0, 3.0])
def test_exposure_goes_by_section_if_the_angles_are_negated(folder, shift_deg):
    folder.write(".tlt", "\n".join(f"{shift_deg - tilt}" for tilt in TILTS))
    folder.write(".st.mdoc", mdoc({"PriorRecordDose": PRIOR}))
    series = folder.read()
    np.testing.assert_allclose(series.dose_e_per_a2, np.array(PRIOR)[series.views])
    assert series.facts["exposure_e_per_a2"].source == "TS.st.mdoc PriorRecordDose"
    assert series.notes == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (mdoc({}), "neither PriorRecordDose nor ExposureDose"),
        (mdoc({"ExposureDose": (0,) * 5}), "neither PriorRecordDose nor ExposureDose"),
        (mdoc({"ExposureDose": (3,) * 5}), "no DateTime that tells the order"),
        (mdoc({"PriorRecordDose": PRIOR}, (0, 1, 2)), "3 sections, but the stack has 5"),
        (mdoc({"PriorRecordDose": PRIOR}, tilts=(0, 1, 2, 3, 4)), "are not those of the stack"),
    ],
)
def test_exposure_that_cannot_be_told_is_said(folder, text, message):
    path = folder.write(".st.mdoc", text)
    with pytest.raises(InputError, match=message):
        read_mdoc(path).exposure_before(np.array(TILTS))
    series = folder.read()
    assert series.dose_e_per_a2 is None
    assert message in notes(series)


def test_another_pixel_size_in_the_metadata_is_said(folder):
    folder.write(".st.mdoc", mdoc({}).replace("PixelSpacing = 2", "PixelSpacing = 1"))
    assert "pixel" not in notes(folder.read())  # an aligned stack may be binned
    folder.write(".st.mdoc", mdoc({}).replace("PixelSpacing = 2", "PixelSpacing = 1.7"))
    assert "TS.st.mdoc says 1.7 A per pixel, but the header of TS_ali.mrc 2 A" in notes(
        folder.read()
    )


def test_sections_of_views_that_were_removed_are_left_aside(folder):
    more = (*TILTS, 60.0, -60.0)
    folder.write(".st.mdoc", mdoc({"PriorRecordDose": (*PRIOR, 15.0, 18.0)}, range(7), more))
    np.testing.assert_allclose(folder.read().dose_e_per_a2, PRIOR)
