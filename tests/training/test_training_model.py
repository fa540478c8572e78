"""What is trained is what a reconstruction applies."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from runs import tomogram_of

from tomofilt.series.ctf import Ctf
from tomofilt.training.cases import Case, simulated_cases
from tomofilt.training.model import FilteredBackProjection
from tomofilt.training.objective import reconstruct
from tomofilt.training.parametrisation import DESCRIPTIONS, empty_filter

SHAPE = (16, 28, 32)
TILTS = np.arange(-60.0, 61.0, 15.0)


@pytest.fixture(scope="module")
def cases():
    return simulated_cases(2, shape=SHAPE, tilt_deg=TILTS, snr=0.3)


@pytest.fixture(scope="module")
def with_ctf(cases):
    """Images whose signs a reconstruction flips: 8 um of underfocus at 10 A pixels."""
    case = cases.train[0]
    count = len(TILTS)
    defocus, nothing = np.full(count, 8e4), np.zeros(count)
    ctf = Ctf(defocus, defocus, nothing, nothing, 300.0, 2.7, 0.07)
    return Case(replace(case.series, ctf=ctf), case.truth)


def test_training_sees_images_as_they_are_corrected(cases, with_ctf):
    _assert_agreement(with_ctf, "radial")
    assert np.abs(with_ctf.images - cases.train[0].images / cases.train[0].scale).max() > 0.1


@pytest.mark.parametrize("name", DESCRIPTIONS)
def test_training_and_reconstruction_agree(cases, name):
    _assert_agreement(cases.train[0], name)


def _assert_agreement(case, name):
    empty = empty_filter(name, case, nodes=6, order=3)
    rng = np.random.default_rng(3)
    coefficients = 1 + 0.3 * rng.standard_normal(empty.coefficients.shape)
    model = FilteredBackProjection(case, empty)
    trained = reconstruct(model, torch.from_numpy(coefficients).float())
    learned = replace(empty, coefficients=coefficients)
    applied = tomogram_of(case.problem.with_filter(learned))
    assert np.abs(trained - applied).max() < 2e-4 * np.abs(applied).max()
