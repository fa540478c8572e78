"""The most probable specimen, by iteration: what the default filter finds in one step, refined.

Let the specimen x be noise of a known power spectrum in a slab, and the images ``y = A x + n`` with
noise of a known spectrum. The most probable x solves ``(1 + A^T T A) x = A^T T y``, T being the
power of the specimen over that of the noise (Wiener's filter; see docs/wiener.md). T is a filter of
the images, and no matter how x is found, it is a back-projection ``A^T m`` of some images m. So the
iteration works on images alone, and the specimen is back-projected once, at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from tomofilt.align.edges import continue_level
from tomofilt.align.stack import AlignedStack
from tomofilt.align.store import ArrayStore
from tomofilt.errors import InputError
from tomofilt.filters.apply import RowFilter
from tomofilt.filters.protocol import Filter, FilterContext, Interpolation
from tomofilt.filters.table import GainTable
from tomofilt.filters.wiener import WienerExact
from tomofilt.projectors.wide import WideSlab, block_bytes
from tomofilt.reconstruction.budget import SLAB_ROWS
from tomofilt.reconstruction.grids import plane_weights
from tomofilt.reconstruction.images import SeriesImages
from tomofilt.reconstruction.methods.fbp import (
    Fbp,
    filtered_stack,
    gain_table_bytes,
    slab_units,
    slice_slabs,
)
from tomofilt.reconstruction.methods.sirt import check_rows
from tomofilt.reconstruction.problem import Method, Part, Problem, Slab
from tomofilt.reconstruction.vertical import turned_slabs
from tomofilt.series.geometry import VolumeGrid
from tomofilt.series.tiltseries import TiltSeries
from tomofilt.util.progress import Clock, Progress
from tomofilt.util.threads import run_all

__all__ = ["Map", "most_probable"]

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
#: What is done to the image of a view: filtered, say.
OnImage = Callable[[int, Float32], Float32]
#: Back-projects images, projects them again, and writes that into the second argument.
ThereAndBack = Callable[[Float32, Float32], None]

_MATCH = WienerExact("match")
#: What an iteration on a slab counts for.
_ITERATION_UNITS = 300


@dataclass(frozen=True)
class Map(Method):
    """Steps towards the most probable specimen, from the tomogram of ``wiener-exact:match``.

    Parameters
    ----------
    iterations : int
    filter : WienerExact
        The preset "match": where the iteration starts, and what it is preconditioned by.
    interpolation : "fine" or "linear"
        Of the last back-projection, as in :class:`Fbp`.
    """

    iterations: int
    filter: Filter = _MATCH
    interpolation: Interpolation = "fine"

    # rows of the specimen are independent of each other once it stands upright
    turns_upright = True
    half_gain: ClassVar[float] = 1.0
    is_linear_filter: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.iterations < 1:
            raise InputError(f"{self.iterations} iterations: give 1 or more")

    @property
    def spec(self) -> str:
        """``"map:3"``, say."""
        return f"map:{self.iterations}"

    @property
    def passes(self) -> float:
        """Filters, a projection and a back-projection for the start and each step."""
        return 1.0 + 4.0 * (self.iterations + 1)

    def replaced(
        self, *, filter: Filter | None = None, interpolation: Interpolation | None = None
    ) -> Map:
        """See :meth:`Method.replaced`."""
        return replace(
            self,
            filter=filter or self.filter,
            interpolation=interpolation or self.interpolation,
        )

    def why_not_gpu(self, series: TiltSeries) -> str | None:
        """It is computed on the CPU."""
        return f"-f {self.spec}"

    def check(self, problem: Problem) -> None:
        """Refuse what keeps the rows of a specimen from being solved for one by one."""
        check_rows(problem, "use -f wiener-exact:match, from which it starts")

    def more_bytes(self, problem: Problem) -> int:
        """A block of rows, and the tables of three filters."""
        held = block_bytes(problem.frame.slices, problem.frame.grid, problem.frame.volume)
        return held + 3 * gain_table_bytes(problem)

    def row_filter(self, problem: Problem) -> RowFilter:
        """See :meth:`Method.row_filter`."""
        return Fbp(self.filter, self.interpolation).row_filter(problem)

    def units(self, problem: Problem) -> int:
        """Projections there and back, and the last back-projection."""
        blocks = -(-problem.frame.volume.shape[1] // SLAB_ROWS)
        return slab_units(problem) + _ITERATION_UNITS * (self.iterations + 1) * blocks

    def slabs(
        self, problem: Problem, images: SeriesImages, part: Part, clock: Clock, progress: Progress
    ) -> Iterator[Slab]:
        """See :meth:`Method.slabs`."""
        weights = self._weights(problem, images, part, clock, progress)
        kept = problem.select(part.views)
        stack = AlignedStack(
            replace(kept.frame, halo=0), ArrayStore(weights), threads=problem.threads
        )
        every = Part(np.arange(len(part.views)), part.source)
        return turned_slabs(problem, slice_slabs(kept, stack, every, clock, progress))

    def _weights(
        self, problem: Problem, images: SeriesImages, part: Part, clock: Clock, progress: Progress
    ) -> Float32:
        """The images (view, y, x) whose back-projection is the tomogram."""
        measured, members, frame = self.filter, part.views, problem.frame
        assert isinstance(measured, WienerExact)
        wide = WideSlab(frame.slices.select(members), frame.grid, frame.volume, problem.threads)
        novelty = _image_filter(problem, measured.novelty)
        evidence = _image_filter(problem, measured.evidence)
        whole = wide.whole[:, None]

        def levelled(view: int, image: Float32) -> Float32:
            # the level of an image tells of its surroundings more than of the specimen
            level = image.mean(where=whole[view])
            return np.where(whole[view], image - level, np.float32(0))

        def weigh(view: int, image: Float32) -> Float32:
            return levelled(view, evidence(members[view], levelled(view, image)))

        with clock.phase("align"):
            stack = images.aligned(part.source).select(members)
        room: list[Float32] = list(images.scratch((6, *stack.shape)))
        rest, weights = room.pop(), room.pop()
        # an image value is a sum over input pixels, the slab's over voxels
        unit = np.float32(problem.series.images.pixel_angst / frame.volume.voxel_angst)

        def load(view: int) -> None:
            rest[view] = weigh(view, unit * continue_level(stack.image(view)))

        with clock.phase("filter"):
            run_all(problem.threads, load, range(len(members)))
            start = filtered_stack(problem, images, part).select(members)
        share = np.float32(len(problem.series.views) / len(members))
        for view in range(len(members)):
            np.multiply(share, start.image(view), out=weights[view])
        planes = _planes(measured, wide.grid)

        def there_and_back(images: Float32, out: Float32) -> None:
            wide.there_and_back(images, planes, out, lambda: progress.advance(_ITERATION_UNITS))

        with clock.phase("back-project"):
            most_probable(
                rest,
                weights,
                room,
                self.iterations,
                there_and_back,
                weigh,
                lambda view, image: novelty(members[view], image),
                problem.threads,
            )
        if self.interpolation == "fine":
            # the iteration interpolates between pixels, the last back-projection more finely
            for view in range(len(members)):
                first = share * start.image(view)
                weights[view] = first + _interpolated(weights[view] - first)
        return weights


def most_probable(
    rest: Float32,
    weights: Float32,
    room: list[Float32],
    iterations: int,
    there_and_back: ThereAndBack,
    weigh: OnImage,
    precondition: OnImage,
    threads: int,
) -> None:
    """Conjugate gradients for ``(1 + A^T T A) x = A^T T y``, on images m with ``x = A^T m``.

    Every volume that occurs is a back-projection, so that its images stand for it, and the inner
    product of two volumes is that of the one's images with projections of the other.

    Parameters
    ----------
    rest : (view, y, x) float32
        T y; used up.
    weights : (view, y, x) float32
        Images m to start from; replaced by those of the solution.
    room : list of four (view, y, x) float32
        To work in; zeros.
    iterations : int
    there_and_back : callable
        ``A A^T``, from its first argument into its second.
    weigh, precondition : callable
        T and the preconditioner, for the image of a view.
    threads : int
    """
    direction, seen, step, step_seen = room
    views = range(len(weights))

    def every(act: Callable[[int], None]) -> None:
        run_all(threads, act, views)

    def dot(one: Float32, other: Float32) -> float:
        return sum(float(np.vdot(one[view], other[view])) for view in views)

    there_and_back(weights, step_seen)
    every(lambda v: np.subtract(rest[v], weights[v] + weigh(v, step_seen[v]), out=rest[v]))
    before = np.inf
    for _ in range(iterations):
        every(lambda v: np.copyto(step[v], precondition(v, rest[v])))
        there_and_back(step, step_seen)
        agreement = dot(rest, step_seen)
        share = np.float32(agreement / before)
        before = agreement

        def turn(view: int, share: np.float32 = share) -> None:
            for mine, new in ((direction, step), (seen, step_seen)):
                mine[view] *= share
                mine[view] += new[view]
            step[view] = direction[view] + weigh(view, seen[view])

        every(turn)
        length = np.float32(dot(rest, seen) / dot(step, seen))

        def go(view: int, length: np.float32 = length) -> None:
            weights[view] += length * direction[view]
            rest[view] -= length * step[view]

        every(go)


@dataclass(frozen=True)
class _Gains(Filter):
    """A filter of given gains."""

    function: Callable[[Float64, Float64, FilterContext], Float64]

    two_dimensional: ClassVar[bool] = True
    even_along: ClassVar[bool] = True

    @property
    def spec(self) -> str:
        return "part of map"

    def gains(self, k_across: Float64, k_along: Float64, context: FilterContext) -> Float64:
        return self.function(k_across, k_along, context)


def _image_filter(
    problem: Problem, gains: Callable[[Float64, Float64, FilterContext], Float64]
) -> OnImage:
    """A filter of images that go on mirrored: a symmetric matrix, as the iteration needs it."""
    grid = problem.frame.grid
    k_y, k_x = (
        np.arange(n) / (2 * n * pixel)
        for n, pixel in zip(grid.shape, grid.pixel_angst, strict=True)
    )
    highest_k = float(np.hypot(k_y[-1], k_x[-1]))
    table = GainTable(_Gains(gains), problem.filter_context, float(k_x[1]) / 4, highest_k)

    def on_image(view: int, image: Float32) -> Float32:
        from scipy import fft

        spectrum = fft.dctn(image, norm="ortho").astype(np.complex64)
        table.multiply(view, spectrum, k_y, k_x, np.eye(2))
        filtered: Float32 = fft.idctn(spectrum.real, norm="ortho")
        return filtered

    return on_image


def _interpolated(image: Float32) -> Float32:
    """What linear interpolation between pixels along x leaves of an image's frequencies."""
    from scipy import fft

    nx = image.shape[1]
    left = np.sinc(np.arange(nx) / (2 * nx)).astype(np.float32) ** 2
    interpolated: Float32 = fft.idct(fft.dct(image, axis=1) * left, axis=1)
    return interpolated


def _planes(measured: WienerExact, grid: VolumeGrid) -> Float32:
    """Where the specimen may be: weights (z, x) of a slab's voxels."""
    found = measured.measurement
    assert found is not None
    planes = plane_weights(grid, found.thickness_angst, found.centre_angst)
    return np.ascontiguousarray(np.broadcast_to(planes[:, None], grid.shape[::2]))
