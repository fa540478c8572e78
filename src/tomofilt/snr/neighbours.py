"""Whether neighbouring views lie on each other: the shift at which they match best.

Neighbouring views of a thin specimen are nearly the same image near the tilt axis of Fourier
space. In a series that is aligned they match where they are; a wrong shift moves the place.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tomofilt.snr.spectra import PAIRS_AT_ONCE, LineSpectra
from tomofilt.util.threads import run_all

__all__ = ["Matches", "match_neighbours"]

Float64 = NDArray[np.float64]

#: Shifts up to so many pixels are tried, in x and in y.
_REACH_PX = 24
#: Frequencies up to this, in cycles per pixel, are compared. A CTF at 10 A per pixel has little
#: contrast below half of it, and images have little signal above it.
_HIGHEST = 0.25
#: Lines on which the specimen's thickness leaves two views at least this coherence.
_LEAST_OVERLAP = 0.5
#: Rings of the frequency, up to the highest of a spectrum.
_RINGS = 40
#: A match counts from so many standard errors on: noise alone reaches 4 at the best of all shifts.
_SURE = 6.5
#: A shifted match counts if it is better than the match without a shift by so many in z squared.
_BETTER = 20.0
#: Views that match within so many pixels lie on each other.
_SAME_PX = 2.0
#: A view shows something else if it matches its neighbours by less than this share of how they
#: match theirs.
_UNLIKE = 1 / 3


@dataclass(frozen=True, eq=False)
class Matches:
    """How each view of a series matches the next one, by tilt.

    Attributes
    ----------
    first, second : (pair,) int
        The views.
    standard_errors : (pair,)
        How sure the best match is.
    near : (pair,)
        How sure the match is where the views lie, give or take a pixel.
    here : (pair,)
        The same at no shift at all: of noise, and of views that are shifted far, standard normal.
    shift_angst : (pair, 2)
        Of the second against the first at the best match, x and y.
    pixel_angst : float
    """

    first: NDArray[np.intp]
    second: NDArray[np.intp]
    standard_errors: Float64
    near: Float64
    here: Float64
    shift_angst: Float64
    pixel_angst: float

    @property
    def distance_px(self) -> Float64:
        """How far each pair lies apart."""
        return np.asarray(np.hypot(*self.shift_angst.T) / self.pixel_angst)

    @property
    def shifted(self) -> NDArray[np.bool_]:
        """Pairs that match surely, at another place than where they lie."""
        better = self.standard_errors**2 - self.near**2 > _BETTER
        return (self.standard_errors > _SURE) & better & (self.distance_px > _SAME_PX)

    @property
    def matching(self) -> NDArray[np.bool_]:
        """Pairs that match surely where they lie."""
        return (self.near > _SURE) & ~self.shifted

    def shifted_views(self) -> dict[int, float]:
        """Single views that lie apart from both of their neighbours, and how far, in angstrom."""
        found = {}
        for i in np.flatnonzero(self.shifted[:-1] & self.shifted[1:]):
            there, back = self.shift_angst[i], self.shift_angst[i + 1]
            if np.hypot(*(there + back)) < _SAME_PX * self.pixel_angst:
                found[int(self.second[i])] = round(float(np.hypot(*(there - back) / 2)), 1)
        return found

    def unlike_views(self) -> list[int]:
        """Single views that match neither neighbour, nowhere near, while the pairs beside do.

        The two views at each end of the series have no pairs beside, and are not looked at.
        """
        beside = np.minimum(self.near[:-3], self.near[3:])
        own = np.maximum(self.here[1:-2], self.here[2:-1])
        unlike = self.second[1:-2][(beside > _SURE) & (own < _UNLIKE * beside)]
        return [int(view) for view in unlike if view not in self.shifted_views()]

    @property
    def unevenness(self) -> float:
        """Scatter of the match from one pair to the next beyond that of noise, over its mean.

        Neighbours of a series in order match the less the steeper they are, but nearly like the
        pairs beside them.
        """
        if len(self.near) < 2:
            return 0.0
        scatter = float(np.mean(np.diff(self.near) ** 2)) / 2 - 1
        return float(np.sqrt(max(scatter, 0.0))) / max(float(self.near.mean()), 1.0)

    def facts(self) -> dict[str, object]:
        """What the verdict on a series needs, for the record."""
        if not len(self.first):
            return {}
        shifted = self.distance_px[self.shifted]
        return {
            "pairs": len(self.first),
            "matching": int(self.matching.sum()),
            "shifted": int(self.shifted.sum()),
            "median_shift_px": round(float(np.median(shifted)), 1) if len(shifted) else 0.0,
            "pixel_angst": round(self.pixel_angst, 4),
            "all_together": round(float(self.here.sum() / np.sqrt(len(self.here))), 1),
            "unevenness": round(self.unevenness, 2),
            "views_apart_angst": {str(v): far for v, far in self.shifted_views().items()},
            "views_unlike": self.unlike_views(),
        }


def match_neighbours(
    spectra: LineSpectra, thickness_angst: float, centre_angst: float, threads: int = 1
) -> Matches:
    """Find the shift at which each view matches the next one best.

    Parameters
    ----------
    spectra : LineSpectra
    thickness_angst, centre_angst : float
        Of the specimen, as :func:`~tomofilt.snr.thickness.measure_thickness` finds them.
    threads : int
    """
    (first, second), pixel = spectra.pairs(1), spectra.pixel_angst
    tried = np.arange(-_REACH_PX, _REACH_PX + 1) * pixel
    reach = min(_REACH_PX, len(spectra.k_along) // 4)
    inside = np.abs(tried) <= reach * pixel
    k_along, k = spectra.k_along, np.hypot(spectra.k_along[:, None], spectra.k_x)
    rows = np.flatnonzero(
        (np.abs(k_along) > spectra.lowest_k) & (np.abs(k_along) < _HIGHEST / pixel)
    )
    ring = np.where(k < _HIGHEST / pixel, (k * _RINGS / k.max()).astype(int), _RINGS)[rows]
    values = spectra.values[:, rows]
    along = np.exp(2j * np.pi * np.outer(tried, k_along[rows])).astype(np.complex64)
    across = np.exp(2j * np.pi * np.outer(spectra.k_x, tried)).astype(np.complex64)
    slope = spectra.slope[second] - spectra.slope[first]
    shared = np.sinc(np.minimum(np.abs(thickness_angst * slope[:, None] * spectra.k_x), 1.0))
    has_data = np.any(values, axis=1)
    shared *= (shared > _LEAST_OVERLAP) & has_data[first] & has_data[second]
    turn = shared * np.exp(-2j * np.pi * np.outer(slope, spectra.k_x) * centre_angst)

    # what makes noise white: the mean power of the lines that are used, in rings
    place = (np.arange(len(spectra.k_x)) * (_RINGS + 1) + ring).ravel()

    def in_rings(values: Float64) -> Float64:
        sums = np.bincount(place, values.ravel(), len(spectra.k_x) * (_RINGS + 1))
        return np.asarray(sums.reshape(-1, _RINGS + 1)[:, :_RINGS], dtype=np.float64)

    count = in_rings(np.ones(ring.shape))
    power = np.array([in_rings(image.real**2 + image.imag**2) for image in values])
    lines = (shared > 0).astype(np.float64)
    one, other = ((lines[:, None] @ power[views])[:, 0] for views in (first, second))
    white = np.zeros((len(first), _RINGS + 1), dtype=np.float32)
    np.divide(lines @ count, np.sqrt(one * other), out=white[:, :_RINGS], where=one * other > 0)
    match = np.zeros((len(first), len(tried), len(tried)))

    def compare(start: int) -> None:
        some = slice(start, start + PAIRS_AT_ONCE)
        cross = values[first[some]]
        cross *= np.conj(values[second[some]])
        cross *= white[some][:, ring]
        cross *= turn[some, None].astype(np.complex64)
        match[some] = (along @ cross @ across).real

    run_all(threads, compare, range(0, len(first), PAIRS_AT_ONCE))
    error = np.sqrt(shared**2 @ count.sum(axis=1) / (2 * spectra.samples))
    compared = error > 0
    match[compared] /= error[compared, None, None]
    middle = slice(_REACH_PX - 1, _REACH_PX + 2)
    near, here = match[:, middle, middle].max(axis=(1, 2)), match[:, _REACH_PX, _REACH_PX]
    match[:, ~(inside[:, None] & inside)] = -np.inf
    best = match.reshape(len(first), -1)
    y, x = np.divmod(best.argmax(axis=1), len(tried))
    shift = np.stack([tried[x], tried[y]], axis=1) * compared[:, None]
    return Matches(first, second, best.max(axis=1), near, here, shift, pixel)
