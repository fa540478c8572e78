"""What two volumes, or two sets of images, have in common view by view."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tomofilt.evaluate.rings import BANDS, band_correlation
from tomofilt.series.geometry import ImageGrid, SliceGeometry, VolumeGrid
from tomofilt.series.tiltseries import TiltSeries

__all__ = ["columns_inside", "halves_by_view", "volumes_by_view"]

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

#: Fewest columns of an image that have to lie inside the tomogram for a view to count.
_FEWEST_COLUMNS = 24


def columns_inside(
    slices: SliceGeometry, volume: VolumeGrid, images: ImageGrid
) -> list[slice | None]:
    """Columns of each image whose rays stay inside a volume from its first plane to its last.

    None for a view that has hardly any.
    """
    nz, _, nx = volume.shape
    zc, _, xc = volume.centre
    voxel = volume.voxel_angst
    z_angst = voxel * (np.array([0, nz - 1]) - zc)
    ends: list[slice | None] = []
    for a, b, u0 in zip(slices.a, slices.b, slices.u0_angst, strict=True):
        left = (-a * voxel * xc + b * z_angst + u0).max() / images.pixel_angst[1]
        right = (a * voxel * (nx - 1 - xc) + b * z_angst + u0).min() / images.pixel_angst[1]
        first = max(int(np.ceil(left + images.centre[1])), 0)
        last = min(int(np.floor(right + images.centre[1])), images.shape[1] - 1)
        whole = last - first + 1 >= _FEWEST_COLUMNS
        ends.append(slice(first, last + 1) if whole else None)
    return ends


def volumes_by_view(
    first: Float32,
    second: Float32,
    grid: VolumeGrid,
    slices: SliceGeometry,
    bands: Sequence[tuple[float, float]] = BANDS,
    threads: int | None = None,
) -> Float64:
    """Fourier ring correlation of the projections of two volumes, for each view.

    By the slice theorem, this is the correlation of the volumes on the central slices that the
    views saw.

    Parameters
    ----------
    first, second : (z, y, x) float32
    grid : VolumeGrid
        Their voxels.
    slices : SliceGeometry
        The views.
    bands : sequence of (low, high)
        In cycles per voxel.
    threads : int, optional

    Returns
    -------
    (view, band) correlations, NaN for a view that sees hardly any whole ray of the volumes.
    """
    from tomofilt.projectors.cpu import SliceProjector, slice_table

    _, ny, nx = grid.shape
    images = ImageGrid((ny, nx), (grid.voxel_angst, grid.voxel_angst), grid.centre[1:])
    table = slice_table(slices, grid, images)
    projector = SliceProjector(table, (len(table), ny, nx), grid.shape, threads=threads)
    pair = [projector.forward(volume) for volume in (first, second)]
    result = np.full((len(table), len(bands)), np.nan)
    for view, columns in enumerate(columns_inside(slices, grid, images)):
        if columns is not None:
            result[view] = band_correlation(
                pair[0][view, :, columns], pair[1][view, :, columns], bands
            )
    return result


def halves_by_view(
    series: TiltSeries, bands: Sequence[tuple[float, float]] = BANDS
) -> Float64 | None:
    """Fourier ring correlation of the even- and odd-frame image of each view.

    Parameters
    ----------
    series : TiltSeries
    bands : sequence of (low, high)
        In cycles per pixel of the images.

    Returns
    -------
    (view, band) correlations; None when the series has no such images.
    """
    if series.halves is None:
        return None
    even, odd = series.halves
    return np.stack(
        [
            band_correlation(even.read(int(image)), odd.read(int(image)), bands)
            for image in series.views
        ]
    )
