"""The middle rows of a tomogram, in memory, from any of the views: what heads are trained on."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from tomofilt.align.images import align, survey
from tomofilt.denoise.bands import CoarseBands, Splitter
from tomofilt.evaluate.left_out import some_views
from tomofilt.filters.wiener import WienerExact
from tomofilt.projectors.cpu import SliceProjector, slice_table
from tomofilt.projectors.kernels import pack_rows
from tomofilt.reconstruction.budget import SLAB_ROWS
from tomofilt.reconstruction.plan import Plan, make_plan
from tomofilt.util.threads import run_all

__all__ = ["Middle"]

Float32 = NDArray[np.float32]


class Middle:
    """The middle rows of a tomogram.

    Parameters
    ----------
    plan : Plan
        Of the whole tomogram, with a filter that has been measured.
    views : (view,) int
        The views that are there, among those of the plan; their filter is made for these alone.

    Attributes
    ----------
    plan : Plan
        Of the middle rows.
    """

    def __init__(self, plan: Plan, views: NDArray[np.intp]) -> None:
        self.plan = plan = _middle_plan(plan, views)
        surveyed = survey(
            plan.series.images,
            plan.series.views,
            background=plan.background,
            across_axis=plan.across_axis,
            log_base=plan.series.log_base,
            threads=plan.threads,
        )
        self._splitter = Splitter(plan)
        self._rows = plan.row_filter
        count, ny = len(views), plan.grid.shape[1]
        self._halo = plan.halo
        samples = int(self._rows.samples.max())
        images = align(
            surveyed,
            plan.slices,
            plan.image_from_aligned,
            plan.aligned,
            image_filter=self._splitter.filter_image,
            like_newstack=False,
            halo=self._halo,
            threads=plan.threads,
            memory_bytes=plan.allowed_bytes,
            folder=plan.tasks[0].destination.volume.parent,
        )
        self._stack = np.empty((count, ny + 2 * self._halo, samples), dtype=np.float32)

        def load(view: int) -> None:
            rows = images.rows(view, -self._halo, ny + self._halo)
            self._stack[view] = self._rows.filter_rows(view, rows)

        with closing(images):
            run_all(plan.threads, load, range(count))

    def volume(
        self, members: NDArray[np.intp], gain: float = 1.0
    ) -> tuple[list[CoarseBands], Float32]:
        """The tomogram (z, y, x) of some views, and its coarse bands.

        Parameters
        ----------
        members : (view,) int
            Among the views of :attr:`plan`.
        gain : float
            Factor on the densities.
        """
        plan, rows = self.plan, self._rows
        projector = SliceProjector(
            slice_table(plan.slices, plan.grid, plan.aligned, rows.first_px, rows.step_px)[members],
            (len(members), plan.grid.shape[1], self._stack.shape[2]),
            plan.grid.shape,
            last_sample=rows.last_sample[members],
            threads=plan.threads,
        )
        packed = projector.packed_buffer(np.dtype(np.float32))
        block = np.empty(plan.grid.shape, dtype=np.float32)
        ny = plan.grid.shape[1]
        for start in range(0, ny, SLAB_ROWS):
            stop = min(start + SLAB_ROWS, ny)
            first = self._halo + start - projector.halo
            last = self._halo + stop + projector.halo
            run_all(
                plan.threads,
                lambda i, first=first, last=last: pack_rows(  # type: ignore[misc]
                    self._stack[members[i], first:last], packed[i]
                ),
                range(len(members)),
            )
            part = np.empty((block.shape[0], stop - start, block.shape[2]), dtype=np.float32)
            projector.adjoint_block(packed, part, 0)
            block[:, start:stop] = part
        block *= np.float32(gain)
        return self._splitter.back_project(members, gain), block

    def lowest_bands(self, members: NDArray[np.intp]) -> CoarseBands:
        """The bands on the coarsest grid alone, of the tomogram of some views."""
        return self._splitter.back_project(members)[0]


def _middle_plan(plan: Plan, views: NDArray[np.intp]) -> Plan:
    series, settings = plan.series, plan.settings
    nx, ny, nz = settings.shape_px or series.grid.shape[::-1]
    rows_px = round(SLAB_ROWS * plan.grid.voxel_angst / series.images.pixel_angst)
    part = make_plan(
        some_views(series, views),
        plan.tasks[0].destination,
        replace(
            settings,
            denoise=False,
            head=None,
            halves="none",
            device="cpu",
            shape_px=(nx, min(rows_px, ny), nz),
        ),
    )
    chosen = plan.filter
    assert isinstance(chosen, WienerExact)
    assert chosen.measurement is not None
    found = chosen.measurement
    snr = replace(
        found.snr,
        log_factor=found.snr.log_factor[views],
        decay_angst2=found.snr.decay_angst2[views],
    )
    return replace(part, filter=replace(chosen, measurement=replace(found, snr=snr)))
