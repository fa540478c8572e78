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

from tomofilt.align.images import AlignedImages
from tomofilt.filters.device import DeviceRowFilter
from tomofilt.projectors.astra import AstraProjector
from tomofilt.projectors.cpu import slice_table
from tomofilt.projectors.vectors import table_maps
from tomofilt.reconstruction.plan import Plan, VolumeTask
from tomofilt.util.threads import run_all

__all__ = ["make_on_devices"]

Slab = tuple[int, NDArray[np.float32]]


class _Device:
    """One GPU with the filter and the projector of a volume."""

    def __init__(self, plan: Plan, task: VolumeTask, name: str) -> None:
        rows = plan.row_filter
        table = slice_table(plan.slices, plan.grid, plan.aligned, rows.first_px, rows.step_px)
        shape = (len(task.members), plan.grid.shape[1], int(rows.samples.max()))
        self.views, self.gain = task.members.tolist(), task.gain
        self.name = name
        self.filter = DeviceRowFilter(rows, name)
        self.projector = AstraProjector(
            table_maps(table[task.members]), shape, plan.grid.shape, name
        )

    def make(
        self, rows: NDArray[np.float32], first_row: int, block: NDArray[np.float32], y_start: int
    ) -> None:
        """Fill a block (z, rows, x) from image rows (view, first_row.., width)."""
        with self.projector.memory_errors():
            filtered = self.filter.filter_rows(self.views, torch.from_numpy(rows).to(self.name))
        filtered *= self.gain
        self.projector.adjoint_box(filtered, first_row, block, 0, y_start)


def make_on_devices(
    plan: Plan, task: VolumeTask, images: AlignedImages, y_starts: Iterable[int]
) -> Iterator[Slab]:
    """Yield slabs as (first row, block (z, rows, x)), in the order of ``y_starts``.

    Raises
    ------
    ResourceError
        If a GPU cannot be used, or its memory does not suffice.
    """
    nz, ny, nx = plan.grid.shape
    count, width = len(task.members), plan.aligned.shape[1]
    devices = [_Device(plan, task, name) for name in plan.device.gpus]
    idle: SimpleQueue[_Device] = SimpleQueue()
    for device in devices:
        idle.put(device)

    def make(y_start: int) -> Slab:
        block = np.empty((nz, min(plan.device_rows, ny - y_start), nx), dtype=np.float32)
        first, stop = devices[0].projector.reach(y_start, block.shape[1])
        rows = np.empty((count, stop - first, width), dtype=np.float32)

        def read(view: int) -> None:
            rows[view] = images.rows(view, first, stop)

        run_all(plan.threads, read, range(count))
        device = idle.get()
        try:
            device.make(rows, first, block, y_start)
        finally:
            idle.put(device)
        return y_start, block

    pending: deque[Future[Slab]] = deque()
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
