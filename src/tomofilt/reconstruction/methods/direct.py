"""Back-projection through the full view maps: local alignment, and images as they were taken."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tomofilt.align.stack import cropped_grid
from tomofilt.filters.apply import ImageFilter, RowFilter
from tomofilt.filters.protocol import Filter, Interpolation
from tomofilt.projectors.direct import DirectProjector
from tomofilt.projectors.kernels import BLOCK
from tomofilt.projectors.local import LARGEST_ERROR_PX, LocalProjector
from tomofilt.reconstruction.budget import SLAB_ROWS
from tomofilt.reconstruction.images import SeriesImages
from tomofilt.reconstruction.methods.fbp import (
    Fbp,
    filtered_stack,
    gain_table_bytes,
    middle_first,
)
from tomofilt.reconstruction.problem import Method, Part, Problem, Slab
from tomofilt.series.geometry import ImageGrid
from tomofilt.series.tiltseries import TiltSeries
from tomofilt.util.progress import Clock, Progress
from tomofilt.util.threads import run_all

__all__ = ["Direct", "Mean", "local_slabs"]

Float32 = NDArray[np.float32]


@dataclass(frozen=True)
class Direct(Method):
    """Filtered back-projection that samples images where each voxel falls on them.

    With a local alignment images are sampled on the tilt axis, otherwise as they were taken.

    Parameters
    ----------
    filter : Filter
    interpolation : "fine" or "linear"
        With a local alignment, as for :class:`Fbp`. Images as they were taken are sampled pixel by
        pixel.
    """

    filter: Filter
    interpolation: Interpolation = "fine"

    projector = "direct"

    @property
    def passes(self) -> float:
        """Every place in every image is looked up by itself."""
        return 8.0

    def replaced(
        self, *, filter: Filter | None = None, interpolation: Interpolation | None = None
    ) -> Direct:
        """See :meth:`Method.replaced`."""
        return type(self)(filter or self.filter, interpolation or self.interpolation)

    def why_not_gpu(self, series: TiltSeries) -> str | None:
        """It runs on the CPU."""
        return "the direct projector" if series.geometry.local is None else "a local alignment"

    def more_bytes(self, problem: Problem) -> int:
        """All images, as they are and filtered, and tables of two-dimensional gains."""
        _, ny, nx = problem.series.images.shape
        return len(problem.series.views) * ny * nx * 4 * 2 + gain_table_bytes(problem)

    def row_filter(self, problem: Problem) -> RowFilter:
        """See :meth:`Method.row_filter`."""
        return Fbp(self.filter, self.interpolation).row_filter(problem)

    def units(self, problem: Problem) -> int:
        """Rows of the tomogram."""
        return problem.grid.shape[1]

    def slabs(
        self, problem: Problem, images: SeriesImages, part: Part, clock: Clock, progress: Progress
    ) -> Iterator[Slab]:
        """See :meth:`Method.slabs`."""
        if problem.series.geometry.local is not None:
            return local_slabs(problem, images, part, clock, progress)
        return _slabs_as_taken(problem, images, part, clock, progress, mean=False)


class Mean(Direct):
    """Each voxel is the mean over the views that see it, of images with their mean subtracted.

    With the filter ``none``, this is RELION's unweighted tomogram.
    """

    background = "image"
    native = "RELION's unweighted tomogram has none"

    def slabs(
        self, problem: Problem, images: SeriesImages, part: Part, clock: Clock, progress: Progress
    ) -> Iterator[Slab]:
        """See :meth:`Method.slabs`."""
        if problem.series.geometry.local is not None:
            return local_slabs(problem, images, part, clock, progress, mean=True)
        return _slabs_as_taken(problem, images, part, clock, progress, mean=True)


def local_slabs(
    problem: Problem,
    images: SeriesImages,
    part: Part,
    clock: Clock,
    progress: Progress,
    *,
    exact: bool = False,
    mean: bool = False,
) -> Iterator[Slab]:
    """Yield slabs of a local alignment, from filtered images on the tilt axis.

    Voxels are sampled up to LARGEST_ERROR_PX from their places, unless ``exact`` or ``mean``: then,
    or where maps vary too much from row to row for that, each follows its own map.
    """
    rows_filter, members = problem.row_filter, part.views
    grid, gain = problem.frame.grid, np.float32(part.gain)
    with clock.phase("align"):
        aligned = filtered_stack(problem, images, part)

    def filtered(view: int) -> Float32:
        member = int(members[view])
        rows = rows_filter.filter_rows(member, aligned.image(member))
        if gain != 1:
            rows *= gain
        return rows

    geometry = problem.series.geometry.select(members).in_aligned_frame(
        problem.frame.image_from_aligned[members]
    )
    shape = (problem.grid.shape[1], int(rows_filter.samples[0]))
    sampled = ImageGrid(shape, grid.pixel_angst, grid.centre)
    first, step = float(rows_filter.first_px[0]), float(rows_filter.step_px[0])
    if not (exact or mean):
        fast = LocalProjector(
            geometry, problem.grid, sampled, first_px=first, step_px=step, threads=problem.threads
        )
        if fast.error_px <= LARGEST_ERROR_PX:
            yield from _locally_sampled(fast, filtered, problem, clock, progress)
            return
    direct = DirectProjector(
        geometry, problem.grid, sampled, first_px=first, step_px=step, threads=problem.threads
    )
    stack = np.empty(direct.image_shape, dtype=np.float32)

    def filter_view(view: int) -> None:
        stack[view] = filtered(view)

    with clock.phase("filter"):
        run_all(problem.threads, filter_view, range(len(members)))
    yield from _sampled(direct, stack, problem, clock, progress, mean=mean)


def _locally_sampled(
    projector: LocalProjector,
    filtered: Callable[[int], Float32],
    problem: Problem,
    clock: Clock,
    progress: Progress,
) -> Iterator[Slab]:
    packed = projector.packed_images()
    with clock.phase("filter"):
        run_all(
            problem.threads,
            lambda view: projector.pack(filtered(view), packed[view]),
            range(len(packed)),
        )
    nz, ny, nx = problem.grid.shape
    for y_start in middle_first(0, ny, BLOCK):
        rows = min(BLOCK, ny - y_start)
        block = np.empty((nz, rows, nx), dtype=np.float32)
        with clock.phase("back-project"):
            projector.adjoint_block(packed, y_start, block)
        progress.advance(rows)
        yield y_start, 0, block


def _slabs_as_taken(
    problem: Problem,
    images: SeriesImages,
    part: Part,
    clock: Clock,
    progress: Progress,
    *,
    mean: bool,
) -> Iterator[Slab]:
    """Yield slabs from images in their own frame, filtered there."""
    series, members = problem.series, part.views
    grid = cropped_grid(series.images, problem.grid.voxel_angst)
    on_image = ImageFilter(
        problem.filter,
        problem.frame.slices,
        grid.shape,
        pixel_angst=grid.pixel_angst,
        density_pixel_angst=series.images.pixel_angst,
        thickness_angst=problem.thickness_angst,
        image_from_aligned=problem.frame.image_from_aligned[:, :, :2],
    )
    with clock.phase("filter"):
        stack = images.as_taken(grid, on_image.filter_image, part.source)[members]
    if part.gain != 1:
        stack *= np.float32(part.gain)
    projector = DirectProjector(
        series.geometry.select(members), problem.grid, grid, threads=problem.threads
    )
    yield from _sampled(projector, stack, problem, clock, progress, mean=mean)


def _sampled(
    projector: DirectProjector,
    stack: Float32,
    problem: Problem,
    clock: Clock,
    progress: Progress,
    *,
    mean: bool,
) -> Iterator[Slab]:
    nz, ny, nx = problem.grid.shape
    for y_start in middle_first(0, ny, SLAB_ROWS):
        rows = min(SLAB_ROWS, ny - y_start)
        block = np.empty((nz, rows, nx), dtype=np.float32)
        with clock.phase("back-project"):
            projector.adjoint_rows(stack, y_start, block, mean=mean)
        progress.advance(rows)
        yield y_start, 0, block
