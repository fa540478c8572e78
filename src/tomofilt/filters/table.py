"""Two-dimensional gains in a table, from which any spectrum is multiplied at once.

Gains change smoothly, and fastest near zero frequency. A table that is fine there holds a filter of
all views in megabytes, however large the images are, and serves images in any orientation.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tomofilt.filters.protocol import Filter, FilterContext
from tomofilt.util.jit import kernel

__all__ = ["GainTable"]

Float64 = NDArray[np.float64]
Float32 = NDArray[np.float32]
Complex64 = NDArray[np.complex64]

# Interpolated between so many nodes, smooth gains are right to 1e-4 of the largest, and those with
# kinks elsewhere than at nodes, where slices cease to overlap, to 5e-3.
_ACROSS, _ALONG = 320, 128
# What is worked on at once stays in the cache.
_ACROSS_AT_ONCE = 32


class GainTable:
    """Gains of every view on a grid of frequencies across and along the tilt axis.

    Node i lies at ``(i / n)^2`` of the highest frequency; kinks of the filter are nodes too.
    Frequencies across the axis begin at zero, those along it run from negative to positive.

    Parameters
    ----------
    filter : Filter
    context : FilterContext
    lowest_k : float
        Frequencies across the axis below it count as it (see :meth:`Filter.gains`), 1/angstrom.
    highest_k : float
        End of the table, both ways, 1/angstrom.
    """

    def __init__(
        self, filter: Filter, context: FilterContext, lowest_k: float, highest_k: float
    ) -> None:
        self._lowest = lowest_k
        # factors on the radius may jump from node to node: they are no part of the table
        count = len(context.tilt_deg)
        none = np.zeros(1), np.ones((count, 1))
        self._radii, self._factors = filter.radial_factors(context) or none
        rest = filter.without_radial_factors()
        kinks_across, kinks_along = rest.kinks()
        self._across = _nodes(highest_k, _ACROSS, kinks_across)
        along = _nodes(highest_k, _ALONG, np.abs(kinks_along))
        self._along: Float64 = np.concatenate([-along[:0:-1], along])
        across = np.maximum(self._across, lowest_k / 2)[:, None]
        shape = (count, len(across), len(self._along))
        self._gains: Float32 = np.empty(shape, dtype=np.float32)
        for start in range(0, len(across), _ACROSS_AT_ONCE):
            part = slice(start, start + _ACROSS_AT_ONCE)
            upper = rest.gains(across[part], along[None], context)
            lower = upper if rest.even_along else rest.gains(across[part], -along[None], context)
            self._gains[:, part, len(along) - 1 :] = upper
            self._gains[:, part, : len(along) - 1] = lower[..., :0:-1]

    def multiply(
        self, view: int, spectrum: Complex64, k_y: Float64, k_x: Float64, turn: Float64
    ) -> None:
        """Multiply the spectrum of an image by the gains of a view, in place.

        Parameters
        ----------
        view : int
        spectrum : (y, x) complex64
            From ``rfft2``.
        k_y, k_x : (y,), (x,)
            Its frequencies, 1/angstrom.
        turn : (2, 2)
            Frequencies across and along the tilt axis are ``turn @ (k_x, k_y)``.
        """
        nodes = self._gains[view], self._across, self._along
        if np.array_equal(turn, np.eye(2)):
            _multiply_upright(spectrum, k_y, k_x, *nodes, self._lowest)
        else:
            _multiply(spectrum, k_y, k_x, turn, *nodes, self._lowest)
        if len(self._radii) > 1:
            factors = self._factors[view]
            _multiply_round(spectrum, k_y, k_x, turn, self._radii, factors, self._lowest)


def _nodes(highest_k: float, count: int, kinks: Float64) -> Float64:
    """Nodes from zero to the highest frequency, those of the kinks among them."""
    nodes = np.concatenate([highest_k * (np.arange(count + 1) / count) ** 2, kinks])
    nodes = np.unique(nodes[(nodes >= 0) & (nodes <= highest_k)])
    # kinks that differ from a node by rounding would make a cell of no width
    return nodes[np.diff(nodes, append=np.inf) > 1e-9 * highest_k]


@kernel
def _cell(k: float, nodes: Float64, near: int) -> int:
    """Cell of a frequency within the nodes, sought from a cell near it."""
    while k < nodes[near]:
        near -= 1
    while k > nodes[near + 1]:
        near += 1
    return near


@kernel
def _place(k: float, nodes: Float64, near: int) -> tuple[int, np.float32]:
    """Cell of a frequency, within the nodes, and how far into it as a share of its width."""
    cell = _cell(k, nodes, near)
    return cell, np.float32((k - nodes[cell]) / (nodes[cell + 1] - nodes[cell]))


@kernel
def _multiply(
    spectrum: Complex64,
    k_y: Float64,
    k_x: Float64,
    turn: Float64,
    gains: Float32,
    nodes_across: Float64,
    nodes_along: Float64,
    lowest: float,
) -> None:
    highest = nodes_across[-1]
    i = j = 0  # along a row of the spectrum the next frequency is in the same cell or the next
    for row in range(len(k_y)):
        for column in range(len(k_x)):
            across = turn[0, 0] * k_x[column] + turn[0, 1] * k_y[row]
            along = turn[1, 0] * k_x[column] + turn[1, 1] * k_y[row]
            if across < 0:
                across, along = -across, -along
            i, fraction = _place(min(max(across, lowest), highest), nodes_across, i)
            j, part = _place(min(max(along, -highest), highest), nodes_along, j)
            low = gains[i, j] + part * (gains[i, j + 1] - gains[i, j])
            high = gains[i + 1, j] + part * (gains[i + 1, j + 1] - gains[i + 1, j])
            spectrum[row, column] *= low + fraction * (high - low)


@kernel
def _multiply_upright(
    spectrum: Complex64,
    k_y: Float64,
    k_x: Float64,
    gains: Float32,
    nodes_across: Float64,
    nodes_along: Float64,
    lowest: float,
) -> None:
    """As ``_multiply`` without a turn: rows have the same cells, and each one place along them."""
    highest = nodes_across[-1]
    cells, fractions = np.empty(len(k_x), np.intp), np.empty(len(k_x), np.float32)
    line = np.empty(len(nodes_across), np.float32)
    i = j = 0
    for column in range(len(k_x)):
        i, fractions[column] = _place(min(max(k_x[column], lowest), highest), nodes_across, i)
        cells[column] = i
    for row in range(len(k_y)):
        j, part = _place(min(max(k_y[row], -highest), highest), nodes_along, j)
        for n in range(len(line)):
            line[n] = gains[n, j] + part * (gains[n, j + 1] - gains[n, j])
        for column in range(len(k_x)):
            low, high = line[cells[column]], line[cells[column] + 1]
            spectrum[row, column] *= low + fractions[column] * (high - low)


@kernel
def _multiply_round(
    spectrum: Complex64,
    k_y: Float64,
    k_x: Float64,
    turn: Float64,
    radii: Float64,
    factors: Float64,
    lowest: float,
) -> None:
    """Multiply by factors that depend on the distance from zero frequency alone."""
    n = 0
    for row in range(len(k_y)):
        for column in range(len(k_x)):
            across = turn[0, 0] * k_x[column] + turn[0, 1] * k_y[row]
            along = turn[1, 0] * k_x[column] + turn[1, 1] * k_y[row]
            radius = min(np.hypot(max(abs(across), lowest), along), radii[-1])
            n = _cell(radius, radii, n)
            share = (radius - radii[n]) / (radii[n + 1] - radii[n])
            spectrum[row, column] *= np.float32(factors[n] + share * (factors[n + 1] - factors[n]))
