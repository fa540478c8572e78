"""Images with their CTF undone, place by place, and weighted for the dose.

The specimen is tilted, so the defocus changes over an image. It is corrected in tiles, along the
gradient so narrow that the phase of the CTF hardly changes within one, each with a margin as wide
as the CTF spreads a point. Without x tilt the tiles are strips along the tilt axis, and share the
transform along it.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from math import ceil

import numpy as np
from numpy.typing import NDArray

from tomofilt.series.ctf import Ctf, wavelength_angst
from tomofilt.series.dose import dose_weights
from tomofilt.series.geometry import ImageGrid, TiltGeometry
from tomofilt.util.jit import kernel

__all__ = ["PHASE_TOLERANCE_RAD", "ImageCorrection"]

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Complex64 = NDArray[np.complex64]

#: Phase of the CTF by which the middle of a tile differs from its edge, at the Nyquist frequency.
PHASE_TOLERANCE_RAD = 0.4
#: A tile is at least so wide, and its margin too.
_NARROWEST_PX, _LEAST_MARGIN_PX = 16, 32
#: Low frequencies, of which the CTF leaves little, are raised by no more.
_MOST_RAISED = 4.0
#: Nodes of the table of dose weights.
_NODES = 512


@dataclass(frozen=True, eq=False)
class _View:
    """The CTF of one view in the frame of its image."""

    origin_angst: Float64  # where the defocus is the view's own
    slope: Float64  # (x, y)
    numbers: Float64  # for the kernel, without what the place adds


class ImageCorrection:
    """Corrects images of some views that are on one grid.

    Parameters
    ----------
    geometry : TiltGeometry
        Of the views, in their order.
    grid : ImageGrid
        Of the images that are corrected; rows may be fewer or more, about the same centre row.
    ctf : Ctf, optional
        Of the same views; without it, contrast is left as it is.
    exposure_e_per_a2 : (view,), optional
        For dose weights; without it, there are none.
    voltage_kv : float
        For dose weights.
    image_from_frame : (view, 2, 3), optional
        Map from the grid's frame (angstrom about the grid's centre) to the image that ``geometry``
        and ``ctf`` speak of; identity without.
    wiener : bool
        False: phases are flipped. True: they have been; frequencies are multiplied by the CTF's
        amplitude over the mean of its square, a matched filter that keeps the amplitude of the
        signal; below the first peak, where there is nothing to average, by its inverse, up to
        :data:`_MOST_RAISED`.
    """

    def __init__(
        self,
        geometry: TiltGeometry,
        grid: ImageGrid,
        *,
        ctf: Ctf | None,
        exposure_e_per_a2: Float64 | None = None,
        voltage_kv: float = 300.0,
        image_from_frame: Float64 | None = None,
        wiener: bool = False,
    ) -> None:
        self._grid, self._wiener = grid, wiener
        self._nyquist = 0.5 / min(grid.pixel_angst)
        if image_from_frame is None:
            image_from_frame = np.broadcast_to(np.eye(2, 3), (len(geometry), 2, 3))
        self._views = [] if ctf is None else _views(ctf, geometry, image_from_frame)
        self._wavelength = 0.0 if ctf is None else wavelength_angst(ctf.voltage_kv)
        self._known = np.zeros(len(geometry), dtype=bool) if ctf is None else ctf.known
        self._weights: Float32 | None = None
        if exposure_e_per_a2 is not None:
            k = np.linspace(0, np.sqrt(2) * self._nyquist, _NODES + 1)
            weights = dose_weights(k, exposure_e_per_a2, voltage_kv)
            self._weights = np.ascontiguousarray(weights, dtype=np.float32)

    def correct(self, view: int, image: Float32) -> Float32:
        """Correct one image of one view: (y, x) float32, rows centred as the grid's are."""
        from scipy import fft

        if not self._known[view] and self._weights is None:
            return image
        margin = self._margin(view)
        tops, n_y = _pieces(image.shape[0], self._tile(view, image.shape)[0], margin)
        lefts, n_x = _pieces(image.shape[1], self._tile(view, image.shape)[1], margin)
        reach = (tops[-2] + n_y, lefts[-2] + n_x)  # of the last tile, margins and all
        sides = [(margin, r - margin - n) for r, n in zip(reach, image.shape, strict=True)]
        padded = np.pad(image, sides, mode="symmetric")
        out = np.empty_like(image)
        for top, bottom in pairwise(tops):
            along = fft.rfft(padded[top : top + n_y], axis=0)
            corrected = np.empty((len(along), image.shape[1]), dtype=np.complex64)
            for left, right in pairwise(lefts):
                spectrum = fft.fft(along[:, left : left + n_x], axis=1)
                self._multiply(view, spectrum, n_y, (top + bottom - 1) / 2, (left + right - 1) / 2)
                strip = fft.ifft(spectrum, axis=1, overwrite_x=True)
                corrected[:, left:right] = strip[:, margin : margin + right - left]
            whole = fft.irfft(corrected, n_y, axis=0, overwrite_x=True)
            out[top:bottom] = whole[margin : margin + bottom - top]
        return out

    def _margin(self, view: int) -> int:
        """Twice as far as the CTF spreads a point, ``lambda dz k`` at Nyquist, in pixels."""
        spread = 0.0
        if self._known[view]:
            ny, nx = self._grid.shape
            extent = np.array([nx, ny]) / 2 * self._grid.pixel_angst[::-1]
            numbers = self._views[view]
            defocus = abs(numbers.numbers[0]) + np.abs(numbers.slope) @ extent
            spread = self._wavelength * defocus * self._nyquist / min(self._grid.pixel_angst)
        return max(_LEAST_MARGIN_PX, ceil(2 * spread))

    def _tile(self, view: int, shape: tuple[int, int]) -> tuple[int, int]:
        """Rows and columns over which the phase may be taken as the same."""
        if not self._known[view]:
            return shape
        step = PHASE_TOLERANCE_RAD / (np.pi * self._wavelength * self._nyquist**2)
        slope_y, slope_x = np.abs(self._views[view].slope[::-1]) * self._grid.pixel_angst
        height = min(shape[0], max(_NARROWEST_PX, 2 * step / max(slope_y, 1e-9)))
        width = min(shape[1], max(_NARROWEST_PX, 2 * step / max(slope_x, 1e-9)))
        return int(height), int(width)

    def _multiply(
        self, view: int, spectrum: Complex64, n_y: int, row: float, column: float
    ) -> None:
        """Multiply the spectrum of the tile whose middle is at a pixel (row, column)."""
        pixel_y, pixel_x = self._grid.pixel_angst
        k_y: Float64 = np.fft.rfftfreq(n_y, pixel_y).astype(np.float64)
        k_x: Float64 = np.fft.fftfreq(spectrum.shape[1], pixel_x).astype(np.float64)
        weights = np.ones(1, dtype=np.float32) if self._weights is None else self._weights[view]
        numbers = np.zeros(5)
        if self._known[view]:
            found = self._views[view]
            place = np.array([column - self._grid.centre[1], row - self._grid.centre[0]])
            place *= (pixel_x, pixel_y)
            numbers = found.numbers.copy()
            numbers[0] += found.slope @ (place - found.origin_angst)
            numbers[:3] *= self._wavelength
        highest = np.sqrt(2) * self._nyquist
        _weigh(spectrum, k_y, k_x, numbers, self._known[view], self._wiener, weights, highest)


def _views(ctf: Ctf, geometry: TiltGeometry, image_from_frame: Float64) -> list[_View]:
    """CTF of every view, turned into the frame of the images that are corrected."""
    slope, origin = ctf.gradient(geometry)
    linear, shift = image_from_frame[:, :, :2], image_from_frame[:, :, 2]
    turned_slope = (linear.transpose(0, 2, 1) @ slope[:, :, None])[:, :, 0]
    moved_origin = np.linalg.solve(linear, (origin - shift)[:, :, None])[:, :, 0]
    turned_deg = np.degrees(np.arctan2(linear[:, 1, 0], linear[:, 0, 0]))
    double = np.radians(2 * (ctf.astigmatism_deg - turned_deg))
    half = (ctf.defocus_u_angst - ctf.defocus_v_angst) / 2
    wavelength = wavelength_angst(ctf.voltage_kv)
    constant = np.radians(ctf.phase_shift_deg) / np.pi + np.arcsin(ctf.amplitude_contrast) / np.pi
    aberration = ctf.cs_mm * 1e7 * wavelength**3 / 2
    numbers = np.stack(
        [
            ctf.defocus_angst,
            half * np.cos(double),
            half * np.sin(double),
            np.full(len(half), aberration),
            constant,
        ],
        axis=1,
    )
    return [_View(*each) for each in zip(moved_origin, turned_slope, numbers, strict=True)]


def _pieces(length: int, size: int, margin: int) -> tuple[list[int], int]:
    """Edges of equal pieces of at most ``size``, and the length that each is transformed at."""
    from scipy import fft

    count = ceil(length / size)
    edges = [round(i * length / count) for i in range(count + 1)]
    longest = max(stop - start for start, stop in pairwise(edges))
    return edges, int(fft.next_fast_len(longest + 2 * margin, real=True))


@kernel
def _weigh(
    spectrum: Complex64,
    k_y: Float64,
    k_x: Float64,
    numbers: Float64,
    has_ctf: bool,
    wiener: bool,
    weights: Float32,
    highest: float,
) -> None:
    """Multiply a spectrum by the sign, or the Wiener weight, of its CTF, and by the dose's weight.

    ``numbers``, in units of pi: underfocus, astigmatism along x and along the diagonal, each times
    lambda; Cs lambda^3 / 2; constant phase.
    """
    last = len(weights) - 1
    for row in range(len(k_y)):
        y = k_y[row]
        for column in range(len(k_x)):
            x = k_x[column]
            k2 = x * x + y * y
            factor = np.float32(1)
            if has_ctf:
                chi = (
                    numbers[0] * k2
                    + numbers[1] * (x * x - y * y)
                    + numbers[2] * 2 * x * y
                    - numbers[3] * k2 * k2
                    + numbers[4]
                )
                if wiener:
                    factor = np.float32(_wiener_weight(abs(chi)))
                elif np.floor(chi) % 2 != 0:
                    factor = np.float32(-1)
            if last > 0:
                position = np.sqrt(k2) / highest * last
                i = min(int(position), last - 1)
                part = np.float32(position - i)
                factor *= weights[i] + part * (weights[i + 1] - weights[i])
            spectrum[row, column] *= factor


@kernel
def _wiener_weight(chi: float) -> float:
    """|CTF| over the mean of its square around, for a phase in units of pi.

    Below the first peak (chi = 1/2) nothing is averaged, and the weight is 1 / |CTF|, but no more
    than :data:`_MOST_RAISED`; beyond, the mean is over up to one period of the square, from the
    peak on.
    """
    amplitude = abs(np.sin(np.pi * chi))
    if chi < 0.5:
        return float(min(1 / max(amplitude, 1e-6), _MOST_RAISED))
    if chi >= 1:
        return float(2 * amplitude)
    half = chi - 0.5
    damped = np.sin(2 * np.pi * half) / (2 * np.pi * half) if half > 0 else 1.0
    return float(amplitude / (0.5 - 0.5 * np.cos(2 * np.pi * chi) * damped))
