"""Leaving views out scores a recipe: the volume that is given has to be made by it."""

import shutil
import warnings

import mrcfile
import numpy as np
import pytest

from tomofilt.errors import InputError
from tomofilt.evaluate.recipe import check_recipe
from tomofilt.evaluate.scores import References, measure
from tomofilt.evaluate.table import rows
from tomofilt.evaluate.tomograms import Tomogram
from tomofilt.jobs.one import reconstruct
from tomofilt.reconstruction.settings import Settings
from tomofilt.series.projects import Destination
from tomofilt.simulate import simulated_series


@pytest.fixture(scope="module")
def series():
    return simulated_series(seed=3, shape=(24, 140, 64), snr=0.5).tilt_series()


@pytest.fixture(scope="module")
def made(series, tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    settings = Settings(filter="hann:0.4", halves="tilts", preview=False)
    reconstruct(series, Destination(folder / "rec.mrc"), settings)
    return folder


@pytest.fixture
def folder(made, tmp_path):
    return shutil.copytree(made, tmp_path / "copy")


def check(path, series):
    tomogram = Tomogram(path)
    check_recipe(tomogram, tomogram.record, series, tomogram.settings)


@pytest.mark.parametrize(
    "how",
    [
        {"filter": "ramp", "orientation": "xzy", "flip_z": True},
        {"filter": "ramp", "dtype": "int16", "invert": True, "flip_z": True},
        {"filter": "imod", "dtype": "int8", "orientation": "xzy"},
        {"filter": "wiener-exact:view", "dtype": "float16"},
        {"filter": "ramp", "projector": "direct"},
    ],
    ids=lambda how: "-".join(map(str, how.values())),
)
def test_every_way_to_write_a_tomogram_is_recognised(series, tmp_path, how):
    place = Destination(tmp_path / "rec.mrc")
    reconstruct(series, place, Settings(preview=False, **how))
    check(place.volume, series)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v * np.nan, "NaN or infinite voxels"),
        (lambda v: v * 0 + 0.0, "is empty: every voxel is 0"),
        (lambda v: -v, "not what the recipe in its record makes"),
        (lambda v: v * 1.05, "differ by 5 % of the contrast"),
        (lambda v: v[::-1], "not what the recipe in its record makes"),
        (lambda v: v[:-1], "its record tells of 64 x 140 x 24: it is not the volume"),
    ],
)
def test_another_volume_is_refused(folder, series, change, message):
    path = folder / "rec.mrc"
    volume = change(mrcfile.read(path)).astype(np.float32)
    with mrcfile.new(path, overwrite=True) as file, warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of NaN
        file.set_data(volume)
        file.voxel_size = 10.0
    with pytest.raises(InputError, match=message):
        check(path, series)


def test_halves_are_not_scored_by_the_recipe_of_the_whole(folder, series):
    check(folder / "rec.mrc", series)
    with pytest.raises(InputError, match=r"rec_half1\.mrc is a half tomogram"):
        check(folder / "rec_half1.mrc", series)


def test_inverted_contrast_is_said_to_be_so(made, tmp_path):
    truth = -mrcfile.read(made / "rec.mrc")
    with mrcfile.new(tmp_path / "truth.mrc") as file:
        file.set_data(truth)
        file.voxel_size = 10.0
    scores = measure(made / "rec.mrc", References(truth=tmp_path / "truth.mrc"))
    assert scores.as_json()["truth"]["contrast_inverted"]
    told = {row.name: row.values for row in rows([scores])}
    assert told["contrast"] == ("inverted",)
    upright = measure(made / "rec.mrc", References(truth=made / "rec.mrc"))
    assert "contrast" not in {row.name for row in rows([upright])}
