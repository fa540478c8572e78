"""The central rows of a tomogram, in memory, from any of the views: heads are trained on them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from tomofilt.align.stack import AlignedStack
from tomofilt.denoise.bands import CoarseBands, Splitter
from tomofilt.filters.wiener import WienerExact
from tomofilt.projectors.cpu import SliceProjector, slice_table
from tomofilt.projectors.kernels import pack_rows
from tomofilt.reconstruction.budget import SLAB_ROWS
from tomofilt.reconstruction.problem import Problem
from tomofilt.util.threads import run_all

__all__ = ["CentralRows", "central_images"]

Float32 = NDArray[np.float32]


class CentralRows:
    """The central rows of a tomogram.

    Parameters
    ----------
    problem : Problem
        Of the whole tomogram, with a filter that has been measured.
    stack : AlignedStack
        Its images.
    views : (view,) int
        The views that are there, among those of the problem; their filter is made for these alone.

    Attributes
    ----------
    problem : Problem
        Of the central rows.
    """

    def __init__(self, problem: Problem, stack: AlignedStack, views: NDArray[np.intp]) -> None:
        self.problem = _with_views(problem, views).crop_rows(SLAB_ROWS)
        frame = self.problem.frame
        images = central_images(problem, stack, views)
        self._splitter = Splitter(self.problem)
        self._rows = self.problem.row_filter
        ny, halo = frame.grid.shape[0], frame.halo
        samples = int(self._rows.samples.max())
        self._stack = np.empty((len(views), ny + 2 * halo, samples), dtype=np.float32)

        def load(view: int) -> None:
            image = self._splitter.filter_image(view, images.rows(view, -halo, ny + halo))
            self._stack[view] = self._rows.filter_rows(view, image)

        run_all(problem.threads, load, range(len(views)))

    def volume(
        self, members: NDArray[np.intp], gain: float = 1.0
    ) -> tuple[list[CoarseBands], Float32]:
        """The tomogram (z, y, x) of some views, and its coarse bands.

        Parameters
        ----------
        members : (view,) int
            Among the views of :attr:`problem`.
        gain : float
            Factor on the densities.
        """
        grid, frame, rows = self.problem.grid, self.problem.frame, self._rows
        threads, halo = self.problem.threads, frame.halo
        projector = SliceProjector(
            slice_table(frame.slices, grid, frame.grid, rows.first_px, rows.step_px)[members],
            (len(members), grid.shape[1], self._stack.shape[2]),
            grid.shape,
            last_sample=rows.last_sample[members],
            threads=threads,
        )
        packed = projector.packed_buffer(np.dtype(np.float32))
        block = np.empty(grid.shape, dtype=np.float32)
        first, last = halo - projector.halo, halo + grid.shape[1] + projector.halo

        def pack(i: int) -> None:
            pack_rows(self._stack[members[i], first:last], packed[i])

        run_all(threads, pack, range(len(members)))
        projector.adjoint_block(packed, block, 0)
        block *= np.float32(gain)
        return self._splitter.back_project(members, gain), block

    def lowest_bands(self, members: NDArray[np.intp]) -> CoarseBands:
        """The bands on the coarsest grid alone, of the tomogram of some views."""
        return self._splitter.back_project(members)[0]


def central_images(problem: Problem, stack: AlignedStack, views: NDArray[np.intp]) -> AlignedStack:
    """The rows of the images of some views that the central rows of a tomogram are made from."""
    ny = problem.grid.shape[1]
    rows = min(SLAB_ROWS, ny)
    start = (ny - rows) // 2
    return stack.select(views, (start, start + rows))


def _with_views(problem: Problem, views: NDArray[np.intp]) -> Problem:
    """The problem for some views, with what was measured of these."""
    chosen = problem.filter
    assert isinstance(chosen, WienerExact)
    assert chosen.measurement is not None
    found = chosen.measurement
    snr = replace(
        found.snr,
        log_factor=found.snr.log_factor[views],
        decay_angst2=found.snr.decay_angst2[views],
    )
    measured = replace(chosen, measurement=replace(found, snr=snr))
    return problem.select(views).with_filter(measured)
