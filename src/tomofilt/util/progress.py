"""How far the work is, and where its time goes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

__all__ = ["Clock", "Progress", "Reporter"]


class Reporter(Protocol):
    """Whoever wants to hear how the work goes on."""

    def note(self, message: str) -> None:
        """A line of plain text worth reading."""

    def progress(self, done: int, total: int) -> None:
        """Work units finished so far; called often, total stays the same within a series."""


class Progress:
    """Work of one volume out of several of a series, told in thousandths."""

    def __init__(self, reporter: Reporter, index: int, count: int) -> None:
        self.reporter, self.index, self.count = reporter, index, count
        self.done, self.total = 0, 1

    def advance(self, amount: int = 1) -> None:
        """Count units of work of this volume, out of ``total``."""
        self.done += amount
        share = (self.index + min(1.0, self.done / self.total)) / self.count
        self.reporter.progress(int(1000 * share), 1000)

    def finish(self) -> None:
        """Whatever was estimated, the volume is done."""
        self.done = self.total
        self.advance(0)


class Clock:
    """Wall-clock seconds of each phase, as the main thread spends them."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(("read", "align", "filter", "back-project", "write"), 0.0)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Count the time spent inside under a phase's name."""
        start = time.perf_counter()
        try:
            yield
        finally:
            spent = time.perf_counter() - start
            self.seconds[name] = self.seconds.get(name, 0.0) + spent
