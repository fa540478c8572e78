"""What installed packages add to tomofilt: their entry points, looked up once."""

from __future__ import annotations

from functools import cache
from importlib.metadata import EntryPoint, entry_points

__all__ = ["plugins"]


@cache
def plugins(group: str) -> tuple[EntryPoint, ...]:
    """Entry points of a group.

    To look them up takes as long as to see whether a tomogram is finished, for the files of every
    package that is installed are read.
    """
    return tuple(entry_points(group=group))
