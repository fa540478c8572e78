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
_SHAPES = {
    "hidden": (INPUTS, UNITS),
    "threshold": (UNITS,),
    "gate": (GATED, UNITS),
    "linear": (BANDS,),
    "bias": (1,),
    "limit": (BANDS,),
    "deviation": (BANDS,),
    "scale": (1,),
}


@dataclass(frozen=True, eq=False)
class Head:
    """A network of one hidden layer that says how much of each band counts: 248 numbers to learn.

    With bands in units of their standard deviations and cut at their limits,
    ``density = scale * (bias + weights . bands)`` and
    ``weights = linear + gate @ max(0, inputs @ hidden + threshold)``,
    where the two lowest bands have no gate. What was cut off, gold beads above all, is added to the
    density as it is.

    Attributes
    ----------
    hidden : (INPUTS, UNITS) float32
    threshold : (UNITS,) float32
    gate : (GATED, UNITS) float32
    linear : (BANDS,) float32
    bias : float32
    limit : (BANDS,)
        Largest magnitude of each band, in standard deviations.
    deviation : (BANDS,)
        Standard deviations of the bands, within their limits, of the tomogram.
    scale : float
        Density for an output of 1.
    """

    hidden: Float32
    threshold: Float32
    gate: Float32
    linear: Float32
    bias: np.float32
    limit: Float64
    deviation: Float64
    scale: float

    @property
    def linear_weights(self) -> Float32:
        """Factors (BANDS,) on the bands of the tomogram, where all gates are closed."""
        return np.asarray(self.linear * self.scale / self.deviation, dtype=np.float32)

    def weights(self, inputs: Float32) -> Float32:
        """Factors (GATED, ...) on the gated bands of the tomogram, from inputs (INPUTS, ...)."""
        flat = inputs.reshape(INPUTS, -1)
        units = self.hidden.T @ flat + self.threshold[:, None]
        np.maximum(units, 0, out=units)
        factor = (self.scale / self.deviation[FIRST_GATED:, None]).astype(np.float32)
        weights = self.gate @ units
        weights += self.linear[FIRST_GATED:, None]
        weights *= factor
        return np.asarray(weights.reshape(GATED, *inputs.shape[1:]))

    def __call__(self, bands: Float32, inputs: Float32) -> Float32:
        """Densities (...) of bands (BANDS, ...) with their inputs (INPUTS, ...)."""
        most = (self.limit * self.deviation).astype(np.float32)
        most = most.reshape(-1, *(1,) * (bands.ndim - 1))
        cut = np.clip(bands, -most, most)
        density = (bands - cut).sum(axis=0) + np.float32(self.bias * self.scale)
        density += np.tensordot(self.linear_weights[:FIRST_GATED], cut[:FIRST_GATED], 1)
        density += (self.weights(inputs) * cut[FIRST_GATED:]).sum(axis=0)
        return np.asarray(density, dtype=np.float32)

    def for_tomogram(self, deviation: Float64) -> Head:
        """The head for another tomogram of the same views, or of more of them."""
        return replace(self, deviation=deviation)

    def for_series(self, deviation: Float64) -> Head:
        """The head for a sister series, whatever the scale of its densities."""
        # the low bands are nearly all signal: they tell the scale
        low = slice(0, BANDS // 2 + 1)
        ratio = np.linalg.norm(deviation[low]) / np.linalg.norm(self.deviation[low])
        return replace(self, deviation=deviation, scale=self.scale * float(ratio))

    def low_passed(self, factor: Float64) -> Head:
        """The head whose output has its bands multiplied by a factor (BANDS,) each."""
        return replace(
            self,
            gate=(self.gate * factor[FIRST_GATED:, None]).astype(np.float32),
            linear=(self.linear * factor).astype(np.float32),
        )

    def tensors(self) -> dict[str, NDArray[Any]]:
        """All numbers, as arrays."""
        return {name: np.atleast_1d(getattr(self, name)) for name in _SHAPES}

    def facts(self) -> dict[str, object]:
        """All numbers, for the record."""
        return {
            "formula": "scale (bias + weights . bands / deviation), "
            "weights = linear + gate max(0, inputs hidden + threshold)",
            **{name: values.tolist() for name, values in self.tensors().items()},
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
        if min(tensors[name].min() for name in ("limit", "deviation", "scale")) <= 0:
            raise InputError(f"{path}: a head's limits, deviations and scale are positive numbers")
        hidden, threshold, gate, linear, bias = (
            tensors[name].astype(np.float32)
            for name in ("hidden", "threshold", "gate", "linear", "bias")
        )
        limit, deviation = (tensors[name].astype(np.float64) for name in ("limit", "deviation"))
        scale = float(tensors["scale"][0])
        return cls(hidden, threshold, gate, linear, np.float32(bias[0]), limit, deviation, scale)
