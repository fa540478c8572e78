"""What will be done to a tilt series, worked out before anything is read or written."""

from __future__ import annotations

from dataclasses import dataclass

from tomofilt.errors import InputError
from tomofilt.io.ome_zarr import require_zarr
from tomofilt.jobs.outputs import Outputs
from tomofilt.projectors.gpu import ENGINES
from tomofilt.reconstruction.problem import Problem
from tomofilt.reconstruction.settings import Settings
from tomofilt.reconstruction.setup import make_problem, with_reserve
from tomofilt.series.projects import Destination
from tomofilt.series.tiltseries import TiltSeries

__all__ = ["Plan", "make_plan"]


@dataclass(frozen=True)
class Plan:
    """What a reconstruction will do: the problem, its outputs, and the settings they came from."""

    problem: Problem
    outputs: Outputs
    settings: Settings

    def lines(self) -> list[str]:
        """The plan in words, for ``--dry-run`` and the log."""
        problem, series, grid = self.problem, self.problem.series, self.problem.grid
        nz, ny, nx = grid.shape
        count = len(series.views)
        left_out = f", {len(series.excluded)} excluded" if series.excluded else ""
        dtype = self.settings.dtype or problem.method.dtype
        gigabytes = nz * ny * nx * int(dtype.lstrip("intfloa")) / 8e9
        how = {"direct": "direct sampling through the view maps", "slice": "slice projector"}[
            problem.method.projector
        ]
        if problem.device.gpus:
            how = f"{ENGINES[problem.device.engine]} on {', '.join(problem.device.gpus)}"
        elif problem.device.reason:
            how += " on the CPU"
        if problem.device.reason:
            how += f" ({problem.device.reason})"
        lines = [
            f"{series.name}: {count} view{'s' * (count != 1)}{left_out}, "
            f"{series.tilt_deg.min():.1f} to {series.tilt_deg.max():.1f} deg, "
            f"images {series.images.shape[2]} x {series.images.shape[1]} px "
            f"at {series.images.pixel_angst:g} A",
            f"  tomogram {nx} x {ny} x {nz} voxels (x, y, z) at {grid.voxel_angst:g} A, "
            f"{dtype}, {gigabytes:.2f} GB",
            f"  filter {problem.method.spec}, {problem.method.interpolation} interpolation, {how}, "
            f"{problem.threads} threads, about {problem.room.used_bytes / 1e9:.1f} GB of memory",
        ]
        lines += [f"  note: {problem.filter.spec}: {note}" for note in problem.filter.notes]
        lines.append(problem.corrections.line())
        for output in self.outputs:
            lines.append(f"  -> {output.destination.volume}")
            if output.zarr is not None:
                lines.append(f"  -> {output.zarr}")
        return lines


def make_plan(series: TiltSeries, destination: Destination, settings: Settings) -> Plan:
    """Work out what :func:`~tomofilt.jobs.one.reconstruct` would do; nothing is read or written.

    Raises
    ------
    InputError, ResourceError
        As :func:`~tomofilt.reconstruction.setup.make_problem`; or what is asked for cannot be had.
    """
    if settings.zarr:
        require_zarr()
    problem = make_problem(series, settings)
    if settings.head is not None and not settings.denoise:
        raise InputError(f"{settings.head} is a network for --denoise: give that too")
    if settings.denoise:
        from tomofilt.denoise.denoiser import band_bytes, check_denoising

        check_denoising(problem)
        problem = with_reserve(problem, settings, band_bytes(problem))
    return Plan(problem, Outputs.wanted(problem, destination, settings), settings)
