"""Series that come one after the other while the microscope runs: each is done when it is whole."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from pathlib import Path

from tomofilt.errors import OutputExistsError, TomofiltError
from tomofilt.jobs.fingerprint import input_files
from tomofilt.jobs.many import BatchReporter, Job, Outcome, Summary, run
from tomofilt.jobs.one import is_finished
from tomofilt.jobs.overview import Overview
from tomofilt.reconstruction.settings import Settings
from tomofilt.series.projects import read_series

__all__ = ["watch"]

#: Size and time of the last change of some files.
State = tuple[tuple[Path, int, int], ...]
_POLL_SECONDS = 15.0


@dataclass(frozen=True)
class _Look:
    """A series as it was at one look: the files that it is read from, and the folders of these."""

    files: State
    folders: State


def watch(
    find: Callable[[], tuple[Sequence[Job], Sequence[str]]],
    settings: Settings,
    reporter: BatchReporter,
    *,
    idle_seconds: float,
    stop: Path,
    executor: Executor | None = None,
    say: Callable[[str], None] = lambda _: None,
    poll_seconds: float = _POLL_SECONDS,
) -> Summary:
    """Reconstruct series as they come, until nothing new has come for a while.

    A series is taken when its project can read it and none of its files has changed between two
    looks; network disks send no events. It is done again when what it is made of changes later: a
    better alignment, say. What cannot be read yet is no failure.

    Parameters
    ----------
    find : callable
        Opens the projects anew and gives the jobs that there are now, and why others are missing.
    settings : Settings
    reporter : BatchReporter
    idle_seconds : float
    stop : Path
        The watch ends when this file is there.
    executor : concurrent.futures.Executor, optional
        See :func:`tomofilt.jobs.many.run`.
    say : callable
        Told what is waited for.
    poll_seconds : float
        Between two looks.
    """
    series, outcomes = _Series(settings), dict[str, Outcome]()
    errors: tuple[Exception, ...] = ()
    overview: Overview | None = None
    last_waiting: list[str] = []
    last_news = time.monotonic()
    while True:
        jobs, missing = find()
        waiting = [*missing, *series.look_at(jobs)]
        if overview is None and len(jobs) > 1:
            overview = Overview.of(jobs, outcomes.values())
        for batch, chosen in (
            (series.ready, settings),
            (series.stale, replace(settings, overwrite=True)),
        ):
            if batch:
                summary = run(list(batch.values()), chosen, reporter, executor, overview)
                errors += summary.commit_errors
                outcomes |= dict(zip(batch, summary.outcomes, strict=True))
        if series.ready or series.stale or waiting != last_waiting:
            last_news, last_waiting = time.monotonic(), waiting
        if series.ready or series.stale:
            continue
        if stop.exists() or time.monotonic() - last_news >= idle_seconds:
            for why in waiting:
                say(f"not complete: {why}")
            page = overview.write() if overview else None
            return Summary(tuple(outcomes.values()), errors, page)
        time.sleep(poll_seconds)


class _Series:
    """The series that have been seen, by the files of their tomograms.

    Attributes
    ----------
    ready : dict
        Jobs that can be done now.
    stale : dict
        Those among them that replace a result of tomofilt's made of something else.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._looks: dict[str, _Look] = {}
        self._done: dict[str, State] = {}
        self.ready: dict[str, Job] = {}
        self.stale: dict[str, Job] = {}

    def look_at(self, jobs: Sequence[Job]) -> list[str]:
        """Find out which can be done now; say what the others wait for."""
        self.ready, self.stale = {}, {}
        waiting = []
        for job in jobs:
            key = str(job.project.destination(job.name, job.output_dir).volume)
            before = self._looks.get(key)
            try:
                self._looks[key] = look = _look(job, before)
            except Exception as error:
                waiting.append(f"{job.name}: {error}")
                continue
            if before is None or before.files != look.files:
                waiting.append(f"{job.name}: its files change, {sum(f[1] for f in look.files):,} B")
            elif self._done.get(key) != look.files:
                self._sort_out(key, job)
                self._done[key] = look.files
        return waiting

    def _sort_out(self, key: str, job: Job) -> None:
        finished = _is_finished(job, self._settings)
        if finished is None:
            self.stale[key] = job
        elif key not in self._done or not finished:
            self.ready[key] = job


def _look(job: Job, before: _Look | None) -> _Look:
    """What the files of a series are like; an error if the project cannot read it (yet).

    It is read only if something has changed: hundreds of series are looked at again and again.
    """
    if before is not None:
        now = _Look(_state(each[0] for each in before.files), _state(f[0] for f in before.folders))
        if now == before:
            return before
    files = input_files(read_series(job.project, job.name, job.options))
    return _Look(_state(files), _state(dict.fromkeys(path.parent for path in files)))


def _state(paths: Iterable[Path]) -> State:
    found = [(path, path.stat()) for path in paths]
    return tuple((path, stat.st_size, stat.st_mtime_ns) for path, stat in found)


def _is_finished(job: Job, settings: Settings) -> bool | None:
    """Whether there is a result of the same content; None if there is one of other content.

    That one is replaced if it is tomofilt's own.
    """
    try:
        destination = job.project.destination(job.name, job.output_dir)
        series = read_series(job.project, job.name, job.options)
        return is_finished(series, destination, replace(settings, overwrite=False))
    except OutputExistsError:
        return None
    except TomofiltError:
        return False
