"""Simulated counts through both kinds of project: what a corrected tomogram shows beyond a zero."""

from dataclasses import replace

import mrcfile
import numpy as np
import pytest
from runs import reconstructed

from tomofilt.evaluate.against_truth import compare_with_truth
from tomofilt.reconstruction.settings import Settings
from tomofilt.series.projects import detect
from tomofilt.simulate.folder import write_series
from tomofilt.simulate.molecules import bundled
from tomofilt.simulate.phantom import Contents
from tomofilt.simulate.physics import Optics
from tomofilt.simulate.scheme import tilt_scheme
from tomofilt.simulate.series import Simulation, simulate

PIXEL, TILTS = 10.0, np.arange(-60.0, 61, 5)


def simulated(hand, rotation_deg):
    """A series without noise, of so much defocus that 10 A pixels show what is beyond a zero."""
    scheme = tilt_scheme(TILTS, "dose-symmetric", 0.02)
    optics = Optics(defocus_angst=90000.0, hand=hand)
    wanted = Simulation(
        scheme,
        Contents(bundled(), crowding=0.2, membranes=0, gold=0),
        (24, 96, 96),
        PIXEL,
        200.0,
        optics,
        rotation_deg,
        20.0,
        5,
    )
    made = simulate(wanted)
    return replace(made, halves=np.stack([made.clean, made.clean]) / 2)


@pytest.fixture(scope="module", params=[(-1, 8.0), (1, 85.0)], ids=["minus", "plus"])
def project(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("ctf") / "out"
    series = simulated(*request.param)
    return series, write_series(folder, series, {})


def beyond_zero(scores, low=0.25, high=0.45):
    """Fourier shell correlation with the truth; the first zero is at 0.237 cycles per pixel."""
    rings = scores.fsc["sampled"]
    return float(rings.correlation[(rings.frequency > low) & (rings.frequency < high)].mean())


def score(path, settings, folder, truth):
    """Correlation with the truth beyond the first zero, the record and the log."""
    opened = detect(path)
    (name,) = opened.names
    destination = opened.destination(name, folder)
    result, heard = reconstructed(opened.read(name), destination, settings)
    scores = compare_with_truth(mrcfile.read(destination.volume), truth, PIXEL, TILTS)
    return beyond_zero(scores), result.record, heard.text


def test_both_projects_tell_the_same_ctf(project):
    series, (imod, relion, _) = project
    expected = series.tilt_series().ctf
    slope, origin = expected.gradient(series.geometry)
    for path in (imod, relion):
        opened = detect(path)
        read = opened.read(opened.names[0])
        for field in ("voltage_kv", "cs_mm", "amplitude_contrast", "hand"):
            assert getattr(read.ctf, field) == pytest.approx(getattr(expected, field))
        np.testing.assert_allclose(read.ctf.defocus_u_angst, 90000.0)
        np.testing.assert_allclose(read.dose_e_per_a2, series.scheme.exposure_before_e_per_a2)
        found, place = read.ctf.gradient(read.geometry)
        np.testing.assert_allclose(found, slope, atol=1e-5)
        assert np.abs(place - origin).max() < 2 * PIXEL
        assert read.ctf_done is None
        assert read.dose_done is None


@pytest.mark.parametrize("route", [0, 1], ids=["imod", "relion"])
def test_tomograms_show_the_truth_beyond_the_first_zero(project, route, tmp_path):
    series, paths = project
    scores = {}
    for ctf in ("none", "auto", "wiener"):
        settings = Settings(filter="gaussian:0.4", ctf=ctf, preview=False)
        scores[ctf], record, log = score(paths[route], settings, tmp_path / ctf, series.truth)
        done = {"none": "none", "auto": "flip", "wiener": "wiener"}[ctf]
        assert record.corrections["ctf"] == done
        assert ("not corrected: --ctf none" in log) == (ctf == "none")
    assert scores["none"] < 0
    assert scores["auto"] > 0.55
    assert scores["wiener"] > scores["auto"] + 0.01
