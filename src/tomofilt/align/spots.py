"""Spots in the images of a tilt series, and the places in space where they meet."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from tomofilt.series.geometry import ImageGrid, SliceGeometry

__all__ = ["APART_ANGST", "EXACT_ANGST", "find_spots", "fitted", "meet", "project", "seen_near"]

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Mask = NDArray[np.bool_]

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
    height, strength = np.zeros((2, *binned.shape), dtype=np.float32)
    bands = _bands(ny, nx, step * grid.pixel_angst[0], step * grid.pixel_angst[1])
    for diameter, band in zip(_DIAMETERS_ANGST, bands, strict=True):
        level = fft.irfft2(spectrum * band, (ny, nx), overwrite_x=True)
        level = level[: binned.shape[0], : binned.shape[1]]
        size = np.abs(level)
        deviation = np.float32(1.4826 * np.median(size[::4, ::4]))
        size[size <= _SPOT * deviation] = 0
        # a spot answers most in the band of its own width, not at its rim in those of narrower ones
        size *= np.float32(np.sqrt(diameter))
        higher = size > height
        np.copyto(height, size, where=higher)
        np.divide(level, deviation, out=strength, where=higher)
    y, x = _peaks(height, missing)
    middle = (step - 1) / 2 - np.array(grid.centre)
    v = (step * (y + _vertex(height, y, x, 0)) + middle[0]) * grid.pixel_angst[0]
    u = (step * (x + _vertex(height, y, x, 1)) + middle[1]) * grid.pixel_angst[1]
    return np.stack([u, v, strength[y, x]], axis=1)


def _binned(image: Float32, step: int) -> tuple[Float32, Mask]:
    """Means of blocks of step x step pixels, and where there are no data."""
    ny, nx = (n // step * step for n in image.shape)
    rows = sum((image[i:ny:step, :nx] for i in range(1, step)), image[:ny:step, :nx])
    binned = sum((rows[:, i::step] for i in range(1, step)), rows[:, ::step])
    return binned / np.float32(step**2), np.asarray(image[:ny:step, :nx:step] == 0)


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


def _peaks(height: Float32, missing: Mask) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Where an image (y, x) is highest among its neighbours, and high enough."""
    y, x = np.nonzero(height[1:-1, 1:-1])
    y, x = y + 1, x + 1
    highest = ~missing[y, x]
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            highest &= height[y, x] >= height[y + dy, x + dx]
    y, x = y[highest], x[highest]
    strongest = np.argsort(-height[y, x], kind="stable")[:_MOST_SPOTS]
    return y[strongest], x[strongest]


def _vertex(height: Float32, y: NDArray[np.intp], x: NDArray[np.intp], axis: int) -> Float64:
    """Where the parabola through a peak and its two neighbours along an axis is highest."""
    dy, dx = (1, 0) if axis == 0 else (0, 1)
    before, peak, after = height[y - dy, x - dx], height[y, x], height[y + dy, x + dx]
    bend = np.maximum(2 * peak - before - after, 1e-6)
    return np.asarray(np.clip((after - before) / (2 * bend), -0.5, 0.5), dtype=np.float64)


def project(slices: SliceGeometry, view: int, places: Float64) -> Float64:
    """(u, v) of places (..., 3) in a view: (2, ...)."""
    x, y, z = places[..., 0], places[..., 1], places[..., 2]
    u = slices.a[view] * x + slices.b[view] * z + slices.u0_angst[view]
    return np.stack([u, y + slices.e[view] * z])


def meet(
    spots: list[Float64], slices: SliceGeometry, grid: ImageGrid, thickness_angst: float
) -> Float64:
    """Places (bead, 3) in space where the spots (u, v, strength) of most views meet."""
    heights = np.arange(-thickness_angst, thickness_angst + _REACH_ANGST, _REACH_ANGST)
    rasters = [_raster(each, grid) for each in spots]
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
        share, sure = _agreement(line, slices, rasters)
        share[~sure] = 0
        new = [
            line[i][share[i] == share[i].max()].mean(axis=0)
            for i in np.flatnonzero(share.max(axis=1, initial=0) >= _SEEN)
        ]
        if new:
            places = _refined(np.concatenate([places, new]), spots, slices, rasters)
    return places


def _agreement(
    places: Float64, slices: SliceGeometry, rasters: list[_Raster]
) -> tuple[Float64, Mask]:
    """In which share of the views that show a place a spot is near, and whether not by chance."""
    hit, shown = np.zeros(places.shape[:-1]), np.zeros(places.shape[:-1])
    for view, raster in enumerate(rasters):
        inside, on_spot = raster.look_up(project(slices, view, places))
        shown += inside
        hit += on_spot
    share = hit / np.maximum(shown, 1)
    # Chernoff's bound on so many hits among as many trials
    p = np.clip(np.mean([raster.filled for raster in rasters]), 1e-6, 1 - 1e-6)
    q = np.clip(share, 1e-6, 1 - 1e-6)
    bound = shown * (q * np.log(q / p) + (1 - q) * np.log((1 - q) / (1 - p)))
    return share, (share > p) & (bound > -np.log(_CHANCE))


@dataclass(frozen=True, eq=False)
class _Raster:
    """Where a view has spots nearby, in cells of half their reach."""

    near: Mask
    corner_angst: Float64
    filled: float

    def look_up(self, uv: Float64) -> tuple[Mask, Mask]:
        """Whether places (2, ...) are in the image, and near a spot."""
        cells = np.rint((uv - self.corner_angst.reshape(2, *(1,) * (uv.ndim - 1))) / _CELL_ANGST)
        u, v = cells.astype(np.intp)
        inside = (u >= 0) & (v >= 0) & (u < self.near.shape[1]) & (v < self.near.shape[0])
        return inside, inside & self.near[np.where(inside, v, 0), np.where(inside, u, 0)]


def _raster(spots: Float64, grid: ImageGrid) -> _Raster:
    shape = np.ceil(np.array(grid.shape) * grid.pixel_angst / _CELL_ANGST).astype(int) + 1
    corner = -np.array(grid.centre)[::-1] * np.array(grid.pixel_angst)[::-1]
    near = np.zeros(shape, dtype=np.bool_)
    reach = int(_REACH_ANGST / _CELL_ANGST)
    u, v = np.rint((spots[:, :2] - corner) / _CELL_ANGST).astype(int).T
    for dv in range(-reach, reach + 1):
        for du in range(-reach, reach + 1):
            if np.hypot(du, dv) <= reach + 0.3:
                near[np.clip(v + dv, 0, shape[0] - 1), np.clip(u + du, 0, shape[1] - 1)] = True
    return _Raster(near, corner, float(near.mean()))


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
    return np.asarray(np.square(spots[:, None, :2] - predicted).sum(axis=2))


def _refined(
    places: Float64, spots: list[Float64], slices: SliceGeometry, rasters: list[_Raster]
) -> Float64:
    """Places fitted to their spots; those that are seen too rarely, or twice, are left out."""
    for exact_angst in EXACT_ANGST:
        places = fitted(places, seen_near(places, spots, slices), slices, exact_angst)
    share, sure = _agreement(places, slices, rasters)
    kept: list[int] = []
    for i in np.argsort(-share, kind="stable"):
        apart = [np.linalg.norm(places[i] - places[j]) > APART_ANGST for j in kept]
        if share[i] >= _SEEN and sure[i] and all(apart):
            kept.append(int(i))
    return places[kept]


def seen_near(places: Float64, spots: list[Float64], slices: SliceGeometry) -> Float64:
    """The spot (u, v, strength) of each place in each view, NaN without one: (view, place, 3)."""
    predicted = [project(slices, view, places).T for view in range(len(spots))]
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
    predicted = np.stack([project(slices, view, places).T for view in range(len(seen))])
    off = seen[..., :2] - predicted
    weights = np.nan_to_num(1 / (1 + np.square(off / exact_angst).sum(axis=2)))
    rows = np.zeros((len(seen), 2, 3))
    rows[:, 0, 0], rows[:, 0, 2] = slices.a, slices.b
    rows[:, 1, 1], rows[:, 1, 2] = 1, slices.e
    normal = np.einsum("vp,vik,vil->pkl", weights, rows, rows) + 1e-9 * np.eye(3)
    right = np.einsum("vp,vik,vpi->pk", weights, rows, np.nan_to_num(off))
    return np.asarray(places + np.linalg.solve(normal, right[..., None])[..., 0])
