"""The grammar of com files."""

from pathlib import Path

import pytest

from tomofilt.errors import InputError, MissingFileError
from tomofilt_imod.com import read_command

DATA = Path(__file__).parents[1] / "data" / "imod"


@pytest.fixture
def tilt(tmp_path):
    def read(*lines, start="$tilt -StandardInput"):
        path = tmp_path / "tilt.com"
        path.write_bytes("\n".join([start, *lines]).encode())
        return read_command(path, "tilt")

    return read


def test_etomo_file():
    tilt = read_command(DATA / "TS_01" / "tilt.com", "tilt")
    assert tilt.text("InputProjections") == "TS_01_ali.mrc"
    assert tilt.file("TILTFILE") == DATA / "TS_01" / "TS_01.tlt"
    assert tilt.numbers("RADIAL", 2) == (0.35, 0.035)
    assert tilt.integer("THICKNESS") == 40
    assert tilt.numbers("OFFSET", 1, 2) == (0.0,)
    assert "PERPENDICULAR" in tilt
    assert tilt.flag("FalloffIsTrueSigma")
    assert not tilt.flag("MultiplyByGaussian")
    assert tilt.unknown == ()


def test_program_among_others(tilt):
    read = tilt(
        "THICKNESS 20",
        "$if (-e ./savework) ./savework",
        "THICKNESS 30",
        "$newstack -StandardInput",
        "InputFile raw.st",
        start="$setenv IMOD_OUTPUT_FORMAT MRC\n$b3dcopy -p a b\n$tilt -StandardInput",
    )
    assert read.entries == {"THICKNESS": ("20",)}
    newst = read_command(read.path, "newstack")
    assert newst.text("InputFile") == "raw.st"


@pytest.mark.parametrize(
    "line",
    [
        "THICKNESS 40",
        "thickness 40",
        "Thick\t40",
        "  THICKNESS=40",
        "THICKNESS = 40",
        "THICKNESS 40  # pixels",
        "THICKNESS 40\r",
        "THICKNESS 20\nTHICKNESS 40",
        "THICKNESS 40\nDONE\nTHICKNESS 20",
        "THICKNESS 40\ndone\nparked lines, $ and all",
    ],
)
def test_spellings_of_a_number(tilt, line):
    assert tilt(line).number("THICKNESS") == 40


@pytest.mark.parametrize("value", ["3.5,2.25", "3.5 2.25", "3.5, 2.25 # note", "3.5\t2.25"])
def test_spellings_of_two_numbers(tilt, value):
    assert tilt(f"OFFSET {value}").numbers("OFFSET", 1, 2) == (3.5, 2.25)


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ("my data/TS 1_ali.mrc", "my data/TS 1_ali.mrc"),
        ("TS_ali.mrc   # aligned", "TS_ali.mrc"),
        ('"TS ali.mrc"', "TS ali.mrc"),
        ("'TS_ali.mrc'", "TS_ali.mrc"),
        ("TS#1_ali.mrc", "TS#1_ali.mrc"),
        ("/data/TS_ali.mrc", "/data/TS_ali.mrc"),
    ],
)
def test_file_names(tilt, tmp_path, value, name):
    assert tilt(f"InputProjections {value}").file("InputProjections") == tmp_path / name


def test_file_name_that_is_not_utf8(tmp_path):
    path = tmp_path / "tilt.com"
    path.write_bytes(b"$tilt -StandardInput\nTILTFILE M\xfcller.tlt\n")
    named = read_command(path, "tilt").file("TILTFILE")
    assert bytes(named).endswith(b"M\xfcller.tlt")


def test_exclude_lists_add_up_and_have_abbreviations(tilt):
    read = tilt("EXCLUDELIST 1-3", "exclude 7", "EXCLUDELIST2 20, 21", "EXCLUDELIST2")
    assert read.views("EXCLUDELIST2") == (1, 2, 3, 7, 20, 21)


def test_blank_values_of_templates_are_absent(tilt):
    read = tilt("EXCLUDELIST", "FULLIMAGE", "THICKNESS", "SHIFT /")
    assert read.views("EXCLUDELIST2") == ()
    assert read.numbers("FULLIMAGE", 2) is None
    assert read.integer("THICKNESS") is None
    assert read.numbers("SHIFT", 1, 2) is None


@pytest.mark.parametrize(("line", "on"), [("LOG", True), ("LOG 1", True), ("LOG 0", False)])
def test_switches(tilt, line, on):
    assert tilt(line.replace("LOG", "FalloffIsTrueSigma")).flag("FalloffIsTrueSigma") is on


def test_unknown_and_ambiguous_keys_are_kept(tilt):
    read = tilt("FastFourierMagic 3", "SIRT 5", "THICKNESS 40")
    assert read.unknown == ("FastFourierMagic", "SIRT")
    assert read.integer("THICKNESS") == 40


def test_file_names_without_keys(tilt):
    """As in com files from before 2007, which copytomocoms still writes for tilt."""
    read = tilt("#comment", "g5a.ali", "g5a rec.rec", "THICKNESS 100", start="$tilt")
    assert read.text("InputProjections") == "g5a.ali"
    assert read.text("OutputFile") == "g5a rec.rec"
    assert read.integer("THICKNESS") == 100


@pytest.mark.parametrize("text", ["", "\n \n", "$newstack -StandardInput\nInputFile a\n"])
def test_no_program(tmp_path, text):
    path = tmp_path / "tilt.com"
    path.write_text(text)
    with pytest.raises(InputError, match=r"tilt\.com (is empty|runs tilt 0 times)"):
        read_command(path, "tilt")


def test_program_twice(tilt):
    with pytest.raises(InputError, match="runs tilt 2 times"):
        tilt("THICKNESS 20", "$tilt -StandardInput", "THICKNESS 30")


def test_not_a_text_file(tmp_path):
    path = tmp_path / "tilt.com"
    path.write_bytes(b"\x00\x01$tilt")
    with pytest.raises(InputError, match="not a text file"):
        read_command(path, "tilt")


def test_unreadable(tmp_path):
    with pytest.raises(InputError, match="is a folder, not a regular file"):
        read_command(tmp_path, "tilt")
    with pytest.raises(MissingFileError, match=r"tilt\.com: there is no such file"):
        read_command(tmp_path / "tilt.com", "tilt")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("OFFSET 1 2 3", "OFFSET 1 2 3, but it takes 1 to 2 numbers"),
        ("OFFSET some", "OFFSET some, but it takes 1 to 2 numbers"),
    ],
)
def test_wrong_numbers(tilt, line, message):
    with pytest.raises(InputError, match=message):
        tilt(line).numbers("OFFSET", 1, 2)


def test_wrong_integer(tilt):
    with pytest.raises(InputError, match=r"MODE 1\.5, but it takes a whole number"):
        tilt("MODE 1.5").integer("MODE")


def test_wrong_view_list(tilt):
    with pytest.raises(InputError, match=r"tilt\.com EXCLUDELIST2 has '1,x', in which 'x'"):
        tilt("EXCLUDELIST 1,x").views("EXCLUDELIST2")
