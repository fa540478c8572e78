"""How much memory this process may take: what the system, the cluster and the shell allow."""

from __future__ import annotations

import os
import resource
from pathlib import Path

__all__ = ["memory_limit"]

_CGROUPS = Path("/sys/fs/cgroup")
_OWN_CGROUPS = Path("/proc/self/cgroup")
#: A version 1 control group without a limit states a huge one.
_NO_LIMIT = 1 << 60


def memory_limit() -> tuple[int, str] | None:
    """The tightest limit in bytes, and who sets it; None where nobody does.

    Looked at are the control group of the process and those around it (version 1 and 2, as
    containers and SLURM use them), RLIMIT_AS (``ulimit -v``), and SLURM's own words for the memory
    of the job, SLURM_MEM_PER_NODE or SLURM_MEM_PER_CPU times the CPUs, in MB.
    """
    limits = [*_cgroup_limits(), *_address_space(), *_slurm()]
    return min(limits, default=None)


def _cgroup_limits() -> list[tuple[int, str]]:
    """Limits of the groups that the process is in, from its own up to the topmost."""
    found = []
    for line in _lines(_OWN_CGROUPS):
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers == "":
            root, name = _CGROUPS, "memory.max"
        elif "memory" in controllers.split(","):
            root, name = _CGROUPS / "memory", "memory.limit_in_bytes"
        else:
            continue
        group = root / path.lstrip("/")
        # in a container the path may be that of the host, where nothing of it is to be seen
        for folder in (group, *group.parents):
            text = "".join(_lines(folder / name))
            if text.isdigit() and int(text) < _NO_LIMIT:
                found.append((int(text), "the control group (cgroup) of this job"))
            if folder == root:
                break
    return found


def _address_space() -> list[tuple[int, str]]:
    """What RLIMIT_AS leaves: it counts address space, most of which takes no memory."""
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY:
        return []
    sizes = "".join(_lines(Path("/proc/self/statm"))).split()
    if len(sizes) < 2:
        return [(limit, "ulimit -v")]
    page = os.sysconf("SC_PAGE_SIZE")
    mapped, resident = (page * int(size) for size in sizes[:2])
    return [(max(0, limit - mapped) + resident, "ulimit -v (RLIMIT_AS)")]


def _slurm() -> list[tuple[int, str]]:
    def megabytes(name: str) -> int:
        text = os.environ.get(name, "")
        return int(text) if text.isdigit() else 0

    if per_node := megabytes("SLURM_MEM_PER_NODE"):
        return [(per_node << 20, "SLURM_MEM_PER_NODE")]
    per_cpu = megabytes("SLURM_MEM_PER_CPU")
    cpus = megabytes("SLURM_CPUS_ON_NODE") or megabytes("SLURM_CPUS_PER_TASK") or 1
    return [(per_cpu * cpus << 20, "SLURM_MEM_PER_CPU")] if per_cpu else []


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []
