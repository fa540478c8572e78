"""The picture of the first page: one slice with three filters, all in one grey range.

Usage: python bench/picture.py FOLDER PICTURE.png [Z]

FOLDER is an IMOD folder; the picture was made from EMPIAR-10499 series 00254 at 10 A. From left to
right: IMOD's weighting as the tilt.com has it, a SIRT-like filter, tomofilt's default. IMOD's
densities have a scale of their own: they are brought to tomofilt's by the factor that makes large
features (beyond 400 A) agree best. Then one grey range serves all
three: what 98 % of the voxels of the last two have.
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from scipy.ndimage import gaussian_filter

import tomofilt

FILTERS = ("imod", "sirt-like:10", "wiener-exact:view")
HEIGHT, WIDTH, MARGIN = 400, 300, 8  # pixels


def slices(folder: Path, z: int) -> tuple[list[np.ndarray], float]:
    series = tomofilt.open(folder)
    made = [tomofilt.tomogram(series, tomofilt.Settings(filter=name))[z] for name in FILTERS]
    return made, series.grid.voxel_angst


def on_one_scale(image: np.ndarray, other: np.ndarray, sigma_px: float) -> np.ndarray:
    smooth, target = (gaussian_filter(a, sigma_px) for a in (image, other))
    smooth, target = smooth - smooth.mean(), target - target.mean()
    factor = (smooth * target).sum() / (smooth**2).sum()
    return (image - image.mean()) * factor + other.mean()


def main(folder: Path, picture: Path, z: int) -> None:
    made, voxel_angst = slices(folder, z)
    made[0] = on_one_scale(made[0], made[2], 200 / voxel_angst)
    low, high = np.percentile(np.stack(made[1:]), [1, 99])
    sheet = Image.new("L", (3 * WIDTH + 2 * MARGIN, HEIGHT), 255)
    for column, image in enumerate(made):
        grey = np.clip((image - low) / (high - low), 0, 1) * 255
        top, left = (grey.shape[0] - HEIGHT) // 2, (grey.shape[1] - WIDTH) // 2 - 20
        crop = grey[top : top + HEIGHT, left : left + WIDTH][::-1]  # y upwards, as in 3dmod
        sheet.paste(Image.fromarray(crop.astype(np.uint8)), (column * (WIDTH + MARGIN), 0))
    bar = round(1000 / voxel_angst)
    ImageDraw.Draw(sheet).rectangle((12, HEIGHT - 18, 12 + bar, HEIGHT - 13), fill=255)  # 100 nm
    sheet.quantize(48).save(picture, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 90)
