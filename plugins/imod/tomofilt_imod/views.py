"""Lists of views as IMOD's programs read them."""

from __future__ import annotations

import re
from collections.abc import Iterable

from tomofilt.errors import InputError
from tomofilt.io.mrc_header import LARGEST_AXIS
from tomofilt.io.text import split_fields

__all__ = ["parse_view_list"]

_RANGE = re.compile(r"(\d+)(?:-(\d+))?")


def parse_view_list(texts: Iterable[str], where: str) -> tuple[int, ...]:
    """Parse IMOD lists of views such as ``1-3,20``, ``1 2 3 20`` and ``1 - 3, 20``.

    Parameters
    ----------
    texts : iterable of str
        Any number of lists; their views add up.
    where : str
        File and key, for the error.

    Returns
    -------
    tuple of int
        Views in ascending order, each once, numbered as in the lists.
    """
    views: set[int] = set()
    for text in texts:
        for field in split_fields(re.sub(r"\s*-\s*", "-", text)):
            match = _RANGE.fullmatch(field)
            if match is None:
                raise InputError(
                    f"{where} has {text!r}, in which {field!r} is neither a view number nor a "
                    "range such as 1-3"
                )
            ends = sorted(int(end) for end in match.groups(default=match[1]))
            # no stack has so many views: the last is enough to be refused, by who knows the stack
            views.update(range(ends[0], ends[1] + 1) if ends[1] < LARGEST_AXIS else ends)
    return tuple(sorted(views))
