"""A tomogram made on a GPU against the same one made on the CPU."""

from pathlib import Path

import mrcfile
import numpy as np

import tomofilt
from tomofilt.jobs.one import reconstruct

EXAMPLE = Path(__file__).parents[2] / "examples" / "mycoplasma"


class Listener:
    def note(self, message):
        pass

    def progress(self, done, total):
        pass


def test_example_series(gpu, tmp_path):
    project = tomofilt.detect(EXAMPLE)
    series = project.read(project.names[0])
    volumes = {}
    for device in ("cpu", gpu):
        destination = tomofilt.Destination(tmp_path / f"{device.partition(':')[0]}.mrc")
        settings = tomofilt.Settings(device=device, preview=False)
        reconstruct(series, destination, settings, Listener())
        volumes[device] = mrcfile.read(destination.volume)
    difference = np.linalg.norm(volumes[gpu] - volumes["cpu"])
    assert difference <= 2e-3 * np.linalg.norm(volumes["cpu"])
