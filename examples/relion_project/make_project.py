"""Make a small RELION 5 project: aligned tilt series of known blobs, as its jobs would leave them.

Usage: make_project.py FOLDER [NUMBER_OF_SERIES]
"""

import sys
from pathlib import Path

import numpy as np

from tomofilt.io.mrc import MrcWriter
from tomofilt.io.star import Table, write_star
from tomofilt.series.geometry import TiltGeometry

PIXEL_ANGST = 8.0
SIZE_PX = (72, 64, 32)  # x, y, z of the specimen, unbinned
IMAGE_SHAPE = (72, 80)  # y, x
TILTS_DEG = np.arange(-60.0, 61.0, 5.0)
ZROT_DEG, XTILT_DEG = 4.0, 1.0
#: Centres (x, y, z) of the blobs in unbinned voxels, counted from 0.
BLOBS_PX = ((22.0, 15.0, 11.0), (48.0, 30.5, 19.0), (35.5, 47.25, 15.0))
SIGMA_PX = 2.2


def make_project(folder: Path, series: int = 2) -> Path:
    """Write the project; return its aligned_tilt_series.star."""
    rows = []
    for number in range(1, series + 1):
        name = f"TS_{number:02d}"
        star = Path("AlignTiltSeries/job005/tilt_series") / f"{name}.star"
        write(folder / star, {name: Table(tilt_series(folder, name, seed=number))})
        rows.append(
            {
                "rlnTomoName": name,
                "rlnTomoTiltSeriesStarFile": str(star),
                "rlnVoltage": "300.000000",
                "rlnSphericalAberration": "2.700000",
                "rlnAmplitudeContrast": "0.100000",
                "rlnMicrographOriginalPixelSize": f"{PIXEL_ANGST / 2:.6f}",
                "rlnTomoHand": "-1.000000",
                "rlnOpticsGroupName": "optics1",
                "rlnTomoTiltSeriesPixelSize": f"{PIXEL_ANGST:.6f}",
            }
        )
    path = folder / "AlignTiltSeries/job005/aligned_tilt_series.star"
    write(path, {"global": Table({key: [row[key] for row in rows] for key in rows[0]})})
    return path


def tilt_series(folder: Path, name: str, seed: int) -> dict[str, list[str]]:
    """Write the images of a series, full, even and odd; return the columns of its table."""
    rng = np.random.default_rng(seed)
    shifts_angst = rng.uniform(-3, 3, (len(TILTS_DEG), 2)).round(3) * PIXEL_ANGST
    # RELION counts from floor(n / 2), in the tomogram as in the images
    geometry = TiltGeometry.from_angles(TILTS_DEG, ZROT_DEG, XTILT_DEG, shifts_angst)
    about_centre = np.subtract(BLOBS_PX, [n // 2 for n in SIZE_PX]) * PIXEL_ANGST
    places_px = geometry.project(about_centre) / PIXEL_ANGST + [n // 2 for n in IMAGE_SHAPE[::-1]]
    y, x = np.indices(IMAGE_SHAPE)

    columns: dict[str, list[str]] = {}
    acquired = np.argsort(np.argsort(np.abs(TILTS_DEG), kind="stable"))
    for i, places in enumerate(places_px):
        signal = sum(np.exp(-((x - u) ** 2 + (y - v) ** 2) / (2 * SIGMA_PX**2)) for u, v in places)
        halves = [signal + rng.normal(1.0, 0.3, IMAGE_SHAPE) for _ in range(2)]
        row = {"rlnMicrographMovieName": f"frames/{name}_{i:03d}.tif"}
        images = (("", sum(halves)), ("Even", halves[0]), ("Odd", halves[1]))
        for (column, image), suffix in zip(images, ("", "_EVN", "_ODD"), strict=True):
            path = f"MotionCorr/job002/frames/{name}_{i:03d}{suffix}.mrc"
            write_image(folder / path, image)
            row[f"rlnMicrographName{column}"] = path
        row |= {
            "rlnTomoNominalStageTiltAngle": f"{TILTS_DEG[i]:.6f}",
            "rlnTomoNominalTiltAxisAngle": f"{ZROT_DEG:.6f}",
            "rlnMicrographPreExposure": f"{3.0 * acquired[i]:.6f}",
            "rlnDefocusU": "30000.000000",
            "rlnDefocusV": "29500.000000",
            "rlnDefocusAngle": "45.000000",
            "rlnTomoXTilt": f"{XTILT_DEG:.6f}",
            "rlnTomoYTilt": f"{TILTS_DEG[i]:.6f}",
            "rlnTomoZRot": f"{ZROT_DEG:.6f}",
            "rlnTomoXShiftAngst": f"{shifts_angst[i, 0]:.6f}",
            "rlnTomoYShiftAngst": f"{shifts_angst[i, 1]:.6f}",
        }
        for column, value in row.items():
            columns.setdefault(column, []).append(value)
    return columns


def write_image(path: Path, image: np.ndarray) -> None:
    """Write one motion-corrected image."""
    path.parent.mkdir(parents=True, exist_ok=True)
    block = image.astype(np.float32)[None]
    with MrcWriter(path, block.shape, PIXEL_ANGST, is_volume=False, replace=True) as writer:
        writer.write(block)
        writer.commit()


def write(path: Path, blocks: dict[str, Table]) -> None:
    """Write a STAR file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_star(path, blocks, replace=True)


if __name__ == "__main__":
    print(make_project(Path(sys.argv[1]), *map(int, sys.argv[2:])))
