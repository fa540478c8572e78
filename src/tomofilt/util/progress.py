"""Progress of the work, and the time that each part of it takes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["Clock", "Progress"]


class Progress:
    """Counts finished units of work and reports them in thousandths of the whole.

    Parameters
    ----------
    tell : callable
        Is called with how much is done, from 0 to 1000.
    total : int
        Number of units in the whole work.
    """

    def __init__(self, tell: Callable[[int], None] = lambda _: None, total: int = 1) -> None:
        self._tell, self._total, self._done = tell, max(total, 1), 0

    def advance(self, amount: int = 1) -> None:
        """Count finished units of work."""
        self._done += amount
        self._tell(int(1000 * min(1.0, self._done / self._total)))

    def finish(self) -> None:
        """Report the work as done, even if ``total`` was estimated wrong."""
        self.advance(self._total - self._done)


class Clock:
    """Wall-clock seconds of each phase, as the main thread spends them."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(("align", "filter", "back-project", "write"), 0.0)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Count the time spent inside under a phase's name."""
        start = time.perf_counter()
        try:
            yield
        finally:
            spent = time.perf_counter() - start
            self.seconds[name] = self.seconds.get(name, 0.0) + spent
