"""Bands of a tomogram, and the network on them."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from runs import problem_of, tomogram_of

from tomofilt.denoise import denoiser, gates
from tomofilt.denoise.bands import BANDS, COARSE, CoarseBands, Splitter, windows
from tomofilt.denoise.central import CentralRows
from tomofilt.denoise.gates import gate_inputs, gate_weights, interpolated
from tomofilt.denoise.head import FIRST_GATED, GATED, INPUTS, LARGEST_WEIGHT, UNITS, Head
from tomofilt.denoise.kernel import apply_head, bands_at, values_at
from tomofilt.filters.protocol import Filter
from tomofilt.projectors.select import choose
from tomofilt.reconstruction.problem import Problem
from tomofilt.simulate import simulated_series


@pytest.fixture(scope="module")
def problem() -> Problem:
    made = simulated_series(1, shape=(40, 56, 96), snr=0.5, tilt_deg=np.arange(-54, 55, 6.0))
    series = replace(made.tilt_series(), halves=None)
    return problem_of(series, threads=2)


@pytest.fixture(scope="module")
def central(problem: Problem) -> CentralRows:
    with problem.images() as images:
        return CentralRows(problem, images.aligned(), np.arange(len(problem.series.views)))


@pytest.fixture(scope="module")
def tomogram(central: CentralRows):
    return central.volume(np.arange(len(central.problem.series.views)))


def some_head(seed: int, limit: float = 0.1) -> Head:
    rng = np.random.default_rng(seed)
    return Head(
        hidden=rng.normal(size=(INPUTS, UNITS)).astype(np.float32),
        threshold=rng.normal(size=UNITS).astype(np.float32) / 10,
        gate=rng.normal(size=(GATED, UNITS)).astype(np.float32) / 4,
        linear=rng.normal(size=GATED).astype(np.float32),
        limit=np.full(BANDS, limit / 0.05),
        deviation=np.full(BANDS, 0.05),
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
    lines = sum((b.stop - b.start) / f**2 for f, b in COARSE) + GATED / COARSE[0][0] ** 2
    # weights stay, and the network's inputs and a band's energy are there for a moment
    voxels += (GATED + INPUTS) / COARSE[0][0] ** 3 + 1 / COARSE[1][0] ** 3
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


def test_bands_on_coarse_grids_are_those_of_the_fine_one(central: CentralRows, tomogram) -> None:
    coarse, block = tomogram
    problem = central.problem
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


def everywhere(block) -> np.ndarray:
    return np.argwhere(np.ones(block.shape, bool))


def test_the_kernel_is_the_network_between_the_nodes(tomogram) -> None:
    coarse, block = tomogram
    head = some_head(0)
    bands = bands_at(coarse, block, 0, 0, everywhere(block))
    # limits are passed now and then
    assert 0.001 < np.mean(np.abs(bands) > 0.1) < 0.5
    weights = gate_weights(head, coarse)
    there = values_at(weights, everywhere(block))
    change = (there - 1) * np.clip(bands, -0.1, 0.1)[FIRST_GATED:]
    expected = (bands.sum(axis=0) + change.sum(axis=0)).reshape(block.shape)
    found = apply_head(head, coarse, weights, block, 0, 0, 2)
    np.testing.assert_allclose(found, expected, atol=2e-6)


def test_weights_at_the_nodes_are_the_networks(tomogram) -> None:
    coarse, _ = tomogram
    head, low = some_head(0), coarse[0]
    weights = gate_weights(head, coarse)
    inputs = gate_inputs(coarse, head.deviation, head.limit)
    # a grid whose nodes are voxels
    inner = np.argwhere(np.ones(np.array(low.values.shape[1:]) - 4, bool)) + 2
    there = values_at(CoarseBands(weights.values, 1.0, (0.0, 0.0, 0.0)), inner)
    expected = head.weights(inputs.values)[(slice(None), *inner.T)]
    assert expected.min() == 0
    assert expected.max() == LARGEST_WEIGHT
    np.testing.assert_allclose(there, expected, atol=2e-3)


def test_inputs_are_bands_and_their_energies_nearby(tomogram) -> None:
    coarse, block = tomogram
    deviation = np.array(
        [bands.std() for bands in bands_at(coarse, block, 0, 0, everywhere(block))]
    )
    inputs = gate_inputs(coarse, deviation, np.full(BANDS, 5.0))
    assert inputs.values.shape == (INPUTS, *coarse[0].values.shape[1:])
    found = values_at(interpolated(inputs), everywhere(block)).reshape(INPUTS, *block.shape)
    bands = bands_at(coarse, block, 0, 0, everywhere(block)).reshape(BANDS, *block.shape)
    inside = np.s_[8:-8, 8:-8, 24:-24]
    for i in range(1, 4):
        expected = np.clip(bands[i] / deviation[i], -5, 5)
        assert np.corrcoef(found[i][inside].ravel(), expected[inside].ravel())[0, 1] > 0.99
    from scipy.ndimage import gaussian_filter

    for band in (2, 4, 5):
        sigma = gates.SMOOTHING_PX[band - 1]
        energy = np.log(gaussian_filter((bands[band] / deviation[band]) ** 2, sigma) + 0.02)
        about = found[3 + band]
        assert np.corrcoef(about[inside].ravel(), energy[inside].ravel())[0, 1] > 0.9, band


@settings(max_examples=10)
@given(st.data())
def test_a_voxel_does_not_depend_on_how_the_work_is_cut(tomogram, data: st.DataObject) -> None:
    coarse, block = tomogram
    head = some_head(1)
    weights = gate_weights(head, coarse)
    whole = apply_head(head, coarse, weights, block, 0, 0, 2)
    z = data.draw(st.integers(0, block.shape[0] - 1))
    y = data.draw(st.integers(0, block.shape[1] - 1))
    planes = data.draw(st.integers(1, block.shape[0] - z))
    rows = data.draw(st.integers(1, block.shape[1] - y))
    box = np.s_[z : z + planes, y : y + rows]
    part = apply_head(head, coarse, weights, np.ascontiguousarray(block[box]), z, y, 1)
    assert np.array_equal(part, whole[box])


@pytest.mark.parametrize("planes", [40, 7])
def test_a_gpu_does_the_same(tomogram, monkeypatch, planes: int) -> None:
    """torch on the CPU stands for torch on a GPU."""
    device = pytest.importorskip("tomofilt.denoise.device")
    monkeypatch.setattr(device, "_PLANES", planes)
    coarse, block = tomogram
    head = some_head(1)
    cpu = apply_head(head, coarse, gate_weights(head, coarse), block, 0, 0, 2)
    on_gpu = device.DeviceHead(head, coarse, "cpu")
    found = on_gpu.apply(block, 0, 0)
    change = np.abs(cpu - block).max()
    assert change > 0.01
    assert np.abs(found - cpu).max() <= 5e-6 * change
    part = np.ascontiguousarray(block[5:30, 9:50])
    np.testing.assert_allclose(on_gpu.apply(part, 5, 9), found[5:30, 9:50], atol=2e-6 * change)


def test_bands_and_weights_of_a_gpu(problem: Problem, cuda) -> None:
    block = np.random.default_rng(0).normal(0, 0.1, problem.grid.shape).astype(np.float32)

    def denoised(problem: Problem):
        made = denoiser.Denoiser(problem, some_head(1))
        with problem.images() as images:
            images.filtered(made.on_image)
        return made.apply(block, 0, 0)

    expected = denoised(problem)
    found = denoised(replace(problem, device=choose("cuda:1", "astra")))
    assert cuda.astra.made
    assert np.abs(found - expected).max() <= 5e-6 * np.abs(expected - block).max()


def test_what_is_beyond_the_limits_passes_unchanged() -> None:
    head = some_head(2)
    inside = np.full((BANDS, 3), 0.1, dtype=np.float32)
    inputs = np.zeros((INPUTS, 3), dtype=np.float32)
    gold = inside.copy()
    gold[3] += 7
    np.testing.assert_allclose(head(gold, inputs) - head(inside, inputs), 7, rtol=1e-6)


def test_the_lowest_bands_pass_unchanged() -> None:
    head = some_head(2)
    bands = np.zeros((BANDS, 5), dtype=np.float32)
    bands[:FIRST_GATED] = np.random.default_rng(0).normal(size=(FIRST_GATED, 5)) / 30
    inputs = np.random.default_rng(1).normal(size=(INPUTS, 5)).astype(np.float32)
    np.testing.assert_array_equal(head(bands, inputs), bands.sum(axis=0))


def test_strength_says_how_far_to_go() -> None:
    head = some_head(3)
    inputs = np.random.default_rng(0).normal(size=(INPUTS, 50)).astype(np.float32)
    weights = head.weights(inputs)
    assert weights.min() == 0
    assert weights.max() == LARGEST_WEIGHT
    found = replace(head, strength=0.25).weights(inputs)
    np.testing.assert_allclose(found, 0.75 + 0.25 * weights, rtol=1e-5)


def test_splitter_filters_as_the_filter_does(central: CentralRows) -> None:
    from tomofilt.filters.apply import ImageFilter

    problem, grid = central.problem, central.problem.frame.grid
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
