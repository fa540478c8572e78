"""Tilt series of the SHREC 2021 benchmark (doi 10.34894/XRTJMA), with their quirks.

* Stacks are named ``projections_unbinned.mrc``, that of model 9 ``projections_unbinne.mrc``; their
  headers lack what makes an MRC file recognisable, and the pixel size.
* The specimen is ``grandmodel.mrc``, a cube as wide as the images or half as wide, of which the
  middle 180 nm hold something.
* ``alignment_simulated.txt`` lists shifts in unbinned pixels and angles, which describe the grand
  model seen the other way round. Which way, in which order and with which sign of the shifts is
  found by comparing quick tomograms with the grand model.
* Proteins are dark in the images and bright in the grand model; amplitudes are arbitrary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tomofilt.align.resample import fourier_crop
from tomofilt.errors import InputError, MissingFileError
from tomofilt.series.geometry import TiltGeometry, VolumeGrid
from tomofilt.series.tiltseries import TiltSeries
from tomofilt.training.cases import Case, Cases, split

__all__ = ["PIXEL_ANGST", "shrec_case", "shrec_cases"]

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

#: Unbinned.
PIXEL_ANGST = 5.0
#: Thickness of the slab over the width of the grand model.
_THICKNESS = 360 / 1024
_STACKS = ("projections_unbinned.mrc", "projections_unbinne.mrc")
_ALIGNMENT = "alignment_simulated.txt"
_TYPES = {0: "i1", 1: "<i2", 2: "<f4", 6: "<u2", 12: "<f2"}
_LARGEST_AXIS = 1 << 16
#: Orientations are told apart on images of about this width.
_COARSE_PX = 64
#: The tomogram in the right orientation correlates so much better than in another one.
_CLEARLY = 0.01
#: Rms difference of two lists of angles that say about the same.
_ALIKE_DEG = 5.0
#: In-plane rotation and magnification are 0 and 1 in this data set; others are refused.
_ROTATION_DEG, _MAGNIFICATION = 0.5, 0.01


@dataclass(frozen=True)
class _LooseStack:
    """Images of an MRC file of which only sizes and mode are believed (an ImageSource).

    Parameters
    ----------
    path : Path
    pixel_angst : float
    shape : (image, y, x)
    offset : int
        Byte at which the first image begins.
    dtype : str
    """

    path: Path
    pixel_angst: float
    shape: tuple[int, int, int]
    offset: int
    dtype: str

    @classmethod
    def open(cls, path: Path, pixel_angst: float) -> _LooseStack:
        with path.open("rb") as file:
            head = np.frombuffer(file.read(1024).ljust(1024, b"\0"), "<i4")
        nx, ny, nz, mode, extended = (int(head[i]) for i in (0, 1, 2, 3, 23))
        sane = all(0 < n < _LARGEST_AXIS for n in (nx, ny, nz)) and mode in _TYPES
        if not sane or not 0 <= extended < 1 << 30:
            raise InputError(
                f"{path}: its header says {nx} x {ny} x {nz} voxels of mode {mode}, which is no "
                "stack of SHREC 2021's: copy it again"
            )
        needed = 1024 + extended + nx * ny * nz * np.dtype(_TYPES[mode]).itemsize
        if path.stat().st_size < needed:
            raise InputError(
                f"{path} is truncated: {nx} x {ny} x {nz} voxels need {needed:,} bytes, but it "
                f"has {path.stat().st_size:,}: copy it again"
            )
        return cls(path, pixel_angst, (nz, ny, nx), 1024 + extended, _TYPES[mode])

    @property
    def files(self) -> tuple[Path, ...]:
        """The one file."""
        return (self.path,)

    def read(self, image: int, y_start: int = 0, y_stop: int | None = None) -> Float32:
        """Rows y_start..y_stop of one image, shape (rows, x)."""
        images = np.memmap(self.path, self.dtype, "r", self.offset, self.shape)
        return np.array(images[image, y_start:y_stop], dtype=np.float32)


def shrec_cases(
    directory: Path,
    *,
    train: Sequence[int],
    validation: Sequence[int] = (),
    test: Sequence[int] = (),
    downsample: int = 4,
) -> Cases:
    """Cases of some models.

    Parameters
    ----------
    directory : Path
        Holds ``model_0`` ... ``model_9``, at any depth, and the grand models maybe in other folders
        of these names, as unpacked from another archive.
    train, validation, test : sequence of int
        Numbers of models. Without ``validation``, the last one to train on serves for it.
    downsample : int
        Voxel in unbinned pixels.

    Raises
    ------
    InputError, MissingFileError
        A model has two purposes, or its files cannot be used.
    """
    purposes: dict[int, str] = {}
    for name, numbers in (("train", train), ("validation", validation), ("test", test)):
        for number in numbers:
            if number in purposes:
                raise InputError(
                    f"model {number} is in --{purposes[number]}-models and in --{name}-models: "
                    "each may serve one purpose"
                )
            purposes[number] = name
    made = {number: shrec_case(directory, number, downsample) for number in purposes}
    sets = [[made[number] for number in numbers] for numbers in (train, validation, test)]
    return split(*sets)


def shrec_case(directory: Path, number: int, downsample: int = 4) -> Case:
    """The series of one model, with its orientation, sign and scale found.

    Raises
    ------
    InputError, MissingFileError
    """
    stack_path, alignment_path, truth_path = _files(directory, number)
    images = _LooseStack.open(stack_path, PIXEL_ANGST)
    n_images, ny, nx = images.shape
    if nx % downsample or ny % downsample:
        raise InputError(
            f"{stack_path}: images of {nx} x {ny} pixels cannot be downsampled {downsample} fold"
        )
    tilt_deg, shift_px = _alignment(alignment_path)
    if len(tilt_deg) != n_images:
        raise InputError(
            f"{alignment_path} lists {len(tilt_deg)} images, but {stack_path.name} has {n_images}"
        )
    truth = _LooseStack.open(truth_path, PIXEL_ANGST)
    ratio = nx / truth.shape[2]
    if ratio not in (1.0, 2.0) or truth.shape[1] != truth.shape[2]:
        raise InputError(
            f"{truth_path} is {truth.shape[2]} voxels wide and the images {nx}: give the grand "
            "model as wide as the images, or half as wide"
        )

    def case(bin: int, order: int, angle_sign: int, shift_sign: int) -> Case:
        thickness = int(_THICKNESS * nx) // bin * bin
        density = _reduced(truth, int(thickness / ratio), bin / ratio)
        geometry = TiltGeometry.from_angles(
            angle_sign * tilt_deg[::order],
            shift_angst=shift_sign * PIXEL_ANGST * shift_px,
        )
        series = TiltSeries(
            name=f"model_{number}",
            images=images,
            geometry=geometry,
            views=np.arange(n_images),
            tilt_deg=angle_sign * tilt_deg[::order],
            grid=VolumeGrid.centred((thickness, ny, nx), PIXEL_ANGST),
            first_voxel_kept=True,
            files=(stack_path, alignment_path, truth_path),
        )
        return Case(series, density, bin=bin)

    coarse = downsample * max(1, nx // downsample // _COARSE_PX)
    while ny % coarse or nx % coarse:
        coarse //= 2
    ways = [(order, sign) for order in (1, -1) for sign in (1, -1)]
    trials = {way: abs(case(coarse, *way, 0).match()[1]) for way in ways}
    best = max(ways, key=lambda way: trials[way])
    # lists that are nearly symmetric are nearly the same backwards and negated
    close = [way for way in ways if trials[way] + _CLEARLY > trials[best]]
    for order, sign in close:
        apart = sign * tilt_deg[::order] - best[1] * tilt_deg[:: best[0]]
        if np.sqrt(np.mean(apart**2)) > _ALIKE_DEG:
            found = " and ".join(f"{trials[way]:.3f}" for way in (best, (order, sign)))
            raise InputError(
                f"{stack_path}: with the angles one way and the other, tomograms resemble the "
                f"grand model equally (correlations {found}): do the two belong together?"
            )
    finer = [(*way, sign) for way in close for sign in (-1, 1)]
    way = max(finer, key=lambda way: abs(case(downsample, *way).match()[1]))
    return case(downsample, *way).calibrated()


def _files(directory: Path, number: int) -> tuple[Path, Path, Path]:
    folders = sorted(directory.glob(f"**/model_{number}"))
    stacks = [folder / name for folder in folders for name in _STACKS if (folder / name).exists()]
    if not stacks:
        raise MissingFileError(
            f"{directory} holds no model_{number} with {' or '.join(_STACKS)}: give the folder "
            "that SHREC 2021 was unpacked into"
        )
    alignment = stacks[0].with_name(_ALIGNMENT)
    # the two archives call the grand models of 10 A and of 5 A the same
    models = [path for folder in folders for path in folder.glob("grandmodel*.mrc")]
    if not alignment.exists() or not models:
        missing = "grandmodel.mrc" if alignment.exists() else _ALIGNMENT
        raise MissingFileError(f"{stacks[0].parent} holds no {missing}")
    return stacks[0], alignment, max(models, key=lambda path: path.stat().st_size)


def _alignment(path: Path) -> tuple[Float64, Float64]:
    """Angles, and shifts (x, y) in unbinned pixels, of the images."""
    rows = [line.split() for line in path.read_text().splitlines() if line.strip()]
    try:
        table = np.array([row[:5] for row in rows if row[0][0] != "#"], dtype=np.float64)
    except ValueError as error:
        raise InputError(
            f"{path}: lines hold shifts x and y, angle, rotation, magnification and name ({error})"
        ) from error
    if table.ndim != 2 or table.shape[1] != 5 or not np.isfinite(table).all():
        raise InputError(f"{path} holds no table of shifts, angles, rotation and magnification")
    rotation, magnification = np.abs(table[:, 3]).max(), np.abs(table[:, 4] - 1).max()
    if rotation > _ROTATION_DEG or magnification > _MAGNIFICATION:
        raise InputError(
            f"{path}: images are rotated by up to {rotation:g} deg and magnified by up to "
            f"{magnification:.1%}: SHREC 2021 has neither"
        )
    return table[:, 2], table[:, :2]


def _reduced(model: _LooseStack, thickness: int, factor: float) -> Float32:
    """The middle of a grand model in voxels ``factor`` times larger, low-passed for them.

    Voxel 0 of the slab stays on voxel 0.
    """
    from scipy import fft

    nz, ny, nx = model.shape
    first = (nz - thickness) // 2
    if first < 0:
        raise InputError(f"{model.path} has {nz} planes, fewer than the slab's {thickness}")
    shape = (round(thickness / factor), round(ny / factor), round(nx / factor))
    planes = (model.read(first + z) for z in range(thickness))
    if factor == 1:
        return np.stack(list(planes))
    slab = np.stack([fourier_crop(plane, shape[1:]) for plane in planes])
    spectrum = fft.rfft(slab, axis=0)[: shape[0] // 2 + 1]
    reduced = fft.irfft(spectrum, shape[0], axis=0) * np.float32(shape[0] / thickness)
    return np.asarray(reduced, dtype=np.float32)
