"""Images that a STAR file names."""

import numpy as np
import pytest

from tomofilt.errors import InputError, MissingFileError
from tomofilt.io.mrc import MrcWriter
from tomofilt_relion.images import NamedImages, split_reference


@pytest.fixture
def images(tmp_path):
    """Write MRC files; pixels count up through a file."""

    def write(name, shape, dtype="float32"):
        block = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        with MrcWriter(path, shape, 1.0, dtype=dtype, is_volume=False) as writer:
            writer.write(block)
            writer.commit()
        return block

    write.root = tmp_path
    return write


def test_files_and_stacks(images):
    one, stack = images("m/a.mrc", (1, 5, 6), "float16"), images("m/b.mrcs", (3, 5, 6))
    named = NamedImages(images.root, ["m/a.mrc", "000003@m/b.mrcs", "1@m/b.mrcs"], 8.0)
    assert named.shape == (3, 5, 6)
    assert named.pixel_angst == 8.0  # the headers say 1 A
    assert named.files == (images.root / "m/a.mrc", images.root / "m/b.mrcs")
    for index, expected in enumerate((one[0], stack[2], stack[0])):
        found = named.read(index)
        assert found.dtype == np.float32
        assert np.array_equal(found, expected)
    assert np.array_equal(named.read(1, 2, 4), stack[2, 2:4])


def test_absolute_paths(images):
    images("a.mrc", (1, 5, 6))
    assert NamedImages(images.root / "x", [str(images.root / "a.mrc")], 8.0).shape == (1, 5, 6)


def test_nothing_is_opened_before_it_is_asked_for(tmp_path):
    named = NamedImages(tmp_path, ["absent.mrc"], 8.0)
    with pytest.raises(MissingFileError, match=r"absent\.mrc"):
        _ = named.shape


def test_sizes_must_agree(images):
    images("a.mrc", (1, 5, 6))
    images("b.mrc", (1, 7, 6))
    named = NamedImages(images.root, ["a.mrc", "b.mrc"], 8.0)
    with pytest.raises(
        InputError, match=r"b\.mrc has images of 6 x 7 pixels but .*a\.mrc of 6 x 5"
    ):
        _ = named.shape


def test_sections_must_exist(images):
    images("b.mrcs", (3, 5, 6))
    with pytest.raises(InputError, match=r"000004@b\.mrcs: .* has only 3 images"):
        _ = NamedImages(images.root, ["000004@b.mrcs"], 8.0).shape
    with pytest.raises(InputError, match=r"b\.mrcs holds 3 images, of which one is meant"):
        _ = NamedImages(images.root, ["b.mrcs"], 8.0).shape


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("a/b.mrc", ("a/b.mrc", None)),
        ("000012@a/b.mrcs", ("a/b.mrcs", 11)),
        ("me@home/b.mrc", ("me@home/b.mrc", None)),
        ("1@me@home/b.mrcs", ("me@home/b.mrcs", 0)),
    ],
)
def test_references(reference, expected):
    assert split_reference(reference) == expected


def test_image_zero():
    with pytest.raises(InputError, match="names image 0 of a stack"):
        split_reference("000000@a.mrcs")
