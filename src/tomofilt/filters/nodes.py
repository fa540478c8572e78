"""Nodes on physical frequency, between which learned gains are interpolated linearly."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tomofilt.errors import InputError

__all__ = ["GridNodes", "RadialNodes"]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class RadialNodes:
    """Nodes on the length of the frequency, spaced as one likes.

    Parameters
    ----------
    k_per_angst : (n,)
        Ascending, 1/angstrom. Below the first and beyond the last gains stay as they are there.
    """

    k_per_angst: FloatArray

    def __post_init__(self) -> None:
        _check_nodes("k_per_angst", self.k_per_angst, lowest=0.0)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the coefficients of one angle term."""
        return self.k_per_angst.shape

    @property
    def highest_k(self) -> float:
        """Last node across the tilt axis, 1/angstrom."""
        return float(self.k_per_angst[-1])

    @property
    def axes(self) -> tuple[FloatArray, FloatArray]:
        """Frequencies across and along the tilt axis where gains on the axes have kinks."""
        return self.k_per_angst, np.concatenate([-self.k_per_angst[::-1], self.k_per_angst])

    def interpolation(
        self, k_across: FloatArray, k_along: FloatArray
    ) -> tuple[IntArray, FloatArray]:
        """Nodes and weights that give the value at frequencies.

        Parameters
        ----------
        k_across, k_along : broadcastable arrays
            1/angstrom.

        Returns
        -------
        index, weight : (..., 2)
            The value is ``sum(flat_values[index] * weight, axis=-1)``.
        """
        left, share = _between(self.k_per_angst, np.hypot(k_across, k_along))
        right = np.minimum(left + 1, len(self.k_per_angst) - 1)
        return np.stack([left, right], -1), np.stack([1 - share, share], -1)

    def places(self, lowest_k: float, highest_k: float) -> tuple[FloatArray, FloatArray]:
        """Frequencies across and along the tilt axis that stand for the nodes.

        Parameters
        ----------
        lowest_k, highest_k : float
            Between which frequencies across the axis stay, 1/angstrom.
        """
        across = np.clip(self.k_per_angst, lowest_k, highest_k)
        return across, np.sqrt(np.maximum(self.k_per_angst**2 - across**2, 0.0))


@dataclass(frozen=True, eq=False)
class GridNodes:
    """Nodes on a grid of frequencies across and along the tilt axis.

    Gains are even in both together. On the row at zero across the axis the nodes at negative
    frequencies along it would say the same as those at positive ones: they are not used.

    Parameters
    ----------
    across_per_angst : (a,)
        Ascending from zero, 1/angstrom.
    along_per_angst : (l,)
        Ascending, from negative to positive, and symmetric, 1/angstrom.
    """

    across_per_angst: FloatArray
    along_per_angst: FloatArray

    def __post_init__(self) -> None:
        _check_nodes("across_per_angst", self.across_per_angst, lowest=0.0)
        if self.across_per_angst[0] != 0:
            raise InputError("across_per_angst: the first node has to be at zero")
        along = self.along_per_angst
        _check_nodes("along_per_angst", along, lowest=-np.inf)
        if not np.allclose(along, -along[::-1], rtol=0, atol=1e-6 * float(along[-1])):
            raise InputError("along_per_angst: the nodes have to be symmetric about zero")

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the coefficients of one angle term."""
        return len(self.across_per_angst), len(self.along_per_angst)

    @property
    def highest_k(self) -> float:
        """Last node across the tilt axis, 1/angstrom."""
        return float(self.across_per_angst[-1])

    @property
    def axes(self) -> tuple[FloatArray, FloatArray]:
        """Frequencies across and along the tilt axis where gains have kinks."""
        return self.across_per_angst, self.along_per_angst

    def interpolation(
        self, k_across: FloatArray, k_along: FloatArray
    ) -> tuple[IntArray, FloatArray]:
        """Nodes and weights that give the value at frequencies.

        Parameters
        ----------
        k_across, k_along : broadcastable arrays
            1/angstrom.

        Returns
        -------
        index, weight : (..., 4)
            The value is ``sum(flat_values[index] * weight, axis=-1)``.
        """
        across, along = np.broadcast_arrays(k_across, k_along)
        is_mirrored = (across < 0) | ((across == 0) & (along < 0))
        along = np.where(is_mirrored, -along, along)
        i, high = _between(self.across_per_angst, np.abs(across))
        j, right = _between(self.along_per_angst, along)
        n_across, n_along = self.shape
        index, weight = [], []
        for row, share in ((i, 1 - high), (np.minimum(i + 1, n_across - 1), high)):
            for column, part in ((j, 1 - right), (np.minimum(j + 1, n_along - 1), right)):
                mirrored = np.maximum(column, n_along - 1 - column)
                index.append(row * n_along + np.where(row == 0, mirrored, column))
                weight.append(share * part)
        return np.stack(index, -1), np.stack(weight, -1)

    def places(self, lowest_k: float, highest_k: float) -> tuple[FloatArray, FloatArray]:
        """Frequencies across and along the tilt axis that stand for the nodes.

        Parameters
        ----------
        lowest_k, highest_k : float
            Between which frequencies across the axis stay, 1/angstrom.
        """
        across = np.clip(self.across_per_angst, lowest_k, highest_k)
        return across[:, None], self.along_per_angst


def _check_nodes(name: str, nodes: FloatArray, lowest: float) -> None:
    if nodes.ndim != 1 or not len(nodes) or nodes[0] < lowest or not 0 < nodes[-1] < np.inf:
        raise InputError(f"{name}: give one or more frequencies, the last above zero")
    if np.any(np.diff(nodes) <= 0):
        raise InputError(f"{name}: the frequencies have to ascend")


def _between(nodes: FloatArray, k: FloatArray) -> tuple[IntArray, FloatArray]:
    """Node at or below each frequency, and the share of the next one."""
    if len(nodes) == 1:
        return np.zeros(k.shape, np.intp), np.zeros(k.shape)
    left = np.clip(np.searchsorted(nodes, k, side="right") - 1, 0, len(nodes) - 2)
    share = (k - nodes[left]) / (nodes[left + 1] - nodes[left])
    return left, np.clip(share, 0.0, 1.0)
