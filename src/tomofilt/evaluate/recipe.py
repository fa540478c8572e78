"""Whether a volume is what the recipe in its record makes of a tilt series.

Leaving views out scores a recipe: the tomogram is made again, without some views. That says
something about a volume only if the volume was made by the recipe, from the same series.
"""

from __future__ import annotations

import numpy as np

from tomofilt.errors import InputError
from tomofilt.evaluate.left_out import measured_slabs
from tomofilt.evaluate.tomograms import Tomogram
from tomofilt.io.record import Record
from tomofilt.reconstruction.gold import fill_gold
from tomofilt.reconstruction.settings import Settings
from tomofilt.reconstruction.setup import make_problem
from tomofilt.series.tiltseries import TiltSeries

__all__ = ["check_recipe"]

#: Part of the standard deviation of a slab by which its recomputation may differ: GPUs
#: interpolate to 1e-3.
_TOLERANCE = 0.01
_LIMITS = {"int8": (0, 255), "int16": (-32768, 32767)}


def check_recipe(
    tomogram: Tomogram, record: Record, series: TiltSeries, settings: Settings
) -> None:
    """Refuse a volume that is not what its record and a tilt series make.

    Every voxel is looked at, and one slab from the middle is computed again.

    Parameters
    ----------
    tomogram : Tomogram
    record : Record
        The tomogram's.
    series : TiltSeries
        With the views that it was made from.
    settings : Settings
        The record's.

    Raises
    ------
    InputError
        It is a half or a denoised tomogram; it holds voxels that are not finite, is empty or of
        another size; the slab is not equal to its recomputation.
    """
    kind = record.output.kind
    if kind != "whole":
        what = "denoised" if kind == "denoised" else "a half tomogram"
        raise InputError(
            f"{tomogram.path} is {what}: --series scores the filter of whole tomograms alone; give "
            "the tomogram that it belongs to"
        )
    tomogram.check()
    problem = make_problem(series, settings)
    if problem.grid.shape != tomogram.shape:
        sizes = [" x ".join(map(str, n[::-1])) for n in (tomogram.shape, problem.grid.shape)]
        raise InputError(
            f"{tomogram.path} has {sizes[0]} voxels (x, y, z), but the recipe in its record makes "
            f"{sizes[1]} of this series: give the series that it was made from"
        )
    with problem.images() as images:
        gold = fill_gold(problem, images, settings)
        y_start, z_start, block = next(iter(measured_slabs(problem, images)))
    if gold is not None and settings.gold == "keep":
        gold.put_back(block, problem.grid, y_start, z_start, series.images.pixel_angst)
    scale = record.output.scaled_by
    expected = block * np.float32(scale.factor) + np.float32(scale.then_add)
    if record.output.dtype in _LIMITS:
        expected = np.clip(np.rint(expected), *_LIMITS[record.output.dtype])
    found = tomogram.part(z_start, y_start, block.shape)
    difference = float(np.sqrt(np.mean((found - expected) ** 2, dtype=np.float64)))
    if difference > _TOLERANCE * float(expected.std(dtype=np.float64)):
        share = difference / float(expected.std(dtype=np.float64))
        raise InputError(
            f"{tomogram.path} is not what the recipe in its record makes of this series: in rows "
            f"{y_start + 1} to {y_start + block.shape[1]} they differ by {100 * share:.0f} % of "
            "the contrast. It was changed, or the series was; reconstruct it again with "
            "--overwrite, or leave --series out"
        )
