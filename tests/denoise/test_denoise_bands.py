"""Bands of a tomogram, and the network on them."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from runs import problem_of, tomogram_of

from tomofilt.denoise import denoiser
from tomofilt.denoise.bands import BANDS, COARSE, Splitter, windows
from tomofilt.denoise.head import UNITS, Head
from tomofilt.denoise.kernel import apply_head, bands_at
from tomofilt.denoise.middle import Middle
from tomofilt.filters.protocol import Filter
from tomofilt.reconstruction.problem import Problem
from tomofilt.simulate import simulated_series


@pytest.fixture(scope="module")
def problem() -> Problem:
    made = simulated_series(1, shape=(40, 56, 96), snr=0.5, tilt_deg=np.arange(-54, 55, 6.0))
    series = replace(made.tilt_series(), halves=None)
    return problem_of(series, filter="wiener-exact:match", threads=2)


@pytest.fixture(scope="module")
def middle(problem: Problem) -> Middle:
    with problem.images() as images:
        return Middle(problem, images.aligned(), np.arange(len(problem.series.views)))


@pytest.fixture(scope="module")
def tomogram(middle: Middle):
    return middle.volume(np.arange(len(middle.problem.series.views)))


def some_head(seed: int, limit: float = 0.1) -> Head:
    rng = np.random.default_rng(seed)
    return Head(
        hidden=rng.normal(size=(UNITS, BANDS)).astype(np.float32),
        threshold=rng.normal(size=UNITS).astype(np.float32) / 10,
        output=rng.normal(size=UNITS).astype(np.float32),
        linear=rng.normal(size=BANDS).astype(np.float32),
        bias=np.float32(0.01),
        limit=np.full(BANDS, limit, dtype=np.float32),
    )


@given(st.lists(st.floats(0, 2), min_size=1, max_size=50))
def test_windows_are_none_negative_and_sum_to_one(k: list[float]) -> None:
    found = windows(np.array(k))
    assert found.shape == (BANDS, len(k))
    assert found.min() >= 0
    np.testing.assert_allclose(found.sum(axis=0), 1, atol=1e-12)


def test_coarse_bands_end_where_their_grids_do() -> None:
    for factor, bands in COARSE:
        assert np.all(windows(np.linspace(0.5 / factor, 1, 100))[bands] < 1e-30)


def test_room_for_bands_is_planned() -> None:
    images = sum((b.stop - b.start) * 2 / f**2 for f, b in COARSE)
    voxels = sum((b.stop - b.start) / f**3 for f, b in COARSE)
    lines = sum((b.stop - b.start) / f**2 for f, b in COARSE)
    assert (images, lines) == (denoiser._IMAGES, denoiser._LINES)
    assert voxels <= denoiser._VOXELS < 1.1 * voxels


class Banded(Filter):
    """A band of another filter, on the images alone."""

    two_dimensional = True
    spec = "band"

    def __init__(self, filter: Filter, band: int, pixel_angst: float) -> None:
        self.filter, self.band, self.pixel_angst = filter, band, pixel_angst

    def gains(self, k_across, k_along, context):
        k = np.hypot(k_across, k_along) * self.pixel_angst
        return self.filter.gains(k_across, k_along, context) * windows(k)[self.band]


def test_bands_on_coarse_grids_are_those_of_the_fine_one(middle: Middle, tomogram) -> None:
    coarse, block = tomogram
    problem = middle.problem
    voxels = np.argwhere(np.ones(block.shape, bool))
    found = bands_at(coarse, block, 0, 0, voxels).reshape(BANDS, *block.shape)
    np.testing.assert_allclose(found.sum(axis=0), block, atol=1e-5)
    inside = np.s_[8:-8, 8:-8, 24:-24]
    for band in range(1, BANDS):
        banded = Banded(problem.filter, band, problem.grid.voxel_angst)
        fine = tomogram_of(problem.with_filter(banded))
        error = (found[band] - fine)[inside].std() / fine[inside].std()
        # gains come from a table, whose error at the edge of a window is some per cent
        assert error < 0.08, band


def test_the_kernel_is_the_network(tomogram) -> None:
    coarse, block = tomogram
    bands = bands_at(coarse, block, 0, 0, np.argwhere(np.ones(block.shape, bool)))
    head = some_head(0)
    # limits are passed now and then
    assert 0.001 < np.mean(np.abs(bands) > 0.1) < 0.5
    expected = head(bands).reshape(block.shape)
    np.testing.assert_allclose(apply_head(head, coarse, block, 0, 0, 2), expected, atol=2e-6)


@settings(max_examples=10)
@given(st.data())
def test_a_voxel_does_not_depend_on_how_the_work_is_cut(tomogram, data: st.DataObject) -> None:
    coarse, block = tomogram
    head = some_head(1)
    whole = apply_head(head, coarse, block, 0, 0, 2)
    z = data.draw(st.integers(0, block.shape[0] - 1))
    y = data.draw(st.integers(0, block.shape[1] - 1))
    planes = data.draw(st.integers(1, block.shape[0] - z))
    rows = data.draw(st.integers(1, block.shape[1] - y))
    box = np.s_[z : z + planes, y : y + rows]
    part = apply_head(head, coarse, np.ascontiguousarray(block[box]), z, y, 1)
    assert np.array_equal(part, whole[box])


def test_what_is_beyond_the_limits_passes_unchanged() -> None:
    head = some_head(2)
    inside = np.full((BANDS, 3), 0.1, dtype=np.float32)
    gold = inside.copy()
    gold[3] += 7
    np.testing.assert_allclose(head(gold) - head(inside), 7, rtol=1e-6)


def test_a_share_of_a_head_is_a_mixture() -> None:
    head = some_head(3, limit=1.0)
    bands = np.random.default_rng(0).normal(size=(BANDS, 100)).astype(np.float32)
    mixed = 0.3 * head(bands) + 0.7 * bands.sum(axis=0)
    np.testing.assert_allclose(head.mixed(0.3)(bands), mixed, atol=1e-5)
    np.testing.assert_allclose(head.mixed(0.0)(bands), bands.sum(axis=0), atol=1e-5)


def test_a_head_follows_the_deviations_of_the_bands() -> None:
    head = some_head(4)
    bands = np.random.default_rng(1).normal(size=(BANDS, 100)).astype(np.float32) / 20
    ratio = np.linspace(0.5, 2, BANDS)
    changed = head.for_deviations(np.ones(BANDS), ratio)
    scaled = (bands * ratio[:, None]).astype(np.float32)
    limit = np.float32(0.1)
    # within the limits
    inside = np.abs(bands).max(axis=0) < limit
    assert inside.any()
    np.testing.assert_allclose(changed(scaled)[inside], head(bands)[inside], atol=1e-5)


def test_splitter_filters_as_the_filter_does(middle: Middle) -> None:
    from tomofilt.filters.apply import ImageFilter

    problem, grid = middle.problem, middle.problem.frame.grid
    image = np.random.default_rng(2).normal(size=grid.shape).astype(np.float32)
    plain = ImageFilter(
        problem.filter,
        problem.frame.slices,
        grid.shape,
        pixel_angst=grid.pixel_angst,
        density_pixel_angst=problem.series.images.pixel_angst,
        thickness_angst=problem.thickness_angst,
    )
    assert np.array_equal(Splitter(problem).filter_image(3, image), plain.filter_image(3, image))
