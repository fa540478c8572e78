"""What the system allows is what the work is fitted into."""

import pytest
from strategies_projects import BlankImages, tilt_series

from tomofilt.errors import ResourceError
from tomofilt.reconstruction import budget
from tomofilt.reconstruction.budget import allowed_memory
from tomofilt.reconstruction.settings import Settings
from tomofilt.reconstruction.setup import make_problem


def limited(monkeypatch, limit):
    monkeypatch.setattr(budget, "memory_limit", lambda: limit)


def room(**settings):
    series = tilt_series(images=BlankImages((5, 2048, 2048)))
    chosen = Settings(**({"filter": "ramp", "threads": 8, "bin": 4.0, "device": "cpu"} | settings))
    return make_problem(series, chosen).room


def test_the_tighter_limit_counts(monkeypatch):
    limited(monkeypatch, (10**9, "SLURM_MEM_PER_NODE"))
    assert allowed_memory(None) == (9 * 10**8, "SLURM_MEM_PER_NODE")
    assert allowed_memory(5 * 10**8) == (5 * 10**8, "--max-memory")
    assert allowed_memory(2 * 10**9) == (9 * 10**8, "SLURM_MEM_PER_NODE")
    limited(monkeypatch, None)
    assert allowed_memory(None) == (14 * 10**8, None)


def test_fewer_threads_hold_images_where_memory_is_short(monkeypatch):
    limited(monkeypatch, None)
    assert room().image_threads == 8
    tight = room(max_memory_bytes=400_000_000)
    assert 1 <= tight.image_threads < 4
    assert tight.used_bytes <= 400_000_000


def test_too_little_names_who_allows_it(monkeypatch):
    limited(monkeypatch, (220_000_000, "the control group (cgroup) of this job"))
    with pytest.raises(ResourceError, match=r"198 MB of the control group \(cgroup\) of this job"):
        room()
