"""Tomograms for tests of how tomograms are measured and reported."""

from pathlib import Path

import numpy as np

from tomofilt.cli.app import main
from tomofilt.evaluate.left_out import make_blocks
from tomofilt.reconstruction.plan import Settings, make_plan
from tomofilt.series.projects import Destination

EXAMPLE = Path(__file__).parents[1] / "examples" / "mycoplasma"


def tomogram_of(series, **settings):
    """The tomogram of a series, (z, y, x) float32."""
    plan = make_plan(series, Destination(Path("tomogram.mrc")), Settings(**settings))
    volume = np.empty(plan.grid.shape, np.float32)
    for y, z, block in make_blocks(plan):
        volume[z : z + block.shape[0], y : y + block.shape[1]] = block
    return volume


def tomograms_of_the_example(folder):
    """Two small tomograms of the example, the second with halves, by way of the command line."""
    common = ["reconstruct", "--imod-dir", str(EXAMPLE), "--bin", "2", "-q", "--no-preview"]
    for filter, more in (("ramp", []), ("exact", ["--halves", "tilts"])):
        assert main([*common, "-f", filter, "-o", str(folder / filter), *more]) == 0
    return [folder / name / "00254_tomofilt_rec.mrc" for name in ("ramp", "exact")]
