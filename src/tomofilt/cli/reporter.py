"""How a batch shows its work: a progress bar on a terminal, a few plain lines in a log."""

from __future__ import annotations

import logging
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

log = logging.getLogger(__name__)

#: In a log, at least so much lies between two lines of progress.
LOG_FRACTION, LOG_SECONDS = 0.1, 10.0
#: The first moments, in which libraries are loaded, do not tell how long the rest takes.
FIRST_FRACTION, FIRST_SECONDS = 0.02, 1.0


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
        Also what the library says while it works, and where the time of each series went. Both are
        in the record of a tomogram.
    """

    def __init__(self, *, quiet: bool = False, verbose: bool = False) -> None:
        self._quiet, self._verbose = quiet, verbose
        self.console = Console(stderr=True, highlight=False, markup=False, emoji=False)
        self._notes = ExitStack()
        self._bars: Progress | None = None
        self._batch: TaskID | None = None
        self._task: TaskID | None = None
        self._name = ""
        self._number, self._count = 0, 1
        self._started = self._said_at = 0.0
        self._said_fraction = 0.0
        # when the batch began, less the time of series that were not made, and how many those are
        self._batch_started, self._not_made = 0.0, 0

    def __enter__(self) -> ConsoleReporter:
        level = logging.INFO if self._verbose else logging.WARNING
        self._notes.enter_context(
            notes_told_to(self._print, logging.ERROR if self._quiet else level)
        )
        if self.console.is_terminal and not self._quiet:
            self._bars = _bars(self.console)
            self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._notes.close()
        if self._bars is not None:
            self._bars.stop()

    def start(self, name: str, number: int, count: int) -> None:
        """Name the series that is worked on."""
        self._name, self._number, self._count = name, number, count
        self._started = self._said_at = time.monotonic()
        self._said_fraction = 0.0
        if self._bars is not None:
            if count > 1 and self._batch is None:
                self._batch = self._bars.add_task("", total=1000 * count, ends_at=None)
                self._batch_started, self._not_made = self._started, 0
            self._task = self._bars.add_task(name, total=1000, ends_at=None)
            self._move_batch(0.0)

    def describe(self, text: str) -> None:
        """Say how the work stands, beside the bar or in the next lines of a log."""
        self._name = text
        if self._bars is not None and self._task is not None:
            self._bars.update(self._task, description=text)

    def progress(self, done: int, total: int) -> None:
        """Move the bars, or print a line when enough has happened since the last one."""
        fraction, now = done / total, time.monotonic()
        if self._bars is not None and self._task is not None:
            self._bars.update(
                self._task,
                completed=1000 * fraction,
                ends_at=_ends_at(self._started, fraction, 1 - fraction),
            )
            self._move_batch(fraction)
        elif (
            self._count == 1
            and fraction - self._said_fraction >= LOG_FRACTION
            and now - self._said_at >= LOG_SECONDS
            and done < total
        ):
            self._said_fraction, self._said_at = fraction, now
            self.say(f"{self._name}: {fraction:.0%} after {now - self._started:.0f} s")

    def _move_batch(self, fraction: float) -> None:
        if self._bars is not None and self._batch is not None:
            self._bars.update(
                self._batch,
                description=f"series {self._number} of {self._count}",
                completed=1000 * (self._number - 1 + fraction),
                ends_at=_ends_at(
                    self._batch_started,
                    self._number - 1 - self._not_made + fraction,
                    self._count - self._number + 1 - fraction,
                ),
            )

    def finish(self, outcome: Outcome) -> None:
        """Say how the series ended: a line; of a series alone, also what its flags mean."""
        if self._bars is not None and self._task is not None:
            self._bars.remove_task(self._task)
            self._task = None
            if outcome.result is None or outcome.result.skipped:
                self._not_made += 1
                self._batch_started += time.monotonic() - self._started
            self._move_batch(1.0)
        if outcome.error is not None:
            self.error(_failed(outcome), outcome.error)
        elif outcome.result is not None:
            self.say(_line(outcome))
            if self._count == 1:
                self._explain_flags(outcome)
                if outcome.destination is not None and outcome.destination.preview.exists():
                    self.say(f"  picture: {outcome.destination.preview}")
            if self._verbose and not outcome.result.skipped:
                self._phases(outcome.result.seconds)

    def summarise(self, summary: Summary) -> None:
        """Say how the batch ended, when it was more than one series or something failed.

        What failed, and what should be looked at, is said here once more and with its reasons.
        """
        for error in summary.commit_errors:
            self.error(f"the project could not be updated: {explain(error)[0]}", error)
        if len(summary.outcomes) < 2:
            return
        failed = [outcome for outcome in summary.outcomes if outcome.error]
        results = [outcome.result for outcome in summary.outcomes if outcome.result]
        skipped = sum(result.skipped for result in results)
        flagged = [outcome for outcome in summary.outcomes if outcome.flags]
        for outcome in flagged:
            self.say(f"{outcome.name}:")
            self._explain_flags(outcome)
        for outcome in failed:
            self.error(_failed(outcome))
        counts = [
            f"{len(results) - skipped} reconstructed",
            f"{skipped} finished before",
            f"{len(flagged)} to look at",
            f"{len(failed)} failed",
        ]
        self.say(f"{len(summary.outcomes)} series: {', '.join(counts)}")
        if summary.overview is not None:
            self.say(f"overview: {summary.overview}")

    def _explain_flags(self, outcome: Outcome) -> None:
        for flag in outcome.flags:
            self.say(f"  {flag.sentence}: {flag.mend}")

    def error(self, message: str, error: Exception | None = None) -> None:
        """Print an error, quiet or not; with its traceback when debugging."""
        if error is not None and debugging():
            self.console.print("".join(traceback.format_exception(error)), soft_wrap=True)
        self.console.print(f"tomofilt: {message}", style="bold red", soft_wrap=True)

    def say(self, message: str) -> None:
        """Print a line, unless quiet."""
        if not self._quiet:
            self._print(message)

    def _print(self, message: str) -> None:
        self.console.print(message, soft_wrap=True)

    def _phases(self, seconds: Mapping[str, float]) -> None:
        from rich.table import Table

        total = sum(seconds.values())
        table = Table(box=None, pad_edge=False, show_footer=True, padding=(0, 2, 0, 0))
        table.add_column("  phase", "  all")
        table.add_column("seconds", f"{total:.2f}", justify="right")
        table.add_column("share", justify="right")
        for phase, spent in seconds.items():
            table.add_row(f"  {phase}", f"{spent:.2f}", f"{spent / total:.0%}" if total else "")
        self.console.print(table)


def _failed(outcome: Outcome) -> str:
    assert outcome.error is not None
    return f"{outcome.name}: {explain(outcome.error)[0].removeprefix(f'{outcome.name}: ')}"


def _line(outcome: Outcome) -> str:
    """Name, size, thickness of specimen and box, whether it was denoised, time, verdict."""
    assert outcome.result is not None
    record = outcome.result.record
    parts = []
    if record is not None:
        nz, ny, nx = record.output.shape_zyx
        voxel = record.output.voxel_angst
        parts.append(f"{nx} x {ny} x {nz} at {voxel:g} A")
        specimen = record.filter.measured.get("specimen_thickness_angst")
        if specimen is not None:
            parts.append(f"specimen {specimen:.0f} of {nz * voxel:.0f} A")
        if record.denoising is not None:
            parts.append("denoised" if record.denoising.refused is None else "not denoised")
    parts.append("finished already" if outcome.result.skipped else f"{outcome.seconds:.1f} s")
    return f"{outcome.name}: {', '.join([*parts, outcome.verdict])}"


def _ends_at(started: float, done: float, rest: float) -> float | None:
    """When the rest is done if it takes as long as what is done; None while that tells nothing."""
    now = time.monotonic()
    if done < FIRST_FRACTION * (done + rest) or now - started < FIRST_SECONDS:
        return None
    return now + (now - started) * rest / done


def _bars(console: Console) -> Progress:
    from rich.progress import (
        BarColumn,
        Progress,
        ProgressColumn,
        Task,
        TaskProgressColumn,
        TextColumn,
    )
    from rich.text import Text

    class TimeLeft(ProgressColumn):
        """Goes on counting down while nothing new is known."""

        def render(self, task: Task) -> Text:
            ends_at = task.fields["ends_at"]
            if ends_at is None:
                return Text("")
            left = round(max(0.0, ends_at - time.monotonic()))
            hours, minutes = divmod(left // 60, 60)
            clock = f"{hours}:{minutes:02}:{left % 60:02}" if hours else f"{minutes}:{left % 60:02}"
            return Text(f"{clock} left")

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TimeLeft(),
        console=console,
        transient=True,
    )
