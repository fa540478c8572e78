"""How far the work is, and where its time goes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["Clock", "Progress"]


class Progress:
    """Counts units of work, and tells of them in thousandths.

    Parameters
    ----------
    tell : callable
        Told how much is done, out of 1000.
    total : int
        Units of all the work.
    """

    def __init__(self, tell: Callable[[int], None] = lambda _: None, total: int = 1) -> None:
        self._tell, self._total, self._done = tell, max(total, 1), 0

    def advance(self, amount: int = 1) -> None:
        """Count units of work."""
        self._done += amount
        self._tell(int(1000 * min(1.0, self._done / self._total)))

    def finish(self) -> None:
        """Whatever was estimated, the work is done."""
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
