"""What a tilt series read from an IMOD folder holds, and what is refused."""

import subprocess
import sys

import numpy as np
import pytest
from strategies_imod import (
    NX,
    NY,
    PIXEL_ANGST,
    TILTS,
    VIEWS,
    ImodFolder,
    format_xf,
    rotation_xf,
    write_stack,
)

from tomofilt.errors import InputError, MissingFileError
from tomofilt.reconstruction.settings import Settings
from tomofilt.reconstruction.setup import make_problem
from tomofilt_imod.project import PROJECT_TYPE


@pytest.fixture
def folder(tmp_path):
    return ImodFolder(tmp_path / "data")


def notes(series):
    return "\n".join(series.notes)


def test_plain(folder):
    series = folder.read()
    assert series.name == "TS"
    np.testing.assert_array_equal(series.tilt_deg, TILTS)
    assert list(series.views) == list(range(VIEWS))
    assert series.grid.shape == (8, NY, NX)
    assert series.aligned_shape == (NY, NX)
    assert series.excluded == ()
    assert series.halves is None
    assert series.log_base is None
    assert series.notes == ()
    assert [file.name for file in series.files] == ["tilt.com", "TS_ali.mrc", "TS.tlt"]
    assert series.facts["thickness_px"].value == 8
    assert series.facts["thickness_px"].source == "tilt.com THICKNESS"


def test_views_are_sorted_by_angle_and_ties_keep_their_order(folder):
    folder.write(".tlt", "3 -3 3 0 3")
    series = folder.read()
    assert list(series.views) == [1, 3, 0, 2, 4]
    np.testing.assert_array_equal(series.tilt_deg, [-3, 0, 3, 3, 3])


def test_offset_is_in_the_angles(folder):
    folder.tilt("OFFSET 2")
    series = folder.read()
    np.testing.assert_array_equal(series.tilt_deg, np.array(TILTS) + 2)
    assert series.facts["angle_offset_deg"].source == "tilt.com OFFSET"


@pytest.mark.parametrize(
    "lines", [["EXCLUDELIST 1-2,5"], ["EXCLUDELIST2 1 2", "EXCLUDE 5"], ["INCLUDE 3 - 4"]]
)
def test_excluded_views(folder, lines):
    folder.tilt(*lines)
    series = folder.read()
    assert series.excluded == (0, 1, 4)
    assert list(series.views) == [2, 3]
    assert series.facts["excluded_views"].value == [1, 2, 5]
    assert len(series.geometry) == 2


def test_views_excluded_on_request_add_up(folder):
    folder.tilt("EXCLUDELIST 1")
    series = folder.read(exclude=[5, 1])
    assert series.excluded == (0, 4)
    assert series.facts["excluded_on_request"].value == [1, 5]


@pytest.mark.parametrize(
    ("lines", "options", "message"),
    [
        (["EXCLUDELIST 1-9"], {}, r"tilt\.com EXCLUDELIST2 has view 6, but .* views 1 to 5"),
        (["INCLUDE 0-3"], {}, r"tilt\.com INCLUDE has view 0, but .* views 1 to 5"),
        ([], {"exclude": [7]}, r"--exclude has view 7, but .*TS_ali\.mrc has views 1 to 5"),
        (["INCLUDE 1-3", "EXCLUDELIST 4"], {}, "both INCLUDE and EXCLUDELIST"),
        (["EXCLUDELIST 1-5"], {}, "all 5 views of .* are excluded"),
    ],
)
def test_wrong_exclude_lists(folder, lines, options, message):
    folder.tilt(*lines)
    with pytest.raises(InputError, match=message):
        folder.read(**options)


def test_fewer_angles_than_sections(folder):
    folder.write(".tlt", "1\n2\n3\n4\n")
    message = r"TS\.tlt has 4 angles but TS_ali\.mrc has 5 sections.*regenerate the \.tlt"
    with pytest.raises(InputError, match=message):
        folder.read()


def test_more_angles_than_sections(folder):
    folder.write(".tlt", "1 2 3 4 5 6 7")
    series = folder.read()
    assert len(series.views) == VIEWS
    assert "TS.tlt has 7 angles but TS_ali.mrc has 5 sections: the first 5 are used" in notes(
        series
    )


@pytest.mark.parametrize(("key", "noun"), [("XTILTFILE", "x tilts"), ("ZFACTORFILE", "numbers")])
def test_fewer_other_numbers_than_sections(folder, key, noun):
    folder.write(".txt", "1 2 3 4")
    folder.tilt(f"{key} TS.txt")
    with pytest.raises(InputError, match=rf"TS\.txt has 4 {noun} but TS_ali\.mrc has 5 sections"):
        folder.read()


@pytest.mark.parametrize("lines", [4, 72])
def test_transforms_of_another_stack(folder, lines):
    folder.raw(rotation_xf(-85, [(0, 0)] * lines))
    message = rf"TS\.xf has {lines} transforms but TS\.st has 5 sections"
    with pytest.raises(InputError, match=message):
        folder.read()


def test_72_transforms_beside_41_angles(tmp_path):
    folder = ImodFolder(tmp_path, "ribo")
    folder.raw(rotation_xf(-85, [(0, 0)] * 72), shape=(41, NY, NX))
    folder.write(".tlt", "\n".join(str(3 * view - 60) for view in range(41)))
    with pytest.raises(InputError, match=r"ribo\.xf has 72 transforms but ribo\.st has 41"):
        folder.read()


@pytest.mark.parametrize(
    ("remove", "message"),
    [
        ("TS.tlt", r"tilt\.com has TILTFILE TS\.tlt, but .* is not there"),
        ("TS_ali.mrc", "has no images of TS: neither an aligned stack"),
    ],
)
def test_missing_files(folder, remove, message):
    (folder.path / remove).unlink()
    with pytest.raises(MissingFileError, match=message):
        folder.read()


def test_raw_stack_without_alignment(folder):
    folder.raw(rotation_xf(0.0))
    (folder.path / "TS.xf").unlink()
    with pytest.raises(MissingFileError, match=r"TS\.st is not aligned and .*TS\.xf is not there"):
        folder.read()


@pytest.mark.parametrize("key", ["TILTFILE", "XTILTFILE", "ZFACTORFILE", "LOCALFILE"])
def test_file_that_tilt_com_names_is_missing(folder, key):
    folder.tilt(f"{key} elsewhere.txt")
    with pytest.raises(
        MissingFileError, match=rf"tilt\.com has {key} elsewhere\.txt, but .* is not there"
    ):
        folder.read()


def test_files_beside_tilt_com_that_it_does_not_name(folder):
    for suffix in (".xtilt", ".zfac", "local.xf", ".defocus", ".st.mdoc"):
        folder.write(suffix, "0 0\n")
    folder.path.joinpath("tilt.com").write_text(
        "$tilt -StandardInput\nInputProjections TS_ali.mrc\nTHICKNESS 8\n"
    )
    text = notes(folder.read())
    assert "TS.xtilt: not used, as tilt.com has no XTILTFILE" in text
    assert "TS.zfac: not used, as tilt.com has no ZFACTORFILE" in text
    assert "TSlocal.xf: not used, as tilt.com has no LOCALFILE" in text
    assert "TS.defocus line 1 has 2 numbers" in text
    assert "tilt.com has no TILTFILE: TS.tlt is used" in text
    assert "mdoc" not in text


def test_keys_that_are_not_followed(folder):
    folder.tilt("RADIAL 0.35 0.035", "MASK 0", "Mode 1", "Wobble 3", "SLICE 0 11 2")
    text = notes(folder.read())
    assert "tilt.com RADIAL, MODE: applied only with -f imod" in text
    assert "tilt.com MASK: not followed" in text
    assert "tilt.com Wobble: not known" in text
    assert "the interval of 2 is not used" in text


def test_aretomo_names_the_global_xf_as_local_alignment(folder):
    folder.write(".xf", format_xf(rotation_xf(-85.0)))
    folder.tilt("LOCALFILE TS.xf")
    series = folder.read()
    assert series.geometry.local is None
    assert "holds global transforms" in notes(series)


def test_folder_of_aretomo(tmp_path):
    """Few digits, a blank last line, ``Mode``, no output size, and the global .xf as LOCALFILE."""
    folder = ImodFolder(tmp_path, "Position_1_st")
    folder.raw(rotation_xf(-85.0), shape=(VIEWS, NY, NX))
    (tmp_path / "Position_1_st.st").rename(tmp_path / "Position_1_st.mrc")
    folder.write(".tlt", "".join(f"{tilt:8.2f}\n" for tilt in TILTS))
    folder.write(".xf", "   0.087    0.996   -0.996    0.087      1.25     -3.50\n" * VIEWS + "\n")
    newst = "InputFile Position_1_st.mrc\nOutputFile Position_1_st_ali.mrc\n"
    newst += "TransformFile Position_1_st.xf\nTaperAtFill 1,1\nAdjustOrigin\nBinByFactor 1\n"
    folder.write("newst.com", f"$newstack -StandardInput\n{newst}")
    folder.tilt(
        "IMAGEBINNED 1",
        "RADIAL 0.35 0.035",
        "LOG 0.0",
        "SCALE 0.0 250.0",
        "Mode 2",
        f"FULLIMAGE {NY} {NX}",
        "SUBSETSTART 0 0",
        "EXCLUDELIST 2",
        "LOCALFILE Position_1_st.xf",
    )
    series = folder.read()
    assert series.aligned_shape == (NX, NY)
    assert list(series.views) == [0, 2, 3, 4]
    assert series.log_base == 0
    assert series.native_filter.filter.output_mul == 250
    assert "holds global transforms" in notes(series)
    middle = (
        np.array([[0.087, 0.996], [-0.996, 0.087]]) @ series.geometry.image_from_volume[0, :, 3]
    )
    np.testing.assert_allclose(middle, np.array([-1.25, 3.5]) * PIXEL_ANGST)


def test_thickness_has_to_come_from_somewhere(folder):
    folder.tilt(thickness=None)
    with pytest.raises(InputError, match=r"tilt\.com has no THICKNESS; give --thickness"):
        folder.read()
    (folder.path / "tilt.com").unlink()
    with pytest.raises(InputError, match=r"tilt\.com is not there; give --thickness"):
        folder.read()


@pytest.mark.parametrize(
    "options",
    [{"thickness_px": 7}, {"thickness_angst": 7 * PIXEL_ANGST}, {"shape_px": (NX, NY, 7)}],
)
def test_thickness_on_request(folder, options):
    folder.tilt(thickness=None)
    series = folder.read(**options)
    assert series.grid.shape == (7, NY, NX)
    assert series.grid.centre[0] == 3.5
    assert series.facts["thickness_px"].value == 7


def test_another_size_than_tilt_com_says(folder):
    own, asked = folder.read(), folder.read(thickness_px=7, shape_px=(4, 6, 99))
    assert asked.grid.shape == (7, 6, 4)
    assert asked.facts["thickness_px"].value == 8
    # the specimen centre has the same coordinates in both headers
    place = [
        np.subtract(np.multiply(s.grid.centre[::-1], s.grid.voxel_angst), s.origin_angst)
        for s in (own, asked)
    ]
    np.testing.assert_allclose(*place, atol=1e-9)


def test_pixel_size_on_request(folder):
    series = folder.read(input_pixel_angst=3.5)
    assert series.images.pixel_angst == series.grid.voxel_angst == 3.5
    assert series.facts["pixel_angst"].source == "--input-pixel-size"


def test_pixel_size_of_one_is_not_believed(folder):
    folder.ali.unlink()
    write_stack(folder.ali, pixel_angst=1.0)
    with pytest.raises(InputError, match="give --input-pixel-size"):
        folder.read()


def test_log(folder):
    folder.tilt("LOG 12.5")
    series = folder.read()
    assert series.log_base == 12.5
    assert series.facts["log_base"].source == "tilt.com LOG"


def test_native_filter(folder):
    folder.tilt(
        "RADIAL 0.3,0.04",
        "FalloffIsTrueSigma 1",
        "FakeSIRTiterations 15",
        "SCALE -3 250",
        "MODE 1",
        "DENSWEIGHT 0",
        "COSINTERP 0",
    )
    program = folder.read().native_filter
    native = program.filter
    assert (native.radial_cutoff, native.radial_falloff) == (0.3, 0.04)
    assert native.true_sigma
    assert native.fake_sirt_iterations == 15
    assert (native.output_add, native.output_mul, native.output_mode) == (-3, 250, 1)
    assert native.density_weights == ()
    assert program.cosine == (0, 0)


def test_native_filter_by_default(folder):
    program = folder.read().native_filter
    assert program.filter.density_weights == (2.0, 2 / 3)
    assert program.cosine == (1, 2)
    assert program.filter.radial_cutoff is None
    assert program.filter.output_mode == 2


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ("MODE 6", "MODE 6 cannot be written"),
        ("MASK 3", "MASK is not followed"),
        ("SIRTIterations 5", "SIRTIterations is not followed"),
        ("WeightAngleFile TS.tlt", "WeightAngleFile is not followed"),
        ("XTILTINTERP 2", "XTILTINTERP 2 is not followed"),
        ("DENSWEIGHT 2 1 1 1", "DENSWEIGHT 2 1 1 1: 2 neighbours need"),
        ("SLICE 0 5 2", "SLICE has an interval of 2"),
    ],
)
def test_options_that_cannot_be_followed(folder, entry, words):
    folder.tilt(entry)
    series = folder.read()
    assert words in series.native_filter.refused
    assert f"-f imod cannot be used, {words}" in notes(series)
    with pytest.raises(InputError, match=words):
        make_problem(series, Settings(filter="imod"))
    make_problem(series, Settings(filter="ramp"))


def test_half_floats_are_written_as_floats(folder):
    folder.tilt("MODE 12")
    assert folder.read().native_filter.filter.output_mode == 2


def test_raw_images_that_newstack_interpolates_linearly(folder):
    folder.raw(rotation_xf(0.0))
    newst = "$newstack -StandardInput\nInputFile TS.st\nTransformFile TS.xf\nLinearInterpolation\n"
    (folder.path / "newst.com").write_text(newst)
    assert "run newst.com to make the aligned stack" in folder.read().native_filter.refused


def half_stacks(folder, suffix, shape=(VIEWS, NY, NX), names=("EVN", "ODD")):
    for half in names:
        write_stack(folder.path / f"TS_{half}{suffix}", shape, seed=ord(half[0]))


@pytest.mark.parametrize("suffix", ["_ali.mrc", ".ali"])
def test_halves_of_the_aligned_stack(folder, suffix):
    half_stacks(folder, suffix)
    series = folder.read()
    assert [half.path.name for half in series.halves] == [f"TS_EVN{suffix}", f"TS_ODD{suffix}"]
    assert {half.path for half in series.halves} <= set(series.files)


@pytest.mark.parametrize("suffix", [".st", ".mrc"])
def test_halves_of_the_raw_stack(folder, suffix):
    half_stacks(folder, suffix)
    assert folder.read().halves is None
    assert "do not go with TS_ali.mrc; align them" in notes(folder.read())
    folder.raw(rotation_xf(0.0))
    even, odd = folder.read(input_pixel_angst=3.0).halves
    assert (even.path.name, odd.path.name) == (f"TS_EVN{suffix}", f"TS_ODD{suffix}")
    assert even.pixel_angst == 3.0


def test_halves_that_do_not_fit(folder):
    half_stacks(folder, "_ali.mrc", names=["EVN"])
    assert folder.read().halves is None
    assert "the other half is not there" in notes(folder.read())
    half_stacks(folder, "_ali.mrc", shape=(VIEWS, NY, NX + 2), names=["ODD"])
    assert folder.read().halves is None
    assert "TS_EVN_ali.mrc and TS_ODD_ali.mrc are not used" in notes(folder.read())


@pytest.mark.parametrize("key", ["SectionsToRead 0-3", "RotateByAngle 90", "ExpandByFactor 2"])
def test_newst_com_beyond_an_xf(folder, key):
    folder.newst(key)
    folder.read()  # no matter with the aligned stack
    folder.raw(rotation_xf(0.0))
    with pytest.raises(InputError, match=r"newst\.com uses .* make the aligned stack"):
        folder.read()


def test_distortion_of_raw_images(folder):
    folder.newst("GradientFile TS.maggrad", "#DistortionField .idf", "Nonsense 1")
    folder.raw(rotation_xf(0.0))
    text = notes(folder.read())
    assert "newst.com GradientFile: not applied" in text
    assert "newst.com Nonsense: not known" in text


def test_excluded_views_of_etomo_without_tilt_com(folder):
    folder.write(".edf", "Setup.DatasetName=TS\nSetup.AxisA.ExcludeProjections=1-2\n")
    assert folder.read().excluded == ()
    (folder.path / "tilt.com").unlink()
    series = folder.read(thickness_px=8)
    assert series.excluded == (0, 1)
    assert series.facts["excluded_views"].source == "TS.edf ExcludeProjections"


def test_other_name(folder):
    with pytest.raises(InputError, match="holds the tilt series TS, not TS_2"):
        PROJECT_TYPE.open(folder.path).read("TS_2")


def test_destination(folder, tmp_path):
    project = PROJECT_TYPE.open(folder.path)
    assert project.destination("TS", None).volume == folder.path / "TS_tomofilt_rec.mrc"
    assert project.destination("TS", tmp_path).volume == tmp_path / "TS_tomofilt_rec.mrc"
    before = sorted(folder.path.iterdir())
    project.commit({"TS": project.destination("TS", None)}, None)
    assert sorted(folder.path.iterdir()) == before


def test_reading_loads_neither_torch_nor_numba(folder):
    code = (
        "import sys; from pathlib import Path; from tomofilt_imod.project import PROJECT_TYPE; "
        "PROJECT_TYPE.open(Path(sys.argv[1])).read('TS'); "
        "sys.exit(', '.join({'torch', 'numba'} & set(sys.modules)) or 0)"
    )
    subprocess.run([sys.executable, "-c", code, folder.path], check=True)
