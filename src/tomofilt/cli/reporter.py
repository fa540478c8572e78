"""How a batch shows its work: a progress bar on a terminal, a few plain lines in a log."""

from __future__ import annotations

import os
import time
import traceback
from collections.abc import Mapping
from contextlib import ExitStack
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console

from tomofilt.jobs.many import explain
from tomofilt.util.log import notes_told_to

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from tomofilt.jobs.many import Outcome, Summary

__all__ = ["ConsoleReporter", "debugging"]

#: In a log, at least so much lies between two lines of progress.
LOG_FRACTION, LOG_SECONDS = 0.1, 10.0


def debugging() -> bool:
    """Whether tracebacks are wanted (TOMOFILT_DEBUG=1)."""
    return os.environ.get("TOMOFILT_DEBUG", "") not in ("", "0")


class ConsoleReporter:
    """A :class:`tomofilt.jobs.many.BatchReporter` on standard error; a context manager.

    Parameters
    ----------
    quiet : bool
        Errors only.
    verbose : bool
        Also where the time of each series went.
    """

    def __init__(self, *, quiet: bool = False, verbose: bool = False) -> None:
        self.quiet, self.verbose = quiet, verbose
        self.console = Console(stderr=True, highlight=False, markup=False, emoji=False)
        self._notes = ExitStack()
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._name = ""
        self._started = self._said_at = 0.0
        self._said_fraction = 0.0

    def __enter__(self) -> ConsoleReporter:
        self._notes.enter_context(notes_told_to(self.note))
        if self.console.is_terminal and not self.quiet:
            self._bar = _bar(self.console)
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._notes.close()
        if self._bar is not None:
            self._bar.stop()

    def start(self, name: str, number: int, count: int) -> None:
        """Name the series that is worked on."""
        self._name = name if count == 1 else f"{name} ({number} of {count})"
        self._started = self._said_at = time.monotonic()
        self._said_fraction = 0.0
        if self._bar is not None:
            self._task = self._bar.add_task(self._name, total=None)

    def describe(self, text: str) -> None:
        """Say how the work stands, beside the bar or in the next lines of a log."""
        self._name = text
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, description=text)

    def note(self, message: str) -> None:
        """Print a line."""
        if not self.quiet:
            self.console.print(message, soft_wrap=True)

    def progress(self, done: int, total: int) -> None:
        """Move the bar, or print a line when enough has happened since the last one."""
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=done, total=total)
            return
        fraction, now = done / total, time.monotonic()
        if (
            fraction - self._said_fraction >= LOG_FRACTION
            and now - self._said_at >= LOG_SECONDS
            and done < total
        ):
            self._said_fraction, self._said_at = fraction, now
            self.note(f"{self._name}: {fraction:.0%} after {now - self._started:.0f} s")

    def finish(self, outcome: Outcome) -> None:
        """Say how the series ended."""
        if self._bar is not None and self._task is not None:
            self._bar.remove_task(self._task)
            self._task = None
        if outcome.error is not None:
            message = explain(outcome.error)[0].removeprefix(f"{outcome.name}: ")
            self.error(f"{outcome.name}: {message}", outcome.error)
        elif outcome.result is not None and not outcome.result.skipped:
            seconds = time.monotonic() - self._started
            self.note(f"{outcome.name}: done in {seconds:.1f} s")
            if outcome.destination is not None and outcome.destination.preview.exists():
                self.note(f"  picture: {outcome.destination.preview}")
            if self.verbose:
                self._phases(outcome.result.seconds)

    def summarise(self, summary: Summary) -> None:
        """Say how the batch ended, when it was more than one series or something failed."""
        for error in summary.commit_errors:
            self.error(f"the project could not be updated: {explain(error)[0]}", error)
        if len(summary.outcomes) < 2:
            return
        failed = [outcome.name for outcome in summary.outcomes if outcome.error]
        results = [outcome.result for outcome in summary.outcomes if outcome.result]
        skipped = sum(result.skipped for result in results)
        counts = [
            f"{len(results) - skipped} reconstructed",
            f"{skipped} finished before",
            f"{len(failed)} failed" + (f" ({', '.join(failed)})" if failed else ""),
        ]
        self.note(f"{len(summary.outcomes)} series: {', '.join(counts)}")

    def error(self, message: str, error: Exception | None = None) -> None:
        """Print an error, quiet or not; with its traceback when debugging."""
        if error is not None and debugging():
            self.console.print("".join(traceback.format_exception(error)), soft_wrap=True)
        self.console.print(f"tomofilt: {message}", style="bold red", soft_wrap=True)

    def _phases(self, seconds: Mapping[str, float]) -> None:
        from rich.table import Table

        total = sum(seconds.values())
        table = Table(box=None, pad_edge=False, show_footer=True, padding=(0, 2, 0, 0))
        table.add_column("  phase", "  all")
        table.add_column("seconds", f"{total:.2f}", justify="right")
        table.add_column("share", justify="right")
        for phase, spent in seconds.items():
            table.add_row(f"  {phase}", f"{spent:.2f}", f"{spent / total:.0%}" if total else "")
        if not self.quiet:
            self.console.print(table)


def _bar(console: Console) -> Progress:
    from rich.progress import (
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    )
