"""Which projector: the CPU's, or ASTRA's on a GPU that has been seen to work.

ASTRA's 3-D operations do not raise where there is no GPU: they kill the process (SIGFPE). So
nothing calls them before :func:`problem` has found driver, torch, ASTRA and GPU in place, and no
GPU is trusted with a tomogram before it has reproduced a small back-projection.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from tomofilt.errors import InputError, ResourceError
from tomofilt.geometry import ImageGrid, SliceGeometry, TiltGeometry, VolumeGrid

if TYPE_CHECKING:
    from tomofilt.projectors.protocol import Projector

__all__ = ["Choice", "choose", "device_text", "problem", "projector", "require", "unusable"]

#: One of these exists wherever an NVIDIA driver is loaded: Linux and its containers, and WSL 2.
DRIVER_FILES = (Path("/dev/nvidiactl"), Path("/dev/dxg"))
#: Largest relative rms of a back-projection of noise; textures, with 8 bits of fraction, give 1e-3.
_TOLERANCE = 5e-3


@dataclass(frozen=True)
class Choice:
    """What computes.

    Attributes
    ----------
    gpus : tuple of str
        torch's names of the GPUs, ``"cuda:0"`` say; empty for the CPU.
    reason : str
        Why no GPU, when one would have been taken.
    """

    gpus: tuple[str, ...] = ()
    reason: str = ""


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


def choose(device: str = "auto") -> Choice:
    """Settle what computes.

    Parameters
    ----------
    device : str
        As :func:`device_text` returns it. ``"auto"`` takes the first GPU if it works, otherwise
        the CPU, with the reason.

    Raises
    ------
    ResourceError
        If a GPU that was asked for does not work.
    """
    if device == "cpu":
        return Choice()
    if device == "auto":
        reason = unusable(0)
        return Choice(("cuda:0",)) if reason is None else Choice((), reason)
    numbers = dict.fromkeys(int(number) for number in device.removeprefix("cuda:").split(","))
    for gpu in numbers:
        reason = unusable(gpu)
        if reason is not None:
            raise _no_gpu(gpu, reason)
    return Choice(tuple(f"cuda:{gpu}" for gpu in numbers))


def projector(
    device: str,
    geometry: TiltGeometry | SliceGeometry,
    volume: VolumeGrid,
    images: ImageGrid,
    *,
    first_px: float = 0.0,
    step_px: float = 1.0,
    threads: int | None = None,
) -> Projector:
    """Make the projector of a geometry on a device.

    Parameters
    ----------
    device : str
        See :func:`choose`; of several GPUs, the first.
    geometry : TiltGeometry or SliceGeometry
        Of the images as they are, or of images warped onto the tilt axis.
    volume : VolumeGrid
    images : ImageGrid
        Of the images as handed over; ``shape`` counts samples, not pixels.
    first_px, step_px : float
        How rows are sampled, as in :func:`tomofilt.projectors.cpu.slice_table`.
    threads : int, optional
        Of the CPU's projectors.

    Raises
    ------
    InputError
        If the geometry and the grids do not go together.
    ResourceError
        If a GPU that was asked for does not work.
    """
    from tomofilt.projectors.cpu import SliceProjector, slice_table
    from tomofilt.projectors.direct import DirectProjector, index_maps
    from tomofilt.projectors.vectors import table_maps

    is_local = isinstance(geometry, TiltGeometry) and geometry.local is not None
    if is_local and device.startswith("cuda"):
        raise InputError("a local alignment is back-projected on the CPU only: use --device cpu")
    gpus = () if is_local else choose(device).gpus
    if isinstance(geometry, TiltGeometry):
        if not gpus:
            return DirectProjector(
                geometry, volume, images, first_px=first_px, step_px=step_px, threads=threads
            )
        maps = index_maps(geometry.image_from_volume, volume, images, first_px, step_px)
    else:
        table = slice_table(geometry, volume, images, first_px, step_px)
        if not gpus:
            shape = (len(table), *images.shape)
            return SliceProjector(table, shape, volume.shape, threads=threads)
        maps = table_maps(table)
    from tomofilt.projectors.astra import AstraProjector

    return AstraProjector(maps, (len(maps), *images.shape), volume.shape, gpus[0])


@cache
def problem(gpu: int = 0) -> str | None:
    """Why ASTRA cannot be called on a GPU here, and the mend; None when it can.

    Safe on every machine, and quick where there is no driver: torch is not even imported then.
    """
    if not any(path.exists() for path in DRIVER_FILES):
        return "no NVIDIA driver is loaded on this machine"
    return _torch_problem(gpu) or _astra_problem()


def _torch_problem(gpu: int) -> str | None:
    import torch

    built_for = torch.version.cuda
    if built_for is None:
        return f"torch {torch.__version__} is built without CUDA: install a CUDA build of it"
    if not torch.cuda.is_available():
        return (
            f"torch {torch.__version__} (CUDA {built_for}) finds no GPU: see whether `nvidia-smi` "
            "lists one, whether its driver is recent enough for that CUDA, and what "
            "CUDA_VISIBLE_DEVICES says"
        )
    count = torch.cuda.device_count()
    if gpu >= count:
        return f"there is no GPU {gpu}: they are numbered 0 to {count - 1} here"
    return None


def _astra_problem() -> str | None:
    try:
        import astra
    except ImportError as error:
        return f"ASTRA cannot be imported ({error}): pip install 'tomofilt[astra]'"
    if not hasattr(astra.projector3d, "direct_BP"):
        return f"astra-toolbox {astra.__version__} is too old: 2.5.0 or later is needed"
    if not astra.use_cuda():
        return (
            f"astra-toolbox {astra.__version__} finds no GPU that it can use, though torch does: "
            "install a build of it for this GPU and driver"
        )
    return None


@cache
def unusable(gpu: int = 0) -> str | None:
    """As :func:`problem`, and whether the GPU reproduces a small back-projection of noise."""
    reason = problem(gpu)
    if reason is not None:
        return reason
    from tomofilt.projectors.astra import parity

    try:
        error = parity(gpu)
    except ResourceError as failure:
        return str(failure)
    if not error < _TOLERANCE:
        return (
            f"GPU {gpu} gives back-projections that are off by {error:.1%} of their rms: please "
            "report this, with the output of `tomofilt doctor`"
        )
    return None


def require(gpu: int) -> None:
    """Raise ResourceError where ASTRA would kill the process."""
    reason = problem(gpu)
    if reason is not None:
        raise _no_gpu(gpu, reason)


def _no_gpu(gpu: int, reason: str) -> ResourceError:
    return ResourceError(f"GPU {gpu} cannot be used: {reason}; or compute with --device cpu")
