"""Speed of back-projection and projection on the CPU, beside scikit-image and a sparse matrix.

    python bench/backprojection.py [--size 1024] [--thickness 360] [--blocks 2] [--repeats 5]

Every row of the table is measured in the same run, turn by turn, so that a busy machine slows all
of them. An update is one voxel receiving one view by linear interpolation between two samples
(four pixels for the direct projector). Nothing here passes or fails.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from tomofilt.projectors.cpu import SliceProjector, slice_table
from tomofilt.projectors.direct import DirectProjector
from tomofilt.projectors.kernels import BLOCK, PAD
from tomofilt.series.geometry import ImageGrid, TiltGeometry, VolumeGrid
from tomofilt.util.lanes import cache_lines
from tomofilt.util.threads import available_threads

#: Rows of voxels that the direct projector is timed on.
DIRECT_ROWS = 4


@dataclass
class Case:
    """Something to time.

    Parameters
    ----------
    name : str
    threads : int
        Cores that it may use; rates are divided by it.
    updates : int
        Voxel updates of one call.
    run : callable
    """

    name: str
    threads: int
    updates: int
    run: Callable[[], Any]
    seconds: list[float] = field(default_factory=list)
    cpu_seconds: list[float] = field(default_factory=list)

    def rate(self, seconds: float) -> float:
        """Updates per second and core, in 1e9."""
        return self.updates / seconds / self.threads / 1e9

    def cpu_rate(self) -> float:
        """Updates per second of processor time, in 1e9: other people's work hardly shows in it."""
        return self.updates / min(self.cpu_seconds) / 1e9


class BackProjection:
    """The slice projector's back-projection kernel on filtered rows that are packed already.

    Parameters
    ----------
    size, thickness, views : int
        Voxels along x and along z, and views from -60 to 60 degrees.
    threads : int
    step_px : float
        Distance of the samples of a filtered row in pixels: 0.5 ("fine") or 1 ("linear").
    xtilt_deg : float
    """

    def __init__(
        self,
        size: int,
        thickness: int,
        views: int,
        threads: int,
        step_px: float = 0.5,
        xtilt_deg: float = 0.0,
    ) -> None:
        geometry = TiltGeometry.from_angles(np.linspace(-60, 60, views), xtilt_deg=xtilt_deg)
        shape = (thickness, BLOCK, size)
        table = slice_table(
            geometry.factor()[1],
            VolumeGrid.centred(shape, 10.0),
            ImageGrid.centred((BLOCK, size), 10.0),
            step_px=step_px,
        )
        samples = round((size - 1) / step_px) + 1
        self.projector = SliceProjector(table, (views, BLOCK, samples), shape, threads=threads)
        self.packed = self.projector.packed_buffer(np.dtype(np.float32))
        rng = np.random.default_rng(7)
        rng.standard_normal(dtype=np.float32, out=self.packed)
        self.packed[:, :PAD] = self.packed[:, -PAD:] = 0
        self.block = cache_lines(shape, np.float32)

    def run(self, blocks: int) -> None:
        """Back-project that many blocks of BLOCK rows."""
        for _ in range(blocks):
            self.projector.adjoint_block(self.packed, self.block, 0)

    def updates(self, blocks: int) -> int:
        """Voxel updates of :meth:`run`."""
        return blocks * self.block.size * len(self.packed)


def take_turns(cases: Sequence[Case], repeats: int) -> None:
    """Time every case, one after the other, ``repeats`` times, after a call of each to warm up."""
    for case in cases:
        case.run()
    for _ in range(repeats):
        for case in cases:
            start, cpu_start = time.perf_counter(), time.process_time()
            case.run()
            case.seconds.append(time.perf_counter() - start)
            case.cpu_seconds.append(time.process_time() - cpu_start)


def machine() -> str:
    """Cores and load, for the head of a table."""
    one, five, _ = os.getloadavg()
    return f"{available_threads()} cores; load {one:.1f} (1 min), {five:.1f} (5 min)"


def sparse_matrix(job: BackProjection) -> Any:
    """The kernel's very operator on one slice, as a scipy CSR matrix (voxels x packed samples)."""
    from scipy.sparse import csr_array

    views, width, _ = job.packed.shape
    thickness, _, size = job.block.shape
    z, x = np.arange(thickness)[:, None], np.arange(size)[None, :]
    columns = np.empty((thickness, size, views, 2), dtype=np.int32)
    weights = np.empty((thickness, size, views, 2), dtype=np.float32)
    for view, (a, b, c, _, _) in enumerate(job.projector.table):
        position = a * x + b * z + c + PAD
        low, high = job.projector.limits[view]
        position[(position < low) | (position > high)] = 0.0
        sample = position.astype(np.int32)
        columns[:, :, view, 0] = view * width + sample
        columns[:, :, view, 1] = view * width + sample + 1
        weights[:, :, view, 1] = position - sample
        weights[:, :, view, 0] = 1 - weights[:, :, view, 1]
    rows = thickness * size
    starts = np.arange(rows + 1, dtype=np.int32) * (2 * views)
    return csr_array((weights.ravel(), columns.ravel(), starts), shape=(rows, views * width))


def other_programs(job: BackProjection) -> list[Case]:
    """scikit-image and the sparse product, each on one core because neither uses more."""
    from skimage import transform

    iradon: Callable[..., Any] = transform.iradon
    views = len(job.packed)
    size = job.block.shape[2]
    sinogram = np.ascontiguousarray(job.packed[:, PAD : PAD + 2 * size : 2, 0].T)
    angles = np.linspace(-60, 60, views)
    matrix = sparse_matrix(job)
    detector = job.packed.reshape(-1, BLOCK)
    return [
        Case(
            "scikit-image iradon, one slice x by x",
            1,
            size * size * views,
            lambda: iradon(sinogram, angles, size, filter_name=None, circle=False),
        ),
        Case(
            f"scipy CSR matrix, {BLOCK} rows at once",
            1,
            job.updates(1),
            lambda: matrix @ detector,
        ),
    ]


def own_cases(size: int, thickness: int, views: int, blocks: int) -> list[Case]:
    """Projectors of tomofilt, on one core and on all."""
    cases = []
    for threads in sorted({1, available_threads()}):
        for name, step_px, xtilt_deg in (
            ("kernel, fine sampling", 0.5, 0.0),
            ("kernel, linear sampling", 1.0, 0.0),
            ("x-tilt kernel (2 deg), fine sampling", 0.5, 2.0),
        ):
            job = BackProjection(size, thickness, views, threads, step_px, xtilt_deg)
            cases.append(
                Case(name, threads, job.updates(blocks), lambda job=job: job.run(blocks))  # type: ignore[misc]
            )
        job = BackProjection(size, thickness, views, threads)
        cases.append(
            Case(
                "forward projection, fine sampling",
                threads,
                job.updates(1),
                lambda job=job: job.projector.forward(job.block),  # type: ignore[misc]
            )
        )
        job.block[:] = 1.0
        direct = DirectProjector(
            TiltGeometry.from_angles(np.linspace(-60, 60, views)),
            VolumeGrid.centred((thickness, BLOCK, size), 10.0),
            ImageGrid.centred((BLOCK, size), 10.0),
            threads=threads,
        )
        images = np.ones((views, BLOCK, size), dtype=np.float32)
        rows = np.empty((thickness, DIRECT_ROWS, size), dtype=np.float32)
        cases.append(
            Case(
                f"direct projector, {DIRECT_ROWS} rows",
                threads,
                rows.size * views,
                lambda direct=direct, images=images, rows=rows: direct.adjoint_rows(  # type: ignore[misc]
                    images, BLOCK // 2, rows
                ),
            )
        )
    return cases


def largest_difference(job: BackProjection, product: NDArray[np.float32]) -> float:
    """Of the kernel and the sparse matrix, relative to the standard deviation of the result."""
    job.run(1)
    thickness, _, size = job.block.shape
    expected = product.reshape(thickness, size, BLOCK).transpose(0, 2, 1)
    return float(np.abs(job.block - expected).max() / expected.std())


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--size", type=int, default=1024, help="voxels along x and y")
    parser.add_argument("--thickness", type=int, default=360, help="voxels along z")
    parser.add_argument("--views", type=int, default=61)
    parser.add_argument("--blocks", type=int, default=2, help=f"blocks of {BLOCK} rows to time")
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()

    job = BackProjection(given.size, given.thickness, given.views, 1)
    others = other_programs(job)
    difference = largest_difference(job, others[1].run())
    cases = own_cases(given.size, given.thickness, given.views, given.blocks) + others
    before = machine()
    take_turns(cases, given.repeats)

    kernel = cases[0]
    table = Table(
        title=f"{given.size} x {given.size} x {given.thickness}, {given.views} views",
        caption=f"{before} before, {machine()} after; {given.repeats} repeats. The kernel: "
        f"{given.blocks} of the {-(-given.size // BLOCK)} blocks of {BLOCK} rows of the whole "
        f"volume; projection and matrix: 1 block. G/CPU s: 1e9 updates per second of processor "
        "time. Slower: that rate of the first row over the row's own. The sparse matrix agrees "
        f"with the kernel to {difference:.0e} of the standard deviation.",
    )
    table.add_column("what")
    for name in ("cores", "s median", "s best", "G/s/core", "G/s/core best", "G/CPU s", "slower"):
        table.add_column(name, justify="right")
    for case in cases:
        middle, best = median(case.seconds), min(case.seconds)
        table.add_row(
            case.name,
            str(case.threads),
            f"{middle:.3f}",
            f"{best:.3f}",
            f"{case.rate(middle):.3f}",
            f"{case.rate(best):.3f}",
            f"{case.cpu_rate():.3f}",
            f"{kernel.cpu_rate() / case.cpu_rate():.1f}",
        )
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
