"""Slabs of a tomogram made on GPUs: one upload, filtered and back-projected there, one download.

Each GPU has one thread. While it filters and back-projects a slab, the rows of the next are read,
the one before is on its way to the host, and the one before that is written.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tomofilt.align.stack import AlignedStack
from tomofilt.filters.apply import RowFilter
from tomofilt.filters.device import DeviceRowFilter
from tomofilt.projectors.cpu import slice_table
from tomofilt.projectors.device import DeviceProjector, device_errors, free_bytes, on_device
from tomofilt.projectors.select import Choice, gpu_projector
from tomofilt.projectors.sirt import DeviceSirt, SirtSolver
from tomofilt.reconstruction.budget import SLAB_ROWS
from tomofilt.reconstruction.methods.fbp import middle_first
from tomofilt.reconstruction.problem import Part, Problem, Slab
from tomofilt.util.progress import Clock, Progress
from tomofilt.util.threads import run_all

__all__ = ["device_slabs", "make_on_devices", "sirt_slabs"]

Float32 = NDArray[np.float32]


def device_slabs(
    problem: Problem, stack: AlignedStack, part: Part, clock: Clock, progress: Progress
) -> Iterator[Slab]:
    """Yield slabs, all planes of some rows at a time, that GPUs make; see :meth:`Method.slabs`.

    Raises
    ------
    ResourceError
        If a GPU cannot be used, or its memory does not suffice.
    """
    grid, frame, row_filter = problem.grid, problem.frame, problem.row_filter
    ny = grid.shape[1]
    units = problem.method.units(problem)
    # one is being made on each GPU, three are under way
    parts = grid.shape[0] * (len(problem.device.gpus) + 3)
    rows = max(1, min(SLAB_ROWS, 2 * SLAB_ROWS * problem.room.planes // parts))
    table = slice_table(frame.slices, grid, frame.grid, row_filter.first_px, row_filter.step_px)
    slabs = make_on_devices(
        stack.select(part.views),
        row_filter,
        table[part.views],
        grid.shape,
        problem.device,
        middle_first(0, ny, rows),
        views=part.views,
        gain=part.gain,
        slab_rows=rows,
        threads=problem.threads,
    )
    while True:
        with clock.phase("back-project"):
            slab = next(slabs, None)
        if slab is None:
            return
        progress.advance(units * slab[2].shape[1] // ny)
        yield slab


def make_on_devices(
    images: AlignedStack,
    row_filter: RowFilter,
    table: NDArray[np.float64],
    volume_shape: tuple[int, int, int],
    choice: Choice,
    y_starts: Iterable[int],
    *,
    views: NDArray[np.intp],
    gain: float,
    slab_rows: int,
    threads: int,
) -> Iterator[Slab]:
    """Yield slabs as (first row, first plane, block (z, rows, x)), in the order of ``y_starts``.

    Parameters
    ----------
    images : AlignedStack
        The views that take part.
    row_filter : RowFilter
        Of all views of the series.
    table : (view, 5)
        From :func:`tomofilt.projectors.cpu.slice_table`, of the views that take part, for the
        samples that the filter makes.
    volume_shape : (z, y, x)
    choice : Choice
        The GPUs, and what back-projects on them.
    y_starts : iterable of int
        First row of each slab.
    views : (view,) int
        Of each view that takes part, its place among those of the filter.
    gain : float
        Factor on the filter.
    slab_rows : int
        Rows of a slab; the last one of the volume may have fewer.
    threads : int
        For reading rows.

    Raises
    ------
    InputError
        If rows are filtered or sampled as IMOD does it.
    ResourceError
        If a GPU cannot be used, or its memory does not suffice.
    """
    nz, ny, nx = volume_shape
    image_shape = (len(views), ny, int(row_filter.samples.max()))
    gpus = []
    for name in choice.gpus:
        with device_errors(torch.device(name)):
            projector = gpu_projector(choice.engine, table, image_shape, volume_shape, name)
            rows_filter = DeviceRowFilter(row_filter, name)
            gpus.append(_Gpu(projector, rows_filter, views.tolist(), gain))

    def read(y_start: int, rows: int) -> tuple[int, Tensor]:
        first, stop = gpus[0].projector.reach(y_start, rows)
        shape = (len(views), stop - first, row_filter.width_px)
        band = _host_tensor(shape, gpus[0].projector.device)
        lines = band.numpy()

        def read_view(view: int) -> None:
            lines[view] = images.rows(view, first, stop)

        run_all(threads, read_view, range(len(views)))
        return first, band

    with ExitStack() as stack:
        reader = stack.enter_context(ThreadPoolExecutor(1))
        workers = [stack.enter_context(ThreadPoolExecutor(1)) for _ in gpus]
        pending: deque[tuple[int, Future[_Made]]] = deque()
        try:
            for number, y_start in enumerate(y_starts):
                rows = min(slab_rows, ny - y_start)
                band = reader.submit(read, y_start, rows)
                turn = number % len(gpus)
                made = workers[turn].submit(gpus[turn].make, band, y_start, (nz, rows, nx))
                pending.append((y_start, made))
                if len(pending) > len(gpus):
                    yield _finished(*pending.popleft())
            while pending:
                yield _finished(*pending.popleft())
        finally:
            for pool in (*workers, reader):
                pool.shutdown(cancel_futures=True)


def sirt_slabs(
    images: AlignedStack,
    solver: SirtSolver,
    device: str,
    iterations: int,
    *,
    unit: float,
    in_order: bool,
    advance: Callable[[int], None],
) -> Iterator[Slab]:
    """Yield slabs of a tomogram by SIRT, by Triton on one GPU, as :func:`make_on_devices` does.

    Parameters
    ----------
    images : AlignedStack
        The views that the solver was made for.
    solver : SirtSolver
    device : str
        torch's name of the GPU.
    iterations : int
    unit : float
        Factor that makes the images line integrals in voxels.
    in_order : bool
        Otherwise the middle slab comes first.
    advance : callable
        Called with the rows of a slab after each of its iterations.

    Raises
    ------
    ResourceError
        If the GPU cannot be used, or its memory does not suffice.
    """
    sirt = DeviceSirt(
        solver, lambda table, image, volume: gpu_projector("triton", table, image, volume, device)
    )
    ny, gpu = solver.grid.shape[1], torch.device(device)
    rows = int(np.clip(0.8 * free_bytes(gpu) // sirt.row_bytes, 1, SLAB_ROWS))
    for y_start in range(0, ny, rows) if in_order else middle_first(0, ny, rows):
        stop = min(y_start + rows, ny)
        lines = np.stack([images.rows(view, y_start, stop) for view in range(len(images))])
        with device_errors(gpu):
            integrals = unit * torch.from_numpy(lines).to(gpu)
            solved = sirt.solve(integrals, iterations, partial(advance, stop - y_start))
            block = solved.cpu().contiguous().numpy()
        yield y_start, 0, block


class _Made(NamedTuple):
    """A slab that may still be on its way to the host."""

    block: Tensor
    copied: torch.cuda.Event


def _finished(y_start: int, made: Future[_Made]) -> Slab:
    slab = made.result()
    slab.copied.synchronize()
    return y_start, 0, slab.block.numpy()


class _Gpu:
    """One GPU with the filter and the projector of a volume; for one thread."""

    def __init__(
        self,
        projector: DeviceProjector,
        row_filter: DeviceRowFilter,
        views: list[int],
        gain: float,
    ) -> None:
        self.projector = projector
        self._filter, self._views, self._gain = row_filter, views, gain
        self._stream = torch.cuda.Stream(projector.device)  # type: ignore[no-untyped-call]
        self._copied = self._stream.record_event()

    def make(
        self, read: Future[tuple[int, Tensor]], y_start: int, shape: tuple[int, int, int]
    ) -> _Made:
        """Make the slab (z, rows, x) from its image rows, and begin to copy it to the host."""
        first_row, rows = read.result()
        gpu = self.projector.device
        block = _host_tensor(shape, gpu)
        with on_device(gpu), device_errors(gpu):
            filtered = self._filter.filter_rows(self._views, self.projector.upload(rows))
            filtered *= self._gain
            for z, box in self.projector.boxes(filtered, first_row, y_start, shape[1]):
                self._copy(box, block[z : z + len(box)])
        return _Made(block, self._copied)

    def _copy(self, box: Tensor, target: Tensor) -> None:
        """Begin to copy a box to the host; the one before has arrived by then."""
        self._copied.synchronize()
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            target.copy_(box, non_blocking=True)
        box.record_stream(self._stream)
        self._copied = self._stream.record_event()


def _host_tensor(shape: tuple[int, int, int], gpu: torch.device) -> Tensor:
    """Memory of the host that a GPU reads and writes at its full speed, where there is enough."""
    try:
        with on_device(gpu):
            return torch.empty(shape, dtype=torch.float32, pin_memory=True)
    except RuntimeError:  # the system locks no more memory: copies are slower from any other
        return torch.empty(shape, dtype=torch.float32)
