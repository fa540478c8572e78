"""Whether the measured thickness of a specimen is right.

    python bench/thickness.py simulated
    python bench/thickness.py planes FOLDER [--thickness 5000] [--voxel 20] [--gold as-is]

`simulated`: the thickness that a series of a known specimen is measured to have, beside that of the
uniform slab that loses its coherence at the same distance as the specimen. `planes` takes no part
of that way: it makes a tomogram of the even views of an IMOD folder and one of the odd ones, in a
box far thicker than the specimen, and prints for each band between which heights their common
signal is stronger than half of its peak. Nothing here passes or fails.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from tomofilt import snr
from tomofilt.align.gold import find_beads
from tomofilt.reconstruction.settings import Settings
from tomofilt.reconstruction.setup import make_problem
from tomofilt.series.projects import SeriesOptions, detect, read_series
from tomofilt.simulate import SimulatedSeries
from tomofilt.simulate.molecules import bundled
from tomofilt.simulate.phantom import Contents
from tomofilt.simulate.physics import Optics
from tomofilt.simulate.scheme import tilt_scheme
from tomofilt.simulate.series import Simulation, simulate

Volume = NDArray[np.float32]
Float64 = NDArray[np.float64]

VOXEL_ANGST = 10.0
#: Ice, tomogram (A), crowding, membranes.
SPECIMENS = {
    "thin, dense": (300.0, 420.0, 0.3, 1),
    "middling, dense": (600.0, 720.0, 0.3, 2),
    "thick, dense": (1200.0, 1440.0, 0.3, 4),
    "thick, sparse": (1200.0, 1440.0, 0.05, 2),
    "very thick": (1800.0, 2000.0, 0.2, 4),
}
BANDS_ANGST = ((1000, 500), (500, 250), (250, 125), (125, 70), (70, 45))


def made(kind: str, defocus_angst: float, dose: float) -> SimulatedSeries:
    ice, box, crowding, membranes = SPECIMENS[kind]
    wanted = Simulation(
        scheme=tilt_scheme(np.arange(-60.0, 61, 3), "dose-symmetric", dose),
        contents=Contents(bundled(), crowding=crowding, membranes=membranes),
        shape=(round(box / VOXEL_ANGST), 224, 224),
        pixel_angst=VOXEL_ANGST,
        ice_angst=ice,
        optics=Optics(defocus_angst=defocus_angst),
        rotation_deg=0.0,
        shift_angst=0.0,
        seed=1,
    )
    return simulate(wanted)


def power_of_planes(volumes: Sequence[Volume], voxel_angst: float) -> Float64:
    """Power that two volumes have in common: (band, z), with their middle in y and x alone."""
    nz, ny, nx = volumes[0].shape
    window = np.hanning(ny)[:, None] * np.hanning(nx)
    radius = np.hypot(
        np.fft.fftfreq(ny, voxel_angst)[:, None], np.fft.rfftfreq(nx, voxel_angst)[None]
    )
    bands = [(radius >= 1 / low) & (radius < 1 / high) for low, high in BANDS_ANGST]
    power = np.zeros((len(bands), nz))
    for z in range(nz):
        first, second = (fft.rfft2((volume[z] - volume[z].mean()) * window) for volume in volumes)
        common = (first * second.conj()).real
        power[:, z] = [common[band].sum() for band in bands]
    return power


def slab_angst(profile: Float64, voxel_angst: float) -> float:
    """Thickness of the slab whose Fourier transform falls to a half at the same place."""
    z = np.arange(len(profile)) * voxel_angst
    q = np.linspace(0, 0.005, 5001)
    curve = np.abs(np.exp(-2j * np.pi * np.outer(q, z)) @ (profile / profile.sum()))
    return float(0.6034 / q[np.argmax(curve < 0.5)])


def simulated() -> None:
    print("| specimen | CTF | SNR | true slab, A | measured, A | difference |")
    print("|---|---|---|---|---|---|")
    for kind in SPECIMENS:
        for defocus_angst, dose in ((0.0, 0.5), (3e4, 2.0)):
            known = made(kind, defocus_angst, dose)
            power = power_of_planes([known.truth, known.truth], VOXEL_ANGST)
            true = float(np.median([slab_angst(profile, VOXEL_ANGST) for profile in power]))
            problem = make_problem(
                replace(known.tilt_series(), halves=None), Settings(device="cpu")
            )
            with problem.images() as images:
                frame = problem.frame
                spectra = snr.line_spectra(
                    images.aligned().image, frame.slices, frame.grid, problem.threads
                )
            found = snr.measure_thickness(spectra, problem.thickness_angst)
            said = f"{found[0]:.0f} | {100 * (found[0] / true - 1):+.0f} %" if found else "- | -"
            ctf = "3 um" if defocus_angst else "none"
            print(f"| {kind} | {ctf} | {known.snr:.2f} | {true:.0f} | {said} |", flush=True)


def planes(folder: Path, thickness_angst: float, voxel_angst: float, gold: str) -> None:
    project = detect(folder)
    options = SeriesOptions(thickness_angst=thickness_angst)
    series = read_series(project, project.names[0], options)
    settings = Settings(filter="ramp", pixel_angst=voxel_angst, dose_weight="off", device="cpu")
    order = np.argsort(series.tilt_deg)
    volumes = []
    whole = make_problem(series, settings)
    with whole.images() as images:
        frame = whole.frame
        own = project.names[0], SeriesOptions()
        box = make_problem(read_series(project, *own), settings).thickness_angst
        beads = find_beads(images.aligned().image, frame.slices, frame.grid, box, whole.threads)
    print(f"{len(beads)} beads, {gold}")
    for first in (0, 1):
        views = np.sort(order[first::2])
        problem = make_problem(series.select(views), settings)
        with problem.images() as images:
            if gold == "filled":
                images.change(
                    lambda view, *image, views=views: beads.fill(int(views[view]), *image)
                )
            ny, nx = problem.grid.shape[1:]
            volume = np.asarray(problem.volume(images))
            volumes.append(volume[:, ny // 7 : -ny // 7, nx // 7 : -nx // 7])
    heights = (np.arange(len(volumes[0])) - problem.grid.centre[0]) * voxel_angst
    for (low, high), power in zip(BANDS_ANGST, power_of_planes(volumes, voxel_angst), strict=True):
        smooth = ndimage.gaussian_filter1d(power, 1.5)
        inside = heights[smooth > np.percentile(smooth, 97) / 2]
        print(
            f"{low}-{high} A: {inside[0]:.0f} to {inside[-1]:.0f} A, "
            f"{inside[-1] - inside[0] + voxel_angst:.0f} A"
        )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("simulated")
    real = commands.add_parser("planes")
    real.add_argument("folder", type=Path)
    real.add_argument("--thickness", type=float, default=5000.0)
    real.add_argument("--voxel", type=float, default=20.0)
    real.add_argument("--gold", choices=("filled", "as-is"), default="filled")
    chosen = parser.parse_args(arguments)
    if chosen.command == "simulated":
        simulated()
    else:
        planes(chosen.folder, chosen.thickness, chosen.voxel, chosen.gold)


if __name__ == "__main__":
    main()
