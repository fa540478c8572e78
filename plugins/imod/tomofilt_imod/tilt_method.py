"""Back-projection as IMOD's ``tilt`` does it: its edges, levels, x tilt and density scale."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tomofilt.align.frame import AlignedFrame
from tomofilt.errors import InputError
from tomofilt.filters.protocol import Filter, Interpolation
from tomofilt.projectors.cpu import slice_table
from tomofilt.reconstruction.images import SeriesImages
from tomofilt.reconstruction.methods.fbp import slab_units, slice_slabs
from tomofilt.reconstruction.problem import Method, Part, Problem, Slab
from tomofilt.reconstruction.vertical import turned_slabs
from tomofilt.series.geometry import TiltGeometry, VolumeGrid
from tomofilt.series.tiltseries import TiltSeries
from tomofilt.util.progress import Clock, Progress
from tomofilt_imod.look_up import halo, look_up_slabs, lowest_columns, stack_rows
from tomofilt_imod.tilt_filter import ImodFilter
from tomofilt_imod.tilt_program import TiltProgram
from tomofilt_imod.tilt_rows import TiltRows
from tomofilt_imod.vertical_slices import VerticalSlices

__all__ = ["ImodTilt"]

Float64 = NDArray[np.float64]
#: Rows and planes of an upright tomogram beyond those that linear interpolation needs.
_CUBIC_REACH = 2


@dataclass(frozen=True)
class ImodTilt(Method):
    """What IMOD's ``tilt`` computes with the options of a tilt.com.

    Images keep their mean, and areas without data count as the mean of the series. With a local
    alignment, or x tilts and Z factors that no upright tomogram can be turned for, voxels look into
    the filtered images where they fall on them.

    Parameters
    ----------
    program : TiltProgram
    """

    program: TiltProgram

    interpolation = "linear"
    background = "series"
    like_newstack = True

    @property
    def filter(self) -> ImodFilter:  # type: ignore[override]
        """The program's."""
        return self.program.filter

    @property
    def native(self) -> str:  # type: ignore[override]
        """See :class:`Method`."""
        return f"-f {self.spec} does what the program itself would do with these images"

    @property
    def turns_upright(self) -> bool:  # type: ignore[override]
        """Whether XAXISTILT or XTILTFILE is given, and vertical slices are not switched off."""
        return self.program.vertical_slices

    @property
    def dtype(self) -> str:
        """Data type of MODE."""
        return self.filter.dtype

    def replaced(
        self, *, filter: Filter | None = None, interpolation: Interpolation | None = None
    ) -> ImodTilt:
        """Refuse: everything is as tilt.com says."""
        raise InputError(
            f"-f {self.spec} interpolates as COSINTERP in tilt.com says: leave --interpolation out"
        )

    def why_not_gpu(self, series: TiltSeries) -> str | None:
        """It runs on the CPU."""
        return "IMOD's filtering" if series.geometry.local is None else "a local alignment"

    def frame(
        self,
        series: TiltSeries,
        geometry: TiltGeometry,
        volume: VolumeGrid,
        width_angst: tuple[float, float],
    ) -> AlignedFrame:
        """Align the images by the tilts alone, as newstack does, whatever voxels look up later."""
        alone = self.program.tilts_alone
        if geometry is not series.geometry:  # an upright tomogram, which is turned later
            if self.program.xtilt_order > 1:
                volume = _larger(volume, _CUBIC_REACH)
            return super().frame(series, geometry, volume, width_angst)
        if alone is None:
            return super().frame(series, geometry, volume, width_angst)
        frame = AlignedFrame.for_volume(alone.select(series.views), volume, width_angst)
        if not _looks_up(series.geometry, frame):
            return frame
        return replace(frame, halo=halo(series.geometry, frame, self.program.rows_angst))

    def more_bytes(self, problem: Problem) -> int:
        """All images, filtered, when voxels look into them."""
        if not _looks_up(problem.series.geometry, problem.frame, problem.xtilt_rad):
            return 0
        rows, width = problem.frame.padded_grid.shape[0], self.samples_px(problem)
        return len(problem.series.views) * rows * (width + problem.frame.grid.shape[1]) * 4

    def samples_px(self, problem: Problem) -> int:
        """See :meth:`Method.samples_px`; steep views have most."""
        width = problem.frame.grid.shape[1]
        order, factor = self.program.cosine
        if order == 0:
            return width
        steepest = min(80, np.abs(problem.frame.slices.tilt_deg).max())
        return int(factor * width / np.cos(np.radians(steepest)))

    def row_filter(self, problem: Problem) -> TiltRows:
        """Sample the filter from the first pixel that a voxel falls on, as ``tilt`` does."""
        frame, series = problem.frame, problem.series
        return TiltRows(
            self.program,
            frame.slices,
            pixel_angst=frame.grid.pixel_angst[1],
            density_pixel_angst=series.images.pixel_angst,
            thickness_angst=problem.thickness_angst,
            width_px=frame.grid.shape[1],
            needed_px=self._needed_px(problem),
            weights=self._weights(problem),
        )

    def _needed_px(self, problem: Problem) -> Float64:
        frame, grid = problem.frame, problem.frame.volume
        if _looks_up(problem.series.geometry, frame, problem.xtilt_rad):
            return lowest_columns(problem)
        nz, _, nx = grid.shape
        low, high = 0.0, nz - 1.0
        if self.turns_upright:
            planes = VerticalSlices.of(problem, self.program).planes
            low, high = grid.centre[0] + planes[0], grid.centre[0] + planes[1]
        table = slice_table(frame.slices, grid, frame.grid)
        reach = np.minimum(0.0, table[:, 0] * (nx - 1))
        return np.asarray(table[:, 2] + reach + np.minimum(table[:, 1] * low, table[:, 1] * high))

    def _weights(self, problem: Problem) -> Float64:
        if not self.program.view_weights or problem.series.log_base is not None:
            return np.ones(len(problem.series.views))
        return np.array(self.program.view_weights)[problem.series.views]

    def offset(self, problem: Problem, images: SeriesImages, part: Part) -> float:
        """SCALE, and the mean that was subtracted before the images were filtered."""
        gains = problem.row_filter.dc_gain[part.views]
        mean = images.aligned(part.source).mean
        return self.filter.offset + mean * part.gain * float(gains.sum())

    def units(self, problem: Problem) -> int:
        """See :meth:`Method.units`."""
        if _looks_up(problem.series.geometry, problem.frame, problem.xtilt_rad):
            return problem.grid.shape[1]
        return slab_units(problem)

    def slabs(
        self, problem: Problem, images: SeriesImages, part: Part, clock: Clock, progress: Progress
    ) -> Iterator[Slab]:
        """See :meth:`Method.slabs`."""
        with clock.phase("align"):
            stack = images.aligned(part.source)
        # areas without data count as the mean: IMOD gives them the mean response of all views
        gains, weights = problem.row_filter.dc_gain, self._weights(problem)
        level = np.float32(part.gain) * (
            stack.mean * (gains * weights - gains.mean())[part.views]
        ).astype(np.float32)
        if _looks_up(problem.series.geometry, problem.frame, problem.xtilt_rad):
            rows = stack_rows(problem.frame, self.program.rows_angst)
            return look_up_slabs(problem, stack, part, clock, progress, level=level, rows=rows)
        slabs = slice_slabs(problem, stack, part, clock, progress, hard_edge=True, level=level)
        if problem.xtilt_rad == 0.0:
            return slabs
        turn = VerticalSlices.of(problem, self.program).turn_row
        return turned_slabs(problem, slabs, turn, reach=self.program.xtilt_order)


def _looks_up(geometry: TiltGeometry, frame: AlignedFrame, xtilt_rad: float = 0.0) -> bool:
    """Whether voxels fall elsewhere than the aligned frame's slices say."""
    if geometry.local is not None or xtilt_rad != 0.0:
        return geometry.local is not None
    maps = geometry.in_aligned_frame(frame.image_from_aligned).image_from_volume
    slices = frame.slices
    own = np.zeros_like(maps)
    own[:, 0, 0], own[:, 0, 2], own[:, 0, 3] = slices.a, slices.b, slices.u0_angst
    own[:, 1, 1], own[:, 1, 2] = 1.0, slices.e
    return not np.allclose(maps, own, rtol=0, atol=1e-6)


def _larger(volume: VolumeGrid, more: int) -> VolumeGrid:
    """The same lattice with more rows and planes on every side."""
    (nz, ny, nx), (zc, yc, xc) = volume.shape, volume.centre
    shape, centre = (nz + 2 * more, ny + 2 * more, nx), (zc + more, yc + more, xc)
    return replace(volume, shape=shape, centre=centre)
