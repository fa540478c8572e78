"""What a batch costs beside its work: processor time, memory, log and overview of many tiny series.

    python bench/session.py FOLDER [--series 1000] [--kind imod] [--checkout OTHER ...]

simulates one series of 21 x 64 x 64 into FOLDER, makes as many of it as are asked for, each with
noise of its own, and reconstructs them in one batch, and then once more: all are finished by then.
Each state of tomofilt that is named (by default this one) does both. What is in FOLDER already is
used again. Processor seconds count, so that other people's work hardly shows.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import mrcfile
import numpy as np

HERE = Path(__file__).resolve().parents[1]
ROOMS = ("src", *(f"plugins/{name}" for name in ("imod", "relion", "warp", "aretomo")))
SIMULATED = ("--shape", "64", "64", "24", "--pixel-size", "20", "--tilts=-60:60:6", "-j1", "-q")


@dataclass(frozen=True)
class Run:
    """What one batch took: processor seconds, resident bytes by lines of the log, size of it."""

    cpu: float
    resident: list[tuple[int, int]]
    log: Path

    def resident_mb(self, lines: int) -> float:
        """Megabytes when so many series were done."""
        return next((size for done, size in self.resident if done >= lines), self.resident[-1][1])


def environment(checkout: Path) -> dict[str, str]:
    """That of a command in some state of tomofilt."""
    paths = os.pathsep.join(str(checkout / room) for room in ROOMS)
    return os.environ | {"PYTHONPATH": paths}


def make_imod(folder: Path, count: int) -> list[str]:
    """Folders of IMOD; arguments that name them."""
    like = simulated(folder) / "imod"
    for number in range(1, count + 1):
        name = f"TS_{number:04d}"
        if not (folder / "imod" / name).exists():
            copy(like, folder / "imod" / f".{name}", name, number)
            (folder / "imod" / f".{name}").rename(folder / "imod" / name)
    return ["--imod-dir", *(str(folder / f"imod/TS_{n:04d}") for n in range(1, count + 1))]


def make_relion(folder: Path, count: int) -> list[str]:
    """A project of RELION; arguments that name it."""
    like = simulated(folder) / "relion"
    project, star = folder / f"relion{count}", "AlignTiltSeries/job005/aligned_tilt_series.star"
    if not (project / star).exists():
        *head, row = (like / star).read_text().rstrip().splitlines()
        rows = []
        for number in range(1, count + 1):
            name = f"TS_{number:04d}"
            copy(like, project, name, number)
            rows.append(row.replace("TS_01", name))
        (project / star).write_text("\n".join([*head, *rows, "", ""]))
    return ["--relion-star", str(project / star)]


def simulated(folder: Path) -> Path:
    """The one series that all are made of."""
    one = folder / "one"
    if not one.exists():
        command = [sys.executable, "-m", "tomofilt", "simulate", str(one), *SIMULATED]
        subprocess.run(command, check=True, env=environment(HERE))
    return one


def copy(like: Path, folder: Path, name: str, seed: int) -> None:
    """The series under another name, with more noise."""
    rng = np.random.default_rng(seed)
    for path in like.rglob("*"):
        if path.is_dir():
            continue
        new = folder / str(path.relative_to(like)).replace("TS_01", name)
        new.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix not in (".mrc", ".mrcs"):
            new.write_text(path.read_text().replace("TS_01", name))
            continue
        shutil.copyfile(path, new)
        with mrcfile.open(new, "r+", permissive=True) as mrc:
            sd = 0.1 * mrc.data.std()
            mrc.data[:] += rng.normal(scale=sd, size=mrc.data.shape).astype(np.float32)


def batch(checkout: Path, arguments: list[str], out: Path, log: Path) -> Run:
    """Reconstruct all; memory is looked at ten times a second."""
    command = [sys.executable, "-m", "tomofilt", "reconstruct", *arguments, "-o", str(out)]
    resident = []
    with log.open("w") as file:
        process = subprocess.Popen(
            [*command, "-j", "1"], stderr=file, stdout=file, env=environment(checkout)
        )
        while (ended := os.wait4(process.pid, os.WNOHANG))[0] == 0:
            status = Path(f"/proc/{process.pid}/status").read_text()
            pages = [line.split()[1] for line in status.splitlines() if line.startswith("VmRSS")]
            if pages:
                resident.append((log.read_text().count("\n"), int(pages[0]) * 1024))
            time.sleep(0.1)
    process.returncode = os.waitstatus_to_exitcode(ended[1])
    if process.returncode:
        print(log.read_text()[-2000:], file=sys.stderr)
        raise SystemExit(f"{' '.join(command)[:200]}: exit code {process.returncode}")
    return Run(ended[2].ru_utime + ended[2].ru_stime, resident, log)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--series", type=int, default=1000)
    parser.add_argument("--kind", choices=("imod", "relion"), default="imod")
    parser.add_argument("--checkout", type=Path, action="append", help="a state of tomofilt")
    given = parser.parse_args()
    folder, count = given.folder.resolve(), given.series
    arguments = {"imod": make_imod, "relion": make_relion}[given.kind](folder, count)
    print(f"{count} series ({given.kind}), one thread")
    print("| state | run | CPU ms a series | MB after 1/10, 1/2, all | log kB | rows | page MB |")
    print("|---|---|---|---|---|---|---|")
    for checkout in given.checkout or [HERE]:
        out = folder / f"out-{given.kind}-{checkout.resolve().name}"
        shutil.rmtree(out, ignore_errors=True)
        one = make_imod(folder, 1)
        batch(checkout.resolve(), one, folder / "warm", folder / "warm.log")  # compiles kernels
        shutil.rmtree(folder / "warm")
        for what in ("made", "finished before"):
            log = out.with_suffix(f".{what[:4]}.log")
            run = batch(checkout.resolve(), arguments, out, log)
            rows = (out / "tomofilt_session.csv").read_text().count("\n") - 1
            page = (out / "tomofilt_session.html").stat().st_size
            memory = " ".join(
                f"{run.resident_mb(lines) / 1e6:.0f}" for lines in (count // 10, count // 2, count)
            )
            print(
                f"| {checkout.resolve().name} | {what} | {1000 * run.cpu / count:.1f} | {memory} "
                f"| {log.stat().st_size / 1000:.0f} | {rows} | {page / 1e6:.1f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
