"""Slabs of a tomogram made on GPUs: one upload, filtered and back-projected there, one download.

While a slab is on a GPU the rows of the next are read, and the one before is written.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue

import numpy as np
import torch
from numpy.typing import NDArray

from tomofilt.align.stack import AlignedStack
from tomofilt.filters.device import DeviceRowFilter
from tomofilt.projectors.astra import AstraProjector
from tomofilt.projectors.cpu import slice_table
from tomofilt.projectors.vectors import table_maps
from tomofilt.reconstruction.budget import SLAB_ROWS
from tomofilt.reconstruction.methods.fbp import middle_first
from tomofilt.reconstruction.problem import Part, Problem, Slab
from tomofilt.util.progress import Clock, Progress
from tomofilt.util.threads import run_all

__all__ = ["device_slabs"]

#: First row, and densities (plane, row, x) of a slab.
Rows = tuple[int, NDArray[np.float32]]


class _Device:
    """One GPU with the filter and the projector of a volume."""

    def __init__(self, problem: Problem, part: Part, name: str) -> None:
        rows, grid, frame = problem.row_filter, problem.grid, problem.frame
        table = slice_table(frame.slices, grid, frame.grid, rows.first_px, rows.step_px)
        shape = (len(part.views), grid.shape[1], int(rows.samples.max()))
        self.views, self.gain = part.views.tolist(), part.gain
        self.name = name
        self.filter = DeviceRowFilter(rows, name)
        self.projector = AstraProjector(table_maps(table[part.views]), shape, grid.shape, name)

    def make(
        self, rows: NDArray[np.float32], first_row: int, block: NDArray[np.float32], y_start: int
    ) -> None:
        """Fill a block (z, rows, x) from image rows (view, first_row.., width)."""
        with self.projector.memory_errors():
            filtered = self.filter.filter_rows(self.views, torch.from_numpy(rows).to(self.name))
        filtered *= self.gain
        self.projector.adjoint_box(filtered, first_row, block, 0, y_start)


def device_slabs(
    problem: Problem, stack: AlignedStack, part: Part, clock: Clock, progress: Progress
) -> Iterator[Slab]:
    """Yield slabs, all planes of some rows at a time, that GPUs make; see :meth:`Method.slabs`.

    Raises
    ------
    ResourceError
        If a GPU cannot be used, or its memory does not suffice.
    """
    ny, gpus = problem.grid.shape[1], problem.device.gpus
    units = problem.method.units(problem)
    # one is being made on each GPU, three are under way
    parts = problem.grid.shape[0] * (len(gpus) + 3)
    rows = max(1, min(SLAB_ROWS, 2 * SLAB_ROWS * problem.room.planes // parts))
    slabs = _make_on_devices(problem, stack, part, middle_first(0, ny, rows), rows)
    while True:
        with clock.phase("back-project"):
            slab = next(slabs, None)
        if slab is None:
            return
        y_start, block = slab
        progress.advance(units * block.shape[1] // ny)
        yield y_start, 0, block


def _make_on_devices(
    problem: Problem,
    stack: AlignedStack,
    part: Part,
    y_starts: Iterable[int],
    slab_rows: int,
) -> Iterator[Rows]:
    """Yield slabs in the order of ``y_starts``."""
    nz, ny, nx = problem.grid.shape
    count, width = len(part.views), problem.frame.grid.shape[1]
    devices = [_Device(problem, part, name) for name in problem.device.gpus]
    idle: SimpleQueue[_Device] = SimpleQueue()
    for device in devices:
        idle.put(device)

    def make(y_start: int) -> Rows:
        block = np.empty((nz, min(slab_rows, ny - y_start), nx), dtype=np.float32)
        first, stop = devices[0].projector.reach(y_start, block.shape[1])
        rows = np.empty((count, stop - first, width), dtype=np.float32)

        def read(view: int) -> None:
            rows[view] = stack.rows(int(part.views[view]), first, stop)

        run_all(problem.threads, read, range(count))
        device = idle.get()
        try:
            device.make(rows, first, block, y_start)
        finally:
            idle.put(device)
        return y_start, block

    pending: deque[Future[Rows]] = deque()
    with ThreadPoolExecutor(len(devices) + 1) as pool:
        try:
            for y_start in y_starts:
                pending.append(pool.submit(make, y_start))
                if len(pending) > len(devices):
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)
