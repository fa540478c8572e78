"""Steps of a measurement, none of which keeps the others from running: for bench/gpu.py."""

from __future__ import annotations

import faulthandler
import json
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

from rich.console import Console
from rich.table import Table

#: Seconds after its time in which a step may still end by itself.
GRACE = 20
#: What a step found; under "wrong" stands what should not be.
Found: TypeAlias = dict[str, Any]
#: Takes the machine, and writes into what was found.
Step: TypeAlias = Callable[[Any, Found], None]


@contextmanager
def at_most(seconds: int) -> Iterator[None]:
    """Raise TimeoutError when time is up; where even that is not heard, end the process soon."""

    def stop(*_: object) -> None:
        raise TimeoutError(f"not done within {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    faulthandler.dump_traceback_later(seconds + GRACE, exit=True, file=sys.__stderr__)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
        faulthandler.cancel_dump_traceback_later()


def run_steps(steps: Mapping[Step, int], machine: Any, console: Console, path: Path | None) -> int:
    """Run all steps, each for its seconds at most, and print a table; the exit code."""
    results: dict[str, Found] = {}
    for step, seconds in steps.items():
        found = results[step.__name__] = {}
        start = time.perf_counter()
        try:
            with at_most(seconds):
                step(machine, found)
        except Exception as error:
            found["wrong"] = f"{type(error).__name__}: {error}"
        found["took, s"] = time.perf_counter() - start
        console.print(step.__name__, found)
        if path is not None:  # after each step: a crash in native code ends the process
            path.write_text(json.dumps(results, indent=1))
    table = Table("step", "what", "result")
    for name, each in results.items():
        for what, value in each.items():
            shown = f"{value:.4g}" if isinstance(value, float) else str(value)
            table.add_row(name, what, shown[:300])
    console.print(table)
    return int(any("wrong" in each for each in results.values()))
