"""SIRT: not one back-projection of filtered images, but many, each of what is still unexplained."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from tomofilt.errors import InputError
from tomofilt.filters.analytic import Frequency
from tomofilt.filters.apply import RowFilter
from tomofilt.filters.protocol import Filter, FilterContext, Interpolation
from tomofilt.projectors.kernels import pack_rows
from tomofilt.projectors.sirt import SirtSolver
from tomofilt.projectors.wide import block_bytes
from tomofilt.reconstruction.budget import SLAB_ROWS
from tomofilt.reconstruction.images import SeriesImages
from tomofilt.reconstruction.methods.fbp import (
    Fbp,
    filtered_stack,
    gain_table_bytes,
    slab_starts,
)
from tomofilt.reconstruction.problem import Method, Part, Problem, Slab
from tomofilt.reconstruction.vertical import turned_slabs
from tomofilt.util.progress import Clock, Progress
from tomofilt.util.threads import run_all

__all__ = ["LowPass", "Sirt", "check_rows"]

FloatArray = NDArray[np.float64]
#: x tilt that moves the top of a specimen against its bottom by less is none, in voxels.
_NO_XTILT_VOXELS = 0.01
#: What an iteration on a slab counts for.
_ITERATION_UNITS = 10


def check_rows(problem: Problem, mend: str) -> None:
    """Check that the rows of a specimen can be solved for one by one.

    Raises
    ------
    InputError
        With the mend in its words.
    """
    name, spec = problem.series.name, problem.method.spec
    if problem.series.geometry.local is not None:
        raise InputError(f"{name} is aligned locally, which {spec} cannot follow: {mend}")
    moved = np.abs(problem.frame.slices.e).max() * problem.frame.volume.shape[0]
    if moved > _NO_XTILT_VOXELS:
        raise InputError(f"{name}: its views are not all tilted about x alike, for {spec}: {mend}")


@dataclass(frozen=True)
class LowPass(Filter):
    """A Gaussian low-pass of the images, the same for every view.

    Parameters
    ----------
    sigma : Frequency, optional
        Its standard deviation, in frequency, across and along the tilt axis; default: all passes.
    """

    sigma: Frequency | None = None

    two_dimensional: ClassVar[bool] = True

    @property
    def spec(self) -> str:
        """The sigma."""
        return "" if self.sigma is None else str(self.sigma)

    def gains(
        self, k_across: FloatArray, k_along: FloatArray, context: FilterContext
    ) -> FloatArray:
        """The low-pass, for every view alike; see :meth:`Filter.gains`."""
        k2 = np.square(k_across) + np.square(k_along)
        sigma = np.inf if self.sigma is None else self.sigma.per_angst(context)
        return np.broadcast_to(np.exp(-k2 / (2 * sigma**2)), (len(context.tilt_deg), *k2.shape))


@dataclass(frozen=True)
class Sirt(Method):
    """Iterations of SIRT, of images that may be low-passed first.

    The iterations are linear in the images, so that a low-pass of the images is one of the
    tomogram.

    Parameters
    ----------
    iterations : int
    filter : LowPass
    """

    iterations: int
    filter: LowPass = LowPass()

    # projection has to be the transpose of back-projection: the pixels themselves
    interpolation = "linear"
    # rows of the specimen are independent of each other once it stands upright
    turns_upright = True
    half_gain = 1.0
    is_linear_filter = False
    needs_exact_pair = True

    def __post_init__(self) -> None:
        if self.iterations < 1:
            raise InputError(f"{self.iterations} SIRT iterations: give 1 or more")

    @property
    def spec(self) -> str:
        """``"sirt:10"``, or ``"sirt:10,0.1"`` with a low-pass."""
        low_pass = self.filter.spec
        return f"sirt:{self.iterations}{',' * bool(low_pass)}{low_pass}"

    @property
    def passes(self) -> float:
        """A projection and a back-projection for each iteration."""
        return 2.0 * self.iterations

    @property
    def weighs_views(self) -> bool:
        """Views count by how well they explain each other."""
        return True

    def replaced(
        self, *, filter: Filter | None = None, interpolation: Interpolation | None = None
    ) -> Sirt:
        """Refuse: the low-pass is part of the method, and the pixels are taken as they are."""
        raise InputError(
            f"{self.spec} takes the pixels as they are: leave --interpolation {interpolation} out"
        )

    def check(self, problem: Problem) -> None:
        """Refuse what keeps the rows of a specimen from being solved for one by one."""
        check_rows(problem, f"use -f sirt-like:{self.iterations}, which looks like it")

    def more_bytes(self, problem: Problem) -> int:
        """What the solver holds for a slab, and tables of two-dimensional gains."""
        held = block_bytes(problem.frame.slices, problem.frame.grid, problem.frame.volume)
        return held + gain_table_bytes(problem)

    def row_filter(self, problem: Problem) -> RowFilter:
        """See :meth:`Method.row_filter`."""
        return Fbp(self.filter, "linear").row_filter(problem)

    def units(self, problem: Problem) -> int:
        """Iterations on all slabs, on a GPU on all rows."""
        if problem.device.gpus:
            return problem.frame.volume.shape[1] * self.iterations
        return -(-problem.frame.volume.shape[1] // SLAB_ROWS) * _ITERATION_UNITS * self.iterations

    def slabs(
        self, problem: Problem, images: SeriesImages, part: Part, clock: Clock, progress: Progress
    ) -> Iterator[Slab]:
        """Yield all planes of some rows at a time."""
        return turned_slabs(problem, self._upright(problem, images, part, clock, progress))

    def _upright(
        self, problem: Problem, images: SeriesImages, part: Part, clock: Clock, progress: Progress
    ) -> Iterator[Slab]:
        members, threads = part.views, problem.threads
        grid, frame = problem.frame.volume, problem.frame
        ny = grid.shape[1]
        # an image value is a sum over input pixels, the solver's over voxels
        unit = np.float32(problem.series.images.pixel_angst / grid.voxel_angst)
        with clock.phase("align"):
            stack = filtered_stack(problem, images, part)
        with clock.phase("back-project"):
            solver = SirtSolver(frame.slices.select(members), frame.grid, grid, threads)
        if problem.device.gpus:
            from tomofilt.reconstruction.methods.device import sirt_slabs  # loads torch

            with clock.phase("back-project"):
                yield from sirt_slabs(
                    stack.select(members),
                    solver,
                    problem.device.gpus[0],
                    self.iterations,
                    unit=float(unit),
                    in_order=problem.xtilt_rad != 0.0,
                    advance=progress.advance,
                )
            return
        packed = solver.packed_images()
        for y_start in slab_starts(problem):
            y_stop = min(y_start + SLAB_ROWS, ny)

            def load(view: int, y_start: int = y_start, y_stop: int = y_stop) -> None:
                pack_rows(unit * stack.rows(int(members[view]), y_start, y_stop), packed[view])

            with clock.phase("back-project"):
                run_all(threads, load, range(len(members)))
                block = solver.solve(
                    packed, self.iterations, lambda: progress.advance(_ITERATION_UNITS)
                )
            yield y_start, 0, block[:, : y_stop - y_start]
