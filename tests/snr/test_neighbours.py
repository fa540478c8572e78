"""Where neighbouring views match: on each other if aligned, elsewhere in a spoiled series."""

from dataclasses import replace

import numpy as np
import pytest

from tomofilt import snr
from tomofilt.reconstruction.settings import Settings
from tomofilt.reconstruction.setup import make_problem
from tomofilt.simulate.series import ImagesInMemory, simulated_series
from tomofilt.snr.axis import axis_offset
from tomofilt.snr.neighbours import match_neighbours

VIEWS = 21


@pytest.fixture(scope="module")
def series():
    made = simulated_series(seed=4, shape=(32, 96, 96), snr=2.0)
    whole = replace(made.tilt_series(), halves=None)
    return whole.select(np.arange(10, 31))


def spectra_of(series, threads=2):
    problem = make_problem(series, Settings(device="cpu", threads=threads))
    with problem.images() as images:
        frame = problem.frame
        return snr.line_spectra(images.aligned().image, frame.slices, frame.grid, threads)


def matches(series, threads=2):
    return match_neighbours(spectra_of(series, threads), 200.0, 0.0, threads)


def turned(series, degrees):
    """The same series, its tilt axis wrong by so many degrees."""
    angle = np.radians(degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    maps = turn @ series.geometry.image_from_volume
    return replace(series, geometry=replace(series.geometry, image_from_volume=maps))


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


def test_a_view_of_something_else_is_found(series):
    stack = series.images.stack.copy()
    view = int(series.views[12])
    stack[view] = (
        np.random.default_rng(2).permutation(stack[view].ravel()).reshape(stack[view].shape)
    )
    foreign = replace(series, images=ImagesInMemory(stack, series.images.pixel_angst))
    assert matches(foreign).unlike_views() == [12]
    assert matches(series).unlike_views() == []


def test_angles_in_a_wrong_order_are_uneven(series):
    order = np.random.default_rng(3).permutation(VIEWS)
    geometry = replace(series.geometry, image_from_volume=series.geometry.image_from_volume[order])
    scrambled = replace(series, geometry=geometry, tilt_deg=series.tilt_deg[order])
    assert matches(scrambled).unevenness > 0.6
    assert matches(series).unevenness < 0.1


@pytest.mark.parametrize("degrees", [-5.0, 0.0, 5.0])
def test_the_tilt_axis_is_found_where_it_is(degrees):
    made = simulated_series(seed=5, shape=(32, 96, 96), snr=2.0)
    series = replace(made.tilt_series(), halves=None)
    spectra = spectra_of(turned(series, degrees))
    found = axis_offset(spectra, 270.0, 0.0)
    assert found.offset_deg == pytest.approx(-degrees, abs=2.5)
    assert (found.gain > 30) == (degrees != 0)
    assert (found.share > 0.01) == (degrees != 0)
    assert axis_offset(spectra, 270.0, 0.0, threads=2).gain == pytest.approx(found.gain)


def test_images_narrower_than_two_thicknesses_tell_of_no_axis(series):
    assert axis_offset(spectra_of(series), 490.0, 0.0) is None


def test_noise_matches_nowhere(series):
    noise = np.random.default_rng(1).normal(size=series.images.shape).astype(np.float32)
    found = matches(replace(series, images=ImagesInMemory(noise, series.images.pixel_angst)))
    assert not found.shifted.any()
    assert not found.matching.any()
    assert abs(found.facts()["all_together"]) < 4
