"""Vectors against where ASTRA and tomosipo themselves say that a point is projected.

``astra.experimental.projectPoint`` and tomosipo's ``project_point`` need no GPU.
"""

import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tomofilt.errors import InputError, ResourceError
from tomofilt.projectors.cpu import slice_table
from tomofilt.projectors.direct import index_maps
from tomofilt.projectors.vectors import table_maps, to_astra, to_tomosipo
from tomofilt.series.geometry import (
    ImageGrid,
    LocalGeometry,
    SliceGeometry,
    TiltGeometry,
    VolumeGrid,
)
from tomofilt_imod.geometry import Frame, TiltOptions, ViewAngles, tilt_geometry
from tomofilt_relion.geometry import Alignment, volume_grid

NOT_HERE = "{} is not installed"
TOLERANCE_PX = 1e-9


def astra_pixels(geometry, volume, images, voxels):
    """(view, point, 2): column and row of voxels (x, y, z), by ASTRA."""
    experimental = pytest.importorskip(
        "astra.experimental", reason=NOT_HERE.format("astra-toolbox")
    )
    volume_geometry, projections = to_astra(geometry, volume, images)
    option = volume_geometry["option"]
    nz, ny, nx = volume.shape
    low = np.array([option[f"WindowMin{axis}"] for axis in "XYZ"])
    high = np.array([option[f"WindowMax{axis}"] for axis in "XYZ"])
    points = low + (np.asarray(voxels) + 0.5) * (high - low) / [nx, ny, nz]
    return np.array(
        [
            [experimental.projectPoint(projections, *point, view) for point in points]
            for view in range(len(projections["Vectors"]))
        ]
    )


def tomosipo_pixels(geometry, volume, images, voxels):
    """As :func:`astra_pixels`, by tomosipo."""
    pytest.importorskip("tomosipo", reason=NOT_HERE.format("tomosipo"))
    box, projections = to_tomosipo(geometry, volume, images)
    middle = (np.array(volume.shape) - 1) / 2
    voxel = np.array(box.size) / volume.shape
    points = np.array(box.pos)[0] + (np.asarray(voxels)[:, ::-1] - middle) * voxel
    from_middle = np.array([projections.project_point(point) for point in points])[..., ::-1]
    ny, nx = images.shape
    return from_middle.transpose(1, 0, 2) + np.array([(nx - 1) / 2, (ny - 1) / 2])


both_programs = pytest.mark.parametrize("pixels", [astra_pixels, tomosipo_pixels])
lengths = st.floats(-300, 300)
angles = st.floats(-180, 180)


@st.composite
def problems(draw):
    """A geometry, a volume, images and voxels, centres anywhere."""
    views = draw(st.integers(1, 5))
    several = {"min_size": views, "max_size": views}
    tilts = draw(st.lists(st.floats(-80, 80), **several))
    geometry = TiltGeometry.from_angles(
        tilts,
        draw(st.lists(angles, **several)),
        draw(st.floats(-15, 15)),
        draw(st.lists(st.tuples(lengths, lengths), **several)),
    )
    scale = np.array(draw(st.lists(st.floats(0.8, 1.25), **several)))
    geometry = TiltGeometry(geometry.image_from_volume * scale[:, None, None])
    side = st.integers(1, 40)
    shape = draw(st.tuples(side, side, side))
    offset = st.floats(-5, 5)
    centre = tuple((n - 1) / 2 + draw(offset) for n in shape)
    volume = VolumeGrid(shape, draw(st.floats(0.5, 20)), centre)
    ny, nx = draw(st.tuples(side, side))
    pixel = (draw(st.floats(0.5, 20)), draw(st.floats(0.5, 20)))
    images = ImageGrid((ny, nx), pixel, (ny / 2 + draw(offset), nx / 2 + draw(offset)))
    voxels = np.array(draw(st.lists(st.tuples(*[st.floats(-5, 45)] * 3), min_size=3, max_size=6)))
    return geometry, volume, images, voxels


def in_pixels(maps, voxels):
    """Column and row (view, point, 2) by maps in indices."""
    return np.einsum("vij,pj->vpi", maps[:, :, :3], voxels) + maps[:, None, :, 3]


def close(found, expected):
    """Equal to 1e-9 px; far from a detector, as single points of these problems are, to 1e-12."""
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=TOLERANCE_PX)


@both_programs
@settings(max_examples=60)
@given(problem=problems())
def test_images_as_they_are(pixels, problem):
    geometry, volume, images, voxels = problem
    found = pixels(geometry, volume, images, voxels)
    close(found, in_pixels(index_maps(geometry.image_from_volume, volume, images), voxels))


@both_programs
@settings(max_examples=40)
@given(problem=problems())
def test_images_on_the_tilt_axis(pixels, problem):
    geometry, volume, images, voxels = problem
    _, slices = geometry.factor()
    if pixels is tomosipo_pixels:
        # its project_point (0.7.0) takes u and v for perpendicular, which x tilt makes untrue
        slices = replace(slices, e=np.zeros_like(slices.e))
    voxel = volume.voxel_angst
    images = ImageGrid(images.shape, (voxel, images.pixel_angst[1]), images.centre)
    found = pixels(slices, volume, images, voxels)
    close(found, in_pixels(table_maps(slice_table(slices, volume, images)), voxels))


@both_programs
@pytest.mark.parametrize("image_shape", [(20, 24), (21, 25), (20, 25)])
@pytest.mark.parametrize("size_px", [(24, 20, 10), (25, 21, 9)])
@pytest.mark.parametrize("binning", [1, 2])
def test_relion_5_counts_from_floored_centres(pixels, image_shape, size_px, binning):
    """RELION: pixel = R (p - floor(N / 2)) + floor(n / 2) + shift, of the unbinned voxel p."""
    rng = np.random.default_rng(1)
    pixel_angst = 2.7
    alignment = Alignment(
        xtilt_deg=rng.uniform(-5, 5, 4),
        ytilt_deg=np.array([-57.0, -20, 3, 48]),
        zrot_deg=rng.uniform(80, 90, 4),
        shift_px=rng.uniform(-6, 6, (4, 2)),
    )
    geometry = alignment.geometry(image_shape, pixel_angst)
    volume = volume_grid(size_px, pixel_angst).binned(binning, first_voxel_kept=True)
    images = ImageGrid.centred(image_shape, pixel_angst)
    voxels = rng.uniform(0, 10, (6, 3))
    found = pixels(geometry, volume, images, voxels)

    for view in range(4):
        x, y, z = np.radians(
            [alignment.xtilt_deg[view], alignment.ytilt_deg[view], alignment.zrot_deg[view]]
        )
        about_x = np.array([[1, 0, 0], [0, np.cos(x), -np.sin(x)], [0, np.sin(x), np.cos(x)]])
        about_y = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
        about_z = np.array([[np.cos(z), -np.sin(z), 0], [np.sin(z), np.cos(z), 0], [0, 0, 1]])
        centred = voxels * binning - np.array(size_px) // 2
        seen = centred @ (about_z @ about_y @ about_x)[:2].T
        seen += np.array(image_shape[::-1]) // 2 + alignment.shift_px[view]
        np.testing.assert_allclose(found[view], seen, rtol=0, atol=TOLERANCE_PX)


@both_programs
@pytest.mark.parametrize(("width", "thickness"), [(24, 10), (23, 9), (30, 13)])
@pytest.mark.parametrize("raw", [False, True])
def test_imod_counts_as_tilt_does(pixels, width, thickness, raw):
    """OFFSET, SHIFT, XAXISTILT, odd sizes; in the aligned stack, and through .xf in the raw one."""
    ny, nx = 22, 26
    tilt_deg, xtilt_deg = np.array([-50.0, -10, 35]), np.array([1.0, -2, 0.5])
    options = TiltOptions(
        width_px=width,
        thickness_px=thickness,
        rows=(0, ny),
        angle_offset_deg=2.5,
        axis_offset_px=1.25,
        xaxis_tilt_deg=4.0,
        shift_px=(3.0, -1.5),
        full_px=(nx, ny),
        start_px=(0, 0),
    )
    frame = Frame((ny, nx), 5.0, scale=1)
    angles = ViewAngles(tilt_deg, xtilt_deg, np.zeros((3, 2)))
    matrix, moved = rotation_xf(-85.0), np.array([4.0, -2.5])
    back = np.linalg.inv(matrix)
    raw_from_aligned = np.concatenate([back, -(back @ moved)[:, None]], axis=1)
    geometry = tilt_geometry(
        angles,
        options,
        frame,
        raw_from_aligned=np.broadcast_to(raw_from_aligned, (3, 2, 3)) if raw else None,
    )
    volume = options.grid(frame)
    image_shape = (nx + 3, ny + 2) if raw else (ny, nx)
    voxels = np.array([(0.0, 0, 0), (3, 7, 2), (width - 1, ny - 1, thickness - 1)])
    found = pixels(geometry, volume, ImageGrid.centred(image_shape, 5.0), voxels)

    for view in range(3):
        t, alpha = np.radians(tilt_deg[view] + 2.5), np.radians(xtilt_deg[view] - 4.0)
        x, y, i = voxels[:, 0], voxels[:, 1], thickness - 1 - voxels[:, 2]  # trimvol -rx
        x = x - (width // 2 - 0.5 + 1.25 + 3.0)
        i = i - (thickness // 2 - 0.5 - 1.5)
        y = y - (ny - 1) / 2
        seen = np.stack(
            [
                x * np.cos(t)
                + y * np.sin(alpha) * np.sin(t)
                - i * np.cos(alpha) * np.sin(t)
                + 1.25,
                y * np.cos(alpha) + i * np.sin(alpha),
            ],
            axis=1,
        )
        if raw:
            seen = (seen - moved) @ back.T
        seen += (np.array(image_shape[::-1]) - 1) / 2
        np.testing.assert_allclose(found[view], seen, rtol=0, atol=TOLERANCE_PX)


def rotation_xf(angle_deg):
    c, s = np.cos(np.radians(angle_deg)), np.sin(np.radians(angle_deg))
    return np.array([[c, -s], [s, c]])


def plain_problem():
    geometry = TiltGeometry.from_angles([-40.0, 0.0, 30.0], 85.0, 1.0, (7.0, -3.0))
    return geometry, VolumeGrid.centred((5, 8, 7), 4.0), ImageGrid.centred((9, 10), 4.0)


def test_dictionaries_are_those_astra_makes():
    astra = pytest.importorskip("astra", reason=NOT_HERE.format("astra-toolbox"))
    geometry, volume, images = plain_problem()
    box, projections = to_astra(geometry, volume, images)
    edges = [edge for n in (7, 8, 5) for edge in (-2.0 * n, 2.0 * n)]
    assert box == astra.create_vol_geom(8, 7, 5, *edges)
    theirs = astra.create_proj_geom("parallel3d_vec", 9, 10, projections["Vectors"])
    assert projections.pop("Vectors") is theirs.pop("Vectors")
    assert projections == theirs


def test_tomosipo_makes_the_same_dictionaries():
    pytest.importorskip("tomosipo", reason=NOT_HERE.format("tomosipo"))
    geometry, volume, images = plain_problem()
    through = [part.to_astra() for part in to_tomosipo(geometry, volume, images)]
    box, projections = to_astra(geometry, volume, images)
    np.testing.assert_allclose(through[1].pop("Vectors"), projections.pop("Vectors"), atol=1e-12)
    assert through[0].pop("option") == pytest.approx(box.pop("option"))
    assert through == [box, projections]


def test_detector_stands_across_the_ray():
    geometry, volume, images = plain_problem()
    _, slices = geometry.factor()
    for given_geometry in (geometry, slices):
        rows = to_astra(given_geometry, volume, images)[1]["Vectors"].reshape(-1, 4, 3)
        ray, _, u, v = rows.transpose(1, 0, 2)
        np.testing.assert_allclose(np.linalg.norm(ray, axis=1), 1.0)
        np.testing.assert_allclose(np.einsum("vi,vi->v", ray, u), 0.0, atol=1e-12)
        np.testing.assert_allclose(np.einsum("vi,vi->v", ray, v), 0.0, atol=1e-12)
    assert isinstance(slices, SliceGeometry)


def test_local_alignment_is_refused():
    geometry, volume, images = plain_problem()
    patches = LocalGeometry(np.zeros(1), np.zeros(1), geometry.image_from_volume[:, None, None])
    with pytest.raises(InputError, match="local alignment bends the rays"):
        to_astra(TiltGeometry(geometry.image_from_volume, patches), volume, images)


def too_old(**_):
    raise TypeError("Could not convert position to np.array")


@pytest.mark.parametrize("tomosipo", [None, SimpleNamespace(volume=too_old)], ids=["none", "old"])
def test_without_a_tomosipo_that_works(monkeypatch, tomosipo):
    monkeypatch.setitem(sys.modules, "tomosipo", tomosipo)
    with pytest.raises(ResourceError, match=r"0\.7 or later with pip install git"):
        to_tomosipo(*plain_problem())
