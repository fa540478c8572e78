"""Finished is finished wherever it lies; stale, damaged and foreign files are told apart."""

import shutil
import struct

import mrcfile
import numpy as np
import pytest

from tomofilt.draw.png import is_own_png
from tomofilt.errors import InputError, OutputExistsError
from tomofilt.io.mrc import MrcStack
from tomofilt.io.ome_zarr import own_mark
from tomofilt.io.record import read_record
from tomofilt.jobs.one import reconstruct
from tomofilt.jobs.sink import VolumeSink
from tomofilt.reconstruction.settings import Settings
from tomofilt.series.geometry import TiltGeometry, VolumeGrid
from tomofilt.series.projects import Destination
from tomofilt.series.tiltseries import TiltSeries

TILTS = np.linspace(-56, 60, 9)


def write(path, seed):
    stack = np.random.default_rng(seed).normal(100, 10, size=(9, 24, 20)).astype(np.float32)
    with mrcfile.new(path, overwrite=True) as file:
        file.set_data(stack)
        file.voxel_size = 10.0


@pytest.fixture
def project(tmp_path):
    folder = tmp_path / "project"
    folder.mkdir()
    for seed, name in enumerate(("TS.mrc", "TS_EVN.mrc", "TS_ODD.mrc")):
        write(folder / name, seed)
    return folder


def series_in(folder, shift=0.0, halves=False, **changes):
    pair = (MrcStack(folder / "TS_EVN.mrc"), MrcStack(folder / "TS_ODD.mrc"))
    images = MrcStack(folder / "TS.mrc")
    given = {
        "name": "TS",
        "images": images,
        "geometry": TiltGeometry.from_angles(TILTS, shift_angst=np.full((9, 2), shift)),
        "views": np.arange(9),
        "tilt_deg": TILTS,
        "grid": VolumeGrid.centred((14, 24, 20), 10.0),
        "halves": pair if halves else None,
        "files": images.files,
    }
    return TiltSeries(**(given | changes))


def run(series, folder, **settings):
    chosen = {"filter": "ramp", "preview": False, "threads": 1, "device": "cpu"} | settings
    destination = Destination(folder / "rec.mrc")
    return reconstruct(series, destination, Settings(**chosen))


class TestFinishedStaysFinished:
    def test_after_a_copy(self, project, tmp_path):
        run(series_in(project), project)
        shutil.copytree(project, tmp_path / "copy")
        (tmp_path / "copy/TS.mrc").touch()
        assert run(series_in(tmp_path / "copy"), tmp_path / "copy").skipped

    def test_after_a_move_and_by_another_path(self, project, tmp_path, monkeypatch):
        run(series_in(project), project)
        moved = project.rename(tmp_path / "moved")
        assert run(series_in(moved), moved).skipped
        monkeypatch.chdir(moved)
        assert run(series_in(moved.relative_to(moved)), moved).skipped
        (tmp_path / "mount").symlink_to(moved)
        assert run(series_in(tmp_path / "mount"), tmp_path / "mount").skipped

    def test_with_the_same_size_in_other_words(self, project):
        run(series_in(project), project, bin=2.0)
        assert run(series_in(project), project, pixel_angst=20.0).skipped

    def test_a_missing_picture_is_drawn(self, project):
        run(series_in(project), project, preview=True)
        (project / "rec.png").unlink()
        assert run(series_in(project), project, preview=True).skipped
        assert is_own_png(project / "rec.png")


class TestStaleIsTold:
    def test_the_alignment(self, project):
        run(series_in(project), project)
        with pytest.raises(OutputExistsError, match=r"\(differs: alignment\)"):
            run(series_in(project, shift=1.0), project)

    def test_the_images(self, project):
        run(series_in(project), project)
        write(project / "TS.mrc", 7)
        with pytest.raises(OutputExistsError, match=r"\(differs: image file TS\.mrc\)"):
            run(series_in(project), project)
        assert not run(series_in(project), project, overwrite=True).skipped

    def test_settings_with_both_values(self, project):
        run(series_in(project), project)
        words = r"differs: filter \(ramp then, hann:0\.3 now\)"
        with pytest.raises(OutputExistsError, match=words):
            run(series_in(project), project, filter="hann:0.3")

    def test_left_out_views(self, project):
        run(series_in(project), project)
        fewer = np.delete(np.arange(9), 4)
        series = series_in(
            project,
            geometry=TiltGeometry.from_angles(TILTS).select(fewer),
            views=fewer,
            tilt_deg=TILTS[fewer],
        )
        with pytest.raises(OutputExistsError, match=r"views \(1-9 then, 1-4,6-9 now\)"):
            run(series, project)

    def test_frame_halves_count_where_the_filter_is_measured_in_them(self, project):
        measured = {"filter": "wiener-exact:match"}
        run(series_in(project, halves=True), project, **measured)
        assert run(series_in(project, halves=True), project, **measured).skipped
        shutil.copy(project / "TS_ODD.mrc", project / "TS_EVN.mrc")
        with pytest.raises(OutputExistsError, match=r"file of frame half 1 TS_EVN\.mrc"):
            run(series_in(project, halves=True), project, **measured)

    def test_and_nowhere_else(self, project):
        run(series_in(project, halves=True), project)
        shutil.copy(project / "TS_ODD.mrc", project / "TS_EVN.mrc")
        assert run(series_in(project, halves=True), project).skipped


class TestDamageIsMended:
    @pytest.fixture
    def made(self, project):
        result = run(series_in(project), project)
        return result.destination.volume

    @pytest.mark.parametrize("size", [0, 8, 500, 1024, 3000])
    def test_a_volume_cut_short(self, made, project, size):
        whole = mrcfile.read(made)
        with made.open("r+b") as file:
            file.truncate(size)
        assert not run(series_in(project), project).skipped
        np.testing.assert_array_equal(mrcfile.read(made), whole)

    def test_other_densities(self, made, project):
        whole = mrcfile.read(made)
        with made.open("r+b") as file:
            file.seek(2000)
            file.write(struct.pack("<f", np.nan))
        assert not run(series_in(project), project).skipped
        np.testing.assert_array_equal(mrcfile.read(made), whole)

    def test_a_damaged_record(self, made, project):
        record = made.with_suffix(".json")
        whole = record.read_bytes()
        record.write_bytes(whole[: len(whole) // 2])
        assert not run(series_in(project), project).skipped
        assert read_record(record) is not None

    def test_a_title_in_the_header_is_no_damage(self, made, project):
        with mrcfile.open(made, "r+") as file:
            file.add_label("ALTERHEADER: a title")
        assert run(series_in(project), project).skipped

    def test_what_another_program_made_of_it_is_kept(self, made, project):
        with mrcfile.open(made, "r+") as file:
            file.data[:] *= -1
            file.add_label("CLIP: inverted")
        edited = made.read_bytes()
        with pytest.raises(OutputExistsError, match=r"changed by another program .*\(CLIP\)"):
            run(series_in(project), project)
        assert made.read_bytes() == edited


class TestWhatIsNotTomofilts:
    @pytest.mark.parametrize("overwrite", [False, True])
    def test_a_picture_is_kept(self, project, overwrite):
        run(series_in(project), project)
        (project / "rec.png").write_text("my drawing")
        with pytest.raises(OutputExistsError, match=r"rec\.png exists and tomofilt did not make"):
            run(series_in(project), project, preview=True, overwrite=overwrite)
        assert (project / "rec.png").read_text() == "my drawing"

    def test_a_picture_that_is_left_over_is_its_own(self, project):
        run(series_in(project), project, preview=True)
        (project / "rec.mrc").unlink()
        (project / "rec.json").unlink()
        assert not run(series_in(project), project, preview=True).skipped

    def test_a_short_file_beside_a_record_is_no_stump(self, project):
        run(series_in(project), project)
        (project / "rec.mrc").write_text("notes of mine")
        with pytest.raises(OutputExistsError, match="did not make it"):
            run(series_in(project), project, overwrite=True)

    @pytest.mark.parametrize("name", ["rec.mrc", "rec.json", "rec.png"])
    def test_a_folder(self, project, name):
        (project / name).mkdir()
        with pytest.raises(OutputExistsError, match="did not make it"):
            run(series_in(project), project, preview=True, overwrite=True)


class TestInputsThatChange:
    @pytest.mark.parametrize("change", ["changed", "taken away"])
    def test_are_noticed_at_the_end(self, project, monkeypatch, change):
        path, put = project / "TS.mrc", VolumeSink.put

        def interfere(*block):
            put(*block)
            if change == "taken away":
                path.unlink()
            else:
                with path.open("r+b") as file:
                    file.seek(1024)
                    file.write(bytes(999))

        monkeypatch.setattr(VolumeSink, "put", interfere)
        with pytest.raises(InputError, match=rf"TS\.mrc was {change} while it was read"):
            run(series_in(project), project)
        assert not list(project.glob("*rec*"))


def test_a_picture_that_cannot_be_written_is_a_note(project, monkeypatch, caplog):
    def fail(*arguments):
        raise OSError("no space left")

    monkeypatch.setattr("tomofilt.draw.preview.write_preview", fail)
    with caplog.at_level("INFO", "tomofilt"):
        result = run(series_in(project), project, preview=True)
    assert read_record(result.destination.record) == result.record
    assert "no picture of it: no space left" in caplog.text


def zarr_of(folder):
    return Destination(folder / "rec.mrc").zarr


def test_zarr_is_a_part_of_what_is_finished(project):
    series = series_in(project)
    assert not run(series, project, zarr=True).skipped
    record = read_record(project / "rec.json")
    sizes = [path.stat().st_size for path in zarr_of(project).rglob("*") if path.is_file()]
    assert record.output.zarr.file == "rec.ome.zarr"
    assert (record.output.zarr.files, record.output.zarr.bytes) == (len(sizes), sum(sizes))
    before = contents(project)
    assert run(series, project, zarr=True).skipped
    assert contents(project) == before
    # cut short, as a copy may be
    chunk = zarr_of(project) / "0" / "c" / "0" / "0" / "0"
    chunk.unlink()
    assert run(series, project, zarr=True).skipped
    assert contents(project) == before


def test_zarr_may_be_asked_for_later(project):
    series = series_in(project)
    run(series, project)
    volume = (project / "rec.mrc").read_bytes()
    assert read_record(project / "rec.json").output.zarr is None
    result = run(series, project, zarr=True)
    assert result.skipped
    assert result.record.output.zarr.file == "rec.ome.zarr"
    assert (project / "rec.mrc").read_bytes() == volume
    stale = own_mark(zarr_of(project))
    run(series, project, filter="hamming", overwrite=True)
    with pytest.raises(OutputExistsError, match=r"rec\.ome\.zarr was made with other settings"):
        run(series, project, filter="hamming", zarr=True)
    run(series, project, filter="hamming", overwrite=True, zarr=True)
    assert own_mark(zarr_of(project)) != stale


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_zarr_of_others_is_kept(project, overwrite):
    series = series_in(project)
    run(series, project, zarr=True)
    (zarr_of(project) / "labels").mkdir()
    before = contents(project)
    with pytest.raises(OutputExistsError, match=r"ome\.zarr exists and tomofilt did not make it"):
        run(series, project, zarr=True, overwrite=overwrite)
    assert contents(project) == before


def contents(folder):
    """All files but pictures, with what is in them, without the times that records tell."""
    found = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return {path: data for path, data in found.items() if path.suffix != ".json"}
