"""What is corrected, when, and what is said about it."""

from dataclasses import replace

import numpy as np
import pytest

from tomofilt.errors import InputError
from tomofilt.reconstruction.settings import Settings
from tomofilt.reconstruction.setup import make_problem
from tomofilt.series.geometry import ImageGrid
from tomofilt.simulate.physics import Optics
from tomofilt.simulate.series import ImagesInMemory, simulated_series
from tomofilt_imod.tilt_filter import ImodFilter
from tomofilt_imod.tilt_program import TiltProgram


@pytest.fixture(scope="module")
def series():
    made = simulated_series(shape=(16, 32, 32), tilt_deg=[-20, 0, 20], membranes=0)
    return replace(made, optics=Optics(defocus_angst=25000.0)).tilt_series()


def settled(series, filter="gaussian:0.1", **given):
    native = TiltProgram(ImodFilter(radial_cutoff=0.35, radial_falloff=0.05))
    made = replace(series, native_filter=native)
    return make_problem(made, Settings(filter=filter, **given)).corrections


def test_by_itself(series):
    found = settled(series)
    assert found.ctf == "flip"
    assert found.dose
    assert found.line() == (
        "  CTF phases flipped: defocus 2.50 to 2.50 um, falling with depth; "
        "dose weighting on: up to 8 e/A2 at 300 kV"
    )


def test_the_measured_filter_has_the_dose_in_it(series):
    found = settled(series, "wiener-exact:match")
    assert (found.ctf, found.dose) == ("flip", False)
    assert "wiener-exact:match takes views for what they hold" in found.line()
    assert settled(series, "wiener-exact:match", dose_weight="on").dose


@pytest.mark.parametrize("given", [{"filter": "imod"}, {"filter": "none", "normalise": "count"}])
def test_what_imitates_a_program_corrects_nothing(series, given):
    found = settled(series, **given)
    assert (found.ctf, found.dose) == ("none", False)
    asked = settled(series, **given, ctf="flip", dose_weight="on")
    assert (asked.ctf, asked.dose) == ("flip", True)


def test_nothing_is_done_twice(series):
    done = replace(series, ctf_done="a.mrc is flipped", dose_done="a.mrc is weighted")
    found = settled(done)
    assert (found.ctf, found.dose) == ("none", False)
    assert "not corrected: a.mrc is flipped" in found.line()
    with pytest.raises(
        InputError, match=r"a\.mrc is flipped, and --ctf flip would correct it twice"
    ):
        settled(done, ctf="flip")
    with pytest.raises(InputError, match=r"a\.mrc is weighted, and --dose-weight on would"):
        settled(done, dose_weight="on")
    assert settled(done, ctf="none", dose_weight="off").ctf == "none"


def test_nothing_known(series):
    unknown = replace(series, ctf=None, dose_e_per_a2=None)
    found = settled(unknown)
    assert found.line() == (
        "  CTF not corrected: no defocus is known; dose weighting off: the exposure is not known"
    )
    assert found.image_filter(unknown, ImageGrid.centred((32, 32), 10.0)) is None
    with pytest.raises(InputError, match="--ctf wiener needs the defocus"):
        settled(unknown, ctf="wiener")
    with pytest.raises(InputError, match="--dose-weight on needs the exposure"):
        settled(unknown, dose_weight="on")


def test_dose_weights_alone(series):
    found = settled(series, ctf="none")
    grid = ImageGrid.centred((32, 32), 10.0)
    weigh = found.image_filter(series, grid)
    image = np.random.default_rng(1).standard_normal((32, 32)).astype(np.float32)
    powers = [weigh(view, image).var() for view in range(3)]
    dose = series.dose_e_per_a2
    assert np.argsort(powers).tolist() == np.argsort(-dose).tolist()
    flat = np.full((32, 32), 2.0, np.float32)
    np.testing.assert_allclose(weigh(1, flat), 2, rtol=1e-4)


def test_for_eyes_contrast_is_raised_and_for_nothing_else(series):
    found = settled(series, "wiener-exact:view")
    assert found.ctf == "wiener"
    assert "CTF Wiener-weighted: for the contrast of what is large, defocus 2.50" in found.line()
    assert settled(series, "wiener-exact:view", ctf="flip").ctf == "flip"
    for other in ("wiener-exact:match", "map:1", "ramp", "sirt:5"):
        assert settled(series, other).ctf == "flip"


def test_images_are_changed_between_phases_and_weights(series):
    """As gold is filled: weights would spread a bead over its surroundings."""
    noise = np.random.default_rng(1).standard_normal((3, 32, 32)).astype(np.float32)
    series = replace(series, images=ImagesInMemory(noise, 10.0))
    problem = make_problem(series, Settings(ctf="wiener", dose_weight="off"))
    frame, corrections = problem.frame, problem.corrections
    point = np.zeros(frame.padded_grid.shape, np.float32)
    point[16, 16] = 1
    weigh = corrections.contrast_filter(series, frame.padded_grid, frame.image_from_aligned)
    flipped = []

    def change(view, image, grid, warp):
        flipped.append((view, image.copy()))
        return point

    plain = make_problem(series, Settings(ctf="flip", dose_weight="off"))
    with problem.images() as images, plain.images() as others:
        images.before_ctf_weights()
        images.change(change)
        for view, image in flipped:
            np.testing.assert_array_equal(image, others.aligned().image(view))
            np.testing.assert_array_equal(images.aligned().image(view), weigh(view, point))
    assert len(flipped) == 3
    assert np.abs(weigh(1, point)).max() > 1
