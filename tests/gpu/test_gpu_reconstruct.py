"""A tomogram made on a GPU against the same one made on the CPU."""

from pathlib import Path

import mrcfile
import numpy as np

import tomofilt

EXAMPLE = Path(__file__).parents[2] / "examples" / "mycoplasma"


def test_example_series(gpu, tmp_path):
    series = tomofilt.open(EXAMPLE)
    volumes = {}
    for device in ("cpu", gpu):
        path = tmp_path / f"{device.partition(':')[0]}.mrc"
        settings = tomofilt.Settings(device=device, preview=False)
        tomofilt.reconstruct(series, path, settings)
        volumes[device] = mrcfile.read(path)
    difference = np.linalg.norm(volumes[gpu] - volumes["cpu"])
    assert difference <= 2e-3 * np.linalg.norm(volumes["cpu"])
