"""Where finished blocks of a tomogram go: scaled, measured, turned and written."""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from tomofilt.io.mrc import MrcType, MrcWriter, label, read_header
from tomofilt.io.record import Scale
from tomofilt.jobs.finished import data_digest
from tomofilt.jobs.outputs import Output
from tomofilt.reconstruction.problem import Problem
from tomofilt.reconstruction.settings import Settings
from tomofilt.util.jit import kernel

__all__ = ["VolumeSink", "origin_angst"]

#: Densities that a standard deviation spans in integer files made without a scale of their own.
_UNITS_PER_SD = {"int16": 2000.0, "int8": 25.0}
#: Voxels that are scaled and written at a time: half a megabyte.
_PIECE = 1 << 17
#: Integer value of the mean density: bytes count from 0 to 255.
_MIDDLE = {"int16": 0.0, "int8": 128.0}


class VolumeSink:
    """Writes one volume, block by block; a context manager like :class:`tomofilt.io.mrc.MrcWriter`.

    Parameters
    ----------
    problem : Problem
    settings : Settings
    output : Output
    mark : str
        Fingerprint, for the header's label.
    offset : float
        Constant that is added to the densities.
    replace : bool
        Whether a tomogram was there before the work and may be replaced.

    Notes
    -----
    Integer types that the filter has no scale for are scaled by the mean and the standard
    deviation of the first block, which therefore has to come from the middle of the tomogram.
    """

    def __init__(
        self,
        problem: Problem,
        settings: Settings,
        output: Output,
        mark: str,
        offset: float,
        *,
        replace: bool,
    ) -> None:
        nz, ny, nx = problem.grid.shape
        chosen = settings.dtype or problem.method.dtype
        sign = -1.0 if settings.invert else 1.0
        orientation = settings.axes(problem.series)
        self.upright = orientation == "zyx"
        self.flip_z = settings.flip_z
        self.planes = nz
        self.factor, self.add = sign, sign * offset
        self.scaled = chosen not in _UNITS_PER_SD or chosen == problem.method.dtype
        dtype: MrcType = next(name for name in get_args(MrcType) if name == chosen)
        voxel = problem.grid.voxel_angst
        origin = origin_angst(problem)
        if not self.upright:
            origin = (origin[0], origin[2], origin[1])
        self.writer = MrcWriter(
            output.destination.volume,
            (nz, ny, nx) if self.upright else (ny, nz, nx),
            voxel,
            dtype=dtype,
            origin_angst=origin,
            labels=(label(f"{mark} {problem.method.spec}{' denoised' * output.is_denoised}"),),
            orientation=orientation,
            replace=replace,
        )

    def __enter__(self) -> VolumeSink:
        self.writer.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.writer.__exit__(kind, error, trace)

    def put(self, block: NDArray[np.float32], z_start: int, y_start: int) -> None:
        """Write densities (planes, rows, x) that begin at the given plane and row of voxels."""
        lines = np.ascontiguousarray(block).reshape(-1, block.shape[2])
        order = np.arange(len(lines)).reshape(block.shape[:2])  # in which they are in the file
        z_stop = z_start + len(block)
        if self.flip_z:
            order, z_start, z_stop = order[::-1], self.planes - z_stop, self.planes - z_start
        z, y = z_start, y_start
        if not self.upright:
            # tilt counts the thickness axis against z; trimvol -rx undoes exactly this
            order, z, y = order.T[:, ::-1], y_start, self.planes - z_stop
        if not self.scaled:
            self._choose_scale(lines, order)
        for piece, statistics in _pieces(lines, order, self.factor, self.add):
            self.writer.write(piece, z=z, y=y, stats=statistics)
            z += len(piece)
        # start moving the data to the disk now, beside the computation, and not all at the end
        self.writer.flush()

    def commit(self) -> None:
        """Finish the header, check the file and give it its name."""
        self.writer.commit()

    def summary(self) -> dict[str, Any]:
        """What the record says about the densities of the finished file."""
        statistics = self.writer.statistics
        volume = self.writer.path
        return {
            "data": data_digest(volume, read_header(volume)),
            "minimum": statistics.minimum,
            "maximum": statistics.maximum,
            "mean": statistics.mean,
            "rms": statistics.rms,
            "clipped_voxels": self.writer.clipped,
            "scaled_by": Scale(factor=float(self.factor), then_add=float(self.add)),
        }

    def _choose_scale(self, lines: NDArray[np.float32], order: NDArray[np.intp]) -> None:
        sums = [statistics[2:] for _, statistics in _pieces(lines, order, 1.0, 0.0)]
        mean, square = np.sum(sums, axis=0) / lines.size
        sd = np.sqrt(max(square - mean**2, 0.0)) or 1.0
        units = _UNITS_PER_SD[self.writer.dtype] / sd
        self.add = units * (self.add - self.factor * mean) + _MIDDLE[self.writer.dtype]
        self.factor *= units
        self.scaled = True


def origin_angst(problem: Problem) -> tuple[float, float, float]:
    """Origin (x, y, z) in IMOD's sign: the specimen centre keeps its coordinates at any size."""
    series, grid = problem.series, problem.grid
    if series.origin_angst is None:
        x, y, z = (n * grid.voxel_angst / 2 for n in reversed(grid.shape))
    else:
        x, y, z = (
            origin + new * grid.voxel_angst - old * series.grid.voxel_angst
            for origin, new, old in zip(
                series.origin_angst,
                reversed(grid.centre),
                reversed(series.grid.centre),
                strict=True,
            )
        )
    return x, y, z


def _pieces(
    lines: NDArray[np.float32], order: NDArray[np.intp], factor: float, add: float
) -> Iterator[tuple[NDArray[np.float32], tuple[float, float, float, float]]]:
    """Scaled lines (section, row, x) in the order of the file, and their statistics.

    Each piece is in the memory of the one before: it is written while it is in the cache.
    """
    rows, nx = order.shape[1], lines.shape[1]
    sections = max(1, _PIECE // (rows * nx))
    room = np.empty((sections, rows, nx), dtype=np.float32)
    for start in range(0, len(order), sections):
        part = order[start : start + sections]
        piece = room[: len(part)]
        statistics = _scale_and_measure(
            lines, part.ravel(), np.float32(factor), np.float32(add), piece.reshape(-1, nx)
        )
        yield piece, statistics


@kernel
def _scale_and_measure(
    lines: NDArray[np.float32],
    order: NDArray[np.intp],
    factor: np.float32,
    add: np.float32,
    out: NDArray[np.float32],
) -> tuple[float, float, float, float]:
    """Fill ``out`` with lines, ``value * factor + add``; return min, max, sum, sum of squares."""
    # sixteen of each side by side, so that they vectorise without being reordered; the function min
    # would not, since it looks for NaN: that is found in the sum
    low = np.full(16, np.inf, np.float32)
    high = np.full(16, -np.inf, np.float32)
    total, squares = np.zeros(16), np.zeros(16)
    nx = lines.shape[1]
    for n in range(len(order)):
        line, scaled = lines[order[n]], out[n]
        for x in range(nx):
            scaled[x] = line[x] * factor + add
        for start in range(0, nx - 15, 16):
            for k in range(16):
                value = scaled[start + k]
                low[k] = value if value < low[k] else low[k]
                high[k] = value if value > high[k] else high[k]
                total[k] += value
                squares[k] += np.float64(value) * value
        for x in range(nx - nx % 16, nx):
            low[0], high[0] = min(low[0], scaled[x]), max(high[0], scaled[x])
            total[0] += scaled[x]
            squares[0] += np.float64(scaled[x]) * scaled[x]
    return low.min(), high.max(), total.sum(), squares.sum()
