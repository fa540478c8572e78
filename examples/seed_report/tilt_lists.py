"""Figures 3 to 9: a filter trained on one tilt list applied to another, and trained anew for it.

Usage: python tilt_lists.py [-o FOLDER] [--size small|tiny] [--shrec DIR]
"""

from dataclasses import replace

import numpy as np
from common import (
    TV_VOLUME,
    Panel,
    Section,
    Setup,
    compare,
    draw_images,
    draw_lines,
    draw_slices,
    huber,
    main,
    regenerated,
)

from tomofilt.filters.learned import LearnedFilter
from tomofilt.filters.protocol import Filter
from tomofilt.filters.registry import parse
from tomofilt.filters.transfer import METHODS, transfer
from tomofilt.training.cases import Case, Cases
from tomofilt.training.supervised import Training

#: Weight of the total variation of the filtered projections; the report gives none.
TV_PROJECTIONS = 0.1
#: Cycles per pixel, in steps of an image across.
CYCLES = np.linspace(-0.5, 0.5, 129)


def gain_image(chosen: Filter, case: Case, tilt_deg: float) -> np.ndarray:
    """Gains of the view nearest a tilt: (along, across) the tilt axis."""
    context = case.problem.filter_context
    view = int(np.abs(context.tilt_deg - tilt_deg).argmin())
    k = CYCLES / context.pixel_angst
    return chosen.gains(k[None, :], k[:, None], context)[view]


def profile(chosen: Filter, case: Case) -> tuple[np.ndarray, np.ndarray]:
    """Mean gain over all views and directions at each length of the frequency, cycles per pixel."""
    context = case.problem.filter_context
    cycles, turn = np.linspace(0.004, 0.5, 96), np.linspace(0, np.pi, 61)[:-1]
    k = cycles[:, None] / context.pixel_angst
    return cycles, chosen.gains(k * np.cos(turn), k * np.sin(turn), context).mean(axis=(0, 2))


def run(setup: Setup) -> Section:
    """Transfer, retrain and compare."""

    def anew(cases: list[Case], seed: int, **how: bool) -> list[Case]:
        return [regenerated(each, seed + i, **how) for i, each in enumerate(cases)]

    def whole(cases: list[Case], seed: int) -> list[Case]:
        known = setup.specimens
        return [
            regenerated(each, seed + i, specimen=known.get(each.name))
            for i, each in enumerate(cases)
        ]

    test = whole(setup.cases.test, 100)
    held = whole(setup.cases.validation, 200)
    # stopped by series like the real ones, which the report could not do
    clean = Cases(anew(setup.cases.train, 300, noise=False), held)
    noisy, proper = (replace(clean, train=each(setup.cases.train, 400)) for each in (anew, whole))
    trained = setup.train("optimised", huber())
    eq15 = huber(tv_volume=TV_VOLUME, tv_projections=TV_PROJECTIONS)
    moved = {name: transfer(trained, test[0].series.tilt_deg, name) for name in METHODS}
    gaussian = setup.tuned_gaussian(test)
    chosen: dict[str, str | LearnedFilter] = {
        "ramp": "ramp",
        f"{gaussian}, tuned on the truth": gaussian,
        **{f"transferred, {name}": each for name, each in moved.items()},
        "retrained on clean images (eq. 15)": setup.train("retrained_clean", eq15, clean),
        "retrained on noisy images (eq. 15)": setup.train("retrained", eq15, noisy),
        "retrained, closed form, 14 a view": setup.train(
            "retrained_structured", Training("per-tilt"), proper
        ),
        "wiener-exact:match, untrained": "wiener-exact:match",
    }
    rows = compare(chosen, test)
    names, ramp = list(rows), rows["ramp"]
    unregularised, retrained, closed, wiener = (rows[name] for name in names[-4:])
    own = setup.cases.test
    smoothed = transfer(trained, trained.tilt_deg, "polynomial")
    before, smooth = compare({"own views": trained, "smoothed": smoothed}, own).values()
    seen = [
        f"On its own {len(trained.tilt_deg)} views the filter has {before.psnr:.2f} dB; moved "
        f"to {len(test[0].series.tilt_deg)} views of the same total exposure it has "
        + ", ".join(f"{rows[f'transferred, {name}'].psnr:.2f} ({name})" for name in METHODS)
        + f", where the ramp has {ramp.psnr:.2f}. Polynomials on its own views make it "
        f"{smooth.psnr:.2f}.",
        f"Retrained by eq. 15 on projections without noise it has {unregularised.psnr:.2f} dB, "
        f"with noise {retrained.psnr:.2f}; in closed form on whole specimens {closed.psnr:.2f}, "
        f"and wiener-exact, without any training, {wiener.psnr:.2f}.",
    ]
    folder, case = setup.folder, test[0]
    alike = ("transferred, nearest", "transferred, cubic", "wiener-exact:match, untrained")
    drawn = [row for name, row in rows.items() if name not in alike]
    slices = draw_slices(folder / "tilt_lists.png", case.truth, drawn)
    shown = [
        ("ramp", parse("ramp"), case),
        (f"trained, {len(trained.tilt_deg)} views", trained, setup.cases.train[0]),
        ("transferred, polynomial", moved["polynomial"], case),
        ("retrained, clean", chosen[names[-4]], case),
        ("retrained, noisy", chosen[names[-3]], case),
    ]
    images = []
    for name, each, of_case in shown:
        image = gain_image(each, of_case, 0.0)
        # in steps of the angle, as the ramp is: then 61 and 35 views have one scale
        step = gain_image(parse("ramp"), of_case, 0.0).max()
        images.append((name, image / step))
    filters = draw_images(
        folder / "filters.png", images, "gain / ramp's at Nyquist", vmin=0, vmax=0.6
    )
    profiles = {name: profile(each, of_case) for name, each, of_case in shown}
    lines = {name: (k, gain, {}) for name, (k, gain) in profiles.items()}
    normalised = {name: (k, gain / gain.max(), {}) for name, (k, gain) in profiles.items()}
    at = "cycles / px"
    charts = draw_lines(
        folder / "profiles.png",
        [
            Panel(at, "mean gain, over its maximum", normalised),
            Panel(at, "mean gain as it is applied", lines),
        ],
    )
    return Section(
        "Figures 3 to 9: another tilt list",
        "Of the interpolations, polynomials of order 4 did best, but blurred and left an uneven "
        "background. Retraining on regenerated projections gave nearly what FBP gives. The "
        "interpolated profile lies on the trained one, and the retrained one near the ramp.",
        seen,
        "Gains are functions of physical frequency here and carry the angular step of the series "
        "that they are applied to, so that another tilt list alone costs little. The polynomial "
        "averages the noise of neighbouring views' gains: that, not the angle, is why it beats the "
        "others, and why it helps on the filter's own views too. A "
        "filter retrained on projections that have no noise has nothing to suppress and stays near "
        "the ramp: this explains the report's figure 4 without any fault of the data. Normalised "
        "profiles cannot show the scale; the second chart has it.",
        list(rows.values()),
        [
            ("A held-out specimen seen in the other tilt list: XY above XZ.", slices),
            ("Figures 5 to 8: gains of the untilted view.", filters),
            ("Figure 9: radial profiles, normalised as in the report and as they are.", charts),
        ],
    )


if __name__ == "__main__":
    main(run)
