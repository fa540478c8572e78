"""How thick the specimen is, and where: from the loss of coherence between views."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tomofilt.snr.coherence import band_sums
from tomofilt.snr.spectra import LineSpectra

__all__ = ["measure_thickness"]

Float64 = NDArray[np.float64]

#: Views at most this many places apart are compared, in bands in which neighbours have at least
#: this coherence.
_FARTHEST, _COHERENT = 5, 0.1


def measure_thickness(
    spectra: LineSpectra, tomogram_angst: float, threads: int = 1
) -> tuple[float, float] | None:
    """Thickness and height of the specimen, from the loss of coherence between views.

    The coherence of two views on a line q apart in k_z is the Fourier transform of the profile of
    the specimen along z. Its width at half maximum gives the thickness (that of a uniform slab with
    the same width), its phase gives the height of the middle. What counts is where the middles of
    structures lie: thick specimens come out thinner by up to an eighth (bench/thickness.py).

    Parameters
    ----------
    spectra : LineSpectra
    tomogram_angst : float
        Thickness of the tomogram; a specimen from a quarter of it to four times it can be measured.
    threads : int

    Returns
    -------
    thickness_angst, centre_angst
        The centre is along z, from the specimen centre. None if the views have too little in
        common.
    """
    q, curve = _loss_of_coherence(spectra, tomogram_angst, threads)
    if len(q) < 8:
        return None
    heights = np.linspace(-0.5, 0.5, 201) * tomogram_angst
    near = q < max(0.6 / tomogram_angst, q[7])
    turned = curve[near] * np.exp(-2j * np.pi * heights[:, None] * q[near])
    centre = float(heights[turned.real.sum(axis=1).argmax()])
    level = (curve * np.exp(-2j * np.pi * q * centre)).real
    level = np.convolve(np.r_[level[0], level, level[-1]], [0.25, 0.5, 0.25], "valid")
    half = level[:3].max() / 2
    below = np.flatnonzero(level < half)
    if not len(below) or below[0] == 0:
        return None
    i = int(below[0])
    q_half = np.interp(half, [level[i], level[i - 1]], [q[i], q[i - 1]])
    return float(0.6034 / q_half), centre  # sinc(0.6034) = 1/2


def _loss_of_coherence(
    spectra: LineSpectra, tomogram_angst: float, threads: int
) -> tuple[Float64, NDArray[np.complex128]]:
    """Coherence of views against the distance in k_z of their lines (1/angstrom), complex.

    Each band is measured by what it has where views meet: lines far from the tilt axis hold fewer
    of the low frequencies, whose coherence is high, and without that they would seem to lose it.
    Only bands in which neighbours are coherent are used; the result is empty if there are none.
    """
    edges = spectra.band_edges()
    step, count = 1 / (20 * tomogram_angst), 60
    first, second = spectra.pairs(*range(1, _FARTHEST + 1))
    q = np.abs(spectra.k_x * (spectra.slope[second] - spectra.slope[first])[:, None])
    lines = q < count * step
    sums = band_sums(spectra, first, second, lines, edges, threads)
    place = (q[lines] / step).astype(int)
    shape = (count, len(edges) - 1)
    cross, power, samples = np.zeros(shape, np.complex128), np.zeros(shape), np.zeros(shape)
    np.add.at(cross, place, sums.cross[lines])
    np.add.at(power, place, np.sqrt(sums.first[lines] * sums.second[lines]))
    np.add.at(samples, place, sums.count[lines])
    with np.errstate(invalid="ignore", divide="ignore"):
        start = np.nan_to_num(cross[:4].real.sum(axis=0) / power[:4].sum(axis=0))
        start[start < _COHERENT] = 0.0
        coherence = np.nan_to_num(cross / power)
        curve = (samples * coherence) @ start / (samples @ start**2)
    measured = np.flatnonzero(np.isfinite(curve))
    return np.asarray((measured + 0.5) * step, dtype=np.float64), curve[measured]
