"""From a tilt series and settings to a problem: every number settled before anything is read."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tomofilt.align.corrections import Corrections, decide
from tomofilt.errors import InputError
from tomofilt.projectors.gpu import ENGINES
from tomofilt.projectors.select import GPU_START_S, Choice, choose
from tomofilt.reconstruction.budget import SLAB_ROWS, Work, fit, image_bytes
from tomofilt.reconstruction.grids import volume_grid
from tomofilt.reconstruction.methods.registry import method_for
from tomofilt.reconstruction.problem import Method, Problem
from tomofilt.reconstruction.settings import Settings
from tomofilt.reconstruction.vertical import common_xtilt, upright_grid, without_xtilt
from tomofilt.series.tiltseries import TiltSeries
from tomofilt.util.threads import available_threads

__all__ = ["make_problem", "with_reserve"]


def make_problem(series: TiltSeries, settings: Settings | None = None) -> Problem:
    """Settle every number of a reconstruction; nothing is read or written.

    Parameters
    ----------
    series : TiltSeries
    settings : Settings, optional
        Default: the default ones.

    Raises
    ------
    InputError
        If settings contradict each other or the series.
    ResourceError
        If the work does not fit into ``settings.max_memory_bytes``, or a GPU that was asked
        for does not work.
    """
    settings = settings or Settings()
    if series.axes_fixed and (settings.flip_z or settings.orientation == "xzy"):
        raise InputError(
            f"{series.name}: its project looks for particles where the tomogram shows them, so it "
            "may be neither mirrored nor turned: leave out --flip-z and --orientation"
        )
    grid = volume_grid(series, settings)
    method = method_for(series, settings, grid.voxel_angst)
    xtilt_rad = common_xtilt(series.geometry) if method.turns_upright else 0.0
    volume, geometry = grid, series.geometry
    if xtilt_rad != 0.0:
        volume, geometry = upright_grid(grid, xtilt_rad), without_xtilt(geometry, xtilt_rad)
    problem = Problem(
        series=series,
        grid=grid,
        frame=method.frame(series, geometry, volume, _width_angst(series)),
        method=method,
        corrections=_corrections(series, settings, method),
        threads=settings.threads or available_threads(),
        xtilt_rad=xtilt_rad,
    )
    method.check(problem)
    problem = replace(problem, device=_device(problem, settings))
    return with_reserve(problem, settings, 0)


def with_reserve(problem: Problem, settings: Settings, more_bytes: int) -> Problem:
    """The same problem, fitted into memory together with something that takes ``more_bytes``.

    Raises
    ------
    ResourceError
        If it does not fit into ``settings.max_memory_bytes``.
    """
    work = _work(problem, more_bytes)
    return replace(problem, room=fit(work, settings.max_memory_bytes, problem.series.name))


def _width_angst(series: TiltSeries) -> tuple[float, float]:
    """Size (y, x) of the images; the one across the tilt axis is kept."""
    pixel = series.images.pixel_angst
    ny, nx = series.images.shape[1:]
    if series.aligned_shape is not None:
        # however the images are turned, the project says how wide they are once aligned
        ny = nx = series.aligned_shape[1]
    return ny * pixel, nx * pixel


def _corrections(series: TiltSeries, settings: Settings, method: Method) -> Corrections:
    weighed = ""
    if method.weighs_views:
        weighed = f"{method.spec} takes views for what they hold, dose and all"
    return decide(
        series,
        ctf=settings.ctf,
        dose_weight=settings.dose_weight,
        native=method.native,
        weighed=weighed,
        for_eyes=method.spec == "wiener-exact:view",
    )


def _device(problem: Problem, settings: Settings) -> Choice:
    series, method = problem.series, problem.method
    device, projector = settings.device, settings.projector
    reason = method.why_not_gpu(series)
    if reason is None and method.needs_exact_pair and device != "cpu":
        if projector == "astra":
            raise InputError(
                f"{series.name}: ASTRA has no projection that -f {method.spec} could use: "
                "leave out --projector astra"
            )
        projector = "triton"
    if reason is None:
        seconds = problem.kernel_seconds / problem.threads
        if device == "auto" and projector not in ENGINES and seconds < GPU_START_S:
            return Choice((), f"{seconds:.1f} s for it, less than a GPU needs to start")
        return choose(device, projector)
    if device.startswith("cuda") or projector in ENGINES:
        raise InputError(
            f"{series.name}: {reason} is computed on the CPU only: use --device cpu or "
            "--device auto, without --projector triton or astra"
        )
    return Choice((), f"{reason} needs it" if device == "auto" else "")


def _work(problem: Problem, more_bytes: int) -> Work:
    frame, method = problem.frame, problem.method
    if problem.xtilt_rad != 0.0:
        unz, uny, nx = frame.volume.shape
        overlap = 2 * SLAB_ROWS + int(2 * abs(problem.xtilt_rad) * problem.grid.shape[0])
        more_bytes += unz * (2 * min(overlap, uny) + SLAB_ROWS) * nx * 4
    return Work(
        views=len(problem.series.views),
        volume_shape=problem.grid.shape,
        width_px=frame.grid.shape[1],
        samples_px=method.samples_px(problem),
        halo=frame.halo,
        threads=problem.threads,
        image_bytes=image_bytes(
            int(np.prod(problem.series.images.shape[1:])),
            int(np.prod(frame.grid.shape)),
            float((problem.series.images.pixel_angst / np.array(frame.grid.pixel_angst)).prod()),
            filtered=method.filter.two_dimensional or problem.corrections.ctf != "none",
        ),
        more_bytes=more_bytes + method.more_bytes(problem),
    )
