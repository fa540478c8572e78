"""Killed at any moment, by any signal: nothing half-written stays, and a rerun ends the same.

Not run by default: ``pytest -m slow tests/slow``. TOMOFILT_KILLS is the number of moments for each
kind of work, 30 unless it says otherwise.
"""

import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import pytest

from tomofilt.io.bundle import load_bundle

KILLS = int(os.environ.get("TOMOFILT_KILLS", "30"))
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
STAR = "AlignTiltSeries/job005/aligned_tilt_series.star"
BUNDLE = "b.tomofilt.safetensors"
RECONSTRUCT = ("reconstruct", "--imod-dir", "../imod", "-o", ".", "--device", "cpu")
WORK = {
    "imod": (*RECONSTRUCT, "-f", "ramp"),
    "imod-halves-measured": (*RECONSTRUCT, "--halves", "frames"),
    "relion-halves": ("relion", "--o", "JOB/", "--in_mics", STAR, "--halves", "frames"),
    "denoise": (*RECONSTRUCT, "--denoise"),
    "train": (
        *(
            "train",
            "filter",
            "-o",
            BUNDLE,
            "--simulate",
            "1",
            "--shape",
            "24",
            "20",
            "14",
            "--nodes",
            "5",
        ),
        *("--tilts", "-60:60:20", "--solver", "adamw", "--steps", "60"),
    ),
}


def command(*arguments):
    return [sys.executable, "-m", "tomofilt", *arguments]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("killed") / "data"
    size = ("--shape", "96", "96", "40", "--tilts", "-60:60:3")
    subprocess.run(command("simulate", str(folder), *size, "-q"), check=True)
    return folder


class Place:
    """A folder in which one kind of work is done."""

    def __init__(self, kind, data, name):
        self.kind = kind
        self.arguments = WORK[kind]
        if kind.startswith("relion"):
            self.folder, self.out = data / "relion", data / "relion" / "External" / name
            job = f"External/{name}/"
            self.arguments = [job if each == "JOB/" else each for each in self.arguments]
        else:
            self.folder = self.out = data / name
        shutil.rmtree(self.out, ignore_errors=True)
        self.out.mkdir(parents=True)

    def start(self):
        arguments = list(self.arguments)
        if (self.out / BUNDLE).exists():
            arguments = ["--version"]  # trained: only what goes with it may be missing
        elif list(self.out.glob("*.checkpoint.safetensors")):
            arguments.append("--resume")
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
        return subprocess.Popen(command(*arguments), cwd=self.folder, text=True, **quiet)

    def finish(self):
        process = self.start()
        said = process.communicate()[1]
        assert process.returncode == 0, said
        assert not list(self.out.rglob("*.tomofilt-part"))

    def results(self):
        """Digest of the voxels of every volume, and of the numbers of a bundle."""
        found = {}
        for path in self.out.rglob("*.mrc"):
            found[path.name] = hashlib.sha256(path.read_bytes()[1024:]).hexdigest()
            assert path.with_suffix(".json").exists()
        for path in self.out.glob(f"*{BUNDLE}"):
            tensors = load_bundle(path).tensors
            found[path.name] = [(name, each.tobytes()) for name, each in sorted(tensors.items())]
        return found


def check_tidy(place, process, how):
    """What has to be so at once after a signal that can be heard."""
    if how == signal.SIGKILL:
        return
    if process.returncode == -how:
        return  # before the program itself was reached: nothing was begun
    # -SIGINT: interrupted on its last steps, outside of what turns an interruption into 130
    assert process.returncode in (0, 130, -signal.SIGINT)
    assert not list(place.out.rglob("*.tomofilt-part"))
    if place.kind.startswith("relion"):
        (marker,) = place.out.glob("RELION_JOB_EXIT_*")
        assert marker.name.endswith("ABORTED" if process.returncode else "SUCCESS")


@pytest.mark.slow
@pytest.mark.parametrize("kind", WORK)
def test_killed_and_run_again(data, kind):
    reference = Place(kind, data, f"{kind}-whole")
    began = time.monotonic()
    reference.finish()
    seconds = time.monotonic() - began
    expected = reference.results()
    assert expected
    moments = random.Random(kind)
    for number in range(KILLS):
        how = SIGNALS[number % len(SIGNALS)]
        place = Place(kind, data, f"{kind}-{number}")
        process = place.start()
        time.sleep(moments.uniform(0.05, 1.05) * seconds)
        process.send_signal(how)
        said = process.communicate(timeout=60)[1]
        check_tidy(place, process, how)
        assert process.returncode < 0 or "Traceback" not in said, said
        place.finish()
        assert place.results() == expected, f"{kind}, moment {number}, {how.name}"
        shutil.rmtree(place.out)
