"""Spots in the images of a tilt series, and the places in space where they meet."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from tomofilt.series.geometry import ImageGrid, SliceGeometry
from tomofilt.util.jit import kernel

__all__ = [
    "ALL",
    "APART_ANGST",
    "EXACT_ANGST",
    "find_spots",
    "fitted",
    "meet",
    "project",
    "seen_near",
]

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Mask = NDArray[np.bool_]
Indices = NDArray[np.intp]

#: Diameters of beads that are looked for; in between, the neighbours find them.
_DIAMETERS_ANGST = (50.0, 85.0, 145.0, 250.0)
#: Images are binned to about this for the search: the smallest bead is still seen by it.
_SEARCH_PIXEL_ANGST = 20.0
#: A spot stands out by so many robust standard deviations of the image at its scale.
_SPOT = 4.0
#: Spots of one bead lie so close to where its place in space puts them: alignments are not exact.
_REACH_ANGST = 35.0
#: A bead is seen as a spot in this share of the images that show its place.
_SEEN = 0.6
#: Spots meet by chance with less than this probability, at one place: millions of places are tried.
_CHANCE = 1e-8
#: So many spots of one image are used, the strongest.
_MOST_SPOTS = 400
#: Beads are no nearer to each other, or they count as one.
APART_ANGST = 2 * _REACH_ANGST
#: Places are fitted to their spots in turns; what is so far off counts half, less in each turn.
EXACT_ANGST = (20.0, 10.0, 5.0, 3.0)
#: Cells in which is looked up whether a spot is near.
_CELL_ANGST = 10.0
#: Stands for all views, where places are projected.
ALL = np.s_[:, None]


def find_spots(image: Float32, grid: ImageGrid) -> Float64:
    """Spots of an image: (spot, 3) of u, v (angstrom about the centre) and strength.

    The strength is signed, and in robust standard deviations of the image at the spot's scale.
    """
    from scipy import fft

    step = max(1, int(_SEARCH_PIXEL_ANGST / max(grid.pixel_angst)))
    binned, missing = _binned(image, step)
    if missing.all():
        return np.empty((0, 3))
    binned -= binned[~missing].mean()
    binned[missing] = 0
    ny, nx = (fft.next_fast_len(n, real=True) for n in binned.shape)
    spectrum = fft.rfft2(binned, (ny, nx))
    product = np.empty_like(spectrum)
    height, strength = np.zeros((2, *binned.shape), dtype=np.float32)
    bands = _bands(ny, nx, step * grid.pixel_angst[0], step * grid.pixel_angst[1])
    for diameter, band in zip(_DIAMETERS_ANGST, bands, strict=True):
        np.multiply(spectrum, band, out=product)
        level = fft.irfft2(product, (ny, nx), overwrite_x=True)
        deviation = np.float32(1.4826) * _middle(level[: len(binned) : 4, : binned.shape[1] : 4])
        # a spot answers most in the band of its own width, not at its rim in those of narrower ones
        _keep_highest(level, deviation, np.float32(np.sqrt(diameter)), height, strength)
    y, x = _peaks(height, missing)
    middle = (step - 1) / 2 - np.array(grid.centre)
    v = (step * (y + _vertex(height, y, x, 0)) + middle[0]) * grid.pixel_angst[0]
    u = (step * (x + _vertex(height, y, x, 1)) + middle[1]) * grid.pixel_angst[1]
    return np.stack([u, v, strength[y, x]], axis=1)


@kernel
def _binned(image: Float32, step: int) -> tuple[Float32, Mask]:
    """Means of blocks of step x step pixels, and where there are no data."""
    ny, nx = image.shape[0] // step, image.shape[1] // step
    binned, missing = np.zeros((ny, nx), np.float32), np.empty((ny, nx), np.bool_)
    line = np.empty(nx * step, np.float32)
    for y in range(ny):
        for x in range(nx):
            missing[y, x] = image[y * step, x * step] == 0
        for x in range(len(line)):
            line[x] = image[y * step, x]
        for j in range(1, step):
            for x in range(len(line)):
                line[x] += image[y * step + j, x]
        for i in range(step):
            for x in range(nx):
                binned[y, x] += line[x * step + i]
        for x in range(nx):
            binned[y, x] /= np.float32(step**2)
    return binned, missing


def _middle(values: Float32) -> np.float32:
    """Median of absolute values, in a fraction of the time that numpy's takes."""
    size = np.abs(values).ravel()
    half = len(size) // 2
    size.partition(half)
    below = size[:half].max() if len(size) % 2 == 0 else size[half]
    return np.float32((below + size[half]) / 2)


@kernel
def _keep_highest(
    level: Float32, deviation: np.float32, factor: np.float32, height: Float32, strength: Float32
) -> None:
    """Where a band stands out, and by more than those before it, its height and strength are kept.

    Parameters
    ----------
    level : (y, x) float32
        May be larger than what is kept.
    deviation, factor : float32
        Its robust standard deviation, and what its height is multiplied by.
    height, strength : (y, x) float32
        Changed in place.
    """
    least = np.float32(_SPOT) * deviation
    for y in range(height.shape[0]):
        for x in range(height.shape[1]):
            size = abs(level[y, x])
            size = size * factor if size > least else np.float32(0)
            higher = size > height[y, x]
            height[y, x] = size if higher else height[y, x]
            strength[y, x] = level[y, x] / deviation if higher else strength[y, x]


@lru_cache(maxsize=2)
def _bands(ny: int, nx: int, pixel_y: float, pixel_x: float) -> list[Float32]:
    """Transfer functions that let spots of each diameter through, without what is around them."""
    k2 = (np.fft.fftfreq(ny, pixel_y) ** 2)[:, None] + np.fft.rfftfreq(nx, pixel_x) ** 2
    bands = []
    for diameter in _DIAMETERS_ANGST:
        # sigma of 0.2 diameters for the spot, of 1.2 for what is around it
        narrow, wide = (np.exp(-2 * (np.pi * s * diameter) ** 2 * k2) for s in (0.2, 1.2))
        bands.append(np.asarray(narrow - wide, dtype=np.float32))
    return bands


def _peaks(height: Float32, missing: Mask) -> tuple[Indices, Indices]:
    """Where an image (y, x) is highest among its neighbours, and high enough."""
    y, x = np.divmod(_highest(height, missing), height.shape[1])
    strongest = np.argsort(-height[y, x], kind="stable")[:_MOST_SPOTS]
    return y[strongest], x[strongest]


@kernel
def _highest(height: Float32, missing: Mask) -> Indices:
    """Pixels, as indices into the flat image, that are higher than zero and than all around."""
    ny, nx = height.shape
    found = np.empty(ny * nx, np.intp)
    count = 0
    for y in range(1, ny - 1):
        for x in range(1, nx - 1):
            peak = height[y, x]
            if peak > 0 and not missing[y, x]:
                highest = True
                for j in range(y - 1, y + 2):
                    for i in range(x - 1, x + 2):
                        highest &= peak >= height[j, i]
                if highest:
                    found[count] = y * nx + x
                    count += 1
    return found[:count].copy()


def _vertex(height: Float32, y: Indices, x: Indices, axis: int) -> Float64:
    """Where the parabola through a peak and its two neighbours along an axis is highest."""
    dy, dx = (1, 0) if axis == 0 else (0, 1)
    before, peak, after = height[y - dy, x - dx], height[y, x], height[y + dy, x + dx]
    bend = np.maximum(2 * peak - before - after, 1e-6)
    return np.asarray(np.clip((after - before) / (2 * bend), -0.5, 0.5), dtype=np.float64)


def project(slices: SliceGeometry, view: int | tuple[slice, None], places: Float64) -> Float64:
    """(u, v) of places (..., 3) in a view: (2, ...); of (place, 3) in ``ALL``: (2, view, place)."""
    x, y, z = places[..., 0], places[..., 1], places[..., 2]
    u = slices.a[view] * x + slices.b[view] * z + slices.u0_angst[view]
    return np.stack([u, y + slices.e[view] * z])


def meet(
    spots: list[Float64], slices: SliceGeometry, grid: ImageGrid, thickness_angst: float
) -> Float64:
    """Places (bead, 3) in space where the spots (u, v, strength) of most views meet."""
    heights = np.arange(-thickness_angst, thickness_angst + _REACH_ANGST, _REACH_ANGST)
    raster = _raster(spots, grid)
    by_tilt = np.argsort(slices.tilt_deg)
    last = len(by_tilt) - 1
    places = np.empty((0, 3))
    # from the middle outwards; beads beside the tomogram are in steep views alone
    for quarter in (2, 1, 3, 0, 4):
        reference = by_tilt[quarter * last // 4]
        predicted = project(slices, reference, places).T
        u, v = spots[reference][~_within_reach(spots[reference], predicted), :2].T
        line = np.empty((len(u), len(heights), 3))
        tilt = (slices.a[reference], slices.b[reference], slices.u0_angst[reference])
        line[..., 0] = (u[:, None] - tilt[2] - tilt[1] * heights) / tilt[0]
        line[..., 1] = v[:, None] - slices.e[reference] * heights
        line[..., 2] = heights
        share, sure = _agreement(line, slices, raster)
        share[~sure] = 0
        new = [
            line[i][share[i] == share[i].max()].mean(axis=0)
            for i in np.flatnonzero(share.max(axis=1, initial=0) >= _SEEN)
        ]
        if new:
            places = _refined(np.concatenate([places, new]), spots, slices, raster)
    return places


def _agreement(places: Float64, slices: SliceGeometry, raster: _Raster) -> tuple[Float64, Mask]:
    """In which share of the views that show a place a spot is near, and whether not by chance."""
    lines = np.stack([slices.a, slices.b, slices.u0_angst, slices.e], axis=1)
    counts = _look_up(places.reshape(-1, 3), lines, raster.near, raster.corner_angst)
    shown, hit = counts.reshape(2, *places.shape[:-1])
    share = hit / np.maximum(shown, 1)
    # Chernoff's bound on so many hits among as many trials
    p = np.clip(raster.filled, 1e-6, 1 - 1e-6)
    q = np.clip(share, 1e-6, 1 - 1e-6)
    bound = shown * (q * np.log(q / p) + (1 - q) * np.log((1 - q) / (1 - p)))
    return share, (share > p) & (bound > -np.log(_CHANCE))


@kernel
def _look_up(places: Float64, lines: Float64, near: Mask, corner: Float64) -> Float64:
    """In how many views places are shown, and how many of these have a spot near them: (2, place).

    Parameters
    ----------
    places : (place, 3)
    lines : (view, 4)
        a, b, u0 and e of the slices' geometry.
    near, corner
        See :class:`_Raster`.
    """
    counts = np.zeros((2, len(places)))
    _, nv, nu = near.shape
    for view in range(len(lines)):
        a, b, u0, e = lines[view]
        for n in range(len(places)):
            x, y, z = places[n]
            u = int(np.rint((a * x + b * z + u0 - corner[0]) / _CELL_ANGST))
            v = int(np.rint((y + e * z - corner[1]) / _CELL_ANGST))
            if 0 <= u < nu and 0 <= v < nv:
                counts[0, n] += 1
                counts[1, n] += near[view, v, u]
    return counts


@dataclass(frozen=True, eq=False)
class _Raster:
    """Where views have spots nearby, in cells (view, v, u), the first at the corner (u, v)."""

    near: Mask
    corner_angst: Float64
    filled: float


def _raster(spots: list[Float64], grid: ImageGrid) -> _Raster:
    shape = np.ceil(np.array(grid.shape) * grid.pixel_angst / _CELL_ANGST).astype(int) + 1
    corner = -np.array(grid.centre)[::-1] * np.array(grid.pixel_angst)[::-1]
    near = np.zeros((len(spots), *shape), dtype=np.bool_)
    reach = int(_REACH_ANGST / _CELL_ANGST)
    around = np.mgrid[-reach : reach + 1, -reach : reach + 1].reshape(2, -1)
    dv, du = around[:, np.hypot(*around) <= reach + 0.3]
    for cells, each in zip(near, spots, strict=True):
        u, v = np.rint((each[:, :2] - corner) / _CELL_ANGST).astype(int).T[..., None]
        cells[np.clip(v + dv, 0, shape[0] - 1), np.clip(u + du, 0, shape[1] - 1)] = True
    return _Raster(near, corner, np.count_nonzero(near) / near.size)


def _nearest(spots: Float64, predicted: Float64) -> Float64:
    """The spot (u, v, strength) nearest to each predicted place (place, 2); NaN: none in reach."""
    near = np.full((len(predicted), 3), np.nan)
    if len(spots) and len(predicted):
        squares = _squares(spots, predicted)
        which = squares.argmin(axis=0)
        found = squares.min(axis=0) < _REACH_ANGST**2
        near[found] = spots[which[found]]
    return near


def _within_reach(spots: Float64, predicted: Float64) -> Mask:
    """Which spots are near to any of the predicted places (place, 2)."""
    return np.asarray(np.any(_squares(spots, predicted) < _REACH_ANGST**2, axis=1))


def _squares(spots: Float64, predicted: Float64) -> Float64:
    """Squared distances (spot, place)."""
    du, dv = (spots[:, None, k] - predicted[:, k] for k in (0, 1))
    return np.asarray(du**2 + dv**2)


def _refined(
    places: Float64, spots: list[Float64], slices: SliceGeometry, raster: _Raster
) -> Float64:
    """Places fitted to their spots; those that are seen too rarely, or twice, are left out."""
    for exact_angst in EXACT_ANGST:
        places = fitted(places, seen_near(places, spots, slices), slices, exact_angst)
    share, sure = _agreement(places, slices, raster)
    kept: list[int] = []
    for i in np.argsort(-share, kind="stable"):
        apart = [np.linalg.norm(places[i] - places[j]) > APART_ANGST for j in kept]
        if share[i] >= _SEEN and sure[i] and all(apart):
            kept.append(int(i))
    return places[kept]


def seen_near(places: Float64, spots: list[Float64], slices: SliceGeometry) -> Float64:
    """The spot (u, v, strength) of each place in each view, NaN without one: (view, place, 3)."""
    predicted = project(slices, ALL, places).transpose(1, 2, 0)
    return np.stack([_nearest(*each) for each in zip(spots, predicted, strict=True)])


def fitted(places: Float64, seen: Float64, slices: SliceGeometry, exact_angst: float) -> Float64:
    """Places moved to where they are seen; what is far off, a neighbour perhaps, counts less.

    Parameters
    ----------
    places : (place, 3)
    seen : (view, place, 2 or more)
        u and v first; NaN where a place is not seen.
    slices : SliceGeometry
    exact_angst : float
        What is so far off counts half; infinity: everything counts alike.
    """
    off = seen[..., :2] - project(slices, ALL, places).transpose(1, 2, 0)
    weights = np.nan_to_num(1 / (1 + np.square(off / exact_angst).sum(axis=2)))
    rows = np.zeros((len(seen), 2, 3))
    rows[:, 0, 0], rows[:, 0, 2] = slices.a, slices.b
    rows[:, 1, 1], rows[:, 1, 2] = 1, slices.e
    normal = np.einsum("vp,vik,vil->pkl", weights, rows, rows) + 1e-9 * np.eye(3)
    right = np.einsum("vp,vik,vpi->pk", weights, rows, np.nan_to_num(off))
    return np.asarray(places + np.linalg.solve(normal, right[..., None])[..., 0])
