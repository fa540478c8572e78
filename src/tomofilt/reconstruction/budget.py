"""How large the slabs of a tomogram may be, so that its reconstruction fits into memory."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tomofilt.errors import ResourceError

__all__ = ["SLAB_ROWS", "Room", "Work", "fit"]

#: Rows of voxels that are filtered and back-projected together.
SLAB_ROWS = 128
#: What the work is fitted into unless the user allows something else.
DEFAULT_BYTES = 1_400_000_000
#: What a process with Python, numba and scipy loaded occupies, measured, in bytes.
BASE_BYTES = 260_000_000


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
    more_bytes : int
        What the method needs besides, all in all.
    """

    views: int
    volume_shape: tuple[int, int, int]
    width_px: int
    samples_px: int
    halo: int
    threads: int
    more_bytes: int = 0


@dataclass(frozen=True)
class Room:
    """Memory that a reconstruction may take and how it uses it.

    Attributes
    ----------
    allowed_bytes : int
        For the whole process.
    used_bytes : int
        By the slabs and what they are made from, without aligned images.
    planes : int
        Planes of a slab that are held at a time.
    """

    allowed_bytes: int = DEFAULT_BYTES
    used_bytes: int = 0
    planes: int = 1

    @property
    def spare_bytes(self) -> int:
        """What is left for aligned images."""
        return max(0, self.allowed_bytes - self.used_bytes)


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
        If the work does not fit into ``limit_bytes``.
    """
    allowed = limit_bytes or DEFAULT_BYTES
    nz, _, nx = work.volume_shape
    rows = SLAB_ROWS + 2 * work.halo
    fixed = BASE_BYTES + work.views * (work.samples_px + 4) * rows * 4
    fixed += work.threads * rows * work.width_px * 40 + work.more_bytes
    plane = 2 * SLAB_ROWS * nx * 4
    least = fixed + plane * min(nz, 8)
    if limit_bytes and least > limit_bytes:
        raise ResourceError(
            f"{name} needs at least {least / 1e6:.0f} MB of memory, more than the "
            f"{limit_bytes / 1e6:.0f} MB of --max-memory: allow more, or use a larger --bin"
        )
    planes = int(np.clip((allowed - fixed) // plane, min(nz, 8), nz))
    return Room(allowed, fixed + plane * planes, planes)
