"""How large the slabs of a tomogram may be, so that its reconstruction fits into memory."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from tomofilt.errors import ResourceError

if TYPE_CHECKING:
    from tomofilt.reconstruction.plan import Plan

__all__ = ["SLAB_ROWS", "fit_slabs"]

#: Rows of voxels that are filtered and back-projected together.
SLAB_ROWS = 128
#: What a process with Python, numba and scipy loaded occupies, measured, in bytes.
BASE_BYTES = 260_000_000
#: What the coarse bands of a tomogram take: of its images, of its voxels, of a slab's voxels.
BAND_IMAGES, BAND_VOXELS, BAND_LINES = 1.5, 0.32, 0.75


def fit_slabs(plan: Plan) -> Plan:
    """Choose how many planes of a slab to hold so that the work fits into memory.

    Raises
    ------
    ResourceError
        If it does not fit into ``settings.max_memory_bytes``.
    """
    allowed = plan.allowed_bytes
    nz, ny, nx = plan.grid.shape
    views, width = len(plan.series.views), plan.aligned.shape[1]
    samples = width * (1 if plan.interpolation == "linear" else 2)
    if plan.interpolation == "imod":
        samples = int(samples / np.cos(np.radians(min(80, np.abs(plan.slices.tilt_deg).max()))))
    rows = SLAB_ROWS + 2 * plan.halo
    scratch = plan.threads * rows * width * 40
    if plan.filter.two_dimensional:
        scratch += views * int(1.5 * ny) * int(0.75 * width + 1) * 4
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
    least = fixed + plane * min(nz, 8)
    if plan.settings.max_memory_bytes and least > allowed:
        raise ResourceError(
            f"{plan.series.name} needs at least {least / 1e6:.0f} MB of memory, more than the "
            f"{allowed / 1e6:.0f} MB of --max-memory: allow more, or use a larger --bin"
        )
    planes = int(np.clip((allowed - fixed) // plane, min(nz, 8), nz))
    return replace(plan, planes=planes, memory_bytes=fixed + plane * planes)
