"""Planes are the right ones of either orientation; the picture shows them where it says."""

from pathlib import Path

import mrcfile
import numpy as np
import pytest
from PIL import Image

from tomofilt.draw.preview import GAP, INK, MARGIN, VolumeSlices, write_preview
from tomofilt.errors import InputError, OutputError

SHAPE = (13, 40, 52)  # z, y, x
VOXEL_ANGST = 13.48


class Blank:
    """A volume of zeros."""

    def __init__(self, shape, voxel_angst):
        self.shape, self.voxel_angst = shape, voxel_angst

    def planes_z(self, start, stop):
        return np.zeros(self.shape[1:], np.float32)

    def planes_y(self, start, stop):
        return np.zeros((self.shape[0], self.shape[2]), np.float32)

    def planes_x(self, start, stop):
        return np.zeros(self.shape[:2], np.float32)


def write_mrc(path: Path, volume: np.ndarray) -> Path:
    with mrcfile.new(path) as mrc:
        mrc.set_data(volume)
        mrc.voxel_size = VOXEL_ANGST
    return path


def as_tilt_writes(volume: np.ndarray) -> np.ndarray:
    """Undo what trimvol -rx does: out[z, y, x] = in[y, n_z - 1 - z, x]."""
    return np.ascontiguousarray(volume[::-1].transpose(1, 0, 2))


@pytest.fixture
def volume() -> np.ndarray:
    return np.random.default_rng(5).normal(size=SHAPE).astype(np.float32)


@pytest.mark.parametrize("orientation", ["zyx", "xzy"])
@pytest.mark.parametrize("read_bytes", [1, 1 << 26])
def test_planes(tmp_path, monkeypatch, volume, orientation, read_bytes):
    monkeypatch.setattr("tomofilt.draw.preview.READ_BYTES", read_bytes)
    stored = volume if orientation == "zyx" else as_tilt_writes(volume)
    slices = VolumeSlices(write_mrc(tmp_path / "rec.mrc", stored), orientation)

    assert slices.shape == SHAPE
    assert slices.voxel_angst == pytest.approx(VOXEL_ANGST)
    np.testing.assert_allclose(slices.planes_z(2, 7), volume[2:7].mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(slices.planes_y(0, 5), volume[:, :5].mean(axis=1), atol=1e-6)
    np.testing.assert_allclose(slices.planes_x(50, 52), volume[..., 50:].mean(axis=2), atol=1e-6)


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.uint16, np.float16])
def test_planes_of_every_type(tmp_path, dtype):
    volume = np.arange(120).reshape(4, 5, 6).astype(dtype)
    slices = VolumeSlices(write_mrc(tmp_path / "rec.mrc", volume))
    np.testing.assert_array_equal(slices.planes_z(3, 4), volume[3].astype(np.float32))


def test_a_truncated_file_is_refused(tmp_path, volume):
    path = write_mrc(tmp_path / "rec.mrc", volume)
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(InputError, match="truncated"):
        VolumeSlices(path)


def test_the_picture_puts_each_plane_in_its_panel(tmp_path):
    """One bright block off the centre of each axis lands upper right in XY, and so on."""
    nz, ny, nx = 60, 200, 240
    volume = np.random.default_rng(0).normal(0, 0.1, (nz, ny, nx)).astype(np.float32)
    z, y, x = slice(40, 50), slice(150, 170), slice(200, 220)
    volume[nz // 2 - 3 : nz // 2 + 3, y, x] = 50  # seen in XY alone
    volume[z, ny // 2 - 3 : ny // 2 + 3, x] = 50  # in XZ
    volume[z, y, nx // 2 - 3 : nx // 2 + 3] = 50  # in YZ
    slices = VolumeSlices(write_mrc(tmp_path / "rec.mrc", volume))

    write_preview(slices, tmp_path / "rec.png", "TS_01", ["ramp"])

    with Image.open(tmp_path / "rec.png") as opened:
        picture = np.asarray(opened.convert("L")).astype(int)
    zoom = 2  # 240 + 60 voxels across a page of 900
    below, beside = MARGIN + zoom * ny + GAP, MARGIN + zoom * nx + GAP
    xy = picture[MARGIN:][: zoom * ny, MARGIN : MARGIN + zoom * nx][::-1]
    xz = picture[below:][: zoom * nz, MARGIN : MARGIN + zoom * nx][::-1]
    yz = picture[MARGIN:][: zoom * ny, beside : beside + zoom * nz][::-1]
    for panel, rows, columns in ((xy, y, x), (xz, z, x), (yz, y, z)):
        block = panel[
            zoom * rows.start + 2 : zoom * rows.stop - 2,
            zoom * columns.start + 2 : zoom * columns.stop - 2,
        ]
        assert block.min() == 255
        assert 100 < np.median(panel) < 155


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 1, 900), (40, 3000, 20), (200, 900, 1100)])
def test_the_picture_fits_its_page(tmp_path, shape):
    write_preview(Blank(shape, 10.0), tmp_path / "flat.png", "a series", ["ramp"])
    with Image.open(tmp_path / "flat.png") as picture:
        assert 500 < picture.width <= 1200
        assert picture.height <= 1750


def test_an_unwritable_folder_is_an_error_of_output(tmp_path, volume):
    slices = VolumeSlices(write_mrc(tmp_path / "rec.mrc", volume))
    with pytest.raises(OutputError, match="nowhere"):
        write_preview(slices, tmp_path / "nowhere" / "rec.png", "TS_01")


def test_gold_beads_do_not_darken_the_rest(tmp_path):
    volume = np.random.default_rng(0).normal(0, 1, (20, 300, 300)).astype(np.float32)
    volume[:, 140:160, 140:160] = -100  # in the middle, where the grey scale is taken from
    write_preview(VolumeSlices(write_mrc(tmp_path / "rec.mrc", volume)), tmp_path / "rec.png", "x")
    with Image.open(tmp_path / "rec.png") as opened:
        grey = np.asarray(opened.convert("L"))[MARGIN:, MARGIN:][100:500, 100:500].astype(float)
    background = grey[grey > 0]
    assert 120 < background.mean() < 136
    assert 30 < background.std() < 55  # 6 standard deviations from black to white: 42


@pytest.mark.parametrize(
    ("shape", "voxel_angst", "zoom"),
    [((20, 200, 500), 13.48, 1), ((20, 200, 100), 13.48, 6), ((20, 600, 4000), 2.0, 1122 / 4020)],
)
def test_the_scale_bar_is_as_long_as_it_says(tmp_path, shape, voxel_angst, zoom):
    write_preview(Blank(shape, voxel_angst), tmp_path / "grey.png", "x")
    with Image.open(tmp_path / "grey.png") as opened:
        picture = np.asarray(opened)
    foot = MARGIN + round(zoom * shape[1]) - 21  # inside the bar
    row = (picture[foot, :, :] == INK).all(axis=1)
    assert np.abs(np.diff(np.flatnonzero(row))).max() == 1  # one bar
    length_nm = row.sum() / zoom * voxel_angst / 10
    pixel_nm = voxel_angst / 10 / zoom
    round_lengths = np.outer([1, 2, 5], 10.0 ** np.arange(4)).ravel()
    nearest = round_lengths[np.abs(round_lengths - length_nm).argmin()]
    assert length_nm == pytest.approx(nearest, abs=pixel_nm)
    assert 0.08 < row.sum() / (zoom * shape[2]) < 0.26
