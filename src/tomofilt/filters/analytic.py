"""Filters with a formula, in density scale: the sum of the filtered views is the density.

Every filter here except :class:`Unfiltered` is the ramp of a view times a window. The ramp of
view v is ``|k| dtheta_v scale_v p`` with k in 1/angstrom, ``dtheta_v`` the view's share of the
angular range, ``scale_v`` its magnification and p the length unit of the line integrals, so that
a fully sampled, noise-free series gives back the specimen's densities.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from tomofilt.errors import InputError
from tomofilt.filters.protocol import Filter, FilterContext

__all__ = [
    "MAIN_LOBE_AREA",
    "WINDOWS",
    "Exact",
    "Frequency",
    "Gaussian",
    "Radial",
    "RampTimes",
    "SirtLike",
    "Unfiltered",
    "Windowed",
    "angular_steps",
    "ramp_weights",
    "sirt_window",
]

FloatArray = NDArray[np.float64]

_SAME_TILT_DEG = 1e-3
# Area under the main lobe of sinc(x) = sin(pi x) / (pi x): (2 / pi) Si(pi).
MAIN_LOBE_AREA = 1.1789797444721675

WINDOWS: Mapping[str, Callable[[FloatArray], FloatArray]] = {
    "ramp": np.ones_like,
    "shepp-logan": lambda r: np.asarray(np.sinc(r / 2)),
    "cosine": lambda r: np.asarray(np.cos(np.pi * r / 2)),
    "hamming": lambda r: np.asarray(0.54 + 0.46 * np.cos(np.pi * r)),
    "hann": lambda r: np.asarray(np.cos(np.pi * r / 2) ** 2),
}
"""Windows on r = frequency / cut-off, for r in 0..1 (ODL's definitions)."""


@dataclass(frozen=True)
class Frequency:
    """A spatial frequency as a user gives it.

    Parameters
    ----------
    value : float
        Cycles per pixel of the filtered images, or a resolution in angstrom.
    is_resolution : bool
        Whether ``value`` is a resolution; it then means the frequency ``1 / value`` per angstrom.

    Raises
    ------
    InputError
        If the value is not positive and finite.
    """

    value: float
    is_resolution: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.value < np.inf:
            raise InputError(f"a frequency of {self} must be greater than zero")

    def __str__(self) -> str:
        return repr(float(self.value)).removesuffix(".0") + ("A" if self.is_resolution else "")

    @classmethod
    def parse(cls, text: str) -> Frequency:
        """Read ``"0.25"`` (cycles per pixel) or ``"60A"`` (resolution in angstrom)."""
        number = text.strip()
        is_resolution = number[-1:] in ("A", "a")
        try:
            return cls(float(number[:-1] if is_resolution else number), is_resolution)
        except ValueError as error:
            raise InputError(
                f"{text!r} is not a frequency: give a positive number, in cycles per pixel "
                "('0.25') or as a resolution in angstrom ('60A')"
            ) from error

    def per_angst(self, context: FilterContext) -> float:
        """Value in 1/angstrom."""
        return 1 / self.value if self.is_resolution else self.value / context.pixel_angst


def angular_steps(tilt_deg: FloatArray) -> FloatArray:
    """Angular range that each view stands for, in radians.

    Half the distance between the two neighbours in tilt; at the ends the whole gap to the only
    neighbour. Views at one tilt share their step. A single tilt stands for the half turn.

    Parameters
    ----------
    tilt_deg : (view,)
        Tilt angles in any order.

    Returns
    -------
    (view,) array
    """
    order = np.argsort(tilt_deg, kind="stable")
    ascending = np.asarray(tilt_deg, dtype=np.float64)[order]
    is_new = np.diff(ascending, prepend=-np.inf) > _SAME_TILT_DEG
    tilt = np.radians(ascending[is_new])
    group = np.cumsum(is_new) - 1
    if len(tilt) == 1:
        step = np.array([np.pi])
    else:
        gap = np.diff(tilt)
        step = (np.concatenate([gap[:1], gap]) + np.concatenate([gap, gap[-1:]])) / 2
    steps = np.empty(len(order))
    steps[order] = (step / np.bincount(group))[group]
    return steps


def ramp_weights(context: FilterContext) -> FloatArray:
    """Slope of the ramp of each view, in angstrom: angular step x magnification x unit length.

    Parameters
    ----------
    context : FilterContext

    Returns
    -------
    (view,) array
    """
    return angular_steps(context.tilt_deg) * context.scale * context.density_pixel_angst


def sirt_window(cycles_per_px: FloatArray, iterations: int) -> FloatArray:
    """Window that turns a ramp into IMOD's SIRT-like filter (``FakeSIRTiterations``).

    ``1 - (1 - a / f)^(n' + 0.3)`` for f >= a = 0.00195, and 1 below, where n' is the number of
    iterations, counted 0.8 fold beyond 15 and 0.6 fold beyond 30; after G. L. Zeng, Med. Phys.
    39 (2012) 603, the window of n Landweber iterations.
    """
    first = 0.00195
    counted = min(iterations, 15) + 0.8 * min(max(iterations - 15, 0), 15)
    counted += 0.6 * max(iterations - 30, 0)
    ratio = first / np.maximum(cycles_per_px, first)
    return np.asarray(1 - (1 - ratio) ** (counted + 0.3))


def _per_view(values: FloatArray, frequencies: FloatArray) -> FloatArray:
    """Give per-view values as many axes as views times frequencies have."""
    return values.reshape(-1, *(1,) * frequencies.ndim)


class _RampFilter(Filter):
    """The ramp of each view times a window on frequency."""

    def gains(
        self, k_across: FloatArray, k_along: FloatArray, context: FilterContext
    ) -> FloatArray:
        """Gains of every view; see :meth:`Filter.gains`."""
        across, along = np.broadcast_arrays(np.abs(k_across), k_along)
        return _per_view(ramp_weights(context), across) * (
            across * self._window(across, along, context)
        )

    @abstractmethod
    def _window(
        self, k_across: FloatArray, k_along: FloatArray, context: FilterContext
    ) -> FloatArray:
        """Window at frequencies in 1/angstrom; ``k_across`` is positive."""


@dataclass(frozen=True)
class Windowed(_RampFilter):
    """Ramp times one of :data:`WINDOWS`, zero beyond the cut-off.

    Parameters
    ----------
    window : str
        Name in :data:`WINDOWS`.
    cutoff : Frequency, optional
        Where the window ends; half a cycle per pixel without.
    """

    window: str
    cutoff: Frequency | None = None

    @property
    def spec(self) -> str:
        """``"hann"``, or ``"hann:0.25"`` with a cut-off."""
        return self.window if self.cutoff is None else f"{self.window}:{self.cutoff}"

    def _window(
        self, k_across: FloatArray, k_along: FloatArray, context: FilterContext
    ) -> FloatArray:
        ratio = k_across / (self.cutoff or Frequency(0.5)).per_angst(context)
        # The margin keeps a bin on the cut-off whatever the rounding of its frequency.
        return np.where(ratio <= 1 + 1e-9, WINDOWS[self.window](np.minimum(ratio, 1.0)), 0.0)


@dataclass(frozen=True)
class RampTimes(_RampFilter):
    """Ramp times a function of one's own.

    Parameters
    ----------
    window : callable
        From frequencies across the tilt axis, (k,) in 1/angstrom and zero or above, to factors.
    name : str
        What logs and records call it. Records tell it from other functions by this name alone.
    """

    window: Callable[[FloatArray], FloatArray]
    name: str

    @property
    def spec(self) -> str:
        """The name."""
        return self.name

    def _window(
        self, k_across: FloatArray, k_along: FloatArray, context: FilterContext
    ) -> FloatArray:
        return np.asarray(self.window(np.abs(k_across)), dtype=np.float64)


@dataclass(frozen=True)
class Gaussian(_RampFilter):
    """Ramp times an isotropic Gaussian, ``exp(-(k_across^2 + k_along^2) / (2 sigma^2))``.

    Parameters
    ----------
    sigma : Frequency
        Standard deviation in frequency.
    """

    two_dimensional: ClassVar[bool] = True
    even_along: ClassVar[bool] = True
    sigma: Frequency

    @property
    def spec(self) -> str:
        """``"gaussian:0.06"``, say."""
        return f"gaussian:{self.sigma}"

    def _window(
        self, k_across: FloatArray, k_along: FloatArray, context: FilterContext
    ) -> FloatArray:
        sigma = self.sigma.per_angst(context)
        return np.asarray(np.exp(-(k_across**2 + k_along**2) / (2 * sigma**2)))


@dataclass(frozen=True)
class Radial(_RampFilter):
    """Ramp up to a cut-off, then constant times a Gaussian, as IMOD's RADIAL.

    Parameters
    ----------
    cutoff : Frequency
        Where the ramp ends.
    sigma : Frequency
        True standard deviation of the fall-off, in frequency.
    """

    cutoff: Frequency
    sigma: Frequency

    @property
    def spec(self) -> str:
        """``"radial:0.35,0.035"``, say."""
        return f"radial:{self.cutoff},{self.sigma}"

    def _window(
        self, k_across: FloatArray, k_along: FloatArray, context: FilterContext
    ) -> FloatArray:
        cutoff, sigma = self.cutoff.per_angst(context), self.sigma.per_angst(context)
        beyond = np.maximum(k_across - cutoff, 0.0)
        constant = np.minimum(1.0, cutoff / k_across)
        return np.asarray(constant * np.exp(-(beyond**2) / (2 * sigma**2)))


@dataclass(frozen=True)
class SirtLike(_RampFilter):
    """Ramp times :func:`sirt_window`: looks like n iterations of SIRT.

    Parameters
    ----------
    iterations : int
        Number of iterations to look like.
    """

    iterations: int

    def __post_init__(self) -> None:
        if self.iterations < 1:
            raise InputError(f"{self.iterations} SIRT iterations: give 1 or more")

    @property
    def spec(self) -> str:
        """``"sirt-like:10"``, say."""
        return f"sirt-like:{self.iterations}"

    def _window(
        self, k_across: FloatArray, k_along: FloatArray, context: FilterContext
    ) -> FloatArray:
        return sirt_window(k_across * context.pixel_angst, self.iterations)


@dataclass(frozen=True)
class Exact(Filter):
    """Filter that weighs each frequency by how many views measured it.

    ``(1 / D) / sum_m' c(L D q |sin(theta_m - theta_m')|)``, with D the thickness of the specimen,
    q the frequency in the specimen, c the main lobe of sinc and L its area (Harauz & van Heel,
    Optik 73 (1986) 146). L makes the lobe as wide as the whole sinc, so that both limits are
    right: 1 / (number of views x D) where all views overlap, and for dense views ``q dtheta``,
    the ramp, since then the sum tends to ``1 / (D q dtheta)``.

    Parameters
    ----------
    thickness_angst : float, optional
        D; the context's thickness without.
    """

    thickness_angst: float | None = None

    def __post_init__(self) -> None:
        if self.thickness_angst is not None and not 0 < self.thickness_angst < np.inf:
            raise InputError(f"a thickness of {self.thickness_angst} A must be greater than zero")

    @property
    def spec(self) -> str:
        """``"exact"``, or ``"exact:2000"`` with a thickness."""
        if self.thickness_angst is None:
            return "exact"
        return "exact:" + repr(float(self.thickness_angst)).removesuffix(".0")

    def gains(
        self, k_across: FloatArray, k_along: FloatArray, context: FilterContext
    ) -> FloatArray:
        """Gains of every view; see :meth:`Filter.gains`."""
        across, _ = np.broadcast_arrays(np.abs(k_across), k_along)
        thickness = self.thickness_angst or context.thickness_angst
        tilt = np.radians(context.tilt_deg)
        gains = np.empty((len(tilt), *across.shape))
        for view, scale in enumerate(context.scale):
            distance = _per_view(np.abs(np.sin(tilt - tilt[view])), across) * (across * scale)
            lobe = np.minimum(MAIN_LOBE_AREA * thickness * distance, 1.0)
            gains[view] = context.density_pixel_angst / (thickness * np.sinc(lobe).sum(axis=0))
        return gains


@dataclass(frozen=True)
class Unfiltered(Filter):
    """Plain back-projection: gain 1 at every frequency of every view."""

    @property
    def spec(self) -> str:
        """``"none"``."""
        return "none"

    def gains(
        self, k_across: FloatArray, k_along: FloatArray, context: FilterContext
    ) -> FloatArray:
        """Gains of every view; see :meth:`Filter.gains`."""
        shape = np.broadcast_shapes(np.shape(k_across), np.shape(k_along))
        return np.ones((len(context.tilt_deg), *shape))
