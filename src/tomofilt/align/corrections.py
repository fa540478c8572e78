"""What is corrected in the images before they are filtered, and why: contrast transfer and dose."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tomofilt.errors import InputError
from tomofilt.series.geometry import ImageGrid
from tomofilt.series.tiltseries import TiltSeries

__all__ = ["Corrections", "decide"]

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]


@dataclass(frozen=True)
class Corrections:
    """What is done to the images of a series.

    Parameters
    ----------
    ctf : "none", "flip" or "wiener"
    ctf_reason : str
        Why, in words.
    dose : bool
        Whether views are weighted for their dose.
    dose_reason : str
    """

    ctf: Literal["none", "flip", "wiener"] = "none"
    ctf_reason: str = ""
    dose: bool = False
    dose_reason: str = ""

    def line(self) -> str:
        """Both decisions in one line of the log."""
        ctf = {"none": "not corrected", "flip": "phases flipped", "wiener": "Wiener-weighted"}
        dose = "on" if self.dose else "off"
        return (
            f"  CTF {ctf[self.ctf]}: {self.ctf_reason}; dose weighting {dose}: {self.dose_reason}"
        )

    def image_filter(
        self, series: TiltSeries, grid: ImageGrid, image_from_frame: Float64 | None = None
    ) -> Callable[[int, Float32], Float32] | None:
        """What flips the phases of an image (y, x) of a view and weighs its dose; None if nothing.

        Parameters
        ----------
        series : TiltSeries
        grid : ImageGrid
            Of the images that are corrected.
        image_from_frame : (view, 2, 3), optional
            Map from the grid's frame to the series' images; identity without.
        """
        if self.ctf == "none" and not self.dose:
            return None
        from tomofilt.align.phases import ImageCorrection  # loads numba

        return ImageCorrection(
            series.geometry,
            grid,
            ctf=None if self.ctf == "none" else series.ctf,
            exposure_e_per_a2=_exposure(series) if self.dose else None,
            voltage_kv=series.voltage_kv or 300.0,
            image_from_frame=image_from_frame,
        ).correct

    def contrast_filter(
        self, series: TiltSeries, grid: ImageGrid, image_from_frame: Float64 | None = None
    ) -> Callable[[int, Float32], Float32] | None:
        """What then weighs an image by its CTF, with :meth:`image_filter`'s arguments.

        None unless the CTF is ``"wiener"``. Gold is filled before: its weighted images have wide
        halos, which would be taken for what is around it.
        """
        if self.ctf != "wiener":
            return None
        from tomofilt.align.phases import ImageCorrection  # loads numba

        return ImageCorrection(
            series.geometry, grid, ctf=series.ctf, image_from_frame=image_from_frame, wiener=True
        ).correct


def decide(
    series: TiltSeries,
    *,
    ctf: str,
    dose_weight: str,
    native: str = "",
    weighed: str = "",
    for_eyes: bool = False,
) -> Corrections:
    """Settle what is corrected, from what the user asks for and what the series is.

    Parameters
    ----------
    series : TiltSeries
    ctf : "auto", "none", "flip" or "wiener"
    dose_weight : "auto", "on" or "off"
    native : str
        Why "auto" corrects nothing: another program's way is followed. Empty: it may correct.
    weighed : str
        Why "auto" does not weight for dose: the filter has counted it. Empty: it may.
    for_eyes : bool
        Whether "auto" is "wiener" instead of "flip": the tomogram is to be looked at.

    Raises
    ------
    InputError
        What is asked for cannot be done, or has been done already.
    """
    chosen_ctf, ctf_reason = _decide_ctf(series, ctf, native, for_eyes)
    dose, dose_reason = _decide_dose(series, dose_weight, native, weighed)
    return Corrections(chosen_ctf, ctf_reason, dose, dose_reason)


def _decide_ctf(
    series: TiltSeries, asked: str, native: str, for_eyes: bool
) -> tuple[Literal["none", "flip", "wiener"], str]:
    if asked == "none":
        return "none", "--ctf none"
    if series.ctf_done is not None:
        if asked != "auto":
            raise InputError(
                f"{series.name}: {series.ctf_done}, and --ctf {asked} would correct it twice: "
                "leave --ctf out, or give the stack from before that"
            )
        return "none", series.ctf_done
    if series.ctf is None:
        if asked != "auto":
            raise InputError(
                f"{series.name}: --ctf {asked} needs the defocus of the views, and the project has "
                "none that can be used (`tomofilt inspect` says why): estimate it there first"
            )
        return "none", "no defocus is known"
    if asked != "auto":
        return ("wiener" if asked == "wiener" else "flip"), f"--ctf {asked}, {_values(series)}"
    if native:
        return "none", native
    values = _values(series)
    return (
        ("wiener", f"for the contrast of what is large, {values}") if for_eyes else ("flip", values)
    )


def _values(series: TiltSeries) -> str:
    ctf = series.ctf
    assert ctf is not None
    microns = ctf.defocus_angst[ctf.known] / 1e4
    unknown = int((~ctf.known).sum())
    missing = f", unknown and left alone in {unknown} of {len(ctf.known)} views" if unknown else ""
    return (
        f"defocus {microns.min():.2f} to {microns.max():.2f} um{missing}, "
        f"{'falling' if ctf.hand < 0 else 'growing'} with depth"
    )


def _decide_dose(series: TiltSeries, asked: str, native: str, weighed: str) -> tuple[bool, str]:
    if asked == "off":
        return False, "--dose-weight off"
    if series.dose_done is not None:
        if asked == "on":
            raise InputError(
                f"{series.name}: {series.dose_done}, and --dose-weight on would weight it twice"
            )
        return False, series.dose_done
    dose = series.dose_e_per_a2
    known = dose is not None and np.ptp(dose) > 0
    if asked == "on" and not known:
        raise InputError(
            f"{series.name}: --dose-weight on needs the exposure before each view, and the "
            "project does not tell it"
        )
    if asked == "auto" and (weighed or native or not known):
        return False, weighed or native or "the exposure is not known"
    return True, f"up to {_exposure(series).max():.0f} e/A2 at {series.voltage_kv or 300:.0f} kV"


def _exposure(series: TiltSeries) -> Float64:
    """Exposure up to the middle of each view; views are taken to have one dose, the median step."""
    before = series.dose_e_per_a2
    assert before is not None
    steps = np.diff(np.unique(before))
    return np.asarray(before + (float(np.median(steps)) / 2 if steps.size else 0.0))
