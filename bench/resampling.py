"""Resampling of one image onto the tilt axis, in nanoseconds a pixel and core.

    python bench/resampling.py [--size 1024] [--angle 85.3] [--repeats 15]

``newstack`` is cubic convolution alone; ``spline`` has the B-spline's Fourier prefilter besides.
Processor seconds are counted. Nothing here passes or fails.
"""

from __future__ import annotations

import argparse
import time
from statistics import median

import numpy as np

from tomofilt.align.resample import warp
from tomofilt.series.geometry import ImageGrid


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--size", type=int, default=1024, help="pixels along x and y")
    parser.add_argument("--angle", type=float, default=85.3, help="of the tilt axis, degrees")
    parser.add_argument("--repeats", type=int, default=15)
    given = parser.parse_args()
    image = np.random.default_rng(0).normal(size=(given.size, given.size)).astype(np.float32)
    cosine, sine = np.cos(np.radians(given.angle)), np.sin(np.radians(given.angle))
    matrix = np.array([[cosine, -sine, 3.3], [sine, cosine, -2.1]])
    out = np.empty_like(image)
    grid = ImageGrid.centred((given.size, given.size), 10.0)
    for name, like_newstack in (("newstack", True), ("spline", False)):
        seconds = []
        for _ in range(given.repeats + 1):
            start = time.process_time()
            warp(image, 10.0, matrix, grid, out, halo=0, fill=0.0, like_newstack=like_newstack)
            seconds.append(time.process_time() - start)
        print(f"{name}: {median(seconds[1:]) / image.size * 1e9:.1f} ns a pixel")


if __name__ == "__main__":
    main()
