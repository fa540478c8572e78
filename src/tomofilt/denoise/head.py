"""The network: seven bands, eight rectified units, one density."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

__all__ = ["UNITS", "Head"]

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

#: Rectified units.
UNITS = 8


@dataclass(frozen=True, eq=False)
class Head:
    """A network of one hidden layer beside a linear path: 81 numbers.

    ``density = bias + linear . bands + output . max(0, hidden @ bands + threshold)``

    What lies outside the limits within which the network was trained, gold beads above all, is no
    business of it and passes unchanged: bands are cut at their limits, and what was cut off is
    added to the density.

    Attributes
    ----------
    hidden : (UNITS, BANDS) float32
    threshold : (UNITS,) float32
    output : (UNITS,) float32
    linear : (BANDS,) float32
    bias : float32
    limit : (BANDS,) float32
        Largest magnitude of each band.
    """

    hidden: Float32
    threshold: Float32
    output: Float32
    linear: Float32
    bias: np.float32
    limit: Float32

    def __call__(self, bands: Float32) -> Float32:
        """Densities (...) of bands (BANDS, ...)."""
        axes = (-1, *(1,) * (bands.ndim - 1))
        limit = self.limit.reshape(axes)
        excess = bands.sum(axis=0)
        bands = np.clip(bands, -limit, limit)
        excess -= bands.sum(axis=0)
        units = np.tensordot(self.hidden, bands, 1) + self.threshold.reshape(axes)
        np.maximum(units, 0, out=units)
        density = np.tensordot(self.output, units, 1) + np.tensordot(self.linear, bands, 1)
        return np.asarray(density + self.bias + excess, dtype=np.float32)

    def for_deviations(self, taught: Float64, met: Float64) -> Head:
        """The head for bands of other standard deviations than it was trained on.

        Parameters
        ----------
        taught, met : (BANDS,)
            Standard deviations of the bands in training, and of those to come.
        """
        ratio = (met / taught).astype(np.float32)
        return replace(
            self, hidden=self.hidden / ratio, linear=self.linear / ratio, limit=self.limit * ratio
        )

    def mixed(self, share: float) -> Head:
        """The head whose densities are ``share`` of this one's and the rest of the tomogram's."""
        part = np.float32(share)
        return replace(
            self,
            output=self.output * part,
            linear=self.linear * part + (1 - part),
            bias=np.float32(self.bias * part),
        )
