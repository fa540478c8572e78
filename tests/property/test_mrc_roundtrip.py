"""Any MRC file reads as mrcfile reads it; anything written reads back, however it was cut up."""

from __future__ import annotations

import io
import tempfile
from pathlib import Path

import mrcfile
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies_mrc import MrcFile, mrc_files, partitions

from tomofilt.io.mrc import MrcStack, MrcWriter


@given(file=mrc_files(), data=st.data())
@settings(max_examples=150)
def test_reader_finds_the_pixels(file: MrcFile, data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.mrc")
        path.write_bytes(file.raw)
        stack = MrcStack(path)
        expected = file.pixels.astype(np.float32) + file.value_offset
        images, ny, _ = stack.shape
        whole = np.stack([stack.read(i) for i in range(images)])
        assert whole.dtype == np.float32
        assert whole.flags.c_contiguous
        np.testing.assert_array_equal(whole, expected)
        assert stack.pixel_angst == pytest.approx(file.pixel_angst, rel=1e-6)

        image = data.draw(st.integers(0, images - 1))
        start = data.draw(st.integers(0, ny))
        stop = data.draw(st.integers(start, ny))
        np.testing.assert_array_equal(stack.read(image, start, stop), expected[image, start:stop])


@given(file=mrc_files(modes=(0, 1, 2, 6, 12)).filter(lambda file: file.trailing == 0))
@settings(max_examples=100)
def test_reader_agrees_with_mrcfile(file: MrcFile) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.mrc")
        path.write_bytes(file.raw)
        stack = MrcStack(path)
        with mrcfile.open(path) as other:
            theirs = np.array(other.data).reshape(stack.shape)
        if file.mode == 0 and not stack.header.signed_bytes:
            theirs = theirs.view(np.uint8)  # MRC2014 knows no unsigned bytes
        ours = np.stack([stack.read(i) for i in range(stack.shape[0])]) - stack.header.value_offset
        np.testing.assert_array_equal(ours, theirs.astype(np.float32))


@given(
    shape=st.tuples(st.integers(1, 6), st.integers(1, 7), st.integers(1, 9)),
    dtype=st.sampled_from(["float32", "float16", "int16", "int8"]),
    mean=st.floats(-300, 300),
    spread=st.floats(0.5, 100),
    seed=st.integers(0, 2**32 - 1),
    data=st.data(),
)
@settings(max_examples=100)
def test_written_blocks_read_back(shape, dtype, mean, spread, seed, data) -> None:
    rng = np.random.default_rng(seed)
    volume = (mean + spread * rng.standard_normal(shape)).astype(np.float32)
    expected = volume
    if dtype == "float16":
        expected = volume.astype(np.float16).astype(np.float32)
    elif dtype != "float32":
        low, high = (0, 255) if dtype == "int8" else (-32768, 32767)
        expected = np.clip(np.rint(volume), low, high)

    blocks = [
        (z, y) for z in data.draw(partitions(shape[0])) for y in data.draw(partitions(shape[1]))
    ]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.mrc")
        with MrcWriter(path, shape, 3.5, dtype=dtype, allow_constant=True) as writer:
            for (z, z_stop), (y, y_stop) in data.draw(st.permutations(blocks)):
                block = volume[z:z_stop, y:y_stop]  # not contiguous in general
                wide = block.astype(np.float64)
                stats = (float(block.min()), float(block.max()), wide.sum(), (wide**2).sum())
                writer.write(block, z, y, data.draw(st.sampled_from([None, stats])))
            writer.commit()
        stack = MrcStack(path)
        np.testing.assert_array_equal([stack.read(z) for z in range(shape[0])], expected)
        stored = expected.astype(np.float64) - (128 if dtype == "int8" else 0)
        header = stack.header
        found = (header.dmin, header.dmax, header.dmean, header.rms)
        true = (stored.min(), stored.max(), stored.mean(), stored.std())
        # what float32 fields hold, and what rounding leaves when means are squared
        scale = abs(stored).max()
        np.testing.assert_allclose(found, true, rtol=1e-7, atol=1e-7 * scale)
        assert stack.dmean == header.dmean + (128 if dtype == "int8" else 0)
        if dtype != "float16":  # mrcfile compares with statistics summed in half precision
            report = io.StringIO()
            assert mrcfile.validate(path, print_file=report), report.getvalue()
        with mrcfile.open(path) as other:
            theirs = np.array(other.data).reshape(shape).astype(np.float32)
        np.testing.assert_array_equal(theirs, stored)
        if dtype in ("int16", "int8"):
            low, high = (0, 255) if dtype == "int8" else (-32768, 32767)
            outside = (np.rint(volume) < low) | (np.rint(volume) > high)
            assert writer.clipped == np.count_nonzero(outside)
