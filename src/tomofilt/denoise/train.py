"""Heads to keep: trained on a series itself, or on one of which the truth is known."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomofilt.denoise.central import CentralRows
from tomofilt.denoise.decision import decide
from tomofilt.denoise.examples import Tomogram, chosen_voxels, examples_from_truth
from tomofilt.denoise.fit import fit_head
from tomofilt.denoise.head import Head
from tomofilt.errors import InputError
from tomofilt.reconstruction.images import SeriesImages
from tomofilt.reconstruction.problem import Problem

__all__ = ["train_on_series", "train_on_truth"]

log = logging.getLogger(__name__)
Float32 = NDArray[np.float32]


def train_on_series(
    problem: Problem, images: SeriesImages, seed: int = 0
) -> tuple[Head, dict[str, Any]]:
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
        If the head does not predict left-out views better than the linear tomogram.
    """
    decision = decide(problem, images, seed=seed)
    if decision.head is None:
        raise InputError(f"no network can be trained on {problem.series.name}: {decision.reason}")
    return decision.head, {"training": dict(decision.facts), "series": problem.series.name}


def train_on_truth(
    problem: Problem, images: SeriesImages, truth: Float32, seed: int = 0
) -> tuple[Head, dict[str, Any]]:
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
    central = CentralRows(problem, images.aligned(), everything)
    voxels = chosen_voxels(central.problem, seed)
    first = round(problem.grid.centre[1] - central.problem.grid.centre[1])
    examples = examples_from_truth(Tomogram(*central.volume(everything)), truth, voxels, first)
    fit = fit_head(examples, seed)
    log.info(
        f"  {problem.series.name}: error on rows that were held out {fit.loss:.3f} of the truth's "
        f"variance, {fit.linear_loss:.3f} without the network"
    )
    return fit.head, {
        "training": {
            "from": "truth",
            "seed": seed,
            "held_out_loss": fit.loss,
            "held_out_loss_of_linear": fit.linear_loss,
        },
        "series": problem.series.name,
    }
