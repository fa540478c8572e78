"""Passing on the messages that the library logs (:mod:`logging`) while it works."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["notes_told_to"]


class _Teller(logging.Handler):
    def __init__(self, tell: Callable[[str], None]) -> None:
        super().__init__()
        self._tell = tell

    def emit(self, record: logging.LogRecord) -> None:
        self._tell(record.getMessage())


@contextmanager
def notes_told_to(tell: Callable[[str], None], level: int = logging.INFO) -> Iterator[None]:
    """Hand every line that tomofilt logs to a function, while the context lasts.

    Parameters
    ----------
    tell : callable
    level : int
        The least level of a line that is handed on.
    """
    logger, handler = logging.getLogger("tomofilt"), _Teller(tell)
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(level)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)
