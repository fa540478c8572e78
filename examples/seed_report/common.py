"""What the experiments share: tilt series, trainings, scores, pictures and the page."""

from __future__ import annotations

import argparse
import base64
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from tomofilt.errors import TomofiltError
from tomofilt.evaluate.against_truth import compare_with_truth
from tomofilt.filters.learned import LearnedFilter
from tomofilt.filters.protocol import Filter
from tomofilt.filters.transfer import transfer
from tomofilt.io.files import write_text_atomic
from tomofilt.series.geometry import ImageGrid, TiltGeometry, VolumeGrid
from tomofilt.simulate import SimulatedSeries, simulated_series
from tomofilt.simulate.physics import relative_noise
from tomofilt.simulate.scheme import TiltScheme, tilt_scheme
from tomofilt.simulate.series import damaged_projections, noisy_halves
from tomofilt.training.cases import Case, Cases, check_cases
from tomofilt.training.losses import Loss
from tomofilt.training.shrec import shrec_cases
from tomofilt.training.supervised import Outputs, Training, train
from tomofilt.util.log import notes_told_to

#: The report's tilt list and that of its real series; both get the same exposure in all.
TILTS, OTHER_TILTS = np.linspace(-60, 60, 61), np.linspace(-60, 60, 35)
EXPOSURE = 120.0
#: Of the untilted one of 61 images: variance of the signal over that of the noise.
SNR = 0.1
#: Weight of the total variation of the volume; the report gives none.
TV_VOLUME = 0.1
SIZES = {"small": ((32, 80, 80), 3, 2, 150), "tiny": ((16, 28, 32), 2, 1, 4)}


@dataclass(frozen=True, eq=False)
class Setup:
    """The series of all experiments.

    Parameters
    ----------
    cases : Cases
    specimens : mapping
        By the name of a case, what was simulated; empty for SHREC 2021.
    steps : int
        Of AdamW.
    folder : Path
        Where bundles, pictures and the page go.
    filters : dict
        Those trained so far: experiments share them.
    """

    cases: Cases
    specimens: Mapping[str, SimulatedSeries]
    steps: int
    folder: Path
    filters: dict[str, LearnedFilter] = field(default_factory=dict)

    @classmethod
    def make(cls, folder: Path, size: str = "small", shrec: Path | None = None) -> Setup:
        """Simulate series, or read those of SHREC 2021."""
        folder.mkdir(parents=True, exist_ok=True)
        if shrec is not None:
            cases = shrec_cases(shrec, train=range(1, 9), validation=(9,), test=(0,))
            return cls(cases, {}, 300, folder)
        shape, count, tests, steps = SIZES[size]
        tilts = TILTS if size == "small" else TILTS[::6]
        made = {
            f"specimen_{seed}": simulated_series(
                seed, shape=shape, tilt_deg=tilts, snr=SNR, dose_e_per_a2=EXPOSURE / len(tilts)
            )
            for seed in range(count + 1 + tests)
        }
        found = [
            Case(replace(each.tilt_series(name), halves=None), each.truth)
            for name, each in made.items()
        ]
        cases = Cases(found[:count], found[count : count + 1], found[count + 1 :])
        check_cases(cases)
        return cls(cases, made, steps, folder)

    def train(self, name: str, wanted: Training, cases: Cases | None = None) -> LearnedFilter:
        """Train a filter, on other cases if given; its bundle is kept in the folder."""
        if name not in self.filters:
            cases = replace(cases or self.cases, test=())
            schedule = replace(wanted.schedule, steps=self.steps, patience=self.steps)
            outputs = Outputs(self.folder / f"{name}.tomofilt.safetensors")
            wanted = replace(wanted, schedule=schedule)
            with notes_told_to(lambda line: print(f"{name}: {line}", flush=True)):
                found = train(cases, wanted, outputs, _NoProgress(), overwrite=True)
            self.filters[name] = found.filter
        return self.filters[name]

    def tuned_gaussian(self, cases: Sequence[Case]) -> str:
        """The ramp times the Gaussian that is best on these cases, by their truths."""
        sigmas = [f"gaussian:{sigma:.3g}" for sigma in np.geomspace(0.03, 0.3, 12)]
        return max(
            sigmas, key=lambda s: np.mean([each.psnr_db(tomogram(each, s)) for each in cases])
        )


class _NoProgress:
    """Shows no progress."""

    def describe(self, text: str) -> None:
        pass

    def progress(self, done: int, total: int) -> None:
        pass


# ------------------------------------------------------------------------- series and scores


def regenerated(
    case: Case, seed: int, *, specimen: SimulatedSeries | None = None, noise: bool = True
) -> Case:
    """A case with images calculated anew at the other tilt list.

    Of the truth alone, as the report did it, or of the simulated specimen, which goes on beyond
    the tomogram as real ones do.
    """
    grid = case.problem.grid
    density, of_density = case.truth, grid
    if specimen is not None:
        density, of_density = specimen.phantom.density, specimen.phantom.grid
    scheme = tilt_scheme(OTHER_TILTS, "dose-symmetric", EXPOSURE / len(OTHER_TILTS))
    geometry = TiltGeometry.from_angles(scheme.tilt_deg)
    images = ImageGrid.centred(grid.shape[1:], grid.voxel_angst)
    clean = damaged_projections(density, of_density, geometry, scheme, images)
    central = clean[np.abs(scheme.tilt_deg).argmin()]
    snr = SNR * len(TILTS) / len(OTHER_TILTS)  # fewer views of the same exposure in all
    thickness_angst = 0.85 * grid.shape[0] * grid.voxel_angst
    sigma = np.sqrt(central.var() / snr) * relative_noise(scheme.tilt_deg, thickness_angst)
    halves = noisy_halves(clean, sigma * noise, np.random.default_rng(seed))
    return case_of(f"{case.name}_{seed}", case.truth, clean, halves, scheme, grid.voxel_angst)


def case_of(
    name: str,
    truth: np.ndarray,
    clean: np.ndarray,
    halves: np.ndarray,
    scheme: TiltScheme,
    pixel_angst: float,
) -> Case:
    """A case of images that are on the tilt axis."""
    grid, geometry = (
        VolumeGrid.centred(truth.shape, pixel_angst),
        TiltGeometry.from_angles(scheme.tilt_deg),
    )
    series = SimulatedSeries(truth, grid, geometry, scheme, pixel_angst, clean, halves)
    return Case(replace(series.tilt_series(name), halves=None), truth)


def tomogram(case: Case, chosen: str | Filter) -> np.ndarray:
    """The tomogram (z, y, x) by a filter, as `tomofilt reconstruct` makes it."""
    if isinstance(chosen, str):
        return case.tomogram(chosen)
    if isinstance(chosen, LearnedFilter) and chosen.angles == "per-tilt":
        # tilts of one scheme may differ a little between the models of SHREC 2021
        chosen = transfer(chosen, case.problem.frame.slices.tilt_deg, "nearest")
    problem = case.problem.with_filter(chosen)
    with problem.images(in_place=True) as images:
        return problem.volume(images) * np.float32(case.scale)


@dataclass(frozen=True, eq=False)
class Score:
    """A filter on held-out series: a row of a table, and the tomogram of the first series."""

    name: str
    parameters: int
    numbers: Mapping[str, float]
    volume: np.ndarray

    @property
    def psnr(self) -> float:
        """PSNR after an affine match, dB."""
        return self.numbers["PSNR, dB"]


def compare(chosen: Mapping[str, str | Filter], cases: Sequence[Case]) -> dict[str, Score]:
    """Apply filters to cases and compare with their truths."""
    return {name: _score(name, each, cases) for name, each in chosen.items()}


def _score(name: str, chosen: str | Filter, cases: Sequence[Case]) -> Score:
    volumes = [tomogram(case, chosen) for case in cases]
    found = [
        compare_with_truth(volume, case.truth, case.problem.grid.voxel_angst, case.series.tilt_deg)
        for volume, case in zip(volumes, cases, strict=True)
    ]
    numbers = {
        "PSNR, dB": [each.psnr_db for each in found],
        "PSNR as it is, dB": [each.psnr_raw_db for each in found],
        "SSIM": [each.ssim for each in found],
        "mean FSC": [each.fsc["sampled"].mean(0.35) for each in found],
    }
    means = {key: float(np.mean(values)) for key, values in numbers.items()}
    print(f"  {name}: PSNR {means['PSNR, dB']:.2f} dB", flush=True)
    parameters = chosen.coefficients.size if isinstance(chosen, LearnedFilter) else 0
    return Score(name, parameters, means, volumes[0])


# ---------------------------------------------------------------------------------- pictures


def draw_slices(path: Path, truth: np.ndarray, scores: Iterable[Score]) -> Path:
    """Central XY (three planes) above XZ, each from mean - 3 to mean + 3 standard deviations."""
    named = [("truth", truth), *((each.name, each.volume) for each in scores)]
    nz, ny, _ = named[0][1].shape
    columns = min(len(named), 4)
    rows = -(-len(named) // columns)
    figure = Figure(figsize=(3.1 * columns, 3.1 * (1 + nz / ny) * rows + 0.3), layout="constrained")
    axes = figure.subplots(
        2 * rows, columns, squeeze=False, gridspec_kw={"height_ratios": [ny, nz] * rows}
    )
    for place in axes.flat:
        place.set_axis_off()
    for i, (name, volume) in enumerate(named):
        row, column = divmod(i, columns)
        flat = volume[nz // 2 - 1 : nz // 2 + 2].mean(axis=0)
        upright = volume[:, ny // 2 - 1 : ny // 2 + 2].mean(axis=1)
        mean, spread = float(flat.mean()), 3 * float(flat.std())
        for place, plane in ((axes[2 * row, column], flat), (axes[2 * row + 1, column], upright)):
            place.imshow(plane, "gray", vmin=mean - spread, vmax=mean + spread, origin="lower")
            place.set_anchor("S" if plane is flat else "N")
        axes[2 * row, column].set_title(name, fontsize=9)
    return _save(figure, path)


def draw_images(
    path: Path, named: Sequence[tuple[str, np.ndarray]], label: str, **limits: float
) -> Path:
    """Images on frequencies across (sideways) and along (upwards) the tilt axis, one scale."""
    figure = Figure(figsize=(2.7 * len(named) + 0.8, 3.0), layout="constrained")
    axes = figure.subplots(1, len(named), squeeze=False)[0]
    span = [-0.5, 0.5, -0.5, 0.5]
    for place, (name, image) in zip(axes, named, strict=True):
        shown = place.imshow(image, "viridis", origin="lower", extent=span, **limits)
        place.set_title(name, fontsize=8)
        place.set_xticks([-0.5, 0, 0.5])
        place.set_yticks([-0.5, 0, 0.5])
    figure.colorbar(shown, ax=axes, label=label)
    return _save(figure, path)


@dataclass(frozen=True)
class Panel:
    """A chart: lines of (x, y, style) by name, and the labels of its axes."""

    x: str
    y: str
    lines: Mapping[str, tuple[Any, Any, dict[str, Any]]]
    options: dict[str, Any] = field(default_factory=dict)


def draw_lines(path: Path, panels: Sequence[Panel]) -> Path:
    """Charts beside each other."""
    figure = Figure(figsize=(5.2 * len(panels), 3.7), layout="constrained")
    for place, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        for name, (x, y, style) in panel.lines.items():
            place.plot(x, y, label=name, **{"lw": 1.6} | style)
        place.set(xlabel=panel.x, ylabel=panel.y, **panel.options)
        place.grid(alpha=0.25)
        place.spines[["top", "right"]].set_visible(False)
        place.legend(fontsize=8)
    return _save(figure, path)


def _save(figure: Figure, path: Path) -> Path:
    figure.savefig(path, dpi=110)
    return path


# ---------------------------------------------------------------------------------- the page


@dataclass(frozen=True)
class Section:
    """What an experiment puts on the page.

    Parameters
    ----------
    title, said : str
        ``said`` is what the report saw.
    seen : sequence of str
        What is seen here, from the numbers.
    why : str
        Why it differs, or agrees.
    scores : sequence of Score
    pictures : sequence of (caption, path)
    """

    title: str
    said: str
    seen: Sequence[str]
    why: str
    scores: Sequence[Score]
    pictures: Sequence[tuple[str, Path]]

    def html(self) -> str:
        """As a section of the page."""
        figures = "".join(
            f'<figure><img alt="" src="data:image/png;base64,'
            f'{base64.b64encode(path.read_bytes()).decode()}">'
            f"<figcaption>{escape(caption)}</figcaption></figure><br>"
            for caption, path in self.pictures
        )
        told = (("The report.", self.said), ("Here.", " ".join(self.seen)), ("Why.", self.why))
        return (
            f"<section><h2>{escape(self.title)}</h2>"
            + "".join(f"<p><b>{lead}</b> {escape(text)}</p>" for lead, text in told)
            + f"{self._table()}<br>{figures}</section>\n"
        )

    def _table(self) -> str:
        if not self.scores:
            return ""
        columns = list(self.scores[0].numbers)
        best = {name: max(each.numbers[name] for each in self.scores) for name in columns}
        head = "".join(f"<th>{name}</th>" for name in ("parameters", *columns))
        body = ""
        for each in self.scores:
            cells = "".join(
                f"<td{' class=best' if each.numbers[name] == best[name] else ''}>"
                f"{each.numbers[name]:.{2 if 'PSNR' in name else 3}f}</td>"
                for name in columns
            )
            count = f"{each.parameters:,}" if each.parameters else ""
            body += f"<tr><td>{escape(each.name)}</td><td>{count}</td>{cells}</tr>"
        return (
            '<div class="card scroll"><table><thead><tr><th>on held-out series</th>'
            f"{head}</tr></thead><tbody>{body}</tbody></table></div>"
        )


def write_page(setup: Setup, sections: Sequence[Section], seconds: float) -> Path:
    """Write one HTML file with everything inside."""
    style = files("tomofilt.report").joinpath("templates/style.css").read_text()
    light = style.replace("color-scheme: light dark", "color-scheme: light").replace(
        "(prefers-color-scheme: dark)", "not all"
    )
    cases, problem = setup.cases, setup.cases.train[0].problem
    nz, ny, nx = problem.grid.shape
    source = "simulated specimens" if setup.specimens else "models of SHREC 2021"
    about = (
        f"{len(cases.train)} {source} to train on, {len(cases.validation)} for early stopping and "
        f"shrinkage, {len(cases.test)} to test; {nx} x {ny} x {nz} voxels (x, y, z) of "
        f"{problem.grid.voxel_angst:g} A, {len(problem.series.views)} views, SNR {SNR:g} where "
        f"noise is ours, {setup.steps} steps of AdamW. Made in {seconds / 60:.1f} minutes. "
        "PSNR and SSIM are after an affine match to the truth unless 'as it is'; FSC is the mean "
        "up to 0.35 cycles per voxel in the directions that the views saw."
    )
    title = "Optimal back-projection: the experiments of the seed report"
    path = setup.folder / "seed_report.html"
    text = (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f"<title>{title}</title>\n<style>{light} section p {{ color: var(--ink) }} "
        "figure img { width: auto; max-width: 100%; background: none }</style></head>\n"
        f"<body><main><h1>{title}</h1><p>{escape(about)}</p>\n"
        f"{''.join(section.html() for section in sections)}</main></body></html>\n"
    )
    write_text_atomic(path, text, replace=True)
    return path


def main(*experiments: Callable[[Setup], Section]) -> None:
    """Parse the command line, run experiments and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path, default=Path("results"), metavar="FOLDER")
    parser.add_argument("--size", choices=SIZES, default="small", help="of simulated series")
    parser.add_argument("--shrec", type=Path, metavar="DIR", help="model_0 to model_9 instead")
    parser.add_argument("--steps", type=int, help="of AdamW")
    values = parser.parse_args()
    start = time.perf_counter()
    try:
        setup = Setup.make(values.output, values.size, values.shrec)
        if values.steps:
            setup = replace(setup, steps=values.steps)
        sections = [run(setup) for run in experiments]
        print(write_page(setup, sections, time.perf_counter() - start))
    except TomofiltError as error:
        raise SystemExit(f"error: {error}") from error


def huber(**weights: float) -> Training:
    """The report's training: every frequency of every view free, Huber's loss, from the ramp."""
    return Training("full", None, loss=Loss("huber", **weights), solver="adamw")
