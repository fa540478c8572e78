"""Self-supervised refinement: a few gains on top of the measured filter, from the series alone.

The series is split into halves whose noise is independent. A tomogram of one half, made with the
filter ``wiener-exact:match`` that this half asks for, is projected and compared with the images of
the other half, which it should predict. How the prediction depends on gains g on top of the filter
is linear,

    minimise sum over views |M (A B(g w y1) - y2)|^2 + shrinkage sum_b h_b (g_b - 1)^2

with w the filter, B back-projection, A projection and M the pixels whose rays stay inside the
tomogram, and so the best gains solve a small linear system. Without halves, y1 = y2, it is the
minimum-residual filter of Pelt & Batenburg (IEEE Trans. Image Process. 23, 4750, 2014), for which
noise is what is best predicted: gains grow towards the ramp's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import gettempdir
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tomofilt.errors import InputError
from tomofilt.evaluate.left_out import Block, left_out_correlation, make_blocks
from tomofilt.evaluate.rings import BANDS, taper
from tomofilt.evaluate.views import columns_inside
from tomofilt.filters.apply import ImageFilter
from tomofilt.filters.refined import REFINED_BASE, RefinedFilter
from tomofilt.filters.wiener import Measurement, WienerExact
from tomofilt.geometry import ImageGrid, SliceGeometry, VolumeGrid
from tomofilt.measure import aligned_images, measured
from tomofilt.plan import Plan, Settings, make_plan
from tomofilt.projectors.cpu import SliceProjector, slice_table
from tomofilt.projects import Destination
from tomofilt.threads import run_all
from tomofilt.tiltseries import ImageSource, TiltSeries

__all__ = ["Halves", "NormalEquations", "Refinement", "normal_equations", "refine", "solve"]

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Halves = Literal["frames", "tilts", "none"]

#: Nodes of the gains, cycles per pixel, evenly spaced in the logarithm.
NODES = np.geomspace(0.006, 0.42, 12)
#: The gains are learned on so many rows in the middle, on fewer if memory is short.
_ROWS, _FEWEST_ROWS = 128, 32
#: Left-out views are compared on so many.
_COMPARED_ROWS = 256
#: Differences at these frequencies count, cycles per pixel: below are gradients of thickness.
_COUNTED = BANDS[-1]
#: Trial shrinkages, as parts of the energy that each gain has; infinity: all gains are 1.
SHRINKAGES = (np.inf, 10.0, 3.0, 1.0, 0.3, 0.1, 0.03, 0.01, 0.0)
_FOLDS = 5
_WORDS = {"frames": "frame halves", "tilts": "even and odd tilts", "none": "the images themselves"}
_NOWHERE = Destination(Path(gettempdir()) / "refinement.mrc")


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


@dataclass(frozen=True, eq=False)
class Refinement:
    """What was learned, and whether it helps.

    Attributes
    ----------
    filter : RefinedFilter
        All its factors are 1 if nothing is kept.
    kept : bool
    halves : "frames", "tilts" or "none"
        What was learned from.
    learned : (node,)
        Gains, also when they are not kept.
    shrinkage : float
    gain, error : (band,)
        Correlation with left-out views, refined minus unrefined, and its standard error; the bands
        are :data:`tomofilt.evaluate.rings.BANDS`.
    """

    filter: RefinedFilter
    kept: bool
    halves: Halves
    learned: Float64
    shrinkage: float
    gain: Float64
    error: Float64

    def metadata(self, series: TiltSeries) -> dict[str, Any]:
        """What a bundle says about it."""
        return {
            "training": {
                "method": "half-set prediction" if self.halves != "none" else "minimum residual",
                "halves": self.halves,
                "series": [series.name],
                "pixel_angst": series.images.pixel_angst,
                "tilt_deg": [round(float(tilt), 3) for tilt in series.tilt_deg],
                "shrinkage": "infinite" if np.isinf(self.shrinkage) else self.shrinkage,
                "learned_factors": [round(float(gain), 6) for gain in self.learned],
                "kept": self.kept,
            },
            "metrics": {
                "left_out_correlation_over_base": {
                    "bands_cycles_per_px": [list(band) for band in BANDS],
                    "gain": _finite(self.gain),
                    "standard_error": _finite(self.error),
                }
            },
        }


def refine(
    series: TiltSeries,
    settings: Settings,
    halves: Halves | None = None,
    note: Callable[[str], None] = lambda _: None,
) -> Refinement:
    """Learn gains on top of ``wiener-exact:match``, and keep them if left-out views say so.

    What is compared is the whole procedure: gains that were learned without the left-out views.
    They are kept if views are predicted better over all frequencies, by more than the standard
    error of the difference, and in no band worse by more than two of them.

    Parameters
    ----------
    series : TiltSeries
    settings : Settings
        Size of voxels and tomogram; the filter is not looked at.
    halves : "frames", "tilts" or "none", optional
        Default: the frame halves if the series has them, else even and odd tilts. With "none"
        (minimum residual) the gains are kept whatever they do.
    note : callable
        Told, in lines of text, what was found.

    Raises
    ------
    InputError
        If the series is too short, has no such halves or no contrast, or is aligned locally.
    """
    chosen: Halves = halves or ("tilts" if series.halves is None else "frames")
    if chosen == "frames" and series.halves is None:
        raise InputError(f"{series.name} has no frame halves: learn from its tilts, --halves tilts")
    base = replace(settings, filter=REFINED_BASE, model=None, halves="none", device="cpu")
    plan = make_plan(series, _NOWHERE, base)
    if plan.direct:
        raise InputError(f"{series.name} is aligned locally: its filter cannot be refined")
    plan = measured(plan, note)
    if _measurement(plan).snr.has_signal:
        learned, shrinkage = _learn(plan, chosen)
        gain, error = _compare(plan, chosen)
        better = gain[-1] > error[-1] and bool(np.all(gain >= -2 * error))
    else:
        learned, shrinkage, better = np.ones(len(NODES)), np.inf, False
        gain = error = np.full(len(BANDS), np.nan)
    kept = better or chosen == "none"
    found = replace(_filter(plan, learned if kept else np.ones(len(NODES))), measurement=None)
    result = Refinement(found, kept, chosen, learned, shrinkage, gain, error)
    for line in _summary(series.name, result, better):
        note(line)
    return result


def normal_equations(plan: Plan, halves: Halves) -> NormalEquations:
    """How well a half predicts the other, as a function of the gains.

    Parameters
    ----------
    plan : Plan
        Of a few rows, its filter measured.
    halves : "frames", "tilts" or "none"
    """
    found, series = _measurement(plan), plan.series
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


def _learn(plan: Plan, halves: Halves) -> tuple[Float64, float]:
    """Gains, and the shrinkage that suits views which the gains were not learned from."""
    equations = normal_equations(plan, halves)
    fold = equations.views % _FOLDS
    loss = np.zeros((len(SHRINKAGES), len(fold)))
    for each in range(_FOLDS):
        others = equations.some(fold != each)
        for i, shrinkage in enumerate(SHRINKAGES):
            loss[i, fold == each] = equations.some(fold == each).loss(solve(others, shrinkage))
    best = int(loss.sum(axis=1).argmin())
    # the strongest that is not told from the best by more than the scatter of the views
    excess = loss - loss[best]
    scatter = excess.std(axis=1, ddof=1) / np.sqrt(len(fold))
    chosen = int(np.flatnonzero(excess.mean(axis=1) <= scatter)[0])
    # where hardly any signal is, noise may even turn a gain over
    return np.maximum(solve(equations, SHRINKAGES[chosen]), 0.0), SHRINKAGES[chosen]


def _compare(plan: Plan, halves: Halves) -> tuple[Float64, Float64]:
    """Gain in correlation with left-out views, and its standard error."""
    series, base = plan.series, plan.settings

    def refined(plan: Plan) -> Iterable[Block]:
        plan = measured(plan)
        return make_blocks(replace(plan, filter=_filter(plan, _learn(plan, halves)[0])))

    rows = round(_COMPARED_ROWS * plan.grid.voxel_angst / series.images.pixel_angst)
    results = [
        left_out_correlation(series, base, rows_px=rows, blocks_of=each)
        for each in (make_blocks, refined)
    ]
    return results[1].gain_over(results[0])


def _measurement(plan: Plan) -> Measurement:
    assert isinstance(plan.filter, WienerExact)
    assert plan.filter.measurement is not None
    return plan.filter.measurement


def _filter(plan: Plan, factors: Float64) -> RefinedFilter:
    """The filter of a plan times factors at the nodes."""
    return RefinedFilter(
        "match",
        _measurement(plan),
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
    return replace(_filter(plan, np.ones(len(NODES))), measurement=replace(found, snr=few))


def _summary(name: str, result: Refinement, better: bool) -> list[str]:
    """What came out, in words."""
    if np.isnan(result.gain).all():
        return [f"  {name}: nothing to learn from, the filter stays {REFINED_BASE}"]
    lowest, highest = result.learned.min(), result.learned.max()
    worst = int((result.gain / result.error).argmin())
    low, high = BANDS[worst]
    lines = [
        f"  learned from {_WORDS[result.halves]}: gains of {lowest:.2f} to {highest:.2f} on top of "
        f"{REFINED_BASE}, shrinkage {result.shrinkage:g}",
        f"  correlation with left-out views: {result.gain[-1]:+.4f} +- {result.error[-1]:.4f} over "
        f"all frequencies; at worst {result.gain[worst]:+.4f} +- {result.error[worst]:.4f}, from "
        f"{low:g} to {high:g} cycles/px",
    ]
    if better:
        lines.append("  that is a gain: it is kept")
    elif result.kept:
        lines.append(
            "  that is no gain, but was asked for: without halves, noise is what is predicted best"
        )
    else:
        lines.append(f"  that is no gain to rely on: the filter stays {REFINED_BASE}")
    return lines


def _finite(values: Float64) -> list[float | None]:
    return [round(float(value), 6) if np.isfinite(value) else None for value in values]
