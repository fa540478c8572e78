"""Running independent pieces of work on all cores: kernels release the interpreter lock."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

__all__ = ["available_threads", "run_all"]

Item = TypeVar("Item")


def available_threads() -> int:
    """Threads to use by default: SLURM_CPUS_PER_TASK, else the cores this process may run on."""
    slurm = os.environ.get("SLURM_CPUS_PER_TASK", "")
    if slurm.isdigit() and int(slurm) > 0:
        return int(slurm)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def run_all(threads: int, work: Callable[[Item], object], items: Iterable[Item]) -> None:
    """Call ``work`` on every item, ``threads`` at a time; the first error is raised."""
    todo = list(items)
    if threads == 1 or len(todo) < 2:
        for item in todo:
            work(item)
        return
    with ThreadPoolExecutor(min(threads, len(todo))) as pool:
        try:
            for _ in pool.map(work, todo):
                pass
        except BaseException:
            pool.shutdown(cancel_futures=True)  # an interruption waits for what runs, not for all
            raise
