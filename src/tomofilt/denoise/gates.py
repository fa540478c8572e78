"""What the network sees: the low bands, and how much each band holds nearby, on a coarse grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from tomofilt.denoise.bands import CoarseBands
from tomofilt.denoise.head import Head

__all__ = ["FLOOR", "averages", "gate_inputs", "gate_weights", "interpolated"]

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

#: Standard deviation, in voxels, of the Gaussian that averages the energies of bands 1 to 5: about
#: a third of their wavelength, and as wide as the coarse grid can hold.
SMOOTHING_PX = (14.0, 8.4, 4.9, 3.2, 2.8)
#: Added to energies before the logarithm: less than that of a band's mean energy is nothing.
FLOOR = 0.02


def gate_inputs(coarse: Sequence[CoarseBands], deviation: Float64, limit: Float64) -> CoarseBands:
    """Compute the inputs of the network at the nodes of the coarsest grid.

    Parameters
    ----------
    coarse : sequence of two CoarseBands
        Of a tomogram.
    deviation : (BANDS,)
        Standard deviations of its bands; everything is in units of these.
    limit : (BANDS,)
        Magnitude at which bands are cut, in standard deviations.

    Returns
    -------
    CoarseBands
        Values at the nodes: bands 0 to 3, then the log energies of bands 1 to 5.
    """
    low, high = coarse
    energies = [
        _log_energy(values / np.float32(deviation[band]), float(limit[band]), sigma, each, low)
        for band, values, sigma, each in (
            *((i, low.values[i], SMOOTHING_PX[i - 1], low) for i in (1, 2, 3)),
            *((i, high.values[i - 4], SMOOTHING_PX[i - 1], high) for i in (4, 5)),
        )
    ]
    bands = [
        np.clip(_at_nodes(values) / np.float32(s), -np.float32(most), np.float32(most))
        for values, s, most in zip(low.values, deviation, limit, strict=False)
    ]
    return replace(low, values=np.stack([*bands, *energies]))


def gate_weights(head: Head, coarse: Sequence[CoarseBands]) -> CoarseBands:
    """Compute the weights by which a head multiplies the gated bands of a tomogram.

    Returns
    -------
    CoarseBands
        B-spline coefficients of the weights.
    """
    inputs = gate_inputs(coarse, head.deviation, head.limit)
    return interpolated(replace(inputs, values=head.weights(inputs.values)))


def interpolated(nodes: CoarseBands) -> CoarseBands:
    """B-spline coefficients with which values at nodes are met exactly."""
    from scipy.ndimage import spline_filter

    values = np.stack([spline_filter(each, order=3, output=np.float32) for each in nodes.values])
    return replace(nodes, values=values)


def _at_nodes(coefficients: Float32) -> Float32:
    """Values (z, y, x) of cubic B-splines at their nodes."""
    from scipy.ndimage import convolve1d

    for axis in range(3):
        coefficients = convolve1d(coefficients, [1 / 6, 4 / 6, 1 / 6], axis=axis, mode="nearest")
    return coefficients


def _log_energy(
    band: Float32, limit: float, sigma_px: float, grid: CoarseBands, nodes: CoarseBands
) -> Float32:
    """Logarithm of the energy of a band on one grid, averaged by a Gaussian, at another's nodes."""
    from scipy.sparse import csr_array

    energy = np.square(band)
    np.minimum(energy, np.float32(limit**2), out=energy)
    # the axis that is contracted goes last: after three turns all are where they were
    for weight in averages(sigma_px, grid, nodes):
        contracted = csr_array(weight) @ energy.reshape(len(energy), -1)
        energy = np.moveaxis(contracted.reshape(-1, *energy.shape[1:]), 0, -1)
    return np.log(energy + np.float32(FLOOR))


def averages(sigma_px: float, grid: CoarseBands, nodes: CoarseBands) -> list[Float32]:
    """Matrices, one an axis, of Gaussian averages on one grid, at another's nodes: mostly zeros."""
    found = []
    for axis in (0, 1, 2):
        to = nodes.first_px[axis] + nodes.step_px * np.arange(nodes.values.shape[axis + 1])
        of = grid.first_px[axis] + grid.step_px * np.arange(grid.values.shape[axis + 1])
        weight = np.exp(-0.5 * ((to[:, None] - of) / sigma_px) ** 2)
        # what does not change a sum in single precision
        weight[weight < np.finfo(np.float32).eps / 2] = 0
        weight /= weight.sum(axis=1, keepdims=True)
        found.append(weight.astype(np.float32))
    return found
