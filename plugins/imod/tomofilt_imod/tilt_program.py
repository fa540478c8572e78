"""What a tilt.com has IMOD's ``tilt`` do with aligned images, besides their geometry."""

from __future__ import annotations

from dataclasses import dataclass, field

from tomofilt.series.geometry import TiltGeometry
from tomofilt_imod.tilt_filter import ImodFilter

__all__ = ["ETOMO", "TiltProgram"]


@dataclass(frozen=True)
class TiltProgram:
    """The options of ``tilt`` that ``-f imod`` follows.

    Parameters
    ----------
    filter : ImodFilter
    cosine : (order, factor)
        COSINTERP: filtered lines are sampled at so many places per pixel / cos(tilt), by linear
        (1), quadratic (2) or cubic (3) interpolation. Order 0: they are not.
    xtilt_order : int
        XTILTINTERP: how a tomogram that is tilted about x is interpolated from an upright one,
        linearly (1), or by a cubic (3).
    vertical_slices : bool
        Whether a tilt about x is made that way. Otherwise voxels look into the images where they
        fall on them.
    view_weights : tuple of float
        WeightFile: a factor on each section of the stack; empty without.
    tilts_alone : TiltGeometry, optional
        View maps of all sections without x tilt, Z factors and local alignment: what aligns the
        images. None: those of the series.
    rows_angst : (first, last), optional
        Rows of the aligned stack, about the specimen centre.
    refused : str
        Why these options cannot be followed; empty if they can.
    """

    filter: ImodFilter
    cosine: tuple[int, int] = (1, 2)
    xtilt_order: int = 1
    vertical_slices: bool = False
    view_weights: tuple[float, ...] = ()
    tilts_alone: TiltGeometry | None = field(default=None, repr=False, compare=False)
    rows_angst: tuple[float, float] | None = None
    refused: str = ""


#: What etomo writes into a new tilt.com.
ETOMO = TiltProgram(ImodFilter(radial_cutoff=0.35, radial_falloff=0.035, true_sigma=True))
