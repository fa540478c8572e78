"""Warp's tilt series: its geometry by its own formula, averages, CTF, and what is not followed."""

import re
import shutil
from pathlib import Path

import mrcfile
import numpy as np
import pytest
from scipy.interpolate import CubicSpline, RegularGridInterpolator
from strategies_warp import ANGLES, grid_xml, per_tilt, project, xml_text

from tomofilt.errors import InputError, MissingFileError
from tomofilt.series.projects import SeriesOptions, detect
from tomofilt_warp.movement import Movement
from tomofilt_warp.project import PROJECT_TYPE
from tomofilt_warp.xml import read_xml

DATA = Path(__file__).parents[1] / "data" / "warp"

THICK = SeriesOptions(thickness_px=20)
LEVELS = 'LevelAngleX="1.5" LevelAngleY="-6.0"'
VOLUME = 'VolumeDimensionsAngstrom="300, 400, 205"'
OPTICS = (
    '<Param Name="Voltage" Value="200" /><Param Name="Cs" Value="2.2" />'
    '<Param Name="Amplitude" Value="0.1" />'
)


def read(path, options=THICK):
    found = detect(path)
    return found.read(found.names[0], options)


def warp_matrix(axis_deg, angle_deg, level_x_deg):
    """Warp's Euler(0, tilt, -axis) RotateX(level), written out."""
    tilt, psi, level = np.radians([angle_deg, -axis_deg, level_x_deg])
    euler = np.array(
        [
            [np.cos(psi) * np.cos(tilt), np.sin(psi), -np.cos(psi) * np.sin(tilt)],
            [-np.sin(psi) * np.cos(tilt), np.cos(psi), np.sin(psi) * np.sin(tilt)],
            [np.sin(tilt), 0.0, np.cos(tilt)],
        ]
    )
    c, s = np.cos(level), np.sin(level)
    return euler @ np.array([[1, 0, 0], [0, c, -s], [0, s, c]])


def warp_pixels(voxel_xyz, tilt, volume_px, image_px, levels=(0.0, 0.0)):
    """Pixel of the average that shows a voxel of Warp's tomogram, and the depth in angstrom."""
    offset = np.array([[12.0, -5.0], [-30.5, 8.0], [4.0, 60.25]])[tilt]
    axis = [-85.5, -85.25, -85.0][tilt]
    matrix = warp_matrix(axis, ANGLES[tilt] + levels[1], levels[0])
    turned = matrix @ (10.0 * (np.array(voxel_xyz) - np.array(volume_px) / 2))
    return (turned[:2] + offset) / 10.0 + np.array(image_px) / 2, turned[2]


def our_pixels(series, voxel_xyz, view):
    zc, yc, xc = series.grid.centre
    point = 10.0 * (np.array(voxel_xyz) - [xc, yc, zc])
    _, ny, nx = series.images.shape
    return series.geometry.project([point])[view, 0] / 10.0 + [(nx - 1) / 2, (ny - 1) / 2]


@pytest.mark.parametrize("shape", [(30, 40), (31, 41)])
@pytest.mark.parametrize("levels", [(0.0, 0.0), (1.5, -6.0)])
def test_voxels_are_seen_where_warp_sees_them(tmp_path, shape, levels):
    path = project(tmp_path, xml_text(LEVELS if any(levels) else "", grids=[]), shape=shape)
    series = read(path, SeriesOptions(shape_px=(33, 40, 21)))
    assert series.grid.shape == (21, 40, 33)
    tilts = series.views.tolist()
    assert sorted(tilts) == [0, 1, 2]
    np.testing.assert_allclose(series.tilt_deg, [-(ANGLES[t] + levels[1]) for t in tilts])
    for view, tilt in enumerate(tilts):
        for voxel in ([0, 0, 0], [30, 7, 19], [16.5, 20, 10.5], [4, 39, 2.25]):
            expected, _ = warp_pixels(voxel, tilt, (33, 40, 21), shape[::-1], levels)
            np.testing.assert_allclose(our_pixels(series, voxel, view), expected, atol=1e-9)


def test_size_of_warps_tomogram(tmp_path):
    """Even, about a middle that is not made even; sizes asked for have their own middle."""
    path = project(tmp_path, xml_text(VOLUME))
    series = read(path, SeriesOptions())
    assert series.grid.shape == (20, 40, 30)
    assert series.grid.centre == (10.25, 20.0, 15.0)
    assert read(path, SeriesOptions(thickness_px=24)).grid.centre == (12.0, 20.0, 15.0)
    assert series.first_voxel_kept
    assert series.axes_fixed


def test_without_a_size_the_images_tell_it(tmp_path):
    path = project(tmp_path, xml_text(), shape=(31, 41))
    assert read(path).grid.shape == (20, 40, 30)  # the axis is along x: sides change places
    with pytest.raises(InputError, match=r"no thickness is known: .*VolumeDimensionsAngstrom"):
        read(path, SeriesOptions())


def test_pixels_that_are_not_quite_what_the_header_says(tmp_path):
    """Averages of 40 x 30 px of 10 A that stand for images of 401 x 299 A."""
    path = project(tmp_path, xml_text('ImageDimensionsAngstrom="401, 299"'))
    series, plain = read(path), read(project(tmp_path / "b", xml_text()))
    np.testing.assert_allclose(
        series.geometry.image_from_volume[:, :, 3] - 5.0,
        (plain.geometry.image_from_volume[:, :, 3] - 5.0) * [400 / 401, 300 / 299],
    )


@pytest.mark.parametrize("inverted", [False, True])
def test_defocus_is_warps_at_every_depth(tmp_path, inverted):
    """Warp adds the depth of a place to its defocus, and takes it off with inverted angles."""
    grids = [
        per_tilt("GridCTF", [3.0, 2.0, 2.5]),
        per_tilt("GridCTFDefocusDelta", [0.2, -0.1, 0.0]),
        per_tilt("GridCTFDefocusAngle", [26.0, 27.0, 28.0]),
        per_tilt("GridCTFPhase", [0.5, 0.0, 0.25]),
    ]
    series = read(
        project(tmp_path, xml_text(f'AreAnglesInverted="{inverted}"', grids=grids, ctf=OPTICS))
    )
    ctf, tilts = series.ctf, series.views
    np.testing.assert_allclose(ctf.defocus_u_angst, np.array([31000, 19500, 25000.0])[tilts])
    np.testing.assert_allclose(ctf.defocus_v_angst, np.array([29000, 20500, 25000.0])[tilts])
    np.testing.assert_allclose(ctf.astigmatism_deg, np.array([26.0, 27, 28])[tilts])
    np.testing.assert_allclose(ctf.phase_shift_deg, np.array([90.0, 0, 45])[tilts])
    assert (ctf.voltage_kv, ctf.cs_mm, ctf.amplitude_contrast) == (200.0, 2.2, 0.1)
    maps = series.geometry.image_from_volume
    nz, ny, nx = series.grid.shape
    for view, tilt in enumerate(tilts):
        depth = np.cross(maps[view, 0, :3], maps[view, 1, :3])
        point = 10.0 * np.array([7.0, -3.0, 4.0])
        _, warps = warp_pixels(point / 10 + np.array([nx, ny, nz]) / 2, tilt, (nx, ny, nz), (1, 1))
        assert ctf.hand * depth @ point == pytest.approx(-warps if inverted else warps)


def test_no_defocus_no_ctf(tmp_path):
    series = read(project(tmp_path, xml_text(grids=[per_tilt("GridCTF", [0.0])], ctf=OPTICS)))
    assert series.ctf is None
    assert any("the CTF is not known" in note for note in series.notes)


def test_image_warp_is_followed(tmp_path):
    """A natural cubic spline over the image, taken off the position that Warp projects to."""
    random = np.random.default_rng(3)
    x, y = random.uniform(-20, 20, (2, 3, 3, 4))
    movement = Movement(x, y, (30, 40), 10.0)
    place = np.array([[35.0, -80.0]])
    across, along = (place[0] / 10.0 + [19.5, 14.5]) / [40, 30]
    for tilt in range(3):
        expected = []
        for grid in (x[tilt], y[tilt]):
            rows = CubicSpline(np.linspace(0, 1, 4), grid, axis=1, bc_type="natural")(across)
            expected.append(-CubicSpline(np.linspace(0, 1, 3), rows, bc_type="natural")(along))
        np.testing.assert_allclose(movement(tilt, place)[0], expected, rtol=1e-10)
    path = project(
        tmp_path, xml_text(grids=[grid_xml("GridMovementX", x), grid_xml("GridMovementY", y)])
    )
    series, plain = read(path), read(project(tmp_path / "plain", xml_text()))
    local = series.geometry.local
    point = np.array([local.x_angst[20], local.y_angst[33], 0.0])
    for view, tilt in enumerate(series.views):
        m = local.image_from_volume[view, 33, 20]
        seen = plain.geometry.project([point])[view, 0]
        np.testing.assert_allclose(
            m[:, :3] @ point + m[:, 3], seen + movement(tilt, seen), atol=1e-9
        )


def test_one_movement_a_tilt_is_a_shift(tmp_path):
    grids = [per_tilt("GridMovementX", [3.0, 4.0, 5.0]), per_tilt("GridMovementY", [0.0] * 3)]
    series = read(project(tmp_path, xml_text(grids=grids)))
    plain = read(project(tmp_path / "plain", xml_text()))
    moved = series.geometry.image_from_volume - plain.geometry.image_from_volume
    assert series.geometry.local is None
    np.testing.assert_allclose(moved[..., :3], 0.0, atol=1e-12)
    np.testing.assert_allclose(moved[:, 0, 3], -np.array([3.0, 4.0, 5.0])[series.views])


@pytest.mark.parametrize(
    ("attributes", "grids", "note"),
    [
        ("", [grid_xml("GridVolumeWarpX", [[[0.0, 1.0]]])], "GridVolumeWarpX: not applied"),
        ("", [per_tilt("GridAngleZ", [0.0, 0.1, 0.0])], "GridAngleZ: not applied"),
        ("", [per_tilt("GridMovementX", [1.0, 2.0])], "GridMovementX/Y: not a grid a tilt"),
        ('MagnificationCorrection="1.01, 0, 0, 1"', [], r"MagnificationCorrection \[1.01, 0.0"),
    ],
)
def test_what_is_not_followed_is_named(tmp_path, attributes, grids, note):
    series = read(project(tmp_path, xml_text(attributes, grids=grids)))
    assert any(re.search(note, each) for each in series.notes), series.notes


def test_flat_grids_are_not_worth_a_word(tmp_path):
    grids = [per_tilt("GridVolumeWarpX", [0.0]), per_tilt("GridMovementX", [0.0])]
    grids.append(per_tilt("GridMovementY", [0.0]))
    path = project(tmp_path, xml_text('MagnificationCorrection="1, 0, 0, 1"', grids=grids))
    series = read(path)
    assert [note for note in series.notes if "CTF" not in note] == []
    assert series.geometry.local is None


def test_tilts_doses_and_halves(tmp_path):
    text = xml_text(lists={"UseTilt": ["True", "False", "True"]})
    series = read(project(tmp_path, text, halves=True))
    np.testing.assert_array_equal(series.views, [0, 2])  # by ascending tilt in Warp's tomogram
    assert series.excluded == (1,)
    np.testing.assert_array_equal(series.dose_e_per_a2, [6.0, 3.0])
    assert [half.files[0].parent.name for half in series.halves] == ["even", "odd"]
    assert [int(series.images.read(i)[1, 1]) for i in range(3)] == [0, 1, 2]
    with pytest.raises(InputError, match="names view 4, but"):
        read(tmp_path / "warp_tiltseries", SeriesOptions(thickness_px=20, exclude=(4,)))


def test_movies_of_the_tomostar(tmp_path):
    from tomofilt.io.star import Table, write_star

    path = project(tmp_path, xml_text(lists={"MoviePath": None}))
    with pytest.raises(MissingFileError, match=r"no MoviePath, and there is no TS_1.tomostar"):
        read(path)
    (tmp_path / "tomostar").mkdir()
    table = Table({"wrpMovieName": [f"../frames/tilt {i}.eer" for i in range(3)]})
    write_star(tmp_path / "tomostar" / "TS_1.tomostar", {"": table}, replace=False)
    assert read(path).images.files[2].name == "tilt 2.mrc"


def test_averages_that_are_not_there_or_do_not_fit(tmp_path):
    path = project(tmp_path, xml_text())
    average = tmp_path / "frames" / "average" / "tilt 1.mrc"
    average.unlink()
    with pytest.raises(MissingFileError, match=r"tilt 1.mrc"):
        read(path)
    with mrcfile.new(average) as file:
        file.set_data(np.zeros((2, 30, 40), np.float32))
        file.voxel_size = 10.0
    with pytest.raises(InputError, match=r"2 x 30 x 40 pixels .* one image, of 30 x 40"):
        read(path)
    (tmp_path / "frames" / "average" / "tilt 0.mrc").unlink()
    with pytest.raises(MissingFileError, match=r"the average of the first tilt.* looked for"):
        read(path)


def test_what_is_taken_for_warps(tmp_path):
    path = project(tmp_path, xml_text())
    (path.parent / "frame.xml").write_text("<Movie></Movie>")
    found = PROJECT_TYPE.open(path.parent)
    assert found.names == ("TS_1",)
    expected = path.parent / "reconstruction" / "TS_1_tomofilt.mrc"
    assert found.destination("TS_1", None).volume == expected
    assert not PROJECT_TYPE.detect(path.parent / "frame.xml")
    assert not PROJECT_TYPE.detect(tmp_path)
    with pytest.raises(InputError, match="holds no tilt series of Warp"):
        PROJECT_TYPE.open(tmp_path)
    with pytest.raises(MissingFileError):
        PROJECT_TYPE.open(tmp_path / "none.xml")
    with pytest.raises(InputError, match="has no tilt series X"):
        found.read("X", THICK)


def test_positions_and_defocus_that_warp_itself_computes(tmp_path):
    """A series that M has refined, with level angles and image warp, against Warp's C# code.

    The image warp is exact in the middle plane of the specimen, and linear in z above and below.
    """
    shutil.copy(DATA / "TS_1.xml", tmp_path)
    average = tmp_path / "2" / "average"
    average.mkdir(parents=True)
    names = [Path(movie).stem for movie in read_xml(DATA / "TS_1.xml").texts("MoviePath")]
    for name in names:
        with mrcfile.new(average / f"{name}.mrc") as file:
            file.set_data(np.ones((1, 1023, 1440), np.float32))
            file.voxel_size = 4 * 0.834
    (tmp_path / "3").mkdir()
    series = read(tmp_path / "TS_1.xml", SeriesOptions(shape_px=(1000, 1424, 360)))
    ctf, local = series.ctf, series.geometry.local
    table = np.loadtxt(DATA / "TS_1_positions.csv", delimiter=",", skiprows=1)
    place = {int(tilt): view for view, tilt in enumerate(series.views)}
    misses = {0.0: [], 500.0: []}
    for tilt, x, y, z, *seen, u, v, astigmatism in table:
        view, point = place[int(tilt)], np.array([x, y, z])
        m = _interpolated(local, view, x, y)
        found = m[:, :3] @ point + m[:, 3] - 4 * 0.834 / 2  # Warp counts from n / 2
        misses[abs(z)].append(np.abs(found - seen).max())
        depth = np.cross(*series.geometry.image_from_volume[view, :, :3])
        deeper = ctf.hand * depth @ point
        assert ctf.defocus_u_angst[view] + deeper == pytest.approx(u, abs=0.02)
        assert ctf.defocus_v_angst[view] + deeper == pytest.approx(v, abs=0.02)
        assert ctf.astigmatism_deg[view] == pytest.approx(astigmatism, abs=1e-4)
    assert max(misses[0.0]) < 0.05
    assert max(misses[500.0]) < 1.0


def _interpolated(local, view, x, y):
    """View map over a place of the specimen, bilinear between nodes."""
    nodes = local.image_from_volume[view].reshape(len(local.y_angst), len(local.x_angst), 8)
    axes = (local.y_angst, local.x_angst)
    return RegularGridInterpolator(axes, nodes)([[y, x]])[0].reshape(2, 4)
