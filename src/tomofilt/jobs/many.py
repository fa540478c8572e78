"""Many tilt series in one go: each for itself, what fails set aside, the projects told last."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tomofilt.errors import InputError, TomofiltError
from tomofilt.jobs.one import Result, reconstruct
from tomofilt.jobs.plan import Plan, make_plan
from tomofilt.reconstruction.settings import Settings
from tomofilt.series.projects import AS_IT_IS, Destination, Project, SeriesOptions, read_series
from tomofilt.series.tiltseries import TiltSeries
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
    """What became of one job: a result, or a plan, or the error that ended it."""

    name: str
    destination: Destination | None = None
    result: Result | None = None
    plan: Plan | None = None
    error: Exception | None = None


@dataclass(frozen=True)
class Summary:
    """What became of all jobs.

    Attributes
    ----------
    outcomes : tuple of Outcome
        In the order of the jobs.
    commit_errors : tuple of Exception
        Why a project could not be told of its finished tomograms.
    """

    outcomes: tuple[Outcome, ...]
    commit_errors: tuple[Exception, ...] = ()

    @property
    def exit_code(self) -> int:
        """0 all done; 1 some failed; 2 or 3 when nothing worked, as :func:`exit_code` says."""
        return exit_code([outcome.error for outcome in self.outcomes]) or exit_code(
            self.commit_errors
        )


class BatchReporter(Protocol):
    """Whoever wants to hear how a batch goes on."""

    def progress(self, done: int, total: int) -> None:
        """So much of the work on one series is done; called often."""

    def start(self, name: str, number: int, count: int) -> None:
        """Work on one series begins, the ``number``-th of ``count``."""

    def finish(self, outcome: Outcome) -> None:
        """Work on that series is over."""


def run(jobs: Sequence[Job], settings: Settings, reporter: BatchReporter) -> Summary:
    """Reconstruct each job's series; one that fails does not stop the others.

    Every project is told of its finished series, those finished earlier included, after the last
    series. An interruption (KeyboardInterrupt) stops at once and nothing is told then; the same
    call again skips what is finished and tells the project of all.
    """

    def work(job: Job, series: TiltSeries, destination: Destination) -> Outcome:
        result = reconstruct(
            series, destination, settings, lambda done: reporter.progress(done, 1000)
        )
        return Outcome(job.name, destination, result=result)

    outcomes = _each(jobs, reporter, work)
    return Summary(outcomes, _commit(jobs, outcomes))


def plan(jobs: Sequence[Job], settings: Settings, reporter: BatchReporter) -> Summary:
    """Work out what :func:`run` would do, writing nothing."""

    def work(job: Job, series: TiltSeries, destination: Destination) -> Outcome:
        return Outcome(job.name, destination, plan=make_plan(series, destination, settings))

    return Summary(_each(jobs, reporter, work))


def explain(error: Exception) -> tuple[str, int]:
    """Message and exit code for an error that ends a series or the program."""
    match error:
        case TomofiltError():
            return str(error), error.exit_code
        case MemoryError():
            return "out of memory: give --max-memory, a larger --bin or fewer --threads", 3
        case OSError():
            return str(error), 2
    return (
        f"{type(error).__name__}: {error}\n"
        "This is a bug in tomofilt. Please report it in the project's issue tracker, with what the "
        "same command prints with TOMOFILT_DEBUG=1 set, and with the output of `tomofilt doctor`.",
        1,
    )


def exit_code(errors: Sequence[Exception | None]) -> int:
    """Exit code for the errors of several series, None for those that went well.

    0 without errors; 1 when some series went well or the reasons differ; else the one reason's:
    2 for input that cannot be used, 3 for want of memory or a device.
    """
    codes = {explain(error)[1] if error else 0 for error in errors}
    return codes.pop() if len(codes) == 1 else int(bool(codes))


def _each(
    jobs: Sequence[Job],
    reporter: BatchReporter,
    work: Callable[[Job, TiltSeries, Destination], Outcome],
) -> tuple[Outcome, ...]:
    outcomes: list[Outcome] = []
    taken: set[Path] = set()
    for number, job in enumerate(jobs, start=1):
        reporter.start(job.name, number, len(jobs))
        try:
            destination = job.project.destination(job.name, job.output_dir)
            if destination.volume in taken:
                raise InputError(
                    f"{destination.volume} is already the result of another series of this name: "
                    "reconstruct the two into different folders (-o)"
                )
            taken.add(destination.volume)
            series = read_series(job.project, job.name, job.options)
            outcome = work(job, series, destination)
        except Exception as error:
            outcome = Outcome(job.name, error=error)
        raise_if_stopped()
        reporter.finish(outcome)
        outcomes.append(outcome)
    return tuple(outcomes)


def _commit(jobs: Sequence[Job], outcomes: Sequence[Outcome]) -> tuple[Exception, ...]:
    """Tell each project, once for each output folder, of all its finished series."""
    finished: dict[tuple[int, Path | None], dict[str, Destination]] = {}
    projects = {id(job.project): job.project for job in jobs}
    for job, outcome in zip(jobs, outcomes, strict=True):
        if outcome.destination is not None:
            entry = finished.setdefault((id(job.project), job.output_dir), {})
            entry[job.name] = outcome.destination
    errors: list[Exception] = []
    for (project, output_dir), destinations in finished.items():
        try:
            projects[project].commit(destinations, output_dir)
        except Exception as error:
            errors.append(error)
    return tuple(errors)
