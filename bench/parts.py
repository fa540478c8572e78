"""Where the time of a reconstruction goes, on one core and on all.

    python bench/parts.py PROJECT [--filter wiener-exact:view] [--threads N]

First what a command loads, each line beyond the one before it, up to the first kernel that was
compiled before. The steps then run one after the other in this process, by one thread and by N;
nothing is written. Nothing here passes or fails.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from statistics import median

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # as the command itself sets it, before numpy is loaded

import numpy as np
from command import run_process

import tomofilt
from tomofilt.filters.wiener import WienerExact
from tomofilt.projectors.cpu import SliceProjector, slice_table
from tomofilt.reconstruction.gold import fill_gold
from tomofilt.reconstruction.measure import measured
from tomofilt.reconstruction.methods.fbp import filtered_stack
from tomofilt.reconstruction.problem import Problem
from tomofilt.reconstruction.setup import make_problem
from tomofilt.util.threads import available_threads

#: Pieces of code whose start takes time, each beyond the ones before it.
STARTS = (
    ("Python", "pass"),
    ("numpy", "import numpy"),
    ("numba", "import numpy, numba"),
    ("scipy.fft", "import numpy, numba, scipy.fft"),
    ("tomofilt", "import numpy, numba, scipy.fft, tomofilt.cli.app, tomofilt.jobs.many"),
    (
        "first kernel",
        "import numpy, numba, scipy.fft, tomofilt.cli.app, tomofilt.jobs.many\n"
        "from tomofilt.projectors.kernels import pack_rows\n"
        "pack_rows(*(numpy.zeros((size, 128), numpy.float32) for size in (128, 132)))",
    ),
)


def start_up() -> None:
    """Print what it costs to get going."""
    before = 0.0
    for name, code in STARTS:
        runs = [run_process([sys.executable, "-c", code]) for _ in range(5)]
        seconds = median(run.user + run.system for run in runs)
        print(f"start: {name:20} {seconds - before:6.3f}   together {seconds:6.3f}")
        before = seconds


def steps(
    series: tomofilt.TiltSeries, settings: tomofilt.Settings
) -> tuple[Problem, dict[str, tuple[float, float]]]:
    """The problem with its filter measured; processor and wall-clock seconds of each step."""

    def now() -> tuple[float, float]:
        return time.process_time(), time.perf_counter()

    problem = make_problem(series, settings)
    marks = {"": now()}
    with problem.images(in_place=True) as images:
        images.before_ctf_weights()
        marks["read and align"] = now()
        if isinstance(problem.filter, WienerExact):
            fill_gold(problem, images, settings)
            marks["gold"] = now()
            problem = measured(problem, images)
            marks["measure"] = now()
        if problem.filter.two_dimensional:
            filtered_stack(problem, images, problem.everything)
            marks["filter images"] = now()
        for _ in problem.slabs(images):
            pass
        marks["filter rows and back-project"] = now()
    taken = np.diff(list(marks.values()), axis=0).tolist()
    return problem, dict(zip(list(marks)[1:], map(tuple, taken), strict=True))


def kernel_alone(problem: Problem) -> float:
    """Processor seconds of the back-projection kernel for the whole tomogram."""
    frame, rows = problem.frame, problem.row_filter
    table = slice_table(frame.slices, frame.volume, frame.grid, rows.first_px, rows.step_px)
    nz, ny, nx = frame.volume.shape
    projector = SliceProjector(
        table, (len(table), ny, int(rows.samples.max())), frame.volume.shape, threads=1
    )
    packed = projector.packed_buffer(np.dtype(np.float32))
    packed[:] = 1.0
    block = np.empty((min(64, nz), 128, nx), np.float32)
    projector.adjoint_block(packed, block, 0)
    seconds = []
    for _ in range(3):
        start = time.process_time()
        projector.adjoint_block(packed, block, 0)
        seconds.append(time.process_time() - start)
    return min(seconds) * nz / len(block) * ny / 128


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("project", type=Path)
    parser.add_argument("--filter", default="wiener-exact:view")
    parser.add_argument("--threads", type=int, default=available_threads())
    given = parser.parse_args()
    start_up()
    settings = tomofilt.Settings(filter=given.filter, threads=1)
    series = tomofilt.open(given.project)
    steps(series, settings)  # kernels are loaded
    problem, alone = steps(series, settings)
    _, together = steps(series, replace(settings, threads=given.threads))
    kernel = kernel_alone(problem)
    print(f"{'CPU s by one thread, s and CPU s by':34} {given.threads}")
    for name, (seconds, _) in alone.items():
        cpu, wall = together[name]
        print(
            f"{name:34} {seconds:6.3f}   {seconds / kernel:5.2f} times the kernel"
            f"   {wall:6.3f} {cpu:6.3f}"
        )
    print(f"{'of it the kernel':34} {kernel:6.3f}")


if __name__ == "__main__":
    main()
