"""Where finished blocks of a tomogram go: scaled, measured, turned and written."""

from __future__ import annotations

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
        """Write densities (planes, rows, x) that begin at the given plane and row of voxels.

        The block's contents are changed.
        """
        if not self.scaled:
            self._choose_scale(block)
        statistics = _scale_and_measure(block, np.float32(self.factor), np.float32(self.add))
        z_stop = z_start + len(block)
        if self.flip_z:
            block, z_start, z_stop = block[::-1], self.planes - z_stop, self.planes - z_start
        if self.upright:
            self.writer.write(block, z=z_start, y=y_start, stats=statistics)
        else:
            # tilt counts the thickness axis against z; trimvol -rx undoes exactly this
            turned = block.transpose(1, 0, 2)[:, ::-1]
            self.writer.write(turned, z=y_start, y=self.planes - z_stop, stats=statistics)
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

    def _choose_scale(self, block: NDArray[np.float32]) -> None:
        _, _, total, squares = _scale_and_measure(block, np.float32(1), np.float32(0))
        mean = total / block.size
        sd = np.sqrt(max(squares / block.size - mean**2, 0.0)) or 1.0
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


@kernel
def _scale_and_measure(
    block: NDArray[np.float32], factor: np.float32, add: np.float32
) -> tuple[float, float, float, float]:
    """Turn values into ``value * factor + add``; return their min, max, sum, sum of squares."""
    # sixteen sums side by side, so that they vectorise without being reordered
    low = np.full(16, np.inf, np.float32)
    high = np.full(16, -np.inf, np.float32)
    total, squares = np.zeros(16), np.zeros(16)
    nx = block.shape[2]
    for z in range(block.shape[0]):
        for y in range(block.shape[1]):
            line = block[z, y]
            for start in range(0, nx - 15, 16):
                for k in range(16):
                    value = line[start + k] * factor + add
                    line[start + k] = value
                    low[k] = min(low[k], value)
                    high[k] = max(high[k], value)
                    total[k] += value
                    squares[k] += np.float64(value) * value
            for x in range(nx - nx % 16, nx):
                value = line[x] * factor + add
                line[x] = value
                low[0] = min(low[0], value)
                high[0] = max(high[0], value)
                total[0] += value
                squares[0] += np.float64(value) * value
    return low.min(), high.max(), total.sum(), squares.sum()
