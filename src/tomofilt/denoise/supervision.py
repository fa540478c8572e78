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
from tomofilt.plan import Plan
from tomofilt.projectors.cpu import slice_table

__all__ = ["Lesson", "displacement_px", "halves_of", "learnable_voxels", "lesson"]

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

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


def learnable_voxels(plan: Plan, seed: int) -> NDArray[np.intp]:
    """Random voxels (voxel, 3: z, y, x) of a plan's tomogram that all views see, or nearly."""
    nz, ny, nx = plan.grid.shape
    seen = np.zeros((nz, nx), dtype=np.intp)
    z, x = np.arange(nz)[:, None], np.arange(nx)
    for a, b, c, _, _ in slice_table(plan.slices, plan.grid, plan.aligned):
        column = a * x + b * z + c
        seen += (column >= 2) & (column <= plan.aligned.shape[1] - 3)
    columns = np.argwhere(seen >= min(len(plan.slices.a), np.quantile(seen, 0.6)))
    rng = np.random.default_rng(seed)
    chosen = columns[rng.integers(0, len(columns), min(_VOXELS, len(columns) * ny))]
    return np.stack([chosen[:, 0], rng.integers(0, ny, len(chosen)), chosen[:, 1]], axis=1)


def halves_of(
    middle: Middle, voxels: NDArray[np.intp]
) -> tuple[list[Float32], tuple[float, float]]:
    """Bands (voxel, BANDS) of the tomograms of even and of odd views, and how they are displaced.

    Returns
    -------
    bands : list of two arrays
    displacement : (y, x)
        In voxels.
    """
    order = np.argsort(middle.plan.slices.tilt_deg, kind="stable")
    bands, coarse = [], []
    for members in (order[::2], order[1::2]):
        low, block = middle.volume(members, len(order) / len(members))
        bands.append(np.ascontiguousarray(bands_at(low, block, 0, 0, voxels).T))
        coarse.append(low[0])
    return bands, displacement_px(coarse[0], coarse[1])


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


def _spread(bands: Float32) -> Float64:
    """Standard deviation of each band as the bulk of the voxels has it."""
    return np.asarray(1.4826 * np.median(np.abs(bands), axis=0), dtype=np.float64)


def displacement_px(first: CoarseBands, second: CoarseBands) -> tuple[float, float]:
    """How far the specimen of one tomogram lies from that of another, in y and x, in voxels.

    The peak of their correlation, every shell of frequencies counting as much as its number of
    values; the lowest band, which holds gradients, is left out.
    """
    from scipy import fft

    a, b = (
        fft.rfftn(each.values[1:].sum(axis=0) - each.values[1:].mean(dtype=np.float64))
        for each in (first, second)
    )
    shape = first.values.shape[1:]
    k = [np.fft.fftfreq(n) for n in shape[:2]] + [np.fft.rfftfreq(shape[2])]
    radius = np.sqrt(k[0][:, None, None] ** 2 + k[1][:, None] ** 2 + k[2] ** 2)
    shell = np.rint(radius * max(shape)).astype(np.intp)
    cross = a * b.conj()
    sums = np.bincount(shell.ravel(), (np.abs(a) * np.abs(b)).ravel())
    count = np.bincount(shell.ravel())
    power = sums / np.maximum(count, 1)
    # shells without power hold rounding errors
    weight = np.where(power > 1e-4 * power.max(), 1 / np.maximum(power, 1e-30), 0.0)
    cross *= weight[shell]
    peak = np.unravel_index(int(fft.irfftn(cross, shape).argmax()), shape)
    shift = np.array(
        [p if p <= n // 2 else p - n for p, n in zip(peak, shape, strict=True)], dtype=np.float64
    )
    for _ in range(5):  # Newton's steps to the peak between the samples
        phase = np.exp(
            2j
            * np.pi
            * (k[0][:, None, None] * shift[0] + k[1][:, None] * shift[1] + k[2] * shift[2])
        )
        turned = cross * phase
        axes = [k[0][:, None, None], k[1][:, None], k[2]]
        slope = np.array([-(turned.imag * axis).sum() for axis in axes])
        bend = np.array([[-(turned.real * i * j).sum() for j in axes] for i in axes])
        step = np.linalg.lstsq(2 * np.pi * bend, slope, rcond=None)[0]
        shift -= np.clip(step, -0.5, 0.5)
    return float(shift[1] * first.step_px), float(shift[2] * first.step_px)
