"""Finished tomograms: how they are read, what is measured about them, what is refused."""

import json
import warnings
from dataclasses import replace

import mrcfile
import numpy as np
import pytest

from tomofilt.errors import InputError, MissingFileError
from tomofilt.evaluate.left_out import left_out_correlation
from tomofilt.evaluate.scores import References, measure
from tomofilt.evaluate.specimen import read_label_names, read_particles
from tomofilt.evaluate.table import names, rows
from tomofilt.evaluate.tomograms import Tomogram, check_alike
from tomofilt.io.star import Table, write_star
from tomofilt.jobs.one import reconstruct
from tomofilt.reconstruction.settings import Settings
from tomofilt.series import projects
from tomofilt.series.projects import Destination, SeriesOptions
from tomofilt.simulate import simulated_series
from tomofilt.simulate.series import cut_out


def write(path, volume, voxel=10.0):
    with mrcfile.new(path, overwrite=True) as file, warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of NaN, which is what some tests want
        file.set_data(np.asarray(volume, np.float32))
        file.voxel_size = voxel
    return path


@pytest.fixture(scope="module")
def made():
    return simulated_series(seed=2, shape=(40, 96, 96), snr=0.3, crowding=0.3)


@pytest.fixture(scope="module")
def folder(made, tmp_path_factory):
    """A tomogram with halves and record; truth, labels and particles."""
    folder = tmp_path_factory.mktemp("scores")
    for name, settings in {
        "exact": Settings(filter="exact", halves="frames", preview=False),
        "ramp": Settings(filter="ramp", preview=False),
    }.items():
        reconstruct(made.tilt_series(), Destination(folder / f"{name}.mrc"), settings)
    write(folder / "truth.mrc", made.truth)
    phantom, shape = made.phantom, np.array(made.grid.shape)
    write(folder / "labels.mrc", cut_out(phantom.labels, phantom.grid, made.grid))
    labels = {kind: i + 1 for i, kind in enumerate(phantom.kinds)}
    record = {"program": "tomofilt simulate", "labels": labels}
    (folder / "record.json").write_text(json.dumps(record))
    places = np.array([p.position_angst for p in phantom.particles]) / 10
    places += np.array(made.grid.centre)[::-1]
    inside = ((places > 3) & (places < shape[::-1] - 4)).all(axis=1)
    centred = (places - shape[::-1] / 2) * 10
    columns = {
        f"rlnCenteredCoordinate{axis}Angst": [f"{value:.3f}" for value in centred[inside, i]]
        for i, axis in enumerate("XYZ")
    }
    kinds = [p.kind for p, kept in zip(phantom.particles, inside, strict=True) if kept]
    table = Table({"rlnTomoName": ["TS"] * len(kinds), **columns, "rlnGroupName": kinds})
    write_star(folder / "particles.star", {"particles": table}, replace=True)
    return folder


def test_everything_at_once(folder, made, monkeypatch):
    series = made.tilt_series()

    class Project:
        names = ("other", "TS")

        def read(self, name, options):
            assert name == "TS"
            assert options == SeriesOptions(shape_px=series.grid.shape[::-1])
            return series

    monkeypatch.setattr(projects, "detect", lambda path: Project())
    scores = measure(
        folder / "exact.mrc",
        References(
            truth=folder / "truth.mrc",
            project=folder,
            labels=folder / "labels.mrc",
            particles=folder / "particles.star",
        ),
    )
    assert set(scores.truth.fsc) == {"all", "sampled", "wedge"}
    assert scores.truth.fsc["sampled"].mean(0.2) > scores.truth.fsc["wedge"].mean(0.2) + 0.2
    assert scores.truth.psnr_db > 10 > scores.truth.psnr_raw_db
    assert scores.halves.mean(0.1) > 0.7
    assert set(scores.by_view) == {"truth", "halves", "frames"}
    for views in scores.by_view.values():
        assert views.correlation.shape == (41, 9)
        np.testing.assert_allclose(views.tilt_deg, made.scheme.tilt_deg, atol=1e-3)
        assert np.nanmean(views.correlation[15:26, 1]) > 0.5
    expected = left_out_correlation(
        series, Settings(filter="exact", halves="frames", preview=False)
    )
    np.testing.assert_array_equal(scores.left_out.correlation, expected.correlation)
    known = read_label_names(folder / "labels.mrc")
    present = np.unique(cut_out(made.phantom.labels, made.phantom.grid, made.grid))
    assert set(scores.contrast) == {known[label] for label in present if label}
    assert scores.contrast["membrane"] > 0.3
    assert scores.detection
    assert all(found.auc > 0.9 for found in scores.detection.values())
    stored = json.loads(json.dumps(scores.as_json(), allow_nan=False))
    assert stored["truth"]["psnr_db"] == scores.truth.psnr_db
    assert stored["left_out"]["mean"] == scores.left_out.mean.tolist()
    assert stored["filter"] == "exact"
    curves = stored["by_view"]["truth"]["correlation"]
    assert curves[0][1] is None  # hardly a whole ray at 60 degrees
    assert 0.5 < curves[20][1] < 1


def test_what_is_not_given_is_not_measured(folder):
    scores = measure(folder / "ramp.mrc", References())
    assert rows([scores]) == []
    assert (scores.truth, scores.halves, scores.left_out) == (None, None, None)
    stored = scores.as_json()
    assert stored["truth"] is None
    assert stored["by_view"] == stored["detection"] == {}
    # halves that tomofilt wrote are found beside the tomogram
    assert measure(folder / "exact.mrc", References()).halves is not None


def test_several_side_by_side(folder):
    by = References(truth=folder / "truth.mrc", halves=None)
    scores = [measure(folder / f"{name}.mrc", by) for name in ("exact", "ramp", "truth")]
    assert names(scores) == ["exact", "ramp", "truth.mrc"]
    assert names([scores[0], scores[0]]) == [str(folder / "exact.mrc")] * 2
    table = {(row.section, row.name): row for row in rows(scores)}
    psnr = table["against the truth", "PSNR, scale matched (dB)"]
    assert psnr.values[2] == "inf"
    json.dumps(scores[2].as_json(), allow_nan=False)
    assert psnr.best == {2}
    assert psnr.values[0] == f"{scores[0].truth.psnr_db:.2f}"
    wedge = table["against the truth", "mean FSC, missing wedge"]
    assert wedge.values[2] == ""  # no record, no tilt angles
    assert wedge.best == {0 if scores[0].truth.fsc["wedge"].mean(0.35) > 0.1 else 1}
    halves = table["between halves", "FSC falls to 0.5 at (A)"]
    assert halves.values[1:] == ("", "")
    assert 20 < float(halves.values[0]) < 400


def test_axes_and_mirrors_are_undone(made, tmp_path):
    """However the file is written, the volume is the same."""
    series = made.tilt_series()
    volumes = {}
    for name, changes in {
        "plain": {},
        "lying": {"orientation": "xzy"},
        "mirrored": {"flip_z": True},
        "both": {"orientation": "xzy", "flip_z": True},
    }.items():
        settings = Settings(filter="exact", preview=False, **changes)
        reconstruct(series, Destination(tmp_path / f"{name}.mrc"), settings)
        tomogram = Tomogram(tmp_path / f"{name}.mrc")
        volumes[name] = tomogram.read()
        assert tomogram.shape == volumes[name].shape == (40, 96, 96)
        assert tomogram.settings == settings
        np.testing.assert_allclose(
            tomogram.geometry.image_from_volume, made.geometry.image_from_volume, atol=1e-5
        )
    for volume in volumes.values():
        np.testing.assert_array_equal(volume, volumes["plain"])


def test_other_programs_volumes_have_no_record(folder, tmp_path):
    path = write(tmp_path / "rec.mrc", np.random.default_rng(0).normal(size=(12, 12, 12)))
    (tmp_path / "rec.json").write_text("[]")
    tomogram = Tomogram(path)
    assert (tomogram.record, tomogram.settings, tomogram.geometry) == (None, None, None)
    assert tomogram.label == "rec.mrc"
    (tmp_path / "rec.json").write_text((folder / "ramp.json").read_text())
    assert Tomogram(path).record is None  # another file's
    with pytest.raises(InputError, match="no record of tomofilt"):
        measure(path, References(project=folder))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v[:-1], r"96 x 96 x 40 voxels \(x, y, z\) but .*other.mrc 96 x 96 x 39"),
        (lambda v: np.where(v > v.max() / 2, np.nan, v), "other.mrc holds NaN"),
        (lambda v: np.where(v > v.max() / 2, np.inf, v), "other.mrc holds NaN or infinite"),
        (lambda v: np.full_like(v, 3), "other.mrc is empty: every voxel is 3"),
    ],
)
def test_a_truth_that_does_not_fit(folder, made, tmp_path, change, message):
    path = write(tmp_path / "other.mrc", change(made.truth))
    with pytest.raises(InputError, match=message):
        measure(folder / "ramp.mrc", References(truth=path))


def test_more_that_does_not_fit(folder, made, tmp_path):
    rec = folder / "ramp.mrc"
    coarse = write(tmp_path / "coarse.mrc", made.truth, 20.0)
    with pytest.raises(InputError, match=r"10 A but .*coarse.mrc of 20 A"):
        check_alike(Tomogram(rec), Tomogram(coarse))
    with pytest.raises(InputError, match="0 x 0 x 0 A"):
        Tomogram(write(tmp_path / "zero.mrc", made.truth, 0.0))
    flat = write(tmp_path / "flat.mrc", made.truth, (10.0, 10.0, 14.0))
    with pytest.raises(InputError, match="10 x 10 x 14 A"):
        Tomogram(flat)
    with pytest.raises(MissingFileError, match="absent"):
        Tomogram(tmp_path / "absent.mrc")
    with pytest.raises(InputError, match="no label volume"):
        measure(rec, References(labels=folder / "truth.mrc"))
    empty = write(tmp_path / "none.mrc", np.eye(96)[None].repeat(40, 0) * 0 + 1)
    with pytest.raises(InputError, match=r"none\.mrc is empty"):
        measure(rec, References(labels=empty))
    with pytest.raises(InputError, match="give --truth too"):
        measure(rec, References(particles=folder / "particles.star"))


def test_a_series_that_is_not_the_tomograms(folder, monkeypatch):
    class Project:
        names = ("TS_07", "TS_08")

    monkeypatch.setattr(projects, "detect", lambda path: Project())
    with pytest.raises(InputError, match=r"no series TS, .* it has TS_07, TS_08"):
        measure(folder / "ramp.mrc", References(project=folder))


def test_tilt_angles_may_be_given(folder):
    by = References(truth=folder / "truth.mrc", tilt_deg=np.linspace(-30, 30, 11))
    scores = measure(folder / "ramp.mrc", by)
    assert scores.by_view["truth"].correlation.shape == (11, 9)
    wide = measure(folder / "ramp.mrc", replace(by, tilt_deg=None))
    assert scores.truth.fsc["wedge"].values[-1] > wide.truth.fsc["wedge"].values[-1]


def test_particle_lists(folder, made, tmp_path):
    found = read_particles(folder / "particles.star", (40, 96, 96), 10.0)
    phantom = made.phantom
    for kind, places in found.items():
        truth = np.array([p.position_angst[::-1] for p in phantom.particles if p.kind == kind])
        truth = truth / 10 + np.array(made.grid.centre)
        gaps = np.linalg.norm(places[:, None] - truth, axis=2).min(axis=1)
        assert gaps.max() < 1e-3
    plain = {f"rlnCenteredCoordinate{axis}Angst": ["0", "12.5"] for axis in "XYZ"}
    path = tmp_path / "plain.star"
    write_star(path, {"particles": Table(plain)}, replace=True)
    alone = read_particles(path, (41, 96, 96), 5.0)
    np.testing.assert_allclose(alone["particles"], [[20.5, 48, 48], [23, 50.5, 50.5]])
    write_star(path, {"": Table({"rlnCoordinateX": ["1"]})}, replace=True)
    with pytest.raises(InputError, match="has no columns rlnCenteredCoordinateXAngst"):
        read_particles(path, (8, 8, 8), 1.0)
    plain["rlnCenteredCoordinateYAngst"] = ["0", "left"]
    write_star(path, {"particles": Table(plain)}, replace=True)
    with pytest.raises(InputError, match=r"data_particles: a coordinate is no number .*left"):
        read_particles(path, (8, 8, 8), 1.0)


def test_too_few_particles(folder, tmp_path):
    plain = {f"rlnCenteredCoordinate{axis}Angst": ["0", "9999"] for axis in "XYZ"}
    write_star(tmp_path / "few.star", {"particles": Table(plain)}, replace=True)
    by = References(truth=folder / "truth.mrc", particles=tmp_path / "few.star")
    with pytest.raises(InputError, match="fewer than 5 particles of each kind"):
        measure(folder / "ramp.mrc", by)
