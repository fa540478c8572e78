"""Back-projection as IMOD's ``tilt`` does it: its edges, levels, x tilt and density scale."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tomofilt.errors import InputError
from tomofilt.filters.protocol import Filter, Interpolation
from tomofilt.projectors.cpu import slice_table
from tomofilt.reconstruction.images import SeriesImages
from tomofilt.reconstruction.methods.direct import local_slabs
from tomofilt.reconstruction.methods.fbp import slab_units, slice_slabs
from tomofilt.reconstruction.problem import Method, Part, Problem, Slab
from tomofilt.reconstruction.vertical import turned_slabs
from tomofilt.series.tiltseries import TiltSeries
from tomofilt.util.progress import Clock, Progress
from tomofilt_imod.tilt_filter import ImodFilter
from tomofilt_imod.tilt_rows import TiltRows

__all__ = ["ImodTilt"]


@dataclass(frozen=True)
class ImodTilt(Method):
    """What IMOD's ``tilt`` computes with the options of a tilt.com.

    Images keep their mean, and areas without data count as the mean of the series.

    Parameters
    ----------
    filter : ImodFilter
    """

    filter: ImodFilter

    interpolation = "linear"
    background = "series"
    like_newstack = True

    @property
    def native(self) -> str:  # type: ignore[override]
        """See :class:`Method`."""
        return f"-f {self.spec} does what the program itself would do with these images"

    @property
    def turns_upright(self) -> bool:  # type: ignore[override]
        """Whether XAXISTILT or XTILTFILE is given."""
        return self.filter.vertical_slices

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

    def more_bytes(self, problem: Problem) -> int:
        """All images, when they are aligned locally; the window of slabs that are turned."""
        if problem.series.geometry.local is not None:
            _, ny, nx = problem.series.images.shape
            return len(problem.series.views) * ny * nx * 4 * 2
        return 0

    def samples_px(self, problem: Problem) -> int:
        """See :meth:`Method.samples_px`; steep views have most."""
        width = problem.frame.grid.shape[1]
        if not self.filter.cosine_stretch:
            return width
        steepest = min(80, np.abs(problem.frame.slices.tilt_deg).max())
        return int(2 * width / np.cos(np.radians(steepest)))

    def row_filter(self, problem: Problem) -> TiltRows:
        """Sample the filter from the first pixel that a voxel falls on, as ``tilt`` does."""
        frame, grid = problem.frame, problem.frame.volume
        table = slice_table(frame.slices, grid, frame.grid)
        nz, _, nx = grid.shape
        reach = np.minimum(0.0, table[:, 0] * (nx - 1)) + np.minimum(0.0, table[:, 1] * (nz - 1))
        if self.turns_upright and problem.xtilt_rad == 0.0:
            # IMOD's vertical slices are four voxels thicker than the tomogram
            reach -= 2 * np.abs(table[:, 1])
        return TiltRows(
            self.filter,
            frame.slices,
            pixel_angst=frame.grid.pixel_angst[1],
            density_pixel_angst=problem.series.images.pixel_angst,
            thickness_angst=problem.thickness_angst,
            width_px=frame.grid.shape[1],
            needed_px=table[:, 2] + reach,
        )

    def offset(self, problem: Problem, images: SeriesImages, part: Part) -> float:
        """SCALE, and the mean that was subtracted before the images were filtered."""
        gains = problem.row_filter.dc_gain[part.views]
        mean = images.aligned(part.source).mean
        return self.filter.offset + mean * part.gain * float(gains.sum())

    def units(self, problem: Problem) -> int:
        """See :meth:`Method.units`."""
        if problem.series.geometry.local is not None:
            return problem.grid.shape[1]
        return slab_units(problem)

    def slabs(
        self, problem: Problem, images: SeriesImages, part: Part, clock: Clock, progress: Progress
    ) -> Iterator[Slab]:
        """See :meth:`Method.slabs`."""
        if problem.series.geometry.local is not None:
            return local_slabs(problem, images, part, clock, progress, exact=True)
        with clock.phase("align"):
            stack = images.aligned(part.source)
        # areas without data count as the mean: IMOD gives them the mean response of all views
        gains = problem.row_filter.dc_gain
        level = np.float32(part.gain) * (stack.mean * (gains - gains.mean())[part.views]).astype(
            np.float32
        )
        slabs = slice_slabs(problem, stack, part, clock, progress, hard_edge=True, level=level)
        return turned_slabs(problem, slabs)
