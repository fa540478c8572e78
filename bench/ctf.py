"""What correcting the CTF does to tomograms of simulated counts, and what it costs.

    python bench/ctf.py truth [--specimens 3]
    python bench/ctf.py time

`truth`: decibels and Fourier shell correlation with the specimen, by frequency, without correction,
with flipped phases and with Wiener weights. `time`: processor time for 61 images of 1024 x 1024.
Nothing here passes or fails.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from tomofilt.align.phases import ImageCorrection
from tomofilt.evaluate.against_truth import compare_with_truth
from tomofilt.reconstruction import solve
from tomofilt.reconstruction.settings import Settings
from tomofilt.series.ctf import Ctf
from tomofilt.series.geometry import ImageGrid, TiltGeometry
from tomofilt.series.tiltseries import TiltSeries
from tomofilt.simulate.molecules import bundled
from tomofilt.simulate.phantom import Contents
from tomofilt.simulate.physics import Optics
from tomofilt.simulate.scheme import tilt_scheme
from tomofilt.simulate.series import Simulation, simulate

PIXEL, TILTS, SHAPE = 10.0, np.arange(-60.0, 61.0, 3.0), (40, 128, 128)
DEFOCUS_UM = (3.0, 6.0, 9.0)
FILTERS = ("wiener-exact:match", "gaussian:0.15")
WAYS = ("none", "flip", "wiener")
BANDS = ((0.02, 0.1), (0.1, 0.2), (0.2, 0.3), (0.3, 0.4))


def tomogram(series: TiltSeries, filter: str, ctf: str) -> np.ndarray:
    return solve.tomogram(series, Settings(filter=filter, ctf=ctf))


def truth(specimens: int) -> None:
    print("defocus filter               ctf     PSNR  | FSC " + " ".join(f"{b}" for b in BANDS))
    for defocus in DEFOCUS_UM:
        scores: dict[tuple[str, str], list[list[float]]] = {}
        for seed in range(specimens):
            wanted = Simulation(
                tilt_scheme(TILTS, "dose-symmetric", 3.0),
                Contents(bundled(), crowding=0.25, membranes=1, gold=0),
                *(SHAPE, PIXEL, 320.0, Optics(defocus_angst=1e4 * defocus), 5.0, 10.0, seed),
            )
            made = simulate(wanted)
            for name in FILTERS:
                for way in WAYS:
                    volume = tomogram(made.tilt_series(), name, way)
                    found = compare_with_truth(volume, made.truth, PIXEL, TILTS)
                    rings = found.fsc["sampled"]
                    bands = [
                        float(
                            rings.correlation[(rings.frequency > a) & (rings.frequency < b)].mean()
                        )
                        for a, b in BANDS
                    ]
                    scores.setdefault((name, way), []).append([found.psnr_db, *bands])
        for (name, way), rows in scores.items():
            mean = np.mean(rows, axis=0)
            bands = "  ".join(f"{value:.3f}" for value in mean[1:])
            print(f"{defocus:4.0f} um {name:20s} {way:6s} {mean[0]:6.2f}  |  {bands}", flush=True)


def cost() -> None:
    tilts = np.linspace(-60, 60, 61)
    geometry = TiltGeometry.from_angles(tilts)
    image = np.random.default_rng(0).standard_normal((1024, 1024)).astype(np.float32)
    one, zero = np.ones(len(tilts)), np.zeros(len(tilts))
    for pixel in (10.0, 4.0, 2.0):
        grid = ImageGrid.centred(image.shape, pixel)
        ctf = Ctf(3e4 * one, 2.9e4 * one, zero, zero, 300.0, 2.7, 0.07)
        for wiener in (False, True):
            steps = [ImageCorrection(geometry, grid, ctf=ctf)]
            if wiener:
                steps.append(ImageCorrection(geometry, grid, ctf=ctf, wiener=True))
            for step in steps:
                step.correct(0, image)
            start = time.process_time()
            for view in range(len(tilts)):
                for step in steps:
                    step.correct(view, image)
            seconds = time.process_time() - start
            print(f"{pixel:4.0f} A  {WAYS[1 + wiener]:6s} {seconds:5.2f} s of processor time")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["truth", "time"])
    parser.add_argument("--specimens", type=int, default=3)
    given = parser.parse_args()
    truth(given.specimens) if given.what == "truth" else cost()


if __name__ == "__main__":
    main()
