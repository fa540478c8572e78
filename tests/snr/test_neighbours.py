"""Where neighbouring views match: on each other if aligned, elsewhere in a spoiled series."""

from dataclasses import replace

import numpy as np
import pytest

from tomofilt import snr
from tomofilt.reconstruction.settings import Settings
from tomofilt.reconstruction.setup import make_problem
from tomofilt.simulate.series import ImagesInMemory, simulated_series
from tomofilt.snr.neighbours import match_neighbours

VIEWS = 21


@pytest.fixture(scope="module")
def series():
    made = simulated_series(seed=4, shape=(32, 96, 96), snr=2.0)
    whole = replace(made.tilt_series(), halves=None)
    return whole.select(np.arange(10, 31))


def matches(series, threads=2):
    problem = make_problem(series, Settings(device="cpu", threads=threads))
    with problem.images() as images:
        frame = problem.frame
        spectra = snr.line_spectra(images.aligned().image, frame.slices, frame.grid, threads)
        return match_neighbours(spectra, 200.0, 0.0, threads)


def shifted(series, shifts_px):
    """The same series, its alignment wrong by so many pixels (view, (x, y))."""
    maps = series.geometry.image_from_volume.copy()
    maps[:, :, 3] += np.asarray(shifts_px) * series.images.pixel_angst
    return replace(series, geometry=replace(series.geometry, image_from_volume=maps))


def test_views_of_an_aligned_series_lie_on_each_other(series):
    found = matches(series)
    assert len(found.first) == VIEWS - 1
    assert found.matching.sum() > 0.9 * (VIEWS - 1)
    assert not found.shifted.any()
    assert found.facts()["all_together"] > 20


def test_threads_do_not_change_it(series):
    assert matches(series, 1).facts() == matches(series, 2).facts()


def test_one_shifted_view_is_found_with_its_shift(series):
    shifts = np.zeros((VIEWS, 2))
    shifts[8] = 6.0, -4.0
    found = matches(shifted(series, shifts))
    [(view, distance)] = found.shifted_views().items()
    assert view == 8
    np.testing.assert_allclose(distance / series.images.pixel_angst, np.hypot(6, 4), atol=1)


def test_scrambled_shifts_are_found(series):
    shifts = np.random.default_rng(0).choice([-6.0, 6.0], (VIEWS, 2))
    found = matches(shifted(series, shifts))
    moved = np.any(np.diff(shifts, axis=0) != 0, axis=1)
    np.testing.assert_array_equal(found.shifted, moved)


def test_noise_matches_nowhere(series):
    noise = np.random.default_rng(1).normal(size=series.images.shape).astype(np.float32)
    found = matches(replace(series, images=ImagesInMemory(noise, series.images.pixel_angst)))
    assert not found.shifted.any()
    assert not found.matching.any()
    assert abs(found.facts()["all_together"]) < 4
