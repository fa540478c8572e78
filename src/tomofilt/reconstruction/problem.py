"""What is computed: a problem, and the method that solves it, in numbers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from tomofilt.align.corrections import Corrections
from tomofilt.align.frame import AlignedFrame
from tomofilt.align.levels import Background
from tomofilt.filters.protocol import Filter, FilterContext, Interpolation
from tomofilt.projectors.select import Choice
from tomofilt.reconstruction.budget import Room
from tomofilt.reconstruction.images import Preparation, SeriesImages, Source
from tomofilt.series.geometry import TiltGeometry, VolumeGrid
from tomofilt.series.tiltseries import TiltSeries
from tomofilt.util.progress import Clock, Progress

if TYPE_CHECKING:
    from tomofilt.filters.apply import RowFilter

__all__ = ["Method", "Part", "Problem", "Slab"]

#: What one core takes for a view of a voxel, by the fast projector.
_UPDATE_S = 1.6e-10
#: First row, first plane, and densities (plane, row, x) of a block of a tomogram.
Slab = tuple[int, int, NDArray[np.float32]]


@dataclass(frozen=True, eq=False)
class Part:
    """Which images a tomogram is made from.

    Parameters
    ----------
    views : (view,) int
        Among the series' used views.
    source : "whole", "half1" or "half2"
        All frames, or the even or the odd ones.
    gain : float
        Factor on the densities: 2 where only every other tilt is back-projected.
    """

    views: NDArray[np.intp]
    source: Source = "whole"
    gain: float = 1.0


class Method(ABC):
    """How the images of a tilt series become a tomogram.

    A new method is a class in a file of its own. It says what it needs in these attributes, and
    yields slabs.

    Attributes
    ----------
    filter : Filter
        Gains that images are multiplied by on the way.
    interpolation : "fine" or "linear"
        How filtered rows are sampled.
    background : "ends", "image" or "series"
        What is subtracted from images: :class:`tomofilt.align.levels.LevelledImages`.
    like_newstack : bool
        Whether images are resampled as IMOD's newstack does it.
    turns_upright : bool
        Whether a tilt about x that all views share is made by turning a tomogram without it.
    native : str
        Why nothing is corrected by default: another program's way is followed. Empty: CTF and
        dose are corrected.
    half_gain : float
        Factor on the densities of a tomogram from every other tilt.
    projector : str
        For the record.
    is_linear_filter : bool
        Whether the filter's gains are all that is done to a frequency.
    needs_exact_pair : bool
        Whether projections have to be the exact transpose of back-projections.
    """

    filter: Filter
    interpolation: Interpolation
    background: ClassVar[Background] = "ends"
    like_newstack: ClassVar[bool] = False
    turns_upright: bool = False
    native: ClassVar[str] = ""
    half_gain: ClassVar[float] = 2.0
    projector: ClassVar[str] = "slice"
    is_linear_filter: ClassVar[bool] = True
    needs_exact_pair: ClassVar[bool] = False

    @property
    def spec(self) -> str:
        """The command line's spelling: the filter's."""
        return self.filter.spec

    @property
    def dtype(self) -> str:
        """Data type of the tomogram unless the user says otherwise."""
        return "float32"

    @property
    def passes(self) -> float:
        """How often as long as one fast back-projection it takes."""
        return 1.0

    @property
    def weighs_views(self) -> bool:
        """Whether views count by what they hold, so that dose weights would count it twice."""
        return self.filter.weighs_views

    @abstractmethod
    def replaced(
        self, *, filter: Filter | None = None, interpolation: Interpolation | None = None
    ) -> Method:
        """The same method with another filter, or with rows sampled otherwise."""

    def why_not_gpu(self, series: TiltSeries) -> str | None:
        """What, if anything, keeps this method off a GPU."""
        return None

    def check(self, problem: Problem) -> None:  # noqa: B027 - most methods have nothing to refuse
        """Look whether the method goes with a problem.

        Raises
        ------
        InputError
            It does not.
        """

    def more_bytes(self, problem: Problem) -> int:
        """Memory that it takes besides a slab and the rows it is made from."""
        return 0

    def frame(
        self,
        series: TiltSeries,
        geometry: TiltGeometry,
        volume: VolumeGrid,
        width_angst: tuple[float, float],
    ) -> AlignedFrame:
        """Where images are brought to; see :meth:`AlignedFrame.for_volume`.

        Parameters
        ----------
        series : TiltSeries
        geometry : TiltGeometry
            The series', or that of an upright tomogram.
        volume, width_angst
        """
        return AlignedFrame.for_volume(geometry, volume, width_angst)

    def samples_px(self, problem: Problem) -> int:
        """Samples that a filtered row has at the most."""
        return problem.frame.grid.shape[1] * (1 if self.interpolation == "linear" else 2)

    def offset(self, problem: Problem, images: SeriesImages, part: Part) -> float:
        """Find the constant that is to be added to the tomogram."""
        return 0.0

    @abstractmethod
    def row_filter(self, problem: Problem) -> RowFilter:
        """Sample the filter for a problem's views and image width."""

    @abstractmethod
    def units(self, problem: Problem) -> int:
        """Work that one tomogram is, as :meth:`slabs` tells it to the progress bar."""

    @abstractmethod
    def slabs(
        self, problem: Problem, images: SeriesImages, part: Part, clock: Clock, progress: Progress
    ) -> Iterator[Slab]:
        """Yield the blocks of a tomogram.

        A block's memory is used again for the next but one. The first block is from the middle of
        the tomogram, unless the tomogram is turned.
        """


@dataclass(frozen=True, eq=False)
class Problem:
    """A reconstruction in numbers: what is computed, not where it goes.

    Parameters
    ----------
    series : TiltSeries
    grid : VolumeGrid
        The tomogram.
    frame : AlignedFrame
        Where the images are once they are on the tilt axis.
    method : Method
    corrections : Corrections
        What is done to the images before they are filtered.
    threads : int
    xtilt_rad : float
        Tilt about x by which an upright tomogram, the frame's, is turned in the end; zero: the
        frame's volume is the tomogram.
    device : Choice
        The GPUs that filter and back-project, none for the CPU.
    room : Room
        Memory.
    """

    series: TiltSeries
    grid: VolumeGrid
    frame: AlignedFrame
    method: Method
    corrections: Corrections
    threads: int
    xtilt_rad: float = 0.0
    device: Choice = field(default_factory=Choice)
    room: Room = field(default_factory=Room)

    @property
    def filter(self) -> Filter:
        """The method's filter."""
        return self.method.filter

    @property
    def thickness_angst(self) -> float:
        """Thickness of the specimen as filters see it: the tomogram's."""
        return self.frame.volume.shape[0] * self.grid.voxel_angst

    @property
    def kernel_seconds(self) -> float:
        """About how long one core back-projects, and projects, for the tomogram."""
        updates = len(self.series.views) * prod(self.grid.shape)
        return _UPDATE_S * updates * self.method.passes

    @property
    def everything(self) -> Part:
        """All views, all frames."""
        return Part(np.arange(len(self.series.views)))

    @cached_property
    def row_filter(self) -> RowFilter:
        """The filter, sampled for these views and this image width."""
        return self.method.row_filter(self)

    @property
    def filter_context(self) -> FilterContext:
        """What the filter is told about the series."""
        return FilterContext(
            tilt_deg=self.frame.slices.tilt_deg,
            scale=self.frame.slices.scale,
            pixel_angst=self.frame.grid.pixel_angst[1],
            density_pixel_angst=self.series.images.pixel_angst,
            thickness_angst=self.thickness_angst,
            width_px=self.frame.grid.shape[1],
            padded_px=self.filter.padded_px(self.frame.grid.shape[1]),
        )

    def with_filter(self, filter: Filter) -> Problem:
        """The same problem with another filter, a measured one say."""
        return replace(self, method=self.method.replaced(filter=filter))

    def select(self, views: NDArray[np.intp]) -> Problem:
        """The same problem for some of its views (indices)."""
        return replace(self, series=self.series.select(views), frame=self.frame.select(views))

    def crop_rows(self, rows: int) -> Problem:
        """The same problem for so many rows in the middle of the tomogram."""
        ny = self.grid.shape[1]
        count = min(rows, ny)
        start = (ny - count) // 2
        frame = self.frame.crop_rows(start, start + count)
        return replace(self, grid=frame.volume, frame=frame)

    @property
    def preparation(self) -> Preparation:
        """How the images are made ready."""
        return Preparation(
            frame=self.frame,
            corrections=self.corrections,
            background=self.method.background,
            like_newstack=self.method.like_newstack,
            keep=self.filter.two_dimensional,
            threads=min(self.threads, self.room.image_threads),
            memory_bytes=self.room.spare_bytes,
        )

    def images(self, *, folder: Path | None = None, in_place: bool = False) -> SeriesImages:
        """The images, made ready when asked for; see :class:`SeriesImages`."""
        return SeriesImages(self.series, self.preparation, folder=folder, in_place=in_place)

    def slabs(
        self,
        images: SeriesImages,
        part: Part | None = None,
        clock: Clock | None = None,
        progress: Progress | None = None,
    ) -> Iterator[Slab]:
        """Yield the blocks of the tomogram, or of a part of the images; see :meth:`Method.slabs`.

        Parameters
        ----------
        images : SeriesImages
            From :meth:`images`.
        part : Part, optional
            Default: all of them.
        clock, progress : optional
            Told where the time goes, and how far the work is.
        """
        return self.method.slabs(
            self, images, part or self.everything, clock or Clock(), progress or Progress()
        )

    def volume(self, images: SeriesImages, part: Part | None = None) -> NDArray[np.float32]:
        """The whole tomogram (z, y, x) in memory."""
        volume = np.empty(self.grid.shape, dtype=np.float32)
        for y, z, block in self.slabs(images, part):
            volume[z : z + block.shape[0], y : y + block.shape[1]] = block
        return volume
