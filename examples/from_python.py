"""A filter of your own, in a few lines: images, filter, back-projection, an MRC file.

Usage: python from_python.py [REC.mrc]
"""

import sys
from pathlib import Path

import torch

import tomofilt

EXAMPLE = Path(__file__).parent / "mycoplasma"


def main(result: str) -> None:
    """Reconstruct the example with a ramp that ends softly."""
    series = tomofilt.open(EXAMPLE)
    stack = tomofilt.aligned(series, tomofilt.Settings(bin=2))
    images = torch.from_numpy(stack.numpy())  # (view, y, x), the tilt axis on y
    operator = tomofilt.Operator.of(stack.frame)
    k = torch.fft.rfftfreq(images.shape[-1])  # cycles per pixel across the tilt axis
    own_filter = k * torch.exp(-((k / 0.2) ** 2))
    filtered = torch.fft.irfft(torch.fft.rfft(images) * own_filter, n=images.shape[-1])
    tomofilt.write_volume(result, operator.T(filtered), stack.pixel_angst, replace=True)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "rec.mrc")
