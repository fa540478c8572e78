"""Many tilt series in one go: each for itself, what fails set aside, the projects told last."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future, as_completed
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from tomofilt.errors import InputError, ResourceError
from tomofilt.io.record import Flag
from tomofilt.jobs.explain import exit_code, explain
from tomofilt.jobs.one import Result, reconstruct
from tomofilt.jobs.overview import Overview
from tomofilt.jobs.plan import Plan, make_plan
from tomofilt.reconstruction.settings import Settings
from tomofilt.series.projects import AS_IT_IS, Destination, Project, SeriesOptions, read_series
from tomofilt.util.signals import raise_if_stopped

__all__ = ["BatchReporter", "Job", "Outcome", "Summary", "exit_code", "explain", "plan", "run"]


@dataclass(frozen=True)
class Job:
    """One tilt series to reconstruct.

    Parameters
    ----------
    project : Project
    name : str
        Name of the series in the project.
    output_dir : Path, optional
        Where the results go; default is the project's own choice.
    options : SeriesOptions
        What is asked for on top of the project's own numbers.
    """

    project: Project
    name: str
    output_dir: Path | None = None
    options: SeriesOptions = AS_IT_IS


@dataclass(frozen=True)
class Outcome:
    """What became of one job: a result, or a plan, or an error.

    Attributes
    ----------
    name : str
    destination : Destination, optional
    result : Result, optional
        Its record is there for the reporter. In a :class:`Summary` it is None: a thousand records
        would fill the memory, and the files have them.
    plan : Plan, optional
    error : Exception, optional
    seconds : float
        How long it took.
    flags : tuple of Flag
        What somebody should look at.
    """

    name: str
    destination: Destination | None = None
    result: Result | None = None
    plan: Plan | None = None
    error: Exception | None = None
    seconds: float = 0.0
    flags: tuple[Flag, ...] = ()

    @property
    def verdict(self) -> str:
        """OK, or the names of what to look at."""
        return "look: " + "; ".join(flag.name for flag in self.flags) if self.flags else "OK"


@dataclass(frozen=True)
class Summary:
    """What became of all jobs.

    Attributes
    ----------
    outcomes : tuple of Outcome
        In the order of the jobs.
    commit_errors : tuple of Exception
        Why a project could not be told of its finished tomograms.
    overview : Path, optional
        The page about all of them; written for more than one.
    """

    outcomes: tuple[Outcome, ...]
    commit_errors: tuple[Exception, ...] = ()
    overview: Path | None = None

    @property
    def exit_code(self) -> int:
        """0 all done; 1 some failed; 2 or 3 when nothing worked, as :func:`exit_code` says."""
        return exit_code([outcome.error for outcome in self.outcomes]) or exit_code(
            self.commit_errors
        )

    @property
    def strict_exit_code(self) -> int:
        """The same, where a series that should be looked at counts as failed: 1."""
        return self.exit_code or int(any(outcome.flags for outcome in self.outcomes))


class BatchReporter(Protocol):
    """Whoever wants to hear how a batch goes on."""

    def progress(self, done: int, total: int) -> None:
        """So much of the work on one series is done; called often."""

    def start(self, name: str, number: int, count: int) -> None:
        """Work on one series begins, the ``number``-th of ``count``."""

    def finish(self, outcome: Outcome) -> None:
        """Work on that series is over."""


def run(
    jobs: Sequence[Job],
    settings: Settings,
    reporter: BatchReporter,
    executor: Executor | None = None,
    overview: Overview | None = None,
    commit: bool = True,
) -> Summary:
    """Reconstruct each job's series; one that fails does not stop the others.

    Every project is told of its finished series, those finished earlier included, after the last
    series. An interruption (KeyboardInterrupt) stops at once and nothing is told then; the same
    call again skips what is finished and tells the project of all.

    Parameters
    ----------
    jobs : sequence of Job
    settings : Settings
    reporter : BatchReporter
    executor : concurrent.futures.Executor, optional
        Runs the series, several at a time, on other machines perhaps that see the same files: what
        :mod:`tomofilt.jobs.cluster` gives, a process pool, or that of another library. Projects are
        told, and the overview is written, by the caller alone. Default: one series after the other.
    overview : Overview, optional
        Default: one of these jobs, if there are several.
    commit : bool
        Whether projects are told; not where several programs share the series of one.
    """
    if overview is None and len(jobs) > 1:
        overview = Overview.of(jobs)

    labels = _labels(jobs)

    def finish(number: int, outcome: Outcome) -> Outcome:
        outcome = replace(outcome, name=labels[number])
        reporter.finish(outcome)
        if overview is not None:
            overview.add(outcome)
            overview.write_now_and_then()
        return _without_record(outcome)

    if executor is None:

        def work(job: Job) -> Outcome:
            return reconstruct_job(job, settings, lambda done: reporter.progress(done, 1000))

        outcomes = _each(jobs, labels, reporter, work, finish)
    else:
        outcomes = _spread(jobs, settings, reporter, executor, finish)
    page = overview.write() if overview is not None else None
    return Summary(outcomes, _commit(jobs, outcomes) if commit else (), page)


def reconstruct_job(
    job: Job, settings: Settings, tell: Callable[[int], None] = lambda _: None
) -> Outcome:
    """Read and reconstruct one series, wherever that is done; an error is an outcome too."""
    began = time.monotonic()
    destination = None
    try:
        destination = job.project.destination(job.name, job.output_dir)
        series = read_series(job.project, job.name, job.options)
        result = reconstruct(series, destination, settings, tell)
        flags = result.record.flags if result.record else ()
        seconds = time.monotonic() - began
        return Outcome(job.name, destination, result, seconds=seconds, flags=flags)
    except Exception as error:
        return Outcome(job.name, destination, error=error, seconds=time.monotonic() - began)


def plan(jobs: Sequence[Job], settings: Settings, reporter: BatchReporter) -> Summary:
    """Work out what :func:`run` would do, writing nothing."""

    def work(job: Job) -> Outcome:
        try:
            destination = job.project.destination(job.name, job.output_dir)
            series = read_series(job.project, job.name, job.options)
            made = make_plan(series, destination, settings)
            return Outcome(job.name, destination, plan=made)
        except Exception as error:
            return Outcome(job.name, error=error)

    def finish(number: int, outcome: Outcome) -> Outcome:
        reporter.finish(outcome)
        return outcome

    return Summary(_each(jobs, _labels(jobs), reporter, work, finish))


def _labels(jobs: Sequence[Job]) -> list[str]:
    """Names that tell the series apart: with the project's folder if several have one name."""
    count = Counter(job.name for job in jobs)
    return [job.name if count[job.name] == 1 else f"{_folder(job)}/{job.name}" for job in jobs]


def _folder(job: Job) -> str:
    try:
        return job.project.destination(job.name, None).volume.absolute().parent.name
    except Exception:  # told again, and handled, when its turn comes
        return "?"


def _each(
    jobs: Sequence[Job],
    labels: Sequence[str],
    reporter: BatchReporter,
    work: Callable[[Job], Outcome],
    finish: Callable[[int, Outcome], Outcome],
) -> tuple[Outcome, ...]:
    """One after the other."""
    outcomes: list[Outcome] = []
    taken: set[Path] = set()
    for number, job in enumerate(jobs):
        reporter.start(labels[number], number + 1, len(jobs))
        outcome = _twice(job, taken) or work(job)
        raise_if_stopped()
        outcomes.append(finish(number, outcome))
    return tuple(outcomes)


def _spread(
    jobs: Sequence[Job],
    settings: Settings,
    reporter: BatchReporter,
    executor: Executor,
    finish: Callable[[int, Outcome], Outcome],
) -> tuple[Outcome, ...]:
    """As many at a time as there are workers; in the order of the jobs in the end."""
    outcomes: dict[int, Outcome] = {}
    taken: set[Path] = set()
    futures: dict[Future[Outcome], int] = {}

    def over(number: int, outcome: Outcome) -> None:
        reporter.start(outcome.name, len(outcomes) + 1, len(jobs))
        outcomes[number] = finish(number, outcome)

    try:
        for number, job in enumerate(jobs):
            twice = _twice(job, taken)
            if twice is not None:
                over(number, twice)
            else:
                futures[executor.submit(reconstruct_job, job, settings)] = number
        for future in as_completed(futures):
            number = futures.pop(future)
            over(number, _outcome(jobs[number], future))
            raise_if_stopped()
    except BaseException:
        for future in futures:
            future.cancel()
        raise
    return tuple(outcomes[number] for number in range(len(jobs)))


def _outcome(job: Job, future: Future[Outcome]) -> Outcome:
    try:
        return future.result()
    except Exception as error:
        return Outcome(
            job.name,
            error=ResourceError(
                f"{job.name}: its worker was lost, and a second one too "
                f"({type(error).__name__}: {error}): give workers more memory or time, or "
                "--max-memory"
            ),
        )


def _twice(job: Job, taken: set[Path]) -> Outcome | None:
    """The outcome of a job whose result would be that of another one too."""
    try:
        volume = job.project.destination(job.name, job.output_dir).volume
        if volume in taken:
            raise InputError(
                f"{volume} is already the result of another series of this name: "
                "reconstruct the two into different folders (-o)"
            )
    except Exception as error:
        return Outcome(job.name, error=error)
    taken.add(volume)
    return None


def _without_record(outcome: Outcome) -> Outcome:
    if outcome.result is None:
        return outcome
    return replace(outcome, result=replace(outcome.result, record=None))


def _commit(jobs: Sequence[Job], outcomes: Sequence[Outcome]) -> tuple[Exception, ...]:
    """Tell each project, once for each output folder, of all its finished series."""
    finished: dict[tuple[int, Path | None], dict[str, Destination]] = {}
    projects = {id(job.project): job.project for job in jobs}
    for job, outcome in zip(jobs, outcomes, strict=True):
        if outcome.destination is not None and outcome.error is None:
            entry = finished.setdefault((id(job.project), job.output_dir), {})
            entry[job.name] = outcome.destination
    errors: list[Exception] = []
    for (project, output_dir), destinations in finished.items():
        try:
            projects[project].commit(destinations, output_dir)
        except Exception as error:
            errors.append(error)
    return tuple(errors)
