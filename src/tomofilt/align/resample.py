"""One resampling of an image: low-pass, in-plane warp, interpolation.

An image is low-passed to the output's pixel size by a Fourier crop, where that is coarser, and
interpolated with cubic B-splines at the positions of an affine map.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from tomofilt.series.geometry import ImageGrid
from tomofilt.util.jit import kernel
from tomofilt.util.lanes import four_by_four

__all__ = ["fourier_crop", "warp"]

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
#: Pixels whose positions and weights are computed together, in vectors.
_AT_ONCE = 64
#: The filter from pixels to cubic B-spline coefficients: its pole, whose powers from this one on
#: are below the rounding of float32; its gain; and what the way back begins with.
_POLE, _POWERS, _GAIN = np.float32(np.sqrt(3) - 2), 16, np.float32(6)
_TURN = _POLE / (_POLE * _POLE - np.float32(1))
#: Rows that are filtered side by side: each pixel waits for the one before it.
_ROWS = 8


def warp(
    image: Float32,
    pixel_angst: float,
    image_from_aligned: Float64,
    grid: ImageGrid,
    out: Float32,
    *,
    halo: int,
    fill: float,
    like_newstack: bool,
) -> None:
    """Resample an image, once, onto another grid.

    Parameters
    ----------
    image : (y, x)
    pixel_angst : float
        Its pixel size.
    image_from_aligned : (2, 3)
        Position in the image, angstrom about its centre, from the position (u, v, 1) on the grid.
    grid : ImageGrid
    out : (ny + 2 halo, nx) float32
        Receives the grid's pixels and ``halo`` rows more on either side.
    fill : float
        Value where the image has no data.
    like_newstack : bool
        Interpolate by cubic convolution with a = -1 (Keys, IEEE Trans. ASSP 29, 1153, 1981), as
        IMOD's newstack does, instead of by cubic B-splines, which keep fine detail better.
    """
    plain = ImageGrid.centred((image.shape[0], image.shape[1]), pixel_angst)
    samples, samples_grid = _samples(image, pixel_angst, grid.pixel_angst)
    if not like_newstack:
        samples = _coefficients(samples)
    matrix = _index_matrix(image_from_aligned, grid, samples_grid, halo)
    edges = _edges(plain, samples_grid)
    _interpolate(samples, matrix, edges, np.float32(fill), like_newstack, out)


def _samples(
    image: Float32, pixel_angst: float, target_angst: tuple[float, float]
) -> tuple[Float32, ImageGrid]:
    """What is interpolated: an image, low-passed to coarser pixels when asked.

    Returns
    -------
    samples : (y, x)
    grid : ImageGrid
        Spacing of the samples; its centre is where the image's centre is.
    """
    if max(target_angst) <= pixel_angst * (1 + 1e-6):
        return image, ImageGrid.centred((image.shape[0], image.shape[1]), pixel_angst)
    ratios = [max(1.0, target / pixel_angst) for target in target_angst]
    margins = [int(np.ceil(12 * ratio)) for ratio in ratios]
    padded_shape = [
        fft.next_fast_len(n + 2 * m, real=True) for n, m in zip(image.shape, margins, strict=True)
    ]
    widths = [(m, p - n - m) for n, m, p in zip(image.shape, margins, padded_shape, strict=True)]
    mode = (
        "reflect" if all(max(w) < n for w, n in zip(widths, image.shape, strict=True)) else "edge"
    )
    padded = np.pad(image, widths, mode=mode)  # type: ignore[call-overload]
    shape = [
        p if ratio == 1.0 else min(p, fft.next_fast_len(int(np.ceil(p / ratio)), real=True))
        for p, ratio in zip(padded_shape, ratios, strict=True)
    ]
    spectrum = _crop_spectrum(fft.rfft2(padded), padded.shape[0], shape)
    samples = np.asarray(fft.irfft2(spectrum, s=tuple(shape), overwrite_x=True), dtype=np.float32)
    samples *= np.float32(samples.size / padded.size)
    spacing = [pixel_angst * p / s for p, s in zip(padded_shape, shape, strict=True)]
    centre = [
        (m + (n - 1) / 2) * s / p
        for m, n, s, p in zip(margins, image.shape, shape, padded_shape, strict=True)
    ]
    grid = ImageGrid((shape[0], shape[1]), (spacing[0], spacing[1]), (centre[0], centre[1]))
    return samples, grid


def fourier_crop(image: Float32, shape: tuple[int, int]) -> Float32:
    """Image on fewer, larger pixels; pixel 0 stays on pixel 0."""
    spectrum = _crop_spectrum(fft.rfft2(image), image.shape[0], list(shape))
    scale = np.float32(shape[0] * shape[1] / image.size)
    return np.asarray(fft.irfft2(spectrum, s=shape) * scale, dtype=np.float32)


def _crop_spectrum(
    spectrum: NDArray[np.complex64], rows: int, shape: list[int]
) -> NDArray[np.complex64]:
    """Low frequencies of an rfft2 of ``rows`` rows, as the rfft2 of an image of ``shape``."""
    columns = shape[1] // 2 + 1
    if shape[0] == rows:
        return np.ascontiguousarray(spectrum[:, :columns])
    positive = (shape[0] + 1) // 2
    negative = shape[0] - positive
    return np.concatenate([spectrum[:positive, :columns], spectrum[rows - negative :, :columns]])


@kernel
def _mirrored(i: int, n: int) -> int:
    """Index of what is seen at index i of n pixels that are mirrored at the first and the last."""
    i = abs(i) % max(2 * n - 2, 1)
    return min(i, 2 * n - 2 - i)


@kernel
def _coefficients(image: Float32) -> Float32:
    """Cubic B-spline coefficients of an image (y, x).

    Along each axis a recursion runs there and back (Unser, Aldroubi & Eden, IEEE Trans. Signal
    Process. 41, 834, 1993).
    """
    out = np.empty(image.shape, np.float32)
    _along_rows(image, out)
    _along_columns(out)
    return out


@kernel
def _along_rows(image: Float32, out: Float32) -> None:
    ny, nx = image.shape
    there, total = np.empty((nx, _ROWS), np.float32), np.empty(_ROWS, np.float32)
    for start in range(0, ny, _ROWS):  # the last rows are filtered several times, not to be fewer
        total[:] = 0
        power = _GAIN
        for k in range(_POWERS):
            for r in range(_ROWS):
                total[r] += power * image[min(start + r, ny - 1), _mirrored(k, nx)]
            power *= _POLE
        for r in range(_ROWS):  # an assignment of arrays takes seconds to compile
            there[0, r] = total[r]
        for x in range(1, nx):
            for r in range(_ROWS):
                total[r] = _GAIN * image[min(start + r, ny - 1), x] + _POLE * total[r]
                there[x, r] = total[r]
        for r in range(_ROWS):
            total[r] = _TURN * (total[r] + _POLE * there[nx - 2, r])
            out[min(start + r, ny - 1), nx - 1] = total[r]
        for x in range(nx - 2, -1, -1):
            for r in range(_ROWS):
                total[r] = _POLE * total[r] - _POLE * there[x, r]
                out[min(start + r, ny - 1), x] = total[r]


@kernel
def _along_columns(out: Float32) -> None:
    ny, nx = out.shape
    first = np.zeros(nx, np.float32)
    power = _GAIN
    for k in range(_POWERS):
        for x in range(nx):
            first[x] += power * out[_mirrored(k, ny), x]
        power *= _POLE
    for x in range(nx):
        out[0, x] = first[x]
    for y in range(1, ny):
        for x in range(nx):
            out[y, x] = _GAIN * out[y, x] + _POLE * out[y - 1, x]
    for x in range(nx):
        out[ny - 1, x] = _TURN * (out[ny - 1, x] + _POLE * out[ny - 2, x])
    for y in range(ny - 2, -1, -1):
        for x in range(nx):
            out[y, x] = _POLE * out[y + 1, x] - _POLE * out[y, x]


def _index_matrix(
    image_from_aligned: Float64, grid: ImageGrid, samples: ImageGrid, halo: int
) -> Float64:
    """2 x 3 matrix from (column, row, 1) of the aligned grid to (column, row) of the samples."""
    spacing = np.array([grid.pixel_angst[1], grid.pixel_angst[0]])
    centre = np.array([grid.centre[1], grid.centre[0] + halo])
    to_index = 1.0 / np.array([samples.pixel_angst[1], samples.pixel_angst[0]])
    matrix = np.empty((2, 3))
    matrix[:, :2] = image_from_aligned[:, :2] * spacing * to_index[:, None]
    matrix[:, 2] = (
        image_from_aligned[:, 2] * to_index
        - matrix[:, :2] @ centre
        + [samples.centre[1], samples.centre[0]]
    )
    return matrix


def _edges(image: ImageGrid, samples: ImageGrid) -> Float64:
    """First and last position (x, x, y, y) among the samples within half a pixel of the image."""
    bounds = []
    for axis in (1, 0):
        half = image.shape[axis] / 2 * image.pixel_angst[axis] / samples.pixel_angst[axis]
        bounds += [samples.centre[axis] - half, samples.centre[axis] + half]
    return np.array(bounds)


@kernel
def _weights(fractions: Float32, convolution: bool, weights: Float32) -> None:
    """Weights (4, _AT_ONCE) of the samples around positions, fractions after the second of them."""
    if convolution:
        for k in range(_AT_ONCE):
            t = fractions[k]
            rest = 1 - t
            weights[0, k] = -t * rest * rest
            weights[1, k] = 1 - 2 * t * t + t * t * t
            weights[2, k] = 1 - 2 * rest * rest + rest * rest * rest
            weights[3, k] = -rest * t * t
    else:
        sixth = np.float32(1 / 6)
        for k in range(_AT_ONCE):
            t = fractions[k]
            rest = 1 - t
            weights[0, k] = rest * rest * rest * sixth
            weights[1, k] = (4 - 6 * t * t + 3 * t * t * t) * sixth
            weights[2, k] = (4 - 6 * rest * rest + 3 * rest * rest * rest) * sixth
            weights[3, k] = t * t * t * sixth


@kernel
def _place(
    step: float,
    first: float,
    low: float,
    high: float,
    convolution: bool,
    places: NDArray[np.int32],
    fractions: Float32,
    weights: Float32,
) -> None:
    """Where _AT_ONCE pixels of a row of the output fall among the samples, along one axis.

    ``places`` receives the number of the sample before plus 2, or 0 where the image has no data,
    ``fractions`` how far beyond it, and ``weights`` (4, _AT_ONCE) those of the four around.
    """
    for k in range(_AT_ONCE):
        # two more, so that it is positive and rounded down: data begin half a pixel before pixel 0
        position = step * k + (first + 2)
        has_data = (position >= low + 2) & (position <= high + 2)
        position = position if has_data else 0.0
        place = np.int32(position)
        places[k] = place
        fractions[k] = np.float32(position - place)
    _weights(fractions, convolution, weights)


@kernel
def _interpolate(
    samples: Float32,
    matrix: Float64,
    edges: Float64,
    fill: np.float32,
    convolution: bool,
    out: Float32,
) -> None:
    """Interpolate at every pixel of ``out``; ``fill`` where the image has no data."""
    ny, nx = samples.shape
    places = np.empty((2, _AT_ONCE), np.int32)
    fractions, weights = np.empty(_AT_ONCE, np.float32), np.empty((8, _AT_ONCE), np.float32)
    for row in range(out.shape[0]):
        for start in range(0, out.shape[1], _AT_ONCE):
            for axis in range(2):
                _place(
                    matrix[axis, 0],
                    matrix[axis, 0] * start + matrix[axis, 1] * row + matrix[axis, 2],
                    edges[2 * axis], edges[2 * axis + 1], convolution,
                    places[axis], fractions, weights[4 * axis : 4 * axis + 4],
                )  # fmt: skip
            for k in range(min(_AT_ONCE, out.shape[1] - start)):
                i, j = places[0, k] - 2, places[1, k] - 2
                if i == -2 or j == -2:
                    out[row, start + k] = fill
                    continue
                if 1 <= i < nx - 2 and 1 <= j < ny - 2:
                    out[row, start + k] = four_by_four(
                        samples, (j - 1) * nx + i - 1, nx, weights, k, _AT_ONCE
                    )
                else:
                    out[row, start + k] = _sum_inside(samples, i, j, weights, k, convolution)


@kernel
def _sum_inside(
    samples: Float32, i: int, j: int, weights: Float32, k: int, convolution: bool
) -> np.float32:
    """As ``four_by_four``; beyond their edges pixels go on, and coefficients are mirrored."""
    ny, nx = samples.shape
    total = np.float32(0)
    for dj in range(4):
        y = j + dj - 1
        line = samples[min(max(y, 0), ny - 1) if convolution else _mirrored(y, ny)]
        part = np.float32(0)
        for di in range(4):
            x = i + di - 1
            part += (
                weights[di, k] * line[min(max(x, 0), nx - 1) if convolution else _mirrored(x, nx)]
            )
        total += weights[4 + dj, k] * part
    return total
