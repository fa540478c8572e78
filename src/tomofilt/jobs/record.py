"""The record of a finished tomogram, from what was planned and what came out."""

from __future__ import annotations

import platform
import resource
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from tomofilt import __version__
from tomofilt.io import record as schema
from tomofilt.io.record import (
    AppliedFilter,
    Denoising,
    Fact,
    Gains,
    Record,
    Unbinned,
    View,
)
from tomofilt.jobs.fingerprint import Inputs, fingerprint, image_files
from tomofilt.jobs.flags import flags_of
from tomofilt.jobs.outputs import Output
from tomofilt.reconstruction.problem import Problem
from tomofilt.reconstruction.settings import Settings
from tomofilt.series.tiltseries import TiltSeries

__all__ = ["build_record", "peak_memory_bytes"]

_GAIN_SAMPLES = 129


def build_record(
    problem: Problem,
    settings: Settings,
    output: Output,
    depends_on: Mapping[str, str],
    inputs: Inputs,
    *,
    seconds: Mapping[str, float],
    statistics: Mapping[str, Any],
    denoising: Denoising | None = None,
    gold: Mapping[str, Any] | None = None,
    blank: Sequence[int] = (),
) -> Record:
    """Everything about one finished tomogram.

    Parameters
    ----------
    problem : Problem
    settings : Settings
    output : Output
    depends_on : mapping
        From :func:`tomofilt.jobs.fingerprint.dependencies`.
    inputs : Inputs
        The files as they were when the work began.
    seconds : mapping
        Wall-clock time of each phase.
    statistics : mapping
        From :meth:`tomofilt.jobs.sink.VolumeSink.summary`.
    denoising : Denoising, optional
    gold : mapping, optional
        What was found of gold beads.
    blank : sequence of int
        Used views that are blank.
    """
    series, grid, method = problem.series, problem.grid, problem.method
    nz, ny, nx = series.grid.shape
    files = (*series.files, *image_files(series, output.part.source))
    record = Record(
        schema=2,
        version=__version__,
        finished=datetime.now(UTC).isoformat(timespec="seconds"),
        command=(Path(sys.argv[0]).name, *sys.argv[1:]),
        fingerprint=fingerprint(depends_on),
        depends_on=dict(depends_on),
        series=series.name,
        unbinned=Unbinned(pixel_angst=series.images.pixel_angst, size_xyz=(nx, ny, nz)),
        output=schema.Output(
            file=output.destination.volume.name,
            kind=output.name,
            shape_zyx=grid.shape,
            voxel_angst=grid.voxel_angst,
            specimen_centre_zyx=grid.centre,
            orientation=settings.axes(series),
            flip_z=settings.flip_z,
            dtype=settings.dtype or method.dtype,
            **statistics,
        ),
        filter=AppliedFilter(
            spec=method.spec,
            parameters=repr(method),
            interpolation=method.interpolation,
            padded_px=problem.row_filter.padded_px,
            gains_sha256=problem.row_filter.gains_sha256(),
            factor=output.part.gain,
            measured=dict(problem.filter.facts()),
            # what an iterative method does to a frequency is no number
            gains=_gains(problem) if method.is_linear_filter else None,
        ),
        corrections=asdict(problem.corrections),
        denoising=denoising,
        gold=None if gold is None else dict(gold),
        projector=problem.device.engine if problem.device.gpus else method.projector,
        gpus=tuple(problem.device.gpus),
        settings={k: v for k, v in asdict(settings).items() if v is not None},
        applied={
            name: Fact(value=fact.value, source=fact.source) for name, fact in series.facts.items()
        },
        views=tuple(_view(series, int(i)) for i in output.part.views),
        excluded=tuple(i + 1 for i in series.excluded),
        blank=tuple(int(series.views[i]) + 1 for i in blank),
        notes=tuple(series.notes),
        inputs=tuple(inputs[path] for path in dict.fromkeys(files)),
        seconds={name: round(value, 3) for name, value in seconds.items()},
        peak_memory_bytes=peak_memory_bytes(),
        threads=problem.threads,
        machine={"platform": platform.platform(), "python": platform.python_version()},
        libraries=dict(_libraries()),
    )
    return replace(record, flags=flags_of(record, series))


@cache
def _libraries() -> Mapping[str, str]:
    """Versions of what the numbers depend on."""
    return {name: version(name) for name in ("numpy", "scipy", "numba", "mrcfile")}


def _view(series: TiltSeries, i: int) -> View:
    first, second = series.geometry.image_from_volume[i].round(6).tolist()
    return View(
        image=int(series.views[i]) + 1,
        tilt_deg=round(float(series.tilt_deg[i]), 4),
        image_from_volume=(tuple(first), tuple(second)),
    )


def _gains(problem: Problem) -> Gains:
    """Gains of every view across the tilt axis, from next to zero to half a cycle per pixel.

    Lines of numbers are texts, or the record would be mostly line breaks.
    """
    context = problem.filter_context
    cycles = np.linspace(0, 0.5, _GAIN_SAMPLES)
    cycles[0] = 2 / np.pi**2 / context.padded_px  # zero frequency as filters take it
    gains = problem.filter.gains(cycles / context.pixel_angst, np.zeros(1), context)
    return Gains(
        tilt_deg=_text(context.tilt_deg),
        cycles_per_px=_text(cycles),
        of_views=tuple(_text(view) for view in gains),
    )


def _text(values: NDArray[np.float64]) -> str:
    return " ".join(f"{value:.5g}" for value in values)


def peak_memory_bytes() -> int:
    """Largest resident size this process has had."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
