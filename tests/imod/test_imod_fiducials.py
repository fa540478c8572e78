"""Fiducial models: the format, and where their beads are in the images.

``beads.fid`` was written by imodmodel 0.1.0: three beads in five sections, bead b in section v at
x = 20.5 + 3 b + v / 4 and y = 30 - b; bead 1 is missing in section 2.
"""

import struct
from pathlib import Path

import numpy as np
import pytest
from strategies_imod import PIXEL_ANGST, VIEWS, ImodFolder, format_xf, rotation_xf

from tomofilt.errors import InputError
from tomofilt_imod.fiducials import read_model

BEADS = Path(__file__).parents[1] / "data" / "imod" / "beads.fid"
SIZE = (48, 64, VIEWS)


def model(pixel_angst):
    """The file's bytes with the size of its images, and their pixel size, as 3dmod writes them."""
    data = BEADS.read_bytes()
    minx = b"MINX" + struct.pack(">i18f", 72, *[0.0] * 9, *[pixel_angst] * 3, *[0.0] * 6)
    return data[:136] + struct.pack(">3i", *SIZE) + data[148:-4] + minx + data[-4:]


def expected_px(bead, section):
    """About the middle of the model's images."""
    return np.array([20.5 + 3 * bead + section / 4 - 24, 30.0 - bead - 32])


@pytest.fixture
def folder(tmp_path):
    return ImodFolder(tmp_path / "data")


def test_another_programs_model_is_read():
    read = read_model(BEADS)
    assert [len(contour) for contour in read.contours] == [5, 4, 5]
    np.testing.assert_array_equal(read.contours[1][:, 2], [0, 1, 3, 4])
    np.testing.assert_allclose(read.contours[2][3], [27.25, 28.0, 3.0])


def test_meshes_and_pixel_sizes_are_passed_over_and_read(tmp_path):
    path = tmp_path / "TS.fid"
    mesh = b"MESH" + struct.pack(">3i2h", 2, 3, 0, 0, 0) + bytes(2 * 12 + 3 * 4)
    data = model(3.5)
    path.write_bytes(data[:-84] + mesh + data[-84:])
    read = read_model(path)
    assert read.size_px == SIZE
    assert read.pixel_angst == 3.5
    assert len(read.contours) == 3


@pytest.mark.parametrize("end", [10, 300, 500])
def test_a_broken_model_is_refused(tmp_path, end):
    path = tmp_path / "TS.fid"
    path.write_bytes(BEADS.read_bytes()[:end])
    with pytest.raises(InputError, match=r"TS\.fid"):
        read_model(path)


def test_a_damaged_length_is_refused(tmp_path):
    path = tmp_path / "TS.fid"
    path.write_bytes(BEADS.read_bytes()[:-4] + b"VIEW" + struct.pack(">i", -8) + b"IEOF")
    with pytest.raises(InputError, match=r"TS\.fid ends after .* copy it again"):
        read_model(path)


def test_a_model_on_the_prealigned_stack(folder):
    """Binned by 2, and moved and turned by .prexg; the images are raw."""
    shifts = [(2.0 * v, -3.0) for v in range(VIEWS)]
    folder.raw(rotation_xf(10.0))
    folder.write(".prexg", format_xf(rotation_xf(90.0, shifts)))
    (folder.path / "TS.fid").write_bytes(model(2 * PIXEL_ANGST))
    series = folder.read()
    assert series.fiducials_angst.shape == (3, VIEWS, 2)
    assert np.isnan(series.fiducials_angst[1, 2]).all()
    for bead, view in ((0, 0), (2, 3)):
        x, y = 2 * expected_px(bead, view) - shifts[view]
        np.testing.assert_allclose(
            series.fiducials_angst[bead, view], PIXEL_ANGST * np.array([y, -x]), atol=1e-5
        )
    assert series.facts["fiducial_beads"].value == 3
    assert series.facts["fiducial_beads"].source == "TS.fid"
    assert {folder.path / "TS.fid", folder.path / "TS.prexg"} <= set(series.files)
    np.testing.assert_array_equal(
        series.select([4, 1]).fiducials_angst, series.fiducials_angst[:, [4, 1]]
    )


def test_a_model_on_the_aligned_stack(folder):
    (folder.path / "TS_erase.fid").write_bytes(model(PIXEL_ANGST))
    series = folder.read()
    np.testing.assert_allclose(
        series.fiducials_angst[2, 4], PIXEL_ANGST * expected_px(2, 4), atol=1e-5
    )
    assert series.facts["beads_to_erase"].value == 3


def test_a_model_that_cannot_be_used_is_said(folder):
    (folder.path / "TS.fid").write_bytes(model(PIXEL_ANGST))
    (folder.path / "TS_erase.fid").write_bytes(BEADS.read_bytes())
    series = folder.read()
    assert series.fiducials_angst is None
    notes = "\n".join(series.notes)
    assert "TS.prexg is not there" in notes
    assert "does not say how large" in notes
