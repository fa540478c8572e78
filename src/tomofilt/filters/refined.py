"""The Wiener-exact filter times a few gains that series taught it, the same for all views."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomofilt.errors import InputError
from tomofilt.filters.protocol import FilterContext
from tomofilt.filters.wiener import WienerExact
from tomofilt.io.bundle import Bundle

__all__ = ["REFINED_BASE", "RefinedFilter"]

FloatArray = NDArray[np.float64]

#: What a bundle's metadata say the gains go on top of.
REFINED_BASE = "wiener-exact:match"
_MOST_NODES = 64


@dataclass(frozen=True, kw_only=True)
class RefinedFilter(WienerExact):
    """``wiener-exact:match`` of the series at hand, times a function of the frequency's length.

    It is measured like its base (:mod:`tomofilt.reconstruction.measure`).

    Parameters
    ----------
    k_per_angst : tuple of float
        Nodes, ascending, 1/angstrom.
    factors : tuple of float
        At the nodes; linear between them, constant beyond.
    name : str
        What logs call the filter.
    bundle : Bundle, optional
        What it was read from.

    Raises
    ------
    InputError
        If nodes and factors do not go together.
    """

    k_per_angst: tuple[float, ...]
    factors: tuple[float, ...]
    # the fingerprint of a tomogram rests on what is shown: contents, not names
    name: str = field(default="", repr=False)
    bundle: Bundle | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        nodes, factors = np.array(self.k_per_angst), np.array(self.factors)
        if self.preset != "match":
            raise InputError(f"gains go on top of {REFINED_BASE}, not of another preset")
        if not 0 < len(nodes) <= _MOST_NODES or nodes.shape != factors.shape:
            raise InputError(
                f"{len(nodes)} nodes and {len(factors)} factors: give as many, 1 to {_MOST_NODES}"
            )
        if np.any(np.diff(nodes) <= 0) or not nodes[0] > 0:
            raise InputError("the frequencies of the nodes have to be above zero and ascend")
        if not (np.isfinite(nodes).all() and np.isfinite(factors).all()):
            raise InputError("a node or a factor is no number")

    @property
    def spec(self) -> str:
        """``"learned:NAME"``."""
        return f"learned:{self.name}"

    def facts(self) -> dict[str, object]:
        """What was measured, and the factors; see :meth:`Filter.facts`."""
        facts = super().facts() | {
            "base": REFINED_BASE,
            "k_per_angst": list(self.k_per_angst),
            "factors": list(self.factors),
        }
        if self.bundle is not None:
            facts |= {"sha256": self.bundle.sha256, "metadata": dict(self.bundle.metadata)}
        return facts

    def gains(
        self, k_across: FloatArray, k_along: FloatArray, context: FilterContext
    ) -> FloatArray:
        """Gains of every view; see :meth:`Filter.gains`."""
        factor = np.interp(np.hypot(k_across, k_along), self.k_per_angst, self.factors)
        return np.asarray(super().gains(k_across, k_along, context) * factor)

    def kinks(self) -> tuple[FloatArray, FloatArray]:
        """Frequencies of the nodes; see :meth:`Filter.kinks`."""
        nodes = np.array(self.k_per_angst)
        return nodes, np.concatenate([-nodes[::-1], nodes])

    def to_bundle(self, metadata: Mapping[str, Any]) -> Bundle:
        """The filter as a bundle, without what was measured; the metadata get ``"base"``."""
        tensors = {"k_per_angst": np.array(self.k_per_angst), "factors": np.array(self.factors)}
        return Bundle("filter", tensors, {**metadata, "base": REFINED_BASE})

    @classmethod
    def from_bundle(cls, bundle: Bundle, name: str = "") -> RefinedFilter:
        """The filter in a bundle, to be measured.

        Raises
        ------
        InputError
            If it is another filter's, or does not go together.
        """
        if bundle.kind != "filter" or bundle.metadata.get("base") != REFINED_BASE:
            raise InputError(f"bundle {name}: it does not hold gains on top of {REFINED_BASE}")
        if bundle.tensors.keys() != {"k_per_angst", "factors"}:
            raise InputError(f"bundle {name} holds {', '.join(sorted(bundle.tensors))}")
        nodes, factors = (np.ravel(bundle.tensors[key]) for key in ("k_per_angst", "factors"))
        try:
            return cls(
                "match",
                k_per_angst=tuple(map(float, nodes)),
                factors=tuple(map(float, factors)),
                name=name,
                bundle=bundle,
            )
        except InputError as error:
            raise InputError(f"bundle {name}: {error}") from error
