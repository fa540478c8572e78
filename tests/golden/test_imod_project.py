"""IMOD folders against IMOD's own output: where blobs are seen, and what tilt makes of them."""

import json
import shutil
from pathlib import Path

import mrcfile
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, map_coordinates
from scipy.ndimage import shift as moved
from strategies_imod import seen_px, write_stack

from tomofilt.series.projects import SeriesOptions
from tomofilt_imod.project import PROJECT_TYPE

DATA = Path(__file__).parents[1] / "data" / "imod"
TS_01 = DATA / "TS_01"
BLOBS = np.array(json.loads((TS_01 / "truth.json").read_text())["blobs_xyz_sigma_amp"])[:, :3]
BACKGROUND = 1000.0
VARIANTS = json.loads((TS_01 / "variants" / "commands.json").read_text())


@pytest.fixture
def folder(tmp_path):
    for file in TS_01.iterdir():
        if file.is_file():
            shutil.copyfile(file, tmp_path / file.name)
    return tmp_path


def read(path):
    project = PROJECT_TYPE.open(path)
    return project.read(project.names[0])


def blob_centre(image, x, y, radius=5, sigma=2.0):
    """Centre of the blob near (x, y): a Gaussian-weighted mean, iterated until it stays."""
    for _ in range(15):
        column, row = round(x), round(y)
        rows, columns = np.mgrid[-radius : radius + 1, -radius : radius + 1]
        rows, columns = rows + row, columns + column
        weight = np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * sigma**2))
        weight *= np.clip(image[rows, columns] - BACKGROUND, 0, None)
        # A window as wide as the blob halves the step towards its centre.
        x += 2 * ((weight * columns).sum() / weight.sum() - x)
        y += 2 * ((weight * rows).sum() / weight.sum() - y)
    return x, y


@pytest.mark.parametrize(("raw", "limit_px"), [(False, 0.1), (True, 0.04)])
def test_blobs_are_seen_where_the_maps_say(folder, raw, limit_px):
    """Maps to the aligned stack (from tilt.com) and to the raw one (through .xf and newst.com)."""
    if raw:
        (folder / "TS_01_ali.mrc").unlink()
    series = read(folder)
    assert series.images.path.name == ("TS_01.mrc" if raw else "TS_01_ali.mrc")
    expected = seen_px(series, BLOBS)
    errors = []
    for view, section in enumerate(series.views):
        image = series.images.read(int(section)).astype(float)
        for x, y in expected[view]:
            errors.append(np.subtract(blob_centre(image, x, y), (x, y)))
    distance = np.hypot(*np.array(errors).T)
    print(f"median {np.median(distance):.3f} px, 90 % below {np.quantile(distance, 0.9):.3f} px")
    assert len(distance) == 205
    assert np.median(distance) < limit_px
    assert np.abs(np.median(errors, axis=0)).max() < 0.02


def filter_as_imod(images, tilt_deg):
    """Ramp in FFT bins of the padded line, times IMOD's view weights."""
    interval = np.diff(tilt_deg)
    weights = []
    for view in range(len(images)):
        near = [
            (interval[k], 1 / (j - 0.5))
            for j in (1, 2)
            for k in (view - j, view + j - 1)
            if 0 <= k < len(interval)
        ]
        values, factors = np.array(near).T
        weights.append(np.average(values, weights=factors) / interval.mean())
    columns, padded = images.shape[2], 96
    slope = np.arange(1, padded - columns + 1) / (padded - columns + 1)
    end = images[..., -1:] * (1 - slope) + images[..., :1] * slope
    ramp = np.arange(padded // 2 + 1.0)
    ramp[0] = 0.2
    spectrum = np.fft.rfft(np.concatenate([images, end], axis=2)) * ramp
    return np.fft.irfft(spectrum * np.array(weights)[:, None, None], padded)[..., :columns]


def back_project(series):
    """Mean over views of linearly interpolated filtered images; where all views have data."""
    images = np.stack([series.images.read(int(section)) for section in series.views])
    filtered = filter_as_imod(images.astype(float), series.tilt_deg)
    axes = [np.arange(n) - c for n, c in zip(series.grid.shape, series.grid.centre, strict=True)]
    z, y, x = np.meshgrid(*axes, indexing="ij")
    seen = seen_px(series, np.stack([x, y, z], axis=-1).reshape(-1, 3))
    inside = ((seen[..., 0] >= 0) & (seen[..., 0] <= images.shape[2] - 1)).all(axis=0)
    values = [
        map_coordinates(image, position.T[::-1], order=1, mode="nearest")
        for image, position in zip(filtered, seen, strict=True)
    ]
    return np.mean(values, axis=0).reshape(x.shape), inside.reshape(x.shape)


def difference(volume, expected, inside):
    """Relative rms difference of fluctuations, blurred by a pixel."""

    def blurred(array):
        return gaussian_filter(array, 1.0)[inside]

    rest = blurred(np.where(inside, volume - expected, 0))
    return rest.std() / blurred(expected - expected.mean()).std()


# tilt's cosine stretch (all but nocos) and its way to tilt about x (slices from slices) blur.
@pytest.mark.parametrize(
    ("name", "limit"),
    [
        ("nocos", 3e-5),
        ("offset", 0.06),
        ("shift", 0.06),
        ("exclude", 0.06),
        ("odd_61x31", 0.06),
        ("xaxistilt_4", 0.12),
    ],
)
def test_volumes_lie_where_tilt_puts_them(tmp_path, name, limit):
    """SHIFT, OFFSET, XAXISTILT, exclusion and odd sizes; half a voxel off is beyond the limit."""
    options = VARIANTS[name].partition(".mrc -TILTFILE")[2].partition("-")[2].split(" -")
    shutil.copyfile(TS_01 / "TS_01_ali.mrc", tmp_path / "TS_01_ali.mrc")
    shutil.copyfile(TS_01 / "TS_01.tlt", tmp_path / "TS_01.tlt")
    (tmp_path / "tilt.com").write_text("\n".join(["$tilt -StandardInput", *options, ""]))
    tilt_output = mrcfile.read(TS_01 / "variants" / f"{name}.mrc").astype(float)
    expected = tilt_output.transpose(1, 0, 2)[::-1]  # trimvol -rx

    volume, inside = back_project(read(tmp_path))
    assert volume.shape == expected.shape
    error = difference(volume, expected, inside)
    slips = [
        difference(moved(volume, step, order=1, mode="nearest"), expected, inside)
        for step in np.concatenate([np.eye(3), -np.eye(3)]) / 2
    ]
    print(f"{name}: difference {error:.2g}; half a voxel off {min(slips):.2g} to {max(slips):.2g}")
    assert error < limit < min(slips)


def test_local_file_of_tilt(folder):
    shutil.copyfile(TS_01 / "variants" / "v_local.xf", folder / "TS_01local.xf")
    com = folder / "tilt.com"
    com.write_text(com.read_text().replace("THICKNESS", "LOCALFILE TS_01local.xf\nTHICKNESS"))
    series = read(folder)
    local = series.geometry.local
    np.testing.assert_allclose(local.x_angst, [-205, 195])
    np.testing.assert_allclose(local.y_angst, [-245, 235])
    middle = series.geometry.image_from_volume[:, None, None, :, 3]
    moved_angst = local.image_from_volume[..., 3] - middle
    np.testing.assert_allclose(moved_angst[0, 0, 0], [4.70, 10.06])  # the first shift of the file


def test_binned_set_of_cryoet_alignment(tmp_path):
    """Com files and alignment of a real set; images as small as can be stand in for its own."""
    source = DATA / "cryoet-alignment"
    name = "mka2018-10-01-1"
    for suffix in ("xf", "tlt", "xtilt"):
        shutil.copyfile(source / f"tilt_1.{suffix}", tmp_path / f"{name}.{suffix}")
    for com in ("tilt.com", "newst.com"):
        shutil.copyfile(source / com, tmp_path / com)
    transforms = np.loadtxt(source / "tilt_1.xf")
    write_stack(tmp_path / f"{name}.mrc", (len(transforms), 20, 30), pixel_angst=1.7)
    series = read(tmp_path)
    assert series.name == name
    assert len(series.views) == 59
    assert series.aligned_shape == (958 * 4, 928 * 4)
    assert series.grid.shape == (2000, 3832, 3712)
    assert series.grid.centre == (999.5, 1915.5, 1855.5)
    assert series.facts["binning"].value == 4
    assert series.log_base == 0
    # The full image of 3708 pixels starts 2 pixels inside the aligned one: they share the middle.
    centre = seen_px(series, [[0, 0, 0]])[0, 0]
    a, d = transforms[0, :4].reshape(2, 2), transforms[0, 4:]
    np.testing.assert_allclose(a @ (centre - [14.5, 9.5]) + d, 0, atol=1e-9)


def test_etomo_folder_without_com_files(tmp_path):
    source = DATA / "etomofiles"
    shutil.copytree(source, tmp_path / "TS_001")
    project = PROJECT_TYPE.open(tmp_path / "TS_001")
    series = project.read("TS_001", SeriesOptions(thickness_px=300, input_pixel_angst=6.192))
    assert series.images.path.name == "TS_001.st"
    assert series.excluded == (39,)
    assert len(series.views) == 39
    assert series.facts["excluded_views"].source == "TS_001.edf ExcludeProjections"
    assert series.facts["xtilt_angles"].source == "TS_001.xtilt"
    np.testing.assert_allclose(series.tilt_deg[[0, -1]], [-57.12, 56.96])
