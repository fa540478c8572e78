"""Speed and memory of the whole command, beside its own kernel, in one run.

    python bench/command.py [--folder DIR] [--repeats 3]

Makes IMOD folders of noise (61 x 1024 x 1024, 1024 x 1024 x 360 voxels; and half of it on each
axis), then takes turns between `tomofilt reconstruct` as a process of its own with several filters
and options, a plain write of as many bytes as the tomogram has, and IMOD's `tilt` and RELION where
they are on PATH; before and after each comes the back-projection kernel alone on the same job, so
that a busy machine slows both sides of a ratio. Nothing here passes or fails.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import numpy as np
from rich.console import Console
from rich.table import Table

from tomofilt.io.mrc import MrcWriter
from tomofilt.util.threads import available_threads

VIEWS = 61
PIXEL_ANGST = 10.0
PHASES = ("read", "align", "filter", "back-project", "write")

TILT_COM = """\
$tilt -StandardInput
InputProjections TS_ali.mrc
OutputFile TS_full_rec.mrc
IMAGEBINNED 1
TILTFILE TS.tlt
THICKNESS {thickness}
RADIAL 0.35 0.035
FalloffIsTrueSigma 1
XAXISTILT 0.0
SCALE 0.0 1.0
PERPENDICULAR
MODE 2
FULLIMAGE {size} {size}
SUBSETSTART 0 0
OFFSET 0.0
SHIFT 0.0 0.0
"""
NEWST_COM = """\
$newstack -StandardInput
InputFile TS.mrc
OutputFile TS_ali.mrc
TransformFile TS.xf
SizeToOutputInXandY {size},{size}
BinByFactor 1
"""
#: What RELION 5 refuses to do without, as its AlignTiltSeries job writes it.
RELION_GLOBAL = """\
data_global

loop_
_rlnTomoName #1
_rlnTomoTiltSeriesStarFile #2
_rlnVoltage #3
_rlnSphericalAberration #4
_rlnAmplitudeContrast #5
_rlnMicrographOriginalPixelSize #6
_rlnTomoHand #7
_rlnOpticsGroupName #8
_rlnTomoTiltSeriesPixelSize #9
TS TS.star 300.0 2.7 0.1 {pixel} -1.0 optics1 {pixel}

"""
RELION_COLUMNS = """\
data_TS

loop_
_rlnMicrographName #1
_rlnTomoTiltMovieFrameCount #2
_rlnTomoNominalStageTiltAngle #3
_rlnTomoNominalTiltAxisAngle #4
_rlnMicrographPreExposure #5
_rlnDefocusU #6
_rlnDefocusV #7
_rlnDefocusAngle #8
_rlnTomoXTilt #9
_rlnTomoYTilt #10
_rlnTomoZRot #11
_rlnTomoXShiftAngst #12
_rlnTomoYShiftAngst #13
_rlnCtfScalefactor #14
"""


@dataclass(frozen=True)
class Job:
    """A size of tomogram, and the folder with its data."""

    size: int
    thickness: int
    folder: Path

    @property
    def output_bytes(self) -> int:
        """Of the tomogram as float32."""
        return 4 * self.thickness * self.size * self.size


@dataclass(frozen=True)
class Run:
    """What one run took."""

    wall: float
    user: float = 0.0
    system: float = 0.0
    peak_bytes: int = 0
    phases: Mapping[str, float] = field(default_factory=dict)


@dataclass
class Case:
    """Something that takes its turn."""

    name: str
    turn: Callable[[], Run]
    runs: list[Run] = field(default_factory=list)
    ratios: list[float] = field(default_factory=list)


def make_folder(job: Job, *, raw: bool) -> Path:
    """An IMOD folder of noise: with an aligned stack, or with a raw one turned by 85 degrees."""
    folder = job.folder / ("raw" if raw else "aligned")
    folder.mkdir(parents=True, exist_ok=True)
    stack = folder / ("TS.mrc" if raw else "TS_ali.mrc")
    if not stack.exists():
        if raw:
            os.link(make_folder(job, raw=False) / "TS_ali.mrc", stack)
        else:
            rng = np.random.default_rng(7)
            shape = (VIEWS, job.size, job.size)
            with MrcWriter(stack, shape, PIXEL_ANGST, is_volume=False) as writer:
                for view in range(VIEWS):
                    image = rng.normal(100, 20, (1, job.size, job.size)).astype(np.float32)
                    writer.write(image, z=view)
                writer.commit()
    numbers = {"size": job.size, "thickness": job.thickness}
    (folder / "tilt.com").write_text(TILT_COM.format(**numbers))
    tilts = np.linspace(-60, 60, VIEWS)
    (folder / "TS.tlt").write_text("".join(f"{tilt:7.2f}\n" for tilt in tilts))
    if raw:
        (folder / "newst.com").write_text(NEWST_COM.format(**numbers))
        c, s = np.cos(np.radians(85.0)), np.sin(np.radians(85.0))
        line = f"{c:12.7f}{-s:12.7f}{s:12.7f}{c:12.7f}"
        shifts = [(3 * np.sin(i), 5 * np.cos(i)) for i in range(VIEWS)]
        (folder / "TS.xf").write_text("".join(f"{line}{x:12.3f}{y:12.3f}\n" for x, y in shifts))
    return folder


def run_process(
    command: Sequence[str], env: Mapping[str, str] | None = None, **options: object
) -> Run:
    """Run a program to its end; what it printed is shown when it fails."""
    # as where it is installed: Python keeps the modules that it has compiled
    env = dict(env or os.environ)
    env.pop("PYTHONDONTWRITEBYTECODE", None)
    with tempfile.TemporaryFile() as output:
        start = time.perf_counter()
        process = subprocess.Popen(command, stdout=output, stderr=output, env=env, **options)  # type: ignore[call-overload]
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            output.seek(0)
            print(output.read().decode(errors="replace"), file=sys.stderr)
            raise SystemExit(f"{' '.join(command)}: exit code {process.returncode}")
    unit = 1 if sys.platform == "darwin" else 1024
    return Run(wall, usage.ru_utime, usage.ru_stime, usage.ru_maxrss * unit)


def run_tomofilt(job: Job, options: Sequence[str], *, raw: bool = False) -> Run:
    """The command, from the start of the interpreter to its end, without first compilation."""
    folder = make_folder(job, raw=raw)
    output = job.folder / "out"
    command = [sys.executable, "-m", "tomofilt", "reconstruct", "--imod-dir", str(folder)]
    try:
        run = run_process([*command, "-o", str(output), *options])
        record = json.loads((output / "TS_tomofilt_rec.json").read_text())
    finally:
        shutil.rmtree(output, ignore_errors=True)
    return Run(run.wall, run.user, run.system, run.peak_bytes, record["seconds"])


def run_first_time(job: Job) -> Run:
    """The command on a machine where it has never run: numba compiles its kernels."""
    with tempfile.TemporaryDirectory() as empty:
        os.environ["NUMBA_CACHE_DIR"] = empty
        try:
            return run_tomofilt(job, [])
        finally:
            del os.environ["NUMBA_CACHE_DIR"]


def run_plain_write(job: Job) -> Run:
    """Write as many bytes as the tomogram has, and wait until they are on the disk."""
    piece = np.random.default_rng(7).bytes(1 << 22)
    path = job.folder / "plain"
    start, before = time.perf_counter(), os.times()
    with path.open("wb") as file:
        for _ in range(job.output_bytes // len(piece)):
            file.write(piece)
        file.flush()
        os.fsync(file.fileno())
    wall, after = time.perf_counter() - start, os.times()
    path.unlink()
    return Run(wall, after.user - before.user, after.system - before.system)


def run_kernel(size: int, thickness: int) -> Run:
    """The kernel alone on the whole job, on all cores, from rows that are packed already."""
    from backprojection import BackProjection

    from tomofilt.projectors.kernels import BLOCK

    kernel = BackProjection(size, thickness, VIEWS, available_threads())
    kernel.run(1)
    start, before = time.perf_counter(), os.times()
    kernel.run(-(-size // BLOCK))
    wall, after = time.perf_counter() - start, os.times()
    return Run(wall, after.user - before.user, after.system - before.system)


def run_tilt(job: Job, tilt: str) -> Run:
    """IMOD's own program, one process, by the same tilt.com."""
    folder = make_folder(job, raw=False)
    entries = job.folder / "tilt.in"
    entries.write_text((folder / "tilt.com").read_text().split("\n", 1)[1])
    with entries.open() as given:
        run = run_process([tilt, "-StandardInput"], stdin=given, cwd=folder)
    (folder / "TS_full_rec.mrc").unlink()
    return run


def run_relion(job: Job, relion: str) -> Run:
    """RELION's own program with its default weighting, on all cores."""
    folder = job.folder / "relion"
    folder.mkdir(exist_ok=True)
    stack = folder / "TS.mrcs"
    if not stack.exists():
        os.link(make_folder(job, raw=False) / "TS_ali.mrc", stack)
    (folder / "series.star").write_text(RELION_GLOBAL.format(pixel=PIXEL_ANGST))
    rows = "".join(
        f"{view + 1:06d}@TS.mrcs 1 {tilt} 0.0 {view}.0 30000.0 30000.0 0.0 0.0 {tilt} 0.0 0.0 0.0 "
        f"{np.cos(np.radians(tilt)):.6f}\n"
        for view, tilt in enumerate(np.linspace(-60, 60, VIEWS))
    )
    (folder / "TS.star").write_text(RELION_COLUMNS + rows + "\n")
    options = (
        f"--t series.star --o out/ --w {job.size} --h {job.size} --d {job.thickness} "
        f"--binned_angpix {PIXEL_ANGST} --j {available_threads()}"
    )
    run = run_process([relion, *options.split()], cwd=folder)
    shutil.rmtree(folder / "out")
    return run


def kernel_case(job: Job, kernels: ProcessPoolExecutor) -> Case:
    """The kernel, in a process of its own that stays."""
    return Case(
        "kernel alone", lambda: kernels.submit(run_kernel, job.size, job.thickness).result()
    )


def cases_of(job: Job, *, full: bool) -> list[Case]:
    """What takes turns on one size."""

    def tomofilt(name: str, *options: str, raw: bool = False) -> Case:
        return Case(name, lambda: run_tomofilt(job, options, raw=raw))

    cases = [
        tomofilt("default (wiener-exact:view)"),
        tomofilt("-f sirt-like:10", "-f", "sirt-like:10"),
        tomofilt("-f imod", "-f", "imod"),
    ]
    if full:
        cases += [
            tomofilt("-f ramp", "-f", "ramp"),
            tomofilt("-f gaussian:60A", "-f", "gaussian:60A"),
            tomofilt("ramp, --max-memory 600MB", "-f", "ramp", "--max-memory", "600MB"),
            tomofilt("default from the raw stack", raw=True),
            tomofilt("ramp from the raw stack", "-f", "ramp", raw=True),
        ]
    else:
        cases.append(Case("first run on a machine", lambda: run_first_time(job)))
    cases.append(Case("plain write and fsync", lambda: run_plain_write(job)))
    if tilt := shutil.which("tilt"):
        cases.append(Case("IMOD tilt, one process", lambda: run_tilt(job, tilt)))
    if relion := shutil.which("relion_tomo_reconstruct_tomogram"):
        cases.append(Case("RELION", lambda: run_relion(job, relion)))
    return cases


def take_turns(kernel: Case, cases: Sequence[Case], repeats: int) -> None:
    """Run all cases, ``repeats`` times, with the kernel between each two."""
    before = kernel.turn()
    for _ in range(repeats):
        for case in cases:
            run, after = case.turn(), kernel.turn()
            case.runs.append(run)
            case.ratios.append(2 * run.wall / (before.wall + after.wall))
            kernel.runs.append(after)
            kernel.ratios.append(1.0)
            before = after


def show(console: Console, job: Job, kernel: Case, cases: Sequence[Case]) -> None:
    """Print the table of times and the table of phases of one size."""
    fastest = min(kernel.runs, key=lambda run: run.wall)
    title = f"{VIEWS} x {job.size} x {job.size} -> {job.size} x {job.size} x {job.thickness}"
    table = Table(title=title)
    table.add_column("what")
    headings = "s median,s best,user s,sys s,peak MB,/ kernel median,/ kernel best,/ kernel CPU"
    for name in headings.split(","):
        table.add_column(name, justify="right")
    for case in (kernel, *cases):
        best = min(case.runs, key=lambda run: run.wall)
        peak = max(run.peak_bytes for run in case.runs)
        table.add_row(
            case.name,
            f"{median(run.wall for run in case.runs):.2f}",
            f"{best.wall:.2f}",
            f"{best.user:.2f}",
            f"{best.system:.2f}",
            f"{peak / 1e6:.0f}" if peak else "",
            f"{median(case.ratios):.2f}",
            f"{best.wall / fastest.wall:.2f}",
            f"{(best.user + best.system) / (fastest.user + fastest.system):.2f}",
        )
    console.print(table)

    phases = Table(title="Seconds of the best run: where the main thread spent them")
    phases.add_column("what")
    for name in (*PHASES, "other"):
        phases.add_column(name, justify="right")
    for case in cases:
        best = min(case.runs, key=lambda run: run.wall)
        if best.phases:
            spent = [best.phases[name] for name in PHASES]
            rest = best.wall - sum(spent)
            phases.add_row(case.name, *(f"{seconds:.2f}" for seconds in (*spent, rest)))
    console.print(phases)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--folder", type=Path, help="keep the data here, and use what is there")
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    console = Console(width=120)
    for name in ("tilt", "relion_tomo_reconstruct_tomogram"):
        if shutil.which(name) is None:
            console.print(f"{name}: not on PATH: not measured")

    # peak memory of a child counts from its parent's size on: this process has to stay small
    spawn = multiprocessing.get_context("spawn")
    with (
        tempfile.TemporaryDirectory() as temporary,
        ProcessPoolExecutor(1, mp_context=spawn) as kernels,
    ):
        folder = given.folder or Path(temporary)
        small = Job(512, 180, folder / "512")
        large = Job(1024, 360, folder / "1024")
        for options in ([], ["-f", "imod"], ["-f", "gaussian:60A"]):
            run_tomofilt(small, options)  # compiles what is not compiled yet
        run_tomofilt(small, [], raw=True)
        for job in (small, large):
            kernel = kernel_case(job, kernels)
            cases = cases_of(job, full=job is large)
            load = os.getloadavg()[0]
            take_turns(kernel, cases, given.repeats)
            show(console, job, kernel, cases)
            console.print(
                f"{available_threads()} cores, {given.repeats} turns, load {load:.1f} before and "
                f"{os.getloadavg()[0]:.1f} after. Wall-clock seconds; user and sys are of the best "
                "run. / kernel: median of each run over the mean of the kernel's runs just before "
                "and after it; best run over the kernel's best; processor time (user and sys) over "
                "the kernel's. Input is in the page cache.\n"
            )


if __name__ == "__main__":
    main()
