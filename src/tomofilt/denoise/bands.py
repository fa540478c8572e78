"""Seven radial bands of a tomogram, six of them on coarse grids.

A radial window on the images is the same radial window on the tomogram (slice theorem). So a low
band can be back-projected on a grid as coarse as its highest frequency allows, and interpolated
from it with cubic B-splines, whose transfer the images are divided by. What the six coarse bands
leave of the tomogram is the seventh.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import floor
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tomofilt.align.edges import continue_level
from tomofilt.filters.apply import ImageFilter
from tomofilt.projectors.cpu import SliceProjector, slice_table
from tomofilt.projectors.select import gpu_projector
from tomofilt.reconstruction.problem import Problem
from tomofilt.series.geometry import ImageGrid, VolumeGrid

if TYPE_CHECKING:
    from tomofilt.projectors.device import DeviceProjector

__all__ = ["BANDS", "CoarseBands", "Splitter", "windows"]

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

#: Where one band hands over to the next, in cycles per voxel: from, to.
HANDOVERS = (
    (0.008, 0.014),
    (0.018, 0.028),
    (0.034, 0.050),
    (0.060, 0.085),
    (0.100, 0.130),
    (0.150, 0.190),
)
BANDS = len(HANDOVERS) + 1
#: Voxels of the coarse grids, in voxels of the tomogram, and the bands made on each.
COARSE = ((4, slice(0, 4)), (2, slice(4, 6)))
#: Coarse voxels before the first one of the tomogram that cubic interpolation needs.
MARGIN = 1
#: Samples of a coarse row before pixel 0.
_BEFORE = 4


def windows(k: Float64) -> Float64:
    """Windows of the bands, which sum to one.

    Parameters
    ----------
    k : array
        Frequency in cycles per voxel.

    Returns
    -------
    (BANDS, ...) array
    """
    k = np.asarray(k, dtype=np.float64)
    below = np.zeros((BANDS + 1, *k.shape))
    below[-1] = 1.0
    for i, (low, high) in enumerate(HANDOVERS, start=1):
        # even in log k: bands are as wide as their frequency
        share = np.log(np.maximum(k, 1e-9) / low) / np.log(high / low)
        below[i] = np.cos(np.pi / 2 * np.clip(share, 0.0, 1.0)) ** 2
    return np.diff(below, axis=0)


@dataclass(frozen=True, eq=False)
class CoarseBands:
    """Bands of a tomogram on one coarse grid.

    Attributes
    ----------
    values : (band, z, y, x) float32
        B-spline coefficients.
    step_px : float
        Coarse voxel in voxels of the tomogram.
    first_px : (z, y, x)
        Position of coarse voxel 0 in the tomogram.
    """

    values: Float32
    step_px: float
    first_px: tuple[float, float, float]


class _CoarseGrid:
    """One coarse grid: of images, and of the tomogram."""

    def __init__(self, problem: Problem, images: ImageFilter, factor: int, bands: slice) -> None:
        padded_y, padded_x = images.padded_shape
        frame, halo = problem.frame, problem.frame.halo
        nz, ny, nx = problem.grid.shape
        zc, yc, xc = problem.grid.centre
        self.rows = 2 * (padded_y // (2 * factor))
        self.columns = 4 * (padded_x // (2 * factor))
        self.step_px = padded_y / self.rows
        #: Samples are twice as fine across the tilt axis, where they are interpolated linearly.
        self.sample_px = padded_x / self.columns
        voxel, pixel = problem.grid.voxel_angst, frame.grid.pixel_angst[1]
        self.first_px = (
            -MARGIN * self.step_px,
            -MARGIN * self.step_px - halo,
            -MARGIN * self.step_px,
        )
        self.volume = VolumeGrid(
            (self._size(nz), self._size(ny + 2 * halo), self._size(nx)),
            voxel * self.step_px,
            (
                (zc - self.first_px[0]) / self.step_px,
                (yc - self.first_px[1]) / self.step_px,
                (xc - self.first_px[2]) / self.step_px,
            ),
        )
        samples = floor((frame.grid.shape[1] - 1) / self.sample_px) + 1 + 2 * _BEFORE
        self.images = ImageGrid(
            (self.volume.shape[1], samples),
            (voxel * self.step_px, pixel * self.sample_px),
            (
                (frame.grid.centre[0] - self.first_px[1]) / self.step_px,
                frame.grid.centre[1] / self.sample_px + _BEFORE,
            ),
        )
        self.table = slice_table(frame.slices, self.volume, self.images)
        self.kept_rows = np.r_[: self.rows // 2, padded_y - self.rows // 2 : padded_y]
        self._k_y = np.fft.fftfreq(self.rows, self.step_px)
        self._k_x = np.fft.rfftfreq(self.columns, self.sample_px)
        k = np.hypot(self._k_y[:, None], self._k_x)
        scale = self.rows * self.columns / (padded_y * padded_x)
        across = scale / np.sinc(self._k_x * self.sample_px) ** 2
        self.windows: Float32 = (windows(k)[bands] * across).astype(np.float32)
        self._slices = frame.slices

    def _size(self, fine: int) -> int:
        return floor((fine - 1) / self.step_px) + 3 + MARGIN

    def split(self, view: int, spectrum: NDArray[np.complex64]) -> Float32:
        """Coarse images (band, y, sample) of the bands of a filtered spectrum."""
        from scipy import fft

        part = spectrum[self.kept_rows, : self.columns // 2 + 1] * self._spline(view)
        images: Float32 = fft.irfft2(part * self.windows, (self.rows, self.columns))
        y = np.arange(-MARGIN, self.images.shape[0] - MARGIN)
        x = np.arange(-_BEFORE, self.images.shape[1] - _BEFORE)
        return images[:, y[:, None] % self.rows, x % self.columns]

    def _spline(self, view: int) -> Float32:
        """One over the transfer of cubic B-splines, at the frequencies a view has in the volume."""
        a, b, e = (float(getattr(self._slices, name)[view]) for name in "abe")
        k_y = self._k_y[:, None]
        # as far as the windows reach: beyond, the transfer comes near to zero
        k_x = np.minimum(self._k_x, 0.5 / self.step_px)
        k_z = b * k_x + e * k_y if e else b * k_x
        across = np.sinc(self.step_px * a * k_x) * np.sinc(self.step_px * k_z)
        return np.asarray(across**-4 * np.sinc(self.step_px * k_y) ** -4, dtype=np.float32)


class Splitter:
    """Filters aligned images, and keeps the coarse images of their bands.

    Parameters
    ----------
    problem : Problem
        With a two-dimensional filter that has been measured.
    """

    def __init__(self, problem: Problem) -> None:
        grid = problem.frame.padded_grid
        self._filter = ImageFilter(
            problem.filter,
            problem.frame.slices,
            grid.shape,
            pixel_angst=grid.pixel_angst,
            density_pixel_angst=problem.series.images.pixel_angst,
            thickness_angst=problem.thickness_angst,
        )
        self._threads, self._device = problem.threads, problem.device
        self._grids = [_CoarseGrid(problem, self._filter, *coarse) for coarse in COARSE]
        views = len(problem.series.views)
        self._images = [
            np.empty((len(grid.windows), views, *grid.images.shape), dtype=np.float32)
            for grid in self._grids
        ]

    def filter_image(self, view: int, image: Float32) -> Float32:
        """Filter an aligned image, halo and all, of one of the views; its bands are kept."""
        spectrum = self._filter.spectrum(view, continue_level(image))
        for grid, images in zip(self._grids, self._images, strict=True):
            images[:, view] = grid.split(view, spectrum)
        return self._filter.crop(spectrum)

    def back_project(self, members: NDArray[np.intp], gain: float = 1.0) -> list[CoarseBands]:
        """Coarse bands of the tomogram from some views, whose images have been filtered."""
        found = []
        for grid, images in zip(self._grids, self._images, strict=True):
            projector = self._projector(
                grid.table[members], (len(members), *grid.images.shape), grid.volume.shape
            )
            values = np.empty((len(images), *grid.volume.shape), dtype=np.float32)
            for band, out in zip(images, values, strict=True):
                np.multiply(projector.adjoint(band[members]), np.float32(gain), out=out)
            found.append(CoarseBands(values, grid.step_px, grid.first_px))
        return found

    def _projector(
        self, table: Float64, images: tuple[int, int, int], volume: tuple[int, int, int]
    ) -> SliceProjector | DeviceProjector:
        if not self._device.gpus:
            return SliceProjector(table, images, volume, threads=self._threads)
        return gpu_projector(self._device.engine, table, images, volume, self._device.gpus[0])
