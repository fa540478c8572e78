"""``-f imod`` is found by its entry point, and follows the project's tilt.com."""

import pytest

from tomofilt.errors import InputError
from tomofilt.filters.analytic import Unfiltered
from tomofilt.reconstruction.methods.registry import available, parse
from tomofilt_imod.tilt_filter import ImodFilter

ETOMO = ImodFilter(radial_cutoff=0.35, radial_falloff=0.035, true_sigma=True)


def test_follows_tilt_com():
    native = ImodFilter(fake_sirt_iterations=15)
    assert parse("imod", native=native).filter == native
    assert not parse("imod", native=native, local=True).filter.cosine_stretch


@pytest.mark.parametrize("native", [None, Unfiltered()])
def test_follows_etomo_without_one(native):
    assert parse("imod", native=native).filter == ETOMO


def test_is_listed():
    assert ("imod", "", "As the project's tilt.com, in IMOD's scale.") in available()


def test_refuses_what_tilt_com_says():
    with pytest.raises(InputError, match="no argument"):
        parse("imod:3")
    with pytest.raises(InputError, match="has no cut-off"):
        parse("imod", cutoff="0.3")
    with pytest.raises(InputError, match="leave --interpolation out"):
        parse("imod").replaced(interpolation="fine")
