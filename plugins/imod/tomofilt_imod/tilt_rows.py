"""Rows as IMOD's ``tilt`` filters and samples them: its padding and its cosine stretch."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tomofilt.filters.apply import Extension, RowFilter
from tomofilt.series.geometry import SliceGeometry
from tomofilt_imod.stretch import stretch
from tomofilt_imod.tilt_program import TiltProgram

__all__ = ["Slope", "TiltRows"]

Image = NDArray[np.float32]
FloatArray = NDArray[np.float64]

#: ``tilt`` stretches no lines when a view is tilted further.
_STEEPEST_DEG = 80.0


class TiltRows(RowFilter):
    """Filters rows, and samples them finely enough for linear interpolation (COSINTERP).

    Parameters
    ----------
    program : TiltProgram
    slices, pixel_angst, density_pixel_angst, thickness_angst, width_px
        See :class:`~tomofilt.filters.apply.RowFilter`.
    needed_px : (view,)
        Lowest pixel coordinate that a voxel of the tomogram falls on. Stretched samples start
        there if that is inside the row, else at pixel 0.
    weights : (view,)
        Factors on the images (WeightFile).
    """

    def __init__(
        self,
        program: TiltProgram,
        slices: SliceGeometry,
        *,
        pixel_angst: float,
        density_pixel_angst: float,
        thickness_angst: float,
        width_px: int,
        needed_px: FloatArray,
        weights: FloatArray,
    ) -> None:
        super().__init__(
            program.filter,
            slices,
            pixel_angst=pixel_angst,
            density_pixel_angst=density_pixel_angst,
            thickness_angst=thickness_angst,
            width_px=width_px,
            interpolation="linear",
        )
        assert self.gains is not None
        self.gains *= weights[:, None].astype(np.float32)
        self.extension = Slope(width_px, self.padded_px)
        self._order, factor = program.cosine
        if self._order == 0 or np.abs(slices.tilt_deg).max() > _STEEPEST_DEG:
            self._order = 0
            return
        self.place_samples(np.clip(needed_px, 0.0, width_px - 1), np.abs(slices.a) / factor)

    def sample(self, view: int, lines: Image, out: Image) -> None:
        """Take the samples of filtered lines; the last repeats the last pixel."""
        if self._order == 0:
            out[:] = lines
            return
        last = self.width_px - 1
        position = self.first_px[view] + self.step_px[view] * np.arange(self.samples[view])
        position = np.minimum(position, last)
        left = np.minimum(position.astype(np.int32), max(last - 1, 0))
        if self._order == 1:
            stretch(lines, left, (position - left).astype(np.float32), out)
            return
        first, weights = _TAPS[self._order](position)
        out[:] = 0
        for tap, weight in enumerate(weights):
            out += weight.astype(np.float32) * lines[:, np.clip(first + tap, 0, last)]


def _quadratic(position: FloatArray) -> tuple[NDArray[np.intp], tuple[FloatArray, ...]]:
    """Pixel before the nearest one, and weights of three: the parabola through them."""
    nearest = np.floor(position + 0.5).astype(np.intp)
    d = position - nearest
    return nearest - 1, (d * (d - 1) / 2, 1 - d * d, d * (d + 1) / 2)


def _cubic(position: FloatArray) -> tuple[NDArray[np.intp], tuple[FloatArray, ...]]:
    """First of four pixels, and weights: cubic convolution, a = -1 (Keys, IEEE ASSP 29, 1153)."""
    left = position.astype(np.intp)
    d = position - left
    e = 1 - d
    return left - 1, (-d * e * e, 1 - 2 * d**2 + d**3, 1 - 2 * e**2 + e**3, -e * d * d)


_TAPS = {2: _quadratic, 3: _cubic}


class Slope(Extension):
    """Extends rows by a straight line from their last value to their first.

    Parameters
    ----------
    width_px, padded_px : int
    """

    def __init__(self, width_px: int, padded_px: int) -> None:
        super().__init__(width_px, padded_px, "zero")
        n_pad = padded_px - width_px
        self._slope = (np.arange(1, n_pad + 1) / (n_pad + 1)).astype(np.float32)

    def extend(self, rows: Image) -> Image:
        """Extend along the last axis of (n, width_px) rows."""
        extended = np.empty((len(rows), self.padded_px), dtype=np.float32)
        extended[:, : self.width_px] = rows
        pad = extended[:, self.width_px :]
        first, last = rows[:, :1], rows[:, -1:]
        np.subtract(first, last, out=pad)
        pad *= self._slope
        pad += last
        return extended
