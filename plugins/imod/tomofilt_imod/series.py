"""One tilt series from an IMOD folder: images, angles, geometry, and where each number is from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tomofilt.errors import InputError
from tomofilt.io.mrc import MrcStack
from tomofilt.io.text import count
from tomofilt.series.projects import SeriesOptions
from tomofilt.series.tiltseries import TiltSeries
from tomofilt.util.words import listed
from tomofilt_imod.angles import read_angles
from tomofilt_imod.com import Command, read_command
from tomofilt_imod.fiducials import read_fiducials
from tomofilt_imod.geometry import TiltOptions, tilt_geometry
from tomofilt_imod.layout import Layout
from tomofilt_imod.ledger import Ledger
from tomofilt_imod.mdoc import Mdoc
from tomofilt_imod.optics import find_mdoc, read_ctf, read_exposure, told_by_stack
from tomofilt_imod.stacks import Images, read_halves, read_images
from tomofilt_imod.tilt_com import note_unused_options, read_program
from tomofilt_imod.transforms import LocalAlignment, read_local
from tomofilt_imod.views import parse_view_list

__all__ = ["read_series"]

FloatArray = NDArray[np.float64]


def read_series(layout: Layout, asked: SeriesOptions) -> TiltSeries:
    """Read the tilt series of a folder.

    The aligned stack is used if there is one, else the raw stack through its .xf and newst.com.

    Parameters
    ----------
    layout : Layout
    asked : SeriesOptions
        The size that it asks for lies about the middle of tilt.com's tomogram. It has to name a
        thickness where tilt.com has no THICKNESS.

    Raises
    ------
    MissingFileError
        The images, the alignment or a file that a com file names is not there.
    InputError
        Files do not fit each other, hold something unusable, or lack a number that is needed.
    """
    tilt = layout.tilt
    ledger = Ledger(files=[com.path for com in (tilt, layout.newst) if com.entries])
    if layout.edf_path is not None:
        ledger.files.append(layout.edf_path)
    images = read_images(
        layout, asked.input_pixel_angst, ledger, alignment_angst=asked.alignment_pixel_angst
    )
    stack = images.stack
    planes = asked.shape((0, 0, 0), stack.pixel_angst)[0] if asked.chooses_planes else None
    options = TiltOptions.read(tilt, images.frame, planes)
    _record_options(tilt, options, ledger)
    excluded = _excluded(layout, asked.exclude, stack, ledger)
    used = np.setdiff1d(np.arange(stack.shape[0]), excluded)
    if used.size == 0:
        raise InputError(f"all {count(stack.shape[0], 'view')} of {stack.path} are excluded")
    if images.transforms is not None:
        images.transforms.refuse_impossible(used)
    angles = read_angles(layout, stack, options, used, ledger)
    local = _read_local(layout, stack, ledger)
    geometry = tilt_geometry(
        angles,
        options,
        images.frame,
        raw_from_aligned=images.raw_from_aligned,
        local=local,
        local_scale=1.0 if local is None else _local_scale(tilt, local, images),
    )
    tilt_deg = angles.tilt_deg + options.angle_offset_deg
    views = used[np.argsort(tilt_deg[used], kind="stable")]
    halves = read_halves(layout, images, ledger)
    fiducials = read_fiducials(layout, images, ledger)
    alone = tilt_geometry(
        angles.tilts_alone(options.xaxis_tilt_deg),
        options,
        images.frame,
        raw_from_aligned=images.raw_from_aligned,
    )
    program = read_program(layout, images, options, alone, ledger) if tilt.entries else None
    _note_left_out(layout, excluded, ledger)
    _note_what_is_unused(layout, ledger)
    mdoc = find_mdoc(layout)
    _note_other_pixel_size(images, mdoc, ledger)
    exposure = read_exposure(mdoc, tilt_deg, ledger)
    ctf = read_ctf(layout, images, angles.tilt_deg, mdoc, ledger)
    ctf_done, dose_done = told_by_stack(stack, layout)
    own_grid = options.grid(images.frame)
    grid = asked.grid(own_grid)
    # the specimen keeps its coordinates at any size
    origin = options.origin_angst(images.frame, _stack_origin(layout, images))
    moved = np.subtract(grid.centre, own_grid.centre)[::-1] * grid.voxel_angst
    x, y, z = (float(value) for value in origin + moved)
    voltage_kv = ctf.voltage_kv if ctf else mdoc.voltage_kv if mdoc else None
    return TiltSeries(
        name=layout.name,
        images=stack,
        geometry=geometry.select(views),
        views=views,
        tilt_deg=tilt_deg[views],
        grid=grid,
        aligned_shape=images.frame.shape,
        binning=images.binning,
        origin_angst=(x, y, z),
        excluded=excluded,
        halves=halves,
        halves_refused=ledger.halves_refused,
        dose_e_per_a2=None if exposure is None else exposure[views],
        dose_done=dose_done,
        voltage_kv=voltage_kv,
        ctf=None if ctf is None else ctf.select(views),
        ctf_done=ctf_done,
        log_base=tilt.number("LOG"),
        fiducials_angst=None if fiducials is None else fiducials[:, views],
        native_filter=program,
        # IMOD's combine takes both axes as tilt writes them
        orientation="xzy" if layout.axis else "zyx",
        facts=ledger.facts,
        notes=tuple(ledger.notes),
        files=tuple(dict.fromkeys(ledger.files)),
    )


def _stack_origin(layout: Layout, images: Images) -> tuple[float, float] | None:
    """Find the aligned stack's origin (x, y), angstrom, if tilt.com says AdjustOrigin."""
    if not layout.tilt.flag("AdjustOrigin"):
        return None
    x, y, _ = images.stack.header.origin_angst
    if images.raw_from_aligned is not None and layout.newst.flag("AdjustOrigin"):
        ny, nx = images.stack.shape[1:]
        x += images.frame.pixel_angst * (images.frame.shape[1] - nx) / 2
        y += images.frame.pixel_angst * (images.frame.shape[0] - ny) / 2
    return x, y


def _read_local(layout: Layout, stack: MrcStack, ledger: Ledger) -> LocalAlignment | None:
    path = layout.tilt.input_file("LOCALFILE")
    if path is None:
        return None
    source = layout.tilt.source("LOCALFILE")
    local = read_local(path, stack.shape[0])
    if local is None:
        ledger.notes.append(
            f"{source} names {path.name}, which holds global transforms (as AreTomo writes it) and "
            "no local alignment: ignored"
        )
        return None
    ledger.files.append(path)
    ledger.fact("local_alignment", f"{path.name}, {local.x_px.size} x {local.y_px.size}", source)
    return local


def _local_scale(tilt: Command, local: LocalAlignment, images: Images) -> float:
    """Find how many pixels of the frame a pixel of the local alignment is.

    Both pixel sizes are from headers: those of the images count even if the user corrects them.
    """
    scale = tilt.number("LOCALSCALE")
    if scale is not None:
        return float(scale * images.binning * images.alignment_scale)
    header_angst = images.stack.header.spacing_angst[0]
    if local.pixel_angst and header_angst > 0:
        return local.pixel_angst / header_angst
    return float(images.binning * images.alignment_scale)


def _record_options(tilt: Command, options: TiltOptions, ledger: Ledger) -> None:
    if tilt.text("THICKNESS") is None:
        ledger.fact("thickness_px", options.thickness_px, "the thickness asked for")
    for key, name, value in (
        ("THICKNESS", "thickness_px", options.thickness_px),
        ("WIDTH", "width_px", options.width_px),
        ("SLICE", "rows_px", [options.rows[0], options.rows[1] - 1]),
        ("OFFSET", "angle_offset_deg", options.angle_offset_deg),
        ("OFFSET", "axis_offset_px", options.axis_offset_px),
        ("XAXISTILT", "xaxis_tilt_deg", options.xaxis_tilt_deg),
        ("SHIFT", "shift_px", list(options.shift_px)),
        ("FULLIMAGE", "full_image_px", list(options.full_px)),
        ("SUBSETSTART", "subset_start_px", list(options.start_px)),
        ("LOG", "log_base", tilt.number("LOG")),
    ):
        ledger.entry(tilt, key, name, value)


def _excluded(
    layout: Layout, asked: Sequence[int], stack: MrcStack, ledger: Ledger
) -> tuple[int, ...]:
    """Find the indices (0-based) of the views that tilt.com, else etomo, and the user leave out."""
    tilt, sections = layout.tilt, stack.shape[0]
    source = tilt.source("EXCLUDELIST2")
    excluded, included = tilt.views("EXCLUDELIST2"), tilt.views("INCLUDE")
    if excluded and included:
        raise InputError(
            f"{tilt.path} has both INCLUDE and EXCLUDELIST: remove one of them, as tilt needs too"
        )
    if not tilt.entries and layout.edf_path is not None:
        source = f"{layout.edf_path.name} ExcludeProjections"
        axis = (layout.axis or "a").upper()
        given = layout.edf.get(f"Setup.Axis{axis}.ExcludeProjections", "")
        excluded = parse_view_list([given], str(layout.edf_path))
    if included:
        source = tilt.source("INCLUDE")
        _check_views(included, source, stack)
        excluded = tuple(sorted(set(range(1, sections + 1)) - set(included)))
    _check_views(excluded, source, stack)
    _check_views(asked, "--exclude", stack)
    if excluded:
        ledger.fact("excluded_views", list(excluded), source)
    if asked:
        ledger.fact("excluded_on_request", sorted(set(asked)), "--exclude")
    return tuple(sorted({view - 1 for view in (*excluded, *asked)}))


def _check_views(views: Sequence[int], source: str, stack: MrcStack) -> None:
    wrong = [view for view in views if not 1 <= view <= stack.shape[0]]
    if wrong:
        raise InputError(
            f"{source} has view {wrong[0]}, but {stack.path} has views 1 to {stack.shape[0]}: "
            "correct the list"
        )


def _note_other_pixel_size(images: Images, mdoc: Mdoc | None, ledger: Ledger) -> None:
    """Say so if the metadata have another pixel size; aligned images may well be binned."""
    header_angst = images.stack.header.spacing_angst[0]
    if mdoc is None or not mdoc.pixel_angst or header_angst <= 0:
        return
    ratio = header_angst / mdoc.pixel_angst
    whole = 1 if images.raw_from_aligned is not None else max(1, round(ratio))
    if abs(ratio - whole) > 0.02 * whole:
        ledger.notes.append(
            f"{mdoc.path.name} says {mdoc.pixel_angst:g} A per pixel, but the header of "
            f"{images.stack.path.name} {header_angst:g} A: {images.stack.pixel_angst:g} A is used; "
            "give --input-pixel-size if that is wrong"
        )


def _note_left_out(layout: Layout, excluded: Sequence[int], ledger: Ledger) -> None:
    """Say which views the alignment left out although tilt.com does not."""
    path = layout.com_file("align")
    try:
        left_out = read_command(path, "tiltalign").views("ExcludeList") if path.is_file() else ()
    except InputError:
        return
    others = sorted({view for view in left_out if view - 1 not in excluded})
    if others:
        ledger.notes.append(
            f"{path.name} left views {listed(others)} out of the alignment, but they are used: "
            f"leave them out too, with --exclude {listed(others)}"
        )


def _note_what_is_unused(layout: Layout, ledger: Ledger) -> None:
    tilt, notes = layout.tilt, ledger.notes
    note_unused_options(tilt, ledger)
    for command in (tilt, layout.newst):
        if command.unknown:
            notes.append(
                f"{command.path.name} {', '.join(dict.fromkeys(command.unknown))}: not known to "
                "tomofilt, and not used"
            )
    if tilt.entries:
        for suffix, key in ((".xtilt", "XTILTFILE"), (".zfac", "ZFACTORFILE")):
            if key not in tilt and layout.beside(suffix).is_file():
                notes.append(f"{layout.name}{suffix}: not used, as {tilt.path.name} has no {key}")
    if "LOCALFILE" not in tilt and layout.beside("local.xf").is_file():
        notes.append(f"{layout.name}local.xf: not used, as {tilt.path.name} has no LOCALFILE")
