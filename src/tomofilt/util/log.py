"""Passing on the messages that the library logs (:mod:`logging`) while it works."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["notes_told_to"]


class _Teller(logging.Handler):
    def __init__(self, tell: Callable[[str], None]) -> None:
        super().__init__(logging.INFO)
        self._tell = tell

    def emit(self, record: logging.LogRecord) -> None:
        self._tell(record.getMessage())


@contextmanager
def notes_told_to(tell: Callable[[str], None]) -> Iterator[None]:
    """Hand every line that tomofilt logs to a function, while the context lasts."""
    logger, handler = logging.getLogger("tomofilt"), _Teller(tell)
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
