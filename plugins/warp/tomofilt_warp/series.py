"""One tilt series of Warp: averages, alignment, tomogram, and where each number is from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tomofilt.errors import InputError
from tomofilt.io.text import count
from tomofilt.series.ctf import LEAST_DEFOCUS_ANGST, Ctf
from tomofilt.series.displaced import displaced
from tomofilt.series.geometry import TiltGeometry, VolumeGrid
from tomofilt.series.ledger import Ledger
from tomofilt.series.projects import SeriesOptions
from tomofilt.series.tiltseries import TiltSeries
from tomofilt_warp.images import Averages, find_averages, open_averages
from tomofilt_warp.movement import Movement
from tomofilt_warp.xml import WarpXml, read_xml

__all__ = ["read_series"]

FloatArray = NDArray[np.float64]

_WARPS = (
    "GridVolumeWarpX",
    "GridVolumeWarpY",
    "GridVolumeWarpZ",
    "GridAngleX",
    "GridAngleY",
    "GridAngleZ",
)


def read_series(path: Path, options: SeriesOptions) -> TiltSeries:
    """Read a tilt series from its .xml.

    Warp sees the point p of its tomogram, about the middle N / 2, in an image about n / 2 at ::

        Rz(AxisAngle) Ry(-(Angles + LevelAngleY)) Rx(LevelAngleX) p + AxisOffset - GridMovement

    so that a tomogram lies as Warp's own does, and particles found in it are where Warp looks for
    them. Warp's import inverts the angles of the stage; where it was told not to, as in its older
    projects, its tomograms are mirror images in z of those of IMOD.

    Parameters
    ----------
    path : Path
    options : SeriesOptions

    Raises
    ------
    MissingFileError, InputError
        A file is not there, they do not fit each other, or no thickness is known.
    """
    xml = read_xml(path)
    ledger = Ledger(files=[path])
    paths = find_averages(xml)
    images = open_averages(paths, options.input_pixel_angst)
    source = "--input-pixel-size" if options.input_pixel_angst else f"header of {paths[0].name}"
    ledger.fact("images", f"{xml.tilts} averages", f"{path.name} MoviePath")
    ledger.fact("pixel_angst", images.pixel_angst, source)
    grid = _grid(xml, images, options, ledger)
    geometry, tilt_deg = _geometry(xml, images, grid, ledger)
    chosen = _chosen(xml, tilt_deg, options, ledger)
    dose = xml.numbers("Dose")
    if dose is not None and not dose.any():
        dose = None
    if dose is not None:
        ledger.fact("exposure_e_per_a2", f"{dose.min():g} to {dose.max():g}", f"{path.name} Dose")
    ctf = _ctf(xml, ledger)
    _note_unused(xml, ledger)
    return TiltSeries(
        name=path.stem,
        images=images,
        geometry=geometry.select(chosen),
        views=chosen,
        tilt_deg=tilt_deg[chosen],
        grid=grid,
        first_voxel_kept=True,
        axes_fixed=True,
        excluded=tuple(int(i) for i in np.setdiff1d(np.arange(xml.tilts), chosen)),
        halves=_halves(paths, images, ledger),
        dose_e_per_a2=None if dose is None else dose[chosen],
        voltage_kv=None if ctf is None else ctf.voltage_kv,
        ctf=None if ctf is None else ctf.select(chosen),
        facts=ledger.facts,
        notes=tuple(ledger.notes),
        files=(*ledger.files, *images.files),
    )


def _geometry(
    xml: WarpXml, images: Averages, grid: VolumeGrid, ledger: Ledger
) -> tuple[TiltGeometry, FloatArray]:
    """View maps of all tilts over a tomogram, and their tilt angles in it."""
    name, pixel = xml.path.name, images.pixel_angst
    angles, axis = xml.alignment("Angles"), xml.alignment("AxisAngle")
    shift = np.stack([xml.alignment("AxisOffsetX"), xml.alignment("AxisOffsetY")], axis=1)
    level_x, level_y = xml.number("LevelAngleX"), xml.number("LevelAngleY")
    tilt_deg = -(angles + level_y)
    ledger.fact(
        "tilt_angles",
        f"{xml.tilts} from {tilt_deg.min():g} to {tilt_deg.max():g} deg",
        f"{name} Angles, in Warp's sense of rotation",
    )
    ledger.fact("tilt_axis_deg", f"{axis.min():g} to {axis.max():g}", f"{name} AxisAngle")
    if level_x or level_y:
        ledger.fact("level_angles_deg", [level_x, level_y], f"{name} LevelAngleX/Y")
    maps = TiltGeometry.from_angles(tilt_deg, axis, level_x, shift).image_from_volume.copy()
    size = xml.vector("ImageDimensionsAngstrom", 2)
    if size is not None:
        # averages have even sizes: their pixels are a hair off what the header says
        fit = np.array(images.shape[:0:-1]) * pixel / size
        if np.abs(fit - 1).max() < 0.01:
            maps *= fit[:, None]
    maps[:, :, 3] += 0.5 * pixel  # Warp counts from n / 2, tomofilt from (n - 1) / 2
    movement = _movement(xml, images, ledger)
    if movement is None:
        return TiltGeometry(maps), tilt_deg
    if movement.is_shift:
        maps[:, :, 3] += [movement(tilt, np.zeros(2)) for tilt in range(xml.tilts)]
        return TiltGeometry(maps), tilt_deg
    nz, ny, nx = (n * grid.voxel_angst for n in grid.shape)
    return displaced(TiltGeometry(maps), (nx, ny, nz), movement), tilt_deg


def _movement(xml: WarpXml, images: Averages, ledger: Ledger) -> Movement | None:
    """How images are warped on top of the alignment; None if they are not."""
    grids = [xml.image_grid(f"GridMovement{axis}") for axis in "XY"]
    x, y = grids
    if x is None or y is None:
        if any(f"GridMovement{axis}" in xml.grids for axis in "XY"):
            ledger.notes.append(f"{xml.path.name} GridMovementX/Y: not a grid a tilt, not applied")
        return None
    if not (x.any() or y.any()):
        return None
    ledger.fact(
        "movement_angst",
        f"up to {max(np.abs(x).max(), np.abs(y).max()):.1f}, {x.shape[2]} x {x.shape[1]} nodes",
        f"{xml.path.name} GridMovementX/Y",
    )
    return Movement(x, y, images.shape[1:], images.pixel_angst)


def _grid(xml: WarpXml, images: Averages, options: SeriesOptions, ledger: Ledger) -> VolumeGrid:
    """Unbinned voxels of Warp's tomogram: the specimen centre is in the middle, counted from 0."""
    pixel = images.pixel_angst
    angst = xml.vector("VolumeDimensionsAngstrom", 3)
    if angst is not None:
        nx, ny, nz = (max(2, 2 * round(size / pixel / 2)) for size in angst)
        source = f"{xml.path.name} VolumeDimensionsAngstrom"
    else:
        ny, nx = (n - n % 2 for n in images.shape[1:])
        axis = np.radians(np.median(xml.alignment("AxisAngle")))
        if abs(np.sin(axis)) > np.sqrt(0.5):
            ny, nx = nx, ny
        nz, source = 1, "what the images fill"
        if not options.chooses_planes:
            raise InputError(
                f"no thickness is known: {xml.path} has no VolumeDimensionsAngstrom; give "
                "--thickness in angstrom, or --thickness-px in pixels"
            )
    shape = options.shape((nz, ny, nx), pixel)
    if options.chooses_planes:
        source += "; what was asked for"
    ledger.fact("size_px", list(shape[::-1]), source)
    middle = tuple(n / 2 for n in shape)
    if angst is not None and not options.chooses_planes:
        middle = tuple(float(size) / pixel / 2 for size in angst[::-1])  # Warp's, not made even
    zc, yc, xc = middle
    return VolumeGrid(shape, pixel, (zc, yc, xc))


def _chosen(
    xml: WarpXml, tilt_deg: FloatArray, options: SeriesOptions, ledger: Ledger
) -> NDArray[np.intp]:
    """Tilts to use, by ascending angle."""
    asked = sorted(set(options.exclude))
    wrong = [view for view in asked if not 1 <= view <= xml.tilts]
    if wrong:
        raise InputError(
            f"--exclude names view {wrong[0]}, but {xml.path} has views 1 to {xml.tilts}"
        )
    if asked:
        ledger.fact("excluded_on_request", asked, "--exclude")
    use = np.array([text.lower() == "true" for text in xml.texts("UseTilt") or ()], dtype=bool)
    used = use if use.size else np.ones(xml.tilts, dtype=bool)
    if not used.all():
        left_out = (np.flatnonzero(~used) + 1).tolist()
        ledger.fact("excluded_views", left_out, f"{xml.path.name} UseTilt")
    used[[view - 1 for view in asked]] = False
    views = np.flatnonzero(used)
    if views.size == 0:
        raise InputError(f"all {count(xml.tilts, 'tilt')} of {xml.path} are excluded")
    return views[np.argsort(tilt_deg[views], kind="stable")]


def _ctf(xml: WarpXml, ledger: Ledger) -> Ctf | None:
    """Contrast transfer of all tilts; None, with a note, if Warp has not fitted it."""
    grids = {
        name: xml.per_tilt(name)
        for name in ("GridCTF", "GridCTFDefocusDelta", "GridCTFDefocusAngle", "GridCTFPhase")
    }
    defocus = grids["GridCTF"]
    try:
        optics = [float(xml.ctf[name]) for name in ("Voltage", "Cs", "Amplitude")]
    except (KeyError, ValueError):
        optics = []
    if defocus is None or not optics or np.abs(defocus).max() * 1e4 < LEAST_DEFOCUS_ANGST:
        ledger.notes.append(f"{xml.path.name} has no defocus for each tilt: the CTF is not known")
        return None
    zero = np.zeros(xml.tilts)
    half, axis, phase = (
        zero if grid is None else grid for name, grid in grids.items() if name != "GridCTF"
    )
    name = xml.path.name
    ledger.fact("defocus_um", f"{defocus.min():.3f} to {defocus.max():.3f}", f"{name} GridCTF")
    inverted = xml.attributes.get("AreAnglesInverted", "").lower() == "true"
    hand = -1.0 if inverted else 1.0
    ledger.fact("hand", hand, f"{name} AreAnglesInverted")
    return Ctf(
        defocus_u_angst=1e4 * (defocus + half / 2),
        defocus_v_angst=1e4 * (defocus - half / 2),
        astigmatism_deg=axis,
        phase_shift_deg=180 * phase,
        voltage_kv=optics[0],
        cs_mm=optics[1],
        amplitude_contrast=optics[2],
        hand=hand,
    )


def _note_unused(xml: WarpXml, ledger: Ledger) -> None:
    """Name what Warp would apply and tomofilt does not."""
    name = xml.path.name
    warped = [grid for grid in _WARPS if grid in xml.grids and xml.grids[grid].any()]
    if warped:
        ledger.notes.append(f"{name} {', '.join(warped)}: not applied")
    stretch = xml.vector("MagnificationCorrection", 4)
    if stretch is not None and not np.allclose(stretch, [1, 0, 0, 1], atol=1e-6):
        ledger.notes.append(
            f"{name} MagnificationCorrection {stretch.tolist()}: not applied; Warp applies it "
            "within particles, and not to where they are"
        )


def _halves(
    paths: list[Path], images: Averages, ledger: Ledger
) -> tuple[Averages, Averages] | None:
    """Averages of even and of odd frames, if every tilt has both."""
    folders = [[path.parent / half / path.name for path in paths] for half in ("even", "odd")]
    if not all(path.is_file() for path in (*folders[0], *folders[1])):
        return None
    even, odd = (open_averages(half, images.pixel_angst) for half in folders)
    if not even.shape == odd.shape == images.shape:
        ledger.notes.append("the averages of even and odd frames have another size: not used")
        return None
    ledger.fact("halves", ["average/even", "average/odd"], "even and odd frames, by their folders")
    return even, odd
