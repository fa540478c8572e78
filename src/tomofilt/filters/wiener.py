"""Wiener-exact: the filter that the series' own signal-to-noise ratio asks for.

It joins two old ideas. The exact filter (Harauz & van Heel, Optik 73 (1986) 146) divides by how
many views measured a frequency; Wiener's weighs what was measured by its signal-to-noise ratio.
docs/wiener.md derives it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from tomofilt.errors import InputError
from tomofilt.filters.analytic import MAIN_LOBE_AREA
from tomofilt.filters.protocol import Filter, FilterContext
from tomofilt.snr import SpectralSnr
from tomofilt.snr.axis import AxisOffset
from tomofilt.snr.neighbours import Matches

__all__ = ["OVERLAP_THICKNESS", "Measurement", "Preset", "WienerExact", "signal_reach"]

FloatArray = NDArray[np.float64]
Preset = Literal["match", "view"]

#: Thickness that slices are taken to overlap for, in thicknesses of the specimen, whose profile is
#: measured at half of its height: good on real and on simulated series, and the optimum is flat.
OVERLAP_THICKNESS = 1.75
#: The "view" preset keeps half of the amplitude where a tomogram holds so much signal for its noise
#: (power over power): a template finds as many particles as without, or nearly.
_LEAST_SIGNAL = 0.2


@dataclass(frozen=True, eq=False)
class Measurement:
    """What was measured about a series for its filter.

    Attributes
    ----------
    snr : SpectralSnr
        Of the series' used views.
    thickness_angst : float
        Of the specimen.
    centre_angst : float
        Height of its middle, along z from the specimen centre.
    source : str
        What the numbers are from, in words.
    reach_k : float
        Frequency, 1/angstrom, up to which there is signal (see :func:`signal_reach`). The "view"
        preset keeps half of the amplitude there; infinity keeps everything.
    matches : Matches, optional
        How neighbouring views match.
    spots : float
        Share of the contrast in spots far darker or brighter than the rest.
    axis : AxisOffset, optional
        Where views say that the tilt axis is.
    """

    snr: SpectralSnr
    thickness_angst: float
    centre_angst: float
    source: str
    reach_k: float = np.inf
    matches: Matches | None = None
    spots: float = 0.0
    axis: AxisOffset | None = None


@dataclass(frozen=True)
class WienerExact(Filter):
    """Filter from the signal-to-noise ratio of each view.

    ``(p L / D) t_m / (1 + sum_m' c(D k |sin(theta_m - theta_m')|) t_m')``, with t_m the spectral
    SNR of view m, c the main lobe of sinc, L its area, D the thickness of overlap and p the length
    unit of the images. With much signal it is the exact filter, with little a matched filter, and
    for dense views of one SNR the ramp times ``t / (t + k dtheta D / L)``.

    Before the series is measured it has no gains: see :mod:`tomofilt.reconstruction.measure`.

    Parameters
    ----------
    preset : "match" or "view"
        "match": as above. "view": the same times a Gaussian, which is 1/2 where the signal ends.
    measurement : Measurement, optional
        Its views are those of the context.
    """

    two_dimensional: ClassVar[bool] = True
    even_along: ClassVar[bool] = True
    weighs_views: ClassVar[bool] = True

    preset: Preset = "view"
    measurement: Measurement | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.preset not in ("match", "view"):
            raise InputError(
                f"{self.preset!r} is no preset: 'match' is for template matching and averaging, "
                "'view' for looking, picking and segmenting"
            )

    @property
    def spec(self) -> str:
        """``"wiener-exact:view"``, say."""
        return f"wiener-exact:{self.preset}"

    def facts(self) -> dict[str, object]:
        """What was measured; see :meth:`Filter.facts`."""
        found = self.measurement
        if found is None:
            return {}
        snr = found.snr
        facts: dict[str, object] = {
            "from": found.source,
            "has_signal": snr.has_signal,
            "specimen_thickness_angst": round(found.thickness_angst, 1),
            "specimen_height_angst": round(found.centre_angst, 1),
            "snr": {
                "formula": "spectrum(k) * factor[view] * exp(-decay_angst2[view] * k^2)",
                "k_per_angst": [float(f"{k:.4g}") for k in snr.k],
                "spectrum": [float(f"{s:.4g}") for s in np.exp(snr.log_spectrum)],
                "factor": [float(f"{f:.4g}") for f in np.exp(snr.log_factor)],
                "decay_angst2": [round(float(b), 1) for b in snr.decay_angst2],
            },
        }
        facts["spots"] = round(found.spots, 3)
        if found.matches is not None:
            facts["neighbours"] = found.matches.facts()
        if found.axis is not None:
            facts["tilt_axis"] = {
                "off_deg": round(found.axis.offset_deg, 1),
                "gain": round(found.axis.gain, 1),
                "share": round(found.axis.share, 4),
            }
        if np.isfinite(found.reach_k):
            facts["signal_reaches_angst"] = round(1 / found.reach_k, 2)
        return facts

    def gains(
        self, k_across: FloatArray, k_along: FloatArray, context: FilterContext
    ) -> FloatArray:
        """Gains of every view; see :meth:`Filter.gains`.

        Raises
        ------
        InputError
            If the series has not been measured.
        """
        found = self._found
        k = np.hypot(k_across, k_along)
        unit = context.density_pixel_angst * MAIN_LOBE_AREA / self._overlap_angst
        smooth = 0.5 ** ((k / found.reach_k) ** 2) if self.preset == "view" else 1.0
        gains = found.snr(k)
        novelty = self._novelty(k_across, gains, context)
        gains *= unit * smooth
        gains *= novelty
        return gains

    def novelty(
        self, k_across: FloatArray, k_along: FloatArray, context: FilterContext
    ) -> FloatArray:
        """What a view says that the others do not: ``1 / (1 + sum_m' c t_m')``.

        Parameters and errors are those of :meth:`gains`.
        """
        snr = self._found.snr(np.hypot(k_across, k_along))
        return self._novelty(k_across, snr, context).astype(np.float64)

    def _novelty(
        self, k_across: FloatArray, snr: FloatArray, context: FilterContext
    ) -> NDArray[np.float32]:
        tilt, across = np.radians(context.tilt_deg), np.abs(k_across)
        across = across.reshape((1,) * (snr.ndim - 1 - across.ndim) + across.shape)
        others = snr.astype(np.float32)
        if 1 not in across.shape:
            across, others = across[..., None], others[..., None]
        # the overlap depends on k_across alone: it serves all of an axis on which that stays
        axis = across.shape.index(1)
        lengths = (
            self._overlap_angst * context.scale[:, None] * np.abs(np.sin(tilt - tilt[:, None]))
        )
        distance = across.squeeze(axis)[..., None, None] * lengths
        overlap = np.sinc(np.minimum(distance, 1.0).astype(np.float32))
        shared = np.matmul(overlap, others, axes=[(-2, -1), (0, axis + 1), (0, axis + 1)])
        return np.asarray(np.reciprocal(1 + shared).reshape(snr.shape), dtype=np.float32)

    def evidence(
        self, k_across: FloatArray, k_along: FloatArray, context: FilterContext
    ) -> FloatArray:
        """Weight of what a view leaves unexplained: the specimen's power over the noise's.

        The power of the signal in an image is that of the specimen times the length of the rays in
        it, so that this is ``t_m cos(theta_m) / D``, with the measured thickness D in voxels.
        Parameters and errors are those of :meth:`gains`.
        """
        found = self._found
        tilt = np.radians(context.tilt_deg).reshape(-1, *(1,) * np.ndim(k_across + k_along))
        thickness_voxels = found.thickness_angst / context.pixel_angst
        return found.snr(np.hypot(k_across, k_along)) * np.cos(tilt) / thickness_voxels

    @property
    def _found(self) -> Measurement:
        if self.measurement is None:
            raise InputError(
                f"{self.spec} is made from the images of a series, and has no gains without them"
            )
        return self.measurement

    @property
    def _overlap_angst(self) -> float:
        return OVERLAP_THICKNESS * self._found.thickness_angst


def signal_reach(snr: SpectralSnr, tilt_deg: FloatArray, thickness_angst: float) -> float:
    """Frequency (1/angstrom) up to which a tomogram holds signal.

    Its SNR is that of a view, times the number of views that overlap. Where views leave gaps
    between them, that number n is below 1, and what is missing counts as noise:
    ``n t / (1 + t (1 - n))`` for views of SNR t. The signal ends where it falls to 0.2.

    Parameters
    ----------
    snr : SpectralSnr
    tilt_deg : (view,)
    thickness_angst : float
        Of the specimen.

    Returns
    -------
    float
        Infinity if there is signal everywhere, or none was found at all.
    """
    k = np.geomspace(snr.k[0], snr.k[-1], 200)
    tilt = np.radians(tilt_deg)
    directions = np.linspace(tilt.min(), tilt.max(), 500)
    sines = np.sort(np.abs(np.sin(directions - tilt[:, None])).astype(np.float32))
    distance = np.asarray(OVERLAP_THICKNESS * thickness_angst * k[:, None], np.float32)
    overlap = np.zeros((len(tilt), len(k)))
    for start in range(0, len(k), 20):
        part = slice(start, start + 20)
        # directions farther from a view than those do not overlap with it
        near = sines[:, : np.count_nonzero(sines.min(axis=0) * distance[start] < 1)]
        lobe = np.sinc(np.minimum(distance[part] * near[:, None], 1))
        overlap[:, part] = lobe.sum(axis=2) / len(directions)
    overlapping, together = overlap.sum(axis=0), (snr(k) * overlap).sum(axis=0)
    gaps = np.maximum(1 / overlapping - 1, 0)
    ends = np.flatnonzero(together / (1 + gaps * together) < _LEAST_SIGNAL)
    return float(k[ends[0]]) if len(ends) and snr.has_signal else float(np.inf)
