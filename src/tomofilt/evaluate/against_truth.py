"""Measures of how well a reconstruction agrees with the true specimen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tomofilt.errors import InputError
from tomofilt.evaluate.rings import RingCorrelation, ring_correlation

__all__ = [
    "TruthScores",
    "affine_match",
    "compare_with_truth",
    "matched_psnr_db",
    "psnr_db",
    "ssim",
    "truth_fsc",
]

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

#: PSNR and SSIM are measured in this central part of each axis.
CENTRAL = 0.75
#: The range of the truth is the distance of these percentiles, so that gold beads do not widen it.
RANGE_PERCENTILES = (0.1, 99.9)
# Wang, Bovik, Sheikh & Simoncelli, IEEE Trans. Image Process. 13, 600 (2004).
_SSIM_SIGMA, _SSIM_REACH, _K1, _K2 = 1.5, 5, 0.01, 0.03


@dataclass(frozen=True, eq=False)
class TruthScores:
    """How near a reconstruction comes to the truth.

    Attributes
    ----------
    slope, offset : float
        The reconstruction times ``slope`` plus ``offset`` fits the truth best. The slope is
        negative if the contrast is inverted.
    correlation : float
        Pearson's correlation of the voxels.
    psnr_db, ssim : float
        Measured after that fit.
    psnr_raw_db, ssim_raw : float
        Measured on the densities as they are.
    data_range : float
        The range that PSNR and SSIM refer to.
    fsc : mapping
        Fourier shell correlation, after the contrast was corrected if inverted: ``"all"`` and, if
        tilt angles are known, ``"sampled"`` (directions that some view saw) and ``"wedge"``.
    """

    slope: float
    offset: float
    correlation: float
    psnr_db: float
    ssim: float
    psnr_raw_db: float
    ssim_raw: float
    data_range: float
    fsc: Mapping[str, RingCorrelation]


def compare_with_truth(
    volume: Float32,
    truth: Float32,
    voxel_angst: float,
    tilt_deg: Float64 | None = None,
    threads: int = 1,
) -> TruthScores:
    """Measure a reconstruction against the truth on the same voxels.

    PSNR and SSIM are measured in the central three quarters along each axis, where all views
    contribute; FSC in the whole volume with tapered edges.

    Parameters
    ----------
    volume, truth : (z, y, x) float32
    voxel_angst : float
    tilt_deg : (view,), optional
        Directions of the views' central slices about y.
    threads : int

    Raises
    ------
    InputError
        The two differ in shape, or one of them is constant or not finite.
    """
    if volume.shape != truth.shape:
        raise InputError(f"a volume of {volume.shape} has no truth of {truth.shape} voxels")
    box = tuple(_central(n) for n in volume.shape)
    inner, inner_truth = volume[box], truth[box]
    slope, offset, correlation = affine_match(inner, inner_truth)
    data_range = _data_range(inner_truth)
    matched = inner * np.float32(slope) + np.float32(offset)
    return TruthScores(
        slope=slope,
        offset=offset,
        correlation=correlation,
        psnr_db=psnr_db(matched, inner_truth, data_range),
        ssim=ssim(matched, inner_truth, data_range),
        psnr_raw_db=psnr_db(inner, inner_truth, data_range),
        ssim_raw=ssim(inner, inner_truth, data_range),
        data_range=data_range,
        fsc=truth_fsc(
            volume, truth, voxel_angst, tilt_deg, sign=-1 if slope < 0 else 1, threads=threads
        ),
    )


def matched_psnr_db(volume: Float32, truth: Float32) -> float:
    """Only the PSNR of :func:`compare_with_truth`, after the fit of slope and offset."""
    box = tuple(_central(n) for n in volume.shape)
    inner, inner_truth = volume[box], truth[box]
    slope, offset, _ = affine_match(inner, inner_truth)
    matched = inner * np.float32(slope) + np.float32(offset)
    return psnr_db(matched, inner_truth, _data_range(inner_truth))


def affine_match(volume: Float32, truth: Float32) -> tuple[float, float, float]:
    """Slope and offset with which a volume fits the truth best, and the correlation of the two.

    Raises
    ------
    InputError
        One of them is constant, or not finite.
    """
    n = volume.size
    mean, mean_truth = volume.mean(dtype=np.float64), truth.mean(dtype=np.float64)
    variance = cross = variance_truth = 0.0
    for plane, plane_truth in zip(volume, truth, strict=True):
        a, b = plane - mean, plane_truth - mean_truth
        variance += float(np.vdot(a, a))
        variance_truth += float(np.vdot(b, b))
        cross += float(np.vdot(a, b))
    if not np.isfinite([variance, variance_truth]).all():
        raise InputError("a volume holds NaN or infinite voxels")
    # because of rounding, the variance of a constant volume is tiny but not zero
    for name, mu, var in (("volume", mean, variance), ("truth", mean_truth, variance_truth)):
        if var <= n * (1e-7 * mu) ** 2:
            raise InputError(f"the {name} is constant where it is compared, {mu:g} everywhere")
    slope = cross / variance
    correlation = cross / float(np.sqrt(variance * variance_truth))
    return slope, float(mean_truth - slope * mean), correlation


def psnr_db(volume: Float32, truth: Float32, data_range: float) -> float:
    """Peak signal-to-noise ratio, ``10 log10(range^2 / mean squared error)``, in decibels."""
    squares = sum(
        float(np.square(plane - plane_truth, dtype=np.float64).sum())
        for plane, plane_truth in zip(volume, truth, strict=True)
    )
    if squares == 0:
        return float("inf")
    return float(10 * np.log10(data_range**2 * volume.size / squares))


def ssim(volume: Float32, truth: Float32, data_range: float) -> float:
    """Structural similarity in three dimensions (Wang et al. 2004), over Gaussian windows.

    The mean over all voxels whose window (sigma 1.5, cut at 5 voxels) is inside the volume.

    Raises
    ------
    InputError
        The volume is smaller than one window.
    """
    from scipy.ndimage import gaussian_filter1d

    reach = _SSIM_REACH
    if min(volume.shape) < 2 * reach + 1:
        raise InputError(
            f"a volume of {volume.shape} voxels is too small for SSIM, which needs "
            f"{2 * reach + 1} along each axis"
        )
    inside = slice(reach, -reach)

    def mean(values: Float64) -> Float64:
        for axis in range(3):
            values = gaussian_filter1d(values, _SSIM_SIGMA, axis, radius=reach)
        return np.asarray(values[inside, inside, inside])

    c1, c2 = (_K1 * data_range) ** 2, (_K2 * data_range) ** 2
    nz = volume.shape[0]
    total, count, planes = 0.0, 0, 16
    for start in range(0, nz - 2 * reach, planes):
        part = slice(start, min(start + planes + 2 * reach, nz))
        a, b = volume[part].astype(np.float64), truth[part].astype(np.float64)
        mean_a, mean_b = mean(a), mean(b)
        var_a, var_b = mean(a * a) - mean_a**2, mean(b * b) - mean_b**2
        covariance = mean(a * b) - mean_a * mean_b
        similarity = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
        similarity /= (mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2)
        total += float(similarity.sum())
        count += similarity.size
    return total / count


def truth_fsc(
    volume: Float32,
    truth: Float32,
    voxel_angst: float,
    tilt_deg: Float64 | None = None,
    *,
    sign: int = 1,
    threads: int = 1,
) -> dict[str, RingCorrelation]:
    """Fourier shell correlation with the truth, everywhere and by region.

    Parameters
    ----------
    volume, truth : (z, y, x) float32
    voxel_angst : float
    tilt_deg : (view,), optional
        Directions of the views' central slices; a Fourier value counts as sampled when its
        direction in the x-z plane lies between the lowest and the highest.
    sign : 1 or -1
        -1 for a volume of inverted contrast.
    threads : int

    Returns
    -------
    ``"all"``, and with tilt angles ``"sampled"`` and ``"wedge"``.
    """
    regions = None if tilt_deg is None else _wedge(volume.shape, tilt_deg)
    curves = [
        replace(curve, correlation=sign * curve.correlation)
        for curve in ring_correlation(volume, truth, voxel_angst, regions=regions, threads=threads)
    ]
    # without a missing wedge there is only one region
    names = ("all",) if len(curves) == 1 else ("sampled", "wedge", "all")
    return dict(zip(names, curves, strict=True))


def _wedge(shape: tuple[int, ...], tilt_deg: Float64) -> NDArray[np.int8]:
    """0 where views saw the direction (k_z, k_x), 1 in the missing wedge: (z, x // 2 + 1)."""
    nz, _, nx = shape
    k_z, k_x = np.fft.fftfreq(nz)[:, None], np.fft.rfftfreq(nx)
    # a view at tilt t sees the line k = |k| (cos t, sin t) in (x, z), and its mirror at t + 180
    direction = np.degrees(np.arctan2(k_z, k_x))
    low, high = float(tilt_deg.min()), float(tilt_deg.max())
    seen = np.zeros(direction.shape, dtype=bool)
    for turn in (-180.0, 0.0, 180.0):
        seen |= (direction + turn >= low) & (direction + turn <= high)
    seen[0, 0] = True  # the tilt axis, which every view sees
    return (~seen).astype(np.int8)


def _data_range(truth: Float32) -> float:
    low, high = np.percentile(truth, RANGE_PERCENTILES)
    return float(high - low) or float(np.ptp(truth))


def _central(n: int) -> slice:
    """The central part of an axis that is compared, but never less than SSIM needs."""
    cut = min(round(n * (1 - CENTRAL) / 2), max(0, (n - 2 * _SSIM_REACH - 1) // 2))
    return slice(cut, n - cut)
