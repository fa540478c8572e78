"""Gold beads are found in the images of a tilt series.

A bead is far darker (or brighter) than everything else. Back-projection draws every bead as a bar
with black wedges, and a measured signal-to-noise ratio tells of beads instead of the specimen. A
spot in one image may be anything; a bead stands at one place in space, where the spots of many
images meet. So spots are found image by image, beads are what the spots agree on, and each bead
is then filled in every image, seen or not.
"""

from __future__ import annotations

from collections.abc import Callable
from math import ceil, floor

import numpy as np
from numpy.typing import NDArray

from tomofilt.align.beads import Beads
from tomofilt.align.spots import (
    APART_ANGST,
    EXACT_ANGST,
    find_spots,
    fitted,
    meet,
    project,
    seen_near,
)
from tomofilt.series.geometry import ImageGrid, SliceGeometry
from tomofilt.util.jit import kernel
from tomofilt.util.threads import run_all

__all__ = ["find_beads"]

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

#: Smallest radius of a bead.
_SMALLEST_ANGST = 20.0
#: The radius of a bead in pixels; smaller ones cannot be told from specks.
_FEWEST_PX = 1.5
#: Radius of beads of which nothing is known.
_USUAL_ANGST = 50.0
#: A bead ends where its profile falls to this: a ball that lets the beam through at 0.94 of its
#: radius, a disc at hardly more than its own.
_RIM = 0.35
#: Rings about a bead from which its size is measured.
_RING_ANGST, _RINGS = 5.0, 60
#: How wide an edge may be, as a share of the radius, for a spot that stands out by so many
#: deviations of an image. Gold that stops all of the beam has an edge of 0.1 to 0.25; a ball that
#: does not, 0.44 and more where others are beside it, but nothing else is as dense. Ribosomes and
#: other particles have 0.6 to 1.1 and seldom stand out by more than 6.
_STANDS_OUT, _EDGE = (4.5, 8.0), (0.35, 0.6)


def find_beads(
    image_of: Callable[[int], Float32],
    slices: SliceGeometry,
    grid: ImageGrid,
    thickness_angst: float,
    threads: int,
    told_angst: Float64 | None = None,
) -> Beads:
    """Find the gold beads of a series, 5 to 30 nm wide, dark or bright.

    Parameters
    ----------
    image_of : callable
        Gives a view's image (y, x) on the tilt axis, not filtered; zeros count as missing.
    slices : SliceGeometry
    grid : ImageGrid
    thickness_angst : float
        Beads are sought in twice that.
    threads : int
    told_angst : (bead, view, 2), optional
        Where somebody says that beads are (u, v), NaN where nobody does; they are believed.
    """
    count = len(slices.a)
    spots = np.empty(count, dtype=object)

    def look(view: int) -> None:
        spots[view] = find_spots(image_of(view), grid)

    run_all(threads, look, range(count))
    found = []
    for sign in (-1, 1):
        alike = [each[each[:, 2] * sign > 0] for each in spots]
        places = meet(alike, slices, grid, thickness_angst)
        seen = seen_near(places, alike, slices)
        candidates, blurs = _measured(places, seen, image_of, slices, grid, threads)
        smallest = max(_SMALLEST_ANGST, _FEWEST_PX * max(grid.pixel_angst))
        strengths = np.nanmean(np.abs(seen[..., 2]), axis=0) if len(places) else blurs
        sharp = blurs < np.interp(strengths, _STANDS_OUT, _EDGE, left=0.0)
        found.append(candidates.select(sharp & (candidates.radii_angst > smallest)))
    best = max(found, key=len)
    return best if told_angst is None else _with_told(best, told_angst, image_of, grid, threads)


def _with_told(
    found: Beads,
    told_angst: Float64,
    image_of: Callable[[int], Float32],
    grid: ImageGrid,
    threads: int,
) -> Beads:
    """Beads that were found, and those that they were told of besides."""
    seen = told_angst.transpose(1, 0, 2)
    places = np.zeros((len(told_angst), 3))
    for exact_angst in (np.inf, *EXACT_ANGST):
        places = fitted(places, seen, found.slices, exact_angst)
    gaps = np.linalg.norm(places[:, None] - found.places_angst, axis=2)
    new = (np.isfinite(told_angst[..., 0]).sum(axis=1) > 1) & np.all(gaps > APART_ANGST, axis=1)
    more, blurs = _measured(places[new], seen[:, new], image_of, found.slices, grid, threads)
    # where nothing like a bead is seen, it is taken to be as large as the others
    known = found.radii_angst if len(found) else more.radii_angst[blurs < _EDGE[1]]
    usual = float(np.median(known)) if len(known) else _USUAL_ANGST
    like_one = (blurs < _EDGE[1]) & (more.radii_angst > _SMALLEST_ANGST)
    return Beads(
        np.concatenate([found.places_angst, more.places_angst]),
        np.concatenate([found.radii_angst, np.where(like_one, more.radii_angst, usual)]),
        np.concatenate([found.contrasts, more.contrasts]),
        np.concatenate([found.shifts_angst, more.shifts_angst]),
        found.slices,
        told=len(more),
    )


def _measured(
    places: Float64,
    seen: Float64,
    image_of: Callable[[int], Float32],
    slices: SliceGeometry,
    grid: ImageGrid,
    threads: int,
) -> tuple[Beads, Float64]:
    """Beads at places, of the size that they are seen with, and the blur of each.

    Parameters
    ----------
    places : (bead, 3)
    seen : (view, bead, 2 or more)
        u and v first; NaN where a view does not show it.
    image_of, slices, grid, threads
        As for :func:`find_beads`.
    """
    views = range(len(seen) if len(places) else 0)
    shifts = np.zeros((len(places), len(seen), 2))
    profiles = np.zeros((len(seen), 2, len(places), _RINGS))
    pixel = np.array(grid.pixel_angst)

    def measure(view: int) -> None:
        shifts[:, view] = np.nan_to_num(seen[view, :, :2] - project(slices, view, places).T)
        middles = seen[view, :, 1::-1] / pixel + grid.centre
        _add_rings(image_of(view), middles, pixel / _RING_ANGST, profiles[view])

    run_all(threads, measure, views)
    radii, contrasts, blurs = _sizes(profiles.sum(axis=0))
    return Beads(places, radii, contrasts, shifts, slices), blurs


@kernel
def _add_rings(image: Float32, middles: Float64, pixel: Float64, sums: Float64) -> None:
    """Add up the pixels in rings about places in an image.

    Parameters
    ----------
    image : (y, x) float32
        Zeros do not count.
    middles : (place, 2)
        y, x in pixels; NaN: none.
    pixel : (2,)
        Its height and width, in widths of a ring.
    sums : (2, place, ring)
        Added to: values, and their number.
    """
    ny, nx = image.shape
    for place in range(len(middles)):
        y, x = middles[place]
        if np.isnan(y):
            continue
        reach_y, reach_x = _RINGS / pixel[0], _RINGS / pixel[1]
        for j in range(max(ceil(y - reach_y), 0), min(floor(y + reach_y) + 1, ny)):
            for i in range(max(ceil(x - reach_x), 0), min(floor(x + reach_x) + 1, nx)):
                ring = int(np.sqrt(((j - y) * pixel[0]) ** 2 + ((i - x) * pixel[1]) ** 2))
                if ring < _RINGS and image[j, i] != 0:
                    sums[0, place, ring] += image[j, i]
                    sums[1, place, ring] += 1


def _sizes(profiles: Float64) -> tuple[Float64, Float64, Float64]:
    """Radius, contrast and blur of each bead from the sums and counts of its rings.

    The blur is the width of the edge, from 0.8 to 0.2 of the height, as a share of the radius:
    gold stops all of the beam or, with less, has a steep edge; large molecules have neither.
    """
    sizes = np.zeros((3, profiles.shape[1]))
    middles = (np.arange(_RINGS) + 0.5) * _RING_ANGST
    for bead, (total, count) in enumerate(profiles.transpose(1, 0, 2)):
        some = count > 0
        if some.sum() < _RINGS // 2:
            continue
        r, profile = middles[some], total[some] / count[some]
        radius, around = 0.0, float(profile[-6:].mean())
        for _ in range(3):
            # large pixels leave the innermost rings empty
            inside = r <= max(0.6 * radius, 1.5 * _RING_ANGST, r[0])
            top = float(profile[inside].mean()) - around
            if top == 0:
                break
            radius = _falls_to(0.5, r, (profile - around) / top)
            ring = (r > 1.5 * radius) & (r < 2.2 * radius)
            if ring.any():
                around = float(profile[ring].mean())
        if top == 0:
            continue
        low, size, high = (
            _falls_to(level, r, (profile - around) / top) for level in (0.2, _RIM, 0.8)
        )
        sizes[:, bead] = size, top, (low - high) / radius
    return sizes[0], sizes[1], sizes[2]


def _falls_to(level: float, r: Float64, profile: Float64) -> float:
    """Where a profile falls below a level for the first time."""
    below = np.flatnonzero(profile < level)
    i = max(int(below[0]) if len(below) else len(r) - 1, 1)
    return float(np.interp(level, profile[[i, i - 1]], r[[i, i - 1]]))
