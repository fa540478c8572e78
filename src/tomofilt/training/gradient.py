"""Coefficients by AdamW: for losses that are not quadratic, and for factors of coefficients."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tomofilt.errors import InputError
from tomofilt.io.files import write_bytes_atomic
from tomofilt.training.closed_form import mean_psnr_db
from tomofilt.training.losses import Loss
from tomofilt.training.model import FilteredBackProjection
from tomofilt.training.objective import backward

__all__ = ["Coefficients", "Descent", "Frozen", "Schedule", "descend"]

Float64 = NDArray[np.float64]
Frozen = Literal["none", "tilt", "camera"]


@dataclass(frozen=True)
class Schedule:
    """How AdamW descends (Loshchilov & Hutter, arXiv 1711.05101).

    Parameters
    ----------
    steps : int
        Each on one series, in an order that is drawn anew when all have been used.
    lr : float
        First learning rate; it falls to zero like half a cosine.
    weight_decay : float
        Part of the coefficients, times the learning rate, that is taken off at each step.
    patience : int
        Validations without a better PSNR after which it ends.
    seed : int
        Of the order of the series.
    """

    steps: int = 300
    lr: float = 0.03
    weight_decay: float = 0.0
    patience: int = 20
    seed: int = 0

    def lr_at(self, step: int) -> float:
        """Learning rate of a step, counted from 0."""
        return self.lr * (1 + float(np.cos(np.pi * step / self.steps))) / 2


class Coefficients(nn.Module):
    """What AdamW changes: all coefficients, or the two factors of them.

    Parameters
    ----------
    start : array (term, *nodes)
    factorised : bool
        Coefficients are a weight for each tilt times one gain for all (eq. 16 of the report).
    frozen : "none", "tilt" or "camera"
        The factor that stays as it is.
    dtype : torch.dtype
    """

    def __init__(
        self,
        start: Float64,
        *,
        factorised: bool = False,
        frozen: Frozen = "none",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        values = torch.from_numpy(np.array(start)).to(dtype)
        self.camera = nn.Parameter(values.mean(dim=0) if factorised else values)
        self.camera.requires_grad_(frozen != "camera")
        self.tilt: nn.Parameter | None = None
        if factorised:
            self.tilt = nn.Parameter(torch.ones(len(values), dtype=dtype))
            self.tilt.requires_grad_(frozen != "tilt")

    def forward(self) -> Tensor:
        """Coefficients (term, *nodes)."""
        if self.tilt is None:
            return self.camera
        return self.tilt.reshape(-1, *[1] * self.camera.ndim) * self.camera

    def values(self) -> Float64:
        """The coefficients as an array."""
        return np.array(self().detach().numpy(), dtype=np.float64)


@dataclass
class Descent:
    """How far a descent has come.

    Attributes
    ----------
    step : int
        Steps done.
    best : array
        Coefficients with the best validation PSNR.
    best_psnr_db : float
    best_step : int
    since_best : int
        Validations since.
    history : list of dict
        step, loss, data, lr, psnr_db of each validation.
    """

    best: Float64
    step: int = 0
    best_psnr_db: float = -np.inf
    best_step: int = 0
    since_best: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)


def descend(
    train: Sequence[FilteredBackProjection],
    validation: Sequence[FilteredBackProjection],
    coefficients: Coefficients,
    loss: Loss,
    schedule: Schedule,
    *,
    checkpoint: Path | None = None,
    fingerprint: str = "",
    resume: bool = False,
    advance: Callable[[Descent], None] = lambda _: None,
) -> Descent:
    """Descend, with a validation each time all series have been used, and a checkpoint after it.

    Parameters
    ----------
    train, validation : sequence of FilteredBackProjection
    coefficients : Coefficients
        Changed; at the end they are those of the last step.
    loss : Loss
    schedule : Schedule
    checkpoint : Path, optional
    fingerprint : str
        What a checkpoint to go on from must have been made with.
    resume : bool
        Go on from the checkpoint. The result is the same as without the interruption.
    advance : callable
        Called after each validation.

    Raises
    ------
    InputError
        The checkpoint is of another training, or the loss is no longer finite.
    """
    optimizer = torch.optim.AdamW(
        [each for each in coefficients.parameters() if each.requires_grad],
        lr=schedule.lr,
        weight_decay=schedule.weight_decay,
    )
    state = Descent(coefficients.values())
    if resume and checkpoint is not None:
        state = _load(checkpoint, fingerprint, coefficients, optimizer)
    losses: list[tuple[float, float]] = []
    while state.step < schedule.steps and state.since_best < schedule.patience:
        epoch, place = divmod(state.step, len(train))
        order = np.random.default_rng((schedule.seed, epoch)).permutation(len(train))
        for group in optimizer.param_groups:
            group["lr"] = schedule.lr_at(state.step)
        optimizer.zero_grad()
        value = backward(train[order[place]], coefficients(), loss)
        optimizer.step()
        losses.append((value.data, value.total))
        state.step += 1
        if not np.isfinite(value.total):
            raise InputError(
                f"the loss is {value.total} at step {state.step}: give a smaller --lr than "
                f"{schedule.lr:g}"
            )
        if state.step % len(train) == 0 or state.step == schedule.steps:
            _validate(state, validation, coefficients.values(), losses, schedule)
            losses.clear()
            if checkpoint is not None:
                _save(checkpoint, fingerprint, coefficients, optimizer, state)
            advance(state)
    return state


def _validate(
    state: Descent,
    validation: Sequence[FilteredBackProjection],
    values: Float64,
    losses: Sequence[tuple[float, float]],
    schedule: Schedule,
) -> None:
    psnr = mean_psnr_db(validation, values)
    data, total = np.mean(losses, axis=0)
    state.since_best += 1
    if psnr > state.best_psnr_db:
        state.best, state.best_psnr_db = values, psnr
        state.best_step, state.since_best = state.step, 0
    state.history.append(
        {
            "step": state.step,
            "loss": float(total),
            "data": float(data),
            "lr": schedule.lr_at(state.step - 1),
            "psnr_db": psnr,
        }
    )


def _save(
    path: Path,
    fingerprint: str,
    coefficients: Coefficients,
    optimizer: torch.optim.Optimizer,
    state: Descent,
) -> None:
    from safetensors.torch import save

    tensors = {f"value.{name}": each.detach() for name, each in coefficients.named_parameters()}
    for index, moments in optimizer.state_dict()["state"].items():
        tensors |= {f"moment.{index}.{name}": each for name, each in moments.items()}
    tensors["best"] = torch.from_numpy(state.best)
    kept = {name: value for name, value in vars(state).items() if name != "best"}
    text = json.dumps({"fingerprint": fingerprint, "state": kept})
    write_bytes_atomic(path, save(tensors, {"tomofilt": text}), replace=True)


def _load(
    path: Path, fingerprint: str, coefficients: Coefficients, optimizer: torch.optim.Optimizer
) -> Descent:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            facts = json.loads((file.metadata() or {})["tomofilt"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise InputError(f"{path}: there is no checkpoint to resume from") from None
    except (SafetensorError, KeyError, ValueError, OSError) as error:
        raise InputError(f"{path} is no checkpoint, or damaged ({error}): start again") from error
    if facts.get("fingerprint") != fingerprint:
        raise InputError(
            f"{path} is the checkpoint of a training with other options or data: give the same "
            "ones, or --overwrite to start again"
        )
    with torch.no_grad():
        for name, each in coefficients.named_parameters():
            each.copy_(tensors[f"value.{name}"])
    moments: dict[int, dict[str, Tensor]] = {}
    for name, each in tensors.items():
        if name.startswith("moment."):
            _, index, kind = name.split(".")
            moments.setdefault(int(index), {})[kind] = each
    optimizer.load_state_dict(optimizer.state_dict() | {"state": moments})
    return Descent(best=tensors["best"].numpy(), **facts["state"])
