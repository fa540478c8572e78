"""Input files that are regular files; output files that are complete or not there at all.

A result is written under a temporary name in its own folder and gets its final name only when it
is complete and on the disk. A killed run leaves at most the temporary file; the next run that
writes the same result uses it again.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import shutil
import stat
import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from tomofilt.errors import InputError, MissingFileError, OutputError, OutputExistsError

__all__ = [
    "PartialFile",
    "content_digest",
    "open_input",
    "partial_folder",
    "read_input",
    "safe_name",
    "sweep",
    "write_bytes_atomic",
    "write_text_atomic",
]

# A digest takes in files of this size as a whole, and of larger ones runs of bytes: one for every
# so many bytes of the file, within these numbers.
_WHOLE_BYTES, _RUN_BYTES, _BYTES_PER_RUN = 4 << 20, 16 << 10, 4 << 20
_FEWEST_RUNS, _MOST_RUNS = 32, 512

# Some cluster file systems (Lustre mounted without -o flock, say) have no locks at all.
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP}

_sync_data = getattr(os, "fdatasync", os.fsync)  # macOS has no fdatasync


def open_input(path: Path) -> BinaryIO:
    """Open a file to read its bytes; anything else of that name is refused at once.

    Opening a FIFO would wait until somebody writes to it, and reading a device might never end.

    Raises
    ------
    MissingFileError
        There is no such file.
    InputError
        It is no regular file, or cannot be opened.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise MissingFileError(f"{path}: there is no such file") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    mode = os.fstat(fd).st_mode
    if not stat.S_ISREG(mode):
        os.close(fd)
        kinds = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe (FIFO)"}
        what = kinds.get(stat.S_IFMT(mode), "a device")
        raise InputError(f"{path} is {what}, not a regular file: give the path of a file")
    return os.fdopen(fd, "rb")


def read_input(path: Path) -> bytes:
    """Read a whole file; see :func:`open_input` for the errors."""
    with open_input(path) as file:
        try:
            return file.read()
        except OSError as error:
            raise InputError(f"{path} cannot be read: {error.strerror}") from error


def content_digest(path: Path, skip: int = 0) -> str:
    """Sixteen hexadecimal digits that tell the contents of two files apart, in milliseconds.

    Files of up to 4 MiB are read whole. Of larger ones, the size and evenly spread runs of 16 KiB
    are taken, the first and the last among them: every section of an image stack that another
    program has written again has some of them. Names and times do not count.

    Parameters
    ----------
    path : Path
    skip : int
        Bytes at the start, a header say, that do not count.

    Raises
    ------
    MissingFileError, InputError
        As :func:`open_input`.
    """
    with open_input(path) as file:
        try:
            size = max(0, os.fstat(file.fileno()).st_size - skip)
            digest = hashlib.sha256(str(size).encode())
            if size <= _WHOLE_BYTES:
                file.seek(skip)
                digest.update(file.read())
            else:
                runs = min(max(size // _BYTES_PER_RUN, _FEWEST_RUNS), _MOST_RUNS)
                for run in range(runs):
                    start = skip + (size - _RUN_BYTES) * run // (runs - 1)
                    digest.update(os.pread(file.fileno(), _RUN_BYTES, start))
        except OSError as error:
            raise InputError(f"{path} cannot be read: {error.strerror}") from error
    return digest.hexdigest()[:16]


class PartialFile:
    """A file that gets its final name only with :meth:`commit`.

    Used as a context manager. Entering makes ``.{name}.tomofilt-part`` beside the final path and
    locks it against other processes; leaving without a commit, for whatever reason, removes it.

    Parameters
    ----------
    final : Path
        The name the finished file gets; its folder must exist.

    Raises
    ------
    OutputError
        The folder cannot be written to, or another process is writing the same file.
    """

    def __init__(self, final: Path) -> None:
        self.final = Path(final)
        self.path = self.final.with_name(f".{self.final.name}.tomofilt-part")
        self._fds: list[int] = []  # one while the file is open
        self._needed = 0
        self._named = False

    def __enter__(self) -> PartialFile:
        # a signal may interrupt this at any step, or its caller before that sees to the exit
        self._left = weakref.finalize(self, _remove_left, self.path, self._fds, os.getpid())
        try:
            with self.explained():
                self._open_locked()
        except Exception:
            self._left.detach()
            raise
        self._named = True
        return self

    def __exit__(self, *exception: object) -> None:
        # Remove the file before closing it: closing gives up the lock, and then another process
        # may already use the name.
        if self._named:
            with suppress(OSError):
                self.path.unlink()
        self._close()
        self._left.detach()

    def refuse_existing(self) -> None:
        """Raise OutputExistsError when the final name is taken."""
        if os.path.lexists(self.final):
            raise OutputExistsError(
                f"{self.final} exists already: give --overwrite to replace it, "
                "or choose another output folder"
            )

    def reserve(self, nbytes: int) -> None:
        """Fail at once, not after hours, if the disk cannot hold ``nbytes`` bytes."""
        self._needed = nbytes
        with self.explained():
            if _free_bytes(self.final.parent) < nbytes:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def pwrite_all(self, offset: int, buffer: bytes | memoryview) -> None:
        """Write all of a contiguous buffer at a byte offset; safe from several threads."""
        rest = memoryview(buffer).cast("B")
        self._needed = max(self._needed, offset + len(rest))
        with self.explained():
            while rest:
                written = os.pwrite(self._fds[0], rest, offset)
                rest = rest[written:]
                offset += written

    def flush(self) -> None:
        """Move what was written so far to the disk, now rather than all at the end."""
        with self.explained():
            _sync_data(self._fds[0])

    def commit(self, *, replace: bool) -> None:
        """Put the file on the disk and give it its final name.

        Parameters
        ----------
        replace : bool
            Whether a file that has the final name already may be replaced.

        Raises
        ------
        OutputExistsError
            ``replace`` is false and the final name is taken.
        OutputError
            The disk is full, or the folder does not allow it.
        """
        with self.explained():
            os.fsync(self._fds[0])
            if replace:
                self.path.replace(self.final)
            else:
                self._rename_to_free_name()
            self._named = False
            _fsync(self.final.parent)

    def _open_locked(self) -> None:
        while True:
            flags = os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW
            self._fds.append(os.open(self.path, flags, 0o666))
            try:
                self._lock(self._fds[0])
                if self._is_ours(self._fds[0]):
                    os.ftruncate(self._fds[0], 0)
                    return
            except BaseException:
                self._close()
                raise
            self._close()

    def _close(self) -> None:
        os.close(self._fds.pop())

    def _lock(self, fd: int) -> None:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OutputError(
                f"another process is writing {self.final}: wait for it, or end it, "
                "or choose another output folder"
            ) from None
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise

    def _is_ours(self, fd: int) -> bool:
        """Whether the locked file still has the temporary name, and no other name."""
        held = os.fstat(fd)
        try:
            named = self.path.lstat()
        except FileNotFoundError:
            return False  # another process finished or gave up between our open and our lock
        if not os.path.samestat(held, named):
            return False
        if held.st_nlink > 1:
            # A run was killed between os.link and os.unlink: this is the second name of a finished
            # result, which must not be truncated.
            self.path.unlink()
            return False
        return True

    def _rename_to_free_name(self) -> None:
        try:
            os.link(self.path, self.final)
        except FileExistsError:
            self.refuse_existing()
            raise
        except OSError:  # no hard links here (vfat, many FUSE file systems): check, then rename
            self.refuse_existing()
            self.path.rename(self.final)
        else:
            self.path.unlink()

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Turn the system's errors into messages about this file."""
        try:
            yield
        except OutputError:
            raise
        except OSError as error:
            raise OutputError(f"{self.final} cannot be written: {self._reason(error)}") from error

    def _reason(self, error: OSError) -> str:
        folder = self.final.parent
        match error.errno:
            case errno.ENOSPC:
                return (
                    f"the disk of {folder} is full: {self._needed:,} bytes are needed and "
                    f"{_free_bytes(folder):,} are free; make room or choose another output folder"
                )
            case errno.EDQUOT:
                return (
                    f"your quota in {folder} is used up ({self._needed:,} bytes are needed); "
                    "make room or choose another output folder"
                )
            case errno.EROFS:
                what = "is on a read-only file system; choose another output folder"
            case errno.EACCES | errno.EPERM:
                what = "does not let you write; ask its owner or choose another output folder"
            case errno.EIO:
                what = "is on a disk that reports input/output errors; check it, then rerun"
            case errno.ENOENT | errno.ENOTDIR:
                what = "does not exist; create it first"
            case _:
                what = f"reports: {error.strerror}"
        return f"the folder {folder} {what}"


def _remove_left(path: Path, fds: list[int], process: int) -> None:
    """Remove what an interrupted :class:`PartialFile` left, unless another process has it now."""
    if process != os.getpid():
        return  # a fork of it
    with suppress(OSError):
        while fds:
            os.close(fds.pop())
        fd = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(fd), path.lstat()):
                path.unlink()
        finally:
            os.close(fd)


@contextmanager
def partial_folder(final: Path, nbytes: int) -> Iterator[Path]:
    """A folder that gets its final name when the block ends well, in place of an earlier one.

    It is filled as ``.{name}.tomofilt-folder``, while a :class:`PartialFile` keeps other processes
    away. What a killed run leaves is removed by the next one.

    Parameters
    ----------
    final : Path
    nbytes : int
        So much room has to be there.

    Raises
    ------
    OutputError
        As :class:`PartialFile`.
    """
    filling, old = (final.with_name(f".{final.name}.tomofilt-{what}") for what in ("folder", "old"))
    with PartialFile(final) as lock, lock.explained():
        for left in (filling, old):
            shutil.rmtree(left, ignore_errors=True)
        lock.reserve(nbytes)
        filling.mkdir()
        try:
            yield filling
            for path in filling.rglob("*"):
                _fsync(path)
            if final.exists():
                final.rename(old)
            filling.rename(final)
            _fsync(final.parent)
            shutil.rmtree(old, ignore_errors=True)
        finally:
            shutil.rmtree(filling, ignore_errors=True)


def sweep(finals: Iterable[Path]) -> None:
    """Remove what processes that were killed left of files, and of those named after them.

    Parameters
    ----------
    finals : iterable of Path
        Of ``a/REC.mrc``, for example, also ``a/.REC_half1.json.tomofilt-part`` goes, unless another
        process is writing it.
    """
    begins: dict[Path, tuple[str, ...]] = {}
    for final in finals:
        begins[final.parent] = (*begins.get(final.parent, ()), f".{final.stem}")
    for folder, names in begins.items():
        for left in folder.glob(".*.tomofilt-*"):
            final = folder / left.name[1:].rpartition(".tomofilt-")[0]
            if left.name.startswith(names):
                with suppress(OutputError), PartialFile(final):
                    shutil.rmtree(left, ignore_errors=True)  # a folder; the file goes by itself


def write_bytes_atomic(path: Path, data: bytes, *, replace: bool) -> None:
    """Write a whole file at once; see :class:`PartialFile` for the errors."""
    with PartialFile(path) as partial:
        partial.pwrite_all(0, data)
        partial.commit(replace=replace)


def write_text_atomic(path: Path, text: str, *, replace: bool) -> None:
    """Write a whole UTF-8 text file at once; see :class:`PartialFile` for the errors."""
    write_bytes_atomic(path, text.encode(), replace=replace)


def safe_name(name: str) -> str:
    """Return ``name`` if it can safely become a file name.

    Names of tilt series come from other programs' files; one such as ``../x`` or ``-o`` must not
    reach a path or a command line.

    Raises
    ------
    InputError
        The name is empty, starts with ``-`` or ``.``, or holds ``/``, ``..``, NUL or another
        character that cannot be printed.
    """
    if not name or name[0] in "-." or "/" in name or ".." in name or not name.isprintable():
        raise InputError(
            f"the name {name!r} cannot become a file name: it must not be empty, start with '-' "
            "or '.', or hold '/', '..' or control characters; rename it in the project"
        )
    return name


def _free_bytes(folder: Path) -> int:
    return shutil.disk_usage(folder).free


def _fsync(path: Path) -> None:
    # Some file systems cannot sync a folder: not a reason to fail.
    with suppress(OSError):
        fd = os.open(path, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
