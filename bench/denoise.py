"""What the denoising network gains, what it loses, and what it costs.

    python bench/denoise.py truth [--first 0] [--seeds 2]
    python bench/denoise.py trial [--first 100] [--seeds 6]
    python bench/denoise.py left-out FOLDER
    python bench/denoise.py cost FOLDER
    python bench/denoise.py picture FOLDER FILE.png

`truth`: simulated series, thin, thick, sparse, with CTF; decibels, FSC and detection beside the
default filter, and whether the trial on left-out views agrees.
`trial`: how often the trial is wrong, on many small series, each with its own network, that of
another series, and its own turned into its opposite.
`left-out`: views of an IMOD folder that neither head nor tomogram knows, two folds of five.
`cost`: the command with and without. `picture`: the default tomogram and the denoised one, a slice
across the beam and below it one along it, in one grey range. Nothing here passes or fails.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomofilt.denoise import decision
from tomofilt.denoise.bands import CoarseBands
from tomofilt.denoise.central import CentralRows
from tomofilt.denoise.decision import LEAST_GAIN, Decision, decide
from tomofilt.denoise.denoiser import Denoiser
from tomofilt.denoise.gates import gate_weights
from tomofilt.denoise.head import Head
from tomofilt.denoise.kernel import apply_head
from tomofilt.evaluate.against_truth import compare_with_truth
from tomofilt.evaluate.detection import background_places, detection, radial_template
from tomofilt.evaluate.left_out import left_out_correlation
from tomofilt.reconstruction.gold import fill_gold
from tomofilt.reconstruction.images import SeriesImages
from tomofilt.reconstruction.measure import measured
from tomofilt.reconstruction.problem import Problem, Slab
from tomofilt.reconstruction.settings import Settings
from tomofilt.reconstruction.setup import make_problem
from tomofilt.reconstruction.solve import tomogram
from tomofilt.series.angles import angles_of_range
from tomofilt.series.projects import project_type
from tomofilt.series.tiltseries import TiltSeries
from tomofilt.simulate import SimulatedSeries, simulated_series
from tomofilt.simulate.molecules import bundled
from tomofilt.simulate.phantom import Contents
from tomofilt.simulate.physics import Optics
from tomofilt.simulate.scheme import tilt_scheme
from tomofilt.simulate.series import Simulation, simulate

Volume = NDArray[np.float32]
DEFAULT = Settings()
SPARSE = np.linspace(-60, 60, 11)
#: A gain in decibels that is not to be refused, for `trial`.
WORTH_DB = 0.2
#: Name, voxels (z, y, x), tilts, SNR of the untilted view.
CASES = (
    ("thin", (48, 128, 128), None, 0.1),
    ("thin", (48, 128, 128), None, 0.5),
    ("thick", (128, 96, 128), None, 0.1),
    ("thick", (128, 96, 128), None, 0.5),
    ("sparse", (48, 128, 128), SPARSE, 0.5),
    ("noisy", (48, 128, 128), None, 0.03),
    ("CTF 3 um", (64, 128, 128), None, np.nan),
)
SMALL = (
    ("noisy", (40, 96, 96), None, 0.03),
    ("thin", (40, 96, 96), None, 0.1),
    ("clean", (40, 96, 96), None, 0.5),
    ("thick", (72, 80, 96), None, 0.1),
    ("sparse", (40, 96, 96), SPARSE, 0.5),
    ("CTF 3 um", (56, 96, 96), None, np.nan),
)


def simulated(name: str, shape: tuple[int, int, int], seed: int, **how: Any) -> SimulatedSeries:
    """A specimen and its series; "CTF 3 um" is an everyday one, with the SNR it has."""
    if name != "CTF 3 um":
        return simulated_series(seed, shape=shape, **how)
    small = bundled(("1bxn", "1qvr", "4cr2"))
    wanted = Simulation(
        scheme=tilt_scheme(angles_of_range(-60, 60, 3), "dose-symmetric", 5.0),
        contents=Contents(small, crowding=0.33, membranes=1),
        shape=shape,
        pixel_angst=5.0,
        ice_angst=270.0,
        optics=Optics(),
        rotation_deg=0.0,
        shift_angst=0.0,
        seed=seed,
    )
    return simulate(wanted)


@contextmanager
def measured_series(series: TiltSeries) -> Iterator[tuple[Problem, SeriesImages]]:
    """A problem whose filter has been measured, and the images of its series."""
    problem = make_problem(series, DEFAULT)
    with problem.images() as images:
        fill_gold(problem, images, DEFAULT)
        yield measured(problem, images), images


def both(problem: Problem, images: SeriesImages, head: Head | None) -> tuple[Volume, Volume]:
    """The central rows of the linear tomogram, all of a small one, and the denoised ones."""
    everything = np.arange(len(problem.series.views))
    coarse, linear = CentralRows(problem, images.aligned(), everything).volume(everything)
    return linear, linear if head is None else denoised(head, coarse, linear, problem.threads)


def denoised(head: Head, coarse: list[CoarseBands], linear: Volume, threads: int) -> Volume:
    """A tomogram with a head applied to it."""
    return apply_head(head, coarse, gate_weights(head, coarse), linear, 0, 0, threads)


def areas(made: SimulatedSeries, volume: Volume) -> NDArray[np.float64]:
    """Areas under the ROC curve of a matched filter: of the tomogram, and of the whitened one."""
    assert made.phantom is not None
    grid = made.grid
    centres: dict[str, list[NDArray[np.float64]]] = {}
    for particle in made.phantom.particles:
        position = np.array(particle.position_angst[::-1]) / grid.voxel_angst + grid.centre
        if np.all((position > 6) & (position < np.array(grid.shape) - 7)):
            centres.setdefault(particle.kind, []).append(position)
    everywhere = np.array([place for places in centres.values() for place in places])
    background = background_places(grid.shape, everywhere, 6, 8)
    found = [np.full(2, np.nan)]
    for places in centres.values():
        if len(places) >= 2:
            template = radial_template(made.truth, np.array(places), 12)
            one = detection(volume, template, np.array(places), background)
            found.append(np.array([one.auc, one.auc_whitened]))
    return np.nanmean(found, axis=0)


@dataclass(frozen=True, eq=False)
class Scores:
    """PSNR in dB, FSC (shell,), AUC, whitened AUC."""

    psnr_db: float
    fsc: NDArray[np.float64]
    auc: NDArray[np.float64]


def scores(made: SimulatedSeries, volume: Volume) -> Scores:
    found = compare_with_truth(volume, made.truth, made.pixel_angst)
    curve = found.fsc["all"] if "all" in found.fsc else next(iter(found.fsc.values()))
    sign = np.float32(-1 if found.slope < 0 else 1)
    return Scores(found.psnr_db, curve.correlation, areas(made, volume * sign))


@contextmanager
def never_refused() -> Iterator[None]:
    """Heads that the trial would refuse are given, too: they are scored all the same."""
    least, decision.LEAST_GAIN = decision.LEAST_GAIN, -np.inf
    try:
        yield
    finally:
        decision.LEAST_GAIN = least


def errors_of_gain(decided: Decision) -> float:
    """The gain on left-out views, in standard errors."""
    found = decided.facts["gain"]
    assert isinstance(found, dict)
    return float(found["mean"]) / float(found["standard_error"])


def truth(first: int, seeds: int) -> None:
    print("wiener-exact:match over the default, and what denoising adds to the default")
    print("case       SNR seed default  match |   gain     FSC      AUC    AUC_w | trial, strength")
    gains: dict[tuple[str, str], list[NDArray[np.float64]]] = {}
    curves = []
    for name, shape, tilts, snr in CASES:
        for seed in range(first, first + seeds):
            made = simulated(name, shape, seed, snr=snr, tilt_deg=tilts)
            series = replace(made.tilt_series(), halves=None)
            with measured_series(series) as (problem, images), never_refused():
                decided = decide(problem, images)
                linear, better = both(problem, images, decided.head)
            text = f"{name:9s} {snr:4.2f} {seed:4d} "
            if decided.head is None:
                print(f"{text} refused: {decided.reason}", flush=True)
                continue
            match = tomogram(series, Settings(filter="wiener-exact:match"))
            eye, plain, new = (scores(made, volume) for volume in (linear, match, better))
            taken = errors_of_gain(decided) > LEAST_GAIN
            fsc = new.fsc - eye.fsc
            gain = np.array(
                [
                    new.psnr_db - eye.psnr_db,
                    np.nanmean(fsc[: len(fsc) // 2]),
                    *(new.auc - eye.auc),
                ]
            )
            print(
                f"{text} {eye.psnr_db:7.2f} {plain.psnr_db - eye.psnr_db:+.3f} | {gain[0]:+.3f}  "
                f"{gain[1]:+.4f}  {gain[2]:+.4f}  {gain[3]:+.4f} | "
                f"{errors_of_gain(decided):5.1f} {'taken' if taken else 'refused'}, "
                f"{decided.head.strength:g}",
                flush=True,
            )
            gains.setdefault((name, f"{snr}"), []).append(gain * taken)
            curves.append(fsc * taken)
    for (name, label), values in gains.items():
        print(f"{name:9s} {label:4s}", *(f"{mean:+.4f}" for mean in np.mean(values, axis=0)))
    everything = np.concatenate(list(gains.values()))
    curve = np.nanmean(curves, axis=0)
    print(
        f"after the verdict: at least {everything[:, 0].min():+.3f} dB; AUC "
        f"{everything[:, 2].mean():+.4f} on the mean, at least {everything[:, 2].min():+.4f}; mean "
        f"FSC curve at least {curve.min():+.4f}, at {(curve.argmin() + 1) / 2 / len(curve):.3f} "
        "cycles per voxel"
    )


def opposite(head: Head) -> Head:
    """A head that strengthens what the other weakens."""
    return replace(head, gate=-head.gate, linear=2 - head.linear)


def trial(first: int, seeds: int) -> None:
    print("case      seed network  | gain over the default, dB | gain on left-out views, errors")
    found = []
    other = None
    for seed in range(first, first + seeds):
        for name, shape, tilts, snr in SMALL:
            made = simulated(name, shape, seed, snr=snr, tilt_deg=tilts)
            series = replace(made.tilt_series(), halves=None)
            with measured_series(series) as (problem, images), never_refused():
                own = decide(problem, images)
                if own.head is None:
                    print(f"{name:9s} {seed:4d} refused: {own.reason}", flush=True)
                    continue
                heads = {"own": None, "another's": other, "opposite": opposite(own.head)}
                other = own.head
                for kind, given in heads.items():
                    decided = own if given is None else decide(problem, images, given=given)
                    if (kind == "another's" and given is None) or decided.head is None:
                        continue
                    before, after = (
                        compare_with_truth(volume, made.truth, made.pixel_angst).psnr_db
                        for volume in both(problem, images, decided.head)
                    )
                    gain = after - before
                    found.append((kind, gain, errors_of_gain(decided)))
                    print(
                        f"{name:9s} {seed:4d} {kind:10s} | {gain:+.3f} | {found[-1][2]:+.1f}, "
                        f"strength {decided.head.strength:g}",
                        flush=True,
                    )
    gain, errors = np.array([each[1:] for each in found]).T
    good, bad = gain >= WORTH_DB, gain < 0
    for least in sorted({0.0, 1.0, 2.0, 3.0, LEAST_GAIN}):
        print(
            f"taken above {least:g} errors{' (as it is)' * (least == LEAST_GAIN)}: "
            f"{np.sum(errors[good] <= least)} of {good.sum()} refused that gain {WORTH_DB} dB, "
            f"{np.sum(errors[bad] > least)} of {bad.sum()} taken that lose"
        )


def series_of(folder: Path) -> TiltSeries:
    project = project_type("imod").open(folder)
    return project.read(project.names[0])


def left_out(folder: Path) -> None:
    series = series_of(folder)
    linear = left_out_correlation(series, DEFAULT)

    def denoised_slabs(problem: Problem, images: SeriesImages) -> Iterator[Slab]:
        problem = measured(problem, images)
        decided = decide(problem, images)
        if decided.head is None:
            yield from problem.slabs(images)
            return
        denoiser = Denoiser(problem, decided.head)
        images.filtered(denoiser.on_image)
        for y, z, block in problem.slabs(images):
            yield y, z, denoiser.apply(block, z, y)

    other = left_out_correlation(series, DEFAULT, slabs_of=denoised_slabs)
    mean, error = other.gain_over(linear)
    print("cycles/px       default  denoised  gain")
    for band, a, b, m, e in zip(linear.bands, linear.mean, other.mean, mean, error, strict=True):
        print(
            f"{band[0]:.3f}-{band[1]:.3f}      {a:.3f}   {b:.3f}    {m:+.4f}+-{e:.4f}", flush=True
        )


def said(decided: Decision) -> str:
    """What was decided, in words."""
    return "denoised" if decided.head else f"refused: {decided.reason}"


def cost(folder: Path) -> None:
    lines: dict[str, list[str]] = {"plain": [], "denoise": ["--denoise"]}
    times: dict[str, list[float]] = {name: [] for name in lines}
    for turn in range(3):
        for name, extra in lines.items():
            with tempfile.TemporaryDirectory() as out:
                before = resource.getrusage(resource.RUSAGE_CHILDREN)
                command = [sys.executable, "-m", "tomofilt", "reconstruct", "--imod-dir"]
                subprocess.run(
                    [*command, str(folder), "-o", out, "--no-preview", "-q", *extra], check=True
                )
                after = resource.getrusage(resource.RUSAGE_CHILDREN)
                record = next(Path(out).glob("*_rec.json")).read_text()
            seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            times[name].append(seconds)
            facts = json.loads(record)
            print(
                f"{turn} {name:8s} {seconds:6.1f} core-s, peak "
                f"{facts['peak_memory_bytes'] / 1e9:.2f} GB, seconds {facts['seconds']}",
                flush=True,
            )
    best = {name: min(values) for name, values in times.items()}
    print(f"denoise / plain: {best['denoise'] / best['plain']:.2f}")


def picture(folder: Path, file: Path) -> None:
    from PIL import Image

    with measured_series(series_of(folder)) as (problem, images):
        decided = decide(problem, images)
        if decided.head is None:
            print(said(decided))
            return
        pair = both(problem, images, decided.head)
    sheets = []
    for volume in pair:
        nz, ny, _ = volume.shape
        gap = np.full((6, volume.shape[2]), np.nan)
        sheets.append(np.concatenate([volume[nz // 2, ::-1], gap, volume[::-1, ny // 2]]))
    sheet = np.concatenate([sheets[0], np.full((len(sheets[0]), 6), np.nan), sheets[1]], axis=1)
    low, high = np.nanpercentile(sheet, [0.5, 99.5])
    grey = np.clip((sheet - low) / (high - low), 0, 1) * 255
    Image.fromarray(np.nan_to_num(grey, nan=255).astype(np.uint8)).quantize(48).save(file)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    for name, first, seeds in (("truth", 0, 2), ("trial", 100, 6)):
        simulations = commands.add_parser(name)
        simulations.add_argument("--first", type=int, default=first)
        simulations.add_argument("--seeds", type=int, default=seeds)
    for name in ("left-out", "cost"):
        commands.add_parser(name).add_argument("folder", type=Path)
    drawing = commands.add_parser("picture")
    drawing.add_argument("folder", type=Path)
    drawing.add_argument("file", type=Path)
    chosen = parser.parse_args(arguments)
    if chosen.command in ("truth", "trial"):
        {"truth": truth, "trial": trial}[chosen.command](chosen.first, chosen.seeds)
    elif chosen.command == "picture":
        picture(chosen.folder, chosen.file)
    else:
        {"left-out": left_out, "cost": cost}[chosen.command](chosen.folder)


if __name__ == "__main__":
    main()
