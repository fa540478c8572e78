"""Tilt series read from RELION's sets, and sets that cannot be used."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from tomofilt.errors import InputError, MissingFileError
from tomofilt.io.star import Table, read_star, write_star
from tomofilt.series.projects import SeriesOptions, read_series
from tomofilt_relion.project import PROJECT_TYPE

DATA = Path(__file__).parents[1] / "data" / "relion"
ALIGNED = "AlignTiltSeries/job005/aligned_tilt_series.star"


@pytest.fixture
def project(tmp_path):
    """Copy the project's STAR files into a folder of its own, with links to its images."""
    shutil.copytree(DATA / "AlignTiltSeries", tmp_path / "AlignTiltSeries")
    shutil.copy(DATA / "relion4_tomograms.star", tmp_path)
    (tmp_path / "MotionCorr").symlink_to(DATA / "MotionCorr")
    return tmp_path


def change(path, block, columns=None, without=(), rename=None):
    """Change a table of a STAR file."""
    blocks = read_star(path)
    table = blocks[block].replaced(columns or {})
    table = Table({name: v for name, v in table.columns.items() if name not in without})
    changed = {(rename or name if name == block else name): t for name, t in blocks.items()}
    changed[rename or block] = table
    write_star(path, changed, replace=True)


def change_series(project, **changes):
    change(project / "AlignTiltSeries/job005/tilt_series/TS_02.star", "TS_02", **changes)


def change_set(project, **changes):
    change(project / ALIGNED, "global", **changes)


def read(project, name="TS_02", star=ALIGNED, **options):
    asked = SeriesOptions(**{"thickness_px": 32, **options})
    return read_series(PROJECT_TYPE.open(project / star), name, asked)


def facts(series):
    return {name: fact.value for name, fact in series.facts.items()}


def test_series_in_files(project):
    series = read(project, "TS_01")
    assert series.name == "TS_01"
    assert series.images.shape == (31, 80, 96)
    assert series.images.pixel_angst == 8.0
    assert len(series.geometry) == len(series.views) == 31
    assert np.all(np.diff(series.tilt_deg) > 0)  # the file has them as they were acquired
    assert series.tilt_deg[[0, -1]] == pytest.approx([-58.5, 61.5])
    assert series.dose_e_per_a2[np.argmin(np.abs(series.tilt_deg - 1.5))] == 0.0
    assert series.grid.shape == (32, 96, 80)  # turned: the tilt axis is near x
    assert series.grid.centre == (16, 48, 40)
    assert series.first_voxel_kept
    assert series.binning == 1.0
    even, odd = series.halves
    total = even.read(4) + odd.read(4)
    assert total == pytest.approx(series.images.read(4), abs=0.01)  # float16
    assert len(series.files) == 2 + 31


def test_series_in_a_stack(project):
    series = read(project)
    assert series.images.shape == (19, 62, 66)
    assert series.grid.shape == (32, 62, 66)
    assert series.images.files == (project / "MotionCorr/job002/frames/TS_02.mrcs",)


def test_relion_4_set_reads_as_the_same_series(project):
    ours = read(project, shape_px=(64, 61, 31), thickness_px=31)
    theirs = PROJECT_TYPE.open(project / "relion4_tomograms.star").read("TS_02")
    assert theirs.grid == ours.grid
    assert np.array_equal(theirs.views, ours.views)
    assert theirs.geometry.image_from_volume == pytest.approx(
        ours.geometry.image_from_volume, abs=1e-6
    )
    assert theirs.tilt_deg == pytest.approx(ours.tilt_deg, abs=1e-6)
    assert facts(theirs)["alignment"] == "matrices"


def matrices_in_relion_5(project, **changes):
    """Put the matrices of the RELION 4 set into the RELION 5 one, with the size they refer to."""
    four = read_star(project / "relion4_tomograms.star")["TS_02"]
    columns = {f"rlnTomoProj{c}": four[f"rlnTomoProj{c}"] for c in "XYZW"}
    change_series(project, columns=columns | changes.pop("columns", {}), **changes)
    sizes = {"X": "64", "Y": "61", "Z": "31"}
    change_set(project, columns={f"rlnTomoSize{c}": [n, n] for c, n in sizes.items()})


@pytest.mark.parametrize("angles", ["none", "others"])
def test_matrices_count_more_than_angles(project, angles):
    """As in RELION, which drops them on writing; tomofilt writes angles in their place."""
    right = read(project, shape_px=(64, 61, 31), thickness_px=31)
    if angles == "none":
        matrices_in_relion_5(project, without=("rlnTomoXTilt", *ALIGNMENT))
    else:
        matrices_in_relion_5(project, columns={"rlnTomoYTilt": [f"{i}" for i in range(19)]})
    found = read(project, thickness_px=31)
    assert found.grid == right.grid
    assert found.geometry.image_from_volume == pytest.approx(
        right.geometry.image_from_volume, abs=1e-5
    )
    assert found.tilt_deg == pytest.approx(right.tilt_deg, abs=1e-5)
    said = [note for note in found.notes if "the matrices are used, as in RELION" in note]
    assert len(said) == (angles == "others")


def test_a_matrix_that_is_no_rotation(project):
    columns = {"rlnTomoProjZ": ["[1,0,0,0]"] * 19}
    change(project / "relion4_tomograms.star", "TS_02", columns=columns)
    with pytest.raises(InputError, match=r"matrix rlnTomoProjX/Y/Z/W in row 1 is no rotation"):
        PROJECT_TYPE.open(project / "relion4_tomograms.star").read("TS_02")


@pytest.mark.parametrize("name", ["TS_02.st:mrc", "TS_02.st:mrcs"])
def test_names_with_a_format(project, name):
    images = read(project).images.read(3)
    shutil.copy(DATA / "MotionCorr/job002/frames/TS_02.mrcs", project / "TS_02.st")
    path = project / "relion4_tomograms.star"
    change(path, "global", columns={"rlnTomoTiltSeriesName": [name]})
    four = read(project, star=path.name)
    assert np.array_equal(four.images.read(3), images)
    assert four.images.files == (project / "TS_02.st",)
    references = [f"{i:06d}@{name}" for i in range(1, 20)]
    change_series(project, columns={"rlnMicrographName": references})
    assert np.array_equal(read(project).images.read(3), images)


def test_lengths_in_angstrom_need_no_pixel_size_of_the_alignment(project):
    with pytest.raises(InputError, match="--alignment-pixel-size is for the alignments of IMOD"):
        read(project, alignment_pixel_angst=2.0)


def test_an_image_in_two_rows(project):
    rows = read_star(project / "AlignTiltSeries/job005/tilt_series/TS_02.star")["TS_02"]
    names = list(rows["rlnMicrographName"])
    names[7] = names[4]
    change_series(project, columns={"rlnMicrographName": names})
    with pytest.raises(InputError, match=r"000005@.* is the image of row 5 and of row 8"):
        read(project)
    assert len(read(project, exclude=(8,)).views) == 18


def test_another_pixel_size_in_the_headers_is_said(project):
    change_set(project, columns={"rlnTomoTiltSeriesPixelSize": ["8", "4"]})
    assert "the header of TS_02.mrcs says 8 A per pixel, but the STAR file 4 A" in "\n".join(
        read(project).notes
    )


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("rlnTomoYTilt", "900", r"TS_02\.star: data_TS_02: row 6, rlnTomoYTilt, has a tilt of 900"),
        ("rlnTomoXTilt", "-91", r"row 6, rlnTomoXTilt, has an x tilt of -91 deg"),
        ("rlnTomoXShiftAngst", "inf", r"rlnTomoXShiftAngst is 'inf' in row 6"),
    ],
)
def test_alignment_that_cannot_be(project, column, value, message):
    rows = read_star(project / "AlignTiltSeries/job005/tilt_series/TS_02.star")["TS_02"]
    values = list(rows[column])
    values[5] = value
    change_series(project, columns={column: values})
    with pytest.raises(InputError, match=message):
        read(project)


@pytest.mark.parametrize(
    "column",
    ["rlnTomoSizeX", "rlnTomoTiltSeriesPixelSize", "rlnTomoTomogramBinning"],
)
@pytest.mark.parametrize("value", ["nan", "inf", "-4", "four", "1e30"])
def test_sizes_that_cannot_be(project, column, value):
    sizes = {f"rlnTomoSize{c}": ["64", "64"] for c in "XYZ"}
    change_set(project, columns=sizes | {column: ["8", value]})
    with pytest.raises(InputError, match=rf"{column}|cannot be|larger than any|leaves nothing"):
        read_series(PROJECT_TYPE.open(project / ALIGNED), "TS_02")


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("rlnVoltage", "0"),
        ("rlnVoltage", "300000"),
        ("rlnAmplitudeContrast", "7"),
        ("rlnSphericalAberration", "2.7e7"),
    ],
)
def test_optics_that_cannot_be(project, column, value):
    change_set(project, columns={column: [value, value]})
    series = read(project)
    assert series.ctf is None
    assert any(note.startswith("the CTF is not known: a") for note in series.notes)


def test_missing_xtilt_is_zero(project):
    change_series(project, without=("rlnTomoXTilt", "rlnMicrographPreExposure"))
    series = read(project)
    assert series.dose_e_per_a2 is None
    maps = series.geometry.image_from_volume
    # without x tilt the y axis of the specimen has no part that depends on the tilt
    zrot = np.degrees(np.arctan2(-maps[:, 0, 1], maps[:, 1, 1]))
    assert np.hypot(maps[:, 0, 1], maps[:, 1, 1]) == pytest.approx(np.ones(19))
    assert zrot.mean() == pytest.approx(-12.8, abs=0.3)


def test_tilt_offset_is_added(project):
    opened = PROJECT_TYPE.open(project / ALIGNED)
    moved = type(opened)(opened.tomograms, tilt_offset_deg=-2.0)
    given = opened.read("TS_02", SeriesOptions(thickness_px=32))
    found = moved.read("TS_02", SeriesOptions(thickness_px=32))
    assert found.tilt_deg == pytest.approx(given.tilt_deg - 2.0)
    four = PROJECT_TYPE.open(project / "relion4_tomograms.star")
    found4 = type(four)(four.tomograms, tilt_offset_deg=-2.0).read("TS_02")
    assert found4.geometry.image_from_volume == pytest.approx(
        found.geometry.image_from_volume, abs=1e-4
    )


def test_excluded_views(project):
    series = read(project, exclude=(1, 19))
    assert series.excluded == (0, 18)
    assert np.array_equal(series.views, np.arange(1, 18))
    with pytest.raises(InputError, match=r"--exclude names view 20, but .* has 19"):
        read(project, exclude=(3, 20))
    with pytest.raises(InputError, match=r"all 19 images are excluded"):
        read(project, exclude=tuple(range(1, 20)))


@pytest.mark.parametrize(
    ("options", "shape"),
    [
        ({"thickness_px": 31.0}, (31, 62, 66)),
        ({"thickness_angst": 300.0}, (38, 62, 66)),
        ({"shape_px": (64, 61, 30)}, (30, 61, 64)),
        ({"shape_px": (64, 61, 30), "thickness_px": 20}, (20, 61, 64)),
    ],
)
def test_sizes_asked_for(project, options, shape):
    series = PROJECT_TYPE.open(project / ALIGNED).read("TS_02", SeriesOptions(**options))
    assert series.grid.shape == shape
    assert series.grid.centre == tuple(n // 2 for n in shape)
    assert facts(series)["size_px"] == list(reversed(shape))


def test_sizes_and_binning_of_the_set(project):
    sizes = {"rlnTomoSizeX": ["0", "70"], "rlnTomoSizeY": ["0", "61"], "rlnTomoSizeZ": ["0", "34"]}
    change_set(project, columns=sizes | {"rlnTomoTomogramBinning": ["0", "2.5"]})
    series = PROJECT_TYPE.open(project / ALIGNED).read("TS_02")
    assert series.grid.shape == (34, 61, 70)
    assert series.binning == 2.5
    # RELION writes zeros where it did not reconstruct
    assert read(project, "TS_01").grid.shape == (32, 96, 80)
    assert read(project, "TS_01").binning == 1.0


def test_thickness_of_the_alignment_is_in_nanometres(project):
    change_set(project, columns={"rlnTomoTomogramThickness": ["30", "30"]})
    series = PROJECT_TYPE.open(project / ALIGNED).read("TS_02")
    assert series.grid.shape == (38, 62, 66)


def test_unknown_thickness(project):
    with pytest.raises(InputError, match=r"thickness of TS_02 is unknown.*--thickness-px"):
        PROJECT_TYPE.open(project / ALIGNED).read("TS_02")


def test_wide_tomograms_are_remarked_upon(project):
    assert not read(project, "TS_01", shape_px=(80, 96, 32)).notes
    (note,) = read(project, "TS_01", shape_px=(96, 80, 32)).notes
    assert "96 unbinned px wide in x" in note
    assert "81 of them" in note  # the images are turned by some degrees


def test_polished_deformations_are_remarked_upon(project):
    change_series(project, columns={"rlnTomoDeformationCoefficients": ["[0,0]"] * 19})
    (note,) = read(project).notes
    assert "Bayesian polishing" in note


def test_pixel_size(project):
    assert read(project, input_pixel_angst=8.0).images.pixel_angst == 8.0
    with pytest.raises(InputError, match=r"rlnTomoTiltSeriesPixelSize 8 A.*says 9 A"):
        read(project, input_pixel_angst=9.0)
    change_set(project, without=("rlnTomoTiltSeriesPixelSize",))
    with pytest.raises(InputError, match=r"Motion correction job.*--input-pixel-size"):
        read(project)
    assert read(project, input_pixel_angst=9.0).images.pixel_angst == 9.0


def test_numeric_looking_names(project):
    change_set(project, columns={"rlnTomoName": ["TS_01", "002"]})
    change_series(project, rename="002")
    assert PROJECT_TYPE.open(project / ALIGNED).names == ("TS_01", "002")
    assert read(project, "002").name == "002"


# --------------------------------------------------------------- where the project's folder is


def test_paths_start_from_the_folder_that_holds_the_files(project, tmp_path_factory, monkeypatch):
    monkeypatch.chdir(project)
    assert PROJECT_TYPE.open(Path(ALIGNED)).tomograms.root == project
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    assert PROJECT_TYPE.open(project / ALIGNED).tomograms.root == project


def test_projects_of_the_same_file_names_are_not_mixed_up(project, tmp_path_factory, monkeypatch):
    other = tmp_path_factory.mktemp("other")
    shutil.copytree(DATA / "AlignTiltSeries", other / "AlignTiltSeries")
    monkeypatch.chdir(other)
    assert PROJECT_TYPE.open(project / ALIGNED).tomograms.root == project
    monkeypatch.chdir(project / "AlignTiltSeries")
    assert PROJECT_TYPE.open(Path("job005/aligned_tilt_series.star")).tomograms.root == project
    shutil.copy(project / ALIGNED, tmp_path_factory.mktemp("copies") / "set.star")
    monkeypatch.chdir(project)
    copy = next(tmp_path_factory.getbasetemp().glob("copies*/set.star"))
    assert PROJECT_TYPE.open(copy).tomograms.root == project


def test_first_series_missing_does_not_hide_the_others(project):
    (project / "AlignTiltSeries/job005/tilt_series/TS_01.star").unlink()
    assert len(read(project).views) == 19
    with pytest.raises(MissingFileError, match=r"TS_01\.star"):
        read(project, "TS_01")


def test_files_that_are_nowhere(project):
    shutil.rmtree(project / "AlignTiltSeries/job005/tilt_series")
    with pytest.raises(MissingFileError, match=r"found neither .* run tomofilt in the folder"):
        PROJECT_TYPE.open(project / ALIGNED)


# ------------------------------------------------------------------------------- bad input

ALIGNMENT = ("rlnTomoYTilt", "rlnTomoZRot", "rlnTomoXShiftAngst", "rlnTomoYShiftAngst")


def test_set_without_alignment(project):
    change_series(project, without=("rlnTomoXTilt", *ALIGNMENT))
    with pytest.raises(InputError, match=r"TS_02\.star: data_TS_02 lacks .*Align tilt-series job"):
        read(project)


def test_set_straight_after_import(project):
    change_series(project, without=("rlnTomoXTilt", "rlnMicrographName", *ALIGNMENT))
    with pytest.raises(InputError) as caught:
        read(project)
    message = str(caught.value)
    assert "rlnMicrographName (from RELION's Motion correction job)" in message
    assert f"{', '.join(ALIGNMENT)} (from RELION's Align tilt-series job)" in message


@pytest.mark.parametrize("column", ["rlnMicrographName", *ALIGNMENT])
def test_each_missing_column_is_named(project, column):
    change_series(project, without=(column,))
    with pytest.raises(InputError, match=rf"lacks {column} \(from RELION's"):
        read(project)


@pytest.mark.parametrize("value", ["nan", "N/A", "1,5"])
def test_values_that_are_no_numbers(project, value):
    change_series(project, columns={"rlnTomoZRot": ["1.0"] * 18 + [value]})
    with pytest.raises(InputError, match=f"rlnTomoZRot is '{value}' in row 19, which is no number"):
        read(project)


def test_block_of_another_name(project):
    change_series(project, rename="TS_2")
    with pytest.raises(InputError, match=r"has no data_TS_02 but data_TS_2: .* rlnTomoName"):
        read(project)


def test_empty_series(project):
    columns = read_star(project / "AlignTiltSeries/job005/tilt_series/TS_02.star")["TS_02"].columns
    change_series(project, columns={name: [] for name in columns})
    with pytest.raises(InputError, match=r"data_TS_02 has no images"):
        read(project)


@pytest.mark.parametrize("name", ["../TS_02", "a/b", "-o", ".hidden"])
def test_names_that_cannot_be_files(project, name):
    change_set(project, columns={"rlnTomoName": ["TS_01", name]})
    opened = PROJECT_TYPE.open(project / ALIGNED)
    with pytest.raises(InputError, match=r"cannot become a file name"):
        opened.read(name, SeriesOptions(thickness_px=32))
    with pytest.raises(InputError, match=r"cannot become a file name"):
        opened.destination(name, project / "out")


def test_missing_image(project):
    change_series(project, columns={"rlnMicrographName": ["MotionCorr/absent.mrc"] * 19})
    with pytest.raises(MissingFileError, match=r"absent\.mrc: there is no such file"):
        read(project)


def test_warp_export():
    with pytest.raises(InputError, match=r"exported by Warp.*dummy_tiltseries.mrc stands in"):
        PROJECT_TYPE.open(DATA / "warp/matching_tomograms.star")


def test_matrices_without_shifts(project):
    path = project / "relion4_tomograms.star"
    warp = read_star(DATA / "warp/matching_tomograms.star")["24jul16a_Position_18_1.tomostar"]
    columns = {f"rlnTomoProj{row}": warp[f"rlnTomoProj{row}"][:19] for row in "XYZW"}
    change(path, "TS_02", columns=columns)
    with pytest.raises(InputError, match=r"the matrices have no shifts.*Warp"):
        PROJECT_TYPE.open(path).read("TS_02")


@pytest.mark.parametrize("text", ["[1,0,0]", "1,x,0,0", "[1,0,0,nan]"])
def test_matrices_that_are_none(project, text):
    path = project / "relion4_tomograms.star"
    change(path, "TS_02", columns={"rlnTomoProjY": [text] * 19})
    with pytest.raises(InputError, match=r"rlnTomoProj.* (vectors such as|four numbers)"):
        PROJECT_TYPE.open(path).read("TS_02")


@pytest.mark.parametrize(
    ("block", "changes", "message"),
    [
        ("TS_02", {"without": ("rlnTomoProjY",)}, "has no rlnTomoProjX.*RELION 4's alignment"),
        ("global", {"without": ("rlnTomoSizeZ",)}, "has no rlnTomoSizeX.*matrices refer"),
        ("global", {"columns": {"rlnTomoFrameCount": ["20"]}}, "has 19 rows, but .* is 20"),
        ("global", {"without": ("rlnTomoTiltSeriesName",)}, "neither rlnTomoTiltSeriesStarFile"),
    ],
)
def test_incomplete_relion_4_set(project, block, changes, message):
    path = project / "relion4_tomograms.star"
    change(path, block, **changes)
    with pytest.raises(InputError, match=message):
        PROJECT_TYPE.open(path).read("TS_02")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("data_particles\n\nloop_\n_rlnTomoName\nTS_01\n", "It is a set of particles"),
        ("data_a\n\nloop_\n_rlnMicrographPreExposure\n0\n", "It is a single tilt series"),
        ("data_optics\n\nloop_\n_rlnVoltage\n300\n", "Give an aligned_tilt_series.star"),
        ("data_global\n\nloop_\n_rlnVoltage\n300\n", "data_global has no column rlnTomoName"),
        ("data_global\n\nloop_\n_rlnTomoName\n\n", "data_global names no tilt series"),
        ("data_global\n\nloop_\n_rlnTomoName\na\na\n", "a is the rlnTomoName of two tilt series"),
    ],
)
def test_other_star_files(tmp_path, text, message):
    path = tmp_path / "x.star"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        PROJECT_TYPE.open(path)


def test_global_need_not_come_first(project):
    path = project / "relion4_tomograms.star"
    blocks = read_star(path)
    write_star(path, dict(reversed(blocks.items())), replace=True)
    assert PROJECT_TYPE.open(path).names == ("TS_02",)


def test_ctf_and_exposure(project):
    series = read(project, "TS_01")
    ctf = series.ctf
    assert (ctf.voltage_kv, ctf.cs_mm, ctf.amplitude_contrast, ctf.hand) == (300, 2.7, 0.1, -1)
    least_tilted = int(np.argmin(np.abs(series.tilt_deg - 1.5)))  # the first row
    numbers = (ctf.defocus_u_angst, ctf.defocus_v_angst, ctf.astigmatism_deg, ctf.phase_shift_deg)
    assert [each[least_tilted] for each in numbers] == [30750, 30250, 45, 0]
    assert series.voltage_kv == 300
    assert series.facts["hand"].value == -1
    assert series.dose_done is None


def test_phase_shifts_and_the_slope_of_the_defocus(project):
    change_series(project, columns={"rlnPhaseShift": ["60"] * 19})
    change_set(project, columns={"rlnTomoDefocusSlope": ["0.9"] * 2})
    ctf = read(project).ctf
    np.testing.assert_array_equal(ctf.phase_shift_deg, 60)
    assert ctf.hand == pytest.approx(-0.9)


@pytest.mark.parametrize("text", ["0.000000", "nan", "N/A"])
def test_rows_without_a_defocus_are_named(project, text):
    before = read(project).ctf
    stars = read_star(project / "AlignTiltSeries/job005/tilt_series/TS_02.star")["TS_02"]
    u, v = (list(stars[f"rlnDefocus{axis}"]) for axis in "UV")
    u[3] = v[3] = text
    change_series(project, columns={"rlnDefocusU": u, "rlnDefocusV": v})
    series = read(project)
    assert "rows without a defocus, whose CTF is left as it is: 4" in series.notes
    assert before.known.all()
    assert list(series.views[~series.ctf.known]) == [3]


def test_ctf_that_is_not_known_is_said(project):
    change_series(project, without=["rlnDefocusV", "rlnDefocusAngle"])
    series = read(project)
    assert series.ctf is None
    assert "lacks rlnDefocusV, rlnDefocusAngle (from RELION's" in "\n".join(series.notes)


def test_ctf_of_zero_everywhere_is_none(project):
    zeros = {f"rlnDefocus{axis}": ["0"] * 19 for axis in "UV"}
    change_series(project, columns=zeros)
    series = read(project)
    assert series.ctf is None
    assert "the CTF is not known: every rlnDefocusU and V of TS_02 is 0 or missing" in series.notes


def test_images_that_motion_correction_has_weighted(project):
    stack = (project / "MotionCorr").resolve() / "job002/frames/TS_02.mrcs"
    (project / "MotionCorr").unlink()
    frames = project / "MotionCorr/job002/frames"
    frames.mkdir(parents=True)
    for name in ("TS_02.mrcs", "TS_02_EVN.mrcs", "TS_02_ODD.mrcs"):
        if stack.with_name(name).exists():
            shutil.copy(stack.with_name(name), frames)
    assert read(project).dose_done is None
    shutil.copy(stack, frames / "TS_02_noDW.mrcs")
    assert "TS_02_noDW.mrcs is beside them" in read(project).dose_done
