"""Which files a reconstruction writes, by name, and how densities are written into them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from tomofilt.errors import InputError
from tomofilt.reconstruction.problem import Part, Problem
from tomofilt.reconstruction.settings import Settings
from tomofilt.series.projects import Destination

__all__ = ["Output", "OutputName", "Outputs"]

OutputName = Literal["whole", "half1", "half2", "denoised"]
#: Fewer views cannot be divided into halves.
_FEWEST_VIEWS = 4


@dataclass(frozen=True, eq=False)
class Output:
    """One volume of a series.

    Parameters
    ----------
    name : "whole", "half1", "half2" or "denoised"
    destination : Destination
    part : Part
        What it is made from; the denoised tomogram is made from the whole one, along with it.
    zarr : Path, optional
        Where the same voxels go as OME-Zarr.
    """

    name: OutputName
    destination: Destination
    part: Part
    zarr: Path | None = None

    @property
    def is_denoised(self) -> bool:
        """Whether a network makes it from the tomogram."""
        return self.name == "denoised"


@dataclass(frozen=True, eq=False)
class Outputs:
    """The volumes of a series: the tomogram, and what was asked for besides.

    Parameters
    ----------
    whole : Output
    half1, half2 : Output, optional
        Both or none.
    denoised : Output, optional
    """

    whole: Output
    half1: Output | None = None
    half2: Output | None = None
    denoised: Output | None = None

    @classmethod
    def wanted(cls, problem: Problem, destination: Destination, settings: Settings) -> Outputs:
        """Settle what is written where.

        Raises
        ------
        InputError
            If there are no halves to be had.
        """
        series, everything = problem.series, problem.everything

        def viewed(name: OutputName, where: Destination) -> Output:
            return Output(name, where, everything, where.zarr if settings.zarr else None)

        whole = viewed("whole", destination)
        denoised = viewed("denoised", destination.denoised) if settings.denoise else None
        if settings.halves == "none":
            return cls(whole, denoised=denoised)
        views = np.arange(len(series.views))
        if settings.halves == "frames":
            if series.halves_refused is not None:
                raise InputError(
                    f"{series.name}: {series.halves_refused}, so that there is nothing for "
                    "--halves frames: give --halves tilts, or make the frame halves again"
                )
            if series.halves is None:
                raise InputError(
                    f"{series.name}: no even/odd-frame images were found for --halves frames; "
                    "give --halves tilts, or keep the halves when you correct motion"
                )
            parts = Part(views, "half1"), Part(views, "half2")
        else:
            if len(views) < _FEWEST_VIEWS:
                raise InputError(
                    f"{series.name} has {len(views)} views: too few for halves of its tilts"
                )
            gain = problem.method.half_gain
            parts = Part(views[::2], gain=gain), Part(views[1::2], gain=gain)
        return cls(
            whole,
            Output("half1", destination.half(1), parts[0]),
            Output("half2", destination.half(2), parts[1]),
            denoised,
        )

    def __iter__(self) -> Iterator[Output]:
        named = (self.whole, self.denoised, self.half1, self.half2)
        return (output for output in named if output is not None)
