"""Physics of image formation at 300 kV: damage, contrast transfer, ice and detector."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tomofilt.series.dose import critical_exposure

__all__ = [
    "VOLTAGE_KV",
    "Optics",
    "contrast_transfer",
    "damage",
    "mtf",
    "relative_noise",
    "transmission",
]

Float64 = NDArray[np.float64]

#: Acceleration voltage; the damage and the numbers below are for this voltage.
VOLTAGE_KV = 300.0
#: Wavelength of the electrons, angstrom: h / sqrt(2 m e V (1 + e V / 2 m c^2)).
WAVELENGTH_ANGST = 12.2643 / np.sqrt(3e5 + 0.97845e-6 * 3e5**2)
#: Mean free path for inelastic scattering in vitreous ice.
MEAN_FREE_PATH_ANGST = 3000.0
#: Phase shift in radians along 1 angstrom of density 1 (protein in ice): the interaction constant,
#: 6.53e-4 rad/(V A), times 2.5 V, the difference between the mean inner potentials of the two.
PHASE_RAD_PER_ANGST = 6.53e-4 * 2.5
#: Modulation transfer at the detector's Nyquist frequency, typical of counting cameras.
MTF_AT_NYQUIST = 0.6


@dataclass(frozen=True)
class Optics:
    """The microscope's contrast transfer.

    Parameters
    ----------
    defocus_angst : float
        Underfocus at the specimen centre; 0 means an ideal phase plate instead of a CTF.
    cs_mm : float
        Spherical aberration.
    amplitude_contrast : float
    hand : -1 or 1
        Whether defocus falls or grows with the depth ``z_image = (R p)_z`` of a point of the tilted
        specimen, as RELION's rlnTomoHand.
    """

    defocus_angst: float = 30000.0
    cs_mm: float = 2.7
    amplitude_contrast: float = 0.07
    hand: int = -1


def damage(frequency: ArrayLike, exposure_e_per_a2: float) -> Float64:
    """Amplitude that radiation damage leaves at a frequency (1/angstrom): ``exp(-N / 2 N_e)``."""
    return np.asarray(np.exp(-exposure_e_per_a2 / (2 * critical_exposure(frequency, VOLTAGE_KV))))


def contrast_transfer(frequency: ArrayLike, defocus_angst: float, optics: Optics) -> Float64:
    """Contrast of the image per radian of phase shift, for each frequency (1/angstrom).

    ``-2 sin(chi + asin A)`` with ``chi = pi lambda dz k^2 - pi/2 Cs lambda^3 k^4`` and amplitude
    contrast A, for weak phase objects. It is negative at low frequencies: protein is dark. For an
    ideal phase plate it is -2 everywhere.
    """
    k2 = np.asarray(frequency, float) ** 2
    if not optics.defocus_angst:
        return np.full_like(k2, -2.0)
    cs_angst = optics.cs_mm * 1e7
    chi = np.pi * WAVELENGTH_ANGST * k2 * (defocus_angst - cs_angst * WAVELENGTH_ANGST**2 * k2 / 2)
    return np.asarray(-2 * np.sin(chi + np.arcsin(optics.amplitude_contrast)))


def mtf(frequency: ArrayLike, pixel_angst: float) -> Float64:
    """Modulation transfer of the detector, a Gaussian with :data:`MTF_AT_NYQUIST` at Nyquist.

    The noise of counting cameras is nearly white, so this attenuates only the signal.
    """
    nyquists = 2 * pixel_angst * np.asarray(frequency, float)
    return np.asarray(MTF_AT_NYQUIST ** (nyquists**2))


def transmission(tilt_deg: ArrayLike, ice_angst: float) -> Float64:
    """Share of the electrons that a tilted slab of ice lets through: ``exp(-t / (L cos tilt))``."""
    path = ice_angst / np.cos(np.radians(np.asarray(tilt_deg, float)))
    return np.asarray(np.exp(-path / MEAN_FREE_PATH_ANGST))


def relative_noise(tilt_deg: ArrayLike, ice_angst: float) -> Float64:
    """Noise relative to the signal, 1 without tilt: counts fall as :func:`transmission`."""
    counts = transmission(tilt_deg, ice_angst) / transmission(0.0, ice_angst)
    return np.asarray(counts**-0.5)
