"""Training: gradient descent on examples, with Adam (Kingma & Ba, ICLR 2015)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tomofilt.denoise.examples import Examples
from tomofilt.denoise.head import GATED, INPUTS, UNITS, Head

__all__ = ["Fit", "fit_head"]

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

#: Steps, and examples that a step looks at.
STEPS, _BATCH = 500, 8192
#: Largest step; steps grow over this share of the descent and shrink over the rest.
_RATE, _GROW = 0.015, 0.15
#: The held-out examples are looked at after so many steps.
_LOOK = 50
#: Examples that are looked at together: what is computed of them stays in a core's cache.
_PIECE = 1024
_DECAY, _DECAY_SQUARES = 0.9, 0.999
#: Where each array lies in the vector of all parameters.
_SHAPES = ((INPUTS, UNITS), (UNITS,), (GATED, UNITS), (GATED,))
_ENDS = np.cumsum([int(np.prod(shape)) for shape in _SHAPES])


@dataclass(frozen=True, eq=False)
class Fit:
    """A trained head, and what it reached.

    Attributes
    ----------
    head : Head
        For bands like those of the examples.
    linear_loss, loss : float
        Mean squared error on the held-out rows, over the target's power: with all weights 1, and
        with the head's.
    """

    head: Head
    linear_loss: float
    loss: float


def fit_head(examples: Examples, seed: int) -> Fit:
    """Train a head.

    Parameters
    ----------
    examples : Examples
    seed : int
        Of the random beginning and of the order of the examples; the same seed gives the same head.
    """
    rng = np.random.default_rng(seed)
    kept = np.flatnonzero(examples.held_out)
    if not len(kept):
        raise ValueError("no rows are held out")
    order = rng.permutation(np.flatnonzero(~examples.held_out))
    scale = np.float32(np.sqrt(np.mean(np.square(examples.target))))
    training, holding = (
        (
            np.take(examples.bands.T, chosen, axis=1) / scale,
            np.take(examples.inputs.T, chosen, axis=1),
            examples.target[chosen] / scale,
        )
        for chosen in (order, kept)
    )
    start = _beginning(rng)
    linear = start.copy()
    linear[_ENDS[1] : _ENDS[2]] = 0
    linear_loss = _gradient(linear, *holding)[1]
    x, loss = _descend(start, training, holding)
    power = float(np.square(holding[2]).mean(dtype=np.float64)) or 1.0
    head = Head(*_arrays(x), examples.limit / examples.deviation, examples.deviation)
    return Fit(head, linear_loss / power, loss / power)


def _arrays(x: Float32) -> tuple[Float32, Float32, Float32, Float32]:
    """Hidden weights, thresholds, gates and linear weights."""
    hidden, threshold, gate, linear = (
        part.reshape(shape) for part, shape in zip(np.split(x, _ENDS[:-1]), _SHAPES, strict=True)
    )
    return hidden, threshold, gate, linear


def _beginning(rng: np.random.Generator) -> Float32:
    """Random units, gates that hardly move, and weights of 1."""
    reach = 1 / np.sqrt(INPUTS)
    return np.concatenate(
        [
            rng.uniform(-reach, reach, INPUTS * UNITS),
            rng.uniform(-reach, reach, UNITS),
            rng.normal(size=GATED * UNITS) / 50,
            np.ones(GATED),
        ]
    ).astype(np.float32)


def _descend(
    x: Float32,
    training: tuple[Float32, Float32, Float32],
    holding: tuple[Float32, Float32, Float32],
) -> tuple[Float32, float]:
    """Best point on the way down, by held-out loss, and its loss."""
    bands, inputs, target = training
    batch = min(_BATCH, len(target))
    batches = len(target) // batch
    mean, squares = np.zeros_like(x), np.zeros_like(x)
    best, best_loss = x, np.inf
    for step in range(1, STEPS + 1):
        piece = slice(step % batches * batch, (step % batches + 1) * batch)
        slope, _ = _gradient(x, bands[:, piece], inputs[:, piece], target[piece])
        mean += np.float32(1 - _DECAY) * (slope - mean)
        squares += np.float32(1 - _DECAY_SQUARES) * (slope**2 - squares)
        done = step / STEPS
        fall = 0.5 * (1 + np.cos(np.pi * (done - _GROW) / (1 - _GROW)))
        rate = _RATE * (done / _GROW if done < _GROW else fall)
        size = np.sqrt(squares / (1 - _DECAY_SQUARES**step)) + 1e-8
        x = (x - rate * mean / (1 - _DECAY**step) / size).astype(np.float32)
        if step % _LOOK == 0:
            loss = _gradient(x, *holding)[1]
            if loss < best_loss:
                best, best_loss = x, loss
    return best, best_loss


def _gradient(
    x: Float32, bands: Float32, inputs: Float32, target: Float32
) -> tuple[Float32, float]:
    """Gradient of the mean squared error, and that error."""
    hidden, threshold, gate, linear = _arrays(x)
    slope, total = np.zeros_like(x), 0.0
    d_hidden, d_threshold, d_gate, d_linear = _arrays(slope)
    for start in range(0, len(target), _PIECE):
        piece = slice(start, start + _PIECE)
        band, value = bands[:, piece], inputs[:, piece]
        units = np.maximum(hidden.T @ value + threshold[:, None], 0)
        weights = gate @ units + linear[:, None]
        residual = (weights * band).sum(axis=0) - target[piece]
        total += float(np.square(residual).sum(dtype=np.float64))
        back = residual * band
        d_linear += back.sum(axis=1)
        d_gate += back @ units.T
        back = (gate.T @ back) * (units > 0)
        d_threshold += back.sum(axis=1)
        d_hidden += value @ back.T
    return slope * np.float32(2 / len(target)), total / len(target)
