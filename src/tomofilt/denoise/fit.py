"""Training: least squares over all examples at once, by Levenberg-Marquardt.

A network of 81 numbers has a Jacobian that fits into the cache piece by piece, and against noisy
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

__all__ = ["Fit", "fit_head"]

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

#: Random beginnings, tried on few examples, of which the best is followed.
_BEGINNINGS, _FEW = 3, 60_000
_FIRST_PASSES, _PASSES = 10, 15
#: Relative gain of a pass below which training ends.
_ENOUGH = 1e-5
_PIECE = 4096


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


def fit_head(lesson: Lesson, seed: int) -> Fit:
    """Train a head.

    Parameters
    ----------
    lesson : Lesson
    seed : int
        Of the random beginnings; the same seed gives the same head on the same machine.
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
    linear_loss = _loss(linear, *holding)

    def held(x: Float64) -> float:
        return _loss(x, *holding)

    best, best_loss = linear, np.inf
    for _ in range(_BEGINNINGS):
        start = linear.copy()
        hidden = rng.normal(size=(UNITS, BANDS))
        hidden /= np.linalg.norm(hidden, axis=1, keepdims=True)
        start[: UNITS * BANDS] = hidden.ravel()
        start[UNITS * BANDS : UNITS * (BANDS + 1)] = rng.normal(size=UNITS) / 2
        start[UNITS * (BANDS + 1) : UNITS * (BANDS + 2)] = rng.normal(size=UNITS) / 50
        x, loss, _ = _descend(start, *sample, held, _FIRST_PASSES)
        if loss < best_loss:
            best, best_loss = x, loss
    x, loss, passes = _descend(best, *training, held, _PASSES)
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
    total = 0.0
    for start in range(0, len(target), _PIECE):
        residual, _ = _forward(x, bands[start : start + _PIECE], target[start : start + _PIECE])
        total += float(residual @ residual)
    return total / len(target)


def _forward(x: Float64, bands: Float32, target: Float32) -> tuple[Float32, Float32]:
    """Residuals, and the units before they are rectified."""
    hidden, threshold, output, weights, bias = _parts(x)
    units = bands @ hidden.T.astype(np.float32) + threshold.astype(np.float32)
    density = np.maximum(units, 0) @ output.astype(np.float32)
    density += bands @ weights.astype(np.float32)
    return density + np.float32(bias) - target, units


def _normal(x: Float64, bands: Float32, target: Float32) -> tuple[Float64, Float64, float]:
    """Mean of J^T J, of J^T r and of r^2."""
    _, _, output, _, _ = _parts(x)
    size = UNITS * BANDS
    matrix, slope, total = np.zeros((len(x), len(x))), np.zeros(len(x)), 0.0
    jacobian = np.ones((_PIECE, len(x)), dtype=np.float32)
    for start in range(0, len(target), _PIECE):
        piece = bands[start : start + _PIECE]
        residual, units = _forward(x, piece, target[start : start + _PIECE])
        j = jacobian[: len(piece)]
        on = units > 0
        slopes = on * output.astype(np.float32)
        np.multiply(
            slopes[:, :, None], piece[:, None, :], out=j[:, :size].reshape(-1, UNITS, BANDS)
        )
        j[:, size : size + UNITS] = slopes
        j[:, size + UNITS : size + 2 * UNITS] = units * on
        j[:, size + 2 * UNITS : -1] = piece
        matrix += j.T @ j
        slope += j.T @ residual
        total += float(residual @ residual)
    n = len(target)
    return matrix / n, slope / n, total / n


def _descend(
    x: Float64, bands: Float32, target: Float32, held: Callable[[Float64], float], passes: int
) -> tuple[Float64, float, int]:
    """Best point on the way down, by held-out loss; its loss, and how many passes it took."""
    matrix, slope, loss = _normal(x, bands, target)
    damping = 1e-2
    best, best_loss, made = x, held(x), 0
    while made < passes:
        made += 1
        ridge = damping * np.diag(matrix) + 1e-6
        trial = x - np.linalg.solve(matrix + np.diag(ridge), slope)
        new_matrix, new_slope, new_loss = _normal(trial, bands, target)
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
