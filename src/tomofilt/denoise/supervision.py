"""What a head learns from: the bands of one half of the views, and the tomogram of the other.

Even and odd views share neither noise nor the streaks of sparse sampling, so that what one half
says of the other is specimen (Lehtinen et al., ICML 2018). On simulated series this is as good as
frame halves where views are dense, and better everywhere else.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tomofilt.denoise.bands import CoarseBands
from tomofilt.denoise.kernel import bands_at
from tomofilt.denoise.middle import Middle
from tomofilt.projectors.cpu import slice_table
from tomofilt.reconstruction.problem import Problem

__all__ = [
    "Lesson",
    "displacement_px",
    "halves_of",
    "learnable_voxels",
    "lesson",
    "lesson_from_truth",
]

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

#: Displacements that are looked at, in voxels.
_REACH_PX, _STEP_PX = 8.0, 0.25
#: Voxels that a head is trained on; each counts twice, once for either half.
_VOXELS = 250_000
#: Standard deviations beyond which a band is cut: noise is left alone, gold is not.
_LIMIT = 5.0
#: Wiener's filter takes back what is noise. The target gets it back, up to 1 / _LEAST times.
_LEAST = 0.2
#: Of each group of rows, the last fifth is kept for stopping early.
_GROUP, _TAUGHT = 40, 32


@dataclass(frozen=True, eq=False)
class Lesson:
    """Examples for a head.

    Attributes
    ----------
    bands : (example, BANDS) float32
        Cut at ``limit``.
    target : (example,) float32
    held_out : (example,) bool
        Not for training, but for stopping it.
    limit : (BANDS,)
    deviation : (BANDS,)
        Standard deviation of the bands of ``bands``.
    """

    bands: Float32
    target: Float32
    held_out: NDArray[np.bool_]
    limit: Float64
    deviation: Float64


def learnable_voxels(problem: Problem, seed: int) -> NDArray[np.intp]:
    """Random voxels (voxel, 3: z, y, x) of a tomogram that all views see, or nearly."""
    nz, ny, nx = problem.grid.shape
    frame = problem.frame
    seen = np.zeros((nz, nx), dtype=np.intp)
    z, x = np.arange(nz)[:, None], np.arange(nx)
    for a, b, c, _, _ in slice_table(frame.slices, problem.grid, frame.grid):
        column = a * x + b * z + c
        seen += (column >= 2) & (column <= frame.grid.shape[1] - 3)
    columns = np.argwhere(seen >= min(len(problem.series.views), np.quantile(seen, 0.6)))
    rng = np.random.default_rng(seed)
    chosen = columns[rng.integers(0, len(columns), min(_VOXELS, len(columns) * ny))]
    return np.stack([chosen[:, 0], rng.integers(0, ny, len(chosen)), chosen[:, 1]], axis=1)


def halves_of(middle: Middle, voxels: NDArray[np.intp]) -> list[Float32]:
    """Bands (voxel, BANDS) of the tomograms of every other view, and of the rest."""
    order = np.argsort(middle.problem.frame.slices.tilt_deg, kind="stable")
    bands = []
    for members in (order[::2], order[1::2]):
        coarse, block = middle.volume(members, len(order) / len(members))
        bands.append(np.ascontiguousarray(bands_at(coarse, block, 0, 0, voxels).T))
    return bands


def lesson(halves: list[Float32], whole: Float32, rows: NDArray[np.intp]) -> Lesson:
    """Examples from the bands of two halves.

    Parameters
    ----------
    halves : two (voxel, BANDS) arrays
    whole : (voxel, BANDS)
        Of the tomogram of all views.
    rows : (voxel,)
        The row each voxel is in.
    """
    first, second = halves
    limit = _LIMIT * np.sqrt((_spread(first) ** 2 + _spread(second) ** 2) / 2)
    first, second = (np.clip(half, -limit, limit).astype(np.float32) for half in halves)
    cut = np.clip(whole, -limit, limit)
    shared = np.mean(first * second, axis=0) - first.mean(axis=0) * second.mean(axis=0)
    signal = np.clip(shared / cut.var(axis=0), _LEAST, 1.0)
    restore = (1 / signal).astype(np.float32)
    bands = np.concatenate([first, second])
    held_out = rows % _GROUP >= _TAUGHT
    return Lesson(
        bands,
        np.concatenate([second @ restore, first @ restore]),
        np.concatenate([held_out, held_out]),
        limit,
        bands.std(axis=0, dtype=np.float64),
    )


def lesson_from_truth(bands: Float32, truth: Float32, rows: NDArray[np.intp]) -> Lesson:
    """Examples from the bands (voxel, BANDS) of a tomogram, and the densities it should have.

    Parameters
    ----------
    bands : (voxel, BANDS)
    truth : (voxel,)
    rows : (voxel,)
        The row each voxel is in.
    """
    limit = _LIMIT * _spread(bands)
    cut = np.clip(bands, -limit, limit).astype(np.float32)
    held_out = rows % _GROUP >= _TAUGHT
    return Lesson(cut, truth, held_out, limit, cut.std(axis=0, dtype=np.float64))


def _spread(bands: Float32) -> Float64:
    """Standard deviation of each band as the bulk of the voxels has it."""
    return np.asarray(1.4826 * np.median(np.abs(bands), axis=0), dtype=np.float64)


def displacement_px(first: CoarseBands, second: CoarseBands) -> tuple[float, float, float]:
    """How far the specimen of one tomogram lies from that of another, in y and x.

    The largest correlation among displacements in steps of a quarter of a voxel. The lowest band,
    which holds gradients, is left out.

    Returns
    -------
    y, x : float
        In voxels.
    share : float
        The correlation without any displacement, over the largest. Halves that share few
        frequencies, of thick specimens and sparse views, do not tell small displacements apart.
    """
    from scipy import fft

    shape = first.values.shape[1:]
    # what ends at the sides of the tomogram ends there in both
    window = np.outer(np.hanning(shape[1] + 2)[1:-1], np.hanning(shape[2] + 2)[1:-1])
    spectra = []
    for each in (first, second):
        summed = each.values[1:].sum(axis=0, dtype=np.float64)
        spectra.append(fft.fftn((summed - summed.mean(axis=(1, 2), keepdims=True)) * window))
    cross = (spectra[0] * spectra[1].conj()).sum(axis=0)
    shifts = np.arange(-_REACH_PX, _REACH_PX + _STEP_PX / 2, _STEP_PX)
    turn_y, turn_x = (
        np.exp(2j * np.pi * np.outer(shifts / first.step_px, np.fft.fftfreq(n))) for n in shape[1:]
    )
    correlation = (turn_y @ cross @ turn_x.T).real
    y, x = np.unravel_index(int(correlation.argmax()), correlation.shape)
    middle = len(shifts) // 2
    share = float(correlation[middle, middle] / correlation[y, x])
    return float(shifts[y]), float(shifts[x]), share
