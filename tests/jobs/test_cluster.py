"""Several series at a time: workers of this machine, one of which dies; what a site's file says."""

import os
import shutil
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest
from strategies_imod import ImodFolder, write_stack

from tomofilt.errors import InputError, ResourceError
from tomofilt.jobs.cluster import Site, cluster_workers, local_workers, scheduler_workers
from tomofilt.jobs.many import Job, run
from tomofilt.reconstruction.settings import Settings
from tomofilt_imod.project import PROJECT_TYPE

SETTINGS = Settings(filter="ramp", device="cpu", threads=1, preview=False)


class Listener:
    """Kills a worker after the first series."""

    def __init__(self, executor=None):
        self.executor, self.finished = executor, []

    def start(self, name, number, count):
        pass

    def progress(self, done, total):
        pass

    def finish(self, outcome):
        self.finished.append(outcome.name)
        if self.executor is not None and len(self.finished) == 1:
            pids = self.executor._client.run(os.getpid)
            os.kill(min(pids.values()), signal.SIGKILL)


def jobs(folder, output_dir, count=6):
    found = []
    for i in range(count):
        if not (folder / f"TS_{i}").exists():
            imod = ImodFolder(folder / f"TS_{i}", f"TS_{i}")
            imod.ali.unlink()
            write_stack(imod.ali, seed=i)
        found.append(Job(PROJECT_TYPE.open(folder / f"TS_{i}"), f"TS_{i}", output_dir))
    return found


def volumes(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.mrc"))}


def without_title(volume):
    return volume[:220] + volume[1024:]  # titles tell the time


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning")
def test_a_worker_dies_and_nothing_is_lost(tmp_path, monkeypatch):
    plain, spread = tmp_path / "plain", tmp_path / "spread"
    assert run(jobs(tmp_path, plain), SETTINGS, Listener()).exit_code == 0
    committed = []
    monkeypatch.setattr(
        "tomofilt.jobs.many._commit", lambda _, outcomes: committed.append(outcomes) or ()
    )
    with local_workers(2) as executor:
        listener = Listener(executor)
        summary = run(jobs(tmp_path, spread), SETTINGS, listener, executor)
    assert [outcome.error for outcome in summary.outcomes] == [None] * 6
    assert [outcome.name for outcome in summary.outcomes] == [f"TS_{i}" for i in range(6)]
    assert sorted(listener.finished) == [f"TS_{i}" for i in range(6)]
    expected, found = volumes(plain), volumes(spread)
    assert list(found) == list(expected)
    for name in expected:
        assert without_title(found[name]) == without_title(expected[name])
    assert len(committed) == 1
    assert summary.overview == spread / "tomofilt_session.html"
    assert not [path for path in spread.iterdir() if path.name.startswith(".")]


def test_any_executor_will_do(tmp_path):
    made = [*jobs(tmp_path, tmp_path / "out", 2), *jobs(tmp_path, tmp_path / "out", 1)]
    with ThreadPoolExecutor(2) as executor:
        summary = run(made, SETTINGS, Listener(), executor)
    assert [outcome.error is None for outcome in summary.outcomes] == [True, True, False]
    assert "already the result" in str(summary.outcomes[2].error)


def test_a_worker_that_is_lost_for_good_is_an_error_of_its_series(tmp_path):
    class Losing(ThreadPoolExecutor):
        def submit(self, work, job, settings):
            def lose():
                raise RuntimeError("KilledWorker")

            return super().submit(
                lose if job.name == "TS_1" else work,
                *(() if job.name == "TS_1" else (job, settings)),
            )

    with Losing(1) as executor:
        summary = run(jobs(tmp_path, tmp_path / "out", 3), SETTINGS, Listener(), executor)
    assert [outcome.error is None for outcome in summary.outcomes] == [True, False, True]
    assert "its worker was lost" in str(summary.outcomes[1].error)
    assert summary.exit_code == 1


SITE = (
    'scheduler = "slurm"\ncores = 8\nmemory = "16GB"\nqueue = "cpu"\nprologue = ["module load x"]\n'
)


def test_the_sites_file(tmp_path):
    path = tmp_path / "site.toml"
    path.write_text(SITE)
    site = Site.read(path)
    assert (site.kind, site.cores) == ("slurm", 8)
    assert site.options == {
        "memory": "16GB",
        "queue": "cpu",
        "job_script_prologue": ["module load x"],
    }


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("scheduler = slurm", "correct the line"),
        ('scheduler = "moab"', "'slurm', 'pbs'"),
        ('scheduler = "slurm"', "give the cores"),
        ('scheduler = "slurm"\ncores = 2', "give the memory"),
    ],
)
def test_a_sites_file_that_lacks_something(tmp_path, text, said):
    path = tmp_path / "site.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=said):
        Site.read(path)


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_value_that_is_not_known(tmp_path):
    path = tmp_path / "site.toml"
    path.write_text(SITE + "nodes = 3\n")
    with (
        pytest.raises(InputError, match="nodes"),
        cluster_workers(Site.read(path), 2),
    ):
        pass


def test_nobody_answers():
    with pytest.raises(ResourceError, match="no Dask scheduler"), scheduler_workers("nonsense://x"):
        pass


@pytest.mark.skipif(
    shutil.which("sinfo") is None
    or subprocess.run(["sinfo"], capture_output=True, check=False).returncode != 0,
    reason="no SLURM runs here",
)
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning")
def test_slurm(tmp_path):
    """As above, as jobs of a SLURM cluster that sees this folder."""
    path = tmp_path / "site.toml"
    path.write_text(
        'scheduler = "slurm"\ncores = 1\nmemory = "1GB"\nwalltime = "00:10:00"\ninterface = "lo"\n'
        f'log_directory = "{tmp_path}"\nlocal_directory = "{tmp_path}"\n'
    )
    with cluster_workers(Site.read(path), 2) as executor:
        summary = run(jobs(tmp_path, tmp_path / "out"), SETTINGS, Listener(executor), executor)
    assert [outcome.error for outcome in summary.outcomes] == [None] * 6
