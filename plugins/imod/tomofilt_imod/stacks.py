"""The images of an IMOD folder: the aligned stack, or raw images with the way back to them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tomofilt.errors import InputError, MissingFileError
from tomofilt.io.mrc import MrcStack
from tomofilt.io.text import count
from tomofilt.series.projects import ALIGNMENT_PIXEL
from tomofilt_imod.geometry import Frame
from tomofilt_imod.layout import Layout
from tomofilt_imod.ledger import Ledger
from tomofilt_imod.transforms import Transforms, read_xf

__all__ = ["Images", "read_halves", "read_images"]

FloatArray = NDArray[np.float64]

# newst.com options that change which pixel goes where, beyond what raw images and an .xf tell
_REFUSED = (
    "FileOfInputs",
    "SectionsToRead",
    "ExcludeSections",
    "TwoDirectionTiltSeries",
    "SkipSectionIncrement",
    "ReplaceSections",
    "ApplyOffsetsFirst",
    "UseTransformLines",
    "OneTransformPerFile",
    "RotateByAngle",
    "ExpandByFactor",
    "ShrinkByFactor",
    "FourierReduceByFactor",
    "ReorderByTiltAngle",
    "ReverseInputFileOrder",
    "SameSectionsToRead",
)
_NOT_FOLLOWED = ("DistortionField", "GradientFile")


@dataclass(frozen=True, eq=False)
class Images:
    """Images in use, and the aligned stack that tilt.com is about.

    Parameters
    ----------
    stack : MrcStack
        Aligned or raw images.
    frame : Frame
        The aligned stack, in pixels of ``stack``.
    raw_from_aligned : (section, 2, 3), optional
        For raw images: from pixels about the middle of the aligned image to pixels about the
        middle of the raw one.
    binning : int
        Pixels of ``frame`` in a pixel of the aligned stack that newst.com makes.
    alignment_scale : Fraction
        Pixels of ``stack`` in a pixel of the images that the alignment was made for.
    transforms : Transforms, optional
        For raw images: the .xf.
    """

    stack: MrcStack
    frame: Frame
    raw_from_aligned: FloatArray | None = None
    binning: int = 1
    alignment_scale: Fraction = Fraction(1)
    transforms: Transforms | None = None


def read_images(
    layout: Layout,
    pixel_angst: float | None,
    ledger: Ledger,
    *,
    alignment_angst: float | None = None,
) -> Images:
    """Open the aligned stack if there is one, else the raw stack with its .xf.

    Parameters
    ----------
    layout : Layout
    pixel_angst : float, optional
        Pixel size of the images, instead of the header's.
    ledger : Ledger
    alignment_angst : float, optional
        Pixel size of the images that the alignment was made for, if not that of the images.

    Raises
    ------
    MissingFileError
        There are no images, or only raw ones and no .xf.
    InputError
        The .xf does not fit the stack, or newst.com does something that cannot be followed.
    """
    path = layout.aligned_stack()
    images = (
        _raw(layout, pixel_angst, alignment_angst, ledger)
        if path is None
        else _aligned(layout, path, pixel_angst, alignment_angst, ledger)
    )
    if images.stack.surplus:
        ledger.notes.append(images.stack.surplus)
    ledger.files.append(images.stack.path)
    ledger.fact(
        "pixel_angst",
        images.stack.pixel_angst,
        f"header of {images.stack.path.name}" if pixel_angst is None else "--input-pixel-size",
    )
    named = layout.tilt.file("InputProjections")
    if named is not None and not named.is_file():
        ledger.notes.append(
            f"{layout.tilt.source('InputProjections')} names {named.name}, which is not there: "
            f"{images.stack.path.name} is used"
        )
    return images


def _aligned(
    layout: Layout,
    path: Path,
    pixel_angst: float | None,
    alignment_angst: float | None,
    ledger: Ledger,
) -> Images:
    stack = MrcStack(path, pixel_angst)
    named = layout.tilt.file("InputProjections") == path
    source = layout.tilt.source("InputProjections") if named else "found beside the alignment"
    ledger.fact("images", path.name, f"aligned stack, {source}")
    binning = _binning(layout)
    if binning > 1:
        ledger.fact("binning", binning, layout.tilt.source("IMAGEBINNED"))
        ledger.notes.append(
            f"{path.name} is binned by {binning}: the lengths in {layout.tilt.path.name} are "
            f"divided by that, and tomograms are counted in its pixels of {stack.pixel_angst:g} A"
        )
    foreign = _alignment_scale(alignment_angst, stack, ledger)
    frame = Frame(stack.shape[1:], stack.pixel_angst, foreign * Fraction(1, binning))
    _refuse_other_binning(layout, frame, stack, (frame.shape,))
    return Images(stack, frame, alignment_scale=foreign)


def _raw(
    layout: Layout, pixel_angst: float | None, alignment_angst: float | None, ledger: Ledger
) -> Images:
    path, newst = layout.raw_stack(), layout.newst
    if path is None:
        raise MissingFileError(
            f"{layout.folder} has no images of {layout.name}: neither an aligned stack "
            f"({layout.name}_ali.mrc, {layout.name}.ali) nor a raw one ({layout.name}.st, "
            f"{layout.name}.mrc) is there; copy one there, or link it"
        )
    xf_path = newst.file("TransformFile") or layout.beside(".xf")
    if not xf_path.is_file():
        raise MissingFileError(
            f"{path} is not aligned and {xf_path} is not there: copy the .xf file, or make the "
            f"aligned stack {layout.name}_ali.mrc"
        )
    stack, transforms = MrcStack(path, pixel_angst), read_xf(xf_path)
    sections = stack.shape[0]
    if len(transforms) != sections:
        raise InputError(
            f"{xf_path} has {count(len(transforms), 'transform')} but {path.name} has "
            f"{count(sections, 'section')}: was the stack or the alignment made again after views "
            "were removed? Each section needs its line, also those left out with EXCLUDELIST2 or "
            "--exclude; take the .xf and the stack of the same alignment"
        )
    ledger.files.append(xf_path)
    ledger.fact("images", path.name, "raw stack: there is no aligned one")
    ledger.fact("alignment", f"{count(sections, 'transform')} from raw to aligned", xf_path.name)
    _refuse_unfollowed(layout, ledger)

    binning = newst.integer("BinByFactor") or (1 if newst.entries else _binning(layout))
    if binning > 1:
        key_holder, key = (newst, "BinByFactor") if newst.entries else (layout.tilt, "IMAGEBINNED")
        ledger.fact("binning", binning, key_holder.source(key))
        ledger.notes.append(
            f"{key_holder.path.name} bins by {binning}, and so are the raw images: --bin 1 keeps "
            "their pixels"
        )
    foreign = _alignment_scale(alignment_angst, stack, ledger)
    scale = foreign * Fraction(binning, _binning(layout))
    shape = _aligned_shape(layout, stack, transforms, (foreign * binning, scale), ledger)
    offset = newst.numbers("OffsetsInXandY", 2) or (0.0, 0.0)
    ledger.entry(newst, "OffsetsInXandY", "aligned_offset_px", list(offset))
    frame = Frame(shape, stack.pixel_angst, scale)
    ny, nx = stack.shape[1:]
    _refuse_other_binning(layout, frame, stack, ((ny, nx), (nx, ny)))
    back = transforms.raw_from_aligned(np.array(offset), float(foreign))
    return Images(stack, frame, back, binning, foreign, transforms)


def _binning(layout: Layout) -> int:
    return layout.tilt.integer("IMAGEBINNED") or 1


def _alignment_scale(alignment_angst: float | None, stack: MrcStack, ledger: Ledger) -> Fraction:
    """Find the pixels of the stack in one of the images that the alignment was made for."""
    if alignment_angst is None:
        return Fraction(1)
    ledger.fact(ALIGNMENT_PIXEL, alignment_angst, "--alignment-pixel-size")
    scale = Fraction(alignment_angst / stack.pixel_angst).limit_denominator(1000)
    if not scale:
        raise InputError(
            f"--alignment-pixel-size {alignment_angst:g} is far below the pixel size of "
            f"{stack.path}, {stack.pixel_angst:g} A: correct one of them"
        )
    return scale


def _refuse_other_binning(
    layout: Layout, frame: Frame, stack: MrcStack, shapes: Sequence[tuple[int, int]]
) -> None:
    """Refuse an alignment of images that are larger or smaller by a factor than the stack.

    Parameters
    ----------
    shapes : sequence of (ny, nx)
        What the full image may be, in pixels of the stack.
    """
    tilt, scale = layout.tilt, float(frame.scale)
    full = tilt.numbers("FULLIMAGE", 2)
    if full is None or min(full) < 1:
        return
    start = tilt.numbers("SUBSETSTART", 2) or (0.0, 0.0)
    for ny, nx in shapes:
        if all(
            abs((whole - 2 * first) * scale / n - 1) < 0.1
            for whole, first, n in zip(full, start, (nx, ny), strict=True)
        ):
            return  # the stack is the middle part of the full image
    for ny, nx in shapes:
        x, y = (whole * scale / n for whole, n in zip(full, (nx, ny), strict=True))
        factor = math.sqrt(x * y)
        if abs(x / y - 1) < 0.03 and not 0.8 < factor < 1.25:
            raise InputError(
                f"{tilt.path} has FULLIMAGE {full[0]:g} {full[1]:g}, {factor:.4g} times the "
                f"{nx} x {ny} px of {stack.path.name}{' turned' * (len(shapes) > 1)}: the "
                "alignment was made for images with another binning. Give --alignment-pixel-size "
                f"{stack.pixel_angst * scale / factor:.5g}, or the stack that it was made for"
            )


def _aligned_shape(
    layout: Layout,
    stack: MrcStack,
    transforms: Transforms,
    scales: tuple[Fraction, Fraction],
    ledger: Ledger,
) -> tuple[int, int]:
    """Find the size (ny, nx) that the aligned stack would have, in raw pixels.

    Parameters
    ----------
    scales : pair of Fraction
        Raw pixels in a pixel of the output of newst.com, and in a pixel of tilt.com.
    """
    newst, (binning, scale) = layout.newst, scales
    size = newst.numbers("SizeToOutputInXandY", 2)
    if size is not None:
        if min(size) < 1:
            raise InputError(f"{newst.path} has an empty SizeToOutputInXandY: correct it")
        nx, ny = (round(int(n) * binning) for n in size)
        ledger.fact("aligned_shape_px", [nx, ny], newst.source("SizeToOutputInXandY"))
        return ny, nx
    ny, nx = stack.shape[1:]
    full = layout.tilt.numbers("FULLIMAGE", 2) or (0.0, 0.0)
    if any(full) and not newst.entries:
        # etomo sets SUBSETSTART to half of what the aligned stack is smaller than the full image
        start = layout.tilt.numbers("SUBSETSTART", 2) or (0.0, 0.0)
        found = [
            round((n - 2 * first) * float(scale)) for n, first in zip(full, start, strict=True)
        ]
        if min(found) >= 1:
            ledger.fact("aligned_shape_px", found, "tilt.com FULLIMAGE - 2 SUBSETSTART")
            return found[1], found[0]
    if any(full):  # AreTomo leaves the size out of newst.com although it turns the images
        turned = full == (ny, nx)
        source = layout.tilt.source("FULLIMAGE")
    else:
        turn = np.radians(transforms.rotation_deg)
        turned = not newst.entries and bool(
            np.mean(np.abs(np.sin(turn))) > np.mean(np.abs(np.cos(turn)))
        )
        source = "direction of the tilt axis"
    if turned:
        nx, ny = ny, nx
    ledger.fact("aligned_shape_px", [nx, ny], source if turned else f"size of {stack.path.name}")
    return ny, nx


def _refuse_unfollowed(layout: Layout, ledger: Ledger) -> None:
    newst = layout.newst
    for key in _REFUSED:
        if key in newst:
            raise InputError(
                f"{newst.path} uses {key}, which tomofilt does not follow from the raw stack: run "
                f"newst.com to make the aligned stack, {layout.name}_ali.mrc, first"
            )
    found = [key for key in _NOT_FOLLOWED if newst.text(key) is not None]
    if found:
        ledger.notes.append(f"{newst.path.name} {' and '.join(found)}: not applied to raw images")


def read_halves(layout: Layout, images: Images, ledger: Ledger) -> tuple[MrcStack, MrcStack] | None:
    """Open even- and odd-frame images like those in use, if both are there and fit them."""
    aligned = images.raw_from_aligned is None
    paths = layout.halves(aligned)
    if not paths:
        others = layout.halves(not aligned)
        if aligned and others:
            ledger.refuse_halves(
                f"{' and '.join(path.name for path in others)}: frame halves that are not aligned "
                f"do not go with {images.stack.path.name}; align them with newstack as "
                f"{layout.name}_EVN_ali.mrc and {layout.name}_ODD_ali.mrc to use them"
            )
        return None
    if len(paths) == 1:
        ledger.refuse_halves(f"{paths[0].name}: the other half is not there, so it is not used")
        return None
    even, odd = (MrcStack(path, images.stack.pixel_angst) for path in paths)
    if not even.shape == odd.shape == images.stack.shape:
        ledger.refuse_halves(
            f"{paths[0].name} and {paths[1].name} are not used: they have sizes {even.shape} and "
            f"{odd.shape} (sections, y, x), but {images.stack.path.name} has {images.stack.shape}"
        )
        return None
    ledger.files += paths
    ledger.fact("halves", [path.name for path in paths], "even and odd frames, by their names")
    return even, odd
