"""IMOD's tilt geometry, turned into tomofilt's view maps and volume grid.

``tilt`` numbers its output (slice along y, thickness i, x). In the orientation of ``trimvol -rx``,
which tomofilt uses, z runs against i: z = -(i - ci). With al = x tilt - XAXISTILT and t = tilt
angle + OFFSET, the point (x, y, z) about the specimen centre is found in the aligned image, about
the point where the tilt axis crosses it, at ::

    x_image = x cos(t) + y sin(al) sin(t) + z cos(al) sin(t)  [+ zx z]
    y_image = y cos(al) - z sin(al)                           [+ zy z]

that is the upper rows of ``Ry(t) Rx(al)`` plus the Z factors (zx, zy). Signs and centres were
measured with IMOD's own programs on synthetic data.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from tomofilt.errors import InputError
from tomofilt.series.geometry import LocalGeometry, TiltGeometry, VolumeGrid, rotation_x, rotation_y
from tomofilt_imod.com import Command
from tomofilt_imod.transforms import LocalAlignment

__all__ = ["Frame", "TiltOptions", "ViewAngles", "tilt_geometry"]

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Frame:
    """The aligned stack that tilt.com speaks of, on disk or only as it would be.

    Parameters
    ----------
    shape : (ny, nx)
        Its size in pixels.
    pixel_angst : float
        Its pixel size.
    scale : Fraction
        Its pixels in one unit of the lengths in tilt.com: 1 / IMAGEBINNED for the stack on disk.
    """

    shape: tuple[int, int]
    pixel_angst: float
    scale: Fraction


@dataclass(frozen=True)
class TiltOptions:
    """What tilt.com says about the geometry, in pixels of the aligned stack.

    Parameters
    ----------
    width_px, thickness_px : int
        Size of the tomogram in x and z.
    rows : (first, stop)
        Rows of the aligned stack that become its y slices.
    angle_offset_deg, axis_offset_px : float
        OFFSET: added to all tilt angles; x of the tilt axis from the middle of the full image.
    xaxis_tilt_deg : float
        XAXISTILT.
    shift_px : (x, z)
        SHIFT of the specimen, to +x and towards larger thickness index i.
    full_px : (x, y)
        FULLIMAGE: size of the image of which the aligned stack is a part.
    start_px : (x, y)
        SUBSETSTART: where the aligned stack starts in it.
    """

    width_px: int
    thickness_px: int
    rows: tuple[int, int]
    angle_offset_deg: float
    axis_offset_px: float
    xaxis_tilt_deg: float
    shift_px: tuple[float, float]
    full_px: tuple[int, int]
    start_px: tuple[int, int]

    @classmethod
    def read(cls, tilt: Command, frame: Frame, thickness_px: int | None = None) -> TiltOptions:
        """Read the options of a tilt.com for an aligned stack.

        IMAGEBINNED divides THICKNESS, WIDTH, SLICE and SUBSETSTART without remainder and FULLIMAGE
        to the next larger integer; SHIFT and the axis offset stay fractions.

        Parameters
        ----------
        tilt : Command
        frame : Frame
        thickness_px : int, optional
            Thickness in pixels of the frame where tilt.com has none.

        Raises
        ------
        InputError
            A value makes no sense, or there is no thickness.
        """
        ny, nx = frame.shape
        scale = float(frame.scale)
        thickness, width = tilt.number("THICKNESS"), tilt.number("WIDTH")
        if thickness is not None:
            thickness_px = math.trunc(Fraction(thickness) * frame.scale)
        if thickness_px is None:
            raise InputError(
                f"no thickness is known: {tilt.path} "
                f"{'has no THICKNESS' if tilt.path.exists() else 'is not there'}; give --thickness "
                "in angstrom or --thickness-px in pixels"
            )
        angle_offset, axis_offset = (*(tilt.numbers("OFFSET", 1, 2) or ()), 0.0, 0.0)[:2]
        shift_x, shift_z = (*(tilt.numbers("SHIFT", 1, 2) or ()), 0.0, 0.0)[:2]
        full_x, full_y = tilt.numbers("FULLIMAGE", 2) or (0.0, 0.0)
        start_x, start_y = tilt.numbers("SUBSETSTART", 2) or (0.0, 0.0)
        return cls(
            width_px=nx if width is None else math.trunc(Fraction(width) * frame.scale),
            thickness_px=thickness_px,
            rows=_rows(tilt, frame),
            angle_offset_deg=angle_offset,
            axis_offset_px=axis_offset * scale,
            xaxis_tilt_deg=tilt.number("XAXISTILT") or 0.0,
            shift_px=(shift_x * scale, shift_z * scale),
            full_px=(
                math.ceil(Fraction(full_x) * frame.scale) or nx,
                math.ceil(Fraction(full_y) * frame.scale) or ny,
            ),
            start_px=(
                math.trunc(Fraction(start_x) * frame.scale),
                math.trunc(Fraction(start_y) * frame.scale),
            ),
        )

    def axis_px(self, shape: tuple[int, int]) -> tuple[float, float]:
        """Locate the specimen centre in an untilted aligned image, (x, y) about its middle."""
        ny, nx = shape
        x = self.full_px[0] / 2 - self.start_px[0] - nx / 2 + self.axis_offset_px
        y = self.full_px[1] / 2 - self.start_px[1] - ny / 2
        return x, y

    def column_rounding(self, shape: tuple[int, int]) -> float:
        """How far a voxel lies behind the whole pixel that ``tilt`` takes its local patch for."""
        subset_px = math.trunc((self.full_px[0] - shape[1]) / 2) - self.start_px[0]
        out = self.width_px // 2 + 0.5 + subset_px + self.shift_px[0]
        exact = self.full_px[0] / 2 + 0.5 - self.start_px[0] - out
        return exact - math.copysign(math.floor(abs(exact) + 0.5), exact)

    def grid(self, frame: Frame) -> VolumeGrid:
        """Lay out the tomogram that ``tilt`` would make.

        The specimen centre is at floor(n / 2) - 1/2 of an axis of n voxels in IMOD's x and i, half
        a voxel low for odd n, and shares the offset of the tilt axis from the middle of the stack
        (in whole pixels as far as FULLIMAGE and SUBSETSTART cause it).
        """
        ny, nx = frame.shape
        subset_px = math.trunc((self.full_px[0] - nx) / 2) - self.start_px[0]
        x = self.width_px // 2 - 0.5 + subset_px + self.axis_offset_px + self.shift_px[0]
        y = (ny - 1) / 2 + self.axis_px(frame.shape)[1] - self.rows[0]
        i = self.thickness_px // 2 - 0.5 + self.shift_px[1]
        shape = (self.thickness_px, self.rows[1] - self.rows[0], self.width_px)
        return VolumeGrid(shape, frame.pixel_angst, (self.thickness_px - 1 - i, y, x))

    def origin_angst(
        self, frame: Frame, stack_origin_angst: tuple[float, float] | None
    ) -> tuple[float, float, float]:
        """Origin (x, y, z) that ``tilt`` writes, for the tomogram turned upright.

        Parameters
        ----------
        frame : Frame
        stack_origin_angst : (x, y), optional
            Origin of the aligned stack, with AdjustOrigin; without it, ``tilt`` counts from the
            middle of the slice and puts minus the number of the first slice.
        """
        pixel = frame.pixel_angst
        z = pixel * (self.thickness_px / 2)
        if stack_origin_angst is None:
            return pixel * self.width_px / 2, float(-self.rows[0]), z
        x, y = stack_origin_angst
        return (
            x - pixel * ((frame.shape[1] - self.width_px) / 2 - self.shift_px[0]),
            y - pixel * self.rows[0],
            z + pixel * self.shift_px[1],
        )


def _rows(tilt: Command, frame: Frame) -> tuple[int, int]:
    ny = frame.shape[0]
    limits = tilt.numbers("SLICE", 2, 3)
    if limits is None:
        return 0, ny
    first, last = (math.trunc(Fraction(limit) * frame.scale) for limit in limits[:2])
    if not 0 <= first <= last < ny:
        raise InputError(
            f"{tilt.path} has SLICE {tilt.text('SLICE')}, rows {first} to {last} of the aligned "
            f"stack, but that has rows 0 to {ny - 1}: correct it, or remove the line"
        )
    return first, last + 1


@dataclass(frozen=True, eq=False)
class ViewAngles:
    """Angles of all views, in the order of the stack, before OFFSET and XAXISTILT.

    Parameters
    ----------
    tilt_deg, xtilt_deg : (view,)
    z_factors : (view, 2)
        Displacement (x, y) of the image position for each pixel of z.
    use_local_z_factors : bool
        Whether Z factors in a local alignment count (tilt.com has a ZFACTORFILE).
    """

    tilt_deg: FloatArray
    xtilt_deg: FloatArray
    z_factors: FloatArray
    use_local_z_factors: bool = False

    def tilts_alone(self, xaxis_tilt_deg: float) -> ViewAngles:
        """The same tilts, with nothing left after XAXISTILT of the x tilts, and no Z factors."""
        xtilt = np.full_like(self.xtilt_deg, xaxis_tilt_deg)
        return ViewAngles(self.tilt_deg, xtilt, np.zeros_like(self.z_factors))


def tilt_geometry(
    angles: ViewAngles,
    options: TiltOptions,
    frame: Frame,
    *,
    raw_from_aligned: FloatArray | None = None,
    local: LocalAlignment | None = None,
    local_scale: float = 1.0,
) -> TiltGeometry:
    """Build the view maps of all views.

    Parameters
    ----------
    angles : ViewAngles
    options : TiltOptions
    frame : Frame
        Aligned stack, of which ``options`` speaks.
    raw_from_aligned : (view, 2, 3), optional
        From pixels about the middle of the aligned image to pixels about the middle of the raw
        one, when the images are raw.
    local : LocalAlignment, optional
    local_scale : float
        Frame pixels in a pixel of the local alignment.
    """
    tilt = angles.tilt_deg + options.angle_offset_deg
    xtilt = angles.xtilt_deg - options.xaxis_tilt_deg
    axis_px = np.array(options.axis_px(frame.shape))
    if raw_from_aligned is None:
        raw_from_aligned = np.broadcast_to(np.eye(2, 3), (len(tilt), 2, 3))
    rotated = _about_axis(tilt, xtilt, angles.z_factors)
    maps = _onto_images(rotated, axis_px, raw_from_aligned, frame.pixel_angst)
    if local is None:
        return TiltGeometry(maps)

    # without Z factors of its own, a local alignment has none, whatever ZFACTORFILE says
    z_factors: FloatArray = np.zeros(2)
    if local.z_factors is not None and angles.use_local_z_factors:
        z_factors = local.z_factors
    rotated = _about_axis(tilt + local.tilt_deg, xtilt + local.xtilt_deg, z_factors)
    # Local transforms act about the point where the tilt axis crosses the image.
    moved = local.transforms[..., :2] @ rotated
    shift_px = local.transforms[..., 2] * local_scale + axis_px
    local_maps = _onto_images(moved, shift_px, raw_from_aligned, frame.pixel_angst)
    columns, rows = local.lattice(local_scale)
    # tilt counts pixels from 1, and takes the patch of a voxel at the nearest of them
    axis_x, axis_y = options.full_px[0] / 2 + 0.5, options.full_px[1] / 2 + 0.5
    lattice = LocalGeometry(
        x_angst=(columns - axis_x - options.axis_offset_px + options.column_rounding(frame.shape))
        * frame.pixel_angst,
        y_angst=(rows - axis_y) * frame.pixel_angst,
        image_from_volume=np.moveaxis(local_maps, 2, 0),
    )
    return TiltGeometry(maps, lattice)


def _about_axis(tilt_deg: FloatArray, xtilt_deg: FloatArray, z_factors: FloatArray) -> FloatArray:
    """Project the volume to the aligned image, both about the specimen centre: (..., 2, 3)."""
    rotation = rotation_y(np.radians(tilt_deg)) @ rotation_x(np.radians(xtilt_deg))
    projection = rotation[..., :2, :]
    projection[..., 2] += z_factors
    return projection


def _onto_images(
    projection: FloatArray,
    shift_px: FloatArray,
    image_from_aligned: FloatArray,
    pixel_angst: float,
) -> FloatArray:
    """Add a shift in the aligned image, go on to the image in use: maps (..., 2, 4) in angstrom."""
    linear, constant_px = image_from_aligned[..., :2], image_from_aligned[..., 2]
    moved_px = (linear @ shift_px[..., None])[..., 0] + constant_px
    return np.concatenate([linear @ projection, moved_px[..., None] * pixel_angst], axis=-1)
