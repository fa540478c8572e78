"""Projectors of two states of tomofilt, turn by turn, each state in a process of its own.

    python bench/before.py OTHER_CHECKOUT [--size 1024] [--thickness 360] [--repeats 5]

What is timed is what either state's ``bench/backprojection.py`` times on one core, where both have
a row of that name. Processor seconds count, so that other people's work hardly shows. Nothing here
passes or fails.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

HERE = Path(__file__).resolve().parents[1]


def serve(checkout: Path, size: int, thickness: int, views: int) -> None:
    """Time the row whose name comes in on each line; a list of all names goes out first."""
    spec = importlib.util.spec_from_file_location("bench", checkout / "bench/backprojection.py")
    assert spec
    assert spec.loader
    bench: Any = importlib.util.module_from_spec(spec)
    sys.modules["bench"] = bench
    spec.loader.exec_module(bench)
    cases = {case.name: case for case in bench.own_cases(size, thickness, views, 1)}
    for case in cases.values():
        case.run()
    print(json.dumps({name: case.updates for name, case in cases.items()}), flush=True)
    for line in sys.stdin:
        start = time.process_time()
        cases[line.strip()].run()
        print(time.process_time() - start, flush=True)


class State:
    """A state of tomofilt at work in another process."""

    def __init__(self, checkout: Path, given: argparse.Namespace) -> None:
        command = [sys.executable, __file__, str(checkout), "--serve"]
        for name in ("size", "thickness", "views"):
            command += [f"--{name}", str(getattr(given, name))]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": str(checkout / "src"), "SLURM_CPUS_PER_TASK": "1"},
        )
        self.updates: dict[str, int] = json.loads(self._line())

    def _line(self) -> str:
        assert self.process.stdout
        return self.process.stdout.readline()

    def seconds(self, name: str) -> float:
        """Processor seconds of one call."""
        assert self.process.stdin
        print(name, file=self.process.stdin, flush=True)
        return float(self._line())


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("checkout", type=Path, help="another state of tomofilt")
    parser.add_argument("--size", type=int, default=1024, help="voxels along x and y")
    parser.add_argument("--thickness", type=int, default=360, help="voxels along z")
    parser.add_argument("--views", type=int, default=61)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        serve(given.checkout.resolve(), given.size, given.thickness, given.views)
        return
    states = [State(given.checkout.resolve(), given), State(HERE, given)]
    names = [name for name in states[1].updates if name in states[0].updates]
    times: dict[str, list[list[float]]] = {name: [] for name in names}
    for _ in range(given.repeats):
        for name in names:
            times[name].append([state.seconds(name) for state in states])
    print(
        f"{given.size} x {given.thickness}, {given.views} views, {given.repeats} repeats, one core"
    )
    print(f"{'':40} {'G/s before':>11} {'G/s now':>8} {'ratio, median (least, most)':>28}")
    for name, pairs in times.items():
        ratios = sorted(before / now for before, now in pairs)
        rates = [
            state.updates[name] / median(column) / 1e9
            for state, column in zip(states, zip(*pairs, strict=True), strict=True)
        ]
        spread = f"{median(ratios):.2f} ({ratios[0]:.2f}, {ratios[-1]:.2f})"
        print(f"{name:40} {rates[0]:11.2f} {rates[1]:8.2f} {spread:>28}")


if __name__ == "__main__":
    main()
