"""How large the slabs of a tomogram may be, so that its reconstruction fits into memory."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tomofilt.errors import ResourceError
from tomofilt.util.memory import memory_limit

__all__ = ["SLAB_ROWS", "Room", "Work", "allowed_memory", "fit", "image_bytes"]

#: Rows of voxels that are filtered and back-projected together.
SLAB_ROWS = 128
#: What the work is fitted into unless the user allows something else.
DEFAULT_BYTES = 1_400_000_000
#: What a process with Python, numba and scipy loaded occupies, measured, in bytes.
BASE_BYTES = 190_000_000
#: Part of a limit of the system's that is used: what exceeds it ends the process.
LIMIT_SHARE = 0.9


@dataclass(frozen=True)
class Work:
    """The sizes that decide how much memory a reconstruction takes.

    Parameters
    ----------
    views : int
    volume_shape : (z, y, x)
    width_px : int
        Of the images on the tilt axis.
    samples_px : int
        Samples of a filtered row of the images.
    halo : int
        Rows that x tilt needs beside a slab.
    threads : int
    image_bytes : int
        What a thread takes that brings an image onto the tilt axis: :func:`image_bytes`.
    more_bytes : int
        What the method needs besides, all in all.
    """

    views: int
    volume_shape: tuple[int, int, int]
    width_px: int
    samples_px: int
    halo: int
    threads: int
    image_bytes: int = 0
    more_bytes: int = 0


@dataclass(frozen=True)
class Room:
    """Memory that a reconstruction may take and how it uses it.

    Attributes
    ----------
    allowed_bytes : int
        For the whole process.
    used_bytes : int
        By the slabs and what they are made from, without aligned images; or before, by the images
        that are being aligned, if that is more.
    planes : int
        Planes of a slab that are held at a time.
    image_threads : int
        Threads that may each hold an image as it was read.
    spare_bytes : int
        What is left for aligned images.
    """

    allowed_bytes: int = DEFAULT_BYTES
    used_bytes: int = 0
    planes: int = 1
    image_threads: int = 1
    spare_bytes: int = DEFAULT_BYTES


def image_bytes(raw_px: int, aligned_px: int, pixels_kept: float, *, filtered: bool) -> int:
    """What one thread takes that brings an image onto the tilt axis, measured.

    Parameters
    ----------
    raw_px, aligned_px : int
        Pixels of the image as it is read, and on the tilt axis.
    pixels_kept : float
        Part of the pixels that binning leaves.
    filtered : bool
        Whether it is filtered as a whole afterwards, padded by half on either axis.
    """
    resampling = int(raw_px * (15 + 10 * min(1.0, pixels_kept)))
    return max(resampling, 25 * aligned_px) if filtered else resampling


def allowed_memory(asked_bytes: int | None) -> tuple[int, str | None]:
    """Memory that the work has to fit into, and who says so; None if nobody does.

    What the user asked for, or else the default, unless the system allows less.
    """
    allowed, who = asked_bytes or DEFAULT_BYTES, "--max-memory" if asked_bytes else None
    limit = memory_limit()
    if limit is not None and LIMIT_SHARE * limit[0] < allowed:
        return int(LIMIT_SHARE * limit[0]), limit[1]
    return allowed, who


def fit(work: Work, limit_bytes: int | None, name: str) -> Room:
    """Choose how many planes of a slab to hold so that the work fits into memory.

    Parameters
    ----------
    work : Work
    limit_bytes : int, optional
        What the user allows.
    name : str
        Of the series, for messages.

    Raises
    ------
    ResourceError
        If the work does not fit into ``limit_bytes``, or into what the system allows.
    """
    allowed, who = allowed_memory(limit_bytes)
    nz, _, nx = work.volume_shape
    rows = SLAB_ROWS + 2 * work.halo
    fixed = BASE_BYTES + work.views * (work.samples_px + 4) * rows * 4
    fixed += work.threads * rows * work.width_px * 40 + work.more_bytes
    plane = 2 * SLAB_ROWS * nx * 4
    # images are brought onto the tilt axis before there are slabs, by fewer threads if need be
    least = max(fixed + plane * min(nz, 8), BASE_BYTES + work.image_bytes)
    if who is not None and least > allowed:
        raise ResourceError(
            f"{name} needs at least {least / 1e6:.0f} MB of memory, more than the "
            f"{allowed / 1e6:.0f} MB of {who}: allow more, or use a larger --bin"
        )
    planes = int(np.clip((allowed - fixed) // plane, min(nz, 8), nz))
    threads = work.threads
    if who is not None:
        threads = int(np.clip((allowed - BASE_BYTES) // max(1, work.image_bytes), 1, threads))
    slabs, images = fixed + plane * planes, BASE_BYTES + threads * work.image_bytes
    used = max(slabs, images)
    # the default bounds the slabs alone: images may have a thread for each core
    spare = allowed - (slabs if who is None else used)
    return Room(allowed, used, planes, threads, max(0, spare))
