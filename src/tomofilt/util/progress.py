"""Progress of the work, and the time that each part of it takes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["Clock", "Progress"]


class Progress:
    """Counts finished units of work and tells which share of the whole is done.

    Parameters
    ----------
    tell : callable
        Is called with the share, from 0 to 1.
    total : float
        Number of units in the whole work; seconds, where parts of it are of several kinds.
    """

    def __init__(self, tell: Callable[[float], None] = lambda _: None, total: float = 1.0) -> None:
        self._tell, self._total, self._done = tell, total, 0.0

    def advance(self, amount: float = 1.0) -> None:
        """Count finished units of work."""
        self._done += amount
        self._tell(min(1.0, self._done / self._total) if self._total > 0 else 1.0)

    @contextmanager
    def part(self, amount: float, total: float = 1.0) -> Iterator[Progress]:
        """Progress of a part of the work, with units of its own.

        What is left of the part when it ends was not needed: the whole is so much smaller.

        Parameters
        ----------
        amount : float
            Of this work's units.
        total : float
            Of its own units.
        """
        told = 0.0

        def tell(share: float) -> None:
            nonlocal told
            step, told = share - told, share
            self.advance(step * amount)

        yield Progress(tell, total)
        self._total -= (1 - told) * amount

    def finish(self) -> None:
        """Tell that the work is done, even if ``total`` was estimated wrong."""
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
