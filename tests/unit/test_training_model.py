"""What is trained is what a reconstruction applies."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tomofilt.evaluate.left_out import make_blocks
from tomofilt.training.cases import simulated_cases
from tomofilt.training.model import FilteredBackProjection
from tomofilt.training.objective import reconstruct
from tomofilt.training.parametrisation import DESCRIPTIONS, empty_filter

SHAPE = (16, 28, 32)
TILTS = np.arange(-60.0, 61.0, 15.0)


@pytest.fixture(scope="module")
def cases():
    return simulated_cases(2, shape=SHAPE, tilt_deg=TILTS, snr=0.3)


@pytest.mark.parametrize("name", DESCRIPTIONS)
def test_training_and_reconstruction_agree(cases, name):
    case = cases.train[0]
    empty = empty_filter(name, case, nodes=6, order=3)
    rng = np.random.default_rng(3)
    coefficients = 1 + 0.3 * rng.standard_normal(empty.coefficients.shape)
    model = FilteredBackProjection(case, empty)
    trained = reconstruct(model, torch.from_numpy(coefficients).float())
    plan = replace(case.plan, filter=replace(empty, coefficients=coefficients))
    applied = np.empty_like(trained)
    for y, z, block in make_blocks(plan):
        applied[z : z + block.shape[0], y : y + block.shape[1]] = block
    assert np.abs(trained - applied).max() < 2e-4 * np.abs(applied).max()
