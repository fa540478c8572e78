"""Which projector: the CPU's, or ASTRA's on a GPU that has been seen to work.

No GPU is trusted with a tomogram before it has reproduced a small back-projection.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from tomofilt.errors import InputError, ResourceError
from tomofilt.projectors.gpu import no_gpu, problem
from tomofilt.series.geometry import ImageGrid, SliceGeometry, TiltGeometry, VolumeGrid

if TYPE_CHECKING:
    from tomofilt.projectors.protocol import Projector

__all__ = ["Choice", "choose", "device_text", "projector", "unusable"]

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
            raise no_gpu(gpu, reason)
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
