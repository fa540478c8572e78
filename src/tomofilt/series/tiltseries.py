"""A tilt series as tomofilt works with it: lazy images, geometry, and where each number is from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tomofilt.series.ctf import Ctf
from tomofilt.series.geometry import TiltGeometry, VolumeGrid

__all__ = ["ImageSource", "Sourced", "TiltSeries"]


class ImageSource(Protocol):
    """Images that are read when asked for."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """(image, y, x)."""

    @property
    def pixel_angst(self) -> float:
        """Pixel size in angstrom."""

    @property
    def files(self) -> tuple[Path, ...]:
        """Every file the images come from."""

    def read(self, image: int, y_start: int = 0, y_stop: int | None = None) -> NDArray[np.float32]:
        """Rows y_start..y_stop of one image as float32, shape (rows, x)."""


@dataclass(frozen=True)
class Sourced:
    """A value with the place it was taken from, for `inspect` and the record."""

    value: object
    source: str


@dataclass(frozen=True, eq=False)
class TiltSeries:
    """One tilt series, as a project plug-in hands it over.

    Parameters
    ----------
    name : str
        Base name of the results.
    images : ImageSource
        The images that the view maps speak of: an aligned stack, or raw images.
    geometry : TiltGeometry
        One map for each *used* view, in the order of ``views``.
    views : (view,) int
        Index into ``images`` of each used view.
    tilt_deg : (view,)
        Tilt angle of each used view, as applied, for weights, filters and display.
    grid : VolumeGrid
        Default tomogram at the pixel size of ``images`` (unbinned).
    aligned_shape : (ny, nx), optional
        Size in pixels of the images once aligned (IMOD's aligned stack); default: the images' own
        size, turned with the tilt axis.
    binning : float
        Default output voxel in pixels of ``images``, as the project bins.
    first_voxel_kept : bool
        How a binned tomogram lies over the unbinned one: see :meth:`VolumeGrid.binned`.
    origin_angst : (x, y, z), optional
        Origin of ``grid`` that the project's own program would write into an MRC header, in IMOD's
        sign; default: the middle of the tomogram.
    orientation : "zyx" or "xzy"
        Order of axes in the tomogram's file unless the user says otherwise.
    axes_fixed : bool
        Whether the project takes positions in the tomogram for positions in the specimen, so that
        it may be neither turned nor mirrored.
    excluded : tuple of int
        Image indices (0-based) left out on request or by the project.
    halves : pair of ImageSource, optional
        Even- and odd-frame images, same shape as ``images``.
    halves_refused : str, optional
        Why frame halves that were found are not used.
    dose_e_per_a2 : (view,), optional
        Exposure before each used view, electrons per square angstrom.
    dose_done : str, optional
        Why the images count as dose-weighted already.
    voltage_kv : float, optional
        Of the microscope.
    ctf : Ctf, optional
        Contrast transfer of the used views, in the frame of ``images``.
    ctf_done : str, optional
        Why the images count as corrected for it already.
    log_base : float, optional
        When given, images are replaced by log10(max(value + base, floor)) (IMOD's LOG).
    fiducials_angst : (bead, view, 2), optional
        Where the project says that beads are in the images: x, y about their middles, NaN where
        it does not.
    native_filter : object, optional
        What the project's own reconstruction program would apply: a filter of the plug-in, which
        ``-f imod``, say, stands for.
    facts : mapping of name to Sourced
        Every number used and where it came from.
    notes : tuple of str
        What was found and is not used, and why; what was assumed.
    files : tuple of Path
        Every input file read, images included.
    """

    name: str
    images: ImageSource
    geometry: TiltGeometry
    views: NDArray[np.intp]
    tilt_deg: NDArray[np.float64]
    grid: VolumeGrid
    aligned_shape: tuple[int, int] | None = None
    binning: float = 1.0
    first_voxel_kept: bool = False
    origin_angst: tuple[float, float, float] | None = None
    orientation: Literal["zyx", "xzy"] = "zyx"
    axes_fixed: bool = False
    excluded: tuple[int, ...] = ()
    halves: tuple[ImageSource, ImageSource] | None = None
    halves_refused: str | None = None
    dose_e_per_a2: NDArray[np.float64] | None = None
    dose_done: str | None = None
    voltage_kv: float | None = None
    ctf: Ctf | None = None
    ctf_done: str | None = None
    log_base: float | None = None
    fiducials_angst: NDArray[np.float64] | None = None
    native_filter: object = None
    facts: Mapping[str, Sourced] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()

    def select(self, views: ArrayLike) -> TiltSeries:
        """The same series with only some of its used views.

        Everything that has one value a view goes along: geometry, angles, exposure, CTF. Images
        and frame halves stay as they are, since ``views`` says which of them are used.

        Parameters
        ----------
        views : indices or mask
            Among the used views.
        """
        index = np.asarray(views)
        dose, beads = self.dose_e_per_a2, self.fiducials_angst
        return replace(
            self,
            geometry=self.geometry.select(index),
            views=self.views[index],
            tilt_deg=self.tilt_deg[index],
            dose_e_per_a2=None if dose is None else dose[index],
            ctf=None if self.ctf is None else self.ctf.select(index),
            fiducials_angst=None if beads is None else beads[:, index],
        )
