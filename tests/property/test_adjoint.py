"""No projector without its adjoint test: random sizes, views, x tilts and axes off the centre."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tomofilt.projectors.cpu import SliceProjector, slice_table
from tomofilt.projectors.direct import DirectProjector
from tomofilt.series.geometry import ImageGrid, SliceGeometry, TiltGeometry, VolumeGrid

sizes = st.integers(1, 40)


@st.composite
def problems(draw):
    """A geometry of a few uneven views, a volume and an image grid with their own centres."""
    nz, ny, nx = draw(st.tuples(st.integers(1, 36), st.integers(1, 150), sizes))
    views = draw(st.integers(1, 11))
    tilt = st.floats(-75, 75, allow_nan=False)
    tilts = np.sort(draw(st.lists(tilt, min_size=views, max_size=views)))
    geometry = TiltGeometry.from_angles(
        tilts,
        draw(st.floats(-180, 180)),
        draw(st.sampled_from([0.0, 0.0, 2.5, -12.0])),
        draw(st.tuples(st.floats(-9, 9), st.floats(-9, 9))),
    )
    offset = draw(st.sampled_from([0.0, 0.5, -3.25]))
    volume = VolumeGrid((nz, ny, nx), 1.0, ((nz - 1) / 2, (ny - 1) / 2 + offset, (nx - 1) / 2))
    images = ImageGrid.centred((draw(st.integers(1, 150)), draw(sizes)), 1.0)
    return geometry, volume, images


def check_pair(operator, dtype, seed):
    rng = np.random.default_rng(seed)
    volume = rng.normal(size=operator.volume_shape).astype(dtype)
    images = rng.normal(size=operator.image_shape).astype(dtype)
    forward = operator.forward(volume).astype(np.float64)
    adjoint = operator.adjoint(images).astype(np.float64)
    left = np.vdot(forward, images.astype(np.float64))
    right = np.vdot(volume.astype(np.float64), adjoint)
    size = np.linalg.norm(forward) * np.linalg.norm(images) + np.linalg.norm(volume) * (
        np.linalg.norm(adjoint)
    )
    assert abs(left - right) <= 1e-6 * size
    if size > 0:
        assert np.linalg.norm(forward) > 0
        assert np.linalg.norm(adjoint) > 0


@settings(max_examples=60)
@given(problems(), st.sampled_from([np.float32, np.float64]), st.integers(0, 2**31))
def test_fast_pair(problem, dtype, seed):
    geometry, volume, images = problem
    _, slices = geometry.factor()
    table = slice_table(slices, volume, images)
    shape = (len(geometry), *images.shape)
    check_pair(SliceProjector(table, shape, volume.shape), dtype, seed)


@settings(max_examples=25)
@given(problems(), st.integers(0, 2**31))
def test_direct_pair(problem, seed):
    geometry, volume, images = problem
    check_pair(DirectProjector(geometry, volume, images), np.float64, seed)


@settings(max_examples=100)
@given(problems())
def test_factoring_is_exact(problem):
    """Warp after slice geometry is the view map, for any affine view."""
    geometry, _, _ = problem
    warp, slices = geometry.factor()
    assert isinstance(slices, SliceGeometry)
    points = np.random.default_rng(0).uniform(-100, 100, size=(20, 3))
    x, y, z = points.T
    u = slices.a[:, None] * x + slices.b[:, None] * z + slices.u0_angst[:, None]
    v = y + slices.e[:, None] * z
    through = np.einsum("vij,vpj->vpi", warp, np.stack([u, v, np.ones_like(u)], axis=2))
    np.testing.assert_allclose(through, geometry.project(points), atol=1e-7)
