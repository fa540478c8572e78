"""Use tomofilt from Python: a series of a project, and arrays of one's own.

Usage: python from_python.py [FOLDER_FOR_RESULTS]
"""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

import tomofilt
from tomofilt.filters.apply import RowFilter
from tomofilt.jobs.one import reconstruct
from tomofilt.projectors.cpu import SliceProjector, slice_table
from tomofilt.series.geometry import ImageGrid, TiltGeometry, VolumeGrid


class Printer:
    """Hears how a reconstruction goes on (tomofilt.jobs.one.Reporter)."""

    def note(self, message: str) -> None:
        """Print what is worth reading."""
        print(message)

    def progress(self, done: int, total: int) -> None:
        """Show no bar."""


def low_tilts_of_a_project(folder: Path, results: Path) -> Path:
    """Reconstruct a series from its views up to 45 degrees alone; return the tomogram's path."""
    project = tomofilt.detect(folder)
    name = project.names[0]
    series = project.read(name)
    low = np.abs(series.tilt_deg) <= 45
    series = replace(
        series,
        geometry=series.geometry.select(low),
        views=series.views[low],
        tilt_deg=series.tilt_deg[low],
    )
    settings = tomofilt.Settings(filter="hamming:200A", bin=2)
    result = reconstruct(series, project.destination(name, results), settings, Printer())
    return result.destination.volume


def fbp(images: np.ndarray, tilt_deg: np.ndarray, thickness_px: int, name: str) -> np.ndarray:
    """Filter and back-project images that have the tilt axis on y already.

    Parameters
    ----------
    images : (view, y, x) float32
        Line integrals; their unit of length is a pixel.
    tilt_deg : (view,)
    thickness_px : int
    name : str
        Filter, as on the command line.

    Returns
    -------
    (thickness_px, y, x) float32 densities
    """
    pixel_angst = 10.0
    views, ny, nx = images.shape
    grid = VolumeGrid.centred((thickness_px, ny, nx), pixel_angst)
    _, slices = TiltGeometry.from_angles(tilt_deg).factor()
    rows = RowFilter(
        tomofilt.parse(name),
        slices,
        pixel_angst=pixel_angst,
        density_pixel_angst=pixel_angst,
        thickness_angst=thickness_px * pixel_angst,
        width_px=nx,
    )
    filtered = np.stack([rows.filter_rows(view, images[view]) for view in range(views)])
    table = slice_table(
        slices, grid, ImageGrid.centred((ny, nx), pixel_angst), rows.first_px, rows.step_px
    )
    return SliceProjector(table, filtered.shape, grid.shape).adjoint(filtered)


def projections_of_a_ball(n: int, radius_px: float, views: int) -> np.ndarray:
    """Line integrals (view, n, n) through a ball of density 1: the same from everywhere."""
    y, x = np.mgrid[:n, :n] - (n - 1) / 2
    image = 2 * np.sqrt(np.maximum(radius_px**2 - x**2 - y**2, 0))
    return np.repeat(image[None].astype(np.float32), views, axis=0)


def main(results: Path) -> None:
    """Run both."""
    tomogram = low_tilts_of_a_project(Path(__file__).parent / "mycoplasma", results)
    print(f"low tilts of the project: {tomogram}")

    tilt_deg = np.arange(-90.0, 90.0, 2.0)
    ball = fbp(projections_of_a_ball(64, 20, len(tilt_deg)), tilt_deg, 64, "hann")
    print(f"a ball of density 1 comes back with {ball[22:42, 22:42, 22:42].mean():.3f} inside")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "results"))
