"""Gains of a tomogram's filter in its record are those that made it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from runs import problem_of

from tomofilt.evaluate.tomograms import Tomogram
from tomofilt.filters.learned import LearnedFilter, RadialNodes, read_filter
from tomofilt.filters.protocol import FilterContext
from tomofilt.io.bundle import SUFFIX, save_bundle
from tomofilt.jobs.one import reconstruct
from tomofilt.reconstruction.settings import Settings
from tomofilt.report.gains import gains_of
from tomofilt.series.projects import Destination
from tomofilt.simulate import simulated_series
from tomofilt_imod.tilt_filter import ImodFilter
from tomofilt_imod.tilt_program import TiltProgram


@pytest.fixture(scope="module")
def made():
    return simulated_series(seed=3, shape=(32, 64, 80), snr=0.5)


NATIVE = TiltProgram(ImodFilter(fake_sirt_iterations=12, output_mul=3.0), cosine=(0, 0))


@pytest.mark.parametrize(
    "spec", ["ramp", "hann:0.3", "gaussian:60A", "exact", "imod", "wiener-exact:match"]
)
def test_gains_from_the_record(made, tmp_path, spec):
    series = replace(made.tilt_series(), native_filter=NATIVE)
    destination = Destination(tmp_path / "rec.mrc")
    reconstruct(series, destination, Settings(filter=spec, preview=False))
    found = gains_of(Tomogram(destination.volume))
    np.testing.assert_allclose(found.tilt_deg, made.scheme.tilt_deg, atol=1e-3)
    assert found.gains.shape == (41, 129)
    assert np.isfinite(found.gains).all()
    problem = problem_of(series, filter=spec)
    context = FilterContext(
        problem.frame.slices.tilt_deg,
        problem.frame.slices.scale,
        10.0,
        10.0,
        320.0,
        80,
        problem.row_filter.padded_px,
    )
    expected = problem.filter.gains(found.cycles_per_px / 10, np.zeros(1), context)
    np.testing.assert_allclose(found.gains, expected, rtol=5e-3)


def test_gains_of_a_learned_filter_outlive_its_bundle(made, tmp_path):
    tilts = made.scheme.tilt_deg
    coefficients = np.linspace(0, 1, 41 * 6).reshape(41, 6)
    learned = LearnedFilter(
        "ramp", "per-tilt", RadialNodes(np.geomspace(1e-3, 0.07, 6)), tilts, coefficients
    )
    bundle = tmp_path / f"all{SUFFIX}"
    save_bundle(bundle, learned.to_bundle({}))
    plain = Destination(tmp_path / "rec.mrc")
    chosen = Settings(model=bundle, preview=False)
    reconstruct(made.tilt_series(), plain, chosen)
    sha256 = read_filter(bundle).bundle.sha256
    bundle.unlink()
    found = gains_of(Tomogram(plain.volume))
    record = Tomogram(plain.volume).record
    assert record.filter.spec == "learned:all"
    assert record.filter.measured["sha256"] == sha256
    context = FilterContext(tilts, np.ones(41), 10.0, 10.0, 320.0, 80, record.filter.padded_px)
    expected = learned.gains(found.cycles_per_px / 10, np.zeros(1), context)
    np.testing.assert_allclose(found.gains, expected, rtol=1e-4, atol=1e-6)


def test_other_programs_volumes_have_no_gains(tmp_path):
    path = Path(__file__).parents[2] / "examples" / "mycoplasma" / "00254.mrc"
    assert gains_of(Tomogram(path)) is None
