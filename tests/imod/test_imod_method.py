"""``-f imod`` is found by its entry point, and follows the project's tilt.com."""

import pytest

from tomofilt.errors import InputError
from tomofilt.filters.analytic import Unfiltered
from tomofilt.reconstruction.methods.registry import available, parse
from tomofilt_imod.tilt_filter import ImodFilter
from tomofilt_imod.tilt_program import ETOMO, TiltProgram


def test_follows_tilt_com():
    native = TiltProgram(ImodFilter(fake_sirt_iterations=15))
    assert parse("imod", native=native).program == native
    assert parse("imod", native=native, local=True).program.cosine == (0, 0)


@pytest.mark.parametrize("native", [None, Unfiltered()])
def test_follows_etomo_without_one(native):
    assert parse("imod", native=native).program == ETOMO


def test_other_builds_pad_otherwise():
    own_fft = parse("imod:5")
    assert own_fft.spec == "imod:5"
    assert [each.filter.padded_px(256) for each in (own_fft, parse("imod"))] == [288, 280]


def test_is_listed():
    described = {name: words for name, _, words in available()}
    assert described["imod"].startswith("As the project's tilt.com, in IMOD's scale")


def test_refuses_what_tilt_com_says():
    with pytest.raises(InputError, match="give 13"):
        parse("imod:3")
    with pytest.raises(InputError, match="no prime number"):
        parse("imod:fftw")
    with pytest.raises(InputError, match="MASK is not followed"):
        parse("imod", native=TiltProgram(ImodFilter(), refused="MASK is not followed"))
    with pytest.raises(InputError, match="has no cut-off"):
        parse("imod", cutoff="0.3")
    with pytest.raises(InputError, match="leave --interpolation out"):
        parse("imod").replaced(interpolation="fine")
