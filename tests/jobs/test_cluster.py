"""Several series at a time: workers of this machine, one of which dies; what a site's file says."""

import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from strategies_imod import ImodFolder, write_stack

from tomofilt.errors import InputError, ResourceError
from tomofilt.io.files import PartialFile
from tomofilt.jobs.cluster import (
    Site,
    cluster_workers,
    jobs_of,
    local_workers,
    scheduler_workers,
)
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


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning")
def test_workers_of_a_scheduler_that_runs_already(tmp_path):
    from distributed import LocalCluster

    with LocalCluster(
        n_workers=1,
        threads_per_worker=1,
        processes=False,
        protocol="tcp",
        host="127.0.0.1",
        dashboard_address="127.0.0.1:0",
    ) as cluster:
        assert cluster.scheduler_address.startswith("tcp://127.0.0.1:")
        with scheduler_workers(cluster.scheduler_address) as executor:
            summary = run(jobs(tmp_path, tmp_path / "out", 2), SETTINGS, Listener(), executor)
        assert len(cluster.scheduler.workers) == 1  # they are not ours to end
    assert [outcome.error for outcome in summary.outcomes] == [None] * 2
    assert len(volumes(tmp_path / "out")) == 2


def session(leader):
    """Processes of a session that have not ended."""
    listed = subprocess.run(
        ["ps", "-eo", "sid,stat,args"], capture_output=True, text=True, check=False
    )
    lines = [line.split(maxsplit=2) for line in listed.stdout.splitlines()[1:]]
    return [args for sid, stat, *args in lines if int(sid) == leader and stat[0] != "Z"]


@pytest.mark.skipif(shutil.which("ps") is None, reason="ps is not installed")
def test_ctrl_c_ends_the_workers_too(tmp_path):
    """As in a terminal, where it reaches every process."""
    jobs(tmp_path, None, 24)
    out = tmp_path / "out"
    command = [sys.executable, "-m", "tomofilt", "reconstruct", "-f", "ramp", "--workers", "2"]
    program = subprocess.Popen(
        [*command, "-o", out, "--imod-dir", *sorted(tmp_path.glob("TS_*"))],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    while not list(out.glob("*.json")):
        assert program.poll() is None, program.stderr.read()
        time.sleep(0.005)
    os.killpg(program.pid, signal.SIGINT)
    _, said = program.communicate(timeout=60)
    assert program.returncode == 130
    assert "interrupted; the same command goes on" in said
    assert "Traceback" not in said
    assert "distributed" not in said
    for _ in range(100):
        if not session(program.pid):
            break
        time.sleep(0.1)
    assert session(program.pid) == []
    assert [path for path in out.iterdir() if path.name.startswith(".")] == []


def test_a_cluster_leaves_ctrl_c_to_the_program():
    """Importing dask-jobqueue makes it end the program with 0."""
    script = """
import signal
from tomofilt.errors import InputError
from tomofilt.jobs.cluster import Site, cluster_workers
try:
    cluster_workers(Site("slurm", 1, {"memory": "1GB", "nodes": 3}), 1).__enter__()
except InputError:
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    print("as before")
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.stdout == "as before\n", done.stderr


def test_what_another_client_writes_is_left_to_it(tmp_path):
    out = tmp_path / "out"
    made = jobs(tmp_path, out, 3)
    out.mkdir()
    volume = made[1].project.destination("TS_1", out).volume
    with PartialFile(volume), ThreadPoolExecutor(2) as executor:
        summary = run(made, SETTINGS, Listener(), executor)
    assert [outcome.error is None for outcome in summary.outcomes] == [True, False, True]
    assert "another process is writing" in str(summary.outcomes[1].error)
    assert summary.exit_code == 1
    again = run(made, SETTINGS, Listener())
    assert [outcome.result.skipped for outcome in again.outcomes] == [True, False, True]


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


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize(
    ("kind", "asked"),
    [
        ("slurm", "#SBATCH --cpus-per-task=8"),
        ("pbs", "#PBS -l select=1:ncpus=8:mem=15GB"),
        ("lsf", "#BSUB -n 8"),
        ("sge", "#$ -pe smp 8"),
        ("htcondor", "MY.DaskWorkerCores = 8"),
    ],
)
def test_every_kind_of_cluster_can_be_asked_for_jobs(tmp_path, kind, asked):
    path = tmp_path / "site.toml"
    more = {"sge": 'directives = ["-pe smp 8"]', "htcondor": 'disk = "10GB"'}.get(kind, "")
    path.write_text(
        f'scheduler = "{kind}"\ncores = 8\nmemory = "16GB"\ninterface = "lo"\n{more}\n'
        + ('walltime = "01:00"\n' if kind == "lsf" else "")
    )
    with jobs_of(Site.read(path)) as cluster:
        script = cluster.job_script()
    assert asked in script
    assert " --nthreads 1 " in script.replace('"', " ").replace("\n", " ")
    assert ("--lifetime 3540s" in script) == (kind == "lsf")


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
