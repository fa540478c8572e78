"""The errors tomofilt raises: one tree, each with the exit code the command line returns.

Every message says what was found, where, and what to do about it, in words for a
microscopist at the end of a long day.
"""

from __future__ import annotations

__all__ = [
    "InputError",
    "MissingFileError",
    "OutputError",
    "OutputExistsError",
    "ResourceError",
    "TomofiltError",
]


class TomofiltError(Exception):
    """Base of every error that tomofilt raises on purpose."""

    exit_code = 2


class InputError(TomofiltError, ValueError):
    """A file or an option holds something that cannot be used."""


class MissingFileError(TomofiltError, FileNotFoundError):
    """A file that the work needs is not there."""

    # FileNotFoundError formats (errno, text) pairs; the message here is plain text.
    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class OutputError(TomofiltError, OSError):
    """A result could not be written (disk full, read-only folder, another writer)."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class OutputExistsError(OutputError, FileExistsError):
    """A result would overwrite a file that must not be overwritten."""


class ResourceError(TomofiltError, RuntimeError):
    """The machine lacks what was asked for: memory, or a GPU."""

    exit_code = 3
