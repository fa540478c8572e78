"""Tomograms of a RELION project against RELION's own, and against the truth behind its images."""

import csv
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import least_squares

from tomofilt.io.mrc import MrcStack, read_header
from tomofilt.jobs.one import Settings, reconstruct
from tomofilt.series.projects import SeriesOptions
from tomofilt_relion.project import PROJECT_TYPE

DATA = Path(__file__).parents[1] / "data" / "relion"
ALIGNED = DATA / "AlignTiltSeries/job005/aligned_tilt_series.star"
SIZE = (88, 76, 32)


def make(star, name, folder, shape_px, **settings):
    """Reconstruct one series; return its destination."""
    project = PROJECT_TYPE.open(star)
    destination = project.destination(name, folder)
    settings = Settings(preview=False, threads=2, **settings)
    series = project.read(name, SeriesOptions(shape_px=shape_px))
    reconstruct(series, destination, settings)
    return destination


def volume(path):
    stack = MrcStack(path)
    return np.stack([stack.read(z) for z in range(stack.shape[0])]).astype(np.float64)


def difference(found, expected):
    assert found.shape == expected.shape
    return np.sqrt(np.mean((found - expected) ** 2) / np.mean(expected**2))


COUNT = {"filter": "none", "normalise": "count", "projector": "direct"}
SIZE_11 = (64, 61, 31)


@pytest.fixture(scope="module")
def unweighted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("count")
    return volume(make(ALIGNED, "TS_02", folder, SIZE_11, **COUNT).volume)


def test_mean_back_projection_is_relions(unweighted):
    theirs = volume(DATA / "Tomograms/job011/tomograms/rec_TS_02.mrc")
    assert difference(unweighted, theirs) <= 1e-6  # measured: 1.2e-7


def test_relion_4_set_gives_the_same_tomogram(unweighted, tmp_path):
    star = DATA / "relion4_tomograms.star"
    again = volume(make(star, "TS_02", tmp_path, SIZE_11, **COUNT).volume)
    assert difference(again, unweighted) <= 1e-6  # measured: 3e-8


def test_header_is_relions(tmp_path):
    ours = read_header(make(ALIGNED, "TS_02", tmp_path, SIZE_11, **COUNT).volume)
    theirs = read_header(DATA / "Tomograms/job011/tomograms/rec_TS_02.mrc")
    for field in ("shape", "mode", "origin_angst"):
        assert getattr(ours, field) == getattr(theirs, field)
    assert ours.spacing_angst == pytest.approx(theirs.spacing_angst)


def blobs(name, size, binning):
    """True centres (x, y, z) in voxels of a tomogram of an unbinned size."""
    with (DATA / "blobs.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["rlnTomoName"] == name]
    for row in rows:
        moved = [
            float(row[axis]) - int(row[side]) // 2 + n // 2
            for axis, side, n in zip("xyz", "whd", size, strict=True)
        ]
        yield np.array(moved) / binning


def fitted(tomogram, centre, radius):
    """Centre (x, y, z) of the Gaussian near a place."""
    low = np.maximum(np.rint(centre).astype(int) - radius, 0)
    high = np.minimum(np.rint(centre).astype(int) + radius + 1, tomogram.shape[::-1])
    box = tomogram[low[2] : high[2], low[1] : high[1], low[0] : high[0]]
    z, y, x = np.mgrid[low[2] : high[2], low[1] : high[1], low[0] : high[0]]

    def residual(p):
        exponent = ((x - p[0]) / p[3]) ** 2 + ((y - p[1]) / p[4]) ** 2 + ((z - p[2]) / p[5]) ** 2
        return (p[6] + p[7] * np.exp(-exponent / 2) - box).ravel()

    start = [*centre, *[radius / 2] * 3, np.median(box), box.max() - np.median(box)]
    return least_squares(residual, start).x[:3]


@pytest.mark.parametrize(("binning", "radius"), [(1, 5), (2, 3)])
@pytest.mark.parametrize("name", ["TS_01", "TS_02"])
def test_blobs_are_where_they_are(name, binning, radius, tmp_path):
    destination = make(ALIGNED, name, tmp_path, SIZE, bin=binning, halves="frames")
    for each in (destination, destination.half(1), destination.half(2)):
        tomogram = volume(each.volume)
        for centre in blobs(name, SIZE, binning):
            # the issue asks for 0.15; measured: 0.084
            assert fitted(tomogram, centre, radius) == pytest.approx(centre, abs=0.1)


def test_blobs_with_odd_sizes_and_a_broken_binning(tmp_path):
    destination = make(ALIGNED, "TS_02", tmp_path, SIZE_11, bin=1.7)
    tomogram = volume(destination.volume)
    for centre in blobs("TS_02", SIZE_11, 1.7):
        assert fitted(tomogram, centre, 3) == pytest.approx(centre, abs=0.1)


def test_halves_add_up_to_the_whole(tmp_path):
    """Even + odd images are the full ones, whose density scale is that of their sum."""
    destination = make(ALIGNED, "TS_02", tmp_path, SIZE, halves="frames")
    halves = sum(volume(destination.half(number).volume) for number in (1, 2))
    assert difference(halves, volume(destination.volume)) < 1e-5
