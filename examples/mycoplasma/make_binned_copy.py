"""Bin a tilt series and its IMOD alignment: how the files in this folder were made.

Usage: python make_binned_copy.py SOURCE_FOLDER
"""

import sys
from pathlib import Path

import mrcfile
import numpy as np

FACTOR = 4
COUNTS = 200  # int16 steps per unit of the float32 original: the noise spans hundreds of them


def fourier_bin(image: np.ndarray, factor: int) -> np.ndarray:
    """Lower the sampling of an image by a whole factor, without aliasing.

    Rows and columns that do not fill a last pixel are dropped from both sides alike, and the new
    pixels are centred on blocks of ``factor`` old ones. So the image centre, (n - 1) / 2 on each
    axis, stays the same point of the specimen when every axis loses an even number of pixels.

    Parameters
    ----------
    image : (y, x)
    factor : int

    Returns
    -------
    (y // factor, x // factor) array
    """
    size = [n // factor for n in image.shape]
    start = [(n - factor * m) // 2 for n, m in zip(image.shape, size, strict=True)]
    image = image[start[0] :, start[1] :][: factor * size[0], : factor * size[1]]
    spectrum = np.fft.fft2(image)
    for axis, m in enumerate(size):
        frequency = np.fft.fftfreq(m, 1 / m)  # whole cycles per image
        kept = np.take(spectrum, frequency.astype(int), axis)
        # Pixel j becomes the sample at factor * j + (factor - 1) / 2, the middle of its block.
        phase = np.exp(2j * np.pi * frequency * (factor - 1) / 2 / (factor * m))
        spectrum = kept * (phase[:, None] if axis == 0 else phase)
    return np.fft.ifft2(spectrum).real / factor**2


def main(source: Path, here: Path) -> None:
    """Write 00254.mrc and 00254.xf into this folder."""
    with mrcfile.mmap(source / "00254.mrc", permissive=True) as original:
        binned = np.array([fourier_bin(image, FACTOR) for image in original.data])
        pixel_angst = float(original.voxel_size.x) * FACTOR
    with mrcfile.new(here / "00254.mrc", overwrite=True) as copy:
        copy.set_data(np.rint(binned * COUNTS).astype(np.int16))
        copy.voxel_size = pixel_angst
        copy.header.nlabl = 1
        copy.header.label[0] = f"EMPIAR-10499 series 00254, Fourier-binned by {FACTOR}"

    # The centres stay (see fourier_bin), so the matrix stays and the shift is in larger pixels.
    transforms = np.loadtxt(source / "00254.xf")
    transforms[:, 4:] /= FACTOR
    np.savetxt(here / "00254.xf", transforms, fmt=["%12.7f"] * 4 + ["%12.3f"] * 2, delimiter="")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(__file__).parent)
