"""The STAR files for the next job."""

import json
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace
from strategies_records import a_record

from tomofilt.errors import InputError, OutputError, OutputExistsError
from tomofilt.io.files import PartialFile
from tomofilt.io.record import Denoising, Unbinned, read_record, write_record
from tomofilt.io.star import read_star, write_star
from tomofilt.series.geometry import rotation_x, rotation_y, rotation_z
from tomofilt_relion.project import PROJECT_TYPE, RelionProject

DATA = Path(__file__).parents[1] / "data" / "relion"
ALIGNED = "AlignTiltSeries/job005/aligned_tilt_series.star"


@pytest.fixture
def project(tmp_path):
    shutil.copytree(DATA / "AlignTiltSeries", tmp_path / "AlignTiltSeries")
    shutil.copytree(DATA / "Tomograms", tmp_path / "Tomograms")
    shutil.copy(DATA / "relion4_tomograms.star", tmp_path)
    (tmp_path / "MotionCorr").symlink_to(DATA / "MotionCorr")
    return tmp_path


def finish(opened, name, folder, *, binning=2.0, size=(88, 76, 32), halves=(), spec="ramp"):
    """Put what a finished reconstruction leaves behind where it belongs."""
    destination = opened.destination(name, folder)
    destination.volume.parent.mkdir(parents=True, exist_ok=True)
    for each in (destination, *map(destination.half, halves)):
        each.volume.touch()
        output = {
            "file": each.volume.name,
            "shape_zyx": tuple(int(n / binning) for n in reversed(size)),
            "voxel_angst": 8.0 * binning,
            "specimen_centre_zyx": tuple(n // 2 / binning for n in reversed(size)),
        }
        unbinned = Unbinned(pixel_angst=8.0, size_xyz=size)
        write_record(each.record, a_record(output=output, spec=spec, unbinned=unbinned))
    return destination


def commit(opened, folder, *names, **how):
    opened.commit({name: finish(opened, name, folder, **how) for name in names}, folder)
    return read_star(folder / "tomograms.star")["global"]


def test_all_columns_are_kept_and_ours_added(project):
    opened = PROJECT_TYPE.open(project / ALIGNED)
    table = commit(opened, project / "Tomograms/job020", "TS_01", "TS_02", halves=(1, 2))
    given = read_star(project / ALIGNED)["global"]
    for column in given.columns:
        if column != "rlnTomoTiltSeriesStarFile":
            assert table[column] == given[column]
    job = "Tomograms/job020"
    added = {
        "rlnTomoTiltSeriesStarFile": [f"{job}/tilt_series/TS_0{i}.star" for i in (1, 2)],
        "rlnTomoTomogramBinning": ["2.000000"] * 2,
        "rlnTomoSizeX": ["88"] * 2,
        "rlnTomoSizeY": ["76"] * 2,
        "rlnTomoSizeZ": ["32"] * 2,
        "rlnTomoReconstructedTomogram": [f"{job}/tomograms/rec_TS_0{i}.mrc" for i in (1, 2)],
        "rlnTomoReconstructedTomogramHalf1": [
            f"{job}/tomograms/rec_TS_0{i}_half1.mrc" for i in (1, 2)
        ],
        "rlnTomoReconstructedTomogramHalf2": [
            f"{job}/tomograms/rec_TS_0{i}_half2.mrc" for i in (1, 2)
        ],
    }
    assert {name: table[name] for name in added} == added
    assert list(table.columns) == list(given.columns) + [n for n in added if n not in given]


def test_names_with_quotes_and_hashes_and_a_byte_order_mark(project):
    """As RELION reads and writes them: a quote or # inside a word is a letter like others."""
    name = "O'Brien#1"
    for path in (project / ALIGNED, project / Path(ALIGNED).parent / "tilt_series/TS_01.star"):
        text = (
            path.read_text().replace("data_TS_01", f"data_{name}").replace("TS_01\t", f"{name}\t")
        )
        path.write_text("\ufeff" + text, encoding="utf-8")
    opened = PROJECT_TYPE.open(project / ALIGNED)
    assert opened.names == (name, "TS_02")
    table = commit(opened, project / "Tomograms/job020", name)
    assert table["rlnTomoName"] == [name]
    tilts = read_star(project / table["rlnTomoTiltSeriesStarFile"][0])
    given = read_star(project / Path(ALIGNED).parent / "tilt_series/TS_01.star")
    assert list(tilts) == list(given) == [name]
    assert len(tilts[name]) == len(given[name])


def test_tables_of_images_say_what_relion_says(project):
    opened = PROJECT_TYPE.open(project / ALIGNED)
    commit(opened, project / "Tomograms/job020", "TS_02")
    ours = read_star(project / "Tomograms/job020/tilt_series/TS_02.star")["TS_02"]
    given = read_star(project / "AlignTiltSeries/job005/tilt_series/TS_02.star")["TS_02"]
    theirs = read_star(project / "Tomograms/job006/tilt_series/TS_02.star")["TS_02"]
    assert list(ours.columns) == list(theirs.columns)
    assert {name: ours[name] for name in given.columns} == dict(given.columns)
    assert ours["rlnCtfScalefactor"] == theirs["rlnCtfScalefactor"]


def test_what_relion_wrote_is_read_and_written_again(project):
    """RELION's own tomograms.star is an input like another, but for the files of its own job."""
    opened = PROJECT_TYPE.open(project / "Tomograms/job007/tomograms.star")
    table = commit(opened, project / "Tomograms/job020", "TS_01", "TS_02", binning=4.0)
    assert table["rlnTomoTomogramBinning"] == ["4.000000"] * 2
    given = read_star(project / "Tomograms/job007/tomograms.star")["global"]
    stale = {name for name in given.columns if name.startswith("rlnTomogram") or "Half" in name}
    assert len(stale) == 4
    assert not stale & set(table.columns)
    scale = read_star(project / "Tomograms/job020/tilt_series/TS_01.star")["TS_01"]
    assert scale["rlnCtfScalefactor"][0] == "0.999657"  # theirs, not made anew


def test_halves_of_another_make_are_not_listed(project):
    opened = PROJECT_TYPE.open(project / ALIGNED)
    folder = project / "Tomograms/job020"
    finish(opened, "TS_01", folder, halves=(1, 2), spec="hann")
    destination = finish(opened, "TS_01", folder)
    opened.commit({"TS_01": destination}, folder)
    assert "rlnTomoReconstructedTomogramHalf1" not in read_star(folder / "tomograms.star")["global"]


@pytest.mark.parametrize("refused", [True, False])
def test_the_denoised_tomogram_is_listed_unless_refused(project, refused):
    opened = PROJECT_TYPE.open(project / ALIGNED)
    folder = project / "Tomograms/job020"
    destination = finish(opened, "TS_01", folder)
    told = Denoising(fingerprint="0", refused="noise" if refused else None, measured={"seed": 0})
    record = replace(read_record(destination.record), denoising=told)
    write_record(destination.record, record)
    write_record(destination.denoised.record, record)
    # of an earlier run, perhaps
    destination.denoised.volume.write_bytes(b"")
    opened.commit({"TS_01": destination}, folder)
    table = read_star(folder / "tomograms.star")["global"]
    column = "rlnTomoReconstructedTomogramDenoised"
    if refused:
        assert column not in table.columns or table[column] == ["N/A"]
    else:
        assert table[column] == ["Tomograms/job020/tomograms/rec_TS_01_denoised.mrc"]


def test_series_of_earlier_runs_keep_their_rows(project):
    opened = PROJECT_TYPE.open(project / ALIGNED)
    folder = project / "Tomograms/job020"
    commit(opened, folder, "TS_02", halves=(1, 2), binning=4.0)
    table = commit(opened, folder, "TS_01")
    rows = {row["rlnTomoName"]: row for row in table.rows()}
    assert list(rows) == ["TS_01", "TS_02"]  # the order of the set
    assert rows["TS_02"]["rlnTomoTomogramBinning"] == "4.000000"
    assert rows["TS_02"]["rlnTomoReconstructedTomogramHalf2"].endswith("rec_TS_02_half2.mrc")
    assert rows["TS_01"]["rlnTomoTomogramBinning"] == "2.000000"
    assert rows["TS_01"]["rlnTomoReconstructedTomogramHalf2"] == "N/A"
    four = PROJECT_TYPE.open(folder / "tomograms.star")
    assert four.names == ("TS_01", "TS_02")


def test_unfinished_series_have_no_row(project):
    opened = PROJECT_TYPE.open(project / ALIGNED)
    table = commit(opened, project / "Tomograms/job020", "TS_02")
    assert table["rlnTomoName"] == ["TS_02"]


def test_relion_4_alignment_survives(project):
    opened = PROJECT_TYPE.open(project / "relion4_tomograms.star")
    size = (64, 61, 31)
    table = commit(opened, project / "Tomograms/job020", "TS_02", binning=1.0, size=size)
    assert table["rlnTomoTomogramBinning"] == ["1.000000"]
    assert table["rlnTomoImportFractionalDose"] == ["3"]
    given = read_star(project / "relion4_tomograms.star")["TS_02"]
    written = read_star(project / "Tomograms/job020/tilt_series/TS_02.star")["TS_02"]
    kept = {name for name in given.columns if not name.startswith("rlnTomoProj")}
    assert len(kept) == len(given.columns) - 4
    assert {name: written[name] for name in kept} == {name: given[name] for name in kept}
    assert not any(name.startswith("rlnTomoProj") for name in written.columns)
    assert written["rlnMicrographName"][2] == "000003@MotionCorr/job002/frames/TS_02.mrcs"
    truth = read_star(project / "AlignTiltSeries/job005/tilt_series/TS_02.star")["TS_02"]
    for column in ("XTilt", "YTilt", "ZRot", "XShiftAngst", "YShiftAngst"):
        found, expected = (np.array(t[f"rlnTomo{column}"], float) for t in (written, truth))
        assert found == pytest.approx(expected, abs=5e-6)

    five = PROJECT_TYPE.open(project / "Tomograms/job020/tomograms.star").read("TS_02")
    four = opened.read("TS_02")
    assert five.grid == four.grid
    assert five.geometry.image_from_volume == pytest.approx(
        four.geometry.image_from_volume, abs=1e-5
    )


def relion5_sees(tilts, size_px, image_px, pixel_angst, points_px):
    """Where RELION 5 looks for points (x, y, z) about the specimen centre: its formula."""
    numbers = {c: np.array(tilts[f"rlnTomo{c}"], float) for c in ("XTilt", "YTilt", "ZRot")}
    x, y, z = (np.radians(numbers[c]) for c in ("XTilt", "YTilt", "ZRot"))
    turn = rotation_z(z) @ rotation_y(y) @ rotation_x(x)
    shift = np.stack([np.array(tilts[f"rlnTomo{c}ShiftAngst"], float) for c in "XY"], axis=1)
    voxels = points_px + np.array(size_px) // 2
    seen = np.einsum("vij,pj->vpi", turn, voxels - np.array(size_px) // 2)[..., :2]
    return seen + np.array(image_px) // 2 + shift[:, None] / pixel_angst


def test_particles_of_a_relion_4_set_stay_where_they_are(project):
    """In a tomogram of another size, whose STAR file RELION 5 reads by angles and shifts."""
    opened = PROJECT_TYPE.open(project / "relion4_tomograms.star")
    table = commit(opened, project / "Tomograms/job020", "TS_02", size=(80, 70, 40))
    assert table["rlnTomoSizeX"] == ["80"]
    written = read_star(project / "Tomograms/job020/tilt_series/TS_02.star")["TS_02"]
    old = read_star(project / "relion4_tomograms.star")["TS_02"]
    rows = [[json.loads(text) for text in old[f"rlnTomoProj{c}"]] for c in "XY"]
    matrices = np.array(rows).transpose(1, 0, 2)
    points = np.array([[0.0, 0, 0], [10, -7, 3], [-12, 8, -9]])
    voxels = np.concatenate([points + np.array((64, 61, 31)) // 2, np.ones((3, 1))], axis=1)
    expected = np.einsum("vij,pj->vpi", matrices, voxels)
    found = relion5_sees(written, (80, 70, 40), (66, 62), 8.0, points)
    assert found == pytest.approx(expected, abs=1e-4)


def test_tilt_offset_is_in_the_files(project):
    opened = RelionProject(PROJECT_TYPE.open(project / ALIGNED).tomograms, tilt_offset_deg=2.5)
    commit(opened, project / "Tomograms/job020", "TS_02")
    tilts = read_star(project / "Tomograms/job020/tilt_series/TS_02.star")["TS_02"]
    assert tilts["rlnTomoYTilt"][0] == "-54.500000"
    assert float(tilts["rlnCtfScalefactor"][0]) == pytest.approx(np.cos(np.radians(54.5)), abs=1e-6)


def test_folders_outside_the_project_are_named_in_full(project, tmp_path_factory):
    outside = tmp_path_factory.mktemp("scratch")
    table = commit(PROJECT_TYPE.open(project / ALIGNED), outside, "TS_02")
    assert table["rlnTomoReconstructedTomogram"] == [f"{outside}/tomograms/rec_TS_02.mrc"]


def test_relative_folders(project, monkeypatch):
    monkeypatch.chdir(project)
    opened = PROJECT_TYPE.open(Path(ALIGNED))
    table = commit(opened, Path("External/job030/"), "TS_02")
    assert table["rlnTomoReconstructedTomogram"] == ["External/job030/tomograms/rec_TS_02.mrc"]


def test_pixel_size_given_by_the_user_is_written(project):
    path = project / ALIGNED
    table = read_star(path)["global"]
    columns = {k: v for k, v in table.columns.items() if k != "rlnTomoTiltSeriesPixelSize"}
    write_star(path, {"global": type(table)(columns)}, replace=True)
    table = commit(PROJECT_TYPE.open(path), project / "Tomograms/job020", "TS_02")
    assert table["rlnTomoTiltSeriesPixelSize"] == ["8.000000"]


def test_tomograms_of_relion_are_left_alone(project):
    opened = PROJECT_TYPE.open(project / ALIGNED)
    with pytest.raises(OutputExistsError, match=r"job006/tomograms\.star exists and tomofilt did"):
        opened.destination("TS_01", project / "Tomograms/job006")


def test_a_folder_is_needed(project):
    opened = PROJECT_TYPE.open(project / ALIGNED)
    with pytest.raises(InputError, match=r"Give the folder of a job with -o"):
        opened.destination("TS_01", None)
    with pytest.raises(InputError, match=r"has no tilt series TS_3"):
        opened.destination("TS_3", project)


def test_lost_record(project):
    opened = PROJECT_TYPE.open(project / ALIGNED)
    destination = finish(opened, "TS_02", project / "out")
    whole = destination.record.read_text()
    destination.record.write_text("{")
    with pytest.raises(OutputError, match=r"rec_TS_02\.json is gone"):
        opened.commit({"TS_02": destination}, project / "out")
    destination.record.write_text(whole[:-30])
    with pytest.raises(InputError, match=r"rec_TS_02\.json: the record is damaged"):
        opened.commit({"TS_02": destination}, project / "out")


def test_processes_take_turns(project):
    opened = PROJECT_TYPE.open(project / ALIGNED)
    folder = project / "Tomograms/job020"
    destination = finish(opened, "TS_02", folder)
    with PartialFile(folder / "tomograms.star"):
        other = threading.Thread(target=opened.commit, args=({"TS_02": destination}, folder))
        other.start()
        other.join(0.3)
        assert other.is_alive()
        assert not (folder / "tomograms.star").exists()
    other.join()
    assert read_star(folder / "tomograms.star")["global"]["rlnTomoName"] == ["TS_02"]
