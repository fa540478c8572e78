"""One tilt series of AreTomo: images, alignment, tomogram, and where each number is from."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tomofilt.errors import InputError
from tomofilt.io.mrc import MrcStack
from tomofilt.io.text import count
from tomofilt.series.displaced import displaced
from tomofilt.series.geometry import TiltGeometry, VolumeGrid
from tomofilt.series.ledger import Ledger
from tomofilt.series.projects import SeriesOptions
from tomofilt.series.tiltseries import TiltSeries
from tomofilt_aretomo.aln import Alignment, read_aln
from tomofilt_aretomo.layout import Layout
from tomofilt_aretomo.local import LocalShift
from tomofilt_aretomo.metadata import read_ctf, read_exposure

__all__ = ["read_series"]

IntArray = NDArray[np.intp]


def read_series(layout: Layout, options: SeriesOptions) -> TiltSeries:
    """Read the tilt series of an alignment, from its raw stack.

    A point p of the specimen is seen in the raw image, about its middle, at
    ``Rz(ROT) Ry(TILT) p + (TX, TY)``: AreTomo's own .xf says the same, with fewer digits.

    Parameters
    ----------
    layout : Layout
    options : SeriesOptions
        ``exclude`` counts the sections of the stack.

    Raises
    ------
    MissingFileError
        The alignment or its stack is not there.
    InputError
        They do not fit each other, or no thickness is known.
    """
    alignment = read_aln(layout.aln)
    ledger = Ledger(files=[layout.aln])
    stack, sections, raw = _images(layout, alignment, options, ledger)
    pixel, image_shape = stack.pixel_angst, stack.shape[1:]
    _record_alignment(alignment, ledger)
    grid = options.grid(_grid(layout, alignment, stack, options, ledger))
    geometry = TiltGeometry.from_angles(
        alignment.tilt_deg, alignment.rotation_deg, shift_angst=alignment.shift_px * pixel
    )
    if alignment.patches is not None:
        shift = LocalShift(alignment, alignment.patches, image_shape, pixel)
        nz, ny, nx = grid.shape
        geometry = displaced(geometry, (nx * pixel, ny * pixel, nz * pixel), shift)
        ledger.fact(
            "local_alignment", f"{alignment.patches.good.shape[1]} patches", layout.aln.name
        )
    chosen = _chosen(alignment, sections, stack, options, ledger)
    views = sections[chosen]
    exposure = read_exposure(layout.beside("_TLT.txt"), alignment, raw, ledger)
    ctf = read_ctf(layout.beside("_CTF.txt"), alignment, ledger)
    return TiltSeries(
        name=layout.name,
        images=stack,
        geometry=geometry.select(chosen),
        views=views,
        tilt_deg=alignment.tilt_deg[chosen],
        grid=grid,
        excluded=tuple(int(i) for i in np.setdiff1d(np.arange(stack.shape[0]), views)),
        halves=_halves(layout, stack, ledger),
        dose_e_per_a2=None if exposure is None else exposure[chosen],
        voltage_kv=None if ctf is None else ctf.voltage_kv,
        ctf=None if ctf is None else ctf.select(chosen),
        facts=ledger.facts,
        notes=tuple(ledger.notes),
        files=(*ledger.files, *stack.files),
    )


def _images(
    layout: Layout, alignment: Alignment, options: SeriesOptions, ledger: Ledger
) -> tuple[MrcStack, IntArray, IntArray]:
    """The stack, and the section of each aligned image in it and in the raw stack."""
    raw_shape = alignment.raw_shape
    path, what = layout.raw_stack(), "the stack that was aligned"
    if path is None:
        path, what = layout.bright_stack(), "the stack of -OutImod"
    if path is None:
        raise layout.missing_stack()
    stack = MrcStack(path, options.input_pixel_angst)
    if raw_shape is not None and stack.shape[1:] != raw_shape[1:]:
        raise InputError(
            f"{layout.aln} was made for images of {raw_shape[2]} x {raw_shape[1]} pixels, but "
            f"{path} has {stack.shape[2]} x {stack.shape[1]}: take the stack that AreTomo has "
            "aligned, unbinned"
        )
    without_dark = path == layout.bright_stack() or len(alignment.dark) > 0
    if without_dark and stack.shape[0] == len(alignment):
        sections = np.arange(len(alignment))  # of the images that are left, by ascending tilt
    else:
        sections = alignment.raw_sections(stack.shape[0])
    ledger.fact("images", path.name, what)
    source = "--input-pixel-size" if options.input_pixel_angst else f"header of {path.name}"
    ledger.fact("pixel_angst", stack.pixel_angst, source)
    raw = sections if raw_shape is None else alignment.raw_sections(raw_shape[0])
    return stack, sections, raw


def _record_alignment(alignment: Alignment, ledger: Ledger) -> None:
    source, tilt = alignment.path.name, alignment.tilt_deg
    ledger.fact(
        "tilt_angles", f"{len(tilt)} from {tilt.min():g} to {tilt.max():g} deg", f"{source} TILT"
    )
    rotation = alignment.rotation_deg
    ledger.fact("tilt_axis_deg", f"{rotation.min():g} to {rotation.max():g}", f"{source} ROT")
    if alignment.alpha_deg:
        ledger.fact(
            "alpha_offset_deg", alignment.alpha_deg, f"{source} AlphaOffset, part of TILT already"
        )
    if alignment.beta_deg:
        ledger.notes.append(
            f"{source} BetaOffset {alignment.beta_deg:g} deg: AreTomo uses it for the CTF alone, "
            "and so it is not applied"
        )


def _grid(
    layout: Layout,
    alignment: Alignment,
    stack: MrcStack,
    options: SeriesOptions,
    ledger: Ledger,
) -> VolumeGrid:
    """The tomogram that AreTomo would make of all pixels: its sides follow the tilt axis."""
    ny, nx = stack.shape[1:]
    axis = np.radians(np.median(alignment.rotation_deg))
    if abs(np.sin(axis)) > np.sqrt(0.5):
        ny, nx = nx, ny
    thickness, source = layout.volume_thickness_px(), f"{layout.imod_folder.name}/tilt.com"
    if thickness is None:
        thickness, source = alignment.thickness_px, f"{layout.aln.name} Thickness"
    if thickness < 1 and not options.chooses_planes:
        raise InputError(
            f"no thickness is known: {layout.aln} has no Thickness, and there is no "
            f"{layout.imod_folder.name}/tilt.com; give --thickness in angstrom or --thickness-px "
            "in pixels"
        )
    if options.chooses_planes:
        source = "the thickness asked for"
    grid = VolumeGrid.centred((max(thickness, 1), ny, nx), stack.pixel_angst)
    ledger.fact("thickness_px", options.shape(grid.shape, stack.pixel_angst)[0], source)
    return grid


def _chosen(
    alignment: Alignment,
    sections: IntArray,
    stack: MrcStack,
    options: SeriesOptions,
    ledger: Ledger,
) -> IntArray:
    """Lines of the alignment to use, by ascending tilt."""
    asked = sorted(set(options.exclude))
    wrong = [view for view in asked if not 1 <= view <= stack.shape[0]]
    if wrong:
        raise InputError(
            f"--exclude names view {wrong[0]}, but {stack.path} has views 1 to {stack.shape[0]}"
        )
    if asked:
        ledger.fact("excluded_on_request", asked, "--exclude")
    left_out = np.setdiff1d(np.arange(stack.shape[0]), sections) + 1
    if left_out.size:
        ledger.fact("excluded_views", left_out.tolist(), f"{alignment.path.name}, as dark images")
    used = np.flatnonzero(~np.isin(sections, np.array(asked, dtype=np.intp) - 1))
    if used.size == 0:
        raise InputError(f"all {count(len(alignment), 'view')} of {alignment.path} are excluded")
    return used[np.argsort(alignment.tilt_deg[used], kind="stable")]


def _halves(layout: Layout, stack: MrcStack, ledger: Ledger) -> tuple[MrcStack, MrcStack] | None:
    paths = layout.halves(stack.path)
    if len(paths) < 2:
        return None
    even, odd = (MrcStack(path, stack.pixel_angst) for path in paths)
    if not even.shape == odd.shape == stack.shape:
        ledger.notes.append(
            f"{paths[0].name} and {paths[1].name} are not used: they have sizes {even.shape} and "
            f"{odd.shape} (sections, y, x), but {stack.path.name} has {stack.shape}"
        )
        return None
    ledger.files += paths
    ledger.fact("halves", [path.name for path in paths], "even and odd frames, by their names")
    return even, odd
