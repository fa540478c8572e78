"""Geometry of tilt.com, .xf and local files against IMOD's formulas written out voxel by voxel."""

import numpy as np
import pytest
from strategies_imod import (
    NX,
    NY,
    PIXEL_ANGST,
    TILTS,
    VIEWS,
    ImodFolder,
    format_local,
    rotation_xf,
    seen_px,
    write_stack,
)

from tomofilt.errors import InputError

POINTS = np.array([[0.0, 0, 0], [3, -2, 1.5], [-4, 5, -3], [1, 1, 7]])


@pytest.fixture
def folder(tmp_path):
    return ImodFolder(tmp_path / "data")


def imod_position(x, y, i, tilt_deg, alpha_deg, *, width, thickness, shift=(0, 0), offset_px=0.0):
    """Image index at which ``tilt`` samples output voxel (x, i) of slice y (no subset)."""
    t, al = np.radians(tilt_deg), np.radians(alpha_deg)
    xc_in, yc = (NX - 1) / 2 + offset_px, (NY - 1) / 2
    xc = width // 2 - 0.5 + offset_px + shift[0]
    ci = thickness // 2 - 0.5 + shift[1]
    x_image = (x - xc) * np.cos(t) - (i - ci) * np.cos(al) * np.sin(t)
    x_image += (y - yc) * np.sin(al) * np.sin(t) + xc_in
    return x_image, (y - yc) * np.cos(al) + (i - ci) * np.sin(al) + yc


@pytest.mark.parametrize(("width", "thickness"), [(10, 8), (9, 8), (10, 7), (13, 5)])
@pytest.mark.parametrize("xtilt", [None, (1.0, -2.0, 0.5, 3.0, 0.0)])
def test_as_tilt_samples(folder, width, thickness, xtilt):
    """WIDTH, THICKNESS (odd and even), OFFSET, SHIFT, XAXISTILT and XTILTFILE together."""
    lines = [f"WIDTH {width}", "OFFSET 2.5 1.25", "SHIFT 3 -1.5", "XAXISTILT 4"]
    if xtilt is not None:
        folder.write(".xtilt", "\n".join(map(str, xtilt)))
        lines.append("XTILTFILE TS.xtilt")
    folder.tilt(*lines, thickness=thickness)
    series = folder.read()
    assert series.grid.shape == (thickness, NY, width)
    cz, cy, cx = series.grid.centre
    for z, y, x in [(0, 0, 0), (2, 7, 3), (thickness - 1, NY - 1, width - 1)]:
        seen = seen_px(series, [[x - cx, y - cy, z - cz]])[:, 0]
        for view in range(VIEWS):
            alpha = (xtilt[view] if xtilt else 0.0) - 4
            i = thickness - 1 - z  # trimvol -rx
            expected = imod_position(
                x,
                y,
                i,
                TILTS[view] + 2.5,
                alpha,
                width=width,
                thickness=thickness,
                shift=(3, -1.5),
                offset_px=1.25,
            )
            np.testing.assert_allclose(seen[view], expected, atol=1e-9)


@pytest.mark.parametrize(
    ("size", "centre"),
    [(8, 3.5), (7, 3.5), (9, 4.5)],
)
def test_odd_thickness_is_half_a_voxel_up(folder, size, centre):
    folder.tilt(thickness=size)
    assert folder.read().grid.centre[0] == centre


@pytest.mark.parametrize(("size", "centre"), [(10, 4.5), (9, 3.5), (11, 4.5)])
def test_odd_width_is_half_a_voxel_down(folder, size, centre):
    folder.tilt(f"WIDTH {size}")
    assert folder.read().grid.centre[2] == centre


def test_z_factors(folder):
    plain = folder.read()
    factors = np.linspace(-0.1, 0.1, 2 * VIEWS).reshape(VIEWS, 2)
    folder.write(".zfac", "\n".join(f"{x} {y}" for x, y in factors))
    folder.tilt("ZFACTORFILE TS.zfac")
    moved = seen_px(folder.read(), POINTS) - seen_px(plain, POINTS)
    np.testing.assert_allclose(moved, factors[:, None] * POINTS[:, 2:], atol=1e-12)


def test_slices(folder):
    full = folder.read()
    folder.tilt("SLICE 3 7")
    part = folder.read()
    assert part.grid.shape == (8, 5, NX)
    assert part.grid.centre[1] == full.grid.centre[1] - 3
    np.testing.assert_array_equal(part.geometry.image_from_volume, full.geometry.image_from_volume)


@pytest.mark.parametrize("value", ["3 12", "7 3", "-1 -1"])
def test_slices_outside(folder, value):
    folder.tilt(f"SLICE {value}")
    with pytest.raises(InputError, match=f"SLICE {value}.* has rows 0 to 11"):
        folder.read()


@pytest.mark.parametrize("start", [(0, 0), (4, 2), (2, 6)])
def test_part_of_a_larger_image(folder, start):
    """The axis stays where it is in the full image, and columns stay under the images' columns."""
    folder.tilt("FULLIMAGE 16 20", f"SUBSETSTART {start[0]} {start[1]}")
    series = folder.read()
    axis = np.array([16 / 2 - 0.5 - start[0], 20 / 2 - 0.5 - start[1]])
    np.testing.assert_allclose(seen_px(series, [[0, 5, 0]]) - axis, [[[0, 5]]] * VIEWS, atol=1e-12)
    np.testing.assert_allclose(series.grid.centre[:0:-1], axis)


def test_odd_difference_of_full_image(folder):
    """By half a pixel, as in tilt 4.11: the images' centre moves, the volume's does not."""
    folder.tilt("FULLIMAGE 9 12", "SUBSETSTART 0 0")
    series = folder.read()
    np.testing.assert_allclose(seen_px(series, [[0, 0, 0]])[0, 0], [4.0, 5.5])
    assert series.grid.centre[2] == 4.5


def test_binned_aligned_stack(folder):
    """IMAGEBINNED divides lengths of tilt.com, odd ones as tilt does; the images stay."""
    folder.tilt(
        "IMAGEBINNED 2",
        "WIDTH 19",
        "SHIFT 3 5",
        "OFFSET 0 2.5",
        "SLICE 3 9",
        "FULLIMAGE 23 25",
        "SUBSETSTART -3 1",
        thickness=81,
    )
    series = folder.read()
    assert series.grid.shape == (40, 4, 9)  # rows 1 to 4
    assert series.grid.voxel_angst == PIXEL_ANGST
    # Full image 12 x 13, start (-1, 0): the axis at 12 / 2 + 1 - 0.5 + 1.25, and half as much of y
    np.testing.assert_allclose(
        seen_px(series, [[0, 0, 0]])[:, 0], [[7.75, 6.0]] * VIEWS, atol=1e-12
    )
    assert series.grid.centre == (39 - (19.5 + 2.5), 6 - 1, 3.5 + (1 + 1) + 1.25 + 1.5)
    assert series.facts["binning"].value == 2


def newstack_position(raw, transforms, size, offset):
    """Where newstack puts raw pixels (view, point, (x, y)) in the aligned stack of ``size``."""
    c_in = np.array([NX - 1, NY - 1]) / 2
    c_out = (np.array(size) - 1) / 2
    moved = np.einsum("vij,vpj->vpi", transforms[:, :, :2], raw - c_in)
    return moved + transforms[:, None, :, 2] + c_out - offset


@pytest.mark.parametrize("size", [(NX, NY), (13, 9), (8, 11)])
@pytest.mark.parametrize("offset", [(0.0, 0.0), (1.5, -2.0)])
def test_raw_images(folder, size, offset):
    """What a point of the specimen is seen at, newstack brings to where tilt looks for it."""
    transforms = rotation_xf(-85.3, [(1, -2), (0.5, 3), (0, 0), (-4, 1.5), (2, 2)], scale=1.01)
    lines = ["OFFSET 1.5 0.75", "XAXISTILT 3", "FULLIMAGE 12 10", "SUBSETSTART 1 -1"]
    folder.tilt(*lines)
    size_line = f"SizeToOutputInXandY {size[0]},{size[1]}"
    folder.newst(size_line, f"OffsetsInXandY {offset[0]},{offset[1]}")
    folder.raw(transforms)
    raw = folder.read()
    assert raw.aligned_shape == size[::-1]

    folder.ali = folder.path / "TS_ali.mrc"
    (folder.path / "TS.st").rename(folder.path / "other.mrc")
    write_stack(folder.ali, (VIEWS, *size[::-1]))
    aligned = folder.read()
    assert raw.grid == aligned.grid
    found = newstack_position(seen_px(raw, POINTS), np.round(transforms, 7), size, offset)
    np.testing.assert_allclose(found, seen_px(aligned, POINTS), atol=1e-5)


def test_binning_com_files_with_raw_images(folder):
    """Lengths in tilt.com are unbinned, and so are the raw images: only the size is multiplied."""
    folder.tilt("IMAGEBINNED 4", "FULLIMAGE 10 12", "SUBSETSTART -1 0", thickness=20)
    folder.newst("SizeToOutputInXandY 3,3", "BinByFactor 4")
    folder.raw(rotation_xf(0.0))
    series = folder.read()
    assert series.aligned_shape == (12, 12)
    assert series.grid.shape == (20, 12, 12)
    assert series.grid.voxel_angst == PIXEL_ANGST
    np.testing.assert_allclose(seen_px(series, [[0, 0, 0]])[0, 0], [(NX - 1) / 2, (NY - 1) / 2])
    assert series.facts["binning"].value == 4
    assert series.binning == 4
    assert "--bin 1" in " ".join(series.notes)


def test_thickness_in_pixels_of_a_binned_stack(folder):
    """Without IMAGEBINNED, tilt.com counts pixels of the stack that newst.com bins."""
    folder.newst("BinByFactor 2")
    folder.raw(rotation_xf(0.0))
    assert folder.read().grid.shape == (16, NY, NX)


@pytest.mark.parametrize("size", ["", ",,", "/"])
def test_size_as_the_raw_stack(folder, size):
    folder.newst(f"SizeToOutputInXandY {size}")
    folder.raw(rotation_xf(-85.0))
    assert folder.read().aligned_shape == (NY, NX)


def test_aretomo_turns_the_images_without_saying_so_in_newst(folder):
    folder.newst()
    folder.raw(rotation_xf(-85.0))
    folder.tilt(f"FULLIMAGE {NY} {NX}")
    assert folder.read().aligned_shape == (NX, NY)


@pytest.mark.parametrize(("angle", "shape"), [(-85.0, (NX, NY)), (10.0, (NY, NX))])
def test_size_without_com_files(folder, angle, shape):
    folder.raw(rotation_xf(angle))
    (folder.path / "tilt.com").unlink()
    assert folder.read(thickness_px=8).aligned_shape == shape


def local_series(folder, *tilt_lines, **kinds):
    folder.write("local.xf", format_local(**kinds))
    folder.tilt("LOCALFILE TSlocal.xf", *tilt_lines)
    return folder.read()


def local_maps(series):
    """The maps of all patches, (patch, view, 2, 4)."""
    local = series.geometry.local
    assert local.image_from_volume.shape == (len(series.views), 2, 2, 2, 4)
    return local.image_from_volume.reshape(-1, 4, 2, 4).swapaxes(0, 1)


def test_local_alignment_that_changes_nothing(folder):
    series = local_series(folder, "XAXISTILT 2", "OFFSET 1 0.5")
    for maps in local_maps(series):
        np.testing.assert_allclose(maps, series.geometry.image_from_volume, atol=1e-12)
    local = series.geometry.local
    np.testing.assert_allclose(local.x_angst, (np.array([3, 8]) - NX / 2 - 0.5 - 0.5) * PIXEL_ANGST)
    np.testing.assert_allclose(local.y_angst, (np.array([4, 10]) - NY / 2 - 0.5) * PIXEL_ANGST)


def test_local_shift_moves_the_sampled_position(folder):
    xf = np.broadcast_to([[1.0, 0, 1.5], [0, 1, -0.5]], (2, 2, VIEWS, 2, 3))
    series = local_series(folder, xf=xf)
    moved = np.array(series.geometry.image_from_volume)
    moved[..., 3] += np.array([1.5, -0.5]) * PIXEL_ANGST
    for maps in local_maps(series):
        np.testing.assert_allclose(maps, moved, atol=1e-12)


@pytest.mark.parametrize(("kind", "line"), [("tilt", "OFFSET {}"), ("xtilt", "XAXISTILT -{}")])
def test_local_angles_are_as_global_ones(folder, kind, line):
    folder.tilt(line.format(0.75))
    expected = folder.read().geometry.image_from_volume
    series = local_series(folder, **{kind: np.full((2, 2, VIEWS), 0.75)})
    for maps in local_maps(series):
        np.testing.assert_allclose(maps, expected, atol=1e-12)


def test_local_transform_is_about_the_axis(folder):
    """The specimen centre stays where it is under a local rotation, wherever the axis is."""
    xf = np.broadcast_to([[1.0, 0.01, 0], [-0.01, 1, 0]], (2, 2, VIEWS, 2, 3))
    series = local_series(folder, "OFFSET 0 2", "FULLIMAGE 14 16", "SUBSETSTART 1 1", xf=xf)
    seen = np.array(series.geometry.image_from_volume)
    for maps in local_maps(series):
        np.testing.assert_allclose(maps[..., 3], seen[..., 3], atol=1e-12)
        np.testing.assert_allclose(
            maps[..., :3], np.array([[1, 0.01], [-0.01, 1]]) @ seen[..., :3], atol=1e-12
        )


@pytest.mark.parametrize("with_file", [True, False])
def test_local_z_factors_need_the_global_file(folder, with_file):
    folder.write(".zfac", "0.1 0.2\n" * VIEWS)
    z = np.full((2, 2, VIEWS, 2), 0.03)
    series = local_series(folder, *(["ZFACTORFILE TS.zfac"] if with_file else []), z=z)
    plain = series.geometry.image_from_volume[..., 2]
    expected = plain - [0.1, 0.2] + 0.03 if with_file else plain
    for maps in local_maps(series):
        np.testing.assert_allclose(maps[..., 2], expected, atol=1e-12)


@pytest.mark.parametrize(
    ("pixel", "line", "scale"), [(2.0, "", 1.0), (1.0, "", 0.5), (1.0, "LOCALSCALE 0.25", 0.25)]
)
def test_local_lengths_are_scaled(folder, pixel, line, scale):
    xf = np.broadcast_to([[1.0, 0, 1.5], [0, 1, -0.5]], (2, 2, VIEWS, 2, 3))
    series = local_series(folder, line, xf=xf, pixel=pixel)
    shift = local_maps(series)[0] - series.geometry.image_from_volume
    expected = np.broadcast_to(np.array([1.5, -0.5]) * scale * PIXEL_ANGST, (VIEWS, 2))
    np.testing.assert_allclose(shift[..., 3], expected, atol=1e-12)
    spacing = np.diff(series.geometry.local.x_angst)
    np.testing.assert_allclose(spacing, np.floor(5 * scale + 0.5) * PIXEL_ANGST)


def test_local_scale_is_of_headers_even_if_the_user_corrects_the_pixel_size(folder):
    folder.write("local.xf", format_local(pixel=1.0))
    folder.tilt("LOCALFILE TSlocal.xf")
    local = folder.read(input_pixel_angst=7.0).geometry.local
    np.testing.assert_allclose(np.diff(local.x_angst), 3 * 7.0)


def test_local_alignment_with_raw_images(folder):
    """Local transforms act in the aligned image; the .xf leads from there to the raw one."""
    rng = np.random.default_rng(7)
    xf = np.round(np.eye(2, 3) + rng.normal(0, 0.02, (2, 2, VIEWS, 2, 3)), 3)
    tilt = np.round(rng.normal(0, 0.1, (2, 2, VIEWS)), 3)
    aligned = local_series(folder, "OFFSET 0.5 1", xf=xf, tilt=tilt)
    transforms = np.round(rotation_xf(-85.3, [(1, -2)] * VIEWS), 7)
    folder.newst(f"SizeToOutputInXandY {NX},{NY}")
    folder.raw(transforms)
    raw = folder.read()
    for ours, theirs in zip(local_maps(raw), local_maps(aligned), strict=True):
        back = transforms[:, :, :2] @ ours
        back[..., 3] += transforms[..., 2] * PIXEL_ANGST
        np.testing.assert_allclose(back, theirs, atol=1e-6)
    np.testing.assert_array_equal(raw.geometry.local.x_angst, aligned.geometry.local.x_angst)


def test_local_views_follow_the_used_views(folder):
    tilt = np.broadcast_to(np.arange(VIEWS) / 10, (2, 2, VIEWS))
    folder.write(".tlt", "\n".join(map(str, TILTS[::-1])))
    series = local_series(folder, "EXCLUDELIST 2", tilt=tilt)
    assert list(series.views) == [4, 3, 2, 0]
    maps = local_maps(series)[0]
    angles = np.degrees(np.arctan2(maps[:, 0, 2], maps[:, 0, 0]))
    expected = np.array(TILTS)[[0, 1, 2, 4]] + [0.4, 0.3, 0.2, 0]
    np.testing.assert_allclose(angles, expected, atol=1e-9)
