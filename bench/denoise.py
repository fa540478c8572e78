"""What the denoising network gains, what it loses, and what it invents.

    python bench/denoise.py truth [--first 0] [--seeds 2]
    python bench/denoise.py left-out FOLDER
    python bench/denoise.py hallucination FOLDER
    python bench/denoise.py cost FOLDER

`truth`: simulated series, thin, thick, sparse, with CTF; decibels, FSC and detection beside
wiener-exact:match, and whether the test on left-out views agrees.
`left-out`: views of an IMOD folder that neither head nor tomogram knows, two folds of five.
`hallucination`: what it makes of noise, of displaced halves, of a copy of the specimen. `cost`:
the command with and without. Nothing here passes or fails.
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
from dataclasses import replace
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
from tomofilt.reconstruction.images import SeriesImages
from tomofilt.reconstruction.measure import measured
from tomofilt.reconstruction.problem import Problem, Slab
from tomofilt.reconstruction.settings import Settings
from tomofilt.reconstruction.setup import make_problem
from tomofilt.series.angles import angles_of_range
from tomofilt.series.projects import project_type
from tomofilt.series.tiltseries import TiltSeries
from tomofilt.simulate import SimulatedSeries, simulated_series
from tomofilt.simulate.molecules import bundled
from tomofilt.simulate.phantom import Contents
from tomofilt.simulate.physics import Optics
from tomofilt.simulate.scheme import tilt_scheme
from tomofilt.simulate.series import ImagesInMemory, Simulation, simulate

Volume = NDArray[np.float32]
MATCH = Settings(filter="wiener-exact:match")
SPARSE = np.linspace(-60, 60, 11)
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
    problem = make_problem(series, MATCH)
    with problem.images() as images:
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


def scores(made: SimulatedSeries, volume: Volume) -> NDArray[np.float64]:
    """PSNR in dB, mean FSC up to a quarter cycle per voxel, AUC, whitened AUC."""
    found = compare_with_truth(volume, made.truth, made.pixel_angst)
    curve = found.fsc["all"] if "all" in found.fsc else next(iter(found.fsc.values()))
    low = curve.frequency <= 0.25
    sign = np.float32(-1 if found.slope < 0 else 1)
    fsc = float(np.nanmean(curve.correlation[low]))
    return np.array([found.psnr_db, fsc, *areas(made, volume * sign)])


def truth(first: int, seeds: int) -> None:
    print("wiener-exact:match and :view, and what denoising adds to match, taken or not")
    print("case       SNR seed   match   view |   gain     FSC      AUC    AUC_w | left-out gain")
    gains: dict[tuple[str, str], list[NDArray[np.float64]]] = {}
    for name, shape, tilts, snr in CASES:
        for seed in range(first, first + seeds):
            made = simulated(name, shape, seed, snr=snr, tilt_deg=tilts)
            series = replace(made.tilt_series(), halves=None)
            decision.LEAST_GAIN = -np.inf  # heads that would be refused are scored too
            with measured_series(series) as (problem, images):
                decided = decide(problem, images)
                linear, better = both(problem, images, decided.head)
            usual = make_problem(series, Settings())
            with usual.images() as images:
                view = measured(usual, images).volume(images)
            plain, eye, new = (scores(made, volume) for volume in (linear, view, better))
            text = f"{name:9s} {snr:4.2f} {seed:4d}  {plain[0]:6.2f} {eye[0] - plain[0]:+.3f} | "
            if decided.head is None:
                print(f"{text} refused: {decided.reason}", flush=True)
                continue
            gain = new - plain
            found = decided.facts["gain"]
            assert isinstance(found, dict)
            taken = found["mean"] >= LEAST_GAIN * found["standard_error"]
            key = name, f"{snr}"
            gains.setdefault(key, []).append(
                np.append(gain if taken else 0 * gain, eye[0] - plain[0])
            )
            print(
                f"{text} {gain[0]:+.3f}  {gain[1]:+.4f}  {gain[2]:+.4f}  {gain[3]:+.4f} | "
                f"{found['mean']:+.4f}+-{found['standard_error']:.4f} "
                f"{'taken' if taken else 'refused'}",
                flush=True,
            )
    for (name, label), values in gains.items():
        mean = np.mean(values, axis=0)
        print(
            f"{name:9s} {label}: over match {mean[0]:+.3f} dB, over view {mean[0] - mean[4]:+.3f}, "
            f"FSC {mean[1]:+.4f}, AUC {mean[2]:+.4f}, whitened {mean[3]:+.4f}"
        )


def series_of(folder: Path) -> TiltSeries:
    project = project_type("imod").open(folder)
    return project.read(project.names[0])


def left_out(folder: Path) -> None:
    series = series_of(folder)
    linear = left_out_correlation(series, MATCH)

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

    other = left_out_correlation(series, MATCH, slabs_of=denoised_slabs)
    mean, error = other.gain_over(linear)
    print("cycles/px        linear  denoised  gain")
    for band, a, b, m, e in zip(linear.bands, linear.mean, other.mean, mean, error, strict=True):
        print(
            f"{band[0]:.3f}-{band[1]:.3f}      {a:.3f}   {b:.3f}    {m:+.4f}+-{e:.4f}", flush=True
        )


def _like(series: TiltSeries, stack: Volume) -> TiltSeries:
    return replace(series, images=ImagesInMemory(stack, series.images.pixel_angst))


def _stack(series: TiltSeries) -> Volume:
    return np.stack([series.images.read(i) for i in range(series.images.shape[0])])


def noise_like(stack: Volume, rng: np.random.Generator) -> Volume:
    """Noise with the power spectrum of each image."""
    made = np.empty_like(stack)
    for image, out in zip(stack, made, strict=True):
        mean = image.mean()
        amplitude = np.abs(np.fft.rfft2(image - mean))
        noise = np.fft.rfft2(rng.normal(size=image.shape))
        out[:] = np.fft.irfft2(noise / np.abs(noise) * amplitude, image.shape) + mean
    return made


def _said(decided: Decision) -> str:
    return "denoised" if decided.head else f"refused: {decided.reason}"


def hallucination(folder: Path) -> None:
    series = series_of(folder)
    stack = _stack(series)
    with measured_series(series) as (problem, images):
        decided = decide(problem, images)
    print("the series itself:", _said(decided))
    rng = np.random.default_rng(0)
    noise = _like(series, noise_like(stack, rng))
    for name, other in (("noise with its spectra", noise), ("halves 2 px apart", _apart(series))):
        try:
            with measured_series(other) as measured_other:
                print(f"{name}: {_said(decide(*measured_other))}")
        except Exception as error:
            print(f"{name}: {error}")
    if decided.head is None:
        return
    head, everything = decided.head, np.arange(len(series.views))
    with problem.images() as images:
        linear, usual = both(problem, images, head)
        coarse, block = CentralRows(problem, images.aligned(), everything).volume(everything)
    on_noise = replace(problem, series=noise)
    with on_noise.images() as images:
        empty, forced = both(on_noise, images, head)
    print(f"forced on noise: sd {forced.std() / usual.std():.2f} of the series' denoised")
    print(f"  linear tomogram of the same noise: {empty.std() / linear.std():.2f} of the series'")
    by = 24
    doubled = [
        replace(each, values=each.values + np.roll(each.values, round(by / each.step_px), axis=2))
        for each in coarse
    ]
    # a displacement by whole coarse voxels is one by whole voxels only nearly
    step = round(round(by / coarse[0].step_px) * coarse[0].step_px)
    copy = block + np.roll(block, step, axis=1)
    one = denoised(head, coarse, block, problem.threads)
    two = denoised(head, doubled, copy, problem.threads)
    inner = np.s_[:, 32:-8]
    added = (one + np.roll(one, step, axis=1))[inner].ravel()
    found = two[inner].ravel()
    slope = float(np.cov(found, added)[0, 1] / added.var())
    print(
        f"a copy displaced by {step} px: f(y + Sy) on f(y) + S f(y): correlation "
        f"{np.corrcoef(found, added)[0, 1]:.3f}, slope {slope:.3f}"
    )


def _apart(series: TiltSeries) -> TiltSeries:
    stack = _stack(series)
    order = np.argsort(series.tilt_deg)
    for view in order[::2]:
        image = int(series.views[view])
        stack[image] = np.roll(stack[image], 2, axis=0)
    return _like(series, stack)


def cost(folder: Path) -> None:
    lines = {
        "plain, match": ["-f", "wiener-exact:match"],
        "plain, view": [],
        "denoise": ["--denoise"],
    }
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
                f"{turn} {name:13s} {seconds:6.1f} core-s, peak "
                f"{facts['peak_memory_bytes'] / 1e9:.2f} GB, seconds {facts['seconds']}",
                flush=True,
            )
    best = {name: min(values) for name, values in times.items()}
    for name in ("plain, match", "plain, view"):
        print(f"denoise / {name}: {best['denoise'] / best[name]:.2f}")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    simulations = commands.add_parser("truth")
    simulations.add_argument("--first", type=int, default=0)
    simulations.add_argument("--seeds", type=int, default=2)
    for name in ("left-out", "hallucination", "cost"):
        commands.add_parser(name).add_argument("folder", type=Path)
    chosen = parser.parse_args(arguments)
    if chosen.command == "truth":
        truth(chosen.first, chosen.seeds)
    else:
        {"left-out": left_out, "hallucination": hallucination, "cost": cost}[chosen.command](
            chosen.folder
        )


if __name__ == "__main__":
    main()
