"""The gains of the filter that a tomogram was made with, from its record."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomofilt.errors import TomofiltError
from tomofilt.evaluate.tomograms import Tomogram
from tomofilt.filters.imod import ImodFilter
from tomofilt.filters.protocol import Filter, FilterContext
from tomofilt.filters.registry import parse
from tomofilt.filters.wiener import Measurement, WienerExact
from tomofilt.snr import SpectralSnr

__all__ = ["Gains", "gains_of"]

Float64 = NDArray[np.float64]
_SAMPLES = 256


@dataclass(frozen=True, eq=False)
class Gains:
    """Gains across the tilt axis, views by tilt angle.

    Attributes
    ----------
    tilt_deg : (view,)
        Ascending.
    cycles_per_px : (frequency,)
        From next to zero to 0.5.
    gains : (view, frequency)
        On the scale of the filter for pixels of the tomogram's size.
    """

    tilt_deg: Float64
    cycles_per_px: Float64
    gains: Float64


def gains_of(tomogram: Tomogram) -> Gains | None:
    """Gains of the filter, None where it is not known or cannot be had again."""
    record, geometry = tomogram.record, tomogram.geometry
    if record is None or geometry is None:
        return None
    _, slices = geometry.factor()
    voxel, (nz, _, nx) = tomogram.voxel_angst, tomogram.shape
    padded = int(record["filter"]["padded_px"])
    context = FilterContext(
        tilt_deg=slices.tilt_deg,
        scale=slices.scale,
        pixel_angst=voxel,
        density_pixel_angst=voxel,
        thickness_angst=nz * voxel,
        width_px=nx,
        padded_px=padded,
    )
    # zero frequency as the filters take it, see Filter.gains
    frequency = np.linspace(0, 0.5, _SAMPLES)
    frequency[0] = 2 / np.pi**2 / padded
    try:
        chosen = _filter(record["filter"])
        if chosen.sirt_iterations:
            return None  # what it does to a frequency is no number
        gains = chosen.gains(frequency / voxel, np.zeros(1), context)
    except (TomofiltError, KeyError):
        return None  # a filter of another version, or one whose file is gone
    order = np.argsort(slices.tilt_deg, kind="stable")
    return Gains(slices.tilt_deg[order], frequency, np.asarray(gains[order], dtype=np.float64))


def _filter(record: Mapping[str, Any]) -> Filter:
    """The filter that a record tells of, with what was measured or read for it."""
    text = record["parameters"]
    if text.startswith("ImodFilter("):
        # what tilt.com said; its name alone means the usual options
        call = ast.parse(text, mode="eval").body
        words = call.keywords if isinstance(call, ast.Call) else []
        return ImodFilter(**{word.arg: ast.literal_eval(word.value) for word in words if word.arg})
    chosen = parse(record["spec"])
    if isinstance(chosen, WienerExact):
        facts = record["measured"]
        snr = SpectralSnr(
            k=np.array(facts["snr"]["k_per_angst"]),
            log_spectrum=np.log(facts["snr"]["spectrum"]),
            log_factor=np.log(facts["snr"]["factor"]),
            decay_angst2=np.array(facts["snr"]["decay_angst2"]),
        )
        thickness, centre = facts["specimen_thickness_angst"], facts["specimen_height_angst"]
        strength = facts.get("strength", 0.0)
        found = Measurement(snr, thickness, centre, facts["from"], strength)
        return replace(chosen, measurement=found)
    return chosen
