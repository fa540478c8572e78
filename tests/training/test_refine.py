"""Gains learned from a series itself: a small quadratic problem, and when its answer is kept."""

from dataclasses import replace

import numpy as np
import pytest
from tomofilt.reconstruction.plan import Settings, make_plan

from tomofilt.errors import InputError
from tomofilt.evaluate.rings import BANDS
from tomofilt.filters.learned import read_filter
from tomofilt.filters.refined import REFINED_BASE, RefinedFilter
from tomofilt.filters.wiener import WienerExact
from tomofilt.io.bundle import load_bundle, save_bundle
from tomofilt.reconstruction.measure import measured
from tomofilt.series.geometry import LocalGeometry
from tomofilt.series.projects import Destination
from tomofilt.simulate import simulated_series
from tomofilt.training import prediction as module
from tomofilt.training.prediction import NODES, NormalEquations, normal_equations, solve
from tomofilt.training.refine import refine


@pytest.fixture(scope="module")
def made():
    return simulated_series(3, shape=(20, 40, 80), snr=0.3, tilt_deg=np.arange(-60, 61, 6.0))


@pytest.fixture(scope="module")
def plan(made, tmp_path_factory):
    where = Destination(tmp_path_factory.mktemp("refine") / "TS.mrc")
    settings = Settings(filter=REFINED_BASE, device="cpu", threads=2)
    return measured(make_plan(made.tilt_series(), where, settings))


def problem(rng, views=6, values=40, nodes=5):
    """A linear prediction of noisy values, and its normal equations."""
    design = rng.normal(size=(views, values, nodes)) * np.geomspace(10, 0.1, nodes)
    wanted = design @ rng.uniform(0.5, 1.5, nodes) + rng.normal(size=(views, values))
    equations = NormalEquations(
        np.arange(views),
        np.einsum("vna,vnb->vab", design, design),
        np.einsum("vna,vn->va", design, wanted),
        np.einsum("vn,vn->v", wanted, wanted),
    )
    return design, wanted, equations


@pytest.mark.parametrize("shrinkage", [0.0, 0.3, 10.0])
def test_solution_is_the_least_squares_one(shrinkage):
    design, wanted, equations = problem(np.random.default_rng(0))
    rows, right = design.reshape(-1, 5), wanted.ravel()
    # shrinkage is a measurement of 1 for each gain
    weight = np.sqrt(shrinkage * np.sum(rows**2, axis=0))
    rows, right = np.vstack([rows, np.diag(weight)]), np.concatenate([right, weight])
    expected = np.linalg.lstsq(rows, right, rcond=None)[0]
    np.testing.assert_allclose(solve(equations, shrinkage), expected, rtol=1e-4)
    direct = np.sum((wanted - design @ expected) ** 2, axis=1)
    np.testing.assert_allclose(equations.loss(expected), direct, rtol=1e-8)


def test_infinite_shrinkage_leaves_the_filter():
    _, _, equations = problem(np.random.default_rng(1))
    np.testing.assert_array_equal(solve(equations, np.inf), 1.0)
    np.testing.assert_allclose(solve(equations, 1e9), 1.0, atol=1e-6)


def test_a_gain_without_energy_stays():
    _, _, equations = problem(np.random.default_rng(2))
    equations.gram[:, 2] = equations.gram[:, :, 2] = equations.right[:, 2] = 0
    assert solve(equations, 0.0)[2] == pytest.approx(1.0)


def test_the_quadratic_form_is_what_predicting_with_those_gains_costs(plan):
    """Gains put into the filter, one prediction, and its squared difference: no linearity used."""
    equations = normal_equations(plan, "frames")
    gains = np.random.default_rng(5).uniform(0.5, 1.5, len(NODES))
    views = len(plan.series.views)
    np.testing.assert_array_equal(equations.views, np.tile(np.arange(views), 2))
    part, first = module._middle(plan)
    assert (part.shape, first) == ((40, 80), 0)
    every = np.arange(views)
    predictor = module._Predictor(plan, part, every, every)
    found = plan.filter.measurement
    half = replace(found, snr=replace(found.snr, log_spectrum=found.snr.log_spectrum - np.log(2)))
    chosen = replace(module.refined_filter(plan, gains), measurement=half)
    even, odd = (source.stack - ends(source.stack) for source in plan.series.halves)
    predicted = predictor(even, chosen)
    inside = [view for view, columns in enumerate(predictor.columns) if columns is not None]
    assert len(inside) >= 13
    for view in inside:
        columns = predictor.columns[view]
        rest = module._counted(odd[view][:, columns]) - module._counted(
            predicted[view][:, columns], projected=True
        )
        expected = np.sum(np.abs(rest) ** 2)
        assert equations.loss(gains)[view] == pytest.approx(expected, rel=1e-3)


def ends(stack):
    """Mean of the first and the last twentieth of each image, which is its background."""
    width = stack.shape[2] // 20
    sides = [stack[:, :, :width].mean(axis=(1, 2)), stack[:, :, -width:].mean(axis=(1, 2))]
    return np.mean(sides, axis=0)[:, None, None]


def test_the_measured_filter_needs_no_gains_where_there_is_signal(plan):
    """Halves predict each other best with gains near 1, images themselves with their noise."""
    for halves in ("frames", "tilts"):
        equations = normal_equations(plan, halves)
        energy = np.diag(equations.gram.sum(axis=0))
        strong = energy > 0.2 * energy.max()
        assert np.sum(strong) >= 4
        assert np.abs(solve(equations, 0.1)[strong] - 1).max() < 0.2
    alone = solve(normal_equations(plan, "none"), 0.0)
    assert alone[-1] > 5
    assert alone[-1] > 3 * solve(normal_equations(plan, "frames"), 0.0)[-1]


def test_pure_noise_teaches_nothing():
    made = simulated_series(3, shape=(20, 40, 80), tilt_deg=np.arange(-60, 61, 6.0))
    rng = np.random.default_rng(8)
    noise = replace(
        made, halves=rng.normal(size=made.halves.shape).astype(np.float32), phantom=None
    )
    lines = []
    result = refine(noise.tilt_series(), Settings(threads=2), note=lines.append)
    assert not result.kept
    np.testing.assert_array_equal(result.filter.factors, 1.0)
    assert "nothing to learn from" in lines[-1]
    assert result.metadata(noise.tilt_series())["training"]["kept"] is False


def test_gains_are_kept_only_if_left_out_views_say_so(made, monkeypatch):
    """A filter that is wrong by a known factor: the gains mend it, and are kept for that."""
    lines = []
    series = made.tilt_series()
    result = refine(series, Settings(threads=2), note=lines.append)
    assert result.halves == "frames"
    assert result.kept == ("it is kept" in lines[-1])
    assert result.kept == (
        result.gain[-1] > result.error[-1] and np.all(result.gain >= -2 * result.error)
    )
    assert np.allclose(result.filter.factors, 1.0) is not result.kept
    assert f"{result.gain[-1]:+.4f}" in lines[-2]
    # a base that lets far too much noise through
    honest = WienerExact.gains

    def noisy(self, k_across, k_along, context):
        k = np.hypot(k_across, k_along) * context.pixel_angst
        return honest(self, k_across, k_along, context) * (1 + (k / 0.05) ** 3)

    monkeypatch.setattr(WienerExact, "gains", noisy)
    result = refine(series, Settings(threads=2), note=lines.append)
    assert result.kept
    assert result.gain[-1] > 0.03
    assert "it is kept" in lines[-1]
    assert result.learned[-3] < 0.3 * result.learned[3]
    assert result.filter.factors == pytest.approx(result.learned)
    assert result.filter.measurement is None


def test_without_halves_it_is_kept_and_said(made):
    lines = []
    result = refine(made.tilt_series(), Settings(threads=2), "none", lines.append)
    assert result.kept
    assert result.gain[-1] < 0
    assert "noise is what is predicted best" in lines[-1]
    assert result.filter.factors == pytest.approx(result.learned)
    said = result.metadata(made.tilt_series())
    assert said["training"]["method"] == "minimum residual"
    assert len(said["metrics"]["left_out_correlation_over_base"]["gain"]) == len(BANDS)


def test_refuses(made):
    series = made.tilt_series()
    with pytest.raises(InputError, match="--halves tilts"):
        refine(replace(series, halves=None), Settings(), "frames")
    maps = series.geometry.image_from_volume
    local = LocalGeometry(np.zeros(1), np.zeros(1), maps[:, None, None])
    with pytest.raises(InputError, match="aligned locally"):
        refine(replace(series, geometry=replace(series.geometry, local=local)), Settings())


# ------------------------------------------------------------------------- the filter, bundles


def filter_of(**changes):
    given = {"k_per_angst": (0.001, 0.01, 0.04), "factors": (1.2, 1.0, 0.5), "name": "TS"}
    return RefinedFilter("match", **(given | changes))


def test_bundle_round_trip_and_use(tmp_path, plan):
    path = tmp_path / "mine.tomofilt.safetensors"
    save_bundle(path, filter_of().to_bundle({"licence": "CC0-1.0"}))
    assert load_bundle(path).metadata["base"] == REFINED_BASE
    found = read_filter(path)
    assert isinstance(found, RefinedFilter)
    assert (found.k_per_angst, found.factors) == ((0.001, 0.01, 0.04), (1.2, 1.0, 0.5))
    assert found.spec == "learned:mine"
    assert repr(found) == repr(filter_of())
    # on the series at hand: measured, then multiplied
    where = Destination(tmp_path / "TS.mrc")
    used = measured(make_plan(plan.series, where, Settings(model=path, device="cpu", threads=2)))
    k = np.geomspace(1e-4, 0.06, 30)
    gains = used.filter.gains(k, np.zeros(1), used.filter_context)
    base = plan.filter.gains(k, np.zeros(1), plan.filter_context)
    expected = np.interp(k, found.k_per_angst, found.factors)
    np.testing.assert_allclose(gains, base * expected, rtol=1e-9)
    assert used.filter.facts()["factors"] == [1.2, 1.0, 0.5]
    assert len(used.filter.facts()["sha256"]) == 64
    assert used.filter.facts()["metadata"]["base"] == "wiener-exact:match"
    assert used.filter.facts()["snr"] == plan.filter.facts()["snr"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"factors": (1.0,)}, "3 nodes and 1 factors"),
        ({"k_per_angst": (0.0, 0.01, 0.02)}, "above zero"),
        ({"k_per_angst": (0.01, 0.01, 0.02)}, "ascend"),
        ({"factors": (1.0, np.nan, 1.0)}, "no number"),
        ({"preset": "view"}, "another preset"),
    ],
)
def test_what_does_not_go_together(changes, words):
    with pytest.raises(InputError, match=words):
        replace(filter_of(), **changes)


def test_other_bundles_are_refused():
    bundle = filter_of().to_bundle({})
    with pytest.raises(InputError, match="bundle x: it does not hold gains"):
        RefinedFilter.from_bundle(replace(bundle, metadata={"base": "ramp"}), "x")
    with pytest.raises(InputError, match="bundle x holds factors"):
        RefinedFilter.from_bundle(replace(bundle, tensors={"factors": np.ones(3)}), "x")
    tensors = dict(bundle.tensors) | {"factors": np.ones(2)}
    with pytest.raises(InputError, match="bundle x: 3 nodes"):
        RefinedFilter.from_bundle(replace(bundle, tensors=tensors), "x")
