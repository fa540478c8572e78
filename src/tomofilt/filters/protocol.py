"""What a filter is: gains on physical frequency, for given views."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["ROW_PADDING", "Filter", "FilterContext", "Interpolation", "Padding", "padded_length"]

Padding = Literal["reflect", "zero"]
Interpolation = Literal["fine", "linear"]

#: Against the ramp of a wider specimen, rows padded to 1.5 and to 2 times their length are equally
#: wrong (6 % in rms for an amplitude spectrum of 1 / k, nearly all of it at the ends).
ROW_PADDING = 1.5


def padded_length(width_px: int, factor: float = ROW_PADDING) -> int:
    """Even, fast to transform, and long enough that what wraps around does not matter, in pixels.

    Parameters
    ----------
    width_px : int
    factor : float
        Of ``width_px``, at least.
    """
    from scipy import fft

    shortest = max(ceil(factor * width_px), width_px + 64)
    return 2 * int(fft.next_fast_len((shortest + 1) // 2, real=True))


@dataclass(frozen=True, eq=False)
class FilterContext:
    """What a filter may know about the series it is made for.

    Parameters
    ----------
    tilt_deg : (view,)
        Direction of each central slice in the x-z plane, in any order.
    scale : (view,)
        Magnification of each view across the tilt axis (1 without).
    pixel_angst : float
        Pixel size of the images that are filtered; "cycles per pixel" refers to it.
    density_pixel_angst : float
        Length unit of the line integrals: an image value is a sum of densities over voxels of this
        size (the input's pixel size), so that binning does not change densities.
    thickness_angst : float
        Thickness of the specimen (the tomogram's, when nothing better is known).
    width_px, padded_px : int
        Length of an image row across the tilt axis, before and after padding.
    """

    tilt_deg: NDArray[np.float64]
    scale: NDArray[np.float64]
    pixel_angst: float
    density_pixel_angst: float
    thickness_angst: float
    width_px: int
    padded_px: int


class Filter(ABC):
    """Gains on physical frequency, and what goes with them.

    Attributes
    ----------
    two_dimensional
        Whether the gains depend on the frequency along the tilt axis too.
    even_along
        Whether the gains do not change with the sign of the frequency along the tilt axis.
    padding
        How rows are extended before the FFT: mirrored and tapered, or by zeros.
    weighs_views
        Whether views count by what they were measured, or learned, to hold, dose and all; weights
        for the dose would then count it twice.
    notes
        What the log says about the filter beside its spec.
    """

    two_dimensional: ClassVar[bool] = False
    even_along: ClassVar[bool] = False
    padding: ClassVar[Padding] = "reflect"
    weighs_views: ClassVar[bool] = False
    notes: tuple[str, ...] = ()

    @property
    @abstractmethod
    def spec(self) -> str:
        """The canonical command-line spelling, ``"gaussian:0.06"`` say; records hold it."""

    def facts(self) -> Mapping[str, object]:
        """What the record says about the filter beside its spec; ready for JSON."""
        return {}

    @abstractmethod
    def gains(
        self,
        k_across: NDArray[np.float64],
        k_along: NDArray[np.float64],
        context: FilterContext,
    ) -> NDArray[np.float64]:
        """Real gains of every view.

        Parameters
        ----------
        k_across, k_along : broadcastable arrays
            Frequency across and along the tilt axis, 1/angstrom; gains are even in both together.
            The zero-frequency bin arrives as ``2 / pi^2`` of the first bin, where a ramp takes the
            value that the band-limited real-space ramp kernel has at zero frequency.
        context : FilterContext

        Returns
        -------
        (view, ...) array: the broadcast shape of the frequencies behind the views.
        """

    def padded_px(self, width_px: int) -> int:
        """Length that rows of ``width_px`` pixels are padded to before the FFT; even."""
        return padded_length(width_px)

    def kinks(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Frequencies across and along the tilt axis where two-dimensional gains may have kinks.

        A table of the gains has nodes there, 1/angstrom.
        """
        return np.zeros(0), np.zeros(0)

    def radial_factors(
        self, context: FilterContext
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
        """Factors on the length of the frequency that gains are made of, besides a smooth rest.

        Returns
        -------
        None, or ascending frequencies (n,), the first of them zero, and factors (view, n): linear
        between, constant beyond. The rest are the gains of :meth:`without_radial_factors`.
        """
        return None

    def without_radial_factors(self) -> Filter:
        """The filter whose gains times the radial factors are this one's."""
        return self
