"""The most probable specimen: against a dense solution, and through the whole pipeline."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import fft

from tomofilt.errors import InputError
from tomofilt.evaluate.against_truth import matched_psnr_db
from tomofilt.projectors.direct import DirectProjector
from tomofilt.projectors.wide import WideSlab
from tomofilt.reconstruction import solve
from tomofilt.reconstruction.measure import measured
from tomofilt.reconstruction.methods.map import most_probable
from tomofilt.reconstruction.methods.registry import parse
from tomofilt.reconstruction.problem import Part
from tomofilt.reconstruction.settings import Settings
from tomofilt.reconstruction.setup import make_problem
from tomofilt.series.geometry import ImageGrid, TiltGeometry, VolumeGrid
from tomofilt.simulate import simulated_series

SETTINGS = Settings(filter="map:3", threads=1, device="cpu", dose_weight="off", gold="as-is")


def small(**changed):
    made = simulated_series(3, shape=(16, 24, 48), tilt_deg=np.linspace(-60, 60, 41), **changed)
    return made, replace(made.tilt_series(), halves=None)


def dense_matrix(slab, geometry, width):
    """Projection by other code, its rows scaled to the lengths of rays: (view * width, z * x)."""
    line = VolumeGrid((slab.shape[0], 1, slab.shape[2]), 1.0, (slab.centre[0], 0.0, slab.centre[2]))
    images = ImageGrid((1, width), (1.0, 1.0), (0.0, (width - 1) / 2))
    projector = DirectProjector(geometry, line, images)
    voxels = np.eye(slab.shape[0] * slab.shape[2])
    matrix = np.stack([projector.forward(one.reshape(line.shape)).ravel() for one in voxels], 1)
    _, slices = geometry.factor()
    sums = matrix.sum(axis=1)
    path = np.repeat(slab.shape[0] / np.abs(slices.a), width)
    return matrix * np.divide(path, sums, where=sums > 1e-9, out=np.zeros_like(sums))[:, None]


def test_ends_at_the_solution_of_the_normal_equations():
    rng = np.random.default_rng(0)
    geometry = TiltGeometry.from_angles(np.array([-50.0, -20.0, 3.0, 25.0, 55.0]))
    _, slices = geometry.factor()
    width, views = 20, 5
    wide = WideSlab(slices, ImageGrid.centred((1, width), 1.0), VolumeGrid.centred((4, 1, 12), 1.0))
    nz, _, nx = wide.grid.shape
    planes = np.repeat(np.array([[0.2], [1.0], [1.0], [0.5]], np.float32), nx, axis=1)
    whole = wide.whole
    matrix = dense_matrix(wide.grid, geometry, width) * whole.ravel()[:, None]
    images = (rng.normal(size=(views, 1, width)) * whole[:, None]).astype(np.float32)
    weights = rng.uniform(0.05, 0.4, views)[:, None] * np.exp(-np.arange(width) / 8)

    def weigh(view, image):
        spectrum = fft.dct(image, axis=1, norm="ortho") * weights[view]
        return fft.idct(spectrum, axis=1, norm="ortho").astype(np.float32)

    t = np.zeros((views * width, views * width))
    for view in range(views):
        span = slice(view * width, (view + 1) * width)
        rows = [weigh(view, row[None])[0] for row in np.eye(width)]
        t[span, span] = np.stack(rows, axis=1)
    # the prior's variance is that of the planes: x = W u, with u of variance 1
    root = matrix * np.sqrt(planes).ravel()
    u = np.linalg.solve(np.eye(nz * nx) + root.T @ t @ root, root.T @ t @ images.ravel())
    expected = np.sqrt(planes).ravel() * u

    rest = np.stack([weigh(view, images[view]) for view in range(views)])
    found = np.zeros_like(images)
    most_probable(
        rest,
        found,
        [np.zeros_like(images) for _ in range(4)],
        25,
        lambda these, out: wide.there_and_back(these, planes, out),
        weigh,
        lambda view, image: image / (1 + 3 * weights[view].mean()),
        1,
    )
    volume = planes.ravel() * (matrix.T @ found.astype(np.float64).ravel())
    np.testing.assert_allclose(volume, expected, atol=2e-3 * np.abs(expected).max())


def test_gains_on_the_filter_that_it_starts_from_where_signal_is_high():
    made, series = small(snr=30.0)
    match = solve.tomogram(series, replace(SETTINGS, filter="wiener-exact:match"))
    found = solve.tomogram(series, SETTINGS)
    assert matched_psnr_db(found, made.truth) > matched_psnr_db(match, made.truth) + 0.1
    # on the scale of the densities
    slope = np.vdot(found - found.mean(), made.truth) / np.sum((found - found.mean()) ** 2)
    assert slope == pytest.approx(1.0, abs=0.25)


def test_threads_and_memory_change_nothing():
    _, series = small(snr=1.0)
    settings = replace(SETTINGS, filter="map:1")
    volume = solve.tomogram(series, settings)
    np.testing.assert_array_equal(solve.tomogram(series, replace(settings, threads=2)), volume)
    problem = make_problem(series, settings)
    # everything waits in nameless files
    starved = replace(problem, room=replace(problem.room, spare_bytes=0))
    with starved.images() as images:
        np.testing.assert_array_equal(measured(starved, images).volume(images), volume)


def test_half_of_the_views_weigh_as_much_as_all():
    _, series = small(snr=30.0)
    problem = make_problem(series, SETTINGS)
    with problem.images() as images:
        problem = measured(problem, images)
        whole = problem.volume(images)
        half = problem.volume(images, Part(np.arange(0, 41, 2)))
    slope = np.vdot(half - half.mean(), whole) / np.sum((half - half.mean()) ** 2)
    assert slope == pytest.approx(1.0, abs=0.15)


def test_refuses_what_it_cannot_do():
    with pytest.raises(InputError, match=r"'' iterations: give a whole number, 'map:3'"):
        parse("map")
    with pytest.raises(InputError, match="give 1 or more"):
        parse("map:0")
    _, series = small()
    swaying = TiltGeometry.from_angles(np.linspace(-60, 60, 41), 0.0, np.linspace(-9, 9, 41))
    with pytest.raises(InputError, match=r"about x alike.*wiener-exact:match, from which it"):
        make_problem(replace(series, geometry=swaying), SETTINGS)
    with pytest.raises(InputError, match="map:3 is computed on the CPU only"):
        make_problem(series, replace(SETTINGS, device="cuda:0"))
