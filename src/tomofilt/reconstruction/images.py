"""The images of a series as the steps of a reconstruction need them, each aligned only once."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tomofilt.align.corrections import Corrections
from tomofilt.align.frame import AlignedFrame
from tomofilt.align.levels import Background, LevelledImages
from tomofilt.align.stack import AlignedStack, OnImage, align, images_as_taken
from tomofilt.align.store import zeros
from tomofilt.errors import InputError
from tomofilt.series.geometry import ImageGrid
from tomofilt.series.tiltseries import ImageSource, TiltSeries

__all__ = ["ChangeImage", "Preparation", "SeriesImages", "Source"]

log = logging.getLogger(__name__)
Float32 = NDArray[np.float32]
#: Which images: those of all frames, or of the even or the odd ones.
Source = Literal["whole", "half1", "half2"]
#: Takes a view, its image, the image's grid, and the warp (2, 3) from aligned positions to the
#: image's, None on the tilt axis; returns the image changed.
ChangeImage = Callable[[int, Float32, ImageGrid, NDArray[np.float64] | None], Float32]


@dataclass(frozen=True, eq=False)
class Preparation:
    """How images are made ready.

    Parameters
    ----------
    frame : AlignedFrame
    corrections : Corrections
    background : "ends", "image" or "series"
        See :class:`~tomofilt.align.levels.LevelledImages`.
    like_newstack : bool
        See :func:`~tomofilt.align.stack.align`.
    keep : bool
        Whether aligned images are going to be changed.
    threads : int
    memory_bytes : int
        For all images together; more than that waits in nameless files.
    """

    frame: AlignedFrame
    corrections: Corrections
    background: Background
    like_newstack: bool
    keep: bool
    threads: int
    memory_bytes: int


class SeriesImages:
    """The aligned images of a series: each source is brought there when first asked for, and kept.

    A context manager, which gives the room back.

    Parameters
    ----------
    series : TiltSeries
    how : Preparation
    folder : Path, optional
        Where images wait that do not fit into memory; default is the system's folder for
        temporary files.
    in_place : bool
        Whether filtered images may take the place of the aligned ones: they are not needed again.
    advance : callable
        Called after each image that has been aligned.
    """

    def __init__(
        self,
        series: TiltSeries,
        how: Preparation,
        *,
        folder: Path | None = None,
        in_place: bool = False,
        advance: Callable[[], None] = lambda: None,
    ) -> None:
        self.series, self.how, self.advance = series, how, advance
        self._folder, self._in_place = folder, in_place
        self._before: dict[Source, AlignedStack] = {}
        self._aligned: dict[Source, AlignedStack] = {}
        self._filtered: dict[Source, AlignedStack] = {}
        self._whole: tuple[SeriesImages, NDArray[np.intp]] | None = None
        self._change: ChangeImage | None = None
        #: Used views that were found to be blank.
        self.blank: tuple[int, ...] = ()

    def __enter__(self) -> SeriesImages:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for source in {*self._before, *self._aligned, *self._filtered}:
            self.release(source)

    def aligned(self, source: Source = "whole") -> AlignedStack:
        """Images on the tilt axis, corrected and not filtered."""
        if source not in self._aligned and self._whole:
            whole, views = self._whole
            self._aligned[source] = whole.aligned(source).select(views)
        elif source not in self._aligned:
            stack = self.before_ctf_weights(source)
            weigh = self._filter(self.how.corrections.contrast_filter)
            if weigh is not None:
                stack = self._replaced(stack, weigh)
            self._aligned[source] = stack
            del self._before[source]
        return self._aligned[source]

    def before_ctf_weights(self, source: Source = "whole") -> AlignedStack:
        """Images on the tilt axis before they are weighted by the CTF: gold is found in these."""
        if source not in self._before:
            self._before[source] = align(
                self._levelled(source),
                self.how.frame,
                self.series.name,
                correct=self._filter(self.how.corrections.image_filter),
                like_newstack=self.how.like_newstack,
                keep=self.how.keep,
                threads=self.how.threads,
                memory_bytes=self._spare_bytes(),
                folder=self._folder,
                advance=self.advance,
            )
            self._tell_of_blank(self._before[source])
            self._changed(source)
        return self._before[source]

    def change(self, change: ChangeImage) -> None:
        """Change every image, aligned or as taken, before the CTF's weights.

        Sources that are read later are changed then; none may have been used.
        """
        assert not self._aligned, "images are changed before they are used"
        self._change = change
        for source in self._before:
            self._changed(source)

    def _changed(self, source: Source) -> None:
        change, grid = self._change, self.how.frame.padded_grid
        if change is not None:
            self._before[source] = self._replaced(
                self._before[source], lambda view, image: change(view, image, grid, None)
            )

    def _replaced(self, stack: AlignedStack, on_image: OnImage) -> AlignedStack:
        """A stack whose images are others, in its room if that may be written to."""
        changed = stack.filtered(
            on_image,
            in_place=stack.writable,
            memory_bytes=self._spare_bytes(),
            folder=self._folder,
        )
        if not stack.writable:
            stack.close()
        return changed

    def filtered(self, on_image: Callable[[], OnImage], source: Source = "whole") -> AlignedStack:
        """Images on the tilt axis after a filter has been applied to each, halo and all.

        Parameters
        ----------
        on_image : callable
            Returns the filter; called only if the source has not been filtered before.
        source : "whole", "half1" or "half2"
        """
        if source not in self._filtered:
            stack = self.aligned(source)
            self._filtered[source] = stack.filtered(
                on_image(),
                in_place=self._in_place,
                memory_bytes=self._spare_bytes(),
                folder=self._folder,
            )
            if self._in_place:
                del self._aligned[source]
        return self._filtered[source]

    def scratch(self, shape: tuple[int, ...]) -> Float32:
        """Array of zeros to work in, mapped from a nameless file where memory does not suffice."""
        return zeros(shape, self._spare_bytes(), self._folder)

    def as_taken(self, grid: ImageGrid, on_image: OnImage, source: Source = "whole") -> Float32:
        """Images in their own frame, corrected and filtered, for the direct projector.

        Parameters
        ----------
        grid : ImageGrid
            From :func:`~tomofilt.align.stack.cropped_grid`.
        on_image : callable
            Filters an image that has been corrected.
        source : "whole", "half1" or "half2"

        Returns
        -------
        (view, y, x) float32
        """
        corrections = self.how.corrections
        correct = corrections.image_filter(self.series, grid)
        weigh, change = corrections.contrast_filter(self.series, grid), self._change
        warps = self.how.frame.image_from_aligned

        def prepared(view: int, image: Float32) -> Float32:
            if correct is not None:
                image = correct(view, image)
            if change is not None:
                image = change(view, image, grid, warps[view])
            if weigh is not None:
                image = weigh(view, image)
            return on_image(view, image)

        return images_as_taken(
            self._levelled(source), grid, self.series.name, prepared, self.how.threads, self.advance
        )

    def select(self, views: NDArray[np.intp], how: Preparation) -> SeriesImages:
        """The same images, not copied, for some views; filtering them leaves these as they are.

        Parameters
        ----------
        views : (view,) int
            Among the used views.
        how : Preparation
            Of these views.
        """
        part = SeriesImages(self.series.select(views), how, folder=self._folder)
        part._whole = self, views
        change = self._change
        if change is not None:
            part._change = lambda view, *image: change(int(views[view]), *image)
        return part

    def release(self, source: Source) -> None:
        """Give the room of a source back; it would be read again if it were asked for."""
        for stacks in (self._before, self._aligned, self._filtered):
            stack = stacks.pop(source, None)
            if stack is not None and not (self._whole and stacks is self._aligned):
                stack.close()

    def _tell_of_blank(self, stack: AlignedStack) -> None:
        self.blank = tuple(sorted({*self.blank, *stack.blank}))
        if not stack.blank:
            return
        numbers = ",".join(str(int(self.series.views[view]) + 1) for view in stack.blank)
        log.info(
            "  note: images of %s without contrast, blank or dark: leave them out, --exclude %s",
            self.series.name,
            numbers,
        )

    def _levelled(self, source: Source) -> LevelledImages:
        images = self._source(source)
        if images.shape != self.series.images.shape:
            raise InputError(
                f"{images.files[0]} has {images.shape} (images, y, x) "
                f"but {self.series.images.files[0]} {self.series.images.shape}"
            )
        return LevelledImages(
            images,
            self.series.views,
            background=self.how.background,
            across_axis=self.how.frame.across_axis,
            log_base=self.series.log_base,
            threads=self.how.threads,
        )

    def _source(self, source: Source) -> ImageSource:
        if source == "whole":
            return self.series.images
        if self.series.halves is None:
            raise InputError(f"{self.series.name} has no images of even and odd frames")
        return self.series.halves[0 if source == "half1" else 1]

    def _filter(self, of: Callable[..., OnImage | None]) -> OnImage | None:
        """One of the corrections' filters, for images on the tilt axis."""
        # the aligned frame is centred on the tilt axis, and so is the grid's centre
        frame = self.how.frame
        return of(self.series, frame.padded_grid, frame.image_from_aligned)

    def _spare_bytes(self) -> int:
        kept: Mapping[Source, AlignedStack] = self._before | self._aligned | self._filtered
        return self.how.memory_bytes - sum(stack.memory_bytes for stack in kept.values())
