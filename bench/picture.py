"""One slice with several filters, all in one grey range; by default the picture of the first page.

Usage: python bench/picture.py FOLDER PICTURE.png [Z [FILTER ...]]

FOLDER is an IMOD folder; the pictures were made from EMPIAR-10499 series 00254 at 10 A. By default,
from left to right: IMOD's weighting as the tilt.com has it, a SIRT-like filter, tomofilt's default.
IMOD's densities have a scale of their own: they are brought to the last one's by the factor that
makes large features (beyond 400 A) agree best. Then one grey range serves all: what 98 % of the
voxels have, IMOD's left out.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from scipy.ndimage import gaussian_filter

import tomofilt

FILTERS = ("imod", "sirt-like:10", "wiener-exact:view")
HEIGHT, WIDTH, MARGIN = 400, 300, 8  # pixels


def slices(folder: Path, z: int, filters: Sequence[str]) -> tuple[list[np.ndarray], float]:
    series = tomofilt.open(folder)
    made = [tomofilt.tomogram(series, tomofilt.Settings(filter=name))[z] for name in filters]
    return made, series.grid.voxel_angst


def on_one_scale(image: np.ndarray, other: np.ndarray, sigma_px: float) -> np.ndarray:
    smooth, target = (gaussian_filter(a, sigma_px) for a in (image, other))
    smooth, target = smooth - smooth.mean(), target - target.mean()
    factor = (smooth * target).sum() / (smooth**2).sum()
    return (image - image.mean()) * factor + other.mean()


def main(folder: Path, picture: Path, z: int, filters: Sequence[str]) -> None:
    made, voxel_angst = slices(folder, z, filters)
    tomofilts = [image for image, name in zip(made, filters, strict=True) if name != "imod"]
    low, high = np.percentile(np.stack(tomofilts), [1, 99])
    for column, name in enumerate(filters):
        if name == "imod":
            made[column] = on_one_scale(made[column], made[-1], 200 / voxel_angst)
    sheet = Image.new("L", (len(made) * (WIDTH + MARGIN) - MARGIN, HEIGHT), 255)
    for column, image in enumerate(made):
        grey = np.clip((image - low) / (high - low), 0, 1) * 255
        top, left = (grey.shape[0] - HEIGHT) // 2, (grey.shape[1] - WIDTH) // 2 - 20
        crop = grey[top : top + HEIGHT, left : left + WIDTH][::-1]  # y upwards, as in 3dmod
        sheet.paste(Image.fromarray(crop.astype(np.uint8)), (column * (WIDTH + MARGIN), 0))
    bar = round(1000 / voxel_angst)
    ImageDraw.Draw(sheet).rectangle((12, HEIGHT - 18, 12 + bar, HEIGHT - 13), fill=255)  # 100 nm
    sheet.quantize(48).save(picture, optimize=True)


if __name__ == "__main__":
    plane = int(sys.argv[3]) if len(sys.argv) > 3 else 90
    main(Path(sys.argv[1]), Path(sys.argv[2]), plane, sys.argv[4:] or FILTERS)
