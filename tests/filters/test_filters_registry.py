import subprocess
import sys

import pytest

from tomofilt.errors import InputError
from tomofilt.filters import available, parse
from tomofilt.filters.analytic import (
    Exact,
    Frequency,
    Gaussian,
    Radial,
    SirtLike,
    Unfiltered,
    Windowed,
)

PARSED = {
    "ramp": Windowed("ramp"),
    "Shepp-Logan": Windowed("shepp-logan"),
    "hann:0.25": Windowed("hann", Frequency(0.25)),
    " hamming : 60A ": Windowed("hamming", Frequency(60.0, True)),
    "gaussian:0.06": Gaussian(Frequency(0.06)),
    "gaussian:60a": Gaussian(Frequency(60.0, True)),
    "radial:0.35,0.035": Radial(Frequency(0.35), Frequency(0.035)),
    "sirt-like:10": SirtLike(10),
    "exact": Exact(),
    "exact:2000": Exact(2000.0),
    "exact:2000A": Exact(2000.0),
    "none": Unfiltered(),
}


@pytest.mark.parametrize("spec", PARSED)
def test_parse(spec):
    assert parse(spec) == PARSED[spec]


def test_cutoff_is_another_way_to_give_the_argument():
    assert parse("cosine", cutoff="60A") == parse("cosine:60A")


@pytest.mark.parametrize(
    ("spec", "cutoff", "match"),
    [
        ("hanning", None, "'hann'.*Filters: ramp, shepp-logan"),
        ("xyz", None, "Filters: ramp"),
        ("gaussian", None, "filter 'gaussian': .*not a frequency"),
        ("gaussian:wide", None, "'gaussian:wide': 'wide' is not a frequency"),
        ("hann:0", None, "positive number"),
        ("radial:0.35", None, "radial:0.35,0.035"),
        ("radial:0.35,", None, "not a frequency"),
        ("sirt-like", None, "sirt-like:10"),
        ("sirt-like:1.5", None, "whole number"),
        ("sirt-like:0", None, "1 or more"),
        ("exact:thick", None, "angstrom"),
        ("exact:-5", None, "greater than zero"),
        ("none:3", None, "no argument"),
        ("gaussian:0.1", "0.2", "has no cut-off; ramp, shepp-logan"),
        ("hann:0.1", "0.2", "keep one"),
    ],
)
def test_refuses(spec, cutoff, match):
    with pytest.raises(InputError, match=match):
        parse(spec, cutoff=cutoff)


def test_available_lists_what_parse_knows():
    argument = {
        "gaussian": ":0.1",
        "radial": ":0.3,0.1",
        "sirt-like": ":5",
    }
    names = [name for name, _, _ in available()]
    assert len(names) == len(set(names)) >= 11
    for name, _, description in available():
        assert description
        assert parse(name + argument.get(name, "")).spec.partition(":")[0] == name


def test_import_is_light():
    code = (
        "import sys, tomofilt.filters, tomofilt.filters.apply\n"
        "print([name for name in ('torch', 'numba', 'scipy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
