"""IMOD's cosine stretch: rows sampled again, linearly, at positions of equal spacing."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tomofilt.util.jit import kernel

__all__ = ["stretch"]


@kernel
def stretch(
    lines: NDArray[np.float32],
    left: NDArray[np.int32],
    fraction: NDArray[np.float32],
    out: NDArray[np.float32],
) -> None:
    """Sample rows (n, pixels) at ``left + fraction`` into ``out`` (n, samples)."""
    last = lines.shape[1] - 1
    for row in range(len(lines)):
        line, samples = lines[row], out[row]
        for sample in range(len(left)):
            # unsigned: no index counts from the end
            first, second = np.uint32(left[sample]), np.uint32(min(left[sample] + 1, last))
            part = fraction[sample]
            samples[sample] = line[first] * (1 - part) + line[second] * part
