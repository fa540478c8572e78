"""The angles of a tilt series, the order in which they are taken, and the exposures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tomofilt.errors import InputError

__all__ = ["Order", "TiltScheme", "tilt_scheme"]

Float64 = NDArray[np.float64]
Order = Literal["dose-symmetric", "continuous"]


@dataclass(frozen=True, eq=False)
class TiltScheme:
    """The views of a tilt series, by ascending angle.

    Parameters
    ----------
    tilt_deg : (view,)
        Angle between the beam and the normal of the slab.
    stage_deg : (view,)
        Angle that the microscope reports; it differs by the pre-tilt of a lamella.
    acquired : (view,) int
        Position of each view in the order of acquisition, from 0.
    dose_e_per_a2 : float
        Exposure of each view, electrons per square angstrom.
    """

    tilt_deg: Float64
    stage_deg: Float64
    acquired: NDArray[np.intp]
    dose_e_per_a2: float

    @property
    def exposure_before_e_per_a2(self) -> Float64:
        """Exposure of the specimen before each view."""
        return np.asarray(self.acquired * self.dose_e_per_a2, np.float64)

    @property
    def exposure_e_per_a2(self) -> Float64:
        """Exposure of the specimen by the middle of each view."""
        return np.asarray((self.acquired + 0.5) * self.dose_e_per_a2, np.float64)


def tilt_scheme(
    stage_deg: ArrayLike,
    order: Order,
    dose_e_per_a2: float,
    *,
    pretilt_deg: float = 0.0,
    missing: tuple[int, ...] = (),
) -> TiltScheme:
    """Views of a series, by ascending angle.

    Parameters
    ----------
    stage_deg : (view,)
        Angles of the stage, in any order.
    order : "dose-symmetric" or "continuous"
        Starting at the angle at which the slab lies flat and going outwards, or by ascending angle.
    dose_e_per_a2 : float
        Exposure of each view.
    pretilt_deg : float
        Tilt of the slab at a stage angle of 0: that of a lamella, which is milled obliquely.
    missing : tuple of int
        Views, counted from 1 by ascending angle, that were taken and then lost. They are left out,
        but their exposure has damaged the specimen.

    Raises
    ------
    InputError
        No view is left, an angle is not finite or is given twice, or a view would look along the
        slab.
    """
    stage = np.sort(np.asarray(stage_deg, dtype=np.float64).reshape(-1))
    if not stage.size:
        raise InputError("no tilt is left: the list of angles is empty")
    if not np.isfinite(stage).all() or (np.diff(stage) < 1e-6).any():
        raise InputError("tilt angles must be different finite numbers: check the list of angles")
    if missing and not 1 <= min(missing) <= max(missing) <= len(stage):
        raise InputError(
            f"views {missing[0]} to {missing[-1]} are to be left out, but there are {len(stage)}: "
            "count from 1"
        )
    kept = np.setdiff1d(np.arange(len(stage)), np.array(missing, dtype=int) - 1)
    if not kept.size:
        raise InputError(f"no tilt is left: all {len(stage)} views are missing")
    tilt = stage + pretilt_deg
    if np.abs(tilt).max() > 80:
        steepest = tilt[np.abs(tilt).argmax()]
        raise InputError(
            f"with a tilt of {steepest:g} deg (pre-tilt {pretilt_deg:g} deg), the beam would run "
            "along the slab: tilts must stay within 80 deg"
        )
    by_order = (
        np.argsort(np.abs(tilt), kind="stable")
        if order == "dose-symmetric"
        else np.arange(len(tilt))
    )
    acquired = np.argsort(by_order)
    return TiltScheme(tilt[kept], stage[kept], acquired[kept], dose_e_per_a2)
