"""Learned filters: how good, how many parameters are too many, and how fast they are trained.

    python bench/training.py filters [--specimens 4]
    python bench/training.py overfitting [--snr 0.1]
    python bench/training.py speed

`filters`: decibels of filters trained on three simulated series, on others, minus those of the ramp
times the Gaussian that the truth of each says is best. `overfitting`: the same for one noise level
against the number of parameters, with shrinkage and without. `speed`: a closed-form training and a
step of AdamW on 41 views and tomograms of 96 x 256 x 256. Nothing here passes or fails.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from tomofilt.filters.learned import fit
from tomofilt.filters.registry import parse
from tomofilt.simulate import simulated_series
from tomofilt.training.cases import Case, Cases
from tomofilt.training.closed_form import mean_psnr_db, solve
from tomofilt.training.gradient import Coefficients, Schedule, descend
from tomofilt.training.losses import Loss
from tomofilt.training.model import FilteredBackProjection
from tomofilt.training.objective import backward
from tomofilt.training.parametrisation import Parametrisation, empty_filter
from tomofilt.util.threads import available_threads

SNRS = (0.03, 0.1, 0.5)
#: AdamW takes long: one noise level.
BY_ADAMW = 0.1
SIGMAS = (0.02, 0.028, 0.035, 0.042, 0.05, 0.06, 0.07, 0.085, 0.1, 0.12, 0.15)
#: Parametrisation and nodes, by number of parameters.
SIZES: tuple[tuple[Parametrisation, int | None], ...] = (
    ("radial", 14),
    ("polynomial", 14),
    ("grid", 14),
    ("per-tilt", 14),
    ("per-tilt", 40),
    ("full", 6),
    ("full", 14),
    ("full", None),
)


def made(seeds: Sequence[int], snr: float) -> list[Case]:
    cases = []
    for seed in seeds:
        series = simulated_series(seed, snr=snr)
        cases.append(Case(replace(series.tilt_series(f"{seed}"), halves=None), series.truth))
    return cases


def sets(snr: float, specimens: int) -> Cases:
    return Cases(made((0, 1, 2), snr), made((3,), snr), made(range(4, 4 + specimens), snr))


class Problem:
    """One parametrisation on the cases of a bench."""

    def __init__(self, cases: Cases, name: Parametrisation, nodes: int | None = 14) -> None:
        self.cases, self.name = cases, name
        self.empty = empty_filter(name, cases.train[0], nodes)
        self.size = self.empty.coefficients.size
        self.train, self.validation, self.test = (
            [FilteredBackProjection(case, self.empty) for case in chosen]
            for chosen in (cases.train, cases.validation, cases.test)
        )

    def closed_form(self, **options: object) -> NDArray[np.float64]:
        shared = empty_filter("radial", self.cases.train[0])
        self.solution = solve(self.train, self.validation, self.empty, shared, **options)  # type: ignore[arg-type]
        return self.solution.coefficients

    def adamw(
        self, loss: Loss, init: str, schedule: Schedule
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Coefficients with the best validation, and those of the last step."""
        start = np.zeros(self.empty.coefficients.shape)
        if init != "zero":
            context = self.cases.train[0].problem.filter_context
            start = fit(parse(init), self.empty, context).coefficients
        coefficients = Coefficients(start)
        state = descend(self.train, self.validation, coefficients, loss, schedule)
        return state.best, coefficients.values()

    def psnr(self, coefficients: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.array([mean_psnr_db([model], coefficients) for model in self.test])


def tuned_gaussian(case: Case) -> float:
    return max(case.psnr_db(case.tomogram(f"gaussian:{sigma}")) for sigma in SIGMAS)


def filters(specimens: int) -> None:
    print("PSNR in dB minus that of the best ramp x Gaussian; mean +- standard error")
    for snr in SNRS:
        cases = sets(snr, specimens)
        best = np.array([tuned_gaussian(case) for case in cases.test])
        print(f"SNR {snr}: best Gaussian {best.mean():.2f} dB", flush=True)
        for name in ("ramp", "hamming", "wiener-exact:match"):
            _row(name, np.array([c.psnr_db(c.tomogram(name)) for c in cases.test]) - best)
        for name in ("radial", "polynomial", "grid", "per-tilt"):
            problem = Problem(cases, name)
            found = problem.closed_form()
            label = f"closed form, {name} ({problem.size})"
            _row(label, problem.psnr(found) - best, f"shrinkage {problem.solution.shrinkage:g}")
        if snr == BY_ADAMW:
            _by_adamw(cases, best)


def _by_adamw(cases: Cases, best: NDArray[np.float64]) -> None:
    for name, loss in (("radial", Loss()), ("per-tilt", Loss()), ("per-tilt", Loss("huber"))):
        problem = Problem(cases, name)
        found, _ = problem.adamw(loss, "ramp", Schedule())
        _row(f"AdamW, {loss.data}, {name} ({problem.size})", problem.psnr(found) - best)
    # every frequency of every view, as in the report that this project began with
    problem = Problem(cases, "full", None)
    for init in ("ramp", "zero"):
        ends = problem.adamw(Loss("huber"), init, Schedule(patience=300))
        for found, when in zip(ends, ("best validation", "last step"), strict=True):
            label = f"AdamW, huber, full ({problem.size}), from {init}"
            _row(label, problem.psnr(found) - best, when)


def overfitting(snr: float, specimens: int) -> None:
    cases = sets(snr, specimens)
    best = np.array([tuned_gaussian(case) for case in cases.test])
    print(f"SNR {snr}, best Gaussian {best.mean():.2f} dB; PSNR in dB minus that, on other series")
    print(
        f"{'parameters':>10s}  {'':18s} {'trained on':>10s}  {'not shrunk':>15s}  {'shrunk':>15s}"
    )
    trained = np.array([tuned_gaussian(case) for case in cases.train]).mean()
    for name, nodes in SIZES:
        problem = Problem(cases, name, nodes)
        free = problem.closed_form(shrinkages=(0.0,), iterations=100)
        fitted = mean_psnr_db(problem.train, free) - trained
        shrunk = problem.closed_form()
        print(
            f"{problem.size:10d}  {name + ' ' + str(nodes or 'all'):18s} {fitted:+10.3f}  "
            f"{_mean(problem.psnr(free) - best):>15s}  {_mean(problem.psnr(shrunk) - best):>15s}"
            f"  shrinkage {problem.solution.shrinkage:g}",
            flush=True,
        )


def speed(repeats: int = 10) -> None:
    shape = (96, 256, 256)
    cases = []
    for seed in range(4):
        series = simulated_series(seed, shape=shape, snr=0.1)
        cases.append(Case(replace(series.tilt_series(f"{seed}"), halves=None), series.truth))
        print(f"series {seed} simulated", flush=True)
    start, cpu = time.perf_counter(), time.process_time()
    problem = Problem(Cases(cases[:3], cases[3:]), "per-tilt")
    problem.closed_form()
    print(
        f"closed form, {problem.size} parameters, 3 series: {time.perf_counter() - start:.0f} s, "
        f"{time.process_time() - cpu:.0f} s of processor, {problem.solution.iterations} products, "
        f"residual {problem.solution.residual:.1e}, on {available_threads()} threads"
    )
    model = problem.train[0]
    values = torch.ones(problem.empty.coefficients.shape, requires_grad=True)
    optimizer = torch.optim.AdamW([values])
    table, samples = model._table, torch.randn(41, 256, 511)
    volume = torch.randn(shape)

    def step() -> None:
        optimizer.zero_grad()
        backward(model, values, Loss())
        optimizer.step()

    work: dict[str, Callable[[], object]] = {
        "adjoint": lambda: torch.ops.tomofilt.backproject(samples, table, shape),
        "forward": lambda: torch.ops.tomofilt.project(volume, table, tuple(samples.shape)),
        "AdamW step": step,
    }
    walls: dict[str, list[float]] = {name: [] for name in work}
    cpus: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(repeats + 1):
        for name, job in work.items():
            start, cpu = time.perf_counter(), time.process_time()
            job()
            walls[name].append(time.perf_counter() - start)
            cpus[name].append(time.process_time() - cpu)
    for what, times in (("wall", walls), ("processor", cpus)):
        for measure in (np.min, np.median):
            found = {name: float(measure(each[1:])) for name, each in times.items()}
            ratio = found["AdamW step"] / (found["adjoint"] + found["forward"])
            told = ", ".join(f"{name} {1e3 * each:.0f} ms" for name, each in found.items())
            print(f"{what:9s} {measure.__name__:6s}  {told}: {ratio:.2f} x (forward + adjoint)")


def _row(label: str, gain: NDArray[np.float64], remark: str = "") -> None:
    print(f"  {label:44s} {_mean(gain)} dB  {remark}", flush=True)


def _mean(values: NDArray[np.float64]) -> str:
    error = values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.nan
    return f"{values.mean():+.3f}+-{error:.3f}"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("filters").add_argument("--specimens", type=int, default=4)
    many = commands.add_parser("overfitting")
    many.add_argument("--snr", type=float, default=0.1)
    many.add_argument("--specimens", type=int, default=4)
    commands.add_parser("speed")
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(available_threads())
    if chosen.command == "filters":
        filters(chosen.specimens)
    elif chosen.command == "overfitting":
        overfitting(chosen.snr, chosen.specimens)
    else:
        speed()


if __name__ == "__main__":
    main()
