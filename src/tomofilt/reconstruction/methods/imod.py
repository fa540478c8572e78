"""Back-projection as IMOD's ``tilt`` does it: its edges, levels, x tilt and density scale."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tomofilt.errors import InputError
from tomofilt.filters.apply import RowFilter
from tomofilt.filters.imod import ImodFilter
from tomofilt.filters.protocol import Filter, Interpolation
from tomofilt.projectors.cpu import slice_table
from tomofilt.reconstruction.images import SeriesImages
from tomofilt.reconstruction.methods.direct import local_slabs
from tomofilt.reconstruction.methods.fbp import slab_units, slice_slabs
from tomofilt.reconstruction.problem import Method, Part, Problem, Slab
from tomofilt.reconstruction.vertical import turned_slabs
from tomofilt.series.tiltseries import TiltSeries
from tomofilt.util.progress import Clock, Progress

__all__ = ["ImodTilt"]


@dataclass(frozen=True)
class ImodTilt(Method):
    """What IMOD's ``tilt`` computes with the options of a tilt.com.

    Images keep their mean, and areas without data count as the mean of the series.

    Parameters
    ----------
    filter : ImodFilter
    interpolation : "imod" or "linear"
        With the cosine stretch, or without.
    """

    filter: ImodFilter
    interpolation: Interpolation = "imod"

    background = "series"
    like_newstack = True

    @classmethod
    def with_options(cls, filter: ImodFilter, *, local: bool) -> ImodTilt:
        """Follow a tilt.com; ``tilt`` stretches no lines under local alignment."""
        return cls(filter, "imod" if filter.cosine_stretch and not local else "linear")

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
        """See :meth:`Method.replaced`; the filter has to be IMOD's."""
        assert filter is None or isinstance(filter, ImodFilter)
        return ImodTilt(filter or self.filter, interpolation or self.interpolation)

    def why_not_gpu(self, series: TiltSeries) -> str | None:
        """It runs on the CPU."""
        return "IMOD's filtering" if series.geometry.local is None else "a local alignment"

    def more_bytes(self, problem: Problem) -> int:
        """All images, when they are aligned locally; the window of slabs that are turned."""
        if problem.series.geometry.local is not None:
            _, ny, nx = problem.series.images.shape
            return len(problem.series.views) * ny * nx * 4 * 2
        return 0

    def row_filter(self, problem: Problem) -> RowFilter:
        """Sample the filter from the first pixel that a voxel falls on, as ``tilt`` does."""
        frame, grid = problem.frame, problem.frame.volume
        table = slice_table(frame.slices, grid, frame.grid)
        nz, _, nx = grid.shape
        reach = np.minimum(0.0, table[:, 0] * (nx - 1)) + np.minimum(0.0, table[:, 1] * (nz - 1))
        if self.turns_upright and problem.xtilt_rad == 0.0:
            # IMOD's vertical slices are four voxels thicker than the tomogram
            reach -= 2 * np.abs(table[:, 1])
        return RowFilter(
            self.filter,
            frame.slices,
            pixel_angst=frame.grid.pixel_angst[1],
            density_pixel_angst=problem.series.images.pixel_angst,
            thickness_angst=problem.thickness_angst,
            width_px=frame.grid.shape[1],
            interpolation=self.interpolation,
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
            return local_slabs(problem, images, part, clock, progress)
        with clock.phase("align"):
            stack = images.aligned(part.source)
        # areas without data count as the mean: IMOD gives them the mean response of all views
        gains = problem.row_filter.dc_gain
        level = np.float32(part.gain) * (stack.mean * (gains - gains.mean())[part.views]).astype(
            np.float32
        )
        slabs = slice_slabs(problem, stack, part, clock, progress, hard_edge=True, level=level)
        return turned_slabs(problem, slabs)


def imod_tilt(argument: str, native: object, *, local: bool) -> ImodTilt:
    """Make the method that ``-f imod`` stands for.

    Parameters
    ----------
    argument : str
        Must be empty.
    native : object
        What the project's tilt.com says, if it has one; otherwise what etomo writes into a new one.
    local : bool
        Whether the series is aligned locally.
    """
    if argument:
        raise InputError(f"it takes no argument, but {argument!r} was given")
    if not isinstance(native, ImodFilter):
        native = ImodFilter(radial_cutoff=0.35, radial_falloff=0.035, true_sigma=True)
    return ImodTilt.with_options(native, local=local)
