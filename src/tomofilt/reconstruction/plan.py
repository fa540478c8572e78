"""What a reconstruction will do, worked out before anything is read or written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from tomofilt.align.corrections import Corrections, decide
from tomofilt.errors import InputError
from tomofilt.filters.protocol import Filter, FilterContext, Interpolation
from tomofilt.filters.registry import parse
from tomofilt.projectors.select import Choice, choose
from tomofilt.reconstruction.budget import SLAB_ROWS, allowed_memory, fit_slabs
from tomofilt.reconstruction.grids import aligned_grid, volume_grid
from tomofilt.reconstruction.settings import Settings
from tomofilt.series.geometry import ImageGrid, SliceGeometry, VolumeGrid
from tomofilt.series.projects import Destination
from tomofilt.series.tiltseries import ImageSource, TiltSeries

if TYPE_CHECKING:
    from tomofilt.filters.apply import RowFilter

__all__ = ["Plan", "Settings", "VolumeTask", "make_plan"]

Float32 = NDArray[np.float32]

#: What the work is fitted into unless the user allows something else.
DEFAULT_BYTES = 1_400_000_000
#: x tilt that moves the top of a specimen against its bottom by less is none, in voxels.
_NO_XTILT_VOXELS = 0.01


@dataclass(frozen=True, eq=False)
class VolumeTask:
    """One volume of a series: the tomogram, or one of its halves.

    Attributes
    ----------
    destination : Destination
    images : ImageSource
    members : (view,) int
        Positions, among the series' used views, of the views that take part.
    gain : float
        Factor on the filter: 2 where only every other tilt takes part in a back-projection.
    denoised : bool
        Whether it is made from the tomogram by a network, along with it.
    """

    destination: Destination
    images: ImageSource
    members: NDArray[np.intp]
    gain: float
    denoised: bool = False


@dataclass(frozen=True, eq=False)
class Plan:
    """A reconstruction in numbers.

    Attributes
    ----------
    series, settings, filter
        What is done with what.
    grid : VolumeGrid
        The tomogram.
    aligned : ImageGrid
        The images once they are on the tilt axis.
    slices, image_from_aligned
        From :meth:`TiltGeometry.factor`.
    interpolation, dtype, threads
        As settled between the settings and the filter's own.
    memory_bytes : int
        What the work takes.
    room_bytes : int
        What is left for aligned images; more of them wait on disk.
    image_threads : int
        Threads that may each hold an image as it was read.
    planes : int
        Planes of a slab that are held at a time.
    tasks : sequence of VolumeTask
    corrections : Corrections
        What is done to the images before they are filtered.
    upright, xtilt_rad
        IMOD's way of tilting about x: the plan without the tilt, and the tilt.
    device : Choice
        The GPUs that filter and back-project, none for the CPU.
    """

    series: TiltSeries
    settings: Settings
    filter: Filter
    grid: VolumeGrid
    aligned: ImageGrid
    slices: SliceGeometry
    image_from_aligned: NDArray[np.float64]
    interpolation: Interpolation
    dtype: str
    threads: int
    memory_bytes: int
    planes: int
    tasks: Sequence[VolumeTask]
    corrections: Corrections = field(default_factory=Corrections)
    upright: Plan | None = None
    xtilt_rad: float = 0.0
    device: Choice = field(default_factory=Choice)
    room_bytes: int = 0
    image_threads: int = 1

    @property
    def cpu_only(self) -> str | None:
        """What, if anything, keeps this reconstruction off a GPU."""
        if self.series.geometry.local is not None:
            return "a local alignment"
        if self.direct:
            return "the direct projector"
        if self.filter.sirt_iterations:
            return "SIRT"
        if self.filter.keeps_mean or self.interpolation == "imod" or self.upright is not None:
            return "IMOD's filtering"
        return None

    @property
    def device_rows(self) -> int:
        """Rows of a slab with all its planes: one being made on each GPU, three under way."""
        parts = self.grid.shape[0] * (len(self.device.gpus) + 3)
        return max(1, min(SLAB_ROWS, 2 * SLAB_ROWS * self.planes // parts))

    @property
    def direct(self) -> bool:
        """Whether images are sampled through full view maps (by wish, or local alignment)."""
        settings = self.settings
        asked = settings.projector == "direct" or settings.normalise == "count"
        return asked or self.series.geometry.local is not None

    @cached_property
    def allowed(self) -> tuple[int, str | None]:
        """Memory that the whole process may take, and who says so."""
        return allowed_memory(self.settings.max_memory_bytes, DEFAULT_BYTES)

    @property
    def allowed_bytes(self) -> int:
        """Memory that the whole process may take."""
        return self.allowed[0]

    @property
    def background(self) -> Literal["ends", "image", "series"]:
        """What is subtracted from images before they are filtered; see ``images.survey``."""
        if self.filter.keeps_mean:
            return "series"
        return "image" if self.settings.normalise == "count" else "ends"

    @property
    def across_axis(self) -> int:
        """The image axis, 0 (y) or 1 (x), that runs across the tilt axis, if only roughly."""
        across = np.abs(self.image_from_aligned[:, :, 0]).mean(axis=0)
        return 1 if across[0] >= across[1] else 0

    @property
    def thickness_angst(self) -> float:
        """Thickness of the specimen as filters see it: the tomogram's."""
        return self.grid.shape[0] * self.grid.voxel_angst

    @property
    def halo(self) -> int:
        """Rows beyond a voxel's own that x tilt may need, on either side."""
        zc = self.grid.centre[0]
        reach = max(zc, self.grid.shape[0] - 1 - zc)
        e = float(np.abs(self.slices.e).max())
        return int(np.ceil(e * reach)) + 1 if e > 0 else 0

    @property
    def filter_context(self) -> FilterContext:
        """What the filter is told about the series."""
        if self.upright is not None:
            return self.upright.filter_context
        return FilterContext(
            tilt_deg=self.slices.tilt_deg,
            scale=self.slices.scale,
            pixel_angst=self.aligned.pixel_angst[1],
            density_pixel_angst=self.series.images.pixel_angst,
            thickness_angst=self.thickness_angst,
            width_px=self.aligned.shape[1],
            padded_px=self.row_filter.padded_px,
        )

    @cached_property
    def row_filter(self) -> RowFilter:
        """The filter, sampled for these views and this image width."""
        if self.upright is not None:
            return self.upright.row_filter
        from tomofilt.filters.apply import RowFilter
        from tomofilt.projectors.cpu import slice_table

        table = slice_table(self.slices, self.grid, self.aligned)
        nz, _, nx = self.grid.shape
        reach = np.minimum(0.0, table[:, 0] * (nx - 1)) + np.minimum(0.0, table[:, 1] * (nz - 1))
        if self.filter.vertical_slices and self.xtilt_rad == 0.0:
            # IMOD's vertical slices are four voxels thicker than the tomogram
            reach -= 2 * np.abs(table[:, 1])
        return RowFilter(
            self.filter,
            self.slices,
            pixel_angst=self.aligned.pixel_angst[1],
            density_pixel_angst=self.series.images.pixel_angst,
            thickness_angst=self.thickness_angst,
            width_px=self.aligned.shape[1],
            interpolation=self.interpolation,
            needed_px=table[:, 2] + reach,
        )

    def correction(self, *, halo: int = 0) -> Callable[[int, Float32], Float32] | None:
        """What corrects an image of a view once it is on the tilt axis, if anything does."""
        (ny, nx), (yc, xc) = self.aligned.shape, self.aligned.centre
        grid = ImageGrid((ny + 2 * halo, nx), self.aligned.pixel_angst, (yc + halo, xc))
        # the aligned frame is centred on the tilt axis, and so is the grid's centre
        return self.corrections.image_filter(self.series, grid, self.image_from_aligned)

    def lines(self) -> list[str]:
        """The plan in words, for ``--dry-run`` and the log."""
        nz, ny, nx = self.grid.shape
        series = self.series
        count = len(series.views)
        left_out = f", {len(series.excluded)} excluded" if series.excluded else ""
        gigabytes = nz * ny * nx * np.dtype(self.dtype).itemsize / 1e9
        how = "direct sampling through the view maps" if self.direct else "slice projector"
        if self.device.gpus:
            how = f"ASTRA on {', '.join(self.device.gpus)}"
        elif self.device.reason:
            how += f" on the CPU ({self.device.reason})"
        lines = [
            f"{series.name}: {count} view{'s' * (count != 1)}{left_out}, "
            f"{series.tilt_deg.min():.1f} to {series.tilt_deg.max():.1f} deg, "
            f"images {series.images.shape[2]} x {series.images.shape[1]} px "
            f"at {series.images.pixel_angst:g} A",
            f"  tomogram {nx} x {ny} x {nz} voxels (x, y, z) at {self.grid.voxel_angst:g} A, "
            f"{self.dtype}, {gigabytes:.2f} GB",
            f"  filter {self.filter.spec}, {self.interpolation} interpolation, {how}, "
            f"{self.threads} threads, about {self.memory_bytes / 1e9:.1f} GB of memory",
        ]
        lines += [f"  note: {self.filter.spec}: {note}" for note in self.filter.notes]
        lines.append(self.corrections.line())
        lines += [f"  -> {task.destination.volume}" for task in self.tasks]
        return lines


def make_plan(series: TiltSeries, destination: Destination, settings: Settings) -> Plan:
    """Settle every number of a reconstruction.

    Raises
    ------
    InputError
        If settings contradict each other or the series.
    ResourceError
        If the work does not fit into ``settings.max_memory_bytes``, or a GPU that was asked
        for does not work.
    """
    from tomofilt.util.threads import available_threads

    if series.axes_fixed and (settings.flip_z or settings.orientation != "zyx"):
        raise InputError(
            f"{series.name}: its project looks for particles where the tomogram shows them, so it "
            "may be neither mirrored nor turned: leave out --flip-z and --orientation"
        )
    grid = volume_grid(series, settings)
    warp, slices = series.geometry.factor()
    chosen = _filter(series, settings, slices, grid)
    interpolation = settings.interpolation or chosen.interpolation
    if interpolation == "imod" and series.geometry.local is not None:
        interpolation = "linear"  # IMOD stretches no lines under local alignment either
    plan = Plan(
        series=series,
        settings=settings,
        filter=chosen,
        grid=grid,
        aligned=aligned_grid(series, warp, grid),
        slices=slices,
        image_from_aligned=warp,
        interpolation=interpolation,
        dtype=settings.dtype or chosen.dtype,
        threads=settings.threads or available_threads(),
        memory_bytes=0,
        planes=grid.shape[0],
        tasks=_tasks(series, destination, settings, 1.0 if chosen.sirt_iterations else 2.0),
        corrections=_corrections(series, settings, chosen),
    )
    if chosen.vertical_slices and not plan.direct:
        plan = _turned(plan)
    if chosen.sirt_iterations:
        _check_sirt(plan)
    if settings.head is not None and not settings.denoise:
        raise InputError(f"{settings.head} is a network for --denoise: give that too")
    if settings.denoise:
        _check_denoising(plan)
    return fit_slabs(replace(plan, device=_device(plan)))


def _corrections(series: TiltSeries, settings: Settings, chosen: Filter) -> Corrections:
    native = weighed = ""
    if chosen.keeps_mean:
        native = f"-f {chosen.spec} does what the program itself would do with these images"
    elif settings.normalise == "count":
        native = "RELION's unweighted tomogram has none"
    if chosen.weighs_views:
        weighed = f"{chosen.spec} takes views for what they hold, dose and all"
    return decide(
        series, ctf=settings.ctf, dose_weight=settings.dose_weight, native=native, weighed=weighed
    )


def _check_denoising(plan: Plan) -> None:
    """Refuse what a tomogram cannot be denoised with."""
    name, spec = plan.series.name, plan.filter.spec
    if spec != "wiener-exact:match":
        raise InputError(
            f"{name}: the network of --denoise is made for -f wiener-exact:match, not for {spec}: "
            "leave the filter out, or --denoise"
        )
    if plan.direct:
        why = "is aligned locally" if plan.series.geometry.local else "uses the direct projector"
        raise InputError(f"{name} {why}, which --denoise cannot do yet: leave --denoise out")


def _check_sirt(plan: Plan) -> None:
    """Refuse what keeps the rows of a specimen from being solved for one by one."""
    name, spec = plan.series.name, plan.filter.spec
    mend = f"use -f sirt-like:{plan.filter.sirt_iterations}, which looks like it"
    if plan.series.geometry.local is not None:
        raise InputError(f"{name} is aligned locally, which {spec} cannot follow: {mend}")
    if plan.direct:
        raise InputError(
            f"{spec} goes with neither --projector direct nor --normalise count: leave them out"
        )
    if plan.interpolation != "linear":
        raise InputError(
            f"{spec} takes the pixels as they are: leave --interpolation {plan.interpolation} out"
        )
    upright = plan.upright or plan
    if np.abs(upright.slices.e).max() * upright.grid.shape[0] > _NO_XTILT_VOXELS:
        raise InputError(f"{name}: its views are not all tilted about x alike, for {spec}: {mend}")


def _filter(
    series: TiltSeries, settings: Settings, slices: SliceGeometry, grid: VolumeGrid
) -> Filter:
    if settings.model is None:
        return parse(settings.filter, cutoff=settings.cutoff, native=series.native_filter)
    from tomofilt.filters.learned import LearnedFilter, read_filter
    from tomofilt.filters.transfer import for_series

    if settings.cutoff is not None:
        raise InputError(f"{settings.model} has no cut-off: leave {settings.cutoff!r} out")
    chosen = read_filter(settings.model)
    if not isinstance(chosen, LearnedFilter):
        return chosen
    return for_series(chosen, slices.tilt_deg, grid.voxel_angst)


def _device(plan: Plan) -> Choice:
    device, reason = plan.settings.device, plan.cpu_only
    if reason is None:
        return choose(device)
    if device.startswith("cuda"):
        raise InputError(
            f"{plan.series.name}: {reason} is computed on the CPU only, not on {device}: "
            "use --device cpu or --device auto"
        )
    return Choice((), f"{reason} needs it" if device == "auto" else "")


def _turned(plan: Plan) -> Plan:
    """The plan, by way of an upright tomogram when all views share a tilt about x."""
    from tomofilt.reconstruction.vertical import common_xtilt, upright_grid, without_xtilt

    geometry = plan.series.geometry
    angle = common_xtilt(geometry)
    if angle == 0.0:
        return plan
    grid = upright_grid(plan.grid, angle)
    warp, slices = without_xtilt(geometry, angle).factor()
    upright = replace(
        plan,
        grid=grid,
        aligned=aligned_grid(plan.series, warp, grid),
        slices=slices,
        image_from_aligned=warp,
        planes=grid.shape[0],
        xtilt_rad=angle,
    )
    return replace(plan, upright=upright, xtilt_rad=angle)


def _tasks(
    series: TiltSeries, destination: Destination, settings: Settings, half_gain: float
) -> tuple[VolumeTask, ...]:
    everything = np.arange(len(series.views))
    tasks = [VolumeTask(destination, series.images, everything, 1.0)]
    if settings.denoise:
        tasks.append(
            VolumeTask(destination.denoised, series.images, everything, 1.0, denoised=True)
        )
    if settings.halves == "tilts":
        if len(everything) < 4:
            raise InputError(
                f"{series.name} has {len(everything)} views: too few for halves of its tilts"
            )
        tasks += [
            VolumeTask(destination.half(1), series.images, everything[::2], half_gain),
            VolumeTask(destination.half(2), series.images, everything[1::2], half_gain),
        ]
    elif settings.halves == "frames":
        if series.halves is None:
            raise InputError(
                f"{series.name}: no even/odd-frame images were found for --halves frames; "
                "give --halves tilts, or keep the halves when you correct motion"
            )
        tasks += [
            VolumeTask(destination.half(i + 1), half, everything, 1.0)
            for i, half in enumerate(series.halves)
        ]
    return tuple(tasks)
