"""A RELION 5 project at RELION's own benchmark size: memory and time of `tomofilt reconstruct`.

41 tilts of 2048 x 2048 px (float32 stack) to 1024 x 1024 x 360 voxels at bin 2. The project is made
of noise in a temporary folder. Run: python bench/relion.py [--runs 3] [--size 1024] [--options ...]

Each run is one turn of all options: by default tomofilt's own filter, and what RELION's --no_weight
does.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from tomofilt.io.mrc import MrcWriter

VIEWS = 41
#: Thickness over width, both unbinned.
THINNESS = 720 / 2048

GLOBAL = """
data_global

loop_
_rlnTomoName #1
_rlnVoltage #2
_rlnSphericalAberration #3
_rlnAmplitudeContrast #4
_rlnTomoHand #5
_rlnTomoTiltSeriesPixelSize #6
_rlnTomoTiltSeriesStarFile #7
TS_01 300.0 2.7 0.1 -1.0 5.0 AlignTiltSeries/job001/tilt_series/TS_01.star
"""

ROWS = """
data_TS_01

loop_
_rlnMicrographName #1
_rlnMicrographPreExposure #2
_rlnTomoXTilt #3
_rlnTomoYTilt #4
_rlnTomoZRot #5
_rlnTomoXShiftAngst #6
_rlnTomoYShiftAngst #7
_rlnDefocusU #8
_rlnDefocusV #9
_rlnDefocusAngle #10
"""


def make_project(folder: Path, size: int) -> Path:
    """A one-series project of noise images of size x size; returns its star file."""
    rng = np.random.default_rng(0)
    job = folder / "AlignTiltSeries" / "job001"
    (job / "tilt_series").mkdir(parents=True)
    with MrcWriter(folder / "TS_01.mrcs", (VIEWS, size, size), 5.0, is_volume=False) as writer:
        for view in range(VIEWS):
            image = rng.normal(10, 3, size=(1, size, size)).astype(np.float32)
            writer.write(image, z=view)
        writer.commit()
    rows = [
        f"{view + 1:06d}@TS_01.mrcs {3 * view} 0 {tilt:.2f} 85.3 {4 * view / VIEWS:.3f} -3.0 "
        "30000 30000 0"
        for view, tilt in enumerate(np.linspace(-60, 60, VIEWS))
    ]
    (job / "tilt_series" / "TS_01.star").write_text(ROWS + "\n".join(rows) + "\n")
    star = job / "aligned_tilt_series.star"
    star.write_text(GLOBAL)
    return star


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--size", type=int, default=2048, help="pixels along x and y")
    parser.add_argument("--options", action="append", help="of a run")
    arguments = parser.parse_args()
    thickness = str(round(arguments.size * THINNESS))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        star = make_project(folder, arguments.size)
        command = [sys.executable, "-m", "tomofilt", "reconstruct", "--relion-star"]
        command += [str(star.relative_to(folder)), "-o", "Tomograms/job002", "--bin", "2"]
        command += ["--thickness-px", thickness, "--overwrite", "--no-preview", "-q"]
        for run in range(arguments.runs):
            for options in arguments.options or ["", "-f none --normalise count"]:
                start, before = time.perf_counter(), os.times()
                subprocess.run([*command, *options.split()], cwd=folder, check=True)
                wall, after = time.perf_counter() - start, os.times()
                cpu = after.children_user + after.children_system
                cpu -= before.children_user + before.children_system
                path = folder / "Tomograms/job002/tomograms/rec_TS_01.json"
                record = json.loads(path.read_text())
                shape = "x".join(map(str, record["output"]["shape_zyx"]))
                print(
                    f"run {run + 1}, {options or 'default'}: {shape} zyx, {wall:.1f} s wall, "
                    f"{cpu:.1f} s CPU, peak {record['peak_memory_bytes'] / 1e9:.2f} GB, "
                    f"{record['seconds']}"
                )


if __name__ == "__main__":
    main()
