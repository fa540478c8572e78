"""What filling gold is worth on lamellae with beads, against the truth; and a picture.

    python bench/gold.py truth [--seeds 21 22 23]
    python bench/gold.py picture FOLDER PICTURE.png

`truth`: 35 uneven views of 256 x 256 pixels of 10 A, a slab of 63 planes in 96, an SNR of 0.05
without the gold. PSNR and the mean FSC are those of everything further than 80 A from a bead; the
area under the ROC curve is the mean over five kinds of particles. It takes a minute a seed.
`picture`: an IMOD folder, `--gold as-is` beside `keep`: the middle plane, and below it a part of
the plane where the two differ most. Nothing here passes or fails.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

import tomofilt
from tomofilt.evaluate.against_truth import compare_with_truth
from tomofilt.evaluate.detection import background_places, detection, radial_template
from tomofilt.reconstruction import solve
from tomofilt.reconstruction.settings import Settings
from tomofilt.series.geometry import ImageGrid
from tomofilt.simulate.molecules import bundled
from tomofilt.simulate.phantom import GOLD, Contents
from tomofilt.simulate.physics import Optics, relative_noise
from tomofilt.simulate.projection import project
from tomofilt.simulate.scheme import tilt_scheme
from tomofilt.simulate.series import (
    SimulatedSeries,
    Simulation,
    damaged_projections,
    noisy_halves,
    simulate,
)

#: Pixels of a part of the picture, which is twice as high in the middle plane.
HEIGHT, WIDTH, GAP = 180, 330, 6
SHAPE, PIXEL_ANGST, ICE_ANGST, SNR, NEAR_ANGST = (96, 256, 256), 10.0, 630.0, 0.05, 80.0


def lamella(seed: int) -> SimulatedSeries:
    rng = np.random.default_rng(seed + 1000)
    tilt_deg = np.round(np.linspace(-52, 54, 35) + rng.normal(0, 0.6, 35), 2)
    made = simulate(
        Simulation(
            scheme=tilt_scheme(tilt_deg, "dose-symmetric", 3.0),
            contents=Contents(bundled(), crowding=0.25, membranes=3, gold=12),
            shape=SHAPE,
            pixel_angst=PIXEL_ANGST,
            ice_angst=ICE_ANGST,
            optics=Optics(defocus_angst=0.0),
            rotation_deg=0.0,
            shift_angst=0.0,
            seed=seed,
        )
    )
    assert made.phantom is not None
    grid, images = made.phantom.grid, ImageGrid.centred(SHAPE[1:], PIXEL_ANGST)
    without = made.phantom.density.copy()
    without[made.phantom.labels == len(made.phantom.kinds)] = 0
    least = [int(np.abs(made.scheme.tilt_deg).argmin())]
    plain = project(without, grid, made.geometry.select(least), images)
    sigma = np.sqrt(plain.var() / SNR) * relative_noise(made.scheme.tilt_deg, ICE_ANGST)
    clean = damaged_projections(made.phantom.density, grid, made.geometry, made.scheme, images)
    return replace(made, clean=clean, halves=noisy_halves(clean, sigma, rng), optics=None)


def truth(seeds: Sequence[int]) -> None:
    for seed in seeds:
        made = lamella(seed)
        assert made.phantom is not None
        series = replace(made.tilt_series(), halves=None)
        centres = {
            kind: np.array(
                [
                    np.array(each.position_angst)[::-1] / PIXEL_ANGST + made.grid.centre
                    for each in made.phantom.particles
                    if each.kind == kind
                ]
            )
            for kind in {each.kind for each in made.phantom.particles}
        }
        beads = centres.pop(GOLD)
        near = np.zeros(SHAPE, dtype=bool)
        z, y, x = np.ogrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]]
        for bead in beads:
            squares = (z - bead[0]) ** 2 + (y - bead[1]) ** 2 + (x - bead[2]) ** 2
            near |= squares < (NEAR_ANGST / PIXEL_ANGST) ** 2
        background = background_places(SHAPE, np.concatenate([*centres.values(), beads]), 6, 8)
        for gold in ("as-is", "keep", "erase"):
            settings = Settings(filter="wiener-exact:match", dose_weight="off", gold=gold)
            volume = solve.tomogram(series, settings)
            areas = []
            for places in centres.values():
                inside = np.all((places > 4) & (places < np.array(SHAPE) - 5), axis=1)
                template = radial_template(made.truth, places[inside], 14)
                areas.append(detection(volume, template, places[inside], background).auc)
            truth = made.truth.copy()
            for each in (volume, truth):
                each[near] = each[~near].mean()
            found = compare_with_truth(volume, truth, PIXEL_ANGST, made.scheme.tilt_deg)
            fsc = found.fsc["sampled"].mean(0.35)
            print(
                f"seed {seed} {gold:6s} {found.psnr_db:6.2f} dB  FSC {fsc:.3f}  "
                f"area {np.mean(areas):.4f}",
                flush=True,
            )


def picture(folder: Path, file: Path) -> None:
    series = tomofilt.open(folder)
    pair = [tomofilt.tomogram(series, Settings(gold=gold)) for gold in ("as-is", "keep")]
    change = np.abs(pair[1] - pair[0])
    z, y, x = (int(place) for place in np.unravel_index(change.argmax(), change.shape))
    nz, ny, nx = change.shape
    top, left = np.clip((y - HEIGHT // 2, x - WIDTH // 2), 0, (ny - HEIGHT, nx - WIDTH))
    parts = [
        [
            volume[nz // 2, (ny - 2 * HEIGHT) // 2 :, (nx - WIDTH) // 2 :][: 2 * HEIGHT, :WIDTH],
            volume[z, top:, left:][:HEIGHT, :WIDTH],
        ]
        for volume in pair
    ]
    low, high = np.percentile(parts[1][0], [0.5, 99.5])
    gap = np.full((GAP, WIDTH), high)
    columns = [np.concatenate([one[::-1], gap, two[::-1]]) for one, two in parts]
    sheet = np.concatenate([columns[0], np.full((len(columns[0]), GAP), high), columns[1]], axis=1)
    grey = np.clip((sheet - low) / (high - low), 0, 1) * 255
    Image.fromarray(grey.astype(np.uint8)).quantize(48).save(file, optimize=True)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    simulations = commands.add_parser("truth")
    simulations.add_argument("--seeds", type=int, nargs="+", default=[21, 22, 23])
    drawing = commands.add_parser("picture")
    drawing.add_argument("folder", type=Path)
    drawing.add_argument("file", type=Path)
    chosen = parser.parse_args(arguments)
    if chosen.command == "truth":
        truth(chosen.seeds)
    else:
        picture(chosen.folder, chosen.file)


if __name__ == "__main__":
    main()
