"""Two-dimensional gains in a table, from which any spectrum is multiplied at once.

Gains change smoothly, and fastest near zero frequency. A table that is fine there holds a filter of
all views in megabytes, however large the images are, and serves images in any orientation.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tomofilt.filters.protocol import Filter, FilterContext
from tomofilt.jit import kernel

__all__ = ["GainTable"]

Float64 = NDArray[np.float64]
Float32 = NDArray[np.float32]
Complex64 = NDArray[np.complex64]

# Interpolated between so many nodes, smooth gains are right to 1e-4 of the largest, and those with
# kinks, where slices cease to overlap, to 5e-3.
_ACROSS, _ALONG = 256, 128


class GainTable:
    """Gains of every view on a grid of frequencies across and along the tilt axis.

    Node i lies at ``(i / n)^2`` of the highest frequency. Frequencies across the axis begin at
    zero, those along it run from negative to positive.

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
        self._lowest, self._highest = lowest_k, highest_k
        across = highest_k * (np.arange(_ACROSS + 1) / _ACROSS) ** 2
        share = np.arange(-_ALONG, _ALONG + 1) / _ALONG
        along = highest_k * np.sign(share) * share**2
        gains = filter.gains(np.maximum(across, lowest_k / 2)[:, None], along[None, :], context)
        self._gains: Float32 = np.ascontiguousarray(gains, dtype=np.float32)

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
        _multiply(spectrum, k_y, k_x, turn, self._gains[view], self._highest, self._lowest)


@kernel
def _multiply(
    spectrum: Complex64,
    k_y: Float64,
    k_x: Float64,
    turn: Float64,
    gains: Float32,
    highest: float,
    lowest: float,
) -> None:
    last_across, middle = gains.shape[0] - 1, gains.shape[1] // 2
    last_along = gains.shape[1] - 1
    for row in range(len(k_y)):
        for column in range(len(k_x)):
            across = turn[0, 0] * k_x[column] + turn[0, 1] * k_y[row]
            along = turn[1, 0] * k_x[column] + turn[1, 1] * k_y[row]
            if across < 0:
                across, along = -across, -along
            position = last_across * np.sqrt(max(across, lowest) / highest)
            i = min(int(position), last_across - 1)
            fraction = min(np.float32(position - i), np.float32(1))
            offset = np.sqrt(abs(along) / highest) * middle
            place = min(max(middle + (offset if along > 0 else -offset), 0.0), float(last_along))
            j = min(int(place), last_along - 1)
            part = np.float32(place - j)
            low = gains[i, j] + part * (gains[i, j + 1] - gains[i, j])
            high = gains[i + 1, j] + part * (gains[i + 1, j + 1] - gains[i + 1, j])
            spectrum[row, column] *= low + fraction * (high - low)
