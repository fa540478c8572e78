"""A tomogram made on a GPU against the same one made on the CPU."""

from pathlib import Path

import mrcfile
import numpy as np

import tomofilt

EXAMPLE = Path(__file__).parents[2] / "examples" / "mycoplasma"


def test_example_series(engine, tmp_path):
    series = tomofilt.open(EXAMPLE)
    volumes = {}
    for device, chosen in (("cpu", "fast"), ("cuda:0", engine)):
        path = tmp_path / f"{device.partition(':')[0]}.mrc"
        settings = tomofilt.Settings(device=device, projector=chosen, preview=False)
        tomofilt.reconstruct(series, path, settings)
        volumes[device] = mrcfile.read(path)
    difference = np.linalg.norm(volumes["cuda:0"] - volumes["cpu"])
    limit = 1e-3 if engine == "astra" else 1e-4  # 1.6e-4 and 2.9e-6 on an H100
    assert difference <= limit * np.linalg.norm(volumes["cpu"])
