"""Tomograms for tests of how tomograms are measured and reported."""

from pathlib import Path

import runs

from tomofilt.cli.app import main
from tomofilt.reconstruction.settings import Settings
from tomofilt.reconstruction.setup import make_problem

EXAMPLE = Path(__file__).parents[1] / "examples" / "mycoplasma"


def tomogram_of(series, **settings):
    """The tomogram of a series, (z, y, x) float32."""
    return runs.tomogram_of(make_problem(series, Settings(**settings)))


def tomograms_of_the_example(folder):
    """Two small tomograms of the example, the second with halves, by way of the command line."""
    common = ["reconstruct", "--imod-dir", str(EXAMPLE), "--bin", "2", "-q", "--no-preview"]
    for filter, more in (("ramp", []), ("exact", ["--halves", "tilts"])):
        assert main([*common, "-f", filter, "-o", str(folder / filter), *more]) == 0
    return [folder / name / "00254_tomofilt_rec.mrc" for name in ("ramp", "exact")]
