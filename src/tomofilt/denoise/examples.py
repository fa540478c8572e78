"""What a head is trained on: the bands of one half of the views, and the tomogram of the other.

Even and odd views share neither noise nor the streaks of sparse sampling, so that what one half
says of the other is specimen (Lehtinen et al., ICML 2018). On simulated series this is as good as
frame halves where views are dense, and better everywhere else.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tomofilt.denoise.bands import CoarseBands, windows
from tomofilt.denoise.central import CentralRows
from tomofilt.denoise.gates import gate_inputs, interpolated
from tomofilt.denoise.head import FIRST_GATED
from tomofilt.denoise.kernel import bands_at, values_at
from tomofilt.projectors.cpu import slice_table
from tomofilt.reconstruction.problem import Problem

__all__ = [
    "Examples",
    "Tomogram",
    "chosen_voxels",
    "displacement_px",
    "examples_from_halves",
    "examples_from_truth",
    "halves_and_whole",
]

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

#: Displacements that are looked at, in voxels.
_REACH_PX, _STEP_PX = 8.0, 0.25
#: Voxels that a head is trained on; each counts twice, once for either half.
_VOXELS = 250_000
#: Standard deviations beyond which a band is cut: noise is left alone, gold is not.
_LIMIT = 5.0
#: Of each group of rows, the last fifth is kept for stopping early.
_GROUP, _TRAINED = 40, 32


@dataclass(frozen=True, eq=False)
class Examples:
    """What a head is to make of what it sees.

    Attributes
    ----------
    bands : (example, GATED) float32
        The gated bands, cut, times what they are worth: weights of 1 are the best linear ones.
    target : (example,) float32
        What the sum of the bands times the weights is to be.
    inputs : (example, INPUTS) float32
    held_out : (example,) bool
        Not for training, but for stopping it.
    limit : (BANDS,)
        Magnitude at which bands are cut.
    deviation : (BANDS,)
        Standard deviation of the cut bands.
    """

    bands: Float32
    target: Float32
    inputs: Float32
    held_out: NDArray[np.bool_]
    limit: Float64
    deviation: Float64


@dataclass(frozen=True, eq=False)
class Tomogram:
    """The central rows of a tomogram, with their bands.

    Attributes
    ----------
    coarse : list of CoarseBands
    block : (z, y, x) float32
    """

    coarse: list[CoarseBands]
    block: Float32

    def bands(self, voxels: NDArray[np.intp]) -> Float32:
        """Bands (voxel, BANDS) at some voxels (voxel, 3: z, y, x)."""
        return np.ascontiguousarray(bands_at(self.coarse, self.block, 0, 0, voxels).T)

    def inputs(self, voxels: NDArray[np.intp], deviation: Float64, limit: Float64) -> Float32:
        """What the network sees (voxel, INPUTS), with the limit in standard deviations."""
        nodes = gate_inputs(self.coarse, deviation, limit)
        return np.ascontiguousarray(values_at(interpolated(nodes), voxels).T)


def chosen_voxels(problem: Problem, seed: int) -> NDArray[np.intp]:
    """Random voxels (voxel, 3: z, y, x) of a tomogram that all views see, or nearly."""
    nz, ny, nx = problem.grid.shape
    frame = problem.frame
    seen = np.zeros((nz, nx), dtype=np.intp)
    z, x = np.arange(nz)[:, None], np.arange(nx)
    for a, b, c, _, _ in slice_table(frame.slices, problem.grid, frame.grid):
        column = a * x + b * z + c
        seen += (column >= 2) & (column <= frame.grid.shape[1] - 3)
    columns = np.argwhere(seen >= min(len(problem.series.views), np.quantile(seen, 0.6)))
    rng = np.random.default_rng(seed)
    chosen = columns[rng.integers(0, len(columns), min(_VOXELS, len(columns) * ny))]
    return np.stack([chosen[:, 0], rng.integers(0, ny, len(chosen)), chosen[:, 1]], axis=1)


def halves_and_whole(central: CentralRows) -> tuple[list[Tomogram], Tomogram]:
    """Tomograms of every other view and of the rest, and of all: it is linear, and their mean."""
    order = np.argsort(central.problem.frame.slices.tilt_deg, kind="stable")
    members = order[::2], order[1::2]
    first, second = (Tomogram(*central.volume(half, len(order) / len(half))) for half in members)
    share = np.float32(len(members[0]) / len(order))

    def mean(one: Float32, other: Float32) -> Float32:
        found = one - other
        found *= share
        found += other
        return found

    coarse = [
        replace(one, values=mean(one.values, other.values))
        for one, other in zip(first.coarse, second.coarse, strict=True)
    ]
    return [first, second], Tomogram(coarse, mean(first.block, second.block))


def examples_from_halves(halves: list[Tomogram], voxels: NDArray[np.intp]) -> Examples:
    """Examples from two tomograms whose noise is independent.

    Parameters
    ----------
    halves : two Tomogram
    voxels : (voxel, 3: z, y, x)
    """
    first, second = (half.bands(voxels) for half in halves)
    limit = _LIMIT * np.sqrt((_spread(first) ** 2 + _spread(second) ** 2) / 2)
    first, second = (np.clip(half, -limit, limit).astype(np.float32) for half in (first, second))
    bands = np.concatenate([first, second])
    deviation = bands.std(axis=0, dtype=np.float64)
    inputs = [half.inputs(voxels, deviation, limit / deviation) for half in halves]
    return Examples(
        *_worth(bands[:, FIRST_GATED:], np.concatenate([second, first])[:, FIRST_GATED:]),
        np.concatenate(inputs),
        np.tile(voxels[:, 1] % _GROUP >= _TRAINED, 2),
        limit,
        deviation,
    )


def examples_from_truth(
    tomogram: Tomogram, truth: Float32, voxels: NDArray[np.intp], first_row: int
) -> Examples:
    """Examples from the central rows of a tomogram, and the densities that it should have.

    Parameters
    ----------
    tomogram : Tomogram
    truth : (z, y, x)
        Of all rows.
    voxels : (voxel, 3: z, y, x)
        In the central rows.
    first_row : int
        Row of the whole tomogram that the central rows begin with.
    """
    bands = tomogram.bands(voxels)
    limit = _LIMIT * _spread(bands)
    bands = np.clip(bands, -limit, limit).astype(np.float32)
    deviation = bands.std(axis=0, dtype=np.float64)
    return Examples(
        bands[:, FIRST_GATED:],
        _gated(truth, voxels + np.array([0, first_row, 0])),
        tomogram.inputs(voxels, deviation, limit / deviation),
        voxels[:, 1] % _GROUP >= _TRAINED,
        limit,
        deviation,
    )


def _worth(bands: Float32, target: Float32) -> tuple[Float32, Float32]:
    """Bands times the slope of their targets on them, and the sum of the targets.

    All bands count alike, whatever their power: else the noise of the highest, where it is strong,
    would be all that is learned.
    """
    slope = (bands * target).sum(axis=0) / np.square(bands).sum(axis=0)
    deviation = bands.std(axis=0)
    return bands * (np.maximum(slope, 0) / deviation), (target / deviation).sum(axis=1)


def _gated(volume: Float32, voxels: NDArray[np.intp]) -> Float32:
    """The sum of the gated bands of a whole volume at some voxels: all but its lowest bands."""
    from scipy import fft

    nz, ny, nx = volume.shape
    k_y, k_x = np.fft.fftfreq(ny)[:, None], np.fft.rfftfreq(nx)
    spectrum = fft.rfftn(volume)
    for z, k_z in enumerate(np.fft.fftfreq(nz)):
        k = np.sqrt(k_z**2 + k_y**2 + k_x**2)
        spectrum[z] *= windows(k)[FIRST_GATED:].sum(axis=0).astype(np.float32)
    return np.asarray(fft.irfftn(spectrum, volume.shape)[tuple(voxels.T)])


def _spread(bands: Float32) -> Float64:
    """Standard deviation of each band as the bulk of the voxels has it."""
    return np.asarray(1.4826 * np.median(np.abs(bands), axis=0), dtype=np.float64)


def displacement_px(first: CoarseBands, second: CoarseBands) -> tuple[float, float, float]:
    """How far the specimen of one tomogram lies from that of another, in y and x.

    The largest correlation among displacements in steps of a quarter of a voxel. The lowest band,
    which holds gradients, is left out.

    Returns
    -------
    y, x : float
        In voxels.
    share : float
        The correlation without any displacement, over the largest. Halves that share few
        frequencies, of thick specimens and sparse views, do not tell small displacements apart.
    """
    from scipy import fft

    shape = first.values.shape[1:]
    # what ends at the sides of the tomogram ends there in both
    window = np.outer(np.hanning(shape[1] + 2)[1:-1], np.hanning(shape[2] + 2)[1:-1])
    spectra = []
    for each in (first, second):
        summed = each.values[1:].sum(axis=0, dtype=np.float64)
        spectra.append(fft.fftn((summed - summed.mean(axis=(1, 2), keepdims=True)) * window))
    cross = (spectra[0] * spectra[1].conj()).sum(axis=0)
    shifts = np.arange(-_REACH_PX, _REACH_PX + _STEP_PX / 2, _STEP_PX)
    turn_y, turn_x = (
        np.exp(2j * np.pi * np.outer(shifts / first.step_px, np.fft.fftfreq(n))) for n in shape[1:]
    )
    correlation = (turn_y @ cross @ turn_x.T).real
    y, x = np.unravel_index(int(correlation.argmax()), correlation.shape)
    middle = len(shifts) // 2
    share = float(correlation[middle, middle] / correlation[y, x])
    return float(shifts[y]), float(shifts[x]), share
