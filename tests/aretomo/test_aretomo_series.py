"""AreTomo's outputs as they lie: stacks, dark images, CTF and exposure, and folders of -OutImod."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from strategies_aretomo import aln_text, rows_of, write_mrc
from typer.testing import CliRunner

from tomofilt.errors import InputError, MissingFileError
from tomofilt.series.projects import SeriesOptions, detect
from tomofilt_aretomo.aln import read_aln
from tomofilt_aretomo.project import PROJECT_TYPE

DATA = Path(__file__).parents[1] / "data" / "aretomo"
TILT = [-40.0, -20.0, 0.0, 20.0]
DARK = [(0, 1, -60.0), (3, 4, -10.0)]
THICK = SeriesOptions(thickness_px=24)


def output(folder, *, stack=(6, 32, 48), sections=(2, 3, 5, 6), dark=DARK, **header):
    """An output of AreTomo3 with six images, of which two are dark."""
    folder.mkdir(exist_ok=True)
    if stack is not None:
        write_mrc(folder / "TS.mrc", stack)
    text = aln_text(rows_of(TILT, sections), (48, 32, len(TILT) + len(dark)), dark, **header)
    (folder / "TS.aln").write_text(text)
    return folder


def read(path, options=THICK):
    project = detect(path)
    return project.read(project.names[0], options)


def test_dark_images_are_left_out_and_the_others_found(tmp_path):
    series = read(output(tmp_path))
    np.testing.assert_array_equal(series.views, [1, 2, 4, 5])
    assert series.excluded == (0, 3)
    np.testing.assert_array_equal(series.tilt_deg, TILT)
    assert series.grid.shape == (24, 48, 32)  # the tilt axis is along x: sides change places
    assert series.grid.centre == (11.5, 23.5, 15.5)
    assert series.facts["excluded_views"].value == [1, 4]
    shift = series.geometry.image_from_volume[:, :, 3]
    np.testing.assert_allclose(shift, [[10 * x, 10 * y] for _, _, x, y, _ in rows_of(TILT, TILT)])


def test_views_are_asked_for_in_the_order_of_the_stack(tmp_path):
    series = read(output(tmp_path), SeriesOptions(thickness_px=24, exclude=(1, 3)))
    np.testing.assert_array_equal(series.views, [1, 4, 5])
    with pytest.raises(InputError, match=r"names view 7, but .* views 1 to 6"):
        read(tmp_path, SeriesOptions(thickness_px=24, exclude=(7,)))


def test_stack_of_outimod_2_has_no_dark_images(tmp_path):
    """Raw images beside the alignment come first; the two have the same images and maps."""
    whole = read(output(tmp_path / "a"))
    folder = output(tmp_path / "b", stack=None)
    (folder / "TS_Imod").mkdir()
    write_mrc(folder / "TS_Imod" / "TS_st.mrc", (4, 32, 48))
    series = read(folder)
    np.testing.assert_array_equal(series.views, range(4))
    np.testing.assert_array_equal(
        series.geometry.image_from_volume, whole.geometry.image_from_volume
    )
    (folder / "TS_Imod" / "TS_st.xf").write_text("    1.000     0.000     0.000     1.000  0.00\n")
    with pytest.raises(MissingFileError, match=r"neither TS.mrc nor TS.st"):  # -OutImod 3
        read(folder)


def test_same_maps_as_from_its_own_xf(tmp_path):
    """AreTomo's .xf is A = R(-ROT), d = -A (TX, TY); IMOD's files tell the same geometry."""
    folder = output(tmp_path, sections=(1, 2, 3, 4), dark=(), stack=(4, 32, 48))
    imod = tmp_path / "TS_Imod"
    imod.mkdir()
    lines = []
    for _, rotation, x, y, _ in rows_of(TILT, range(4)):
        angle = np.radians(-rotation)
        a = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        lines.append(" ".join(f"{n:.9f}" for n in (*a.ravel(), *(a @ [-x, -y]))))
    (imod / "TS_st.xf").write_text("\n".join(lines) + "\n")
    (imod / "TS_st.tlt").write_text("\n".join(map(str, TILT)) + "\n")
    (imod / "tilt.com").write_text(
        "$tilt -StandardInput\nInputProjections TS_st.ali\nTILTFILE TS_st.tlt\nTHICKNESS 24\n"
        "FULLIMAGE 32 48\n"
    )
    write_mrc(imod / "TS_st.st", (4, 32, 48))
    ours = read(folder)
    from tomofilt.series.projects import project_type

    theirs = project_type("imod").open(imod).read("TS_st")
    assert ours.grid == theirs.grid  # the thickness is that of tilt.com
    np.testing.assert_allclose(
        ours.geometry.image_from_volume, theirs.geometry.image_from_volume, atol=1e-6
    )


def test_ctf_and_exposure(tmp_path):
    """CTF of all images by tilt, exposure by section in the order of acquisition."""
    output(tmp_path, alpha=1.5)
    text = "# Columns: ...\n" + "".join(
        f"{i + 1:4d}  {20000 + 100 * i}.0  {19000 + 100 * i}.0  {10 * i}.0  0.1000  0.5  8.0  1\n"
        for i in range(6)
    )
    (tmp_path / "TS_CTF.txt").write_text(text)
    stage = [-61.5, -41.5, -21.5, -11.5, -1.5, 18.5]
    order = [6, 4, 2, 5, 1, 3]
    (tmp_path / "TS_TLT.txt").write_text(
        "".join(f"{a:8.2f}  {n:4d}  {2 + n:8.2f}\n" for a, n in zip(stage, order, strict=True))
    )
    series = read(tmp_path)
    np.testing.assert_allclose(series.ctf.defocus_u_angst, [20100, 20200, 20400, 20500])
    np.testing.assert_allclose(series.ctf.defocus_v_angst, [19100, 19200, 19400, 19500])
    np.testing.assert_allclose(series.ctf.astigmatism_deg, [10, 20, 40, 50])
    np.testing.assert_allclose(series.ctf.phase_shift_deg, np.degrees(0.1))
    assert series.ctf.hand == 1.0
    np.testing.assert_allclose(series.dose_e_per_a2, [12.0, 3.0, 0.0, 7.0])  # 3, 4, 5, 6 ...
    assert series.facts["alpha_offset_deg"].value == 1.5


def test_ctf_of_the_images_that_are_left(tmp_path):
    output(tmp_path)
    rows = "".join(f"{i + 1} {20000 + i}.0 {19000 + i}.0 5.0 0.0 0.5 8.0\n" for i in range(4))
    (tmp_path / "TS_CTF.txt").write_text(rows)
    series = read(tmp_path)
    np.testing.assert_allclose(series.ctf.defocus_u_angst, [20000, 20001, 20002, 20003])
    assert series.ctf.hand == -1.0
    assert any("hand of the defocus: -1 is assumed" in note for note in series.notes)


@pytest.mark.parametrize(
    ("file", "text", "note"),
    [
        ("TS_CTF.txt", "1 2e4 2e4 0 0\n" * 3, "3 lines for 4 aligned images: the CTF is not known"),
        ("TS_CTF.txt", "1 2e4 2e4 0 0\n1 x\n", "line 2: '1 x' was not expected: the CTF"),
        ("TS_TLT.txt", "-60 1 3\n" * 6, "the tilt angles in .* are not those of TS.aln"),
        ("TS_TLT.txt", "-60 1 3\n" * 3, "has 3 lines, but the stack more sections"),
        (
            "TS_TLT.txt",
            "".join(f"{a} {i + 1}\n" for i, a in enumerate([-60, -40, -20, -10, 0, 20])),
            "tells the order of the images, but not their exposure",
        ),
    ],
)
def test_what_cannot_be_used_is_said(tmp_path, file, text, note):
    output(tmp_path)
    (tmp_path / file).write_text(text)
    series = read(tmp_path)
    assert any(re.search(note, each) for each in series.notes), series.notes
    assert series.ctf is None
    assert series.dose_e_per_a2 is None


def test_beta_offset_is_named(tmp_path):
    series = read(output(tmp_path, alpha=0.0, beta=2.5))
    assert any("BetaOffset 2.5 deg" in note for note in series.notes)


def test_thickness(tmp_path):
    """tilt.com has that of AreTomo's tomogram; else what it measured; else it must be given."""
    with pytest.raises(InputError, match=r"no thickness is known.*--thickness"):
        read(output(tmp_path / "a"), SeriesOptions())
    folder = output(tmp_path / "b", thickness=30)
    assert read(folder, SeriesOptions()).grid.shape[0] == 30
    (folder / "TS_Imod").mkdir()
    (folder / "TS_Imod" / "tilt.com").write_text("$tilt\nTHICKNESS 40\n")
    assert read(folder, SeriesOptions()).grid.shape[0] == 40
    series = read(folder, SeriesOptions(thickness_angst=500.0))
    assert series.grid.shape[0] == 50
    assert series.facts["thickness_px"].source == "the thickness asked for"


def test_images_of_another_size_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"images of 48 x 32 pixels, but .* has 24 x 16"):
        read(output(tmp_path, stack=(6, 16, 24)))


def test_halves(tmp_path):
    output(tmp_path)
    for half in ("EVN", "ODD"):
        write_mrc(tmp_path / f"TS_{half}.mrc", (6, 32, 48))
    series = read(tmp_path)
    assert [half.path.name for half in series.halves] == ["TS_EVN.mrc", "TS_ODD.mrc"]
    (tmp_path / "TS_ODD.mrc").unlink()
    write_mrc(tmp_path / "TS_ODD.mrc", (5, 32, 48))
    series = read(tmp_path)
    assert series.halves is None
    assert "TS_EVN.mrc and TS_ODD.mrc are not used" in series.halves_refused
    (tmp_path / "TS_ODD.mrc").unlink()
    assert "the other half is not there" in read(tmp_path).halves_refused


def test_what_is_taken_for_aretomos(tmp_path):
    folder = output(tmp_path / "out")
    imod = folder / "TS_Imod"
    imod.mkdir()
    for path in (folder, folder / "TS.aln", imod):
        assert PROJECT_TYPE.detect(path)
        assert PROJECT_TYPE.open(path).names == ("TS",)
    (folder / "tilt.com").write_text("$tilt\n")  # etomo works here too
    assert not PROJECT_TYPE.detect(folder)
    assert PROJECT_TYPE.open(folder).names == ("TS",)
    (folder / "TS.aln").unlink()
    assert not PROJECT_TYPE.detect(imod)
    assert not PROJECT_TYPE.detect(tmp_path / "nothing")
    with pytest.raises(MissingFileError):
        PROJECT_TYPE.open(tmp_path / "none.aln")
    with pytest.raises(InputError, match="holds no alignment of AreTomo"):
        PROJECT_TYPE.open(imod)


def test_several_series_in_a_folder(tmp_path):
    output(tmp_path)
    (tmp_path / "A.st.aln").write_text((tmp_path / "TS.aln").read_text())
    write_mrc(tmp_path / "A.st", (6, 32, 48))  # as AreTomo2 names it
    project = detect(tmp_path)
    assert project.names == ("A", "TS")
    assert project.read("A", THICK).images.path.name == "A.st"
    assert project.destination("A", None).volume == tmp_path / "A_tomofilt_rec.mrc"
    assert project.destination("A", tmp_path / "x").volume.parent == tmp_path / "x"
    with pytest.raises(InputError, match="has no tilt series B"):
        project.read("B", THICK)


def test_real_files(tmp_path):
    """Every image of a real alignment, and the CTF of another series as far as it goes."""
    for version, raw_shape in (("1_2_0", None), ("1_3_0", (41, 4092, 5760))):
        found = read_aln(DATA / f"example_v{version}.aln")
        assert found.raw_shape == raw_shape
        np.testing.assert_array_equal(found.raw_sections(41), range(41))
        np.testing.assert_allclose(np.diff(found.tilt_deg), 2.6, atol=0.6)
    tilt = np.linspace(-45.0, 45.0, 31)
    write_mrc(tmp_path / "TS.mrc", (31, 32, 48))
    (tmp_path / "TS.aln").write_text(aln_text(rows_of(tilt, range(1, 32)), (48, 32, 31)))
    shutil.copy(DATA / "test_8col_CTF.txt", tmp_path / "TS_CTF.txt")
    series = read(tmp_path)
    assert series.ctf.hand == -1.0
    assert series.ctf.defocus_u_angst[0] == 21717.31
    assert series.ctf.defocus_v_angst[-1] == 20099.77
    shutil.copy(DATA / "test_CTF.txt", tmp_path / "TS_CTF.txt")
    assert any("3 lines for 31 aligned images" in note for note in read(tmp_path).notes)


def test_commands(tmp_path):
    """By its option, or as any project; both show what would be used."""
    from tomofilt.cli.app import make_app

    output(tmp_path)
    runner = CliRunner()
    words = ["reconstruct", "--aretomo", str(tmp_path / "TS.aln"), "--thickness", "240"]
    planned = runner.invoke(make_app(), [*words, "--dry-run"])
    assert planned.exit_code == 0, planned.output
    assert "TS: 4 views, 2 excluded" in planned.output
    assert "TS_tomofilt_rec.mrc" in planned.output
    refused = runner.invoke(make_app(), [*words, "--imod-dir", "x"])
    assert "--imod-dir and --aretomo exclude each other" in str(refused.exception)
    shown = runner.invoke(make_app(), ["inspect", str(tmp_path), "--thickness", "240"])
    assert shown.exit_code == 0, shown.output
    assert "TS.aln ROT" in shown.output
