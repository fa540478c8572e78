"""Quality of reconstructions beside other programs', on the same simulated data, in one table.

    python bench/peers.py [--size 191] [--thickness 61] [--snr 0.1] [--seed 0] [--filters A,B,...]

A specimen of molecules and membranes is projected (by other code than reconstructs), noise is
added, and everything that is installed reconstructs the same images: scikit-image's `iradon`, ODL's
`fbp_op` where `odl` is importable, SIRT with tomofilt's own projector, tomofilt's filters, and
IMOD and RELION where they are on PATH. Low-passes marked * are chosen with the truth, which nobody
has for real data: they show the best that such a filter could do. Nothing here passes or fails.
"""

from __future__ import annotations

import argparse
import importlib.util
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from tomofilt.evaluate.against_truth import TruthScores, compare_with_truth
from tomofilt.evaluate.detection import background_places, detection, radial_template
from tomofilt.evaluate.tomograms import Tomogram
from tomofilt.filters.registry import available
from tomofilt.projectors.cpu import SliceProjector, slice_table
from tomofilt.reconstruction import solve
from tomofilt.reconstruction.settings import Settings
from tomofilt.series.geometry import ImageGrid, VolumeGrid
from tomofilt.simulate import simulated_series
from tomofilt.simulate.folder import write_series
from tomofilt.simulate.series import SimulatedSeries
from tomofilt.util.threads import available_threads

Volume = NDArray[np.float32]

#: Low-passes that are tried against the truth: sigma of a Gaussian, cycles per voxel.
SIGMAS = (0.04, 0.055, 0.07, 0.085, 0.1, 0.12, 0.15, 0.2, 0.27)
SIRT_ITERATIONS = (10, 40)


@dataclass(frozen=True, eq=False)
class Data:
    """A simulated series, ready for programs that know nothing but sinograms."""

    made: SimulatedSeries

    @cached_property
    def images(self) -> Volume:
        """Images (view, y, x), each less the mean of its ends across the tilt axis."""
        images = self.made.images
        width = max(1, images.shape[2] // 20)
        ends = np.concatenate([images[:, :, :width], images[:, :, -width:]], axis=2)
        return np.asarray(images - ends.mean(axis=(1, 2), keepdims=True), dtype=np.float32)

    @property
    def tilt_deg(self) -> NDArray[np.float64]:
        """Tilt angles."""
        return self.made.scheme.tilt_deg

    def score(self, volume: Volume) -> TruthScores:
        """What the volume is worth."""
        return compare_with_truth(
            volume, self.made.truth, self.made.pixel_angst, self.tilt_deg, available_threads()
        )

    @cached_property
    def particles(self) -> dict[str, tuple[Volume, NDArray[np.float64], NDArray[np.float64]]]:
        """Template, places and background places of each kind of particle."""
        grid, truth = self.made.grid, self.made.truth
        assert self.made.phantom is not None
        places: dict[str, list[NDArray[np.float64]]] = {}
        for particle in self.made.phantom.particles:
            place = np.array(particle.position_angst[::-1]) / grid.voxel_angst + grid.centre
            if np.all((place >= 0) & (place <= np.array(grid.shape) - 1)):
                places.setdefault(particle.kind, []).append(place)
        everywhere = np.array([place for kind in places.values() for place in kind])
        found = {}
        for kind, centres in places.items():
            if len(centres) >= 5:
                template = radial_template(truth, np.array(centres), 25)
                radius = len(template) // 2
                background = background_places(grid.shape, everywhere, 2 * radius, radius)
                found[kind] = (template, np.array(centres), background)
        return found

    def areas(self, volume: Volume) -> tuple[float, float]:
        """Mean over the kinds of particles: AUC, and AUC with a flat spectrum."""
        threads = available_threads()
        found = [detection(volume, *each, threads) for each in self.particles.values()]
        return float(np.mean([f.auc for f in found])), float(
            np.mean([f.auc_whitened for f in found])
        )


def tomofilt_filter(data: Data, spec: str) -> Volume:
    """One of tomofilt's filters."""
    series = data.made.tilt_series()
    return solve.tomogram(series, Settings(filter=spec))


def iradon(data: Data, window: str) -> Volume:
    """scikit-image, row by row. Its centre is pixel N // 2, which is ours for odd sizes alone."""
    from skimage.transform import iradon as transform

    nz, ny, nx = data.made.grid.shape
    planes = slice((nx - nz) // 2, (nx - nz) // 2 + nz)
    volume = np.empty((nz, ny, nx), dtype=np.float32)
    for y in range(ny):
        sinogram = data.images[:, y].T.astype(np.float64)
        # rows of the result are z: column cos(theta) - row sin(theta) is x cos(t) + z sin(t)
        plane = transform(
            sinogram, theta=-data.tilt_deg, filter_name=window, circle=False, output_size=nx
        )
        volume[:, y] = plane[planes]
    return volume


def odl_fbp(data: Data, window: str) -> Volume:
    """ODL's filtered back-projection through scikit-image, row by row."""
    import odl

    nz, ny, nx = data.made.grid.shape
    space = odl.uniform_discr([-nx / 2, -nx / 2], [nx / 2, nx / 2], [nx, nx], dtype="float32")
    angles = odl.nonuniform_partition(np.radians(data.tilt_deg))
    detector = odl.uniform_partition(-nx / 2, nx / 2, nx)
    geometry = odl.applications.tomo.Parallel2dGeometry(angles, detector)
    transform = odl.applications.tomo.RayTransform(space, geometry, impl="skimage")
    filtered = odl.applications.tomo.fbp_op(transform, padding=True, filter_type=window)
    planes = slice((nx - nz) // 2, (nx - nz) // 2 + nz)
    volume = np.empty((nz, ny, nx), dtype=np.float32)
    for y in range(ny):
        image = filtered(transform.range.element(data.images[:, y])).data
        volume[:, y] = np.asarray(image).T[planes]
    return volume


def sirt(data: Data) -> Iterator[tuple[int, Volume]]:
    """SIRT, after each number of iterations in SIRT_ITERATIONS, with tomofilt's projector pair.

    The volume is as wide as the steepest view sees, so that nothing of the specimen is missing.
    """
    grid, images = data.made.grid, data.images
    nz, ny, nx = grid.shape
    steep = np.radians(np.abs(data.tilt_deg).max())
    margin = int(np.ceil((nx / np.cos(steep) + nz * np.tan(steep) - nx) / 2))
    wide = VolumeGrid.centred((nz, ny, nx + 2 * margin), grid.voxel_angst)
    _, slices = data.made.geometry.factor()
    table = slice_table(slices, wide, ImageGrid.centred((ny, nx), grid.voxel_angst))
    projector = SliceProjector(table, images.shape, wide.shape)
    # no view depends on y: the sums of rows and columns of the matrix are those of one slice
    row = SliceProjector(table, (len(images), 1, nx), (nz, 1, wide.shape[2]))
    by_ray = np.maximum(row.forward(np.ones(row.volume_shape, np.float32)), 1e-3)
    by_voxel = np.maximum(row.adjoint(np.ones(row.image_shape, np.float32)), 1e-3)
    volume = np.zeros(wide.shape, dtype=np.float32)
    for iteration in range(1, max(SIRT_ITERATIONS) + 1):
        residual = images - projector.forward(volume)
        volume += projector.adjoint(residual / by_ray) / by_voxel
        if iteration in SIRT_ITERATIONS:
            yield iteration, volume[:, :, margin : margin + nx].copy()


def low_passed(volume: Volume, sigma: float) -> Volume:
    """The volume times a Gaussian in Fourier space, sigma in cycles per voxel."""
    from scipy.ndimage import gaussian_filter

    return np.asarray(gaussian_filter(volume, 1 / (2 * np.pi * sigma)), dtype=np.float32)


def imod(data: Data, folder: Path) -> Volume:
    """IMOD's newstack and tilt, with what etomo writes into tilt.com."""
    place, *_ = write_series(folder / "imod", data.made, {})
    for com in ("newst.com", "tilt.com"):
        subprocess.run(["submfg", com], cwd=place, check=True, capture_output=True)
    lying = next(place.glob("*_full_rec.mrc"))
    upright = place / "upright.mrc"
    subprocess.run(["clip", "rotx", lying, upright], check=True, capture_output=True)
    return Tomogram(upright).read()


def relion(data: Data, folder: Path, *options: str) -> Volume:
    """RELION's reconstruction of the same project."""
    root = folder / f"relion{''.join(options)}"
    _, star, _ = write_series(root, data.made, {})
    project = root / "relion"  # paths in STAR files start here
    nz, ny, nx = (str(n) for n in data.made.grid.shape)
    command = ["relion_tomo_reconstruct_tomogram", "--t", str(star.relative_to(project))]
    command += ["--o", "Tomograms/job006/", "--w", nx, "--h", ny, "--d", nz, "--bin", "1"]
    command += [*options, "--j", str(available_threads())]
    subprocess.run(command, cwd=project, check=True, capture_output=True)
    return Tomogram(next(project.glob("Tomograms/job006/tomograms/rec_*.mrc"))).read()


def peers(data: Data, filters: list[str], folder: Path) -> Iterator[tuple[str, Volume, float]]:
    """Name, tomogram and seconds of each reconstruction that can be made here."""

    def timed(name: str, work: Callable[[], Volume]) -> tuple[str, Volume, float]:
        start = time.perf_counter()
        volume = work()
        return name, volume, time.perf_counter() - start

    for spec in filters:
        tomofilt_filter(data, spec)  # compiled before it is timed
        yield timed(f"tomofilt {spec}", lambda spec=spec: tomofilt_filter(data, spec))  # type: ignore[misc]
    yield best_low_pass(
        "tomofilt gaussian *", lambda s: tomofilt_filter(data, f"gaussian:{s}"), data
    )
    if importlib.util.find_spec("skimage"):
        for window in ("ramp", "hann"):
            yield timed(f"scikit-image iradon {window}", lambda w=window: iradon(data, w))  # type: ignore[misc]
    if importlib.util.find_spec("odl"):
        for window in ("Ram-Lak", "Hann"):
            yield timed(f"ODL fbp_op {window}", lambda w=window: odl_fbp(data, w))  # type: ignore[misc]
    start = time.perf_counter()
    for iterations, volume in sirt(data):
        yield f"SIRT {iterations}", volume, (spent := time.perf_counter() - start)
        name, smooth, more = best_low_pass(
            f"SIRT {iterations} x Gaussian *",
            lambda s, v=volume: low_passed(v, s),
            data,  # type: ignore[misc]
        )
        yield name, smooth, spent + more
        start = time.perf_counter() - spent
    if shutil.which("tilt") and shutil.which("submfg"):
        yield timed("IMOD tilt", lambda: imod(data, folder))
    if shutil.which("relion_tomo_reconstruct_tomogram"):
        yield timed("RELION", lambda: relion(data, folder))
        yield timed("RELION --fourier", lambda: relion(data, folder, "--fourier"))


def best_low_pass(
    name: str, smooth: Callable[[float], Volume], data: Data
) -> tuple[str, Volume, float]:
    """The low-pass of highest PSNR, and the seconds that it alone takes."""
    sigma = max(SIGMAS, key=lambda each: data.score(smooth(each)).psnr_db)
    start = time.perf_counter()
    volume = smooth(sigma)
    return f"{name} {sigma:g}", volume, time.perf_counter() - start


def table(data: Data, filters: list[str], folder: Path) -> Table:
    """Reconstruct, measure, and put everything into one table."""
    made = Table(box=None, padding=(0, 2, 0, 0))
    columns = ["", "PSNR", "raw", "SSIM", "FSC seen", "FSC wedge", "AUC", "AUC flat", "seconds"]
    for column in columns:
        made.add_column(column, justify="right" if column else "left", no_wrap=True)
    for name, volume, seconds in peers(data, filters, folder):
        print(name, file=sys.stderr)
        scores = data.score(volume)
        areas = [f"{area:.3f}" for area in data.areas(volume)] if data.particles else ["", ""]
        numbers: list[Any] = [
            f"{scores.psnr_db:.2f}",
            f"{scores.psnr_raw_db:.2f}",
            f"{scores.ssim:.3f}",
            *(f"{scores.fsc[region].mean(0.35):.3f}" for region in ("sampled", "wedge")),
            *areas,
            f"{seconds:.2f}",
        ]
        made.add_row(name, *numbers)
    return made


def main() -> None:
    known = [name for name, argument, _ in available() if argument.startswith("[") or not argument]
    default = [*(name for name in known if name != "none"), "sirt-like:10"]
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--size", type=int, default=191, help="odd (scikit-image)")
    parser.add_argument("--thickness", type=int, default=61, help="odd")
    parser.add_argument("--snr", type=float, default=0.1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--filters", default=",".join(default), help="tomofilt's, with commas")
    given = parser.parse_args()
    if given.size % 2 == 0 or given.thickness % 2 == 0:
        parser.error("--size and --thickness have to be odd: scikit-image's centre is at N // 2")
    shape = (given.thickness, given.size, given.size)
    data = Data(simulated_series(seed=given.seed, shape=shape, snr=given.snr, crowding=0.3))
    kinds = ", ".join(f"{len(places)} {kind}" for kind, (_, places, _) in data.particles.items())
    with tempfile.TemporaryDirectory() as folder:
        made = table(data, given.filters.split(","), Path(folder))
    console = Console(width=120, highlight=False)
    console.print(
        f"{len(data.tilt_deg)} views, {given.size} x {given.size} x {given.thickness} voxels, "
        f"SNR {given.snr:g} without tilt, seed {given.seed}; particles: {kinds}"
    )
    console.print(made)
    console.print(
        "PSNR (dB) and SSIM after an affine match in the central three quarters; raw: densities as "
        "they are. FSC with the truth: mean up to 0.35 cycles per voxel. AUC: matched filter. "
        "*: the low-pass is chosen with the truth."
    )


if __name__ == "__main__":
    main()
