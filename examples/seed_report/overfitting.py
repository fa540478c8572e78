"""Figure 12: zero as a beginning, and overfitting by steps and by number of parameters.

Usage: python overfitting.py [-o FOLDER] [--size small|tiny] [--shrec DIR]
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from common import Panel, Section, Setup, compare, draw_lines, draw_slices, main

from tomofilt.filters.learned import LearnedFilter
from tomofilt.training.closed_form import mean_psnr_db, solve
from tomofilt.training.gradient import Coefficients, Descent, Schedule, descend
from tomofilt.training.losses import Loss
from tomofilt.training.model import FilteredBackProjection
from tomofilt.training.objective import reconstruct
from tomofilt.training.parametrisation import NODES, Parametrisation, empty_filter
from tomofilt.training.supervised import beginning

#: From few parameters to all, by whether views share them.
FILTERS: dict[str, list[tuple[Parametrisation, int | None]]] = {
    "shared": [("radial", NODES), ("grid", NODES), ("grid", None)],
    "for each view": [("polynomial", NODES), ("per-tilt", NODES), ("full", NODES), ("full", None)],
}


@dataclass
class Course:
    """PSNR in dB by step, on the training series and on those held out."""

    step: list[int]
    train: list[float]
    held: list[float]


def descent(
    setup: Setup, models: list[FilteredBackProjection], empty: LearnedFilter, init: str
) -> tuple[Course, LearnedFilter]:
    """AdamW on every frequency of every view, to the last step, and its course."""
    held = [FilteredBackProjection(case, empty) for case in setup.cases.validation]
    start = beginning(init, empty, models[0].case.problem.filter_context)
    coefficients = Coefficients(start)
    course = Course([0], [], [])

    def measure() -> None:
        for psnr, chosen in ((course.train, models), (course.held, held)):
            values = coefficients.values()
            psnr.append(mean_psnr_db(chosen, values) if values.any() else float("nan"))

    def advance(state: Descent) -> None:
        course.step.append(state.step)
        measure()

    measure()
    schedule = Schedule(steps=setup.steps, patience=setup.steps)
    descend(models, held, coefficients, Loss(), schedule, advance=advance)
    print(
        f"  {init}, {len(models)} series: held out {max(course.held[1:]):.2f} dB at best",
        flush=True,
    )
    last = replace(empty, coefficients=coefficients.values().astype(np.float32), name=init)
    return course, last


def by_parameters(setup: Setup, kind: str) -> dict[str, list[float]]:
    """PSNR of the least squares solution, without shrinkage and with it, by its parameters."""
    cases = setup.cases
    shared = empty_filter("radial", cases.train[0], NODES)
    found: dict[str, list[float]] = {key: [] for key in ("count", "train", "held", "shrunk")}
    for name, nodes in FILTERS[kind]:
        empty = empty_filter(name, cases.train[0], nodes)
        train, held = (
            [FilteredBackProjection(case, empty) for case in chosen]
            for chosen in (cases.train, cases.validation)
        )
        free = solve(train, held, empty, shared, iterations=50, shrinkages=(0.0,)).coefficients
        shrunk = solve(train, held, empty, shared).coefficients
        found["count"].append(empty.coefficients.size)
        found["train"].append(mean_psnr_db(train, free))
        found["held"].append(mean_psnr_db(held, free))
        found["shrunk"].append(mean_psnr_db(held, shrunk))
        print(f"  {name}:", *(f"{key} {each[-1]:.6g}" for key, each in found.items()), flush=True)
    return found


def run(setup: Setup) -> Section:
    """Follow AdamW, and count parameters."""
    cases, test = setup.cases, setup.cases.test
    empty = empty_filter("full", cases.train[0], None)
    models = [FilteredBackProjection(case, empty) for case in cases.train]
    courses, last = {}, {}
    for init, count in (("ramp", len(models)), ("zero", len(models)), ("ramp", 1)):
        name = f"from {'the ' * (init == 'ramp')}{init}, {count} specimen{'s' * (count > 1)}"
        courses[name], last[name] = descent(setup, models[:count], empty, init)
    counted = {kind: by_parameters(setup, kind) for kind in FILTERS}
    rows = compare(last, test)
    seen = [
        f"{name[0].upper()}{name[1:]}: held out {np.nanmax(course.held):.2f} dB at step "
        f"{course.step[int(np.nanargmax(course.held))]}, {course.held[-1]:.2f} at the last, "
        f"where the training series have {course.train[-1]:.2f}."
        for name, course in courses.items()
    ]
    for kind, each in counted.items():
        seen.append(
            f"Least squares with gains {kind}, from {each['count'][0]:,} to {each['count'][-1]:,} "
            f"parameters: training series go from {each['train'][0]:.2f} to "
            f"{each['train'][-1]:.2f} dB, held out from {each['held'][0]:.2f} to "
            f"{each['held'][-1]:.2f}; with shrinkage held out {min(each['shrunk']):.2f} to "
            f"{max(each['shrunk']):.2f}."
        )
    panel = {}
    for i, (name, course) in enumerate(courses.items()):
        panel[f"{name}: held out"] = (course.step, course.held, {"color": f"C{i}"})
        panel[f"{name}: training"] = (course.step, course.train, {"color": f"C{i}", "ls": "--"})
    parameters = {}
    for i, (kind, each) in enumerate(counted.items()):
        for key, style in (("train", "--"), ("held", "-"), ("shrunk", ":")):
            label = {"train": "training", "held": "held out", "shrunk": "held out, shrunk"}[key]
            line = {"color": f"C{i}", "ls": style, "marker": "o", "ms": 4}
            parameters[f"{kind}: {label}"] = (each["count"], each[key], line)
    charts = draw_lines(
        setup.folder / "overfitting_curves.png",
        [
            Panel("step of AdamW", "PSNR, dB", panel),
            Panel("parameters", "PSNR, dB", parameters, {"xscale": "log"}),
        ],
    )
    single = rows[list(rows)[-1]]
    with torch.no_grad():
        known = reconstruct(models[0], torch.from_numpy(last[single.name].coefficients))
    slices = draw_slices(setup.folder / "overfitting.png", test[0].truth, rows.values())
    trained_on = draw_slices(
        setup.folder / "overfitted.png",
        cases.train[0].truth,
        [replace(single, volume=known, name=f"{single.name}, trained on this one")],
    )
    return Section(
        "Figure 12: zero as a beginning, and overfitting",
        "Early reconstructions were smooth and without noise, which turned out to be overfitting; "
        "it was worst from zero, and the ramp was taken as the beginning instead.",
        seen,
        "What overfits are free gains for each view, wherever one begins: training and held-out "
        "series part ways from the ramp as well as from zero, and soonest with one specimen. From "
        "zero the noisy high frequencies have to be learned before they can hurt, so that its "
        "early results are smooth; from the ramp they are there at once. At low frequencies all "
        "views measure the same and only the sum of their gains is determined: what noise makes "
        "of their differences is the overfit. Gains that views share, or shrinkage towards them, "
        "cure it.",
        list(rows.values()),
        [
            ("PSNR against steps, and against the number of parameters.", charts),
            ("After the last step, a held-out specimen.", slices),
            (
                "The specimen that the last of these filters was trained on.",
                trained_on,
            ),
        ],
    )


if __name__ == "__main__":
    main(run)
