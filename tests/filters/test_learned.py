"""Learned filters: their parts, what is refused, and analytic filters in their nodes."""

from dataclasses import replace

import numpy as np
import pytest

from tomofilt.errors import InputError
from tomofilt.filters import FilterContext, parse
from tomofilt.filters.learned import GridNodes, LearnedFilter, RadialNodes, fit, read_filter
from tomofilt.filters.table import GainTable
from tomofilt.io.bundle import SUFFIX, Bundle, save_bundle

TILTS = np.arange(-60.0, 61, 3)
CONTEXT = FilterContext(TILTS, np.ones(41), 10.0, 5.0, 1500.0, 128, 192)
K = np.fft.rfftfreq(192, 10.0)
K[0] = 2 / np.pi**2 * K[1]
ALONG = np.fft.fftfreq(192, 10.0)[:, None]
GRID = GridNodes(np.fft.rfftfreq(192, 10.0), np.linspace(-0.05, 0.05, 193))
LOG = RadialNodes(np.geomspace(1e-3, 0.05 * 2**0.5, 14))


def like(base="ramp", angles="shared", nodes=LOG, tilts=TILTS, order=0):
    terms = {"shared": 1, "per-tilt": len(tilts), "polynomial": order + 1}[angles]
    return LearnedFilter(base, angles, nodes, tilts, np.ones((terms, *nodes.shape)), order)


def test_ones_are_the_base():
    np.testing.assert_allclose(
        like().gains(K, ALONG, CONTEXT), parse("ramp").gains(K, ALONG, CONTEXT), rtol=1e-12
    )
    radial = like("radial-ramp").gains(K, ALONG, CONTEXT)
    ramp = parse("ramp").gains(np.hypot(K, ALONG).clip(0, 0.05), 0 * ALONG, CONTEXT)
    inside = np.hypot(K, ALONG) <= 0.05
    np.testing.assert_allclose(radial[:, inside], ramp[:, inside], rtol=1e-12)
    flat = like("flat").gains(K, ALONG, CONTEXT)
    step = np.radians(3) * 5.0 * LOG.highest_k
    np.testing.assert_allclose(flat, np.full(flat.shape, step), rtol=1e-12)


def test_the_step_comes_from_the_series():
    every_second = replace(CONTEXT, tilt_deg=TILTS[::2], scale=np.ones(21))
    for angles in ("shared", "per-tilt", "polynomial"):
        chosen = like(angles=angles)
        all_views = chosen.gains(K, ALONG, CONTEXT)
        np.testing.assert_allclose(chosen.gains(K, ALONG, every_second), 2 * all_views[::2])


@pytest.mark.parametrize("base", ["flat", "ramp", "radial-ramp"])
@pytest.mark.parametrize(
    ("angles", "spec"),
    [("shared", spec) for spec in ("ramp", "cosine", "hann:0.3", "gaussian:40A")]
    + [("polynomial", "cosine"), ("per-tilt", "exact"), ("per-tilt", "none")],
)
def test_any_filter_in_a_grid_of_the_trainings_frequencies(spec, base, angles):
    chosen = parse(spec)
    found = fit(chosen, like(base, angles, GRID, order=4), CONTEXT)
    expected = chosen.gains(K, ALONG, CONTEXT)
    error = np.abs(found.gains(K, ALONG, CONTEXT) - expected).max() / np.abs(expected).max()
    assert error < 1e-9


def radial_error(spec, count):
    nodes = RadialNodes(np.geomspace(1e-3, 0.05 * 2**0.5, count))
    expected = parse(spec).gains(K, ALONG, CONTEXT)
    found = fit(parse(spec), like(nodes=nodes), CONTEXT).gains(K, ALONG, CONTEXT)
    return np.abs(found - expected).max() / expected.max()


def test_isotropic_windows_in_radial_nodes():
    assert radial_error("ramp", 14) < 1e-12
    # chords between nodes: the square of their distance
    assert radial_error("gaussian:40A", 14) < 0.07
    assert radial_error("gaussian:40A", 40) < radial_error("gaussian:40A", 14) / 8


def test_another_learned_filter_and_zero():
    first = fit(parse("cosine"), like(angles="per-tilt", nodes=GRID), CONTEXT)
    second = fit(first, like("flat", "shared", GRID), CONTEXT)
    np.testing.assert_allclose(
        second.gains(K, ALONG, CONTEXT), first.gains(K, ALONG, CONTEXT), rtol=1e-7, atol=1e-7
    )
    zero = replace(like(), coefficients=np.zeros((1, 14)))
    assert not fit(zero, like("flat"), CONTEXT).coefficients.any()


RNG = np.random.default_rng(4)
NOISE = RNG.uniform(0, 1, (6, 97, 193))
DENSE = RadialNodes(np.linspace(0, 0.05, 64))


@pytest.mark.parametrize(
    ("base", "nodes", "coefficients", "error"),
    [
        ("flat", GRID, NOISE, 1e-6),
        ("ramp", GRID, NOISE, 3e-3),
        ("ramp", LOG, RNG.uniform(0, 1, (6, 14)), 1e-6),
        ("ramp", DENSE, RNG.uniform(0, 1, (6, 64)), 1e-6),
        ("radial-ramp", DENSE, RNG.uniform(0, 1, (6, 64)), 1e-3),
        ("flat", RadialNodes(np.array([0.03])), RNG.uniform(0, 1, (6, 1)), 1e-6),
    ],
)
@pytest.mark.parametrize("turn_deg", [0.0, 85.3])
def test_tables_hold_what_was_learned(base, nodes, coefficients, error, turn_deg):
    """Of the largest gain, at the frequencies of images that need not stand on the tilt axis."""
    context = replace(CONTEXT, tilt_deg=TILTS[::8], scale=np.ones(6))
    chosen = LearnedFilter(base, "per-tilt", nodes, TILTS[::8], coefficients)
    lowest, highest = float(K[0]), float(np.hypot(0.05, 0.05))
    table = GainTable(chosen, context, lowest, highest)
    k_x, k_y = np.fft.rfftfreq(192, 10.0), np.fft.fftfreq(160, 10.0)
    angle = np.radians(turn_deg)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    spectrum = np.ones((160, 97), np.complex64)
    table.multiply(4, spectrum, k_y, k_x, turn)
    across = turn[0, 0] * k_x + turn[0, 1] * k_y[:, None]
    along = turn[1, 0] * k_x + turn[1, 1] * k_y[:, None]
    along = np.where(across < 0, -along, along)
    expected = chosen.gains(np.maximum(np.abs(across), lowest), along, context)[4]
    assert np.abs(spectrum.real - expected).max() < error * np.abs(expected).max()


def test_views_find_their_tilt():
    chosen = replace(like(angles="per-tilt"), coefficients=np.outer(np.arange(41), np.ones(14)))
    np.testing.assert_array_equal(chosen.angle_basis(TILTS), np.eye(41))
    some = TILTS[[40, 3, 7]] + 0.03
    np.testing.assert_array_equal(chosen.angle_basis(some), np.eye(41)[[40, 3, 7]])
    with pytest.raises(InputError, match=r"a view at -58\.50 deg is none of them: transfer"):
        chosen.angle_basis(TILTS[:-1] + 1.5)


def test_two_views_at_one_tilt_keep_their_own():
    tilts = np.array([-10.0, 0.0, 0.0, 10.0])
    np.testing.assert_array_equal(
        like(angles="per-tilt", tilts=tilts).angle_basis(tilts), np.eye(4)
    )


def test_polynomials_stay_as_they_are_beyond_the_training():
    basis = like(angles="polynomial", order=3).angle_basis
    np.testing.assert_array_equal(basis(np.array([-75.0, 66.0])), basis(np.array([-60.0, 60.0])))


def test_the_representation_tells_contents_and_not_names():
    chosen = like()
    assert repr(replace(chosen, name="other", notes=("note",))) == repr(chosen)
    changed = chosen.coefficients.copy()
    changed[0, 3] += 1e-6
    assert repr(replace(chosen, coefficients=changed)) != repr(chosen)
    assert repr(replace(chosen, base="flat")) != repr(chosen)
    assert repr(replace(chosen, tilt_deg=TILTS + 1)) != repr(chosen)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"base": "cone"}, "base 'cone'"),
        ({"angles": "spline"}, "angles 'spline'"),
        ({"order": 1.5}, "order 1.5"),
        ({"order": 99}, "order 99"),
        ({"tilt_deg": np.array([200.0])}, "within -90 to 90"),
        ({"tilt_deg": np.zeros(0)}, "tilts of the training"),
        ({"coefficients": np.ones((1, 13))}, r"shape \(1, 13\).*need \(1, 14\)"),
        ({"angles": "per-tilt"}, r"shape \(1, 14\).*need \(41, 14\)"),
    ],
)
def test_filters_that_make_no_sense(change, says):
    with pytest.raises(InputError, match=says):
        replace(like(), **change)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: RadialNodes(np.array([0.1, 0.1])), "have to ascend"),
        (lambda: RadialNodes(np.array([-0.1, 0.1])), "one or more frequencies"),
        (lambda: RadialNodes(np.zeros(0)), "one or more frequencies"),
        (lambda: RadialNodes(np.zeros(1)), "one or more frequencies"),
        (lambda: GridNodes(np.array([0.1, 0.2]), np.array([-1.0, 1.0])), "has to be at zero"),
        (lambda: GridNodes(np.array([0.0, 0.2]), np.array([-1.0, 2.0])), "symmetric"),
    ],
)
def test_nodes_that_make_no_sense(make, says):
    with pytest.raises(InputError, match=says):
        make()


def damaged(**change):
    good = like().to_bundle({})
    tensors, metadata = dict(good.tensors), dict(good.metadata)
    for name, value in change.items():
        place = metadata["parametrisation"] if name in ("base", "order", "angles") else tensors
        if value is None:
            del place[name]
        else:
            place[name] = value
    return Bundle(good.kind, tensors, metadata)


@pytest.mark.parametrize(
    ("bundle", "says"),
    [
        (damaged(base=["ramp"]), "base"),
        (damaged(base=None), "base None"),
        (damaged(order=True), "order True"),
        (damaged(angles={"a": 1}), "angles"),
        (damaged(coefficients=np.ones(3)), r"shape \(3,\)"),
        (damaged(k_per_angst=np.ones((2, 2))), "k_per_angst"),
        (damaged(k_per_angst=None), "holds coefficients, tilt_deg: a filter is"),
        (damaged(extra=np.ones(2)), "extra"),
        (Bundle("filter", {"coefficients": np.ones(1)}, {}), "what filter it is"),
        (Bundle("filter", {"coefficients": np.ones(1)}, {"parametrisation": 3}), "what filter"),
    ],
)
def test_bundles_whose_words_are_wrong(tmp_path, bundle, says):
    path = tmp_path / f"wrong{SUFFIX}"
    save_bundle(path, bundle)
    with pytest.raises(InputError, match=f"bundle wrong.*{says}"):
        read_filter(path)


def test_a_bundle_is_read_with_its_name_and_hash(tmp_path):
    path = tmp_path / f"ribosomes{SUFFIX}"
    save_bundle(path, like().to_bundle({"licence": "CC0-1.0"}))
    found = read_filter(path)
    assert found.spec == "learned:ribosomes"
    facts = found.facts()
    assert facts["sha256"] == found.bundle.sha256 != ""
    assert facts["metadata"]["licence"] == "CC0-1.0"
