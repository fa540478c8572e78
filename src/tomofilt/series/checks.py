"""What cannot be: checks of a tilt series as a reader hands it over, before anything is computed.

A tomogram from wrong numbers looks like a tomogram. So every series, of whatever kind of project,
comes through :func:`checked` (see :func:`tomofilt.series.projects.read_series`): what no microscope
could have done is refused, what may be meant is said in a note. Readers call :func:`refuse_angles`
and :func:`refuse_transforms` themselves where they know the line of the file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tomofilt.errors import InputError
from tomofilt.series.ctf import Ctf
from tomofilt.series.halves import why_not_trusted
from tomofilt.series.pixels import refuse_empty_logarithm
from tomofilt.series.tiltseries import TiltSeries
from tomofilt.util.words import listed

__all__ = [
    "LARGEST_TILT_DEG",
    "checked",
    "refuse_angles",
    "refuse_transforms",
]

FloatArray = NDArray[np.float64]

LARGEST_TILT_DEG = 90.0
#: Tilts of so many views that are all smaller than this are radians (90 deg are 1.57).
_RADIANS, _RADIAN_VIEWS = 1.6, 10
_MAGNIFICATION = (0.5, 2.0)
_STRETCH, _SKEW_DEG = 1.2, 10.0
_PIXEL_ANGST = (0.01, 1e5)
_LONGEST_AXIS, _MOST_VOXELS = 1_000_000, 1e13
_VOLTAGE_KV, _CS_MM, _AMPLITUDE_CONTRAST = (10.0, 3000.0), (-1.0, 20.0), (0.0, 1.0)
_MOST_DEFOCUS_ANGST, _MOST_DOSE = 1e6, 1e4
#: A view whose tilt axis differs by more from that of the others was not aligned with them.
_SAME_AXIS_DEG = 20.0
#: One in so many points of a tomogram is looked for in each view first.
_FEW = 29
#: A tomogram whose width the least tilted image fills to a smaller share has blank parts.
_FILLED = 0.95


def checked(series: TiltSeries) -> TiltSeries:
    """Return the series, with notes on what is odd about it and without what cannot be trusted.

    A CTF, an exposure or frame halves that cannot be are taken out, and a note says why.

    Raises
    ------
    InputError
        A size, an angle or a transform cannot be, or no view shows the tomogram.
    """
    _refuse_sizes(series)
    source = _source(series)
    refuse_angles(series.tilt_deg, "a tilt", lambda i: f"{source}, view {series.views[i] + 1},")
    _refuse_alike(series.tilt_deg, source)
    _refuse_maps(series)
    refuse_empty_logarithm(series)
    notes = [*series.notes, *_notes_on_views(series), *_notes_on_width(series)]
    ctf = series.ctf
    if ctf is not None and (why := _why_no_ctf(ctf, series.views)):
        notes.append(f"the CTF is not known: {why}")
        ctf = None
    voltage = series.voltage_kv
    if voltage is not None and not _VOLTAGE_KV[0] <= voltage <= _VOLTAGE_KV[1]:
        notes.append(f"a voltage of {voltage:g} kV cannot be: it is not used")
        voltage = None
    dose = series.dose_e_per_a2
    if dose is not None and not np.all((dose >= 0) & (dose <= _MOST_DOSE)):
        notes.append(
            f"an exposure of {dose.min():g} to {dose.max():g} electrons/A^2 cannot be: it is not "
            "used"
        )
        dose = None
    halves, why_no_halves = series.halves, series.halves_refused
    if halves is not None and (why_no_halves := why_not_trusted(series)):
        notes.append(f"{why_no_halves}: the halves are not used, the whole images alone are")
        halves = None
    return replace(
        series,
        notes=tuple(notes),
        ctf=ctf,
        voltage_kv=voltage,
        dose_e_per_a2=dose,
        halves=halves,
        halves_refused=why_no_halves,
    )


def refuse_angles(angles_deg: ArrayLike, what: str, place: Callable[[int], str]) -> None:
    """Refuse angles beyond 90 degrees, and what is no number.

    Parameters
    ----------
    angles_deg : (view,)
        Tilt or x tilt of views, after all offsets.
    what : str
        What such an angle is: "a tilt", "an x tilt".
    place : function of int to str
        Where the angle of that index stands, the file and its line as far as they are known.

    Raises
    ------
    InputError
    """
    angles = np.asarray(angles_deg, dtype=np.float64)
    wrong = np.flatnonzero(~(np.abs(angles) <= LARGEST_TILT_DEG))
    if wrong.size:
        first = int(wrong[0])
        others = f", and {wrong.size - 1} more" if wrong.size > 1 else ""
        raise InputError(
            f"{place(first)} has {what} of {angles[first]:g} deg{others}, but a stage tilts by "
            f"{LARGEST_TILT_DEG:g} deg at most: correct it, or leave the view out"
        )


def refuse_transforms(linear: ArrayLike, place: Callable[[int], str]) -> None:
    """Refuse transforms between images that magnify, stretch or skew them as no alignment does.

    Parameters
    ----------
    linear : (view, 2, n)
        Two axes of each transform: the columns of a 2 x 2 matrix, or the rows of a view map.
    place : function of int to str
        Where the transform of that index stands, the file and its line as far as they are known.

    Raises
    ------
    InputError
    """
    axes = np.asarray(linear, dtype=np.float64)
    length = np.linalg.norm(axes, axis=2)
    least, most = length.min(axis=1), length.max(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        cosine = np.einsum("vi,vi->v", axes[:, 0], axes[:, 1]) / (least * most)
    skew_deg = np.degrees(np.abs(np.arcsin(np.clip(cosine, -1, 1))))
    for index in range(len(axes)):
        low, high = float(least[index]), float(most[index])
        if not (low >= _MAGNIFICATION[0] and high <= _MAGNIFICATION[1]):
            size = high if high > _MAGNIFICATION[1] else low
            found = f"magnifies by {size:g}, but {_MAGNIFICATION[0]:g} to {_MAGNIFICATION[1]:g}"
        elif not high <= _STRETCH * low:
            found = f"stretches one axis {high / low:.2f} times the other, but {_STRETCH:g} at most"
        elif not skew_deg[index] <= _SKEW_DEG:
            found = f"skews the axes by {skew_deg[index]:.0f} deg, but {_SKEW_DEG:g} at most"
        else:
            continue
        raise InputError(
            f"{place(index)} has a transform that {found} can come from an alignment: make the "
            "alignment again, or leave the view out"
        )


def _source(series: TiltSeries) -> str:
    """Name where the angles are from."""
    for fact in ("tilt_angles", "alignment"):
        if fact in series.facts:
            return f"{series.name} ({series.facts[fact].source})"
    return series.name


def _refuse_sizes(series: TiltSeries) -> None:
    name, pixel, grid = series.name, series.images.pixel_angst, series.grid
    if not _PIXEL_ANGST[0] <= pixel <= _PIXEL_ANGST[1]:
        raise InputError(
            f"{name}: a pixel size of {pixel:g} A cannot be: correct it, or give --input-pixel-size"
        )
    nz, ny, nx = (int(n) for n in grid.shape)
    if max(nx, ny, nz) > _LONGEST_AXIS or nx * ny * nz > _MOST_VOXELS:
        raise InputError(
            f"{name}: a tomogram of {_short(nx)} x {_short(ny)} x {_short(nz)} px (x, y, z) is "
            "larger than any file: correct the size that the project gives, or give --shape or "
            "--thickness"
        )
    if not (np.abs(grid.centre) < 10 * _LONGEST_AXIS).all():
        raise InputError(
            f"{name}: the specimen would be {_short(max(map(abs, grid.centre)))} px beside the "
            "tomogram: correct the shifts that the project gives"
        )
    largest = max(nx, ny, nz)
    if not 0 < series.binning <= largest:
        raise InputError(
            f"{name}: binning by {series.binning:g} leaves nothing of a tomogram of {largest} px: "
            "correct it"
        )


def _short(number: float) -> str:
    return f"{number:.0f}" if number < 1e9 else f"{float(number):g}"


def _refuse_alike(tilt_deg: FloatArray, source: str) -> None:
    if len(tilt_deg) < 2:
        return
    low, high = float(tilt_deg.min()), float(tilt_deg.max())
    if low == high:
        raise InputError(
            f"{source}: all tilt angles are {low:g}, so that there is nothing to see the depth by: "
            "take the angles that the stack was recorded with (.rawtlt, .mdoc)"
        )
    if len(tilt_deg) > _RADIAN_VIEWS and max(-low, high) <= _RADIANS:
        raise InputError(
            f"{source}: all {len(tilt_deg)} tilt angles are within {low:g} and {high:g}, which are "
            "radians: convert them to degrees (times 57.29578)"
        )


def _refuse_maps(series: TiltSeries) -> None:
    """Refuse view maps, those of local alignment too, whose image axes no alignment has."""
    views, geometry = series.views, series.geometry
    source = _source(series)
    refuse_transforms(
        geometry.image_from_volume[:, :, :3], lambda i: f"{source}, view {views[i] + 1},"
    )
    if geometry.local is not None:
        maps = geometry.local.image_from_volume
        count = maps.shape[1] * maps.shape[2]
        refuse_transforms(
            maps[..., :3].reshape(-1, 2, 3),
            lambda i: f"{source}, local alignment of view {views[i // count] + 1},",
        )


def views_that_miss(series: TiltSeries) -> NDArray[np.intp]:
    """Images, counted from 0, that show no part of the tomogram."""
    points = _lattice_angst(series)
    # some of them are enough for almost all views
    missing = np.flatnonzero(~_inside(series, points[::_FEW]).any(axis=1))
    missing = missing[~_inside(series, points, missing).any(axis=1)]
    return np.asarray(series.views[missing])


def _notes_on_views(series: TiltSeries) -> Iterator[str]:
    """Say which views do not show the tomogram, or have another tilt axis than the others."""
    views, missing = series.views + 1, views_that_miss(series)
    if len(missing) == len(views):
        ny, nx = series.images.shape[1:]
        shift = np.abs(series.geometry.image_from_volume[:, :, 3]) / series.images.pixel_angst
        raise InputError(
            f"{series.name}: no view meets the tomogram: the images are {nx} x {ny} px, and the "
            f"alignment moves them by {_short(np.median(shift.max(axis=1)))} px: is it that of "
            "images with another binning? Give --alignment-pixel-size, or the images it was made "
            "for"
        )
    if len(missing):
        yield (
            f"{len(missing)} of {len(views)} views show no part of the tomogram, "
            f"{listed(missing + 1)}: check their shifts, or leave them out with --exclude"
        )
    x, y = series.geometry.image_from_volume[:, :, 1].T
    axis_deg = np.degrees(np.arctan2(y, x))
    # a tilt axis has no direction: angles count up to half a turn, which twice the angle forgets
    turns = np.radians(2 * axis_deg)
    common_deg = np.degrees(np.arctan2(np.median(np.sin(turns)), np.median(np.cos(turns)))) / 2
    off = np.abs((axis_deg - common_deg + 90) % 180 - 90) > _SAME_AXIS_DEG
    if off.any():
        yield (
            f"the tilt axis of views {listed(views[off])} lies apart from that of the others: "
            "alignment may have left them out; leave them out too, with --exclude"
        )


def _notes_on_width(series: TiltSeries) -> Iterator[str]:
    """Say where the tomogram is wider than the least tilted image, so that it has blank parts."""
    grid = series.grid
    least = int(np.abs(series.tilt_deg).argmin())
    sizes = np.array(grid.shape[::-1])
    for axis, name in ((0, "x"), (1, "y")):
        line = np.tile((sizes - 1) / 2, (sizes[axis], 1))
        line[:, axis] = np.arange(sizes[axis])
        points = (line - np.array(grid.centre[::-1])) * grid.voxel_angst
        filled = int(_inside(series, points, slice(least, least + 1)).sum())
        if filled < _FILLED * sizes[axis]:
            yield (
                f"the tomogram is {sizes[axis]} unbinned px wide in {name}, but the least tilted "
                f"image fills only {filled} of them (the tilt axis counts): the rest will be blank"
            )


def _lattice_angst(series: TiltSeries) -> FloatArray:
    """Points (x, y, z) all over the tomogram, about the specimen centre."""
    grid = series.grid
    axes = [
        (np.linspace(0, n - 1, min(n, most)) - centre) * grid.voxel_angst
        for n, centre, most in zip(grid.shape[::-1], grid.centre[::-1], (25, 25, 5), strict=True)
    ]
    if all(0 <= centre < n for centre, n in zip(grid.centre, grid.shape, strict=True)):
        axes = [np.append(axis, 0.0) for axis in axes]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)


def _inside(
    series: TiltSeries, points_angst: FloatArray, views: slice | NDArray[np.intp] = slice(None)
) -> NDArray[np.bool_]:
    """Whether each view's image has each point, (view, point)."""
    maps = series.geometry.image_from_volume[views]
    seen = maps[:, :, :3] @ points_angst.T + maps[:, :, 3:]
    half = np.array(series.images.shape[:0:-1]) * series.images.pixel_angst / 2
    return np.asarray((np.abs(seen) <= half[:, None]).all(axis=1))


def _why_no_ctf(ctf: Ctf, views: NDArray[np.intp]) -> str | None:
    for value, (low, high), what in (
        (ctf.voltage_kv, _VOLTAGE_KV, "a voltage of {:g} kV"),
        (ctf.cs_mm, _CS_MM, "a spherical aberration of {:g} mm"),
        (ctf.amplitude_contrast, _AMPLITUDE_CONTRAST, "an amplitude contrast of {:g}"),
    ):
        if not low <= value <= high:
            return f"{what.format(value)} cannot be ({low:g} to {high:g} can)"
    numbers = np.stack(
        [ctf.defocus_u_angst, ctf.defocus_v_angst, ctf.astigmatism_deg, ctf.phase_shift_deg]
    )
    broken = ~np.isfinite(numbers).all(axis=0)
    broken |= np.abs(numbers[:2]).max(axis=0) > _MOST_DEFOCUS_ANGST
    if broken.any():
        first = int(np.flatnonzero(broken)[0])
        return f"a defocus of {numbers[0, first]:g} A in view {views[first] + 1} cannot be"
    return None
