"""ASTRA without a GPU: its CUDA back-projection stated in numpy, behind the calls tomofilt makes.

The statement reads the very dictionaries that ASTRA would get.
tests/projectors/test_astra_projector.py holds it against a back-projection made elsewhere
(tests/data/geometry).
"""

import sys
from contextlib import suppress
from types import SimpleNamespace

import numpy as np
import torch
from scipy.ndimage import map_coordinates

from tomofilt.projectors import astra as adapter


def kernel(volume_geometry, projection_geometry, band):
    """(voxel volume / |u x v|) times the bilinear samples, of images (row, view, column)."""
    counts = [volume_geometry[f"Grid{name}Count"] for name in ("Slice", "Row", "Col")]
    window = volume_geometry["option"]
    lows = [window[f"WindowMin{axis}"] for axis in "ZYX"]
    sizes = [
        (window[f"WindowMax{axis}"] - low) / n
        for axis, low, n in zip("ZYX", lows, counts, strict=True)
    ]
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
        seen = map_coordinates(
            band[:, view].astype(np.float64), [row, column], order=1, mode="grid-constant"
        )
        volume += seen * np.prod(sizes) / np.linalg.norm(np.cross(u, v))
    return volume


class AstraError(Exception):
    pass


class FakeAstra:
    """The part of ASTRA that the adapter calls, on tensors of the CPU."""

    def __init__(self):
        self.geometries, self.made, self.alive = [], [], set()
        self.fail = lambda box: None
        self.log = SimpleNamespace(AstraError=AstraError)
        self.projector3d = SimpleNamespace(direct_BP=self.direct_bp, delete=self.alive.remove)

    def create_projector(self, kind, projections, volume, options):
        assert kind == "cuda3d"
        assert options == {"GPUIndex": 0}
        self.geometries.append((volume, projections))
        self.alive.add(len(self.geometries) - 1)
        return len(self.geometries) - 1

    def direct_bp(self, number, band, *, out):
        assert number in self.alive
        for tensor in (band, out):
            assert tensor.dtype == torch.float32
            assert tensor.is_contiguous()
            assert not tensor.requires_grad
        self.made.append(tuple(out.shape))
        if self.fail(out) is None:
            out.copy_(torch.from_numpy(kernel(*self.geometries[number], band.numpy())))


def install(monkeypatch):
    """Put a :class:`FakeAstra` in ASTRA's place, and torch's CPU in the place of a GPU."""
    fake = FakeAstra()
    with suppress(ImportError):
        import tomosipo  # noqa: F401 - it wants the real ASTRA
    monkeypatch.setitem(sys.modules, "astra", fake)
    monkeypatch.setattr(adapter, "require", lambda gpu: None)
    monkeypatch.setattr(adapter, "free_bytes", lambda device: 2**30)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: None)
    return fake
