"""Reading MRC files with suspicion and writing them with true headers."""

from __future__ import annotations

import errno
import io
import os
import signal
import struct
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

import mrcfile
import numpy as np
import pytest
from strategies_mrc import mrc_header

from tomofilt.errors import InputError, MissingFileError, OutputError, OutputExistsError
from tomofilt.io import files
from tomofilt.io.mrc import MrcStack, MrcWriter, label, read_header

SHAPE = (3, 4, 5)
RAMP = np.arange(60, dtype=np.float32).reshape(SHAPE)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "TS_01.mrc"


def put(path: Path, header: bytes, data: bytes = bytes(240)) -> Path:
    path.write_bytes(header + data)
    return path


def write(path: Path, volume=RAMP, **options) -> MrcWriter:
    with MrcWriter(path, volume.shape, 2.5, **options) as writer:
        writer.write(volume)
        writer.commit()
    return writer


# ---- reading -------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["<", ">"])
def test_header_fields(path: Path, order: str) -> None:
    header = mrc_header(
        SHAPE,
        1,
        order=order,
        grid=(10, 20, 1),
        cell=(30.0, 40.0, 2.0),
        stats=(-1.5, 7.0, 2.0),
        nsymbt=16,
        labels=("first", "second"),
    )
    found = read_header(put(path, header))
    assert found.shape == SHAPE
    assert found.spacing_angst == (3.0, 2.0, 2.0)
    assert (found.dmin, found.dmax, found.dmean) == (-1.5, 7.0, 2.0)
    assert (found.nsymbt, found.mode, found.byte_order) == (16, 1, order)
    assert found.labels == ("first", "second")
    assert not found.is_imod


def test_origin_is_in_imods_sign(path: Path) -> None:
    def origin(**options):
        return read_header(put(path, mrc_header(SHAPE, 2, origin=(1, -2, 0), **options)))

    assert origin().origin_angst == (-1, 2, 0)  # MRC2014
    assert origin(imod_flags=0).origin_angst == (1, -2, 0)
    assert origin(imod_flags=4).origin_angst == (-1, 2, 0)


@pytest.mark.parametrize(
    ("imod_flags", "dmin", "dmax", "value"),
    [
        (0, -3, 100, 200),  # IMOD's stamp decides, whatever the statistics
        (1, 0, 200, -56 + 128),
        (9, 0, 0, -56 + 128),
        (None, -3, 100, -56),
        (None, 0, 200, 200),
        (None, -3, 200, 200),
        (None, 0, 100, 200),
        (None, 0, 0, 200),
    ],
)
def test_signs_of_bytes(path: Path, imod_flags, dmin, dmax, value) -> None:
    header = mrc_header((1, 1, 1), 0, imod_flags=imod_flags, stats=(dmin, dmax, 10))
    stack = MrcStack(put(path, header, bytes([200])))
    assert stack.read(0) == [[value]]
    assert stack.dmean == 10 + (128 if imod_flags in (1, 9) else 0)


def test_four_bit_pixels_left_first_rows_padded(path: Path) -> None:
    stack = MrcStack(put(path, mrc_header((1, 2, 3), 101), bytes([0x21, 0xF3, 0x54, 0xF6])))
    np.testing.assert_array_equal(stack.read(0), [[1, 2, 3], [4, 5, 6]])
    np.testing.assert_array_equal(stack.read(0, 1), [[4, 5, 6]])


def test_missing_and_unreadable_files(path: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"TS_01\.mrc"):
        MrcStack(path)
    with pytest.raises(InputError, match="is a folder, not a regular file"):
        MrcStack(tmp_path)


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"", "0 bytes, .*1024"),
        (b"x" * 1023, "1023 bytes, .*1024"),
        (b"x" * 2000, "not an MRC file: bytes 208 to 213 are 78 78"),
        (mrc_header(SHAPE, 2, map_id=bytes(4)), "not an MRC file"),
        (mrc_header(SHAPE, 2, machst=bytes(4)), "not an MRC file.*4d 41 50 20 00 00"),
        (mrc_header(SHAPE, 2, machst=b"\x11\x11\0\0"), "damaged"),
        (mrc_header((0, 4, 5), 2), "claims 5 x 4 x 0 voxels"),
        (mrc_header((3, -4, 5), 2), "claims 5 x -4 x 3 voxels"),
        (mrc_header((3, 4, 2_000_000), 2), "claims 2000000 x 4 x 3 voxels"),
        (mrc_header(SHAPE, 2, nsymbt=-1), "-1 bytes of extended header"),
        (mrc_header(SHAPE, 4), "mode 4, complex"),
        (mrc_header(SHAPE, 3), "mode 3, complex"),
        (mrc_header(SHAPE, 16), "mode 16, .*0, 1, 2, 6, 12, 101"),
        (mrc_header(SHAPE, 2, axes=(3, 2, 1)), r"order \(3, 2, 1\)"),
    ],
)
def test_files_that_are_refused(path: Path, raw: bytes, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        read_header(put(path, raw, b"" if len(raw) < 1024 else bytes(240)))
    assert str(caught.value).startswith(str(path))


@pytest.mark.parametrize(
    ("mode", "needed"), [(0, 60), (1, 120), (2, 240), (6, 120), (12, 120), (101, 36)]
)
def test_truncated_files_are_refused(path: Path, mode: int, needed: int) -> None:
    header = mrc_header(SHAPE, mode, nsymbt=10)
    put(path, header, bytes(10 + needed - 1))
    words = rf"truncated.* {1034 + needed:,} bytes, but it has {1033 + needed:,}"
    with pytest.raises(InputError, match=words):
        read_header(path)
    assert read_header(put(path, header, bytes(10 + needed))).mode == mode
    assert read_header(put(path, header, bytes(10 + needed + 7))).mode == mode


def test_a_header_that_claims_terabytes_allocates_nothing(path: Path) -> None:
    with pytest.raises(InputError, match="truncated"):
        read_header(put(path, mrc_header((999_999,) * 3, 2)))


@pytest.mark.parametrize(
    "options",
    [
        {"pixel_angst": 0.0},
        {"pixel_angst": 1.0},
        {"pixel_angst": -2.0},
        {"pixel_angst": float("nan")},
        {"grid": (0, 0, 0), "cell": (10.0, 10.0, 10.0)},
        {"grid": (5, 4, 3), "cell": (10.0, 16.0, 6.0)},  # 2 A in x, 4 A in y
    ],
)
def test_unbelievable_pixel_sizes_need_the_option(path: Path, options) -> None:
    put(path, mrc_header(SHAPE, 2, **options))
    with pytest.raises(InputError, match=r"TS_01\.mrc .*give --input-pixel-size"):
        MrcStack(path)
    assert MrcStack(path, 3.25).pixel_angst == 3.25
    read_header(path)


@pytest.mark.parametrize("given", [0.0, -1.0, float("nan"), float("inf")])
def test_a_given_pixel_size_is_checked_too(path: Path, given: float) -> None:
    with pytest.raises(InputError, match="not positive"):
        MrcStack(put(path, mrc_header(SHAPE, 2)), given)


def test_reading_outside_is_an_error(path: Path) -> None:
    stack = MrcStack(put(path, mrc_header(SHAPE, 2)))
    for arguments in [(3,), (-1,), (0, -1), (0, 0, 5), (0, 3, 2)]:
        with pytest.raises(IndexError):
            stack.read(*arguments)


def test_a_file_that_shrinks_or_goes_after_opening(path: Path) -> None:
    stack = MrcStack(put(path, mrc_header(SHAPE, 2)))
    os.truncate(path, 1100)
    with pytest.raises(InputError, match="become shorter"):
        stack.read(1)
    path.unlink()
    with pytest.raises(InputError, match="can no longer be read"):
        stack.read(1)


def test_threads_read_at_once(path: Path) -> None:
    volume = np.random.default_rng(3).standard_normal((64, 50, 60), dtype=np.float32)
    write(path, volume, is_volume=False)
    stack = MrcStack(path)
    with ThreadPoolExecutor(8) as pool:
        for _ in range(3):
            np.testing.assert_array_equal(list(pool.map(stack.read, range(64))), volume)


@pytest.mark.parametrize(
    ("stats", "mean"),
    [((0, 59, 20.0), 20.0), ((0, 0, 0), 29.5), ((0, -1, -2), 29.5), ((2, 59, 0.0), 29.5)],
)
def test_mean_is_computed_when_the_header_does_not_know_it(path: Path, stats, mean) -> None:
    stack = MrcStack(put(path, mrc_header(SHAPE, 2, stats=stats), RAMP.tobytes()))
    assert stack.mean == mean
    assert stack.dmean == stats[2]


# ---- writing -------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_volume", [True, False])
@pytest.mark.parametrize("dtype", ["float32", "float16", "int16", "int8"])
def test_written_files_are_valid_and_hold_the_values(path: Path, dtype, is_volume) -> None:
    texts = ("SerialEM: something", label("ramp"))
    writer = write(path, dtype=dtype, is_volume=is_volume, labels=texts, origin_angst=(6, -5, 0.5))
    report = io.StringIO()
    assert mrcfile.validate(path, print_file=report), report.getvalue()
    with mrcfile.open(path) as other:
        np.testing.assert_array_equal(other.data, RAMP - (128 if dtype == "int8" else 0))
        assert other.data.dtype == np.dtype(dtype)
        assert other.is_volume() == is_volume
        assert other.voxel_size.tolist() == (2.5, 2.5, 2.5)
        assert other.header.origin.tolist() == (6, -5, 0.5)
        assert other.header.nversion == 20140
        assert [text.decode().rstrip() for text in other.header.label[:2]] == list(texts)
        assert (other.header.mx, other.header.my, other.header.mz) == (5, 4, 3)
    stack = MrcStack(path)
    np.testing.assert_array_equal([stack.read(z) for z in range(3)], RAMP)
    assert (stack.dmin, stack.dmax, stack.dmean) == (0, 59, 29.5)
    assert stack.header.rms == pytest.approx(RAMP.std(), rel=1e-6)
    assert stack.header.origin_angst == (6, -5, 0.5)
    assert stack.header.labels == texts
    assert stack.header.is_imod
    assert writer.statistics.rms == pytest.approx(RAMP.std(), rel=1e-6)
    assert writer.clipped == 0


def test_signed_bytes_follow_imod(path: Path) -> None:
    volume = np.array([[[-5.0, 0.4, 127.6, 254.6, 300.0]]], dtype=np.float32)
    writer = write(path, volume, dtype="int8")
    raw = path.read_bytes()
    assert np.frombuffer(raw[1024:], "i1").tolist() == [-128, -128, 0, 127, 127]
    assert struct.unpack_from("<2i", raw, 152) == (1146047817, 1)
    assert struct.unpack_from("<2f", raw, 76) == (-128, 127)
    assert MrcStack(path).read(0).tolist() == [[0, 0, 128, 255, 255]]
    assert writer.clipped == 2
    assert (writer.statistics.minimum, writer.statistics.maximum) == (0, 255)


@pytest.mark.parametrize(("dtype", "most"), [("int16", 32767), ("float16", 65504)])
def test_values_beyond_the_type_are_clipped_and_counted(path: Path, dtype, most) -> None:
    volume = RAMP.copy()
    volume[1, 2, 3:] = 1e6
    assert write(path, volume, dtype=dtype).clipped == 2
    assert MrcStack(path).dmax == most
    assert MrcStack(path).read(1)[2, 4] == most


@pytest.mark.parametrize(
    ("orientation", "is_volume", "angles"),
    [
        ("xzy", True, (0, 0, 0, 90, 0, 0)),
        ("zyx", True, (90, 0, 0, 0, 0, 0)),
        ("zyx", False, (0, 0, 0, 0, 0, 0)),
    ],
)
def test_orientation_is_recorded_as_imod_does(path: Path, orientation, is_volume, angles) -> None:
    write(path, orientation=orientation, is_volume=is_volume)
    assert struct.unpack_from("<6f", path.read_bytes(), 172) == angles


def test_statistics_are_exact_far_from_zero_and_over_many_pieces(path: Path) -> None:
    volume = np.random.default_rng(0).standard_normal((5, 300, 301), dtype=np.float32) + 10_000
    true = volume.astype(np.float64)
    with MrcWriter(path, volume.shape, 2.5) as writer:
        for y in range(0, 300, 7):
            writer.write(volume[:, y : y + 7], y=y)
            writer.flush()
        found = writer.statistics
    assert (found.minimum, found.maximum) == (true.min(), true.max())
    assert found.mean == pytest.approx(true.mean(), rel=1e-13)
    assert found.rms == pytest.approx(true.std(), rel=1e-7)


def test_given_statistics_are_used_for_floats_only(path: Path) -> None:
    given = (-1.0, 7.0, 120.0, 600.0)
    for dtype, expected in [("float32", (-1, 7, 2)), ("int16", (0, 59, 29.5))]:
        with MrcWriter(path, SHAPE, 2.5, dtype=dtype) as writer:
            writer.write(RAMP, stats=given)
            found = writer.statistics
        assert (found.minimum, found.maximum, found.mean) == expected


def test_threads_write_at_once(path: Path) -> None:
    volume = np.random.default_rng(3).standard_normal((40, 30, 20), dtype=np.float32)
    with MrcWriter(path, volume.shape, 2.5) as writer, ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda y: writer.write(volume[:, y : y + 1], y=y), range(30)))
        writer.commit()
    np.testing.assert_array_equal([MrcStack(path).read(z) for z in range(40)], volume)
    assert MrcStack(path).dmean == pytest.approx(volume.mean(dtype=np.float64), abs=1e-9)


@pytest.mark.parametrize(
    ("block", "z", "y"),
    [
        (RAMP, 1, 0),
        (RAMP, 0, 1),
        (RAMP, -1, 0),
        (RAMP[:, :, :4], 0, 0),
        (RAMP[:0], 0, 0),
        (RAMP[:, :0], 0, 0),
        (RAMP[2:, 3:], 2, 3),  # written before
    ],
)
def test_blocks_that_do_not_fit(path: Path, block, z: int, y: int) -> None:
    with MrcWriter(path, SHAPE, 2.5) as writer:
        writer.write(RAMP[2:, 3:], 2, 3)
        with pytest.raises(ValueError, match="block"):
            writer.write(block, z, y)


@pytest.mark.parametrize("labels", [("x",) * 11, ("x" * 81,), ("Å",)])
def test_labels_that_do_not_fit(path: Path, labels) -> None:
    with pytest.raises(ValueError, match="10 labels of 80 ASCII"):
        MrcWriter(path, SHAPE, 2.5, labels=labels)


@pytest.mark.parametrize(
    ("shape", "voxel"), [((0, 4, 5), 2.5), (SHAPE, 0.0), (SHAPE, float("nan"))]
)
def test_impossible_volumes(path: Path, shape, voxel) -> None:
    with pytest.raises(ValueError, match="no MRC file"):
        MrcWriter(path, shape, voxel)


def test_label_layout() -> None:
    when = datetime(2026, 3, 5, 7, 8, 9)
    assert label("ramp", when) == f"{'TOMOFILT: ramp':56} 5-Mar-26  07:08:09"
    long = label("5 Å " + "x" * 100, when)
    assert long == f"TOMOFILT: 5 ? {'x' * 41}  5-Mar-26  07:08:09"
    assert len(label("x" * 100)) <= 80


# ---- whole or absent -----------------------------------------------------------------------------


def interrupted_write(path: Path, error, **options) -> None:
    before = path.exists()
    with MrcWriter(path, SHAPE, 2.5, **options) as writer:
        writer.write(RAMP[:2])
        assert path.exists() is before
        raise error


def assert_absent(path: Path) -> None:
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["float32", "float16", "int16", "int8"])
def test_voxels_that_are_not_numbers_are_refused(path: Path, dtype, bad) -> None:
    volume = RAMP.copy()
    volume[1, 1, 1] = bad
    with pytest.raises(OutputError, match="not finite"):
        write(path, volume, dtype=dtype)
    assert_absent(path)


def test_given_statistics_that_are_not_numbers_are_refused(path: Path) -> None:
    with pytest.raises(OutputError, match="not finite"), MrcWriter(path, SHAPE, 2.5) as writer:
        writer.write(RAMP, stats=(0, 1, np.nan, 1))
    assert_absent(path)


def test_a_constant_result_is_a_failure_unless_expected(path: Path) -> None:
    with pytest.raises(OutputError, match="every voxel came out as 0"):
        write(path, np.zeros(SHAPE, np.float32))
    assert_absent(path)
    write(path, np.zeros(SHAPE, np.float32), allow_constant=True)
    assert MrcStack(path).dmax == 0


def test_missing_rows_are_a_failure(path: Path) -> None:
    with MrcWriter(path, SHAPE, 2.5) as writer:
        writer.write(RAMP[:2])
        with pytest.raises(OutputError, match="4 of 12 rows"):
            writer.commit()
    assert_absent(path)


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_exception_half_way_leaves_nothing(path: Path, error) -> None:
    with pytest.raises(error):
        interrupted_write(path, error)
    assert_absent(path)


def test_a_disk_that_fills_half_way_leaves_nothing(path: Path, monkeypatch) -> None:
    pwrite, calls = os.pwrite, []

    def fills(fd, data, at):
        calls.append(at)
        if len(calls) > 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        return pwrite(fd, data, at)

    monkeypatch.setattr(files.os, "pwrite", fills)
    words = r"is full: 1,264 bytes are needed and [\d,]+ are free"
    with MrcWriter(path, SHAPE, 2.5) as writer:
        writer.write(RAMP[:1])
        writer.write(RAMP[1:2], 1)
        with pytest.raises(OutputError, match=words):
            writer.write(RAMP[2:], 2)
    assert_absent(path)


def test_a_disk_that_is_too_small_is_found_before_the_work(path: Path) -> None:
    with (
        pytest.raises(OutputError, match="4,000,000,000,001,024 bytes are needed"),
        MrcWriter(path, (1000, 1_000_000, 1_000_000), 2.5),
    ):
        pytest.fail("must not come here")
    assert_absent(path)


@pytest.mark.parametrize("fault", ["data lost", "header garbled"])
def test_a_disk_that_loses_data_is_found_out(path: Path, monkeypatch, fault) -> None:
    pwrite = os.pwrite

    def loses(fd, data, at):
        if fault == "data lost" and at > 1024:
            return len(data)
        if fault == "header garbled" and at == 0:
            pwrite(fd, data, at)
            return pwrite(fd, bytes(8), 40) + len(data) - 8
        return pwrite(fd, data, at)

    monkeypatch.setattr(files.os, "pwrite", loses)
    with MrcWriter(path, SHAPE, 2.5) as writer:
        writer.write(RAMP[:1])
        writer.write(RAMP[1:], 1)
        with pytest.raises(OutputError, match="does not return what was written"):
            writer.commit()
    assert_absent(path)


def test_existing_results_are_kept_unless_replaced(path: Path) -> None:
    write(path)
    before = path.read_bytes()
    with pytest.raises(OutputExistsError), MrcWriter(path, SHAPE, 2.5):
        pytest.fail("must not come here")
    with pytest.raises(RuntimeError):
        interrupted_write(path, RuntimeError, replace=True)
    assert path.read_bytes() == before
    write(path, RAMP + 1, replace=True)
    assert MrcStack(path).dmin == 1


def test_two_writers_at_once(path: Path) -> None:
    with MrcWriter(path, SHAPE, 2.5) as first:
        with pytest.raises(OutputError, match="another process"), MrcWriter(path, SHAPE, 2.5):
            pytest.fail("must not come here")
        first.write(RAMP)
        first.commit()
    assert MrcStack(path).dmax == 59


def test_a_killed_run_leaves_no_result_and_the_next_run_succeeds(path: Path) -> None:
    code = (
        "import sys, numpy as np; from pathlib import Path; from tomofilt.io.mrc import MrcWriter\n"
        "with MrcWriter(Path(sys.argv[1]), (3, 4, 5), 2.5) as writer:\n"
        "    writer.write(np.ones((2, 4, 5), np.float32)); print('half', flush=True)\n"
        "    sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as run:
        assert run.stdout is not None
        assert run.stdout.readline() == b"half\n"
        run.send_signal(signal.SIGKILL)
    assert run.returncode == -signal.SIGKILL
    assert list(path.parent.iterdir()) == [path.with_name(".TS_01.mrc.tomofilt-part")]
    write(path)
    assert list(path.parent.iterdir()) == [path]
    np.testing.assert_array_equal([MrcStack(path).read(z) for z in range(3)], RAMP)
