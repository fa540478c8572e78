"""PNG files that bear tomofilt's mark, by which its own pictures are told from other people's."""

from __future__ import annotations

import os
from pathlib import Path

from tomofilt.errors import InputError, MissingFileError, OutputExistsError
from tomofilt.io.files import PartialFile, open_input

__all__ = ["MARK", "is_own_png", "refuse_foreign_png", "write_png"]

#: Text that a picture of tomofilt's has beside its pixels (a PNG chunk ``tEXt``).
MARK = {"Software": "tomofilt"}
_CHUNK = b"tEXtSoftware\0tomofilt"
#: The mark stands in front of the pixels, within so many bytes.
_FRONT = 4096


def is_own_png(path: Path) -> bool:
    """Whether a file is a PNG with tomofilt's mark."""
    try:
        with open_input(path) as file:
            front = file.read(_FRONT)
    except (InputError, MissingFileError):
        return False
    return front.startswith(b"\x89PNG\r\n\x1a\n") and _CHUNK in front


def refuse_foreign_png(path: Path) -> None:
    """Raise OutputExistsError when the name is taken by anything but a picture of tomofilt's."""
    if os.path.lexists(path) and not is_own_png(path):
        raise OutputExistsError(
            f"{path} exists and tomofilt did not make it: move it away, or choose another name"
        )


def write_png(path: Path, data: bytes) -> None:
    """Write a picture with the mark, in place of an earlier one of tomofilt's and no other file.

    Raises
    ------
    OutputExistsError
        The name is taken by a file of somebody else's.
    OutputError
        As :class:`tomofilt.io.files.PartialFile`.
    """
    with PartialFile(path) as partial:
        refuse_foreign_png(path)
        partial.pwrite_all(0, data)
        partial.commit(replace=True)
