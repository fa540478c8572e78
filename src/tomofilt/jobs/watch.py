"""Series that come one after the other while the microscope runs: each is done when it is whole."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from pathlib import Path

from tomofilt.errors import OutputExistsError
from tomofilt.jobs.many import BatchReporter, Job, Outcome, Summary, run
from tomofilt.jobs.overview import Overview
from tomofilt.reconstruction.settings import Settings
from tomofilt.series.projects import read_series

__all__ = ["watch"]

#: Size and time of the last change of each file of a series.
State = tuple[tuple[str, int, int], ...]
_POLL_SECONDS = 15.0


def watch(
    find: Callable[[], Sequence[Job]],
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
    looks; network disks send no events. It is done again when a file changes later: a better
    alignment, say. What cannot be read yet is no failure.

    Parameters
    ----------
    find : callable
        Opens the projects anew and gives the jobs that there are now.
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
    seen: dict[str, State] = {}
    done: dict[str, State] = {}
    outcomes: dict[str, Outcome] = {}
    errors: tuple[Exception, ...] = ()
    overview: Overview | None = None
    last_news = time.monotonic()
    while True:
        waiting: dict[str, str] = {}
        ready: dict[str, tuple[Job, State]] = {}
        jobs = find()
        for job in jobs:
            key = str(job.project.destination(job.name, job.output_dir).volume)
            try:
                state = _state(job)
            except Exception as error:
                waiting[job.name] = str(error)
                continue
            if seen.get(key) != state:
                waiting[job.name] = "its files still change"
                last_news = time.monotonic()
            elif done.get(key) != state:
                ready[key] = job, state
            seen[key] = state
        if ready:
            overview = overview or Overview.of(jobs)
            summary = _run(
                [job for job, _ in ready.values()], settings, reporter, executor, overview
            )
            errors = summary.commit_errors
            for (key, (_, state)), outcome in zip(ready.items(), summary.outcomes, strict=True):
                done[key], outcomes[key] = state, outcome
            last_news = time.monotonic()
        elif stop.exists() or time.monotonic() - last_news >= idle_seconds:
            for name, why in waiting.items():
                say(f"{name} was not complete: {why}")
            page = overview.write() if overview else None
            return Summary(tuple(outcomes.values()), errors, page)
        time.sleep(0.0 if ready else poll_seconds)


def _state(job: Job) -> State:
    """What the files of a series are like; an error if the project cannot read it (yet)."""
    series = read_series(job.project, job.name, job.options)
    halves = [path for half in series.halves or () for path in half.files]
    files = dict.fromkeys((*series.files, *series.images.files, *halves))
    found = [(str(path), path.stat()) for path in files]
    return tuple((name, stat.st_size, stat.st_mtime_ns) for name, stat in found)


def _run(
    jobs: Sequence[Job],
    settings: Settings,
    reporter: BatchReporter,
    executor: Executor | None,
    overview: Overview | None,
) -> Summary:
    """Reconstruct; results that were made from other files are replaced, other people's never."""
    summary = run(jobs, settings, reporter, executor, overview)
    old = [
        job
        for job, outcome in zip(jobs, summary.outcomes, strict=True)
        if isinstance(outcome.error, OutputExistsError)
    ]
    if not old or settings.overwrite:
        return summary
    again = run(old, replace(settings, overwrite=True), reporter, executor, overview)
    redone = iter(again.outcomes)
    return replace(
        again,
        outcomes=tuple(
            next(redone) if isinstance(outcome.error, OutputExistsError) else outcome
            for outcome in summary.outcomes
        ),
    )
