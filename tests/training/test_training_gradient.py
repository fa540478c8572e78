"""Gradients, the two solvers against each other, and against the ramp."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tomofilt.errors import InputError
from tomofilt.io.bundle import save_bundle
from tomofilt.training import model as model_module
from tomofilt.training import objective
from tomofilt.training.cases import Case, simulated_cases
from tomofilt.training.closed_form import mean_psnr_db, solve
from tomofilt.training.gradient import Coefficients, Schedule, descend
from tomofilt.training.losses import Loss, total_variation
from tomofilt.training.model import FilteredBackProjection
from tomofilt.training.objective import backward
from tomofilt.training.parametrisation import DESCRIPTIONS, empty_filter
from tomofilt.training.supervised import beginning

SHAPE = (8, 12, 14)
TILTS = np.arange(-60.0, 61.0, 30.0)
LOSSES = {
    "mse": Loss(),
    "huber": Loss("huber", huber_delta=0.7),
    "tv of the volume": Loss(tv_volume=0.3),
    "isotropic tv of the volume": Loss(tv_volume=0.3, tv_kind="isotropic"),
    "tv of the filter": Loss(tv_filter=0.2),
    "tv of the projections": Loss("huber", tv_projections=0.2, tv_volume=0.1),
    "isotropic tv": Loss(tv_projections=0.2, tv_filter=0.1, tv_kind="isotropic"),
}


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """On small arrays, threads wait for each other longer than they work."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def cases():
    return simulated_cases(1, shape=SHAPE, tilt_deg=TILTS, snr=0.5)


def coefficients_like(empty, seed=0):
    rng = np.random.default_rng(seed)
    values = 1 + 0.4 * rng.standard_normal(empty.coefficients.shape)
    return torch.from_numpy(values).requires_grad_()


class Total(torch.autograd.Function):
    """The loss as an operator, so that gradcheck can look at it."""

    @staticmethod
    def forward(ctx, coefficients, model, loss):
        with torch.enable_grad():
            leaf = coefficients.detach().requires_grad_()
            value = backward(model, leaf, loss)
        ctx.save_for_backward(leaf.grad)
        return coefficients.new_tensor(value.total)

    @staticmethod
    def backward(ctx, gradient):
        return gradient * ctx.saved_tensors[0], None, None


@pytest.mark.parametrize("padding", ["reflect", "none"])
@pytest.mark.parametrize("name", DESCRIPTIONS)
def test_gradient_of_each_parametrisation(cases, name, padding):
    empty = empty_filter(name, cases.train[0], nodes=3, order=2)
    model = FilteredBackProjection(cases.train[0], empty, padding, torch.float64)
    start = coefficients_like(empty).detach().numpy()
    parts = Coefficients(start, factorised=name == "factorised", dtype=torch.float64)

    def volume(*values):
        return model(torch.func.functional_call(parts, dict(zip(names, values, strict=True)), ()))

    names = [each for each, _ in parts.named_parameters()]
    assert torch.autograd.gradcheck(volume, tuple(parts.parameters()), fast_mode=True)


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES.keys())
def test_gradient_of_each_loss(cases, loss):
    empty = empty_filter("polynomial", cases.train[0], nodes=4, order=1)
    model = FilteredBackProjection(cases.train[0], empty, dtype=torch.float64)
    assert torch.autograd.gradcheck(Total.apply, (coefficients_like(empty), model, loss))


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES.keys())
def test_slabs_do_not_change_anything(cases, loss, monkeypatch):
    empty = empty_filter("per-tilt", cases.train[0], nodes=4)
    model = FilteredBackProjection(cases.train[0], empty, dtype=torch.float64)
    found = []
    for rows in (128, 5):
        monkeypatch.setattr(objective, "_ROWS", rows)
        coefficients = coefficients_like(empty)
        value = backward(model, coefficients, loss)
        found.append((value.data, value.total, coefficients.grad))
    assert found[1][:2] == pytest.approx(found[0][:2], rel=1e-12)
    torch.testing.assert_close(found[1][2], found[0][2], rtol=1e-10, atol=1e-13)


def test_loss_is_that_of_the_whole_tomogram(cases):
    empty = empty_filter("radial", cases.train[0], nodes=4)
    model = FilteredBackProjection(cases.train[0], empty, dtype=torch.float64)
    coefficients = coefficients_like(empty)
    value = backward(model, coefficients, Loss(tv_volume=0.5))
    volume, truth = model(coefficients).detach(), model.truth
    difference = volume - volume.mean() - truth
    data = (difference.square().mean() / truth.var(correction=0)).item()
    assert value.data == pytest.approx(data, rel=1e-6)
    variation = sum(volume.diff(dim=axis).abs().sum() for axis in range(3)) / volume.numel()
    expected = data + 0.5 * variation.item() / model.truth_std
    assert value.total == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES.keys())
def test_losses_have_no_unit(cases, loss):
    case = cases.train[0]
    scaled = Case(case.series, 7 * case.truth, scale=7.0)
    empty = empty_filter("radial", case, nodes=4)
    values = [
        backward(FilteredBackProjection(each, empty), coefficients_like(empty).float(), loss).total
        for each in (case, scaled)
    ]
    assert values[1] == pytest.approx(values[0], rel=1e-4)


@pytest.mark.parametrize("kind", ["anisotropic", "isotropic"])
def test_total_variation_of_a_step(kind):
    block = torch.zeros(6, 6, 6)
    block[:, :, 3:] = 2.0
    assert total_variation(block, kind).item() == pytest.approx(2 * 36, rel=1e-3)


def test_sparse_interpolation_is_the_same(cases, monkeypatch):
    empty = empty_filter("full", cases.train[0], nodes=None)
    coefficients = coefficients_like(empty).float()
    volumes = []
    for limit in (1 << 25, 0):
        monkeypatch.setattr(model_module, "_DENSE", limit)
        volumes.append(FilteredBackProjection(cases.train[0], empty)(coefficients))
    assert torch.abs(volumes[0] - volumes[1]).max() < 1e-5 * torch.abs(volumes[0]).max()


def test_closed_form_is_where_adamw_goes(cases):
    case = cases.train[0]
    empty = empty_filter("radial", case, nodes=5)
    model = FilteredBackProjection(case, empty, dtype=torch.float64)
    solution = solve([model], [model], empty, empty, iterations=10, tolerance=1e-10)
    schedule = Schedule(steps=400, lr=0.1, patience=1000)
    start = Coefficients(np.ones(empty.coefficients.shape), dtype=torch.float64)
    descend([model], [model], start, Loss(), schedule)
    assert start.values() == pytest.approx(solution.coefficients, rel=1e-3, abs=1e-3)


def test_closed_form_solves_the_normal_equations(cases):
    case = cases.train[0]
    empty = empty_filter("per-tilt", case, nodes=3)
    model = FilteredBackProjection(case, empty, dtype=torch.float64)
    shared = empty_filter("radial", case, nodes=3)
    columns = []
    for one in np.eye(empty.coefficients.size):
        volume = model(torch.from_numpy(one.reshape(empty.coefficients.shape))).numpy()
        columns.append((volume - volume.mean()).ravel())
    matrix, truth = np.stack(columns, 1), model.truth.numpy().ravel()
    origin = np.repeat(np.linalg.lstsq(matrix @ np.tile(np.eye(3), (5, 1)), truth)[0][None], 5, 0)
    weight = 1 / (truth.size * model.truth_std**2)
    scale = 1 / np.sqrt(weight * model.energy.ravel())
    normal = weight * scale[:, None] * (matrix.T @ matrix) * scale
    right = weight * scale * (matrix.T @ (truth - matrix @ origin.ravel()))
    largest = np.linalg.eigvalsh(normal)[-1]
    solution = solve([model], [model], empty, shared, iterations=15, tolerance=1e-12)
    shrunk = normal + solution.shrinkage * largest * np.eye(len(right))
    expected = origin.ravel() + scale * np.linalg.solve(shrunk, right)
    assert solution.coefficients.ravel() == pytest.approx(expected, rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("solver", ["closed form", "adamw"])
def test_two_decibels_over_the_ramp(solver):
    cases = simulated_cases(2, shape=(24, 48, 48), snr=0.1, seed=5)
    name = "polynomial" if solver == "adamw" else "per-tilt"
    empty = empty_filter(name, cases.train[0], nodes=10, order=2)
    train, validation, test = (
        [FilteredBackProjection(case, empty) for case in chosen]
        for chosen in (cases.train, cases.validation, cases.test)
    )
    if solver == "adamw":
        start = np.zeros(empty.coefficients.shape)
        start[0] = 1.0
        state = descend(
            train, validation, Coefficients(start), Loss("huber"), Schedule(steps=60, lr=0.1)
        )
        found = state.best
    else:
        shared = empty_filter("radial", cases.train[0], nodes=10)
        found = solve(train, validation, empty, shared, iterations=12).coefficients
    case = cases.test[0]
    ramp = case.psnr_db(case.tomogram("ramp"))
    assert mean_psnr_db(test, found) > ramp + 2


def test_per_tilt_needs_the_same_tilts(cases):
    empty = empty_filter("per-tilt", cases.train[0])
    fewer = simulated_cases(1, shape=SHAPE, tilt_deg=TILTS[1:], snr=0.5).train[0]
    with pytest.raises(InputError, match="4 views, and coefficients per tilt are trained for 5"):
        FilteredBackProjection(fewer, empty)
    other = simulated_cases(1, shape=SHAPE, tilt_deg=TILTS + 7, snr=0.5).train[0]
    with pytest.raises(InputError, match="differ from the first series' by up to 7"):
        FilteredBackProjection(other, empty)
    reversed_views = replace(
        cases.train[0].series,
        geometry=cases.train[0].series.geometry.select(np.arange(5)[::-1]),
        views=cases.train[0].series.views[::-1],
        tilt_deg=TILTS[::-1],
    )
    same = FilteredBackProjection(Case(reversed_views, cases.train[0].truth), empty)
    coefficients = coefficients_like(empty).float()
    volume = FilteredBackProjection(cases.train[0], empty)(coefficients)
    torch.testing.assert_close(same(coefficients), volume, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("frozen", ["none", "tilt", "camera"])
def test_factors_that_are_frozen_stay(cases, frozen):
    empty = empty_filter("factorised", cases.train[0], nodes=3)
    model = FilteredBackProjection(cases.train[0], empty)
    start = Coefficients(np.ones(empty.coefficients.shape), factorised=True, frozen=frozen)
    descend([model], [model], start, Loss(), Schedule(steps=3, lr=0.1))
    tilt_moved = bool(torch.any(start.tilt != 1))
    camera_moved = bool(torch.any(start.camera != 1))
    assert (tilt_moved, camera_moved) == (frozen != "tilt", frozen != "camera")
    assert start.values() == pytest.approx(np.multiply.outer(*map(as_array, parts(start))))


def parts(coefficients):
    return coefficients.tilt, coefficients.camera


def as_array(tensor):
    return tensor.detach().numpy()


def test_descent_begins_where_it_is_told_to(cases, tmp_path):
    case = cases.train[0]
    empty = empty_filter("grid", case, nodes=None)
    context = case.problem.filter_context
    found = {
        init: beginning(init, empty, context)[0]
        for init in ("ramp", "radial-ramp", "zero", "cosine")
    }
    across = np.linspace(0, 1, found["ramp"].shape[0])[1:, None]
    k_y = empty.nodes.along_per_angst / empty.nodes.highest_k
    expected = {
        "ramp": across + 0 * k_y,
        "radial-ramp": np.hypot(across, k_y),
        "zero": 0 * across * k_y,
        "cosine": across * np.cos(np.pi / 2 * across) + 0 * k_y,
    }
    for init, values in expected.items():
        # zero frequency has a value of its own, and the first node makes up for it
        np.testing.assert_allclose(found[init][1:], values, atol=1e-6)
    path = tmp_path / "cosine.tomofilt.safetensors"
    coefficients = found["cosine"][None]
    save_bundle(path, replace(empty, coefficients=coefficients).to_bundle({}))
    np.testing.assert_allclose(beginning(str(path), empty, context), coefficients, atol=1e-6)
