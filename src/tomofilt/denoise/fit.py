"""Training: least squares over all examples at once, by Levenberg-Marquardt.

A network of 80 numbers has a Jacobian that fits into the cache piece by piece, and against noisy
targets second order needs a dozen passes where gradients need a thousand.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tomofilt.denoise.bands import BANDS
from tomofilt.denoise.head import UNITS, Head
from tomofilt.denoise.supervision import Lesson
from tomofilt.util.jit import kernel
from tomofilt.util.threads import run_all

__all__ = ["Fit", "fit_head"]

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

#: Random beginnings, tried on few examples, of which the best is followed.
_BEGINNINGS, _FEW = 3, 60_000
_FIRST_PASSES, _PASSES = 10, 15
#: Relative gain of a pass below which training ends.
_ENOUGH = 1e-5
#: Examples that are summed up in single precision; parts that are made side by side.
_PIECE, _PARTS = 1024, 8


@dataclass(frozen=True, eq=False)
class Fit:
    """A trained head, and what it reached.

    Attributes
    ----------
    head : Head
        For bands like those of the lesson.
    passes : int
    linear_loss, loss : float
        Mean squared error on the held-out rows, over the target's variance: of the best linear
        combination of the bands, and of the head.
    """

    head: Head
    passes: int
    linear_loss: float
    loss: float


def fit_head(lesson: Lesson, seed: int, *, threads: int = 1, first_band: int = 0) -> Fit:
    """Train a head.

    Parameters
    ----------
    lesson : Lesson
    seed : int
        Of the random beginnings; the same seed gives the same head.
    threads : int
    first_band : int
        The lowest band that the rectified units see; those below it pass by the linear path alone.
    """
    deviation = np.maximum(lesson.deviation, 1e-30)
    scale = float(lesson.target.std(dtype=np.float64)) or 1.0
    bands = (lesson.bands / deviation).astype(np.float32)
    target = (lesson.target / scale).astype(np.float32)
    taught, kept = ~lesson.held_out, lesson.held_out
    if not kept.any():
        raise ValueError("no rows are held out")
    training, holding = (bands[taught], target[taught]), (bands[kept], target[kept])
    rng = np.random.default_rng(seed)
    # examples come in the order of the halves and of the voxels: a few of them are to be any
    few = rng.permutation(len(training[1]))[:_FEW]
    sample = (training[0][few], training[1][few])

    linear = _linear(*training)
    # parameters that are learned
    free = np.ones(len(linear), dtype=bool)
    free[: UNITS * BANDS].reshape(UNITS, BANDS)[:, :first_band] = False
    linear_loss = _loss(linear, *holding)

    def held(x: Float64) -> float:
        return _loss(x, *holding)

    best, best_loss = linear, np.inf
    for _ in range(_BEGINNINGS):
        start = linear.copy()
        hidden = rng.normal(size=(UNITS, BANDS))
        hidden[:, :first_band] = 0
        hidden /= np.linalg.norm(hidden, axis=1, keepdims=True)
        start[: UNITS * BANDS] = hidden.ravel()
        start[UNITS * BANDS : UNITS * (BANDS + 1)] = rng.normal(size=UNITS) / 2
        start[UNITS * (BANDS + 1) : UNITS * (BANDS + 2)] = rng.normal(size=UNITS) / 50
        x, loss, _ = _descend(start, *sample, held, free, _FIRST_PASSES, threads)
        if loss < best_loss:
            best, best_loss = x, loss
    x, loss, passes = _descend(best, *training, held, free, _PASSES, threads)
    variance = float(holding[1].var(dtype=np.float64)) or 1.0
    hidden, threshold, output, weights, bias = _parts(x)
    head = Head(
        hidden=(hidden / deviation).astype(np.float32),
        threshold=threshold.astype(np.float32),
        output=(output * scale).astype(np.float32),
        linear=(weights * scale / deviation).astype(np.float32),
        bias=np.float32(bias * scale),
        limit=lesson.limit.astype(np.float32),
    )
    return Fit(head, passes, linear_loss / variance, loss / variance)


def _parts(x: Float64) -> tuple[Float64, Float64, Float64, Float64, float]:
    """Hidden weights, thresholds, output, linear weights and bias."""
    size = UNITS * BANDS
    return (
        x[:size].reshape(UNITS, BANDS),
        x[size : size + UNITS],
        x[size + UNITS : size + 2 * UNITS],
        x[size + 2 * UNITS : -1],
        float(x[-1]),
    )


def _linear(bands: Float32, target: Float32) -> Float64:
    """The best linear head."""
    normal = np.asarray(bands.T @ bands, dtype=np.float64)
    normal[np.diag_indices(BANDS)] *= 1 + 1e-6
    x = np.zeros(UNITS * (BANDS + 2) + BANDS + 1)
    x[-1 - BANDS : -1] = np.linalg.lstsq(normal, bands.T @ target, rcond=None)[0]
    return x


def _loss(x: Float64, bands: Float32, target: Float32) -> float:
    return _squares(x.astype(np.float32), bands, target) / len(target)


def _normal(
    x: Float64, bands: Float32, target: Float32, threads: int
) -> tuple[Float64, Float64, float]:
    """Mean of J^T J, of J^T r and of r^2."""
    starts = np.linspace(0, len(target), _PARTS + 1).astype(int)
    sums = np.zeros((_PARTS, len(x) + 1, len(x) + 1))

    def add(part: int) -> None:
        piece = slice(starts[part], starts[part + 1])
        _add_normal(x.astype(np.float32), bands[piece], target[piece], sums[part])

    run_all(threads, add, range(_PARTS))
    upper = sums.sum(axis=0) / len(target)
    whole = np.triu(upper) + np.triu(upper, 1).T
    return whole[:-1, :-1], whole[:-1, -1], float(whole[-1, -1])


def _descend(
    x: Float64,
    bands: Float32,
    target: Float32,
    held: Callable[[Float64], float],
    free: NDArray[np.bool_],
    passes: int,
    threads: int,
) -> tuple[Float64, float, int]:
    """Best point on the way down, by held-out loss; its loss, and how many passes it took."""
    matrix, slope, loss = _normal(x, bands, target, threads)
    damping = 1e-2
    best, best_loss, made = x, held(x), 0
    while made < passes:
        made += 1
        ridge = np.diag(damping * np.diag(matrix) + 1e-6)
        trial = x.copy()
        trial[free] -= np.linalg.solve((matrix + ridge)[np.ix_(free, free)], slope[free])
        new_matrix, new_slope, new_loss = _normal(trial, bands, target, threads)
        if not new_loss < loss:
            damping *= 6
            continue
        gain = 1 - new_loss / loss
        x, matrix, slope, loss = trial, new_matrix, new_slope, new_loss
        damping = max(damping / 4, 1e-5)
        held_loss = held(x)
        if held_loss < best_loss:
            best, best_loss = x, held_loss
        if gain < _ENOUGH:
            break
    return best, best_loss, made


@kernel
def _add_normal(x: Float32, bands: Float32, target: Float32, matrix: Float64) -> None:
    """Add products of the residuals' derivatives, and in the last column of the residuals.

    Only what is on the diagonal and above it is made.
    """
    size, n_bands = len(x) + 1, bands.shape[1]
    first = UNITS * n_bands
    line = np.zeros(size, np.float32)
    for start in range(0, len(target), _PIECE):
        total = np.zeros((size, size), np.float32)
        for example in range(start, min(start + _PIECE, len(target))):
            band = bands[example]
            density = x[size - 2] - target[example]
            for unit in range(UNITS):
                value = x[first + unit]
                for i in range(n_bands):
                    value += x[unit * n_bands + i] * band[i]
                output = x[first + UNITS + unit]
                if value <= 0:
                    value = output = np.float32(0)
                for i in range(n_bands):
                    line[unit * n_bands + i] = output * band[i]
                line[first + unit] = output
                line[first + UNITS + unit] = value
                density += x[first + UNITS + unit] * value
            for i in range(n_bands):
                line[first + 2 * UNITS + i] = band[i]
                density += x[first + 2 * UNITS + i] * band[i]
            line[size - 2] = 1
            line[size - 1] = density
            for a in range(size):
                factor = line[a]
                if factor != 0:
                    out = total[a]
                    for b in range(size):
                        out[b] += factor * line[b]
        matrix += total


@kernel
def _squares(x: Float32, bands: Float32, target: Float32) -> float:
    """Sum of the squares of the residuals."""
    n_bands = bands.shape[1]
    first, size = UNITS * n_bands, len(x)
    total = 0.0
    for example in range(len(target)):
        band = bands[example]
        density = x[size - 1] - target[example]
        for unit in range(UNITS):
            value = x[first + unit]
            for i in range(n_bands):
                value += x[unit * n_bands + i] * band[i]
            density += x[first + UNITS + unit] * max(value, np.float32(0))
        for i in range(n_bands):
            density += x[first + 2 * UNITS + i] * band[i]
        total += np.float64(density) ** 2
    return total
