"""Denoising on a real GPU against the CPU, on noise."""

import numpy as np

from tomofilt.denoise.bands import BANDS, CoarseBands
from tomofilt.denoise.device import DeviceHead
from tomofilt.denoise.gates import gate_weights
from tomofilt.denoise.head import GATED, INPUTS, UNITS, Head
from tomofilt.denoise.kernel import apply_head


def test_equals_the_cpu(gpu):
    rng = np.random.default_rng(0)

    def noise(*shape):
        return rng.normal(size=shape).astype(np.float32)

    coarse = [
        CoarseBands(noise(4, 13, 28, 29), 4.0, (-4.0, -8.0, -4.0)),
        CoarseBands(noise(2, 23, 54, 55), 2.0, (-2.0, -6.0, -2.0)),
    ]
    head = Head(
        hidden=noise(INPUTS, UNITS),
        threshold=noise(UNITS) / 10,
        gate=noise(GATED, UNITS) / 4,
        linear=noise(GATED),
        limit=np.full(BANDS, 2.0),
        deviation=np.ones(BANDS),
    )
    block = noise(40, 90, 97)
    expected = apply_head(head, coarse, gate_weights(head, coarse), block, 0, 0, 1)
    found = DeviceHead(head, coarse, gpu).apply(block, 0, 0)
    assert np.abs(found - expected).max() <= 2e-5 * np.abs(expected - block).max()
