"""What computes: the CPU, or a GPU that has been seen to work, by Triton or by ASTRA.

No GPU is trusted with a tomogram before it has reproduced a small back-projection. Triton is the
usual engine: it is faster and more exact (docs/gpu.md), and runs on NVIDIA's and AMD's. ASTRA takes
its place where it does not work.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from textwrap import shorten
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tomofilt.errors import InputError, ResourceError
from tomofilt.projectors.gpu import ENGINES, Engine, no_gpu, problem, triton_problem

if TYPE_CHECKING:
    from tomofilt.projectors.device import DeviceProjector

__all__ = ["GPU_START_S", "Choice", "choose", "device_text", "gpu_projector", "parity", "unusable"]

#: Until torch is loaded, and a GPU is started and seen to work. What takes the CPU no longer is
#: left to it.
GPU_START_S = 5.0
#: Largest relative rms of a back-projection of noise. ASTRA's textures weigh pixels with 8 bits,
#: which gives 4.5e-3; a wrong axis, sign or centre gives more than 0.3.
_TOLERANCES = {"triton": 1e-5, "astra": 1e-2}


@dataclass(frozen=True)
class Choice:
    """What computes.

    Attributes
    ----------
    gpus : tuple of str
        torch's names of the GPUs, ``"cuda:0"`` say; empty for the CPU.
    reason : str
        Why no GPU, or why ASTRA, where the usual choice did not work.
    engine : "triton" or "astra"
        What back-projects on the GPUs.
    """

    gpus: tuple[str, ...] = ()
    reason: str = ""
    engine: Engine = "triton"


def device_text(device: str = "auto", gpu: str | None = None) -> str:
    """One spelling of ``--device auto|cpu|cuda[:N]`` and ``--gpu N,N``; looks at no hardware.

    Returns
    -------
    ``"auto"``, ``"cpu"`` or ``"cuda:N,N"``

    Raises
    ------
    InputError
        If one of them is no device, or the two contradict each other.
    """
    match = re.fullmatch(r"(auto|cpu)|cuda(?::(\d+(?:,\d+)*))?", device)
    if match is None:
        raise InputError(f"--device {device} is unknown: give auto, cpu or cuda[:N]")
    if gpu is None:
        return match[1] or f"cuda:{match[2] or 0}"
    if not re.fullmatch(r"\d+(,\d+)*", gpu):
        raise InputError(f"--gpu {gpu} is no list of GPUs: give their numbers, as in --gpu 0,1")
    if match[1] == "cpu" or match[2] not in (None, gpu):
        raise InputError(f"--device {device} and --gpu {gpu} contradict each other: give one")
    return f"cuda:{gpu}"


def choose(device: str = "auto", projector: str = "fast") -> Choice:
    """Settle what computes.

    Parameters
    ----------
    device : str
        As :func:`device_text` returns it. ``"auto"`` takes the first GPU if it works, otherwise
        the CPU, with the reason.
    projector : str
        ``"triton"`` or ``"astra"`` asks for that engine and no other; anything else takes the
        first that works.

    Raises
    ------
    InputError
        If an engine is asked for on the CPU.
    ResourceError
        If a GPU that was asked for does not work.
    """
    asked = [engine for engine in ENGINES if engine == projector]
    if device == "cpu":
        if asked:
            raise InputError(f"--projector {projector} is for GPUs: leave it out, or --device cpu")
        return Choice()
    numbers = "0" if device == "auto" else device.removeprefix("cuda:")
    gpus = tuple(dict.fromkeys(int(number) for number in numbers.split(",")))
    reasons: list[str] = []
    for engine in asked or ENGINES:
        found = (unusable(gpu, engine) for gpu in gpus)
        reason = next((each for each in found if each is not None), None)
        if reason is None:
            return Choice(tuple(f"cuda:{gpu}" for gpu in gpus), "; ".join(reasons), engine)
        if reason not in reasons:  # what no engine can do without is said once
            reasons.append(reason)
    if device == "auto":
        return Choice((), "; ".join(reasons))
    raise no_gpu(",".join(map(str, gpus)), "; ".join(reasons))


def gpu_projector(
    engine: Engine,
    table: NDArray[np.float64],
    image_shape: tuple[int, int, int],
    volume_shape: tuple[int, int, int],
    device: str,
) -> DeviceProjector:
    """Make the projector of a slice geometry on a GPU.

    Parameters
    ----------
    engine : "triton" or "astra"
    table : (view, 5)
        From :func:`tomofilt.projectors.cpu.slice_table`.
    image_shape : (view, rows, samples)
    volume_shape : (z, y, x)
    device : str
        torch's name of the GPU.

    Raises
    ------
    InputError
        If shapes do not go together, or an image is too large for ASTRA.
    """
    if engine == "triton":
        from tomofilt.projectors.triton_slice import TritonProjector

        return TritonProjector(table, image_shape, volume_shape, device)
    from tomofilt.projectors.astra import AstraProjector
    from tomofilt.projectors.vectors import table_maps

    return AstraProjector(table_maps(table), image_shape, volume_shape, device)


@cache
def unusable(gpu: int, engine: Engine) -> str | None:
    """As :func:`problem`, and whether the GPU reproduces a small back-projection of noise.

    Whatever goes wrong is a reason, be it an error that torch, Triton or ASTRA raise.
    """
    where = f"{ENGINES[engine]} on GPU {gpu}"
    try:
        reason = problem(gpu) if engine == "astra" else triton_problem(gpu)
        if reason is not None:
            return reason
        error = parity(engine, f"cuda:{gpu}")
    except ResourceError as failure:
        return f"{where}: {failure}"
    except Exception as failure:
        words = str(failure).strip().partition("\n")[0]
        return f"{where}: {type(failure).__name__}: {shorten(words, 150, placeholder=' ...')}"
    if not error < _TOLERANCES[engine]:
        return (
            f"{where} gives back-projections that are off by {error:.1%} of their rms: "
            "please report this, with the output of `tomofilt doctor`"
        )
    return None


def parity(engine: Engine, device: str) -> float:
    """Relative rms by which a small back-projection on a GPU differs from the exact one.

    Views differ in tilt, magnification, x tilt and shift, so that a wrong axis, sign, centre or
    scale shows.
    """
    import torch

    from tomofilt.projectors.sampling import sample

    rng = np.random.default_rng(0)
    tilt, scale = np.linspace(-1.1, 0.9, 7), np.linspace(0.8, 1.3, 7)
    table = np.stack(
        [
            scale * np.cos(tilt),
            scale * np.sin(tilt),
            15 - scale * (8 * np.cos(tilt) + 5 * np.sin(tilt)) + rng.uniform(-2, 2, 7),
            np.linspace(-0.1, 0.08, 7),
            rng.uniform(-2, 2, 7),
        ],
        axis=1,
    )
    images = torch.from_numpy(rng.normal(size=(7, 26, 31)).astype(np.float32))
    projector = gpu_projector(engine, table, (7, 26, 31), (11, 24, 17), device)
    expected = sample(images.double(), projector.maps, projector.volume_shape)
    difference = projector.adjoint(images).double() - expected
    return float(difference.norm() / expected.norm())
