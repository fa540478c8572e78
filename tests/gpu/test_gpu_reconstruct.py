"""A tomogram made on a GPU against the same one made on the CPU."""

from pathlib import Path

import mrcfile
import numpy as np
import pytest

import tomofilt

EXAMPLE = Path(__file__).parents[2] / "examples" / "mycoplasma"


@pytest.mark.parametrize("filter", [tomofilt.Settings.filter, "sirt:3"])
def test_example_series(engine, filter, tmp_path):
    if (engine, filter) == ("astra", "sirt:3"):
        pytest.skip("ASTRA has no projection for it")
    series = tomofilt.open(EXAMPLE)
    volumes = []
    for device, projector in (("cpu", "fast"), ("cuda:0", engine)):
        path = tmp_path / f"{projector}.mrc"
        settings = tomofilt.Settings(
            filter=filter, device=device, projector=projector, preview=False
        )
        tomofilt.reconstruct(series, path, settings)
        volumes.append(mrcfile.read(path))
    difference = np.linalg.norm(volumes[1] - volumes[0])
    limit = 1e-3 if engine == "astra" else 1e-4  # 1.6e-4 and 2.9e-6 on an H100
    assert difference <= limit * np.linalg.norm(volumes[0])
