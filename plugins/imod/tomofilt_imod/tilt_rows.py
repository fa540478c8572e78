"""Rows as IMOD's ``tilt`` filters and samples them: its padding and its cosine stretch."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tomofilt.filters.apply import Extension, RowFilter
from tomofilt.series.geometry import SliceGeometry
from tomofilt_imod.stretch import stretch
from tomofilt_imod.tilt_filter import ImodFilter

__all__ = ["Slope", "TiltRows"]

Image = NDArray[np.float32]
FloatArray = NDArray[np.float64]

#: ``tilt`` stretches no line of a view that is tilted further.
_STEEPEST_DEG = 80.0


class TiltRows(RowFilter):
    """Filters rows, and samples them finely enough for linear interpolation (COSINTERP).

    Samples are half a pixel times cos(tilt) apart and interpolated linearly from the pixels.

    Parameters
    ----------
    filter, slices, pixel_angst, density_pixel_angst, thickness_angst, width_px
        See :class:`~tomofilt.filters.apply.RowFilter`.
    needed_px : (view,)
        Lowest pixel coordinate that a voxel of the tomogram falls on. Stretched samples start
        there if that is inside the row, else at pixel 0.
    """

    def __init__(
        self,
        filter: ImodFilter,
        slices: SliceGeometry,
        *,
        pixel_angst: float,
        density_pixel_angst: float,
        thickness_angst: float,
        width_px: int,
        needed_px: FloatArray,
    ) -> None:
        super().__init__(
            filter,
            slices,
            pixel_angst=pixel_angst,
            density_pixel_angst=density_pixel_angst,
            thickness_angst=thickness_angst,
            width_px=width_px,
            interpolation="linear",
        )
        self.extension = Slope(width_px, self.padded_px)
        self._stretched = np.abs(slices.tilt_deg) <= _STEEPEST_DEG
        if not filter.cosine_stretch:
            self._stretched[:] = False
        first = np.clip(needed_px, 0.0, width_px - 1)
        self.place_samples(
            np.where(self._stretched, first, 0.0),
            np.where(self._stretched, np.abs(slices.a) / 2, 1.0),
        )

    def sample(self, view: int, lines: Image, out: Image) -> None:
        """Take the samples of filtered lines; the last repeats the last pixel."""
        if not self._stretched[view]:
            out[:] = lines
            return
        last = self.width_px - 1
        position = self.first_px[view] + self.step_px[view] * np.arange(self.samples[view])
        position = np.minimum(position, last)
        left = np.minimum(position.astype(np.int32), max(last - 1, 0))
        stretch(lines, left, (position - left).astype(np.float32), out)


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
