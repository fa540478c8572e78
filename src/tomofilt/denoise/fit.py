"""Training: gradient descent on examples, with Adam (Kingma & Ba, ICLR 2015)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tomofilt.denoise.examples import Examples
from tomofilt.denoise.head import GATED, INPUTS, UNITS, Head
from tomofilt.util.jit import kernel
from tomofilt.util.threads import run_all

__all__ = ["Fit", "fit_head"]

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

#: Steps, and examples that a step looks at.
STEPS, _BATCH = 500, 8192
#: Largest step; steps grow over this share of the descent and shrink over the rest.
_RATE, _GROW = 0.015, 0.15
#: The held-out examples are looked at after so many steps.
_LOOK = 50
#: Examples of a step are summed up in so many parts side by side, whatever the number of threads.
_PARTS = 4
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


def fit_head(examples: Examples, seed: int, *, threads: int = 1) -> Fit:
    """Train a head.

    Parameters
    ----------
    examples : Examples
    seed : int
        Of the random beginning and of the order of the examples; the same seed gives the same head.
    threads : int
    """
    rng = np.random.default_rng(seed)
    kept = np.flatnonzero(examples.held_out)
    if not len(kept):
        raise ValueError("no rows are held out")
    order = rng.permutation(np.flatnonzero(~examples.held_out))
    scale = np.float32(np.sqrt(np.mean(np.square(examples.target))))
    bands, target = examples.bands / scale, examples.target / scale
    training = bands[order], examples.inputs[order], target[order]
    holding = bands[kept], examples.inputs[kept], target[kept]
    start = _beginning(rng)
    linear = start.copy()
    linear[_ENDS[1] : _ENDS[2]] = 0
    linear_loss = _gradient(linear, *holding, threads)[1]
    x, loss = _descend(start, training, holding, threads)
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
    threads: int,
) -> tuple[Float32, float]:
    """Best point on the way down, by held-out loss, and its loss."""
    bands, inputs, target = training
    batch = min(_BATCH, len(target))
    batches = len(target) // batch
    mean, squares = np.zeros_like(x), np.zeros_like(x)
    best, best_loss = x, np.inf
    for step in range(1, STEPS + 1):
        piece = slice(step % batches * batch, (step % batches + 1) * batch)
        slope, _ = _gradient(x, bands[piece], inputs[piece], target[piece], threads)
        mean += np.float32(1 - _DECAY) * (slope - mean)
        squares += np.float32(1 - _DECAY_SQUARES) * (slope**2 - squares)
        done = step / STEPS
        fall = 0.5 * (1 + np.cos(np.pi * (done - _GROW) / (1 - _GROW)))
        rate = _RATE * (done / _GROW if done < _GROW else fall)
        size = np.sqrt(squares / (1 - _DECAY_SQUARES**step)) + 1e-8
        x = (x - rate * mean / (1 - _DECAY**step) / size).astype(np.float32)
        if step % _LOOK == 0:
            loss = _gradient(x, *holding, threads)[1]
            if loss < best_loss:
                best, best_loss = x, loss
    return best, best_loss


def _gradient(
    x: Float32, bands: Float32, inputs: Float32, target: Float32, threads: int
) -> tuple[Float32, float]:
    """Gradient of the mean squared error, and that error."""
    arrays = _arrays(x)
    ends = np.linspace(0, len(target), _PARTS + 1).astype(int)
    sums = np.zeros((_PARTS, len(x)), dtype=np.float32)
    losses = np.zeros(_PARTS)

    def add(part: int) -> None:
        piece = slice(ends[part], ends[part + 1])
        losses[part] = _add_gradient(
            *arrays, bands[piece], inputs[piece], target[piece], *_arrays(sums[part])
        )

    run_all(threads, add, range(_PARTS))
    return sums.sum(axis=0) * np.float32(2 / len(target)), float(losses.sum()) / len(target)


@kernel
def _add_gradient(
    hidden: Float32,
    threshold: Float32,
    gate: Float32,
    linear: Float32,
    bands: Float32,
    inputs: Float32,
    target: Float32,
    d_hidden: Float32,
    d_threshold: Float32,
    d_gate: Float32,
    d_linear: Float32,
) -> float:
    """Add half of the gradients of the squared residuals, and return the squares' sum."""
    n_inputs, n_units = hidden.shape
    units = np.empty(n_units, np.float32)
    back = np.empty(n_units, np.float32)
    total = 0.0
    for example in range(len(target)):
        value = inputs[example]
        units[:] = threshold
        back[:] = np.float32(0)
        for i in range(n_inputs):
            for u in range(n_units):
                units[u] += hidden[i, u] * value[i]
        for u in range(n_units):
            units[u] = max(units[u], np.float32(0))
        residual = -target[example]
        for b in range(len(gate)):
            residual += linear[b] * bands[example, b]
            for u in range(n_units):
                back[u] += bands[example, b] * gate[b, u]
        for u in range(n_units):
            residual += back[u] * units[u]
        total += np.float64(residual) ** 2
        for b in range(len(gate)):
            factor = residual * bands[example, b]
            d_linear[b] += factor
            for u in range(n_units):
                d_gate[b, u] += factor * units[u]
        for u in range(n_units):
            back[u] = residual * back[u] if units[u] > 0 else np.float32(0)
            d_threshold[u] += back[u]
        for i in range(n_inputs):
            for u in range(n_units):
                d_hidden[i, u] += value[i] * back[u]
    return total
