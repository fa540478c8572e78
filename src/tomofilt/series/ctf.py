"""The contrast transfer function of the views of a tilt series: its numbers and its formula."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tomofilt.series.geometry import TiltGeometry

__all__ = ["LEAST_DEFOCUS_ANGST", "Ctf", "wavelength_angst"]

Float64 = NDArray[np.float64]

#: A defocus below it is none: projects write 0 for views whose CTF is unknown.
LEAST_DEFOCUS_ANGST = 100.0


@dataclass(frozen=True, eq=False)
class Ctf:
    """What the microscope did to the contrast of each used view.

    The contrast of a weak object is multiplied, frequency by frequency, by ``sin(chi)`` with ::

        chi = pi lambda dz(phi) k^2 - pi/2 Cs lambda^3 k^4 + phase shift + asin(A)
        dz(phi) = (U + V) / 2 + (U - V) / 2 cos(2 (phi - astigmatism))

    so that low frequencies are positive whatever the sign of the images (Rohou & Grigorieff,
    J. Struct. Biol. 192, 216, 2015; amplitude contrast as a phase shift). Angles run from the x
    axis of the images towards their y axis (of growing rows).

    Parameters
    ----------
    defocus_u_angst, defocus_v_angst : (view,)
        Underfocus along the two axes of astigmatism, for the place ``origin_angst``. Views below
        100 A on average have no known CTF, and are left as they are.
    astigmatism_deg : (view,)
        Direction of the first axis.
    phase_shift_deg : (view,)
        Of a phase plate.
    voltage_kv, cs_mm, amplitude_contrast : float
    hand : float
        How underfocus changes with the depth ``(R p)_z`` of a point of the tilted specimen:
        RELION's rlnTomoHand, -1 where it falls with it. -1 is also IMOD's: at positive tilt the
        right side of an aligned image is more underfocused.
    origin_angst : (view, 2), optional
        Where on the image (x, y, about its centre) the specimen's middle plane has the defocus
        given; default: where the specimen centre is.
    """

    defocus_u_angst: Float64
    defocus_v_angst: Float64
    astigmatism_deg: Float64
    phase_shift_deg: Float64
    voltage_kv: float
    cs_mm: float
    amplitude_contrast: float
    hand: float = -1.0
    origin_angst: Float64 | None = None

    @property
    def defocus_angst(self) -> Float64:
        """Mean underfocus of each view."""
        return np.asarray((self.defocus_u_angst + self.defocus_v_angst) / 2)

    @property
    def known(self) -> NDArray[np.bool_]:
        """Whether each view has a defocus."""
        return np.asarray(np.abs(self.defocus_angst) >= LEAST_DEFOCUS_ANGST)

    def select(self, views: ArrayLike) -> Ctf:
        """The CTF of some views."""
        chosen = np.asarray(views)
        origin = self.origin_angst
        return replace(
            self,
            defocus_u_angst=self.defocus_u_angst[chosen],
            defocus_v_angst=self.defocus_v_angst[chosen],
            astigmatism_deg=self.astigmatism_deg[chosen],
            phase_shift_deg=self.phase_shift_deg[chosen],
            origin_angst=None if origin is None else origin[chosen],
        )

    def gradient(self, geometry: TiltGeometry) -> tuple[Float64, Float64]:
        """How underfocus changes over the images, because the specimen plane is tilted.

        Parameters
        ----------
        geometry : TiltGeometry
            Of the same views.

        Returns
        -------
        slope : (view, 2)
            Underfocus gained for each angstrom on the image, along x and y.
        origin_angst : (view, 2)
            Position on the image where the defocus is the view's own.
        """
        maps = geometry.image_from_volume
        depth = np.cross(maps[:, 0, :3], maps[:, 1, :3])
        depth /= np.linalg.norm(depth, axis=1, keepdims=True)
        on_plane = np.linalg.solve(maps[:, :, :2].transpose(0, 2, 1), depth[:, :2, None])
        origin = maps[:, :, 3] if self.origin_angst is None else self.origin_angst
        return np.asarray(self.hand * on_plane[:, :, 0], dtype=np.float64), origin


def wavelength_angst(voltage_kv: float) -> float:
    """Wavelength of the electrons: ``h / sqrt(2 m e V (1 + e V / 2 m c^2))``, in angstrom."""
    volts = voltage_kv * 1e3
    return float(12.2642596 / np.sqrt(volts * (1 + 0.978475598e-6 * volts)))
