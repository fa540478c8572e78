"""What the denoising network invents: of noise, of displaced halves, of a copy of the specimen.

    python bench/hallucination.py FOLDER

FOLDER is an IMOD folder. Noise with the spectra of its images, and its views shifted against each
other, are to be refused. A head of the series is then forced on that noise, and on the specimen
with a copy of itself beside it. Nothing here passes or fails.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from denoise import Volume, both, denoised, measured_series, said, series_of

from tomofilt.denoise.central import CentralRows
from tomofilt.denoise.decision import decide
from tomofilt.series.tiltseries import TiltSeries
from tomofilt.simulate.series import ImagesInMemory


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


def _apart(series: TiltSeries) -> TiltSeries:
    stack = _stack(series)
    order = np.argsort(series.tilt_deg)
    for view in order[::2]:
        image = int(series.views[view])
        stack[image] = np.roll(stack[image], 2, axis=0)
    return _like(series, stack)


def hallucination(folder: Path) -> None:
    series = series_of(folder)
    stack = _stack(series)
    with measured_series(series) as (problem, images):
        decided = decide(problem, images)
    print("the series itself:", said(decided))
    rng = np.random.default_rng(0)
    noise = _like(series, noise_like(stack, rng))
    for name, other in (("noise with its spectra", noise), ("halves 2 px apart", _apart(series))):
        try:
            with measured_series(other) as measured_other:
                print(f"{name}: {said(decide(*measured_other))}")
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


if __name__ == "__main__":
    hallucination(Path(sys.argv[1]))
