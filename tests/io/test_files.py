"""A result stands under its final name only when it is whole."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import subprocess
import sys
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import pytest

from tomofilt.errors import InputError, MissingFileError, OutputError, OutputExistsError
from tomofilt.io import files
from tomofilt.io.files import (
    PartialFile,
    content_digest,
    read_input,
    safe_name,
    sweep,
    write_bytes_atomic,
    write_text_atomic,
)


@pytest.fixture
def final(tmp_path: Path) -> Path:
    return tmp_path / "TS_01.mrc"


def part(final: Path) -> Path:
    return final.with_name(f".{final.name}.tomofilt-part")


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def raising(code: int):
    def fail(*_args, **_kwargs):
        raise OSError(code, os.strerror(code))

    return fail


def test_commit_gives_the_name_and_removes_the_temporary_file(final: Path) -> None:
    with PartialFile(final) as file:
        assert file.path == part(final)
        file.pwrite_all(2, b"cd")
        file.pwrite_all(0, memoryview(b"ab"))
        assert not final.exists()
        file.commit(replace=False)
        assert final.read_bytes() == b"abcd"
    assert names(final.parent) == [final.name]


@pytest.mark.parametrize("replace", [False, True])
def test_the_temporary_file_of_a_later_writer_is_left_alone(final: Path, replace: bool) -> None:
    with PartialFile(final) as file:
        file.commit(replace=replace)
        part(final).write_bytes(b"theirs")
    assert part(final).read_bytes() == b"theirs"


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_nothing_remains_without_a_commit(final: Path, error: type[BaseException]) -> None:
    def interrupted() -> None:
        with PartialFile(final) as file:
            file.pwrite_all(0, b"half")
            raise error

    with pytest.raises(error):
        interrupted()
    assert names(final.parent) == []


def test_an_interruption_at_any_step_leaves_nothing(final: Path) -> None:
    """Python raises what a signal asks for between any two of its own instructions."""

    def write() -> None:
        with PartialFile(final) as file:
            file.pwrite_all(0, b"ab")
            file.commit(replace=True)

    def trace(frame, event, _argument):
        nonlocal steps
        if frame.f_code.co_filename not in (files.__file__, __file__):
            return None
        frame.f_trace_opcodes = True
        steps -= event == "opcode"
        if steps == 0:
            raise KeyboardInterrupt
        return trace

    for last in count(1):
        steps, before = last, sys.gettrace()
        sys.settrace(trace)
        try:
            write()
        except KeyboardInterrupt:
            pass
        finally:
            sys.settrace(before)
        assert not part(final).exists(), last
        if final.exists():
            assert final.read_bytes() == b"ab"
            final.unlink()
        if steps > 0:
            break
    assert last > 300


def test_the_file_is_on_the_disk_before_it_has_its_name(final: Path, monkeypatch) -> None:
    states = []
    monkeypatch.setattr(files.os, "fsync", lambda _fd: states.append(final.exists()))
    write_bytes_atomic(final, b"x", replace=False)
    assert states == [False, True]  # the file, then the folder


def test_an_existing_file_is_never_clobbered(final: Path) -> None:
    with PartialFile(final) as file:
        file.pwrite_all(0, b"new")
        final.write_bytes(b"appeared meanwhile")
        with pytest.raises(OutputExistsError, match="--overwrite"):
            file.commit(replace=False)
    assert final.read_bytes() == b"appeared meanwhile"
    assert names(final.parent) == [final.name]


def test_replacing_an_existing_file(final: Path) -> None:
    final.write_bytes(b"old and longer")
    write_bytes_atomic(final, b"new", replace=True)
    assert final.read_bytes() == b"new"
    assert names(final.parent) == [final.name]


@pytest.mark.parametrize("taken", [False, True])
def test_folders_without_hard_links(final: Path, monkeypatch, taken: bool) -> None:
    monkeypatch.setattr(files.os, "link", raising(errno.EPERM))
    if taken:
        final.write_bytes(b"old")
        with pytest.raises(OutputExistsError):
            write_bytes_atomic(final, b"new", replace=False)
    else:
        write_bytes_atomic(final, b"new", replace=False)
    assert final.read_bytes() == (b"old" if taken else b"new")
    assert names(final.parent) == [final.name]


def test_left_overs_of_a_killed_run_are_taken_over(final: Path) -> None:
    part(final).write_bytes(b"x" * 1000)
    write_bytes_atomic(final, b"new", replace=False)
    assert final.read_bytes() == b"new"
    assert names(final.parent) == [final.name]


def test_a_run_killed_between_link_and_unlink_leaves_its_result_intact(final: Path) -> None:
    final.write_bytes(b"finished")
    os.link(final, part(final))
    with PartialFile(final) as file:
        file.pwrite_all(0, b"other")
    assert final.read_bytes() == b"finished"
    assert names(final.parent) == [final.name]


def test_a_link_under_the_temporary_name_is_not_followed(final: Path, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_bytes(b"data")
    part(final).symlink_to(precious)
    with pytest.raises(OutputError, match=r"TS_01\.mrc"), PartialFile(final):
        pass
    assert precious.read_bytes() == b"data"


def test_two_processes_cannot_write_the_same_file(final: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from tomofilt.io.files import PartialFile\n"
        "with PartialFile(Path(sys.argv[1])) as file:\n"
        "    file.pwrite_all(0, b'first'); print('locked', flush=True); sys.stdin.read()\n"
        "    file.commit(replace=False)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, final], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == b"locked\n"
        with (
            pytest.raises(OutputError, match=r"another process is writing .*TS_01\.mrc"),
            PartialFile(final),
        ):
            pass
        assert part(final).read_bytes() == b"first"
        first.communicate(b"")
    assert first.returncode == 0
    assert final.read_bytes() == b"first"


@pytest.mark.parametrize("outcome", ["committed", "gave up", "gave up, and a third began"])
def test_a_writer_that_ends_while_we_open_keeps_its_result(
    final: Path, monkeypatch, outcome: str
) -> None:
    flock = fcntl.flock
    calls = []

    def other_ends_first(fd: int, operation: int) -> None:
        calls.append(fd)
        if len(calls) == 1:
            if outcome == "committed":
                part(final).rename(final)
                final.write_bytes(b"theirs")
            else:
                part(final).unlink()
            if "third" in outcome:
                part(final).write_bytes(b"left over")
        flock(fd, operation)

    monkeypatch.setattr(files.fcntl, "flock", other_ends_first)
    with PartialFile(final) as file:
        assert len(calls) == 2
        file.pwrite_all(0, b"ours")
        assert part(final).read_bytes() == b"ours"
    assert not part(final).exists()
    if outcome == "committed":
        assert final.read_bytes() == b"theirs"


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_file_systems_without_locks_still_work(final: Path, monkeypatch, code: int) -> None:
    monkeypatch.setattr(files.fcntl, "flock", raising(code))
    write_bytes_atomic(final, b"x", replace=False)
    assert final.read_bytes() == b"x"


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (errno.ENOSPC, "is full: 3 bytes are needed and 1,234 are free"),
        (errno.EDQUOT, "quota"),
        (errno.EROFS, "read-only"),
        (errno.EACCES, "does not let you write"),
        (errno.EIO, "input/output errors"),
        (errno.EFBIG, "File too large"),
    ],
)
@pytest.mark.parametrize("call", ["open", "pwrite", "fsync", "link"])
def test_errors_of_the_system_name_the_folder(
    final: Path, monkeypatch, code: int, words: str, call: str
) -> None:
    if call == "link":
        monkeypatch.setattr(Path, "rename", raising(code))  # what is tried when linking fails
    monkeypatch.setattr(files.os, call, raising(code))
    monkeypatch.setattr(files.shutil, "disk_usage", lambda _: SimpleNamespace(free=1234))
    with pytest.raises(OutputError) as caught:
        write_bytes_atomic(final, b"abc", replace=False)
    message = str(caught.value)
    assert str(final) in message
    assert str(final.parent) in message
    if not (call == "open" and code == errno.ENOSPC):  # no size is known that early
        assert words in message
    assert isinstance(caught.value.__cause__, OSError)
    monkeypatch.undo()
    assert names(final.parent) == []


def test_errors_while_flushing_name_the_folder(final: Path, monkeypatch) -> None:
    monkeypatch.setattr(files, "_sync_data", raising(errno.EIO))
    with PartialFile(final) as file, pytest.raises(OutputError, match="input/output errors"):
        file.flush()


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"folder .*nowhere does not exist; create it"):
        write_bytes_atomic(tmp_path / "nowhere" / "a", b"", replace=False)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder(final: Path) -> None:
    final.parent.chmod(0o555)
    with pytest.raises(OutputError, match="does not let you write"):
        write_bytes_atomic(final, b"", replace=False)
    final.parent.chmod(0o755)


def test_reserve_compares_with_the_free_space(final: Path) -> None:
    with PartialFile(final) as file:
        free = shutil.disk_usage(final.parent).free
        file.reserve(free // 2)
        with pytest.raises(OutputError, match=rf"{10 * free:,} bytes are needed and [\d,]+ are"):
            file.reserve(10 * free)


def test_short_writes_are_continued(final: Path, monkeypatch) -> None:
    pwrite = os.pwrite
    monkeypatch.setattr(files.os, "pwrite", lambda fd, data, at: pwrite(fd, data[:3], at))
    write_bytes_atomic(final, bytes(range(100)), replace=False)
    assert final.read_bytes() == bytes(range(100))


def test_files_get_the_permissions_of_the_umask(final: Path) -> None:
    before = os.umask(0o027)
    try:
        write_bytes_atomic(final, b"", replace=False)
    finally:
        os.umask(before)
    assert final.stat().st_mode & 0o777 == 0o640


def test_no_descriptor_is_leaked(final: Path, monkeypatch) -> None:
    fds = Path("/dev/fd")
    before = len(list(fds.iterdir()))
    with PartialFile(final):
        for _ in range(3):
            with pytest.raises(OutputError), PartialFile(final):
                pass
    monkeypatch.setattr(files.os, "ftruncate", raising(errno.EIO))
    with pytest.raises(OutputError), PartialFile(final):
        pass
    assert len(list(fds.iterdir())) == before


def test_text_is_utf8_and_replaced_as_a_whole(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "record.json"
    write_text_atomic(path, "5 Å\n", replace=False)
    assert path.read_bytes() == b"5 \xc3\x85\n"
    with monkeypatch.context() as patch:
        patch.setattr(files.os, "pwrite", raising(errno.ENOSPC))
        with pytest.raises(OutputError):
            write_text_atomic(path, "new", replace=True)
    assert path.read_text(encoding="utf-8") == "5 Å\n"
    write_text_atomic(path, "new", replace=True)
    assert path.read_text() == "new"


@pytest.mark.parametrize("name", ["TS_01", "a b", "Tomogram-3", "é", "x.y", "001"])
def test_safe_names_pass(name: str) -> None:
    assert safe_name(name) == name


@pytest.mark.parametrize("name", ["", "..", ".", "../x", "a/b", "/a", "-o", ".x", "a\0", "a\nb"])
def test_unsafe_names_are_refused(name: str) -> None:
    with pytest.raises(InputError, match="cannot become a file name"):
        safe_name(name)


class TestInputs:
    """Only regular files are read: nothing waits for a pipe, and contents have a digest."""

    def test_a_file_is_read(self, tmp_path):
        path = tmp_path / "a.txt"
        path.write_bytes(b"words")
        assert read_input(path) == b"words"

    @pytest.mark.parametrize(
        ("kind", "message"),
        [
            ("folder", "is a folder, not a regular file"),
            ("fifo", r"is a pipe \(FIFO\), not a regular file"),
            ("device", "is a device, not a regular file"),
        ],
    )
    def test_anything_else_is_refused_at_once(self, tmp_path, kind, message):
        path = tmp_path / "x.mrc"
        match kind:
            case "folder":
                path.mkdir()
            case "fifo":
                os.mkfifo(path)
            case "device":
                path = Path("/dev/null")
        with pytest.raises(InputError, match=message):
            read_input(path)

    def test_a_missing_file(self, tmp_path):
        with pytest.raises(MissingFileError, match="x: there is no such file"):
            read_input(tmp_path / "x")

    def test_the_digest_is_of_the_contents_alone(self, tmp_path):
        path, other = tmp_path / "a.mrc", tmp_path / "b.mrc"
        path.write_bytes(bytes(1024) + b"data")
        other.write_bytes(bytes(1023) + b"1data")
        os.utime(other, (1, 1))
        assert content_digest(path) != content_digest(other)
        assert content_digest(path, skip=1024) == content_digest(other, skip=1024)
        other.write_bytes(bytes(1024) + b"dat")
        assert content_digest(path, skip=1024) != content_digest(other, skip=1024)

    def test_a_large_file_is_sampled_from_end_to_end(self, tmp_path, monkeypatch):
        monkeypatch.setattr(files, "_WHOLE_BYTES", 1000)
        monkeypatch.setattr(files, "_RUN_BYTES", 10)
        monkeypatch.setattr(files, "_BYTES_PER_RUN", 1000)
        path = tmp_path / "stack.mrc"
        data = bytearray(50_000)
        path.write_bytes(data)
        before = content_digest(path)
        for section in range(50):  # any section that was written again is noticed
            changed = data.copy()
            changed[1000 * section : 1000 * (section + 1)] = b"x" * 1000
            path.write_bytes(changed)
            assert content_digest(path) != before
        for place in (0, 49_999):
            changed = data.copy()
            changed[place] = 1
            path.write_bytes(changed)
            assert content_digest(path) != before


def test_sweep(tmp_path):
    left = [".REC.mrc.tomofilt-part", ".REC_half1.json.tomofilt-part", ".other.mrc.tomofilt-part"]
    for name in left:
        (tmp_path / name).write_text("cut off")
    (tmp_path / ".REC.ome.zarr.tomofilt-folder" / "0").mkdir(parents=True)
    (tmp_path / "REC.json").write_text("whole")
    with PartialFile(tmp_path / "REC.png") as busy:
        sweep([tmp_path / "REC.mrc", tmp_path / "absent" / "REC.mrc"])
        assert busy.path.exists()
    assert {path.name for path in tmp_path.iterdir()} == {left[2], "REC.json"}
