"""The network: seven bands, eight rectified units, one density."""

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

__all__ = ["UNITS", "Head", "Taught"]

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

#: Rectified units.
UNITS = 8
_TENSORS = ("hidden", "threshold", "output", "linear", "bias", "limit")


@dataclass(frozen=True, eq=False)
class Head:
    """A network of one hidden layer beside a linear path: 80 numbers to learn.

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


@dataclass(frozen=True, eq=False)
class Taught:
    """A head, and the bands that it was taught for.

    Attributes
    ----------
    head : Head
    deviation : (BANDS,)
        Standard deviations of the bands, within their limits.
    """

    head: Head
    deviation: Float64

    def for_bands(self, deviation: Float64) -> Head:
        """The head for the bands of a sister series, whatever the scale of its densities."""
        head = self.head.for_deviations(self.deviation, deviation)
        # the low bands are nearly all signal: they tell the scale
        low = slice(0, BANDS // 2 + 1)
        scale = np.linalg.norm(deviation[low]) / np.linalg.norm(self.deviation[low])
        part = np.float32(scale)
        return replace(
            head,
            output=head.output * part,
            linear=head.linear * part,
            bias=np.float32(head.bias * part),
        )

    def facts(self) -> dict[str, object]:
        """All numbers, for the record."""
        head = self.head
        return {
            "formula": "bias + linear . bands + output . max(0, hidden bands + threshold)",
            **{
                name: np.asarray(getattr(head, name), dtype=np.float64).tolist()
                for name in _TENSORS
            },
            "deviation": self.deviation.tolist(),
        }

    def to_bundle(self, metadata: Mapping[str, Any]) -> Bundle:
        """For a file; the metadata say what it was taught on."""
        tensors = {name: np.atleast_1d(getattr(self.head, name)) for name in _TENSORS}
        return Bundle("head", {**tensors, "deviation": self.deviation}, metadata)

    @classmethod
    def from_bundle(cls, bundle: Bundle, path: Path) -> Taught:
        """What :meth:`to_bundle` made.

        Raises
        ------
        InputError
            If arrays are missing or have other shapes.
        """
        tensors = bundle.tensors
        shapes = {
            "hidden": (UNITS, BANDS),
            "threshold": (UNITS,),
            "output": (UNITS,),
            "linear": (BANDS,),
            "bias": (1,),
            "limit": (BANDS,),
            "deviation": (BANDS,),
        }
        for name, shape in shapes.items():
            found = tensors[name].shape if name in tensors else None
            if found != shape:
                raise InputError(
                    f"{path}: array {name!r} of a head has the shape {shape}, but here {found}: "
                    "train it again with this tomofilt"
                )
        if min(tensors["deviation"].min(), tensors["limit"].min()) <= 0:
            raise InputError(f"{path}: a head's deviations and limits are positive numbers")
        hidden, threshold, output, linear, bias, limit = (
            tensors[name].astype(np.float32) for name in _TENSORS
        )
        head = Head(hidden, threshold, output, linear, np.float32(bias[0]), limit)
        return cls(head, tensors["deviation"].astype(np.float64))
