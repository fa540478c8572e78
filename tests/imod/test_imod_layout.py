"""Finding the files of an IMOD folder."""

import pytest
from strategies_imod import ImodFolder, format_xf, rotation_xf, write_stack

from tomofilt.errors import InputError
from tomofilt.series.projects import SeriesOptions, project_type
from tomofilt_imod.layout import find_layouts, looks_like_imod
from tomofilt_imod.project import PROJECT_TYPE

TILT = "$tilt -StandardInput\n{}\n"
NEWST = "$newstack -StandardInput\n{}\n"


def name(path):
    (layout,) = find_layouts(path)
    return layout.name


@pytest.fixture
def put(tmp_path):
    def write(**files):
        for key, text in files.items():
            file = key.replace("__", ".")
            (tmp_path / file).write_text(text)
        return tmp_path

    return write


@pytest.mark.parametrize(
    "file", ["TS.edf", "tilt.com", "newst.com", "tilta.com", "TS.xf", "TS.tlt"]
)
def test_detected(tmp_path, file):
    assert not looks_like_imod(tmp_path)
    (tmp_path / file).write_text("")
    assert looks_like_imod(tmp_path)
    assert looks_like_imod(tmp_path / file)


def test_not_detected(tmp_path):
    (tmp_path / "aligned_tilt_series.star").write_text("")
    (tmp_path / "run.com").write_text("")
    (tmp_path / "xf").mkdir()
    assert not looks_like_imod(tmp_path)
    assert not looks_like_imod(tmp_path / "aligned_tilt_series.star")
    assert not looks_like_imod(tmp_path / "absent")


def test_enters_by_the_common_door(tmp_path):
    ImodFolder(tmp_path)
    assert list(project_type("imod").open(tmp_path).names) == ["TS"]


def test_name_from_edf(put):
    put(A__edf="#date\nSetup.DatasetName=TS_001\nSetup.AxisType=Single Axis\n", B__xf="1 0 0 1 0 0")
    assert name(put()) == "TS_001"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("InputProjections TS_1_ali.mrc", "TS_1"),
        ("InputProjections sub dir/TS_1.ali", "TS_1"),
        ("InputProjections TS_1_ctfcorr_ali.mrc", "TS_1"),
        ("InputProjections TS_1_erase.ali", "TS_1"),
        ("InputProjections aligned.mrc\nTILTFILE TS_1_fid.tlt", "TS_1"),
        ("TILTFILE TS_1.tlt", "TS_1"),
    ],
)
def test_name_from_tilt_com(put, line, expected):
    assert name(put(tilt__com=TILT.format(line))) == expected


def test_name_from_newst_com(put):
    assert name(put(newst__com=NEWST.format("InputFile TS_1.st"))) == "TS_1"


def test_name_from_xf_then_tlt(put):
    put(TS_1__tlt="1", TS_2__tlt="1")
    put(TS_1__xf="x", TS_1_fid__xf="x", TS_1local__xf="x", TS_1_nonfid__xf="x")
    assert name(put()) == "TS_1"


def test_name_from_tlt(put):
    assert name(put(TS_1__tlt="1", TS_1_fid__tlt="1")) == "TS_1"


def test_nothing(tmp_path):
    with pytest.raises(InputError, match="holds no tilt series that IMOD has aligned"):
        find_layouts(tmp_path)
    with pytest.raises(InputError, match="there is no such folder"):
        find_layouts(tmp_path / "absent")


@pytest.mark.parametrize("suffix", ["edf", "xf", "tlt"])
def test_several(put, suffix):
    folder = put(**{f"TS_{i}__{suffix}": "x=1" for i in range(3)})
    files = ", ".join(f"TS_{i}.{suffix}" for i in range(3))
    with pytest.raises(InputError, match=rf"holds 3 tilt series \({files}\): give one of these"):
        find_layouts(folder)
    assert name(folder / f"TS_1.{suffix}") == "TS_1"


def test_given_file_of_another_series(put):
    folder = put(TS_1__xf="x", TS_2__xf="x", tilt__com=TILT.format("InputProjections TS_1_ali.mrc"))
    assert name(folder / "TS_1.xf") == "TS_1"
    with pytest.raises(InputError, match=r"TS_2\.xf was given, but .* are those of TS_1"):
        find_layouts(folder / "TS_2.xf")


def dual(put, **files):
    return put(
        tilta__com=TILT.format("InputProjections TSa.ali\nOutputFile TSa.rec\nTILTFILE TSa.tlt"),
        tiltb__com=TILT.format("InputProjections TSb.ali\nTILTFILE TSb.tlt"),
        **files,
    )


DUAL_EDF = "Setup.DatasetName=TS\nSetup.AxisType=Dual Axis\n"


@pytest.mark.parametrize("files", [{}, {"TS__edf": DUAL_EDF}])
def test_two_axes_are_two_series(put, files):
    folder = dual(put, **files)
    assert [layout.name for layout in find_layouts(folder)] == ["TSa", "TSb"]
    project = PROJECT_TYPE.open(folder)
    assert project.names == ("TSa", "TSb")
    assert project.destination("TSa", None).volume == folder / "TSa.rec"  # as IMOD's combine wants
    assert project.destination("TSb", folder / "o").volume == folder / "o" / "TSb_rec.mrc"


def test_one_axis_may_be_there_alone_or_be_named(put):
    folder = dual(put, TSa__tlt="0", TSb__tlt="0")
    assert name(folder / "TSb.tlt") == "TSb"
    (folder / "tilta.com").unlink()
    assert name(folder) == "TSb"


def test_dual_axis_without_com_files(put):
    with pytest.raises(InputError, match=r"neither tilta\.com nor tiltb\.com"):
        find_layouts(put(TS__edf=DUAL_EDF))


@pytest.mark.parametrize("bad", ["../up", "-rf", "a\0b", ".."])
def test_names_that_are_no_file_names(tmp_path, bad):
    (tmp_path / "TS.edf").write_text(f"Setup.DatasetName={bad}\n")
    with pytest.raises(InputError, match=r"cannot be the name|binary data"):
        find_layouts(tmp_path)


@pytest.mark.parametrize("file", ["TS_ali.mrc", "TS.ali", "TS_ctfcorr_ali.mrc"])
def test_aligned_stack(tmp_path, file):
    folder = ImodFolder(tmp_path)
    folder.ali.rename(tmp_path / file)
    if "ctfcorr" in file:
        (tmp_path / "tilt.com").write_text(TILT.format(f"InputProjections {file}\nTHICKNESS 8"))
    assert folder.read().images.path == tmp_path / file


def test_aligned_stack_that_is_gone(tmp_path):
    folder = ImodFolder(tmp_path)
    (tmp_path / "tilt.com").write_text(
        TILT.format("InputProjections TS_ctfcorr_ali.mrc\nTHICKNESS 8")
    )
    series = folder.read()
    assert series.images.path == folder.ali
    assert any("names TS_ctfcorr_ali.mrc, which is not there" in note for note in series.notes)


@pytest.mark.parametrize(
    ("file", "edf"), [("TS.st", None), ("TS.mrc", None), ("TS.mrcs", "mrcs"), ("raw.st", None)]
)
def test_raw_stack(tmp_path, file, edf):
    folder = ImodFolder(tmp_path)
    folder.raw(rotation_xf(0.0))
    (tmp_path / "TS.st").rename(tmp_path / file)
    if edf:
        folder.write(".edf", f"Setup.DatasetName=TS\nSetup.RawImageStackExt={edf}\n")
    if file == "raw.st":
        (tmp_path / "newst.com").write_text(
            NEWST.format("InputFile raw.st\nTransformFile other.xf")
        )
        (tmp_path / "TS.xf").rename(tmp_path / "other.xf")
    assert folder.read().images.path == tmp_path / file


def test_com_file_given(tmp_path):
    ImodFolder(tmp_path)
    assert name(tmp_path / "tilt.com") == "TS"


def test_many_series_in_one_folder(tmp_path):
    """As Warp and AreTomo write them: .xf, .tlt and stacks beside each other, no com files."""
    for series in ("TS_1", "TS_2"):
        write_stack(tmp_path / f"{series}.mrc")
        (tmp_path / f"{series}.xf").write_text(format_xf(rotation_xf(5.0)))
        (tmp_path / f"{series}.tlt").write_text("-2\n-1\n0\n1\n2\n")
    project = PROJECT_TYPE.open(tmp_path / "TS_2.xf")
    assert project.names == ("TS_2",)
    series = project.read("TS_2", SeriesOptions(thickness_px=6))
    assert series.images.path == tmp_path / "TS_2.mrc"
    assert series.grid.shape[0] == 6
    assert series.native_filter is None
