"""Files that SerialEM, IMOD, RELION and mrcfile wrote, and a file that must look like IMOD's."""

from __future__ import annotations

from pathlib import Path

import mrcfile
import numpy as np
import pytest
from numpy.typing import NDArray

from tomofilt.io.mrc import MrcStack, MrcWriter, label

DATA = Path(__file__).parent.parent / "data" / "mrc"
PROGRAMS = DATA / "programs"


def pixels(stack: MrcStack) -> NDArray[np.float32]:
    return np.stack([stack.read(i) for i in range(stack.shape[0])])


@pytest.fixture
def float_images() -> NDArray[np.float32]:
    return pixels(MrcStack(DATA / "serialem" / "test_002_mode2.st"))


@pytest.mark.parametrize(
    ("mode", "low", "high"), [(0, 0, 255), (1, -32768, 32767), (2, None, None), (6, 0, 65535)]
)
def test_serialem_stacks_hold_the_same_images_in_every_mode(mode, low, high, float_images) -> None:
    stack = MrcStack(DATA / "serialem" / f"test_002_mode{mode}.st")
    assert stack.shape == (41, 24, 24)
    assert stack.header.mode == mode
    assert stack.header.nsymbt == 246
    assert stack.header.is_imod
    assert not stack.header.signed_bytes
    assert stack.pixel_angst == pytest.approx(2.604, abs=1e-5)
    assert stack.header.labels[1].startswith("    Tilt axis angle = -14.3")
    expected = float_images
    if mode != 2:  # newstack rounded and clipped
        expected = np.clip(np.rint(float_images), low, high)
    np.testing.assert_array_equal(pixels(stack), expected)


@pytest.mark.parametrize("mode", [1, 2, 6])
def test_serialem_stacks_agree_with_mrcfile(mode) -> None:
    path = DATA / "serialem" / f"test_002_mode{mode}.st"
    with mrcfile.open(path) as other:
        np.testing.assert_array_equal(pixels(MrcStack(path)), other.data.astype(np.float32))
        assert MrcStack(path).pixel_angst == pytest.approx(float(other.voxel_size.x))


@pytest.mark.parametrize(
    ("name", "shape", "pixel_angst", "is_imod"),
    [
        ("imod_tilt_61x31.mrc", (8, 31, 61), 10.0, True),
        ("relion_projection.mrc", (1, 38, 44), 16.0, False),
        ("float16_image.mrc", (1, 80, 96), 8.0, False),
    ],
)
def test_headers_tell_the_truth_about_the_pixels(name, shape, pixel_angst, is_imod) -> None:
    stack = MrcStack(PROGRAMS / name)
    values = pixels(stack).astype(np.float64)
    assert stack.shape == shape
    assert stack.pixel_angst == pixel_angst
    assert stack.header.is_imod is is_imod
    assert stack.dmin == np.float32(values.min())
    assert stack.dmax == np.float32(values.max())
    assert stack.mean == pytest.approx(values.mean(), rel=1e-6)


def test_a_tomogram_has_the_header_that_imod_writes(tmp_path: Path) -> None:
    theirs = PROGRAMS / "imod_tilt_61x31.mrc"
    stack = MrcStack(theirs)
    ours = tmp_path / "ours.mrc"
    with MrcWriter(
        ours,
        stack.shape,
        stack.pixel_angst,
        origin_angst=stack.header.origin_angst,
        labels=stack.header.labels,
        orientation="xzy",
    ) as writer:
        writer.write(pixels(stack))
        writer.commit()
    a, b = bytearray(ours.read_bytes()), bytearray(theirs.read_bytes())
    assert len(a) == len(b)
    assert a[1024:] == b[1024:]
    # dmean: IMOD sums in another order
    assert np.frombuffer(a[84:88], "<f4") == pytest.approx(np.frombuffer(b[84:88], "<f4"), rel=1e-6)
    # exttyp and nversion, which IMOD leaves blank; IMOD's flags 1 (only for bytes) and 8 (no rms)
    for first, stop in [(84, 88), (104, 112), (156, 160), (216, 220)]:
        a[first:stop] = b[first:stop]
    assert a[:1024] == b[:1024]


def test_labels_have_their_date_where_imod_has_it() -> None:
    theirs = MrcStack(PROGRAMS / "imod_tilt_61x31.mrc").header.labels[2]
    ours = label("gaussian:0.06 back-projection")
    assert ours.startswith("TOMOFILT: gaussian:0.06 back-projection ")
    date = slice(56, 65)
    assert theirs[date] == "22-Nov-26"
    assert ours[55] == " "
    assert [c.isalnum() for c in ours[date].replace(" ", "0")] == [
        c.isalnum() for c in theirs[date]
    ]
    assert len(ours) <= 80
