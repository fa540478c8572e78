"""The network: gates for the bands of a tomogram, from what is nearby."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomofilt.denoise.bands import BANDS
from tomofilt.errors import InputError
from tomofilt.io.bundle import Bundle

__all__ = ["FIRST_GATED", "GATED", "INPUTS", "UNITS", "Head"]

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

#: Rectified units.
UNITS = 16
#: Four bands and the log energies of five.
INPUTS = 9
#: The lowest band that is gated. Those below hold gradients and large shapes: they pass linearly.
FIRST_GATED = 2
GATED = BANDS - FIRST_GATED
#: Voxels whose units stay in the cache together.
_AT_ONCE = 4096
#: Weights are between 0 and this: what no example has shown does no harm.
LARGEST_WEIGHT = 2.0
_SHAPES = {
    "hidden": (INPUTS, UNITS),
    "threshold": (UNITS,),
    "gate": (GATED, UNITS),
    "linear": (GATED,),
    "limit": (BANDS,),
    "deviation": (BANDS,),
}


@dataclass(frozen=True, eq=False)
class Head:
    """A network of one hidden layer that says how much of each band counts: 245 numbers to learn.

    ``density = lowest bands + weights . other bands``, with
    ``weights = linear + gate @ max(0, inputs @ hidden + threshold)`` between 0 and 2.
    Weights of 1 leave the tomogram as it is. Bands are cut at their limits first; what was cut off,
    bright or dark spots above all, is added as it is. A series goes from 1 towards these weights as
    far as its ``strength``.

    Attributes
    ----------
    hidden : (INPUTS, UNITS) float32
    threshold : (UNITS,) float32
    gate : (GATED, UNITS) float32
    linear : (GATED,) float32
    limit : (BANDS,)
        Largest magnitude of each band, in standard deviations.
    deviation : (BANDS,)
        Standard deviations of the bands, within their limits, of the tomogram.
    strength : float
        From 0, the tomogram as it is, to 1. It is a series' own and not kept in a file.
    """

    hidden: Float32
    threshold: Float32
    gate: Float32
    linear: Float32
    limit: Float64
    deviation: Float64
    strength: float = 1.0

    @property
    def largest(self) -> Float32:
        """Largest magnitude of each band (BANDS,), as a density."""
        return np.asarray(self.limit * self.deviation, dtype=np.float32)

    def weights(self, inputs: Float32) -> Float32:
        """Factors (GATED, ...) on the gated bands, from inputs (INPUTS, ...)."""
        given = inputs.reshape(INPUTS, -1)
        weights = np.empty((GATED, given.shape[1]), dtype=np.float32)
        for start in range(0, given.shape[1], _AT_ONCE):
            piece = slice(start, start + _AT_ONCE)
            units = self.hidden.T @ given[:, piece] + self.threshold[:, None]
            np.maximum(units, 0, out=units)
            made = np.clip(self.gate @ units + self.linear[:, None], 0, LARGEST_WEIGHT)
            weights[:, piece] = 1 + np.float32(self.strength) * (made - 1)
        return weights.reshape(GATED, *inputs.shape[1:])

    def __call__(self, bands: Float32, inputs: Float32) -> Float32:
        """Densities (...) of bands (BANDS, ...) with their inputs (INPUTS, ...)."""
        most = self.largest.reshape(-1, *(1,) * (bands.ndim - 1))
        change = (self.weights(inputs) - 1) * np.clip(bands, -most, most)[FIRST_GATED:]
        return np.asarray(bands.sum(axis=0) + change.sum(axis=0), dtype=np.float32)

    def for_tomogram(self, deviation: Float64) -> Head:
        """The head for another tomogram, whatever the scale of its densities."""
        return replace(self, deviation=deviation)

    def tensors(self) -> dict[str, NDArray[Any]]:
        """What is learned and kept, as arrays."""
        return {name: np.atleast_1d(getattr(self, name)) for name in _SHAPES}

    def facts(self) -> dict[str, object]:
        """All numbers, for the record."""
        return {
            "formula": "1 + strength (linear + gate max(0, inputs hidden + threshold) - 1)",
            **{name: values.tolist() for name, values in self.tensors().items()},
            "strength": self.strength,
        }

    def to_bundle(self, metadata: Mapping[str, Any]) -> Bundle:
        """For a file; the metadata say what it was trained on."""
        return Bundle("head", self.tensors(), metadata)

    @classmethod
    def from_bundle(cls, bundle: Bundle, path: Path) -> Head:
        """What :meth:`to_bundle` made.

        Raises
        ------
        InputError
            If it is from an older tomofilt, or damaged.
        """
        tensors = bundle.tensors
        if "output" in tensors and "gate" not in tensors:
            raise InputError(
                f"{path} holds a network of an older tomofilt, which this one cannot use: train it "
                "again with `tomofilt train head`"
            )
        for name, shape in _SHAPES.items():
            found = tensors[name].shape if name in tensors else None
            if found != shape:
                raise InputError(
                    f"{path}: array {name!r} of a head has the shape {shape}, but here {found}: "
                    "train it again with this tomofilt"
                )
        if min(tensors["limit"].min(), tensors["deviation"].min()) <= 0:
            raise InputError(f"{path}: a head's limits and deviations are positive numbers")
        hidden, threshold, gate, linear = (
            tensors[name].astype(np.float32) for name in ("hidden", "threshold", "gate", "linear")
        )
        limit, deviation = (tensors[name].astype(np.float64) for name in ("limit", "deviation"))
        return cls(hidden, threshold, gate, linear, limit, deviation)
