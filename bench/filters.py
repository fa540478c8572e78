"""How good the filters are: against the truth of simulated series, and on a series' left-out views.

    python bench/filters.py truth [--specimens 6] [--crowded]
    python bench/filters.py everyday [--specimens 4]
    python bench/filters.py schemes [--count 50]
    python bench/filters.py left-out FOLDER [--thickness-px N]

`truth`: decibels and detection (area under the ROC curve) of each filter minus those of the ramp
times the Gaussian that the truth says is best, at three noise levels, with frame halves and
without; `--crowded`: with small particles close together, which are harder to find. `everyday`:
decibels and detection minus those of `wiener-exact:match`, in counts of electrons of 41 views of
5 A with a CTF of 3 um and an SNR of 0.03 to 0.06. `schemes`: decibels as in `truth` for random tilt
schemes. `left-out`: how well tomograms of an IMOD folder predict views they were made without,
band by band. Nothing here passes or fails.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomofilt.evaluate.against_truth import compare_with_truth
from tomofilt.evaluate.detection import background_places, detection, radial_template
from tomofilt.evaluate.left_out import left_out_correlation
from tomofilt.reconstruction import solve
from tomofilt.reconstruction.settings import Settings
from tomofilt.series.angles import angles_of_range
from tomofilt.series.projects import SeriesOptions, project_type
from tomofilt.series.tiltseries import TiltSeries
from tomofilt.simulate import SimulatedSeries, simulated_series
from tomofilt.simulate.molecules import bundled
from tomofilt.simulate.phantom import Contents
from tomofilt.simulate.physics import Optics
from tomofilt.simulate.scheme import Order, tilt_scheme
from tomofilt.simulate.series import Simulation, simulate

Volume = NDArray[np.float32]

SNRS = (0.03, 0.1, 0.5)
SIGMAS = (0.02, 0.028, 0.035, 0.042, 0.05, 0.06, 0.07, 0.085, 0.1, 0.12, 0.15)
OTHERS = ("ramp", "hamming", "sirt-like:10", "exact")
EVERYDAY_OTHERS = ("radial:0.35,0.05", "sirt-like:10", "exact")
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


def everyday(specimens: int) -> None:
    """Scores of filters minus those of the measured one, which is first told as it is."""
    print("PSNR in dB and AUC minus those of wiener-exact:match; mean +- standard error")
    cases = [_everyday(seed) for seed in range(specimens)]
    print(f"SNR {', '.join(f'{case.made.snr:.2f}' for case in cases)}")
    known: dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]] = {}
    for name in ("wiener-exact:match", "wiener-exact:view", *EVERYDAY_OTHERS):
        volumes = [case.volume(name) for case in cases]
        slopes = [np.sign(case.slope(v)) for case, v in zip(cases, volumes, strict=True)]
        psnr = np.array([c.psnr(v) for c, v in zip(cases, volumes, strict=True)])
        auc = np.array([c.auc(v * s) for c, v, s in zip(cases, volumes, slopes, strict=True)])
        first = known.setdefault("wiener-exact:match", (psnr, auc))
        if first[0] is psnr:
            print(f"  {name:20s} {psnr.mean():.2f} dB   AUC {np.nanmean(auc):.4f}", flush=True)
            continue
        print(
            f"  {name:20s} {_mean(psnr - first[0])} dB   AUC {_mean(auc - first[1], 4)}", flush=True
        )


def _everyday(seed: int) -> Case:
    small = bundled(("1bxn", "1qvr", "4cr2"))
    wanted = Simulation(
        scheme=tilt_scheme(angles_of_range(-60, 60, 3), "dose-symmetric", 5.0),
        contents=Contents(small, crowding=0.33, membranes=1),
        shape=(72, 192, 192),
        pixel_angst=5.0,
        ice_angst=300.0,
        optics=Optics(),
        rotation_deg=0.0,
        shift_angst=0.0,
        seed=seed,
    )
    return Case(simulate(wanted))


def schemes(count: int) -> None:
    rng = np.random.default_rng(0)
    gains: dict[str, list[float]] = {"halves": [], "stack": []}
    for seed in range(count):
        views = int(rng.integers(35, 62))
        angle = rng.uniform(45, 65)
        tilts = np.linspace(-angle, angle, views) + rng.uniform(-15, 15)
        uneven = rng.uniform() < 0.5
        if uneven:
            tilts += rng.normal(0, 0.2, views) * np.ptp(tilts) / views
        missing = rng.uniform() < 0.5
        if missing:
            tilts = np.delete(tilts, rng.choice(views, int(rng.integers(1, 6)), replace=False))
        snr = float(np.exp(rng.uniform(np.log(0.03), np.log(0.5))))
        order: Order = "dose-symmetric" if rng.uniform() < 0.5 else "continuous"
        case = Case(simulated_series(seed, tilt_deg=np.sort(tilts), order=order, snr=snr))
        line = (
            f"{seed:3d}: {len(tilts)} views, {tilts.min():.0f} to {tilts.max():.0f} deg"
            f"{', uneven' if uneven else ''}{', missing' if missing else ''}, {order}, "
            f"SNR {snr:.3f}:"
        )
        for images, found in gains.items():
            found.append(case.psnr(case.volume("wiener-exact:match", images)) - case.best[0])
            line += f"  {images} {found[-1]:+.3f} dB"
        print(line, flush=True)
    for images, found in gains.items():
        share = np.mean(np.array(found) >= -0.05)
        print(
            f"{images}: {_mean(np.array(found))} dB, worst {min(found):+.3f}, {share:.0%} >= -0.05"
        )


def left_out(folder: Path, thickness_px: float | None) -> None:
    project = project_type("imod").open(folder)
    series = project.read(project.names[0], SeriesOptions(thickness_px=thickness_px))
    names = ["ramp", "gaussian:0.06", "gaussian:0.13"]
    names += [f"sirt-like:{n}" for n in (5, 10, 20, 30)] + ["sirt:10", "sirt:20"]
    names += ["wiener-exact:match", "wiener-exact:view"]
    results = {}
    for name in names:
        settings = Settings(filter=name, dose_weight="off")
        results[name] = left_out_correlation(series, settings)
        if len(results) == 1:
            bands = " ".join(f"{low:.3f}-{high:.2f}" for low, high in results[name].bands)
            print(f"{'cycles/px':20s} {bands}")
        print(f"{name:20s} {'      '.join(f'{r:.3f}' for r in results[name].mean)}", flush=True)
    for name in names[:-2]:
        mean, error = results["wiener-exact:match"].gain_over(results[name])
        cells = " ".join(f"{m:+.4f}+-{e:.4f}" for m, e in zip(mean, error, strict=True))
        print(f"wiener-exact:match - {name}: {cells}")


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
    commands.add_parser("schemes").add_argument("--count", type=int, default=50)
    views = commands.add_parser("left-out")
    views.add_argument("folder", type=Path)
    views.add_argument("--thickness-px", type=float)
    chosen = parser.parse_args(arguments)
    if chosen.command == "truth":
        truth(chosen.specimens, CROWDED if chosen.crowded else {})
    elif chosen.command == "everyday":
        everyday(chosen.specimens)
    elif chosen.command == "schemes":
        schemes(chosen.count)
    else:
        left_out(chosen.folder, chosen.thickness_px)


if __name__ == "__main__":
    main()
