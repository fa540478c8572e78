"""Everything a user can choose about a reconstruction."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tomofilt.filters.protocol import Interpolation
from tomofilt.series.tiltseries import TiltSeries

__all__ = ["Settings"]


@dataclass(frozen=True)
class Settings:
    """Everything a user can choose about a reconstruction.

    The size of the tomogram is the series' own: see
    :class:`tomofilt.series.projects.SeriesOptions`.

    Attributes
    ----------
    filter : str
        Specification ``NAME[:ARG]``; see :mod:`tomofilt.filters`.
    cutoff : str, optional
        Cut-off of the windowed filters: cycles per pixel, or a resolution such as ``"60A"``.
    model : Path, optional
        Bundle with a learned filter, which takes the place of ``filter``.
    bin : float, optional
        Output voxel size in input pixels. Exclusive with ``pixel_angst``.
    pixel_angst : float, optional
        Output voxel size in angstrom.
    interpolation : "fine" or "linear", optional
        How filtered rows are sampled; default is the filter's own.
    projector : "fast", "direct", "triton" or "astra"
        "triton" and "astra": as "fast", on a GPU, by this engine and no other.
    normalise : "sum" or "count"
        "sum": filtered back-projection. "count": each voxel is the mean over the views that see
        it, of images with their mean subtracted; with the filter ``none``, RELION's unweighted
        tomogram. Always by the direct projector.
    orientation : "zyx" or "xzy", optional
        Axis order of the file: as IMOD's ``trimvol -rx``, or as ``tilt`` writes (y, z, x). Default:
        the series' own.
    dtype : str, optional
        float32, float16, int16 or int8; default is the filter's own.
    ctf : "auto", "none", "flip" or "wiener"
        Correction of the contrast transfer. "auto", where the project knows the defocus and has not
        corrected the images itself: "wiener" with ``wiener-exact:view``, else "flip".
    dose_weight : "auto", "on" or "off"
        "auto": where the exposure is known, except with a filter that weighs views itself.
    gold : "keep", "erase" or "as-is"
        Gold beads are filled in the images, and then put back into the tomogram or left out; or
        they are left in the images as they are.
    invert, flip_z : bool
        Negate densities; mirror the tomogram in z (which inverts its handedness).
    device : str
        "auto" (a GPU if one works), "cpu" or "cuda:0,1"; see :mod:`tomofilt.projectors.select`.
    threads : int, optional
    max_memory_bytes : int, optional
    overwrite : bool
        Replace a finished tomogram that tomofilt made earlier.
    preview : bool
        Write the PNG with the central slices.
    zarr : bool
        Also write the tomogram, and the denoised one, as OME-Zarr.
    halves : "none", "frames" or "tilts"
        Also write the two half tomograms.
    denoise : bool
        Also write the tomogram denoised by a network that is trained on the series, if that stands
        the trial: see :mod:`tomofilt.denoise`. The filter has to be ``wiener-exact``.
    head : Path, optional
        Bundle with the network for ``denoise``, instead of training one.
    """

    filter: str = "wiener-exact:view"
    cutoff: str | None = None
    model: Path | None = None
    bin: float | None = None
    pixel_angst: float | None = None
    interpolation: Interpolation | None = None
    projector: Literal["fast", "direct", "triton", "astra"] = "fast"
    normalise: Literal["sum", "count"] = "sum"
    orientation: Literal["zyx", "xzy"] | None = None
    dtype: str | None = None
    ctf: Literal["auto", "none", "flip", "wiener"] = "auto"
    dose_weight: Literal["auto", "on", "off"] = "auto"
    gold: Literal["keep", "erase", "as-is"] = "keep"
    invert: bool = False
    flip_z: bool = False
    device: str = "auto"
    threads: int | None = None
    max_memory_bytes: int | None = None
    overwrite: bool = False
    preview: bool = True
    zarr: bool = False
    halves: Literal["none", "frames", "tilts"] = "none"
    denoise: bool = False
    head: Path | None = None

    def axes(self, series: TiltSeries) -> Literal["zyx", "xzy"]:
        """Order of axes in the files of a series' tomograms."""
        return self.orientation or series.orientation
