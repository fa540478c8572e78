"""How well the views of one half of a series predict those of the other, as a function of gains.

See :mod:`tomofilt.training.refine` for what it is for, and the formula.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tomofilt.evaluate.rings import BANDS, taper
from tomofilt.evaluate.views import columns_inside
from tomofilt.filters.apply import ImageFilter
from tomofilt.filters.refined import RefinedFilter
from tomofilt.filters.wiener import Measurement, WienerExact
from tomofilt.projectors.cpu import SliceProjector, slice_table
from tomofilt.reconstruction.measure import aligned_images
from tomofilt.reconstruction.plan import Plan
from tomofilt.series.geometry import ImageGrid, SliceGeometry, VolumeGrid
from tomofilt.series.tiltseries import ImageSource
from tomofilt.util.threads import run_all

__all__ = [
    "NODES",
    "Halves",
    "NormalEquations",
    "measurement_of",
    "normal_equations",
    "refined_filter",
    "solve",
]

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Halves = Literal["frames", "tilts", "none"]

#: Nodes of the gains, cycles per pixel, evenly spaced in the logarithm.
NODES = np.geomspace(0.006, 0.42, 12)
#: The gains are learned on so many rows in the middle, on fewer if memory is short.
_ROWS, _FEWEST_ROWS = 128, 32
#: Differences at these frequencies count, cycles per pixel: below are gradients of thickness.
_COUNTED = BANDS[-1]


@dataclass(frozen=True, eq=False)
class NormalEquations:
    """Squared differences as a function of the gains, view by view.

    ``sum_v (power[v] - 2 right[v] . g + g . gram[v] . g)``

    Attributes
    ----------
    views : (view,) int
        The view that is predicted; with frame halves each comes twice.
    gram : (view, node, node)
    right : (view, node)
    power : (view,)
    """

    views: NDArray[np.intp]
    gram: Float64
    right: Float64
    power: Float64

    def loss(self, gains: Float64) -> Float64:
        """Squared difference of every view."""
        quadratic = np.einsum("vab,a,b->v", self.gram, gains, gains)
        return np.asarray(self.power - 2 * self.right @ gains + quadratic)

    def some(self, views: NDArray[np.bool_]) -> NormalEquations:
        """Those of some views."""
        return NormalEquations(
            self.views[views], self.gram[views], self.right[views], self.power[views]
        )


def normal_equations(plan: Plan, halves: Halves) -> NormalEquations:
    """How well a half predicts the other, as a function of the gains.

    Parameters
    ----------
    plan : Plan
        Of a few rows, its filter measured.
    halves : "frames", "tilts" or "none"
    """
    found, series = measurement_of(plan), plan.series
    sources = series.halves if halves == "frames" and series.halves else (series.images,)
    part, first = _middle(plan)
    with ExitStack() as stack:
        images = [_load(plan, source, part, first, stack) for source in sources]
    every = np.arange(len(series.views))
    if halves == "frames":
        # half the exposure, half the SNR
        spectrum = found.snr.log_spectrum - np.log(2)
        found = replace(found, snr=replace(found.snr, log_spectrum=spectrum))
        pairs = [(0, every, 1, every), (1, every, 0, every)]
    elif halves == "tilts":
        order = np.argsort(series.tilt_deg, kind="stable")
        pairs = [(0, order[::2], 0, order[1::2]), (0, order[1::2], 0, order[::2])]
    else:
        pairs = [(0, every, 0, every)]
    products = [
        _products(
            _Predictor(plan, part, known, wanted),
            _filter_of(plan, found, known),
            images[i][known],
            images[j][wanted],
        )
        for i, known, j, wanted in pairs
    ]
    return NormalEquations(
        np.concatenate([wanted for _, _, _, wanted in pairs]),
        *(np.concatenate(each) for each in zip(*products, strict=True)),
    )


def solve(equations: NormalEquations, shrinkage: float) -> Float64:
    """The gains (node,) that predict best, shrunk towards 1."""
    gram, right = equations.gram.sum(axis=0), equations.right.sum(axis=0)
    ones = np.ones(len(right))
    if np.isinf(shrinkage):
        return ones
    energy = np.diag(gram)
    # without any energy a gain has no say, and stays
    ridge = shrinkage * energy + 1e-9 * energy.max() + np.finfo(float).tiny
    return np.asarray(ones + np.linalg.solve(gram + np.diag(ridge), right - gram @ ones))


def measurement_of(plan: Plan) -> Measurement:
    """What a plan's filter has measured."""
    assert isinstance(plan.filter, WienerExact)
    assert plan.filter.measurement is not None
    return plan.filter.measurement


def refined_filter(plan: Plan, factors: Float64) -> RefinedFilter:
    """The filter of a plan times factors at the nodes."""
    return RefinedFilter(
        "match",
        measurement_of(plan),
        k_per_angst=tuple(map(float, NODES / plan.aligned.pixel_angst[1])),
        factors=tuple(map(float, factors)),
        name="refined",
    )


def _middle(plan: Plan) -> tuple[ImageGrid, int]:
    """A few rows in the middle of the aligned images, and the first of them."""
    grid, (nz, _, nx) = plan.aligned, plan.grid.shape
    row_bytes = 4 * (3 * nz * nx + (len(NODES) + 4) * len(plan.series.views) * grid.shape[1])
    most = max(_FEWEST_ROWS, min(_ROWS, plan.allowed_bytes // row_bytes))
    rows = min(most, grid.shape[0])
    first = (grid.shape[0] - rows) // 2
    centre = (grid.centre[0] - first, grid.centre[1])
    return ImageGrid((rows, grid.shape[1]), grid.pixel_angst, centre), first


def _load(
    plan: Plan, source: ImageSource, part: ImageGrid, first: int, stack: ExitStack
) -> Float32:
    """Those rows of all images of a source: (view, y, x)."""
    image_of = aligned_images(plan, source, plan.allowed_bytes, stack)
    images = np.empty((len(plan.series.views), *part.shape), np.float32)

    def load(view: int) -> None:
        images[view] = image_of(view)[first : first + part.shape[0]]

    run_all(plan.threads, load, range(len(images)))
    return images


class _Predictor:
    """Images of some views, as a tomogram of others predicts them."""

    def __init__(
        self, plan: Plan, grid: ImageGrid, known: NDArray[np.intp], wanted: NDArray[np.intp]
    ) -> None:
        self._plan, self._grid, self._known = plan, grid, known
        self._rows = plan.row_filter
        nz, _, nx = plan.grid.shape
        zc, _, xc = plan.grid.centre
        box = VolumeGrid((nz, grid.shape[0], nx), plan.grid.voxel_angst, (zc, grid.centre[0], xc))
        first, step = self._rows.first_px[known], self._rows.step_px[known]
        self._slices, seen = _some(plan.slices, known), _some(plan.slices, wanted)
        self._samples = np.empty(
            (len(known), grid.shape[0], int(self._rows.samples.max())), np.float32
        )
        self._back = SliceProjector(
            slice_table(self._slices, box, grid, first, step),
            self._samples.shape,
            box.shape,
            last_sample=self._rows.last_sample[known],
            threads=plan.threads,
        )
        self._project = SliceProjector(
            slice_table(seen, box, grid),
            (len(wanted), *grid.shape),
            box.shape,
            threads=plan.threads,
        )
        # a ray through ones is as long as it is, however unevenly voxels fall on pixels
        path = nz * box.voxel_angst / plan.series.images.pixel_angst * seen.scale / np.abs(seen.a)
        ones = self._project.forward(np.ones(box.shape, np.float32))
        lengths = np.broadcast_to(path[:, None, None].astype(np.float32), ones.shape)
        self._unit = np.divide(lengths, ones, where=ones > 0, out=np.zeros_like(ones))
        #: Columns whose rays stay inside the tomogram, for each wanted view that has any.
        self.columns = columns_inside(seen, box, grid)

    def __call__(self, images: Float32, chosen: RefinedFilter) -> Float32:
        """Predict the wanted images from the known ones, through a filter of the known views."""
        image_filter = ImageFilter(
            chosen,
            self._slices,
            self._grid.shape,
            pixel_angst=self._grid.pixel_angst,
            density_pixel_angst=self._plan.series.images.pixel_angst,
            thickness_angst=self._plan.thickness_angst,
        )

        def filter_one(view: int) -> None:
            filtered = image_filter.filter_image(view, images[view])
            self._samples[view] = self._rows.filter_rows(int(self._known[view]), filtered)

        run_all(self._plan.threads, filter_one, range(len(images)))
        predicted = self._project.forward(self._back.adjoint(self._samples))
        predicted *= self._unit
        return predicted


def _products(
    predictor: _Predictor, base: RefinedFilter, images: Float32, targets: Float32
) -> tuple[Float64, Float64, Float64]:
    """Gram matrices, right sides and powers of the predictions for each node."""
    count = len(base.factors)
    spectra = [np.empty((count + 1, 0), np.complex64) for _ in targets]
    for view, columns in enumerate(predictor.columns):
        if columns is not None:
            values = _counted(targets[view][:, columns])
            spectra[view] = np.empty((count + 1, len(values)), np.complex64)
            spectra[view][-1] = values
    for node in range(count):
        predicted = predictor(images, replace(base, factors=tuple(np.eye(count)[node])))
        for view, columns in enumerate(predictor.columns):
            if columns is not None:
                spectra[view][node] = _counted(predicted[view][:, columns], projected=True)
    products = np.array([(each @ each.conj().T).real for each in spectra], dtype=np.float64)
    return products[:, :-1, :-1], products[:, :-1, -1], products[:, -1, -1]


def _counted(image: Float32, *, projected: bool = False) -> NDArray[np.complex64]:
    """Fourier values of an image at the frequencies that count.

    A projection is freed of what the linear weights of its voxels take from high frequencies.
    """
    from scipy import fft

    ny, nx = image.shape
    window = np.outer(taper(ny), taper(nx)).astype(np.float32)
    spectrum = fft.rfft2((image - image.mean()) * window)
    k_across = np.fft.rfftfreq(nx)
    # columns that are their own mirror count once, the others for both halves
    weight = np.full(len(k_across), np.sqrt(2))
    weight[0] = 1.0
    if nx % 2 == 0:
        weight[-1] = 1.0
    if projected:
        weight /= np.sinc(k_across) ** 2
    spectrum *= weight.astype(np.float32)
    low, high = _COUNTED
    k = np.hypot(np.fft.fftfreq(ny)[:, None], k_across)
    values: NDArray[np.complex64] = spectrum[(k >= low) & (k < high)]
    return values


def _some(slices: SliceGeometry, views: NDArray[np.intp]) -> SliceGeometry:
    return SliceGeometry(slices.a[views], slices.b[views], slices.u0_angst[views], slices.e[views])


def _filter_of(plan: Plan, found: Measurement, views: NDArray[np.intp]) -> RefinedFilter:
    """The filter of some of the views alone."""
    snr = found.snr
    few = replace(snr, log_factor=snr.log_factor[views], decay_angst2=snr.decay_angst2[views])
    return replace(refined_filter(plan, np.ones(len(NODES))), measurement=replace(found, snr=few))
