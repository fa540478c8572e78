"""Warp's image warp: how far a tilt image moved at any place, from nodes of a spline."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Movement"]

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Movement:
    """GridMovementX and GridMovementY: natural cubic splines, nodes from edge to edge of an image.

    Parameters
    ----------
    x_angst, y_angst : (tilt or 1, ny_node, nx_node)
        Values of the nodes, which Warp takes off the positions that it projects to.
    image_shape : (ny, nx)
    pixel_angst : float
    """

    x_angst: FloatArray
    y_angst: FloatArray
    image_shape: tuple[int, int]
    pixel_angst: float

    @property
    def is_shift(self) -> bool:
        """Whether all places of an image move alike."""
        return self.x_angst.shape[1:] == self.y_angst.shape[1:] == (1, 1)

    def __call__(self, tilt: int, places_angst: FloatArray) -> FloatArray:
        """Displacement (..., 2) of a tilt at places (..., 2) about the image centre, angstrom."""
        size = np.array(self.image_shape[::-1])
        share = (places_angst.reshape(-1, 2) / self.pixel_angst + (size - 1) / 2) / size
        values = [
            _spline(grid[tilt % len(grid)], share[:, 1], share[:, 0])
            for grid in (self.x_angst, self.y_angst)
        ]
        return -np.stack(values, axis=-1).reshape(places_angst.shape)


def _spline(nodes: FloatArray, y: FloatArray, x: FloatArray) -> FloatArray:
    """Value at points, in sizes of the image from its edge; beyond it, that of the edge."""
    along = _basis(len(nodes), np.clip(y, 0, 1))
    across = _basis(nodes.shape[1], np.clip(x, 0, 1))
    return np.asarray(np.einsum("pi,ij,pj->p", along, nodes, across))


def _basis(nodes: int, at: FloatArray) -> FloatArray:
    """What each node adds at points: (point, node)."""
    from scipy.interpolate import CubicSpline

    if nodes == 1:
        return np.ones((len(at), 1))
    spline = CubicSpline(np.linspace(0, 1, nodes), np.eye(nodes), bc_type="natural")
    return np.asarray(spline(at))
