"""One specimen through every door: its blobs are at the same voxels, whichever program aligned it.

Tilts to one side and blobs that no mirror maps onto each other tell a wrong hand by many voxels;
sizes odd and even tell half a voxel.
"""

import mrcfile
import numpy as np
import pytest
from runs import reconstructed
from scipy.ndimage import map_coordinates
from scipy.optimize import curve_fit

from tomofilt.cli.inspect import describe
from tomofilt.io.star import Table, read_star, write_star
from tomofilt.reconstruction.settings import Settings
from tomofilt.series.geometry import ImageGrid, TiltGeometry, VolumeGrid
from tomofilt.series.projects import (
    Acquisition,
    SeriesOptions,
    detect,
    project_type,
    read_series,
    write_stack,
)
from tomofilt.series.tiltseries import TiltSeries
from tomofilt.simulate.projection import project
from tomofilt.simulate.series import ImagesInMemory
from tomofilt_aretomo.aln import read_aln
from tomofilt_aretomo.local import LocalShift
from tomofilt_relion.part import export_series

PIXEL, SIGMA_PX = 10.0, 2.0
TILT_DEG = np.arange(-20.0, 61.0, 2.0)
#: (x, y, z) about the specimen centre, in voxels
BLOBS = np.array([[-15, -14, -7], [13, -9, 6], [-6, 2, 8], [16, 12, -8], [3, 17, 1.0]])
#: Shape of the tomogram and direction of the tilt axis
CASES = [((36, 64, 72), 3.3), ((37, 65, 71), 84.3), ((35, 64, 61), -95.0)]


def blobs(grid):
    z, y, x = np.meshgrid(*(np.arange(n) for n in grid.shape), indexing="ij")
    zc, yc, xc = grid.centre
    return sum(
        np.exp(-((x - xc - bx) ** 2 + (y - yc - by) ** 2 + (z - zc - bz) ** 2) / (2 * SIGMA_PX**2))
        for bx, by, bz in BLOBS
    ).astype(np.float32)


def simulated(shape, rotation_deg):
    grid = VolumeGrid.centred(shape, PIXEL)
    shift = 25.0 * np.random.default_rng(1).standard_normal((len(TILT_DEG), 2))
    geometry = TiltGeometry.from_angles(TILT_DEG, rotation_deg, shift_angst=shift)
    _, ny, nx = shape
    turned = abs(np.sin(np.radians(rotation_deg))) > 0.7
    images = ImageGrid.centred((nx, ny) if turned else (ny, nx), PIXEL)
    stack = project(blobs(grid), grid, geometry, images)
    series = TiltSeries(
        name="TS_01",
        images=ImagesInMemory(stack, PIXEL),
        geometry=geometry,
        views=np.arange(len(TILT_DEG)),
        tilt_deg=TILT_DEG,
        grid=grid,
        dose_e_per_a2=3.0 * np.arange(len(TILT_DEG))[::-1],
    )
    acquisition = Acquisition(
        stage_deg=TILT_DEG,
        dose_e_per_a2=3.0,
        defocus_angst=np.linspace(29000.0, 31000.0, len(TILT_DEG)),
        voltage_kv=300.0,
        cs_mm=2.7,
        amplitude_contrast=0.07,
        hand=-1,
    )
    return series, acquisition


def misplaced_px(volume, centre_zyx):
    """Fitted minus true centre of every blob, in voxels."""
    errors = []
    nodes = np.stack(np.meshgrid(*(np.arange(11.0),) * 3, indexing="ij"))

    def gaussian(nodes, zc, yc, xc, szz, syy, sxx, szx, height, level):
        z, y, x = (nodes[i] - c for i, c in enumerate((zc, yc, xc)))
        return (
            level + height * np.exp(-(szz * z**2 + syy * y**2 + sxx * x**2 + szx * z * x))
        ).ravel()

    for blob in BLOBS:
        place = np.array(centre_zyx) + blob[::-1]
        low = np.round(place).astype(int) - 5
        box = volume[tuple(slice(i, i + 11) for i in low)].astype(float)
        start = (*(place - low), 0.1, 0.1, 0.1, 0.0, box.max(), 0.0)
        fitted, _ = curve_fit(gaussian, nodes, box.ravel(), start, maxfev=10000)
        errors.append(low + fitted[:3] - place)
    return np.abs(errors).max()


def tomogram(series, destination, **settings):
    # the blobs are what beads look like, and are to stay what they are
    chosen = Settings(filter="ramp", preview=False, ctf="none", gold="as-is", **settings)
    result, _ = reconstructed(series, destination, chosen)
    return mrcfile.read(result.destination.volume)


@pytest.mark.parametrize(("shape", "rotation_deg"), CASES)
@pytest.mark.parametrize("kind", ["aretomo", "imod", "relion", "warp"])
def test_blobs_are_where_they_are(tmp_path, kind, shape, rotation_deg):
    series, acquisition = simulated(shape, rotation_deg)
    path = project_type(kind).create(tmp_path / kind, series, acquisition)
    found = detect(path)
    assert type(found).__module__.startswith(f"tomofilt_{kind}")
    options = SeriesOptions(shape_px=shape[::-1])  # Warp would have even sizes
    read = found.read("TS_01", options)
    assert read.grid.shape == shape
    np.testing.assert_allclose(read.tilt_deg, TILT_DEG, atol=1e-3)
    volume = tomogram(read, found.destination("TS_01", tmp_path / "job"))
    assert misplaced_px(volume, series.grid.centre) < 0.15


@pytest.mark.parametrize(("shape", "rotation_deg"), CASES)
@pytest.mark.parametrize("kind", ["aretomo", "imod", "warp"])
@pytest.mark.parametrize("bin", [1, 2])
def test_export_to_relion(tmp_path, kind, shape, rotation_deg, bin):
    """Positions in tomofilt's tomogram, read back in RELION's terms: <= 0.01 px on the images."""
    series, acquisition = simulated(shape, rotation_deg)
    path = project_type(kind).create(tmp_path / kind, series, acquisition)
    found = detect(path)
    read = found.read("TS_01", SeriesOptions(shape_px=shape[::-1]))
    destination = found.destination("TS_01", None)
    volume = tomogram(read, destination, bin=bin)
    export_series(tmp_path / "project", [(read, destination)])
    exported = detect(tmp_path / "project" / "tomograms.star").read("TS_01")
    voxels = np.random.default_rng(0).uniform(0, np.array(volume.shape[::-1]) - 1, (50, 3))
    seen = read.geometry.project(_about_centre(voxels, _grid(read, bin)))
    seen_by_relion = exported.geometry.project(_about_centre(voxels * bin, exported.grid))
    assert np.abs(seen - seen_by_relion).max() < 0.01 * PIXEL
    np.testing.assert_allclose(exported.dose_e_per_a2, read.dose_e_per_a2, atol=1e-5)
    assert exported.ctf.hand == read.ctf.hand
    if bin == 1:
        again = tomogram(exported, found.destination("TS_01", tmp_path / "again"))
        assert misplaced_px(again, series.grid.centre) < 0.15


def test_local_alignment_of_aretomo_puts_blobs_where_they_are(tmp_path):
    """Images that moved by up to 2 px from place to place, and the patches that tell it.

    Patches hand over to each other within a few of these pixels, which smears blobs a little.
    """
    shape, rotation_deg = CASES[0]
    series, acquisition = simulated(shape, rotation_deg)
    path = project_type("aretomo").create(tmp_path, series, acquisition) / "TS_01.aln"
    text = path.read_text()
    turned = np.radians(rotation_deg)
    lines = ["# Local Alignment"]
    for view in range(len(TILT_DEG)):
        for patch, (x, y) in enumerate((x, y) for y in (-24, 0, 24) for x in (-27, 0, 27)):
            place = np.array([x * np.cos(turned) - y * np.sin(turned), y])
            lines.append(
                f"{view:4d} {patch:3d} {place[0]:8.2f}  {place[1]:8.2f}  {0.06 * y:8.2f}  "
                f"{-0.05 * x:8.2f}   1.0"
            )
    path.write_text(text + "\n".join(lines) + "\n")
    alignment = read_aln(path)
    stack = moved_images(series, LocalShift(alignment, alignment.patches, shape[1:], PIXEL))
    (tmp_path / "TS_01.mrc").unlink()
    write_stack(tmp_path / "TS_01.mrc", ImagesInMemory(stack, PIXEL))
    found = detect(path)
    read = found.read("TS_01")
    assert read.geometry.local is not None
    volume = tomogram(read, found.destination("TS_01", tmp_path / "local"))
    assert misplaced_px(volume, series.grid.centre) < 0.35
    path.write_text(text)
    whole = found.read("TS_01")
    volume = tomogram(whole, found.destination("TS_01", tmp_path / "whole"))
    assert misplaced_px(volume, series.grid.centre) > 1.0


def moved_images(series, shift):
    """Images whose points, wherever they are, moved by a shift that depends on the place."""
    views, ny, nx = series.images.shape
    y, x = np.meshgrid(np.arange(ny), np.arange(nx), indexing="ij")
    middle = np.array([(nx - 1) / 2, (ny - 1) / 2])
    pixels = np.stack([x, y], axis=-1) - middle
    moved = np.empty(series.images.shape, np.float32)
    for view in range(views):
        place = pixels
        for _ in range(20):  # place + shift(place) = pixel
            place = pixels - shift(view, place * PIXEL) / PIXEL
        at = np.moveaxis((place + middle)[..., ::-1], -1, 0)
        moved[view] = map_coordinates(series.images.read(view), at, order=3)
    return moved


def relion_4(folder):
    """The set of RELION 5 as one of RELION 4: matrices, in the same file, and a stack's name."""
    path = folder / "AlignTiltSeries" / "job005" / "aligned_tilt_series.star"
    tilts = read_star(path.parent / "tilt_series" / "TS_01.star")["TS_01"]
    series = detect(path).read("TS_01")
    nz, ny, nx = series.grid.shape
    matrices = np.tile(np.eye(4), (len(series.views), 1, 1))
    matrices[:, :2, :3] = series.geometry.image_from_volume[:, :, :3]
    matrices[:, 2, :3] = np.cross(matrices[:, 0, :3], matrices[:, 1, :3])
    centre = np.array([nx // 2, ny // 2, nz // 2])
    middle = (np.array(series.images.shape[:0:-1]) - 1) / 2
    shift = series.geometry.image_from_volume[:, :, 3] / PIXEL + middle
    matrices[:, :2, 3] = shift - matrices[:, :2, :3] @ centre
    kept = ("rlnDefocusU", "rlnDefocusV", "rlnDefocusAngle", "rlnMicrographPreExposure")
    columns = {
        f"rlnTomoProj{row}": ["[" + ",".join(f"{x:.9f}" for x in m[i]) + "]" for m in matrices]
        for i, row in enumerate("XYZW")
    }
    columns |= {name: tilts[name] for name in kept}
    (row,) = read_star(path)["global"].rows()
    stack = tilts["rlnMicrographName"][0].split("@")[1]
    given = {name: [text] for name, text in row.items() if name != "rlnTomoTiltSeriesStarFile"}
    blocks = {"global": Table(given | {"rlnTomoTiltSeriesName": [stack]}), "TS_01": Table(columns)}
    write_star(folder / "relion4.star", blocks, replace=False)
    return folder / "relion4.star"


def test_inspect_tells_the_same_of_every_kind(tmp_path):
    series, acquisition = simulated((36, 64, 72), 3.3)
    tables = {}
    for kind in ("aretomo", "imod", "relion", "warp"):
        path = project_type(kind).create(tmp_path / kind, series, acquisition)
        tables[kind] = describe(read_series(detect(path), "TS_01"))
    tables["relion 4"] = describe(read_series(detect(relion_4(tmp_path / "relion")), "TS_01"))
    expected = tables["imod"]
    for kind, table in tables.items():
        assert table.keys() == expected.keys(), kind
        assert table["tomogram"]["size_px"] == expected["tomogram"]["size_px"], kind
        for view, other in zip(table["views"], expected["views"], strict=True):
            assert view.keys() == other.keys()
            for name in ("tilt_deg", "rotation_deg", "dose_e_per_a2", "defocus_um", "xtilt_deg"):
                assert view[name] == pytest.approx(other[name], abs=6e-3), (kind, name)
        assert {"pixel_angst"} <= table["facts"].keys()


def _grid(series, bin):
    if bin == 1:
        return series.grid
    return series.grid.binned(bin, first_voxel_kept=series.first_voxel_kept)


def _about_centre(voxels_xyz, grid):
    return (voxels_xyz - np.array(grid.centre[::-1])) * grid.voxel_angst
