"""The whole command of two states of tomofilt, turn by turn, each run a process of its own.

    python bench/turns.py OTHER_CHECKOUT PROJECT [--runs 4] [--options "-f imod"] [--options ""]

``tomofilt reconstruct -q --no-preview`` on a project, with each of the options, by the other state
and by this one. Printed are the medians of wall-clock, user and system seconds and the largest peak
of memory, and the ratio of processor seconds. The first run of each, which may compile kernels,
does not count. On a machine that others use too, only the processor seconds tell something.
Nothing here passes or fails.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path
from statistics import median

from command import Run, run_process

HERE = Path(__file__).resolve().parents[1]


def run_state(checkout: Path, project: Path, options: list[str]) -> Run:
    """One run of the command of a state of tomofilt."""
    parts = [checkout / "src", *sorted((checkout / "plugins").glob("*"))]
    path = os.pathsep.join(map(str, parts))
    with tempfile.TemporaryDirectory(dir=project.parent) as output:
        command = [sys.executable, "-m", "tomofilt", "reconstruct", str(project), "-o", output]
        command += ["-q", "--no-preview", *options]
        return run_process(command, env=os.environ | {"PYTHONPATH": path})


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("checkout", type=Path, help="another state of tomofilt")
    parser.add_argument("project", type=Path)
    parser.add_argument("--runs", type=int, default=4)
    parser.add_argument("--options", action="append", help="of a run; default: none, and -f imod")
    given = parser.parse_args()
    states = (given.checkout.resolve(), HERE)
    for options in given.options or ["", "-f imod"]:
        turns = [
            [run_state(state, given.project.resolve(), options.split()) for state in states]
            for _ in range(given.runs + 1)
        ]
        cpu = []
        for name, runs in zip(("before", "now"), zip(*turns[1:], strict=True), strict=True):
            cpu.append(median(run.user + run.system for run in runs))
            print(
                f"{options or 'default':24} {name:6} {median(run.wall for run in runs):6.2f} s, "
                f"CPU {cpu[-1]:6.2f} s ({median(run.user for run in runs):.2f} user, "
                f"{median(run.system for run in runs):.2f} system), "
                f"{max(run.peak_bytes for run in runs) / 1e9:.2f} GB"
            )
        print(f"{options or 'default':24} now / before, CPU: {cpu[1] / cpu[0]:.2f}")


if __name__ == "__main__":
    main()
