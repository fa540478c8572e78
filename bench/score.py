"""Whether the score of left-out views agrees with the truth.

    python bench/score.py [--only NAME ...] [--filters]

Series of many kinds are simulated, each is reconstructed with eleven filters, and the filters are
ranked twice: by the truth, and by `tomofilt evaluate --series`, which knows nothing of it. A line
tells of each series how well the two ranks agree (Spearman's correlation): of the score of all
frequencies with the PSNR, and of the mean of the bands with the mean Fourier shell correlation in
the sampled region. Many filters have nearly the same FSC, so that its rank is chance; therefore
also the share of pairs in the right order, of those whose FSC differ by more than 0.01.
`--filters` shows the numbers of every filter. It takes about fifteen minutes of CPU time. Nothing
here passes or fails.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from tomofilt.evaluate.against_truth import compare_with_truth, matched_psnr_db
from tomofilt.evaluate.left_out import LeftOut, left_out_correlation
from tomofilt.reconstruction import solve
from tomofilt.reconstruction.settings import Settings
from tomofilt.series.geometry import ImageGrid, TiltGeometry, VolumeGrid
from tomofilt.series.tiltseries import TiltSeries
from tomofilt.simulate import SimulatedSeries, simulated_series
from tomofilt.simulate.molecules import bundled
from tomofilt.simulate.phantom import GOLD, Contents
from tomofilt.simulate.physics import Optics
from tomofilt.simulate.projection import project
from tomofilt.simulate.scheme import tilt_scheme
from tomofilt.simulate.series import ImagesInMemory, Simulation, simulate

Volume = NDArray[np.float32]

FILTERS = (
    *("ramp", "hamming:0.25", "gaussian:0.03", "gaussian:0.06", "gaussian:0.12", "exact"),
    *("sirt-like:10", "sirt:8", "sirt:25", "wiener-exact:match", "wiener-exact:view"),
)
SHAPE = (56, 128, 128)
#: Voxels this near to a bead are not compared: gold is not what is looked at.
BEAD_ANGST = 80.0
#: Mean FSC that differ by less are taken for equal.
EQUAL_FSC = 0.01


@dataclass(frozen=True, eq=False)
class Case:
    """A series, the truth on the tomogram's voxels, and the planes that hold the specimen."""

    series: TiltSeries
    truth: Volume
    planes: slice
    ignored: NDArray[np.bool_] | None = None


def case(made: SimulatedSeries, planes: int | None = None) -> Case:
    """A simulated series, with so many planes in the tomogram instead of its own."""
    assert made.phantom is not None
    series = replace(made.tilt_series(), halves=None)
    nz, ny, nx = made.grid.shape
    grid = made.grid.resized((planes or nz, ny, nx))
    cut = (nz - grid.shape[0]) // 2
    half = made.phantom.ice_angst / 2 / grid.voxel_angst
    middle = grid.centre[0]
    ice = slice(max(0, int(middle - half)), min(grid.shape[0], int(np.ceil(middle + half)) + 1))
    beads = [p.position_angst for p in made.phantom.particles if p.kind == GOLD]
    ignored = None
    if beads:
        z, y, x = (
            (np.arange(n) - c) * grid.voxel_angst
            for n, c in zip(grid.shape, grid.centre, strict=True)
        )
        ignored = np.zeros(grid.shape, dtype=bool)
        for bead_x, bead_y, bead_z in beads:
            squares = (z[:, None, None] - bead_z) ** 2 + (y[:, None] - bead_y) ** 2
            ignored |= squares + (x - bead_x) ** 2 < BEAD_ANGST**2
    truth = np.ascontiguousarray(made.truth[cut : cut + grid.shape[0]])
    return Case(replace(series, grid=grid), truth, ice, ignored)


def microscope(seed: int, *, defocus_angst: float, gold: int, pixel_angst: float) -> Case:
    """Counts of electrons, with a CTF or an ideal phase plate."""
    small = pixel_angst < 8
    molecules = bundled(("1bxn", "1qvr", "4cr2")) if small else bundled()
    wanted = Simulation(
        scheme=tilt_scheme(np.arange(-60.0, 61, 3), "dose-symmetric", 5.0 if small else 3.0),
        contents=Contents(molecules, crowding=0.3, membranes=1, gold=gold),
        shape=(64, 160, 160) if small else SHAPE,
        pixel_angst=pixel_angst,
        ice_angst=250.0 if small else 400.0,
        optics=Optics(defocus_angst=defocus_angst),
        rotation_deg=0.0,
        shift_angst=0.0,
        seed=seed,
    )
    return case(simulate(wanted))


def xray_like(seed: int) -> Case:
    """What X-rays see of a thing that can be turned all the way: the truth is a tomogram, too.

    A porous slab is projected from all sides, and the truth is what 180 noiseless views make of it.
    The series has the views up to 60 degrees alone, with noise, and a tomogram far too thick.
    """
    rng = np.random.default_rng(seed)
    grid = VolumeGrid.centred((120, 128, 128), 10.0)
    thing = _porous(grid.shape, 48, rng)
    images = ImageGrid.centred((128, 128), 10.0)
    around = np.arange(-89.5, 90.0, 1.0)
    full = TiltGeometry.from_angles(around)
    clean = project(thing, grid, full, images)
    whole = TiltSeries(
        name="all around",
        images=ImagesInMemory(clean, 10.0),
        geometry=full,
        views=np.arange(len(around)),
        tilt_deg=around,
        grid=grid,
    )
    truth = solve.tomogram(whole, Settings(filter="hamming:0.5", dose_weight="off", gold="as-is"))
    tilts = np.arange(-60.0, 61, 2)
    geometry = TiltGeometry.from_angles(tilts)
    stack = project(thing, grid, geometry, images)
    noise = rng.standard_normal(stack.shape, np.float32) * np.float32(1.5 * stack[30].std())
    series = TiltSeries(
        name="X-rays",
        images=ImagesInMemory(stack + noise, 10.0),
        geometry=geometry,
        views=np.arange(len(tilts)),
        tilt_deg=tilts,
        grid=grid,
    )
    return Case(series, truth, slice(36, 84))


def _porous(shape: tuple[int, int, int], planes: int, rng: np.random.Generator) -> Volume:
    """Walls between pores of all sizes, in so many planes in the middle."""
    from scipy import ndimage

    grain = rng.standard_normal((planes, *shape[1:]), np.float32)
    rough = sum(
        sigma**1.5 * ndimage.gaussian_filter(grain, sigma, mode="wrap") for sigma in (2.0, 4.0, 8.0)
    )
    walls = np.abs(rough) < 0.4 * rough.std()
    thing = np.zeros(shape, dtype=np.float32)
    start = (shape[0] - planes) // 2
    thing[start : start + planes] = ndimage.gaussian_filter(walls.astype(np.float32), 0.8)
    return thing


def plain(seed: int, snr: float, planes: int | None = None, **others: object) -> Case:
    return case(simulated_series(seed, snr=snr, **{"shape": SHAPE, **others}), planes)  # type: ignore[arg-type]


THIN_IN_THICK = (80, 128, 128)
CASES: dict[str, Callable[[], Case]] = {
    "SNR .03": lambda: plain(1, 0.03),
    "SNR .1": lambda: plain(2, 0.1),
    "SNR .3, sparse": lambda: plain(3, 0.3, crowding=0.06, membranes=1),
    "SNR 1": lambda: plain(4, 1.0),
    "thin": lambda: plain(7, 0.1, shape=(24, 128, 128)),
    "thin in a thick box, SNR .1": lambda: plain(5, 0.1, shape=THIN_IN_THICK, ice_angst=280.0),
    "thin in a thick box, SNR 1": lambda: plain(6, 1.0, shape=THIN_IN_THICK, ice_angst=250.0),
    "thicker than the box": lambda: plain(8, 0.1, 32, shape=(64, 128, 128)),
    "61 views, SNR 1": lambda: plain(9, 1.0, tilt_deg=np.arange(-60.0, 61, 2)),
    "35 uneven views": lambda: plain(
        10,
        0.1,
        tilt_deg=np.linspace(-50, 54, 35) + np.random.default_rng(0).normal(0, 0.4, 35),
    ),
    "CTF of 3 um": lambda: microscope(11, defocus_angst=3e4, gold=0, pixel_angst=5.0),
    "gold": lambda: microscope(12, defocus_angst=0.0, gold=8, pixel_angst=10.0),
    "gold and CTF": lambda: microscope(13, defocus_angst=3e4, gold=6, pixel_angst=5.0),
    "X-rays": lambda: xray_like(14),
}


@dataclass(frozen=True)
class Found:
    """What the truth and what left-out views say about one filter."""

    psnr_db: float
    fsc: float
    score: float
    bands: float


def judge(case: Case, name: str) -> Found:
    settings = Settings(filter=name, dose_weight="off", gold="erase", threads=2)
    series, truth = case.series, case.truth
    volume = solve.tomogram(series, settings)
    if case.ignored is not None:
        volume[case.ignored], truth = volume[~case.ignored].mean(), truth.copy()
        truth[case.ignored] = truth[~case.ignored].mean()
    scores = compare_with_truth(volume, truth, series.grid.voxel_angst, series.tilt_deg, 2)
    inside = (np.ascontiguousarray(each[case.planes]) for each in (volume, truth))
    left_out: LeftOut = left_out_correlation(series, settings)
    width = np.diff(left_out.bands[:-1], axis=1)[:, 0]
    return Found(
        matched_psnr_db(*inside),
        scores.fsc["sampled"].mean(0.35),
        float(left_out.mean[-1]),
        float(np.average(left_out.mean[:-1], weights=width)),
    )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--filters", action="store_true")
    chosen = parser.parse_args(arguments)
    print(f"{'':28s} {'PSNR':>6s} {'FSC':>6s} {'pairs of FSC':>13s}")
    ranks = []
    for name in chosen.only:
        made = CASES[name]()
        found = [judge(made, each) for each in FILTERS]
        psnr, fsc, score, bands = np.array(
            [(each.psnr_db, each.fsc, each.score, each.bands) for each in found]
        ).T
        i, j = np.triu_indices(len(found), 1)
        apart = np.abs(fsc[i] - fsc[j]) > EQUAL_FSC
        right = np.sign(fsc[i] - fsc[j]) == np.sign(bands[i] - bands[j])
        ranks.append((spearmanr(psnr, score)[0], spearmanr(fsc, bands)[0], right[apart].mean()))
        print(
            f"{name:28s} {ranks[-1][0]:6.2f} {ranks[-1][1]:6.2f} {ranks[-1][2]:13.2f}", flush=True
        )
        if chosen.filters:
            for place in np.argsort(-psnr):
                print(
                    f"    {FILTERS[place]:20s} {psnr[place]:6.2f} dB   FSC {fsc[place]:.3f}   "
                    f"score {score[place]:.4f}   bands {bands[place]:.3f}"
                )
    good = np.mean(np.array(ranks)[:, 0] >= 0.9)
    print(f"PSNR: {good:.0%} of {len(ranks)} series at 0.9 or above")


if __name__ == "__main__":
    main()
