"""Filtered back-projection by the fast projector, slab by slab."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray

from tomofilt.align.edges import continue_level
from tomofilt.align.stack import AlignedStack, OnImage
from tomofilt.filters.apply import ImageFilter, RowFilter
from tomofilt.filters.protocol import Filter, Interpolation
from tomofilt.projectors.cpu import SliceProjector, slice_table
from tomofilt.projectors.kernels import pack_rows
from tomofilt.reconstruction.budget import SLAB_ROWS
from tomofilt.reconstruction.images import SeriesImages
from tomofilt.reconstruction.problem import Method, Part, Problem, Slab
from tomofilt.util.lanes import cache_lines
from tomofilt.util.progress import Clock, Progress
from tomofilt.util.threads import run_all

__all__ = [
    "Fbp",
    "filtered_stack",
    "gain_table_bytes",
    "image_filter",
    "middle_first",
    "slab_units",
    "slice_slabs",
]

Float32 = NDArray[np.float32]
#: What filtering the rows of a slab counts for, in planes that are back-projected.
_FILTER_UNITS = 60
#: Planes of a block: more take memory and time to fill it for the first time, and save nothing.
_MOST_PLANES = 64


@dataclass(frozen=True)
class Fbp(Method):
    """Filtered back-projection by the fast projector, on the CPU or on GPUs.

    Parameters
    ----------
    filter : Filter
    interpolation : "fine" or "linear"
        Two samples a pixel, made in Fourier space, between which the projector interpolates; or
        the pixels themselves.
    """

    filter: Filter
    interpolation: Interpolation = "fine"

    def replaced(
        self, *, filter: Filter | None = None, interpolation: Interpolation | None = None
    ) -> Fbp:
        """See :meth:`Method.replaced`."""
        return type(self)(filter or self.filter, interpolation or self.interpolation)

    def more_bytes(self, problem: Problem) -> int:
        """Tables of two-dimensional gains."""
        return gain_table_bytes(problem)

    def row_filter(self, problem: Problem) -> RowFilter:
        """See :meth:`Method.row_filter`."""
        return RowFilter(
            self.filter,
            problem.frame.slices,
            pixel_angst=problem.frame.grid.pixel_angst[1],
            density_pixel_angst=problem.series.images.pixel_angst,
            thickness_angst=problem.thickness_angst,
            width_px=problem.frame.grid.shape[1],
            interpolation=self.interpolation,
        )

    def units(self, problem: Problem) -> int:
        """See :meth:`Method.units`."""
        return slab_units(problem)

    def slabs(
        self, problem: Problem, images: SeriesImages, part: Part, clock: Clock, progress: Progress
    ) -> Iterator[Slab]:
        """See :meth:`Method.slabs`."""
        with clock.phase("align"):
            stack = filtered_stack(problem, images, part)
        if problem.device.gpus:
            from tomofilt.reconstruction.methods.device import device_slabs  # loads torch

            return device_slabs(problem, stack, part, clock, progress)
        return slice_slabs(problem, stack, part, clock, progress)


def filtered_stack(problem: Problem, images: SeriesImages, part: Part) -> AlignedStack:
    """Aligned images with the two-dimensional part of the filter applied, if it has one."""
    if not problem.filter.two_dimensional:
        return images.aligned(part.source)
    return images.filtered(lambda: image_filter(problem), part.source)


def image_filter(problem: Problem) -> OnImage:
    """The filter for whole images on the tilt axis, halo and all."""
    grid = problem.frame.padded_grid
    chosen = ImageFilter(
        problem.filter,
        problem.frame.slices,
        grid.shape,
        pixel_angst=grid.pixel_angst,
        density_pixel_angst=problem.series.images.pixel_angst,
        thickness_angst=problem.thickness_angst,
    )
    if problem.device.gpus:
        from tomofilt.filters.device import DeviceImageFilter  # loads torch

        on_image = DeviceImageFilter(chosen, problem.device.gpus[0]).filter_image
    else:
        on_image = chosen.filter_image
    return lambda view, image: on_image(view, continue_level(image))


def gain_table_bytes(problem: Problem) -> int:
    """Memory of the tables of two-dimensional gains."""
    if not problem.filter.two_dimensional:
        return 0
    width, ny = problem.frame.grid.shape[1], problem.grid.shape[1]
    return len(problem.series.views) * int(1.5 * ny) * int(0.75 * width + 1) * 4


def slab_units(problem: Problem) -> int:
    """Planes, and what filtering counts for, of all slabs that are back-projected."""
    nz, ny, _ = problem.frame.volume.shape
    return -(-ny // SLAB_ROWS) * (nz + _FILTER_UNITS)


def slice_slabs(
    problem: Problem,
    stack: AlignedStack,
    part: Part,
    clock: Clock,
    progress: Progress,
    *,
    hard_edge: bool = False,
    level: Float32 | None = None,
) -> Iterator[Slab]:
    """Yield slabs through the fast projector, from aligned images whose rows are filtered now.

    Parameters
    ----------
    problem, stack, part, clock, progress
        See :meth:`Method.slabs`; the stack holds all views of the problem.
    hard_edge : bool
        A view counts only between its first and its last sample (IMOD).
    level : (view,), optional
        What is added to the filtered rows of each view of the part.
    """
    grid, rows_filter, members = problem.frame.volume, problem.row_filter, part.views
    nz, ny, nx = grid.shape
    count = len(members)
    table = slice_table(
        problem.frame.slices,
        grid,
        problem.frame.grid,
        rows_filter.first_px,
        rows_filter.step_px,
    )[members]
    projector = SliceProjector(
        table,
        (count, ny, int(rows_filter.samples.max())),
        grid.shape,
        last_sample=rows_filter.last_sample[members],
        hard_edge=hard_edge,
        threads=problem.threads,
    )
    packed = projector.packed_buffer(np.dtype(np.float32))
    # one block is made while the last is written; fresh memory for each costs page faults
    # a tomogram that is turned afterwards needs all planes of a row at once
    planes = min(problem.room.planes, _MOST_PLANES) if problem.xtilt_rad == 0.0 else nz
    buffers = cache_lines((2, planes * SLAB_ROWS * nx), np.float32)
    made = 0
    gain = np.float32(part.gain)
    for y_start in slab_starts(problem):
        y_stop = min(y_start + SLAB_ROWS, ny)

        def load(view: int, y_start: int = y_start, y_stop: int = y_stop) -> None:
            member = int(members[view])
            rows = stack.rows(member, y_start - projector.halo, y_stop + projector.halo)
            filtered = rows_filter.filter_rows(member, rows)
            if gain != 1:
                filtered *= gain
            if level is not None and level[view] != 0:
                filtered += level[view]
            pack_rows(filtered, packed[view])

        with clock.phase("filter"):
            run_all(problem.threads, load, range(count))
        progress.advance(_FILTER_UNITS)
        for z_start in middle_first(0, nz, planes):
            shape = (min(planes, nz - z_start), y_stop - y_start, nx)
            block = buffers[made % 2, : prod(shape)].reshape(shape)
            made += 1
            with clock.phase("back-project"):
                projector.adjoint_block(packed, block, z_start)
            progress.advance(len(block))
            yield y_start, z_start, block


def slab_starts(problem: Problem) -> list[int]:
    """First rows of the slabs: in order if they are to be turned, else the middle first."""
    ny = problem.frame.volume.shape[1]
    if problem.xtilt_rad != 0.0:
        return list(range(0, ny, SLAB_ROWS))
    return middle_first(0, ny, SLAB_ROWS)


def middle_first(start: int, stop: int, step: int) -> list[int]:
    """Starts of the pieces of a range, that of its middle first: it sets the scale of integers."""
    starts = list(range(start, stop, step))
    middle = starts.pop((stop - start) // 2 // step)
    return [middle, *starts]
