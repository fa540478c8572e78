"""Whether a denoising network learned on simulated specimens serves series of other specimens.

    python bench/transfer.py families SNR [--first 0] [--seeds 2]
    python bench/transfer.py left-out FOLDER

`families`: five families of specimens, projected with the same tilts and noise. For each family a
network learns from the known specimens of the four others and denoises the one that it has never
seen. Beside it: the network that is trained on the series alone, as --denoise does, and one that
knows another specimen of the same family. In decibels over the default tomogram.
`left-out`: the same for an IMOD folder, with specimens projected with its tilts, the spectrum of
its noise and its SNR; in correlation of views that neither networks nor tomogram know.
Nothing here passes or fails.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from denoise import measured_series, series_of
from numpy.typing import NDArray

from tomofilt.denoise import fit
from tomofilt.denoise.bands import BANDS, windows
from tomofilt.denoise.central import CentralRows
from tomofilt.denoise.decision import LEAST_GAIN, STRENGTHS
from tomofilt.denoise.examples import (
    Examples,
    Tomogram,
    chosen_voxels,
    examples_from_halves,
    halves_of,
)
from tomofilt.denoise.fit import fit_head
from tomofilt.denoise.gates import gate_weights
from tomofilt.denoise.head import FIRST_GATED, Head
from tomofilt.denoise.kernel import apply_head
from tomofilt.denoise.prediction import LeftOutViews
from tomofilt.evaluate.against_truth import compare_with_truth
from tomofilt.evaluate.left_out import spread_views
from tomofilt.evaluate.views import columns_inside
from tomofilt.reconstruction.images import SeriesImages
from tomofilt.reconstruction.problem import Problem
from tomofilt.series.angles import angles_of_range
from tomofilt.series.geometry import ImageGrid, TiltGeometry, VolumeGrid
from tomofilt.simulate import SimulatedSeries
from tomofilt.simulate.camera import margin_px, with_margin
from tomofilt.simulate.like import series_like
from tomofilt.simulate.molecules import bundled
from tomofilt.simulate.phantom import Contents, make_phantom
from tomofilt.simulate.physics import relative_noise
from tomofilt.simulate.projection import extent_angst
from tomofilt.simulate.scheme import tilt_scheme
from tomofilt.simulate.series import cut_out, damaged_projections, noisy_halves

Volume = NDArray[np.float32]
Numbers = NDArray[np.float64]

SMALL, LARGE = ("1bxn", "1qvr"), ("4v94", "5mrc")
#: Molecules, crowding, membranes, of each family; what else is in it is in `specimen`.
FAMILIES = {
    "crowded": Contents(bundled(), crowding=0.33, membranes=0),
    "membranes": Contents(bundled(SMALL), crowding=0.05, membranes=6),
    "filaments": Contents(bundled(SMALL), crowding=0.05, membranes=0),
    "cytosol": Contents(bundled(LARGE), crowding=0.1, membranes=1),
    "purified": Contents(bundled((*SMALL, "4cr2")), crowding=0.08, membranes=0),
}
SHAPE = (64, 96, 96)
#: Standard deviations beyond which a band is cut, as in training on the series itself.
LIMIT = 5.0
#: Examples from each known specimen; steps of training on the series itself from what is learned.
EXAMPLES, FEW_STEPS = 60_000, 100


# ---------------------------------------------------------------------------------- specimens


def specimen(family: str, seed: int, grid: VolumeGrid, ice_angst: float) -> Volume:
    """Densities (z, y, x) of a specimen; protein is 1."""
    rng = np.random.default_rng([seed, *family.encode()])
    density = make_phantom(grid, ice_angst, FAMILIES[family], rng).density
    z, y, x = (
        ((np.arange(n) - c) * grid.voxel_angst).astype(np.float32)
        for n, c in zip(grid.shape, grid.centre, strict=True)
    )
    inside = (np.abs(z) < ice_angst / 2)[:, None, None]
    if family == "filaments":
        for i in range(round(len(y) * len(x) * grid.voxel_angst**2 / 8e4)):
            # one microtubule to three thin filaments
            np.maximum(density, tube((z, y, x), i % 4 == 0, rng) * inside, out=density)
    if family == "cytosol":
        density += meshwork(grid, rng) * inside
    return density


def tube(axes: Sequence[Volume], hollow: bool, rng: np.random.Generator) -> Volume:
    """A straight tube at a random place, nearly within the plane of the slab."""
    middle = [rng.uniform(each[0], each[-1]) for each in axes]
    turn, rise = rng.uniform(0, 2 * np.pi), rng.normal(0, 0.15)
    along = np.array([rise, np.sin(turn), np.cos(turn)]) / np.hypot(1, rise)
    from_middle = [
        points - m
        for points, m in zip(np.meshgrid(*axes, indexing="ij", sparse=True), middle, strict=True)
    ]
    on_axis = sum(a * b for a, b in zip(from_middle, along, strict=True))
    radius = np.sqrt(np.maximum(sum(a * a for a in from_middle) - on_axis**2, 0))
    if hollow:
        return np.exp(-((radius - 105) ** 2) / (2 * 16**2))
    return 1 / (1 + np.exp((radius - 32) / 6))


def meshwork(grid: VolumeGrid, rng: np.random.Generator) -> Volume:
    """A background with structure of all sizes from 20 A to 300 A, never negative."""
    from scipy.ndimage import gaussian_filter

    total = np.zeros(grid.shape, np.float32)
    for width_angst in (10.0, 25.0, 60.0):
        part = gaussian_filter(
            rng.standard_normal(grid.shape, np.float32), width_angst / grid.voxel_angst
        )
        total += part / part.std()
    return np.maximum(total, 0) * np.float32(0.2)


def projected(family: str, seed: int, snr: float) -> SimulatedSeries:
    """A series of 41 views from -60 to 60 degrees, of a specimen that is wider than the images."""
    pixel, ice_angst, (nz, ny, nx) = 10.0, 400.0, SHAPE
    scheme = tilt_scheme(angles_of_range(-60, 60, 3), "dose-symmetric", 3.0)
    geometry = TiltGeometry.from_angles(scheme.tilt_deg)
    images, grid = ImageGrid.centred((ny, nx), pixel), VolumeGrid.centred(SHAPE, pixel)
    extent = extent_angst(geometry, with_margin(images, margin_px(images)), ice_angst)
    beyond_x, beyond_y = (
        int(np.ceil(half / pixel - (n - 1) / 2)) + 2
        for half, n in zip(extent, (nx, ny), strict=True)
    )
    wide = VolumeGrid.centred((nz, ny + 2 * beyond_y, nx + 2 * beyond_x), pixel)
    density = specimen(family, seed, wide, ice_angst)
    clean = damaged_projections(density, wide, geometry, scheme, images)
    sigma = np.sqrt(clean[np.abs(scheme.tilt_deg).argmin()].var() / snr)
    sigma = sigma * relative_noise(scheme.tilt_deg, ice_angst)
    halves = noisy_halves(clean, sigma, np.random.default_rng([seed, 1]))
    truth = cut_out(density, wide, grid)
    return SimulatedSeries(truth, grid, geometry, scheme, pixel, clean, halves)


# ---------------------------------------------------------------------------------- tomograms


class Views:
    """A tomogram from some views, with its halves; and how well it predicts the views left out."""

    def __init__(self, problem: Problem, images: SeriesImages, left: Sequence[int] = ()) -> None:
        kept = np.setdiff1d(np.arange(len(problem.series.views)), left)
        stack = images.aligned()
        central = CentralRows(problem, stack, kept)
        self.tomogram = Tomogram(*central.volume(np.arange(len(kept))))
        self.halves = halves_of(central)
        self.voxels = chosen_voxels(central.problem, 0)
        self.bands = self.tomogram.bands(self.voxels)
        self.half_bands = [half.bands(self.voxels) for half in self.halves]
        self.limit: Numbers = LIMIT * 1.4826 * np.median(np.abs(self.bands), axis=0)
        if len(left):
            self._left = LeftOutViews(problem, stack, central.problem, np.array(left))

    def deviation(self, unit: str) -> Numbers:
        """Of the bands (BANDS,), or of their noise, which is how the halves differ."""
        first, second = self.half_bands
        values = (first - second) / 2 if unit == "noise" else self.bands
        return np.clip(values, -self.limit, self.limit).std(axis=0, dtype=np.float64)

    def inputs(self, unit: str, voxels: NDArray[np.intp]) -> Volume:
        deviation = self.deviation(unit)
        return self.tomogram.inputs(voxels, deviation, self.limit / deviation)

    def adapted(self, head: Head, unit: str) -> Head:
        """A head of other series in the units of this one."""
        deviation = self.deviation(unit)
        return replace(head, deviation=deviation, limit=self.limit / deviation)

    def denoised(self, heads: Sequence[Head]) -> Volume:
        """The mean of what some heads make of the tomogram."""
        coarse, block = self.tomogram.coarse, self.tomogram.block
        made = [apply_head(h, coarse, gate_weights(h, coarse), block, 0, 0, 1) for h in heads]
        return np.asarray(np.mean(made, axis=0))

    def correlation(self, heads: Sequence[Head]) -> Numbers:
        """Correlation of left-out views (1 + strength, view): of the linear tomogram first."""
        plain = self._left.project(self.tomogram.block)
        more = self._left.project(self.denoised(heads)) - plain
        return np.array([self._left.correlation(plain + s * more) for s in (0, *STRENGTHS)])


Way = Callable[[Views], Sequence[Head]]


@dataclass(frozen=True, eq=False)
class Target:
    """A series: with all of its views, and twice without some of them."""

    whole: Views
    folds: list[Views]
    truth: Volume | None

    @classmethod
    def of(cls, problem: Problem, images: SeriesImages, truth: Volume | None) -> Target:
        inside = columns_inside(problem.frame.slices, problem.grid, problem.frame.grid)
        usable = np.array([columns is not None for columns in inside])
        left = spread_views(problem.series.tilt_deg, folds=2, usable=usable)
        return cls(Views(problem, images), [Views(problem, images, views) for views in left], truth)


@dataclass(frozen=True, eq=False)
class Known:
    """What a tomogram of a known specimen teaches: bands (voxel, BANDS) of both, at some voxels."""

    bands: Volume
    truth: Volume
    inputs: dict[str, Volume]
    limit: dict[str, Numbers]
    held_out: NDArray[np.bool_]

    @classmethod
    def of(cls, views: Views, truth: Volume) -> Known:
        voxels = views.voxels[:EXAMPLES]
        bands = np.clip(views.bands[:EXAMPLES], -views.limit, views.limit).astype(np.float32)
        first = round((truth.shape[1] - views.tomogram.block.shape[1]) / 2)
        return cls(
            bands,
            true_bands(truth, voxels + np.array([0, first, 0])),
            {unit: views.inputs(unit, voxels) for unit in ("signal", "noise")},
            {unit: views.limit / views.deviation(unit) for unit in ("signal", "noise")},
            voxels[:, 1] % 40 >= 32,
        )


def true_bands(truth: Volume, voxels: NDArray[np.intp]) -> Volume:
    """Bands (voxel, BANDS) of a specimen at some voxels."""
    from scipy import fft

    k = np.sqrt(
        np.fft.fftfreq(truth.shape[0])[:, None, None] ** 2
        + np.fft.fftfreq(truth.shape[1])[:, None] ** 2
        + np.fft.rfftfreq(truth.shape[2]) ** 2
    )
    spectrum = fft.rfftn(truth)
    return np.stack(
        [
            fft.irfftn(spectrum * window.astype(np.float32), truth.shape)[tuple(voxels.T)]
            for window in windows(k)
        ],
        axis=1,
    )


# ---------------------------------------------------------------------------------- networks


def learned(known: Sequence[Known], loss: str, unit: str, seed: int) -> Head:
    """A head from known specimens: by squared error, or with all bands alike."""
    bands, target = [], []
    for each in known:
        x, t = each.bands[:, FIRST_GATED:], each.truth[:, FIRST_GATED:]
        if loss == "squared error":
            all_x, all_t = each.bands.sum(axis=1), each.truth.sum(axis=1)
            slope = float(np.cov(all_x, all_t)[0, 1] / all_x.var())
            scale = t.sum(axis=1).std()
            bands.append(x * np.float32(slope / scale))
            target.append(t.sum(axis=1) / scale)
        else:
            slope_of_band = (x * t).sum(axis=0) / np.square(x).sum(axis=0)
            bands.append(x * (slope_of_band / t.std(axis=0)))
            target.append((t / t.std(axis=0)).sum(axis=1))
    examples = Examples(
        np.concatenate(bands),
        np.concatenate(target),
        np.concatenate([each.inputs[unit] for each in known]),
        np.concatenate([each.held_out for each in known]),
        np.mean([each.limit[unit] for each in known], axis=0),
        np.ones(BANDS),
    )
    return fit_head(examples, seed).head


def own(views: Views, seed: int) -> Head:
    """The head that --denoise trains."""
    head = fit_head(examples_from_halves(views.halves, views.voxels), seed).head
    bands = np.clip(views.bands, -head.largest, head.largest)
    return head.for_tomogram(bands.std(axis=0, dtype=np.float64))


@contextmanager
def from_here(head: Head, steps: int) -> Iterator[None]:
    """Training begins at a head, and takes fewer steps."""
    kept = fit._beginning, fit.STEPS
    arrays = (head.hidden, head.threshold, head.gate, head.linear)
    fit._beginning = lambda rng: np.concatenate([each.ravel() for each in arrays])
    fit.STEPS = steps
    try:
        yield
    finally:
        fit._beginning, fit.STEPS = kept


def ways(known: Sequence[Known], seed: int) -> dict[str, Way]:
    """Ways to the heads of a tomogram of views, by name."""
    plain = learned(known, "squared error", "signal", seed)
    alike = learned(known, "bands alike", "signal", seed)
    noise = learned(known, "bands alike", "noise", seed)

    def few_steps(views: Views) -> Head:
        with from_here(alike, FEW_STEPS):
            return own(views, seed)

    return {
        "series alone": lambda views: [own(views, seed)],
        "others": lambda views: [views.adapted(plain, "signal")],
        "others, bands alike": lambda views: [views.adapted(alike, "signal")],
        "others, units of noise": lambda views: [views.adapted(noise, "noise")],
        f"{FEW_STEPS} steps from others": lambda views: [few_steps(views)],
        "mean of alone and others": lambda views: [
            own(views, seed),
            views.adapted(alike, "signal"),
        ],
    }


@dataclass(frozen=True)
class Outcome:
    """Gains over the default tomogram: of left-out views (view,), and where the truth is known.

    ``fsc`` is the mean gain below half of Nyquist's frequency.
    """

    views: Numbers
    strength: float
    db: float = np.nan
    fsc: float = np.nan

    @property
    def errors(self) -> float:
        """The gain on left-out views, in standard errors."""
        return float(self.views.mean() / self.views.std(ddof=1) * np.sqrt(len(self.views)))


def outcome(target: Target, way: Way) -> Outcome:
    heads = [way(views) for views in target.folds]
    scores = [views.correlation(each) for views, each in zip(target.folds, heads, strict=True)]

    def best(tried: Sequence[Numbers]) -> int:
        return 1 + int(np.concatenate(tried, axis=1)[1:].mean(axis=1).argmax())

    gain = np.concatenate(
        [each[best([other])] - each[0] for each, other in zip(scores, scores[::-1], strict=True)]
    )
    strength = STRENGTHS[best(scores) - 1]
    if target.truth is None:
        return Outcome(gain, strength)
    plain = target.whole.tomogram.block
    better = plain + np.float32(strength) * (target.whole.denoised(heads[0]) - plain)
    before, after = (compare_with_truth(volume, target.truth, 1.0) for volume in (plain, better))
    fsc = after.fsc["all"].correlation - before.fsc["all"].correlation
    return Outcome(
        gain, strength, after.psnr_db - before.psnr_db, float(np.nanmean(fsc[: len(fsc) // 2]))
    )


def told(values: Sequence[float] | Numbers) -> str:
    error = np.std(values, ddof=1) / np.sqrt(len(values))
    return f"{np.mean(values):+.4f} +- {error:.4f} ({min(values):+.3f})"


def families(snr: float, first: int, seeds: int) -> None:
    targets: dict[tuple[str, int], Target] = {}
    for name in FAMILIES:
        for seed in range(first, first + seeds):
            made = projected(name, seed, snr)
            series = replace(made.tilt_series(), halves=None)
            with measured_series(series) as (problem, images):
                targets[name, seed] = Target.of(problem, images, made.truth)
    known = {key: Known.of(target.whole, target.truth) for key, target in targets.items()}
    found: dict[str, list[Outcome]] = {}
    print("family     seed way                     |  gain, dB, at strength |  FSC | views, errors")
    for name in FAMILIES:
        making = ways([each for key, each in known.items() if key[0] != name], first)
        for seed in range(first, first + seeds):
            same = [each for key, each in known.items() if key[0] == name and key[1] != seed]
            family = learned(same, "squared error", "signal", seed)
            making["same family"] = lambda views, family=family: [views.adapted(family, "signal")]
            for way, make in making.items():
                one = outcome(targets[name, seed], make)
                found.setdefault(way, []).append(one)
                print(
                    f"{name:10s} {seed:3d} {way:25s}| {one.db:+.3f} at {one.strength:4g} | "
                    f"{one.fsc:+.4f} | {one.errors:+5.1f}",
                    flush=True,
                )
    print("means, their standard errors, and the least; the last are after the trial of --denoise")
    alone = after_trial(found["series alone"])
    for way, outcomes in found.items():
        over = after_trial(outcomes) - alone
        print(
            f"{way:25s}: {told([one.db for one in outcomes])} dB, FSC "
            f"{told([one.fsc for one in outcomes])}; over the series alone {told(over)} dB"
        )


def after_trial(outcomes: Sequence[Outcome]) -> Numbers:
    """Gains in dB (outcome,) if a head that the trial would refuse changes nothing."""
    return np.array([one.db * (one.errors > LEAST_GAIN) for one in outcomes])


def left_out(folder: Path) -> None:
    series = series_of(folder)
    known = []
    for name in FAMILIES:
        grid = VolumeGrid.centred((128, 128, 256), series.images.pixel_angst)
        # protein is dark in an IMOD folder
        density = -specimen(name, 0, grid, 110 * grid.voxel_angst)
        made, _ = series_like(density, grid.voxel_angst, series, 0, 1)
        with measured_series(replace(made.tilt_series(), halves=None)) as (problem, images):
            known.append(Known.of(Views(problem, images), made.truth))
    with measured_series(series) as (problem, images):
        target = Target.of(problem, images, None)
    print("gain in the correlation of ten left-out views: mean, standard error, least")
    alone = None
    for way, make in ways(known, 0).items():
        one = outcome(target, make)
        alone = one.views if alone is None else alone
        print(
            f"{way:25s}: {told(one.views)} at {one.strength:g}; over the series alone "
            f"{told(one.views - alone)}",
            flush=True,
        )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    simulations = commands.add_parser("families")
    simulations.add_argument("snr", type=float)
    simulations.add_argument("--first", type=int, default=0)
    simulations.add_argument("--seeds", type=int, default=2)
    commands.add_parser("left-out").add_argument("folder", type=Path)
    chosen = parser.parse_args(arguments)
    if chosen.command == "families":
        families(chosen.snr, chosen.first, chosen.seeds)
    else:
        left_out(chosen.folder)


if __name__ == "__main__":
    main()
