"""Simulated series: signal, noise, and what reconstruction makes of them."""

import mrcfile
import numpy as np
import pytest

from tomofilt.errors import InputError
from tomofilt.jobs.one import reconstruct
from tomofilt.reconstruction.settings import Settings
from tomofilt.series.geometry import ImageGrid, TiltGeometry
from tomofilt.series.projects import Destination
from tomofilt.series.tiltseries import TiltSeries
from tomofilt.simulate import simulated_series
from tomofilt.simulate.molecules import bundled
from tomofilt.simulate.phantom import Contents
from tomofilt.simulate.physics import Optics, relative_noise
from tomofilt.simulate.scheme import TiltScheme, tilt_scheme
from tomofilt.simulate.series import (
    ImagesInMemory,
    Simulation,
    cut_out,
    damaged_projections,
    simulate,
)


@pytest.fixture(scope="module")
def series():
    return simulated_series(4, shape=(40, 60, 72), snr=0.2, rotation_deg=20.0, shift_angst=15.0)


def test_signal_to_noise_is_as_asked(series):
    noise = series.images - series.clean
    tilt = series.scheme.tilt_deg
    middle = np.abs(tilt).argmin()
    assert series.clean[middle].var() / noise[middle].var() == pytest.approx(0.2, rel=0.08)
    assert series.snr == pytest.approx(0.2, rel=0.08)
    growth = noise.std(axis=(1, 2)) / noise[middle].std()
    np.testing.assert_allclose(growth, relative_noise(tilt, 340.0), rtol=0.08)
    assert abs(noise.mean()) < 5 * noise.std() / np.sqrt(noise.size)


def test_halves_add_up_and_share_signal_alone(series):
    first, second = (2 * half - series.clean for half in series.halves)
    np.testing.assert_allclose(series.halves.sum(0), series.images, atol=1e-4)
    assert first.std() == pytest.approx(second.std(), rel=0.02)
    correlation = np.corrcoef(first.ravel(), second.ravel())[0, 1]
    assert abs(correlation) < 5 / np.sqrt(first.size)


def test_one_seed_one_series(series):
    again = simulated_series(4, shape=(40, 60, 72), snr=0.2, rotation_deg=20.0, shift_angst=15.0)
    np.testing.assert_array_equal(again.halves, series.halves)
    np.testing.assert_array_equal(again.truth, series.truth)
    other = simulated_series(5, shape=(40, 60, 72), tilt_deg=[0.0])
    assert not np.array_equal(other.truth, series.truth)


def test_the_specimen_is_wider_than_what_the_images_see(series):
    """What is outside the tomogram is in the images: no view sees the end of the slab."""
    _, ny, nx = series.phantom.grid.shape
    steepest = np.cos(np.radians(60))
    assert nx * steepest > np.hypot(60, 72) * np.cos(np.radians(20)) - 72
    assert nx > 72 / steepest
    assert ny > 72
    np.testing.assert_array_equal(
        cut_out(series.phantom.density, series.phantom.grid, series.grid), series.truth
    )


def test_damage_takes_fine_detail_from_late_views():
    fresh = simulated_series(1, shape=(30, 48, 48), dose_e_per_a2=0.0, snr=np.inf)
    damaged = simulated_series(1, shape=(30, 48, 48), dose_e_per_a2=3.0, snr=np.inf)
    np.testing.assert_array_equal(fresh.truth, damaged.truth)
    lost = [
        np.diff(a - b, axis=1).std() / np.diff(a, axis=1).std()
        for a, b in zip(fresh.clean, damaged.clean, strict=True)
    ]
    order = damaged.scheme.acquired
    assert lost[int(order.argmax())] > 5 * lost[int(order.argmin())]
    np.testing.assert_allclose(fresh.clean.sum((1, 2)), damaged.clean.sum((1, 2)), rtol=0.01)


@pytest.mark.parametrize(("shape", "step"), [((48, 56, 64), 1.0), ((47, 57, 63), 1.5)])
def test_fully_sampled_series_returns_the_densities(tmp_path, shape, step):
    """Without noise, damage and missing wedge, densities come back within 2 %.

    All directions can only see all of a specimen that ends inside the images, so the slab is cut
    to a cylinder along the tilt axis: of an infinite slab, tilts never see the frequencies of the
    wedge about k_z, and limited images not those below 1 / width.
    """
    specimen = simulated_series(3, shape=shape, dose_e_per_a2=0.0, snr=np.inf, tilt_deg=[0.0])
    z, _, x = np.indices(shape)
    radius = np.hypot((z - (shape[0] - 1) / 2) / shape[0], (x - (shape[2] - 1) / 2) / shape[2])
    truth = (specimen.truth * np.clip(8 * (0.9 - 2 * radius), 0, 1)).astype(np.float32)
    tilts = np.arange(-90, 90, step)
    shifts = np.random.default_rng(0).normal(0, 10, (len(tilts), 2))
    geometry = TiltGeometry.from_angles(tilts, 5.0, 0.0, shifts)
    scheme = TiltScheme(tilts, tilts, np.arange(len(tilts)), 0.0)
    images = damaged_projections(
        truth, specimen.grid, geometry, scheme, ImageGrid.centred((84, 84), 10.0)
    )
    found = TiltSeries(
        "TS",
        ImagesInMemory(images, 10.0),
        geometry,
        np.arange(len(tilts)),
        tilts,
        specimen.grid,
    )
    destination = Destination(tmp_path / "rec.mrc")
    reconstruct(found, destination, Settings(filter="ramp", preview=False))
    volume = mrcfile.read(destination.volume)
    slope, offset = np.polyfit(truth.ravel(), volume.ravel(), 1)
    assert slope == pytest.approx(1.0, abs=0.02)
    assert abs(offset) < 0.002
    assert volume.sum() == pytest.approx(truth.sum(), rel=0.02)
    assert volume[truth > 0.8].mean() == pytest.approx(truth[truth > 0.8].mean(), rel=0.02)
    assert np.sqrt(np.mean((volume - truth) ** 2)) < 0.01 * truth.max()


def test_counts_of_a_small_series():
    contents = Contents(bundled(["1bxn", "1qvr"]), membranes=1, gold=1)
    scheme = tilt_scheme([-40, 0, 40], "dose-symmetric", 3.0)
    wanted = Simulation(scheme, contents, (30, 50, 64), 10.0, 280.0, Optics(), 85.0, 20.0, 2)
    series = simulate(wanted)
    assert series.clean.shape == (3, 64, 50)  # the axis lies along x: sides change places
    np.testing.assert_array_equal(series.halves, np.rint(series.halves))
    np.testing.assert_array_equal(simulate(wanted, threads=1).halves, series.halves)
    plain = series.tilt_series("name", clean=True)
    assert plain.halves is None
    assert plain.images.read(1, 3, 5).shape == (2, 50)
    np.testing.assert_allclose(plain.dose_e_per_a2, [3.0, 0.0, 6.0])


def test_refusals():
    with pytest.raises(InputError, match="SNR"):
        simulated_series(snr=0.0)
    with pytest.raises(InputError, match="too small"):
        simulated_series(shape=(4, 64, 64))
    with pytest.raises(InputError, match="no tilt is left"):
        simulated_series(tilt_deg=[])
