"""How good the filters are: against the truth of simulated series, and on a series' left-out views.

    python bench/filters.py truth [--specimens 6] [--crowded]
    python bench/filters.py everyday [--specimens 4] [--only NAME ...]
    python bench/filters.py dense [--specimens 4]
    python bench/filters.py schemes [--count 40]
    python bench/filters.py left-out FOLDER [--thickness-px N] [--rows N]

`truth`: decibels and detection (area under the ROC curve) of each filter minus those of the ramp
times the Gaussian that the truth says is best, at three noise levels, with frame halves and
without; `--crowded`: with small particles close together, which are harder to find. `everyday`:
decibels and detection of small proteins minus those of `wiener-exact:match` in three kinds of
series. `dense`: the same in 121 views of high signal. `schemes`: decibels of the default minus
those of the SIRT and Gaussian that the truth says are best, for random tilt schemes, with CTF and
gold among them. `left-out`: how well tomograms of an IMOD folder predict views they were made
without, band by band. Nothing here passes or fails.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from tomofilt.evaluate.against_truth import compare_with_truth
from tomofilt.evaluate.detection import background_places, detection, radial_template
from tomofilt.evaluate.left_out import left_out_correlation
from tomofilt.reconstruction import solve
from tomofilt.reconstruction.settings import Settings
from tomofilt.series.projects import SeriesOptions, project_type
from tomofilt.series.tiltseries import TiltSeries
from tomofilt.simulate import SimulatedSeries, simulated_series
from tomofilt.simulate.molecules import Molecule, bundled
from tomofilt.simulate.phantom import Contents
from tomofilt.simulate.physics import Optics
from tomofilt.simulate.scheme import Order, tilt_scheme
from tomofilt.simulate.series import Simulation, simulate

Volume = NDArray[np.float32]

SNRS = (0.03, 0.1, 0.5)
SIGMAS = (0.02, 0.028, 0.035, 0.042, 0.05, 0.06, 0.07, 0.085, 0.1, 0.12, 0.15)
OTHERS = ("ramp", "hamming", "sirt-like:10", "exact")
#: As IMOD, IMOD's SIRT-like filter and RELION weigh.
PROGRAMS = ("radial:0.35,0.05", "sirt-like:10", "exact")
ITERATIONS = (5, 10, 20, 40)
CROWDED = {"pixel_angst": 20.0, "crowding": 0.3, "molecules": bundled(("1bxn", "1qvr", "4cr2"))}


def tomogram(series: TiltSeries, name: str) -> Volume:
    return solve.tomogram(series, Settings(filter=name, dose_weight="off"))


class Case:
    """A simulated series, and the ramp times Gaussian that suits it best."""

    def __init__(self, made: SimulatedSeries) -> None:
        self.made = made
        with_halves = made.tilt_series()
        self.series = {"halves": with_halves, "stack": replace(with_halves, halves=None)}

    @cached_property
    def best(self) -> tuple[float, float]:
        """Decibels and sigma of the ramp times the best Gaussian."""
        return max((self.psnr(self.volume(f"gaussian:{sigma}")), sigma) for sigma in SIGMAS)

    def volume(self, name: str, images: str = "stack") -> Volume:
        return tomogram(self.series[images], name)

    def psnr(self, volume: Volume) -> float:
        return compare_with_truth(volume, self.made.truth, self.made.pixel_angst).psnr_db

    def slope(self, volume: Volume) -> float:
        return compare_with_truth(volume, self.made.truth, self.made.pixel_angst).slope

    def auc(self, volume: Volume) -> float:
        """Mean over the kinds of particles."""
        assert self.made.phantom is not None
        grid = self.made.grid
        to_px = 1 / grid.voxel_angst
        centres: dict[str, list[NDArray[np.float64]]] = {}
        for particle in self.made.phantom.particles:
            position = np.array(particle.position_angst[::-1]) * to_px + grid.centre
            if np.all((position > 6) & (position < np.array(grid.shape) - 7)):
                centres.setdefault(particle.kind, []).append(position)
        everywhere = np.array([place for places in centres.values() for place in places])
        background = background_places(grid.shape, everywhere, 60 * to_px, 8)
        areas = []
        for places in centres.values():
            if len(places) >= 2:
                template = radial_template(self.made.truth, np.array(places), round(120 * to_px))
                areas.append(detection(volume, template, np.array(places), background).auc)
        return float(np.mean(areas)) if areas else np.nan


def truth(specimens: int, specimen: dict[str, Any]) -> None:
    print("PSNR in dB and AUC minus those of the best ramp x Gaussian; mean +- standard error")
    for snr in SNRS:
        cases = [Case(simulated_series(seed, snr=snr, **specimen)) for seed in range(specimens)]
        tuned = [case.volume(f"gaussian:{case.best[1]}") for case in cases]
        aucs = np.array([case.auc(volume) for case, volume in zip(cases, tuned, strict=True)])
        best = np.array([case.best[0] for case in cases])
        print(f"SNR {snr}: best Gaussian {best.mean():.2f} dB, AUC {np.nanmean(aucs):.3f}")
        rows = [(name, "stack") for name in OTHERS]
        rows += [("wiener-exact:match", "halves"), ("wiener-exact:match", "stack")]
        rows += [("wiener-exact:view", "stack"), ("sirt:20,{}", "stack"), ("sirt:40,{}", "stack")]
        for name, images in rows:
            volumes = [case.volume(name.format(case.best[1]), images) for case in cases]
            gain = np.array([c.psnr(v) for c, v in zip(cases, volumes, strict=True)]) - best
            auc = np.array([c.auc(v) for c, v in zip(cases, volumes, strict=True)]) - aucs
            slope = np.mean([c.slope(v) for c, v in zip(cases, volumes, strict=True)])
            print(
                f"  {name:20s} {images:7s} {_mean(gain)} dB   AUC {_mean(auc, 4)}   "
                f"slope {slope:.2f}",
                flush=True,
            )


def compared(cases: Sequence[Case], names: Sequence[str]) -> None:
    """Scores of filters minus those of the first, which is told as it is."""
    first: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None
    for name in names:
        volumes = [case.volume(name) for case in cases]
        pairs = list(zip(cases, volumes, strict=True))
        psnr = np.array([case.psnr(v) for case, v in pairs])
        auc = np.array([case.auc(v * np.sign(case.slope(v))) for case, v in pairs])
        if first is None:
            first = psnr, auc
            print(f"  {name:20s} {psnr.mean():.2f} dB   AUC {np.nanmean(auc):.4f}", flush=True)
            continue
        gains = _mean(psnr - first[0]), _mean(auc - first[1], 4)
        print(f"  {name:20s} {gains[0]} dB   AUC {gains[1]}", flush=True)


def everyday(specimens: int, only: Sequence[str]) -> None:
    """Filters in three kinds of series, with very small proteins to be found."""
    print("PSNR in dB and AUC minus those of wiener-exact:match; mean +- standard error")
    for name in only:
        cases = [EVERYDAY[name](seed) for seed in range(specimens)]
        print(f"{name}: SNR {', '.join(f'{case.made.snr:.2f}' for case in cases)}")
        compared(cases, ("wiener-exact:match", "wiener-exact:view", *PROGRAMS, "map:3"))


def dense(specimens: int) -> None:
    """Filters where a series says nearly everything: 121 views of high signal."""
    print("PSNR in dB and AUC minus those of wiener-exact:match; mean +- standard error")
    for snr in (1.0, 10.0, 100.0):
        print(f"SNR {snr:g}", flush=True)
        cases = [
            Case(simulated_series(seed, snr=snr, tilt_deg=np.arange(-60.0, 61)))
            for seed in range(specimens)
        ]
        compared(cases, ("wiener-exact:match", "map:1", "map:3", "ramp", "sirt:20", "sirt:60"))


def _small_proteins() -> tuple[Molecule, ...]:
    """Two of the bundled ones at 0.35 of their size, some 25 and 35 kDa, which are hard to find."""
    return tuple(replace(each, voxel_angst=3.5) for each in bundled(("1bxn", "1qvr")))


def _imaged(
    seed: int,
    tilts: NDArray[np.float64],
    dose_e_per_a2: float,
    optics: Optics,
    *,
    gold: int = 0,
    shape: tuple[int, int, int] = (72, 160, 160),
    molecules: Sequence[Molecule] = (),
    pixel_angst: float = 5.0,
) -> Case:
    wanted = Simulation(
        scheme=tilt_scheme(tilts, "dose-symmetric", dose_e_per_a2),
        contents=Contents(molecules or _small_proteins(), crowding=0.3, membranes=1, gold=gold),
        shape=shape,
        pixel_angst=pixel_angst,
        ice_angst=0.85 * shape[0] * pixel_angst,
        optics=optics,
        rotation_deg=0.0,
        shift_angst=0.0,
        seed=seed,
    )
    return Case(simulate(wanted))


def _uneven(seed: int) -> NDArray[np.float64]:
    rng = np.random.default_rng(seed)
    return np.sort(np.linspace(-48, 54, 35) + rng.normal(0, 0.5, 35))


#: 61 views of a phase plate; a lamella: 35 uneven views, gold; 41 views with a CTF of 3 um.
EVERYDAY: dict[str, Callable[[int], Case]] = {
    "phase plate": lambda seed: _imaged(seed, np.arange(-60.0, 61, 2), 0.3, Optics(0.0)),
    "lamella": lambda seed: _imaged(seed, _uneven(seed), 0.5, Optics(0.0), gold=6),
    "CTF": lambda seed: _imaged(seed, np.arange(-60.0, 61, 3), 1.0, Optics(30000.0)),
}


def schemes(count: int) -> None:
    """The default against SIRT and Gaussian that the truth has tuned, for random tilt schemes."""
    rng = np.random.default_rng(0)
    gains = []
    for seed in range(count):
        views = int(rng.integers(35, 62))
        angle = rng.uniform(45, 65)
        tilts = np.linspace(-angle, angle, views) + rng.uniform(-15, 15)
        uneven = rng.uniform() < 0.5
        if uneven:
            tilts += rng.normal(0, 0.2, views) * np.ptp(tilts) / views
        if rng.uniform() < 0.5:
            tilts = np.delete(tilts, rng.choice(views, int(rng.integers(1, 6)), replace=False))
        tilts = np.sort(tilts)
        kind = ("plain", "CTF", "gold", "CTF and gold")[seed % 4]
        if kind == "plain":
            snr = float(np.exp(rng.uniform(np.log(0.03), np.log(0.5))))
            order: Order = "dose-symmetric" if rng.uniform() < 0.5 else "continuous"
            case = Case(simulated_series(seed, tilt_deg=tilts, order=order, snr=snr))
        else:
            case = _imaged(
                seed,
                tilts,
                float(rng.uniform(1.5, 5.0)),
                Optics(float(rng.uniform(20000, 45000)) if "CTF" in kind else 0.0),
                gold=5 if "gold" in kind else 0,
                shape=(48, 112, 112),
                molecules=bundled(("1bxn", "1qvr", "4cr2")),
                pixel_angst=float(rng.choice([6.0, 8.0, 10.0])),
            )
        tuned, iterations, sigma = tuned_sirt(case)
        gains.append(case.psnr(case.volume("wiener-exact:view")) - tuned)
        print(
            f"{seed:3d}: {len(tilts)} views, {tilts.min():.0f} to {tilts.max():.0f} deg"
            f"{', uneven' if uneven else ''}, {kind}, {case.made.pixel_angst:g} A, "
            f"SNR {case.made.snr:.3f}: sirt:{iterations},{sigma} {tuned:.2f} dB, "
            f"default {gains[-1]:+.3f} dB",
            flush=True,
        )
    found = np.array(gains)
    print(f"default: {_mean(found)} dB, worst {found.min():+.3f}, {np.mean(found >= 0):.0%} >= 0")


def tuned_sirt(case: Case) -> tuple[float, int, float]:
    """Decibels, iterations and sigma of the SIRT times Gaussian that the truth says is best."""
    tried = []
    for iterations in ITERATIONS:
        volume = case.volume(f"sirt:{iterations}")
        for sigma in SIGMAS:
            smooth = gaussian_filter(volume, 1 / (2 * np.pi * sigma))
            tried.append((case.psnr(smooth), iterations, sigma))
    return max(tried)


def left_out(folder: Path, thickness_px: float | None, rows_px: int | None) -> None:
    project = project_type("imod").open(folder)
    series = project.read(project.names[0], SeriesOptions(thickness_px=thickness_px))
    names = ["wiener-exact:match", "wiener-exact:view", "map:1", "map:3", "map:6"]
    names += ["ramp", "gaussian:0.06", "sirt-like:10", "sirt-like:20", "sirt:10", "sirt:20"]
    results = {}
    for name in names:
        settings = Settings(filter=name, dose_weight="off")
        results[name] = left_out_correlation(series, settings, rows_px=rows_px)
        if len(results) == 1:
            bands = " ".join(f"{low:.3f}-{high:.2f}" for low, high in results[name].bands)
            print(f"{'cycles/px':20s} {bands}")
        print(f"{name:20s} {'      '.join(f'{r:.3f}' for r in results[name].mean)}", flush=True)
    for name in names[1:]:
        mean, error = results[name].gain_over(results[names[0]])
        cells = " ".join(f"{m:+.4f}+-{e:.4f}" for m, e in zip(mean, error, strict=True))
        print(f"{name} - {names[0]}: {cells}")


def _mean(values: NDArray[np.float64], digits: int = 3) -> str:
    values = values[np.isfinite(values)]  # a specimen may hold too few particles for an AUC
    error = values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.nan
    return f"{values.mean():+.{digits}f}+-{error:.{digits}f}"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    known = commands.add_parser("truth")
    known.add_argument("--specimens", type=int, default=6)
    known.add_argument("--crowded", action="store_true")
    usual = commands.add_parser("everyday")
    usual.add_argument("--specimens", type=int, default=4)
    usual.add_argument("--only", nargs="+", choices=list(EVERYDAY), default=list(EVERYDAY))
    commands.add_parser("dense").add_argument("--specimens", type=int, default=4)
    commands.add_parser("schemes").add_argument("--count", type=int, default=40)
    views = commands.add_parser("left-out")
    views.add_argument("folder", type=Path)
    views.add_argument("--thickness-px", type=float)
    views.add_argument("--rows", type=int)
    chosen = parser.parse_args(arguments)
    if chosen.command == "truth":
        truth(chosen.specimens, CROWDED if chosen.crowded else {})
    elif chosen.command == "everyday":
        everyday(chosen.specimens, chosen.only)
    elif chosen.command == "dense":
        dense(chosen.specimens)
    elif chosen.command == "schemes":
        schemes(chosen.count)
    else:
        left_out(chosen.folder, chosen.thickness_px, chosen.rows)


if __name__ == "__main__":
    main()
