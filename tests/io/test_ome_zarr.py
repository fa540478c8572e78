"""OME-Zarr: valid, the voxels of the MRC file whatever its axes and type, whole or absent."""

import importlib.util

import numpy as np
import pytest
import zarr
from ome_zarr_models.common.omero import Omero
from ome_zarr_models.v05.image import Image
from skimage.transform import downscale_local_mean

from tomofilt.errors import InputError, OutputError
from tomofilt.io import ome_zarr
from tomofilt.io.files import PartialFile
from tomofilt.io.mrc import MrcStack, MrcWriter
from tomofilt.io.ome_zarr import own_mark, require_zarr, write_ome_zarr

SHAPE = (13, 21, 18)  # z, y, x
WINDOW = {"start": 40.0, "end": 160.0, "min": 0.0, "max": 200.0}


def volume(path, orientation="zyx", dtype="float32", seed=0):
    """An MRC file, and its values with z upwards."""
    values = np.random.default_rng(seed).uniform(0, 200, SHAPE).astype(np.float32)
    stored = values if orientation == "zyx" else values[::-1].transpose(1, 0, 2)
    with MrcWriter(path, stored.shape, 5.0, dtype=dtype, orientation=orientation) as writer:
        writer.write(stored)
        writer.commit()
    read = np.stack([MrcStack(path).read(i) for i in range(len(stored))])
    return read if orientation == "zyx" else read.transpose(1, 0, 2)[::-1]


def write(folder, path, orientation="zyx"):
    write_ome_zarr(
        folder,
        path,
        orientation=orientation,
        voxel_angst=5.0,
        origin_angst=(45.0, 52.5, 32.5),
        name="TS_01",
        window=WINDOW,
        mark="0123456789abcdef",
    )
    return zarr.open_group(folder, mode="r")


@pytest.mark.parametrize(
    ("orientation", "dtype", "kept", "rounding"),
    [
        ("zyx", "float32", "float32", 1e-4),
        ("xzy", "float32", "float32", 1e-4),
        ("zyx", "float16", "float16", 2**-4),  # half the step between 128 and 256
        ("xzy", "int16", "int16", 0.5),
        ("zyx", "int8", "uint8", 0.5),
    ],
)
def test_voxels_and_metadata(tmp_path, monkeypatch, orientation, dtype, kept, rounding):
    monkeypatch.setattr(ome_zarr, "_CHUNK", 8)
    expected = volume(tmp_path / "a.mrc", orientation, dtype)
    group = write(tmp_path / "a.ome.zarr", tmp_path / "a.mrc", orientation)

    found = Image.from_zarr(group)
    [multiscale] = found.attributes.ome.multiscales
    assert [(axis.name, axis.type, axis.unit) for axis in multiscale.axes] == [
        (name, "space", "angstrom") for name in "zyx"
    ]
    for level, dataset in enumerate(multiscale.datasets):
        scale, place = dataset.coordinateTransformations
        size = 5.0 * 2**level
        assert scale.scale == [size] * 3
        # the middle of the volume is zero: its first voxel ends half the volume before that
        edge = np.array(place.translation) - size / 2
        assert edge.tolist() == [-32.5, -52.5, -45.0]
    window = Omero(**group.attrs["ome"]["omero"]).channels[0].window
    assert window.model_dump() == WINDOW

    assert group["0"].dtype == kept
    assert np.array_equal(group["0"][:], expected)
    assert group["1"].shape == (7, 11, 9)
    assert group["2"].shape == (4, 6, 5)
    for coarse, fine in (("1", "0"), ("2", "1")):
        even = tuple(slice(n - n % 2) for n in group[fine].shape)
        mean = downscale_local_mean(group[fine][even].astype(np.float64), (2, 2, 2))
        inner = tuple(slice(n) for n in mean.shape)
        np.testing.assert_allclose(group[coarse][inner], mean, atol=rounding)
    # the last plane of an odd axis stands alone
    mean = group["0"][-1, :2, :2].mean(dtype=np.float64)
    np.testing.assert_allclose(group["1"][-1, 0, 0], mean, atol=rounding)


def test_what_fails_leaves_the_earlier_one(tmp_path, monkeypatch):
    folder = tmp_path / "a.ome.zarr"
    first = volume(tmp_path / "a.mrc")
    write(folder, tmp_path / "a.mrc")
    second = volume(tmp_path / "b.mrc", seed=1)
    with monkeypatch.context() as broken:
        broken.setattr(ome_zarr, "_LEVELS", ("0", "1", "1"))  # the same level twice
        with pytest.raises(zarr.errors.ContainsArrayError):
            write(folder, tmp_path / "b.mrc")
    assert np.array_equal(zarr.open_group(folder, mode="r")["0"][:], first)
    assert {path.name for path in tmp_path.iterdir()} == {"a.mrc", "b.mrc", "a.ome.zarr"}
    (tmp_path / ".a.ome.zarr.tomofilt-folder").mkdir()  # of a run that was killed
    write(folder, tmp_path / "b.mrc")
    assert np.array_equal(zarr.open_group(folder, mode="r")["0"][:], second)
    assert {path.name for path in tmp_path.iterdir()} == {"a.mrc", "b.mrc", "a.ome.zarr"}


def test_two_at_a_time(tmp_path):
    volume(tmp_path / "a.mrc")
    with (
        PartialFile(tmp_path / "a.ome.zarr"),
        pytest.raises(OutputError, match="another process is writing"),
    ):
        write(tmp_path / "a.ome.zarr", tmp_path / "a.mrc")


def test_whose_it_is(tmp_path):
    folder = tmp_path / "a.ome.zarr"
    assert own_mark(folder) is None
    volume(tmp_path / "a.mrc")
    write(folder, tmp_path / "a.mrc")
    assert own_mark(folder) == "0123456789abcdef"
    (folder / "labels").mkdir()
    assert own_mark(folder) is None
    zarr.create_group(tmp_path / "other.zarr")
    assert own_mark(tmp_path / "other.zarr") is None


def test_not_installed(monkeypatch):
    require_zarr()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'tomofilt\[zarr\]'"):
        require_zarr()
