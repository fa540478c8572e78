"""Heads to keep: trained on a series itself, or on one of which the truth is known."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomofilt.denoise.fit import fit_head
from tomofilt.denoise.head import Taught
from tomofilt.denoise.kernel import bands_at
from tomofilt.denoise.middle import Middle
from tomofilt.denoise.supervision import learnable_voxels, lesson_from_truth
from tomofilt.denoise.verdict import judge
from tomofilt.errors import InputError
from tomofilt.reconstruction.images import SeriesImages
from tomofilt.reconstruction.problem import Problem

__all__ = ["teach", "teach_from_truth"]

log = logging.getLogger(__name__)
Float32 = NDArray[np.float32]


def teach(problem: Problem, images: SeriesImages, seed: int = 0) -> tuple[Taught, dict[str, Any]]:
    """A head trained on a series itself, with what to say about it.

    Parameters
    ----------
    problem : Problem
        With a filter that has been measured.
    images : SeriesImages
        Of its series.
    seed : int

    Raises
    ------
    InputError
        If no head stands the trial.
    """
    verdict = judge(problem, images, seed=seed)
    if verdict.taught is None:
        raise InputError(f"{problem.series.name} teaches no head: {verdict.reason}")
    return verdict.taught, {"training": dict(verdict.facts), "series": problem.series.name}


def teach_from_truth(
    problem: Problem, images: SeriesImages, truth: Float32, seed: int = 0
) -> tuple[Taught, dict[str, Any]]:
    """A head trained on a series of which the specimen is known.

    Parameters
    ----------
    problem : Problem
        With a filter that has been measured.
    images : SeriesImages
        Of its series.
    truth : (z, y, x)
        Densities on the tomogram's voxels, in the tomogram's contrast and scale.
    seed : int

    Raises
    ------
    InputError
        If the truth has other voxels.
    """
    if truth.shape != problem.grid.shape:
        raise InputError(
            f"the truth has {' x '.join(map(str, truth.shape[::-1]))} voxels (x, y, z), and the "
            f"tomogram of {problem.series.name} {' x '.join(map(str, problem.grid.shape[::-1]))}"
        )
    everything = np.arange(len(problem.series.views))
    middle = Middle(problem, images.aligned(), everything)
    voxels = learnable_voxels(middle.problem, seed)
    coarse, tomogram = middle.volume(everything)
    bands = np.ascontiguousarray(bands_at(coarse, tomogram, 0, 0, voxels).T)
    first = round(problem.grid.centre[1] - middle.problem.grid.centre[1])
    known = truth[voxels[:, 0], voxels[:, 1] + first, voxels[:, 2]]
    examples = lesson_from_truth(bands, known, voxels[:, 1])
    fit = fit_head(examples, seed, threads=problem.threads)
    log.info(
        f"  {problem.series.name}: error on rows that were held out {fit.loss:.3f} of the truth's "
        f"variance, {fit.linear_loss:.3f} without the network"
    )
    return Taught(fit.head, examples.deviation), {
        "training": {
            "from": "truth",
            "seed": seed,
            "held_out_loss": fit.loss,
            "held_out_loss_of_linear": fit.linear_loss,
        },
        "series": problem.series.name,
    }
