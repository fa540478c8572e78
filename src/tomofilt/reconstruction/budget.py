"""How large the slabs of a tomogram may be, so that its reconstruction fits into memory."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from tomofilt.errors import ResourceError
from tomofilt.util.memory import memory_limit

if TYPE_CHECKING:
    from tomofilt.reconstruction.plan import Plan

__all__ = ["SLAB_ROWS", "allowed_memory", "fit_slabs", "image_bytes"]

#: Rows of voxels that are filtered and back-projected together.
SLAB_ROWS = 128
#: What a process with Python, numba and scipy loaded occupies, measured, in bytes.
BASE_BYTES = 190_000_000
#: Part of a limit of the system's that is used: what exceeds it ends the process.
LIMIT_SHARE = 0.9
#: What the coarse bands of a tomogram take: of its images, of its voxels, of a slab's voxels.
BAND_IMAGES, BAND_VOXELS, BAND_LINES = 1.5, 0.32, 0.75


def allowed_memory(asked_bytes: int | None, default_bytes: int) -> tuple[int, str | None]:
    """Memory that the work has to fit into, and who says so; None if nobody does.

    What the user asked for, or else the default, unless the system allows less.
    """
    allowed, who = asked_bytes or default_bytes, "--max-memory" if asked_bytes else None
    limit = memory_limit()
    if limit is not None and LIMIT_SHARE * limit[0] < allowed:
        return int(LIMIT_SHARE * limit[0]), limit[1]
    return allowed, who


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


def fit_slabs(plan: Plan) -> Plan:
    """Choose how many planes of a slab to hold so that the work fits into memory.

    Raises
    ------
    ResourceError
        If it does not fit into ``settings.max_memory_bytes``.
    """
    allowed, who = plan.allowed
    nz, ny, nx = plan.grid.shape
    views, width = len(plan.series.views), plan.aligned.shape[1]
    samples = width * (1 if plan.interpolation == "linear" else 2)
    if plan.interpolation == "imod":
        samples = int(samples / np.cos(np.radians(min(80, np.abs(plan.slices.tilt_deg).max()))))
    rows = SLAB_ROWS + 2 * plan.halo
    scratch = plan.threads * rows * width * 40
    if plan.filter.sirt_iterations:
        from tomofilt.projectors.sirt import block_bytes

        upright = plan.upright or plan
        scratch += block_bytes(upright.slices, upright.aligned, upright.grid)
    if plan.direct:
        stack = views * int(np.prod(plan.series.images.shape[1:])) * 4 * 2
        fixed = BASE_BYTES + stack + scratch
    else:
        fixed = BASE_BYTES + views * (samples + 4) * rows * 4 + scratch
    if plan.settings.denoise:
        # bands on coarse grids: images, voxels, and those of a slab, as fine as the slab along x
        fixed += int(4 * (BAND_IMAGES * views * ny * width + BAND_VOXELS * nz * ny * nx))
        fixed += int(4 * (BAND_LINES + 2) * nz * SLAB_ROWS * nx)
    if plan.upright is not None:
        unz, uny, _ = plan.upright.grid.shape
        overlap = 2 * SLAB_ROWS + int(2 * abs(plan.xtilt_rad) * nz)
        fixed += unz * (2 * min(overlap, uny) + SLAB_ROWS) * nx * 4
    plane = 2 * SLAB_ROWS * nx * 4
    # images are brought onto the tilt axis before there are slabs, by fewer threads if need be
    (raw_ny, raw_nx), (aligned_ny, aligned_nx) = plan.series.images.shape[1:], plan.aligned.shape
    image = image_bytes(
        raw_ny * raw_nx,
        aligned_ny * aligned_nx,
        float((plan.series.images.pixel_angst / np.array(plan.aligned.pixel_angst)).prod()),
        filtered=plan.filter.two_dimensional or plan.corrections.ctf != "none",
    )
    least = max(fixed + plane * min(nz, 8), BASE_BYTES + image)
    if who is not None and least > allowed:
        raise ResourceError(
            f"{plan.series.name} needs at least {least / 1e6:.0f} MB of memory, more than the "
            f"{allowed / 1e6:.0f} MB of {who}: allow more, or use a larger --bin"
        )
    planes = int(np.clip((allowed - fixed) // plane, min(nz, 8), nz))
    threads = plan.threads
    if who is not None:
        threads = int(np.clip((allowed - BASE_BYTES) // image, 1, threads))
    slabs, images = fixed + plane * planes, BASE_BYTES + threads * image
    return replace(
        plan,
        planes=planes,
        memory_bytes=max(slabs, images),
        # a default bounds the slabs alone: images may have a thread for each core
        room_bytes=max(0, allowed - (slabs if who is None else max(slabs, images))),
        image_threads=threads,
    )
