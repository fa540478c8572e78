"""SIRT: not one back-projection of filtered images, but many, each of what is still unexplained."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from tomofilt.errors import InputError
from tomofilt.filters.analytic import Frequency
from tomofilt.filters.protocol import Filter, FilterContext, Interpolation

__all__ = ["Sirt"]

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Sirt(Filter):
    """Iterations of SIRT, of images that may be low-passed first.

    The iterations are made by :class:`tomofilt.projectors.sirt.SirtSolver`. They are linear in the
    images, so that a low-pass of the images is one of the tomogram.

    Parameters
    ----------
    sirt_iterations : int
    sigma : Frequency, optional
        Standard deviation, in frequency, of a Gaussian low-pass across and along the tilt axis.
    """

    two_dimensional: ClassVar[bool] = True
    weighs_views: ClassVar[bool] = True
    # rows of the specimen are independent of each other once it stands upright
    vertical_slices: bool = field(default=True, init=False, repr=False)

    sirt_iterations: int
    sigma: Frequency | None = None

    def __post_init__(self) -> None:
        if self.sirt_iterations < 1:
            raise InputError(f"{self.sirt_iterations} SIRT iterations: give 1 or more")

    @property
    def interpolation(self) -> Interpolation:
        """The pixels themselves: projection has to be the transpose of back-projection."""
        return "linear"

    @property
    def spec(self) -> str:
        """``"sirt:10"``, or ``"sirt:10,0.1"`` with a low-pass."""
        return f"sirt:{self.sirt_iterations}" + ("" if self.sigma is None else f",{self.sigma}")

    def gains(
        self, k_across: FloatArray, k_along: FloatArray, context: FilterContext
    ) -> FloatArray:
        """The low-pass, for every view alike; see :meth:`Filter.gains`."""
        k2 = np.square(k_across) + np.square(k_along)
        sigma = np.inf if self.sigma is None else self.sigma.per_angst(context)
        return np.broadcast_to(np.exp(-k2 / (2 * sigma**2)), (len(context.tilt_deg), *k2.shape))
