"""ASTRA without a GPU: its CUDA back-projection stated in numpy, behind the calls tomofilt makes.

The statement reads the very dictionaries that ASTRA would get. test_astra_projector.py holds it
against a back-projection made elsewhere (tests/data/geometry).
"""

import sys
from contextlib import suppress
from itertools import count
from types import SimpleNamespace

import numpy as np
import torch
from scipy.ndimage import map_coordinates

from tomofilt.projectors import astra as adapter
from tomofilt.projectors import device


def voxels(geometry):
    """Of a volume: counts (z, y, x), the corner it starts at, and the voxel's sides."""
    counts = np.array([geometry[f"Grid{name}Count"] for name in ("Slice", "Row", "Col")])
    ends = [[geometry["option"][f"Window{end}{axis}"] for axis in "ZYX"] for end in ("Min", "Max")]
    return counts, np.array(ends[0]), (np.array(ends[1]) - ends[0]) / counts


def look_up(image, row, column):
    """Bilinear samples of an image, zero beyond it."""
    return map_coordinates(image, [row, column], order=1, mode="grid-constant")


def textures(image, row, column):
    """As :func:`look_up`, in a GPU's textures: fractions and their products have 8 bits."""
    place = np.stack([row, column])
    corner = np.floor(place)
    below, right = np.rint(256 * (place - corner)) / 256
    both = np.rint(256 * below * right) / 256
    weights = {(0, 0): 1 - below - right + both, (0, 1): right - both, (1, 0): below - both}
    return sum(
        weight
        * map_coordinates(image, [corner[0] + y, corner[1] + x], order=0, mode="grid-constant")
        for (y, x), weight in (weights | {(1, 1): both}).items()
    )


def kernel(volume_geometry, projection_geometry, band):
    """(voxel volume / |u x v|) times the bilinear samples, of images (row, view, column)."""
    counts, lows, sizes = voxels(volume_geometry)
    z, y, x = np.meshgrid(
        *(low + (np.arange(n) + 0.5) * d for low, n, d in zip(lows, counts, sizes, strict=True)),
        indexing="ij",
    )
    points = np.stack([x, y, z], axis=-1)
    rows, columns = (projection_geometry[f"Detector{name}Count"] for name in ("Row", "Col"))
    assert band.shape[0] == rows
    assert band.shape[2] == columns
    volume = np.zeros(counts)
    for view, vectors in enumerate(projection_geometry["Vectors"]):
        ray, centre, u, v = vectors.reshape(4, 3)
        steps = np.linalg.solve(np.stack([u, v, ray], axis=1), (points - centre)[..., None])
        column, row = steps[..., 0, 0] + (columns - 1) / 2, steps[..., 1, 0] + (rows - 1) / 2
        seen = look_up(band[:, view].astype(np.float64), row, column)
        volume += seen * np.prod(sizes) / np.linalg.norm(np.cross(u, v))
    return volume


def line_integrals(volume_geometry, projection_geometry, volume):
    """Integrals of a volume along the rays, as images (row, view, column)."""
    counts, lows, sizes = voxels(volume_geometry)
    rows, columns = (projection_geometry[f"Detector{name}Count"] for name in ("Row", "Col"))
    row, column, step = np.meshgrid(
        np.arange(rows) - (rows - 1) / 2,
        np.arange(columns) - (columns - 1) / 2,
        np.arange(-max(counts), max(counts) + 1) / 2,
        indexing="ij",
    )
    seen = []
    for ray, centre, u, v in projection_geometry["Vectors"].reshape(-1, 4, 3):
        along = sizes[0] * ray / np.linalg.norm(ray)
        point = centre + sum(
            n[..., None] * way for n, way in zip((row, column, step), (v, u, along), strict=True)
        )
        place = np.moveaxis((point[..., ::-1] - lows) / sizes - 0.5, -1, 0)
        values = map_coordinates(volume.astype(np.float64), place, order=1, mode="grid-constant")
        seen.append(values.sum(axis=2) * sizes[0] / 2)
    return np.stack(seen, axis=1)


class AstraError(Exception):
    pass


class FakeAstra:
    """The part of ASTRA that the adapter calls, on tensors of the CPU.

    It fails as ASTRA 2.5.0 does: the output is zeros by then. ``fail`` is called with that output
    and may raise, or return something for a run that ends there without a word.
    """

    def __init__(self):
        self.geometries, self.made, self.alive, self.linked = {}, [], set(), {}
        self._numbers = count()
        #: Number of the GPU that is torch's current one; tests that look at it set it.
        self.current = None
        self.fail = lambda box: None
        self.log = SimpleNamespace(AstraError=AstraError)
        self.projector3d = SimpleNamespace(direct_BP=None, delete=self.alive.remove)
        self.data3d = SimpleNamespace(link=self.link, delete=self.unlink)
        self.experimental = SimpleNamespace(do_composite_BP=self.do_composite_bp)

    def create_projector(self, kind, projections, volume):
        assert kind == "cuda3d"
        number = next(self._numbers)
        self.geometries[number] = volume, projections
        self.alive.add(number)
        return number

    def link(self, kind, geometry, tensor):
        assert tensor.dtype == torch.float32
        assert tensor.is_contiguous()
        assert not tensor.requires_grad
        name = "Grid{}Count" if kind == "-vol" else "Detector{}Count"
        axes = ("Slice", "Row", "Col") if kind == "-vol" else ("Row", "Col")
        sizes = [geometry[name.format(axis)] for axis in axes]
        if kind == "-sino":
            sizes.insert(1, len(geometry["Vectors"]))
        assert list(tensor.shape) == sizes
        number = next(self._numbers)
        self.linked[number] = tensor
        return number

    def unlink(self, numbers):
        for number in numbers:
            del self.linked[number]

    def do_composite_bp(self, number, volumes, projections):
        assert number in self.alive
        (box,), (band,) = ([self.linked[n] for n in some] for some in (volumes, projections))
        self.made.append(tuple(box.shape))
        box.zero_()
        if self.fail(box) is None:
            box.copy_(torch.from_numpy(kernel(*self.geometries[number], band.numpy())))


def install(monkeypatch):
    """Put a :class:`FakeAstra` in ASTRA's place, and torch's CPU in the place of a GPU."""
    fake = FakeAstra()
    with suppress(ImportError):
        import tomosipo  # noqa: F401 - it wants the real ASTRA
    monkeypatch.setitem(sys.modules, "astra", fake)
    monkeypatch.setitem(sys.modules, "astra.experimental", fake.experimental)
    monkeypatch.setattr(adapter, "require", lambda gpu: None)
    monkeypatch.setattr(device, "free_bytes", lambda gpu: 2**30)
    return fake
