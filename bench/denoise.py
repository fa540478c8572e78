"""What the denoising network gains, what it loses, and what it invents.

    python bench/denoise.py truth [--seeds 2]
    python bench/denoise.py left-out FOLDER
    python bench/denoise.py hallucination FOLDER
    python bench/denoise.py cost FOLDER

`truth`: simulated series, thin, thick and sparse; decibels, SSIM and whitened detection beside
wiener-exact:match. `left-out`: views of an IMOD folder that neither head nor tomogram knows, two
folds of five. `hallucination`: what it makes of noise, of displaced halves, of a copy of the
specimen. `cost`: the command with and without. Nothing here passes or fails.
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

import numpy as np
from numpy.typing import NDArray

from tomofilt.denoise.bands import CoarseBands
from tomofilt.denoise.central import CentralRows
from tomofilt.denoise.decision import Decision, decide
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
from tomofilt.series.projects import project_type
from tomofilt.series.tiltseries import TiltSeries
from tomofilt.simulate import SimulatedSeries, simulated_series
from tomofilt.simulate.series import ImagesInMemory

Volume = NDArray[np.float32]
MATCH = Settings(filter="wiener-exact:match")
SPARSE = np.linspace(-60, 60, 11)
#: Name, voxels (z, y, x), tilts, SNR of the untilted view.
CASES = (
    ("thin", (48, 128, 128), None, 0.1),
    ("thin", (48, 128, 128), None, 0.5),
    ("thick", (160, 96, 160), None, 0.1),
    ("thick", (160, 96, 160), None, 0.5),
    ("thick, 5 deg", (192, 96, 192), np.arange(-60, 61, 5.0), 0.1),
    ("thick, 5 deg", (192, 96, 192), np.arange(-60, 61, 5.0), 0.5),
    ("sparse", (48, 128, 128), SPARSE, 0.5),
    ("noisy", (48, 128, 128), None, 0.03),
)


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


def whitened_auc(made: SimulatedSeries, volume: Volume) -> float:
    assert made.phantom is not None
    grid = made.grid
    centres: dict[str, list[NDArray[np.float64]]] = {}
    for particle in made.phantom.particles:
        position = np.array(particle.position_angst[::-1]) / grid.voxel_angst + grid.centre
        if np.all((position > 6) & (position < np.array(grid.shape) - 7)):
            centres.setdefault(particle.kind, []).append(position)
    everywhere = np.array([place for places in centres.values() for place in places])
    background = background_places(grid.shape, everywhere, 6, 8)
    areas = []
    for places in centres.values():
        if len(places) >= 2:
            template = radial_template(made.truth, np.array(places), 12)
            found = detection(volume, template, np.array(places), background)
            areas.append(found.auc_whitened)
    return float(np.mean(areas)) if areas else np.nan


def truth(seeds: int) -> None:
    print("wiener-exact:match, and what denoising adds to it; D dtheta k_max of the specimen")
    print("case           SNR  seed DdTk    PSNR  gain dB   SSIM    gain    AUC_w    gain")
    gains: dict[tuple[str, float], list[float]] = {}
    for name, shape, tilts, snr in CASES:
        for seed in range(seeds):
            made = simulated_series(seed, shape=shape, snr=snr, tilt_deg=tilts)
            series = replace(made.tilt_series(), halves=None)
            with measured_series(series) as (problem, images):
                decision = decide(problem, images)
                head = decision.head if decision.head else None
                linear, better = both(problem, images, head)
            a, b = (
                compare_with_truth(volume, made.truth, made.pixel_angst)
                for volume in (linear, better)
            )
            areas = [whitened_auc(made, volume) for volume in (linear, better)]
            step = np.radians(np.diff(np.sort(series.tilt_deg)).mean())
            sampling = problem.filter.measurement.thickness_angst / made.pixel_angst * step / 2
            gains.setdefault((name, snr), []).append(b.psnr_db - a.psnr_db)
            print(
                f"{name:13s} {snr:5.2f} {seed:4d} {sampling:5.1f}  {a.psnr_db:6.2f} "
                f"{b.psnr_db - a.psnr_db:+8.3f}  {a.ssim:.3f}  {b.ssim - a.ssim:+.3f}  "
                f"{areas[0]:.4f} {areas[1] - areas[0]:+.4f}"
                + ("" if decision.head else f"   refused: {decision.reason}"),
                flush=True,
            )
    for (name, snr), values in gains.items():
        print(f"{name:13s} {snr:5.2f}: {np.mean(values):+.3f} dB, worst {min(values):+.3f}")


def series_of(folder: Path) -> TiltSeries:
    project = project_type("imod").open(folder)
    return project.read(project.names[0])


def left_out(folder: Path) -> None:
    series = series_of(folder)
    linear = left_out_correlation(series, MATCH)

    def denoised_slabs(problem: Problem, images: SeriesImages) -> Iterator[Slab]:
        problem = measured(problem, images)
        decision = decide(problem, images)
        if decision.head is None:
            yield from problem.slabs(images)
            return
        denoiser = Denoiser(problem, decision.head)
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


def _said(decision: Decision) -> str:
    return "denoised" if decision.head else f"refused: {decision.reason}"


def hallucination(folder: Path) -> None:
    series = series_of(folder)
    stack = _stack(series)
    with measured_series(series) as (problem, images):
        decision = decide(problem, images)
    print("the series itself:", _said(decision))
    rng = np.random.default_rng(0)
    noise = _like(series, noise_like(stack, rng))
    for name, other in (("noise with its spectra", noise), ("halves 2 px apart", _apart(series))):
        try:
            with measured_series(other) as measured_other:
                print(f"{name}: {_said(decide(*measured_other))}")
        except Exception as error:
            print(f"{name}: {error}")
    if decision.head is None:
        return
    head, everything = decision.head, np.arange(len(series.views))
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
    commands.add_parser("truth").add_argument("--seeds", type=int, default=2)
    for name in ("left-out", "hallucination", "cost"):
        commands.add_parser(name).add_argument("folder", type=Path)
    chosen = parser.parse_args(arguments)
    if chosen.command == "truth":
        truth(chosen.seeds)
    else:
        {"left-out": left_out, "hallucination": hallucination, "cost": cost}[chosen.command](
            chosen.folder
        )


if __name__ == "__main__":
    main()
