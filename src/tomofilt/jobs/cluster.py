"""Workers for many series: of this machine, of a Dask scheduler, or jobs of a site's cluster."""

from __future__ import annotations

import logging
import signal
import tomllib
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tomofilt.errors import InputError, ResourceError
from tomofilt.io.files import read_input

__all__ = ["Site", "cluster_workers", "jobs_of", "local_workers", "scheduler_workers"]

#: Kinds of cluster, and the class of dask-jobqueue for each.
_KINDS = {
    "slurm": "SLURMCluster",
    "pbs": "PBSCluster",
    "lsf": "LSFCluster",
    "sge": "SGECluster",
    "htcondor": "HTCondorCluster",
}
#: What dask-jobqueue calls what the file calls otherwise.
_NAMES = {"prologue": "job_script_prologue", "directives": "job_extra_directives"}
#: A worker hands over so long before its job ends.
_MARGIN_SECONDS = 60
#: A series whose worker was lost so many times is tried once more.
_LOST_ONCE = 1
#: Dask's page about itself: for this machine alone, at any port, so that two clients do not meet.
_DASHBOARD = "127.0.0.1:0"
#: What workers of this machine begin with. Ctrl-C in a terminal reaches them too, but it is for the
#: command to end them; and what Dask has to say of that is for nobody.
_BEFORE_WORK = """
import logging, signal
signal.signal(signal.SIGINT, signal.SIG_IGN)
logging.getLogger("distributed").setLevel(logging.CRITICAL)
"""


@dataclass(frozen=True)
class Site:
    """What a TOML file says about a site's cluster.

    Parameters
    ----------
    kind : str
        "slurm", "pbs", "lsf", "sge" or "htcondor".
    cores : int
        Of each job; a job is one worker, and works on one series at a time.
    options : mapping
        Everything else, by the names of dask-jobqueue: memory, queue, walltime, account,
        interface, job_script_prologue, job_extra_directives.
    """

    kind: str
    cores: int
    options: dict[str, Any]

    @classmethod
    def read(cls, path: Path) -> Site:
        """Read the file.

        Raises
        ------
        InputError, MissingFileError
            It is not there, no TOML, or lacks a value.
        """
        try:
            values = tomllib.loads(read_input(path).decode())
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise InputError(f"{path}: {error}: correct the line") from error
        kind = values.pop("scheduler", None)
        if kind not in _KINDS:
            raise InputError(
                f"{path} says scheduler = {kind!r}: give one of {', '.join(map(repr, _KINDS))}"
            )
        cores = values.pop("cores", None)
        if not isinstance(cores, int) or cores < 1:
            raise InputError(f"{path} says cores = {cores!r}: give the cores of a job, 8 say")
        if not isinstance(values.get("memory"), str):
            raise InputError(f'{path}: give the memory of a job, memory = "16GB" say')
        return cls(kind, cores, {_NAMES.get(name, name): value for name, value in values.items()})


@contextmanager
def local_workers(count: int) -> Iterator[Executor]:
    """So many processes on this machine; one that dies is replaced, and its series tried again."""
    with ExitStack() as opened:
        distributed = _dask()
        cluster = opened.enter_context(
            distributed.LocalCluster(
                n_workers=count,
                threads_per_worker=1,
                host="127.0.0.1",
                dashboard_address=_DASHBOARD,
                memory_limit=0,  # each series keeps within its own limit
                silence_logs=logging.CRITICAL,
                preload=[_BEFORE_WORK],
            )
        )
        yield opened.enter_context(_executor(distributed, cluster))


@contextmanager
def scheduler_workers(address: str) -> Iterator[Executor]:
    """The workers of a Dask scheduler that runs already.

    Raises
    ------
    ResourceError
        Nobody answers there.
    """
    distributed = _dask()
    try:
        client = distributed.Client(address, timeout=20)
    except (OSError, ValueError) as error:
        raise ResourceError(
            f"--dask-scheduler {address}: no Dask scheduler answers ({error}); start one with "
            "`dask scheduler`, and workers with `dask worker`"
        ) from error
    with client, client.get_executor(pure=False) as executor:
        yield executor


@contextmanager
def cluster_workers(site: Site, count: int) -> Iterator[Executor]:
    """So many jobs of a site's cluster, each a worker.

    A job that is killed, or that comes to the end of its time, is replaced.

    Raises
    ------
    InputError
        The site's file has a value that dask-jobqueue does not know.
    """
    distributed = _dask()
    with jobs_of(site) as cluster:
        cluster.adapt(minimum_jobs=count, maximum_jobs=count, interval="2s")
        with _executor(distributed, cluster) as executor:
            yield executor


def jobs_of(site: Site) -> Any:
    """The ``JobQueueCluster`` of dask-jobqueue for a site, without jobs.

    Raises
    ------
    InputError
        The site's file has a value that it does not know.
    """
    # importing it lets Ctrl-C end the program at once, as if all was well
    before = signal.getsignal(signal.SIGINT)
    import dask_jobqueue

    signal.signal(signal.SIGINT, before)
    options = {
        "scheduler_options": {"dashboard_address": _DASHBOARD},
        "silence_logs": logging.CRITICAL,
        **site.options,
    }
    # a thread for Dask: a worker has one series at a time, which uses all cores itself
    arguments = [*options.pop("worker_extra_args", ()), "--nthreads", "1"]
    if "walltime" in options:
        seconds = max(_seconds(options["walltime"]) - _MARGIN_SECONDS, _MARGIN_SECONDS)
        arguments += ["--lifetime", f"{seconds}s"]
    try:
        return getattr(dask_jobqueue, _KINDS[site.kind])(
            cores=site.cores, processes=1, worker_extra_args=arguments, **options
        )
    except (TypeError, ValueError) as error:
        raise InputError(f"--cluster: dask-jobqueue does not take this: {error}") from error


@contextmanager
def _executor(distributed: Any, cluster: Any) -> Iterator[Executor]:
    import dask

    with dask.config.set({"distributed.scheduler.allowed-failures": _LOST_ONCE}):
        cluster.scheduler.allowed_failures = _LOST_ONCE
        with distributed.Client(cluster) as client:
            executor = client.get_executor(pure=False)
            try:
                yield executor
            except BaseException:
                executor.shutdown(wait=False)
                raise


def _seconds(walltime: str) -> int:
    """Seconds of [days-]hours:minutes:seconds, of hours:minutes for LSF."""
    days, _, clock = walltime.rpartition("-")
    try:
        parts = [int(part) for part in clock.split(":")]
        while len(parts) < 3:
            parts.append(0)
        hours, minutes, seconds = parts
        return ((int(days or 0) * 24 + hours) * 60 + minutes) * 60 + seconds
    except ValueError as error:
        raise InputError(f"walltime {walltime!r}: give hours:minutes:seconds, 04:00:00") from error


def _dask() -> Any:
    try:
        import distributed
    except ImportError as error:
        raise ResourceError(
            f"several series at a time need Dask ({error}): pip install 'tomofilt[cluster]'"
        ) from error
    return distributed
