"""SIRT: against dense matrices made by other code, and through the whole pipeline."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from runs import tomogram_of
from skimage.transform import radon

from tomofilt.errors import InputError, ResourceError
from tomofilt.jobs.outputs import Outputs
from tomofilt.projectors.direct import DirectProjector
from tomofilt.projectors.kernels import pack_rows
from tomofilt.projectors.sirt import SirtSolver
from tomofilt.projectors.wide import widened
from tomofilt.reconstruction.methods.registry import parse
from tomofilt.reconstruction.methods.sirt import Sirt
from tomofilt.reconstruction.settings import Settings
from tomofilt.reconstruction.setup import make_problem
from tomofilt.series.geometry import ImageGrid, LocalGeometry, TiltGeometry, VolumeGrid
from tomofilt.series.projects import Destination
from tomofilt.series.tiltseries import TiltSeries
from tomofilt.simulate.series import ImagesInMemory

ROWS = 3


def projection_matrix(slab, geometry, width):
    """Row sums are the lengths of rays: (view * width, z * x), by the direct projector."""
    line = VolumeGrid((slab.shape[0], 1, slab.shape[2]), 1.0, (slab.centre[0], 0.0, slab.centre[2]))
    images = ImageGrid((1, width), (1.0, 1.0), (0.0, (width - 1) / 2))
    projector = DirectProjector(geometry, line, images)
    voxels = np.eye(slab.shape[0] * slab.shape[2])
    matrix = np.stack([projector.forward(one.reshape(line.shape)).ravel() for one in voxels], 1)
    _, slices = geometry.factor()
    path = slab.shape[0] * slices.scale / np.abs(slices.a)
    sums = matrix.sum(axis=1)
    scale = np.repeat(path, width) / np.maximum(sums, 1e-9)
    return matrix * np.where(sums > 1e-9, scale, 0.0)[:, None]


def whole(slab, geometry, width):
    """Pixels whose rays, and their neighbours', go through the slab from plane to plane."""
    _, slices = geometry.factor()
    z = np.array([0, slab.shape[0] - 1]) - slab.centre[0]
    pixel = np.arange(width) - (width - 1) / 2
    ends = [(pixel[:, None] + s - slices.u0_angst) / slices.a for s in (-1, 1)]
    x = np.stack([e - t * slices.b / slices.a for e in ends for t in z]) + slab.centre[2]
    inside = (x >= -1e-6) & (x <= slab.shape[2] - 1 + 1e-6)
    return inside.all(axis=0).T.ravel()


def dense_sirt(matrix, images, iterations):
    """The textbook's iteration on a matrix, and the weighted sum of squares before each."""
    rows, columns = matrix.sum(axis=1), matrix.sum(axis=0)
    weight = 1 / rows[:, None]
    step = np.where(columns > 1e-3, 1 / np.maximum(columns, 1e-3), 0.0)[:, None]
    x = np.zeros((matrix.shape[1], images.shape[1]))
    for _ in range(iterations):
        x += step * (matrix.T @ (weight * (images - matrix @ x)))
    return x


def solve(solver, images, iterations):
    packed = solver.packed_images()
    for view, image in enumerate(images):
        pack_rows(image.astype(np.float32), packed[view])
    return solver.solve(packed, iterations)[:, : images.shape[1]]


def test_is_the_textbooks_sirt():
    rng = np.random.default_rng(0)
    tilts = np.array([-55.0, -45.0, -31.0, -14.0, 2.0, 17.0, 30.0, 45.0, 60.0])
    shifts = np.stack([rng.uniform(-4, 4, 9), np.zeros(9)], axis=1)
    maps = TiltGeometry.from_angles(tilts, shift_angst=shifts).image_from_volume.copy()
    maps[:, :, [0, 2]] *= rng.uniform(0.97, 1.04, 9)[:, None, None]
    geometry = TiltGeometry(maps)
    _, slices = geometry.factor()
    box = VolumeGrid((6, ROWS, 20), 1.0, (2.5, 1.0, 9.0))
    grid = ImageGrid.centred((ROWS, 26), 1.0)
    slab, before = widened(slices, grid, box)
    images = rng.normal(size=(9, ROWS, 26))
    used = whole(slab, geometry, 26)
    matrix = projection_matrix(slab, geometry, 26)[used]
    y = images.transpose(0, 2, 1).reshape(-1, ROWS)[used]
    expected = dense_sirt(matrix, y, 7).reshape(6, slab.shape[2], ROWS)
    found = solve(SirtSolver(slices, grid, box), images, 7)
    np.testing.assert_allclose(found, expected[:, before : before + 20].swapaxes(1, 2), atol=2e-6)
    # every ray that meets the tomogram is among those used
    meets = projection_matrix(slab, geometry, 26).reshape(-1, 6, slab.shape[2])
    assert used[(meets[:, :, before : before + 20] > 0).any(axis=(1, 2))].all()


@settings(max_examples=20)
@given(st.integers(0, 2**31), st.floats(10, 65), st.integers(2, 9), st.integers(1, 6))
def test_what_is_unexplained_falls_with_each_iteration(seed, steepest, views, nz):
    rng = np.random.default_rng(seed)
    geometry = TiltGeometry.from_angles(np.linspace(-steepest, steepest, views))
    _, slices = geometry.factor()
    # as wide as anything the images see, so that nothing is cut off from what is returned
    width = 12
    grid = ImageGrid.centred((1, width), 1.0)
    wide = 2 * int((width + 2 + nz) / np.cos(np.radians(steepest))) + 3
    box = VolumeGrid.centred((nz, 1, wide), 1.0)
    solver = SirtSolver(slices, grid, box, threads=1)
    assert solver.grid.shape == box.shape
    images = rng.normal(size=(views, 1, width))
    matrix = projection_matrix(box, geometry, width)
    weight = 1 / matrix.sum(axis=1)
    unexplained = [np.sum(weight * images.ravel() ** 2)]
    for iterations in range(1, 6):
        volume = solve(solver, images, iterations).astype(np.float64)
        rest = images.ravel() - matrix @ volume.ravel()
        unexplained.append(np.sum(weight * rest**2))
    assert np.all(np.diff(unexplained) <= 1e-5 * unexplained[0])
    assert unexplained[-1] < unexplained[0]


def test_like_sirt_on_scikit_images_projections():
    """Smooth specimen, projected and reconstructed through skimage's projector instead."""
    size, nz, tilts = 70, 8, np.linspace(-60, 60, 13)
    middle = size // 2  # what radon turns about; it tilts the other way
    y, x = np.mgrid[:size, :size] - middle
    specimen = np.zeros((size, size))
    for x0, z0 in ((0, 0), (-7, 2), (6, -2)):
        specimen += np.exp(-((x - x0) ** 2 + (y - z0) ** 2) / 6)
    specimen[np.hypot(x, y) > middle - 1] = 0
    geometry = TiltGeometry.from_angles(tilts)
    _, slices = geometry.factor()
    grid = ImageGrid((1, size), (1.0, 1.0), (0.0, middle))
    box = VolumeGrid((nz, 1, 16), 1.0, (nz / 2, 0.0, 8.0))
    slab, before = widened(slices, grid, box)
    assert max(slab.centre[2], slab.shape[2] - slab.centre[2]) < middle - nz

    def project(image):
        return radon(image, -tilts, circle=True).T

    columns = []
    for i in range(nz):
        for j in range(slab.shape[2]):
            voxel = np.zeros((size, size))
            voxel[i - nz // 2 + middle, j - int(slab.centre[2]) + middle] = 1
            columns.append(project(voxel).ravel())
    matrix, images = np.stack(columns, axis=1), project(specimen)
    path = nz / np.cos(np.radians(tilts))
    used = (matrix.sum(axis=1).reshape(13, size) > 0.95 * path[:, None]).ravel()
    expected = dense_sirt(matrix[used], images.reshape(-1, 1)[used], 20)
    expected = expected.reshape(nz, slab.shape[2])[:, before : before + 16]
    found = solve(SirtSolver(slices, grid, box), images[:, None], 20)[:, 0]
    assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.995
    np.testing.assert_allclose(found, expected, atol=0.05 * expected.max())


def series_of(stack, geometry, shape, pixel_angst=10.0):
    _, slices = geometry.factor()
    return TiltSeries(
        name="TS",
        images=ImagesInMemory(np.asarray(stack, np.float32), pixel_angst),
        geometry=geometry,
        views=np.arange(len(geometry)),
        tilt_deg=slices.tilt_deg,
        grid=VolumeGrid.centred(shape, pixel_angst),
    )


def tomogram(series, **settings):
    return tomogram_of(make_problem(series, Settings(device="cpu", **settings)))


@pytest.mark.parametrize("bin", [1, 2])
def test_density_to_the_very_edge_at_any_bin_and_magnification(tmp_path, bin):
    """A slab without end whose density changes along y alone: images are wider than it or not."""
    tilts = np.linspace(-60, 60, 13)
    maps = TiltGeometry.from_angles(tilts).image_from_volume.copy()
    maps[:, :, [0, 2]] *= 1.02
    density = np.cos(2 * np.pi * (np.arange(192) - 95.5) / 24)
    path = 16 / np.cos(np.radians(tilts))
    stack = path[:, None, None] * density[:, None] * np.ones(50)
    volume = tomogram(series_of(stack, TiltGeometry(maps), (16, 192, 50)), filter="sirt:2", bin=bin)
    assert volume.shape == (16 / bin, 192 / bin, 50 / bin)
    y = (np.arange(192 / bin) - (192 / bin - 1) / 2) * bin
    expected = np.cos(2 * np.pi * y / 24)[:, None]
    np.testing.assert_allclose(volume, np.broadcast_to(expected, volume.shape), atol=0.005)


def test_low_pass_of_the_images_is_one_of_the_tomogram(tmp_path):
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(4)
    tilts = np.linspace(-60, 60, 13)
    series = series_of(rng.normal(size=(13, 64, 64)), TiltGeometry.from_angles(tilts), (20, 64, 64))
    plain = tomogram(series, filter="sirt:5")
    smooth = tomogram(series, filter="sirt:5,0.1")
    expected = gaussian_filter(plain, 1 / (2 * np.pi * 0.1), mode="nearest")
    inner = np.s_[6:-6, 12:-12, 12:-12]
    assert np.corrcoef(smooth[inner].ravel(), expected[inner].ravel())[0, 1] > 0.98
    assert np.std(smooth[inner]) == pytest.approx(np.std(expected[inner]), rel=0.1)


def test_slabs_threads_and_halves(tmp_path):
    rng = np.random.default_rng(5)
    tilts = np.linspace(-50, 55, 8)
    stack = rng.normal(size=(8, 150, 30))
    series = series_of(stack, TiltGeometry.from_angles(tilts), (12, 150, 30))
    whole_volume = tomogram(series, filter="sirt:3", threads=2)
    np.testing.assert_array_equal(tomogram(series, filter="sirt:3", threads=1), whole_volume)
    top = replace(series, grid=VolumeGrid((12, 40, 30), 10.0, (5.5, 74.5, 14.5)))
    rows = tomogram(top, filter="sirt:3")
    np.testing.assert_allclose(rows, whole_volume[:, :40], atol=1e-5)
    # half of the views weigh as much as all: nothing is doubled
    settings = Settings(filter="sirt:3", halves="tilts")
    problem = make_problem(series, settings)
    wanted = Outputs.wanted(problem, Destination(tmp_path / "TS.mrc"), settings)
    assert [output.part.gain for output in wanted] == [1.0, 1.0, 1.0]


def test_a_tilt_about_x_that_all_views_share_is_turned_back(tmp_path):
    tilts = np.linspace(-60, 60, 21)
    points = np.array([[0.0, 0, 0], [120, -160, 50], [-100, 140, -60]])
    y, x = np.mgrid[0:80, 0:60]
    volumes = []
    for xtilt in (0.0, 8.0):
        geometry = TiltGeometry.from_angles(tilts, 0.0, xtilt)
        stack = np.zeros((21, 80, 60))
        for view, where in enumerate(geometry.project(points)):
            for u, v in where / 10:
                stack[view] += np.exp(-((x - 29.5 - u) ** 2 + (y - 39.5 - v) ** 2) / 12.5)
        volumes.append(tomogram(series_of(stack, geometry, (24, 80, 60)), filter="sirt:10"))
    assert np.corrcoef(volumes[0].ravel(), volumes[1].ravel())[0, 1] > 0.98


def test_refuses_what_it_cannot_do():
    tilts = np.linspace(-50, 55, 8)
    geometry = TiltGeometry.from_angles(tilts)
    series = series_of(np.zeros((8, 20, 20)), geometry, (12, 20, 20))
    cases = [
        ({"projector": "direct"}, "--projector direct"),
        ({"normalise": "count"}, "--normalise count"),
        ({"interpolation": "fine"}, "leave --interpolation fine out"),
    ]
    for changed, words in cases:
        with pytest.raises(InputError, match=words):
            sirt_problem(series, **changed)
    swaying = TiltGeometry.from_angles(tilts, 0.0, np.linspace(-3, 3, 8))
    with pytest.raises(InputError, match=r"not all tilted about x alike.*sirt-like:10"):
        sirt_problem(replace(series, geometry=swaying))
    maps = geometry.image_from_volume
    local = LocalGeometry(np.zeros(1), np.zeros(1), maps[:, None, None])
    with pytest.raises(InputError, match=r"aligned locally.*sirt-like:10"):
        sirt_problem(replace(series, geometry=replace(geometry, local=local)))


def sirt_problem(series, **settings):
    return make_problem(series, Settings(**{"filter": "sirt:10", **settings}))


def test_memory_is_asked_for_beforehand():
    series = series_of(
        np.zeros((3, 8, 900)), TiltGeometry.from_angles(np.array([-60.0, 0, 60])), (300, 8, 900)
    )
    needed = sirt_problem(series).room.used_bytes
    assert needed > 300 * 128 * 4 * (900 + 2 * 300 * np.sqrt(3))
    with pytest.raises(ResourceError, match="--max-memory"):
        sirt_problem(series, max_memory_bytes=needed // 2)


@pytest.mark.parametrize("spec", ["sirt:10", "sirt:30,0.1", "sirt:5,60A"])
def test_spelling(spec):
    assert isinstance(parse(spec), Sirt)
    assert parse(spec).spec == spec


@pytest.mark.parametrize(
    ("spec", "words"),
    [("sirt", "sirt:10"), ("sirt:0", "1 or more"), ("sirt:5,", "not a frequency")],
)
def test_misspelling(spec, words):
    with pytest.raises(InputError, match=words):
        parse(spec)
