"""Projects without files, for tests of what stands above the plug-ins."""

from pathlib import Path

import numpy as np

from tomofilt.errors import InputError
from tomofilt.series.geometry import TiltGeometry, VolumeGrid
from tomofilt.series.projects import AS_IT_IS, Destination
from tomofilt.series.tiltseries import Sourced, TiltSeries


class BlankImages:
    """Images of a constant, 10 A per pixel."""

    def __init__(self, shape=(5, 30, 40), pixel_angst=10.0, files=(Path("blank.mrc"),)):
        self.shape, self.pixel_angst, self.files = shape, pixel_angst, files

    def read(self, image, y_start=0, y_stop=None):
        return np.zeros((self.shape[1], self.shape[2]), np.float32)[y_start:y_stop]


def tilt_series(name="TS_01", **changes):
    """Five images of which the second is left out; one-sided tilts, all geometry unlike zero."""
    tilt_deg = np.array([-20.0, 10.0, 25.0, 40.0])
    geometry = TiltGeometry.from_angles(tilt_deg, 85.0, 3.0, np.arange(8.0).reshape(4, 2))
    given = {
        "name": name,
        "images": BlankImages(),
        "geometry": geometry,
        "views": np.array([0, 2, 3, 4]),
        "tilt_deg": tilt_deg,
        "grid": VolumeGrid.centred((12, 30, 40), 10.0),
        "excluded": (1,),
        "dose_e_per_a2": np.array([0.0, 3.0, 6.0, 9.0]),
        "facts": {"thickness_px": Sourced(np.int64(12), "tilt.com THICKNESS")},
        "notes": ("nothing was found amiss",),
        "files": (Path("blank.mrc"), Path("tilt.com")),
    }
    return TiltSeries(**(given | changes))


class FakeProject:
    """A project of named series; a name that starts with ``bad`` cannot be read."""

    def __init__(self, names=("TS_01",), folder=Path("data")):
        self.names, self.folder = tuple(names), folder
        self.read_with, self.committed = {}, []

    def read(self, name, options=AS_IT_IS):
        self.read_with[name] = options
        if name.startswith("bad"):
            raise InputError(f"{name}.tlt has 41 angles but {name}.xf has 40 transforms")
        return tilt_series(name)

    def destination(self, name, output_dir):
        return Destination((output_dir or self.folder) / f"{name}_rec.mrc")

    def commit(self, finished, output_dir):
        self.committed.append((dict(finished), output_dir))
