"""Limits of control groups, of the shell and of SLURM are found, and the tightest counts."""

import resource

import pytest

from tomofilt.util import memory
from tomofilt.util.memory import memory_limit


@pytest.fixture
def system(tmp_path, monkeypatch):
    """A system without any limit, whose control groups are folders to write into."""
    monkeypatch.setattr(memory, "_CGROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(memory, "_OWN_CGROUPS", tmp_path / "own")
    monkeypatch.setattr(resource, "getrlimit", lambda _: (resource.RLIM_INFINITY,) * 2)
    for name in ("MEM_PER_NODE", "MEM_PER_CPU", "CPUS_ON_NODE", "CPUS_PER_TASK"):
        monkeypatch.delenv(f"SLURM_{name}", raising=False)
    return tmp_path


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_none(system):
    assert memory_limit() is None


def test_version_2_with_a_tighter_group_around(system):
    write(system / "own", "0::/slurm/job_7/step_0\n")
    write(system / "cgroup/slurm/job_7/step_0/memory.max", "max\n")
    write(system / "cgroup/slurm/job_7/memory.max", "4000000000\n")
    write(system / "cgroup/memory.max", "9000000000\n")
    assert memory_limit() == (4_000_000_000, "the control group (cgroup) of this job")


def test_version_1(system):
    write(system / "own", "5:devices:/\n4:cpu,memory:/slurm/job_7\n")
    write(system / "cgroup/memory/slurm/job_7/memory.limit_in_bytes", "3000000000\n")
    write(system / "cgroup/memory/memory.limit_in_bytes", f"{2**63 - 4096}\n")
    assert memory_limit()[0] == 3_000_000_000


def test_a_container_sees_the_root_alone(system):
    write(system / "own", "0::/docker/deadbeef\n")
    write(system / "cgroup/memory.max", "2000000000\n")
    assert memory_limit()[0] == 2_000_000_000


def test_ulimit_counts_address_space(system, monkeypatch):
    monkeypatch.setattr(resource, "getrlimit", lambda _: (10**15, 10**15))
    limit, who = memory_limit()
    assert who == "ulimit -v (RLIMIT_AS)"
    assert 0.9e15 < limit < 10**15


@pytest.mark.parametrize(
    ("variables", "limit"),
    [
        ({"MEM_PER_NODE": "2048"}, 2 << 30),
        ({"MEM_PER_CPU": "512", "CPUS_ON_NODE": "4"}, 2 << 30),
        ({"MEM_PER_CPU": "512", "CPUS_PER_TASK": "2"}, 1 << 30),
        ({"MEM_PER_NODE": "0"}, None),
    ],
)
def test_slurm(system, monkeypatch, variables, limit):
    for name, value in variables.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    found = memory_limit()
    assert (found and found[0]) == limit
