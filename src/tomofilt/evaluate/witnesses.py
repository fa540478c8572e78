"""The left-out images, and what makes them fair witnesses of a tomogram.

Every tomogram of a series is compared with the same images, whatever its own settings do to them,
and only by what they show of the specimen:

* Planes that hold no specimen are not projected. Noise in them differs from filter to filter, and
  no image knows of it. Where the specimen lies is measured on the images.
* Gold beads, which hold most of an image's contrast, are filled in the images and, in the same
  way, in the projections.
* Only those columns of an image count whose rays stay inside the tomogram all through the specimen:
  elsewhere the image shows what lies beside the tomogram.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tomofilt.align.beads import Beads
from tomofilt.errors import InputError
from tomofilt.evaluate.rings import band_correlation, volume_correlation
from tomofilt.evaluate.views import columns_inside
from tomofilt.reconstruction.gold import beads_in_images
from tomofilt.reconstruction.grids import plane_weights
from tomofilt.reconstruction.images import SeriesImages
from tomofilt.reconstruction.problem import Problem, Slab
from tomofilt.reconstruction.settings import Settings
from tomofilt.reconstruction.setup import make_problem
from tomofilt.series.geometry import TiltGeometry, VolumeGrid
from tomofilt.series.tiltseries import TiltSeries

__all__ = ["Witnesses", "call_witnesses"]

log = logging.getLogger(__name__)
Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
#: Chooses which views are left out together, from which of them can be (view,).
ChooseFolds = Callable[[NDArray[np.bool_]], Sequence[Sequence[int]]]

#: Around a bead so many times its radius is filled: the CTF and filters leave rings about it, which
#: would be predicted far better than any specimen.
_HALO = 2.0


@dataclass(frozen=True, eq=False)
class Witnesses:
    """Left-out images, and how they are compared with a tomogram.

    Attributes
    ----------
    problem : Problem
        How the images were made ready: what the CTF changed is undone where the CTF is known, and
        they are not weighted for dose.
    folds : list of (view,) int
        The views that are left out together.
    images : mapping
        The image (y, x) of each of them, beads filled.
    beads : Beads
    planes : (z,) float32
        Weights of the tomogram's planes: 1 in the specimen, 0 outside.
    """

    problem: Problem
    folds: list[NDArray[np.intp]]
    images: Mapping[int, Float32]
    beads: Beads
    planes: Float32

    def correlation(
        self,
        left: NDArray[np.intp],
        slabs: Iterable[Slab],
        bands: Sequence[tuple[float, float]],
    ) -> Float64:
        """Correlation of images with projections of a tomogram: (view, band + 1).

        Parameters
        ----------
        left : (view,) int
            One of the folds.
        slabs : iterable of (first row, first plane, block)
        bands : sequence of (low, high)
            In cycles per pixel; all frequencies together come last.

        Raises
        ------
        InputError
            If hardly a ray of a view stays inside the tomogram.
        """
        frame, series, grid = self.problem.frame, self.problem.series, self.problem.grid
        predicted = self._project(left, slabs)
        correlation = np.empty((len(left), len(bands) + 1))
        rows = slice(frame.halo, predicted.shape[1] - frame.halo)
        specimen = _specimen_grid(grid, self.planes)
        inside = columns_inside(frame.slices.select(left), specimen, frame.grid)
        for i, (view, columns) in enumerate(zip(left, inside, strict=True)):
            if columns is None:
                nz, _, nx = specimen.shape
                raise InputError(
                    f"{series.name}: hardly a ray of the view at {series.tilt_deg[view]:.1f} deg "
                    f"stays inside a tomogram {nx} voxels wide and {nz} thick: leave out views of "
                    "lower tilt, or make the tomogram thinner or wider"
                )
            image = self.images[int(view)][rows, columns]
            projection = self.beads.fill(int(view), predicted[i], frame.grid)[rows, columns]
            correlation[i, :-1] = band_correlation(image, projection, bands)
            correlation[i, -1] = volume_correlation(image, projection)
        return correlation

    def _project(self, left: NDArray[np.intp], slabs: Iterable[Slab]) -> Float32:
        """Projections of the specimen's planes: (view, y, x) on the aligned grid.

        Projection is linear: each block is projected from where it lies, and the images are summed.
        """
        from tomofilt.projectors.direct import DirectProjector

        frame, grid = self.problem.frame.select(left), self.problem.grid
        whole = self.problem.series.geometry.select(left)
        geometry: TiltGeometry = whole.in_aligned_frame(frame.image_from_aligned)
        zc, yc, xc = grid.centre
        images = np.zeros((len(left), *frame.grid.shape), dtype=np.float32)
        for y_start, z_start, block in slabs:
            weights = self.planes[z_start : z_start + len(block)]
            inside = np.flatnonzero(weights)
            if not len(inside):
                continue
            used = slice(inside[0], inside[-1] + 1)
            part = block[used] * weights[used, None, None]
            lattice = VolumeGrid(
                part.shape, grid.voxel_angst, (zc - z_start - used.start, yc - y_start, xc)
            )
            projector = DirectProjector(geometry, lattice, frame.grid, threads=self.problem.threads)
            images += projector.forward(part)
        return images


def call_witnesses(series: TiltSeries, settings: Settings, choose: ChooseFolds) -> Witnesses:
    """Prepare the images of a series for judging tomograms, the same way for all of them.

    Parameters
    ----------
    series : TiltSeries
    settings : Settings
        Of a tomogram; only its voxel size and limits count.
    choose : callable
        Chooses the views that are left out, from those of which enough rays stay inside.
    """
    correctable = series.ctf is not None and series.ctf_done is None
    plain = Settings(
        filter="ramp",
        ctf="wiener" if correctable else "auto",
        bin=settings.bin,
        pixel_angst=settings.pixel_angst,
        dose_weight="off",
        device="cpu",
        threads=settings.threads,
        max_memory_bytes=settings.max_memory_bytes,
    )
    problem = make_problem(series, plain)
    frame = problem.frame
    with problem.images() as images:
        beads = beads_in_images(problem, images)
        if len(beads):
            beads = replace(beads, radii_angst=_HALO * beads.radii_angst)
            images.change(beads.fill)
        planes = _planes(problem, images)
        specimen = _specimen_grid(problem.grid, planes)
        whole = columns_inside(frame.slices, specimen, frame.grid)
        folds = choose(np.array([columns is not None for columns in whole]))
        chosen = [np.asarray(fold, dtype=np.intp) for fold in folds]
        stack = images.aligned()
        left = {int(view): stack.image(int(view)).copy() for fold in chosen for view in fold}
    return Witnesses(problem, chosen, left, beads, planes)


def _planes(problem: Problem, images: SeriesImages) -> Float32:
    """Weight of each plane; all are 1 where the specimen cannot be measured."""
    from tomofilt.snr import line_spectra, measure_thickness

    grid, frame, threads = problem.grid, problem.frame, problem.threads
    nz, voxel = grid.shape[0], grid.voxel_angst
    try:
        spectra = line_spectra(images.aligned().image, frame.slices, frame.grid, threads)
        found = measure_thickness(spectra, nz * voxel, threads)
    except InputError:  # too small
        found = None
    if found is None:
        log.info(
            "  note: how thick the specimen of %s is could not be measured: all planes count",
            problem.series.name,
        )
        return np.ones(nz, dtype=np.float32)
    if found[0] > nz * voxel:
        log.info(
            f"  note: the specimen of {problem.series.name} is about {found[0]:.0f} A thick "
            f"and the tomogram {nz * voxel:.0f} A: images show more than it can predict, so that "
            "all figures are lower"
        )
    return plane_weights(grid, *found)


def _specimen_grid(grid: VolumeGrid, planes: Float32) -> VolumeGrid:
    """The planes that count."""
    inside = np.flatnonzero(planes)
    zc, yc, xc = grid.centre
    shape = (int(inside[-1] - inside[0]) + 1, *grid.shape[1:])
    return VolumeGrid(shape, grid.voxel_angst, (zc - int(inside[0]), yc, xc))
