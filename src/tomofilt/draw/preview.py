"""A picture of a tomogram: the central slices, laid out as an orthoview, in one PNG."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from tomofilt.draw.png import MARK, write_png
from tomofilt.errors import InputError
from tomofilt.io.mrc import read_header

if TYPE_CHECKING:
    from PIL import Image, ImageDraw, ImageFont

__all__ = [
    "PlaneReader",
    "VolumeSlices",
    "grey_limits",
    "middle",
    "panel_boxes",
    "preview_limits",
    "write_preview",
]

Plane = NDArray[np.float32]

#: Central planes averaged for each panel: enough to see through the noise, few enough to be sharp.
PLANES = 5

#: Bytes of a file that are mapped into memory at a time.
READ_BYTES = 64 << 20


class PlaneReader(Protocol):
    """A volume that gives means of neighbouring planes, in (z, y, x) order for any file order."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """(nz, ny, nx)."""

    @property
    def voxel_angst(self) -> float:
        """Edge of a voxel in angstrom."""

    def planes_z(self, start: int, stop: int) -> Plane:
        """Mean of the planes ``start <= z < stop``, shape (ny, nx)."""

    def planes_y(self, start: int, stop: int) -> Plane:
        """Mean of the planes ``start <= y < stop``, shape (nz, nx)."""

    def planes_x(self, start: int, stop: int) -> Plane:
        """Mean of the planes ``start <= x < stop``, shape (nz, ny)."""


class VolumeSlices:
    """Planes of an MRC file; only a few tens of megabytes of it are in memory at a time.

    Parameters
    ----------
    path : Path
        A whole MRC file, under any name.
    orientation : "zyx" or "xzy"
        How the file's axes run, as in :class:`tomofilt.jobs.one.Settings`: sections along z, or
        along y with z downwards in each, as IMOD's ``tilt`` writes them (``trimvol -rx`` turns the
        second into the first).

    Raises
    ------
    MissingFileError, InputError
        As :func:`tomofilt.io.mrc.read_header`.
    """

    def __init__(self, path: Path, orientation: Literal["zyx", "xzy"] = "zyx") -> None:
        self._path = path
        self._header = read_header(path)
        if self._header.items_per_row != self._header.shape[2]:
            raise InputError(f"{path} holds 4-bit values, which cannot be drawn")
        self._sections_along_z = orientation == "zyx"

    @property
    def shape(self) -> tuple[int, int, int]:
        """(nz, ny, nx)."""
        first, second, columns = self._header.shape
        return (first, second, columns) if self._sections_along_z else (second, first, columns)

    @property
    def voxel_angst(self) -> float:
        """Edge of a voxel in angstrom, as the header states it."""
        return self._header.spacing_angst[0]

    def planes_z(self, start: int, stop: int) -> Plane:
        """Mean of the planes ``start <= z < stop``, shape (ny, nx)."""
        if self._sections_along_z:
            return self._sections(start, stop)
        depth = self._header.shape[1]
        return self._rows(depth - stop, depth - start)

    def planes_y(self, start: int, stop: int) -> Plane:
        """Mean of the planes ``start <= y < stop``, shape (nz, nx)."""
        if self._sections_along_z:
            return self._rows(start, stop)
        return self._sections(start, stop)[::-1]

    def planes_x(self, start: int, stop: int) -> Plane:
        """Mean of the planes ``start <= x < stop``, shape (nz, ny)."""
        plane = self._columns(start, stop)
        return plane if self._sections_along_z else plane.T[::-1]

    def _sections(self, start: int, stop: int) -> Plane:
        _, rows, columns = self._header.shape
        total = np.zeros((rows, columns), dtype=np.float32)
        for _, block in self._blocks(start, stop):
            total += block.sum(axis=0, dtype=np.float32)
        return self._values(total / np.float32(stop - start))

    def _rows(self, start: int, stop: int) -> Plane:
        sections, _, columns = self._header.shape
        plane = np.empty((sections, columns), dtype=np.float32)
        for first, block in self._blocks(0, sections):
            chosen = block[:, start:stop]
            plane[first : first + len(block)] = chosen.mean(axis=1, dtype=np.float32)
        return self._values(plane)

    def _columns(self, start: int, stop: int) -> Plane:
        sections, rows, _ = self._header.shape
        plane = np.empty((sections, rows), dtype=np.float32)
        for first, block in self._blocks(0, sections):
            chosen = block[:, :, start:stop]
            plane[first : first + len(block)] = chosen.mean(axis=2, dtype=np.float32)
        return self._values(plane)

    def _values(self, plane: Plane) -> Plane:
        return plane + np.float32(self._header.value_offset)

    def _blocks(self, start: int, stop: int) -> Iterator[tuple[int, NDArray[np.generic]]]:
        """Give groups of sections, each in its own memory map, which is freed after use."""
        header = self._header
        _, rows, columns = header.shape
        step = max(1, READ_BYTES // (rows * header.row_bytes))
        for first in range(start, stop, step):
            shape = (min(step, stop - first), rows, columns)
            offset = header.row_offset(first, 0)
            yield first, np.memmap(self._path, header.dtype, "r", offset, shape)


# Sizes of the page, in pixels of the picture.
WIDTH, HEIGHT = 1200, 1600
SMALLEST_WIDTH = 900
MARGIN, GAP = 36, 6
TEXT, TITLE, LEADING = 17, 22, 26
PAPER, INK, FAINT = (20, 22, 26), (236, 238, 242), (150, 156, 166)
BAR_PLATE = (20, 22, 26, 150)


class _Panel(NamedTuple):
    """A plane and where it is drawn: left, top, width and height in the picture."""

    name: str
    plane: Plane
    box: tuple[int, int, int, int]


def write_preview(volume: PlaneReader, path: Path, title: str, details: Sequence[str] = ()) -> None:
    """Draw the central XY, XZ and YZ slices of a tomogram into a PNG.

    The view is that of an orthoview with y upwards, as 3dmod shows it: XY large, XZ below it with
    the same x, YZ to the right of it with the same y. Each panel is the mean of a few central
    planes. All share one grey scale: mean +- 3 standard deviations of the XY panel, computed
    without its edges and without outliers such as gold beads.

    Parameters
    ----------
    volume : PlaneReader
        The tomogram; :class:`VolumeSlices` reads one from an MRC file.
    path : Path
        The PNG, with tomofilt's mark; an earlier one of tomofilt's is replaced.
    title : str
        First line of the caption, the name of the tilt series.
    details : sequence of str
        Further parts of the caption (the filter, for example), before voxel and volume size.

    Raises
    ------
    OutputError
        When the picture cannot be written, or somebody else's file has its name.
    """
    from PIL import Image, ImageDraw
    from PIL.PngImagePlugin import PngInfo

    nz, ny, nx = volume.shape
    voxel_angst = volume.voxel_angst
    zoom = _zoom(nx + nz, ny + nz)
    panels = _panels(volume)
    low, high = grey_limits(panels[0].plane)

    right = max(panel.box[0] + panel.box[2] for panel in panels)
    bottom = max(panel.box[1] + panel.box[3] for panel in panels)
    thin = min(PLANES, nx, ny, nz)
    caption = [
        "  ·  ".join([*details, f"{voxel_angst:.4g} A voxels", f"{nx} x {ny} x {nz} (x, y, z)"]),
        f"Central slices, each the mean of {thin} planes ({thin * voxel_angst / 10:.3g} nm); "
        f"black {low:.3g}, white {high:.3g}",
    ]
    written = max(_font(TITLE).getlength(title), *map(_font(TEXT).getlength, caption))
    width = max(right, MARGIN + math.ceil(written)) + MARGIN
    height = bottom + 18 + TITLE + 10 + LEADING * len(caption) + MARGIN - 10
    picture = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(picture, "RGBA")
    for panel in panels:
        picture.paste(_grey(panel, low, high), panel.box[:2])
        _label(draw, panel)
    _scale_bar(draw, panels[0].box, voxel_angst / 10 / zoom)

    top = bottom + 18
    draw.text((MARGIN, top), title, font=_font(TITLE), fill=INK)
    for i, line in enumerate(caption):
        y = top + TITLE + 10 + LEADING * i
        draw.text((MARGIN, y), line, font=_font(TEXT), fill=FAINT)
    texts = PngInfo()
    for key, text in MARK.items():
        texts.add_text(key, text)
    png = io.BytesIO()
    picture.save(png, format="PNG", pnginfo=texts, compress_level=3)  # smaller than 6 here
    write_png(path, png.getvalue())


def _zoom(across: int, down: int) -> float:
    """Picture pixels per voxel, so that panels ``across`` by ``down`` voxels fit the page."""
    frame = 2 * MARGIN + GAP
    fitting = min((WIDTH - frame) / across, (HEIGHT - frame) / down)
    if fitting <= 1:
        return fitting
    # Small volumes are magnified by a whole number, so that voxels stay even.
    return float(max(1, min(int(fitting), (SMALLEST_WIDTH - frame) // across)))


def panel_boxes(shape: tuple[int, int, int]) -> tuple[tuple[int, int, int, int], ...]:
    """Where the XY, XZ and YZ panels of a tomogram (z, y, x) lie in its preview.

    Returns
    -------
    three (left, top, width, height)
        In pixels of the picture.
    """
    nz, ny, nx = shape
    zoom = _zoom(nx + nz, ny + nz)
    width, height, depth = (max(1, round(n * zoom)) for n in (nx, ny, nz))
    beside, below = MARGIN + width + GAP, MARGIN + height + GAP
    return (
        (MARGIN, MARGIN, width, height),
        (MARGIN, below, width, depth),
        (beside, MARGIN, depth, height),
    )


def _panels(volume: PlaneReader) -> list[_Panel]:
    nz, ny, nx = volume.shape
    planes = (
        ("XY", volume.planes_z(*middle(nz))),
        ("XZ", volume.planes_y(*middle(ny))),
        ("YZ", volume.planes_x(*middle(nx)).T),
    )
    return [
        _Panel(name, _resized(plane, *box[2:]), box)
        for (name, plane), box in zip(planes, panel_boxes(volume.shape), strict=True)
    ]


def preview_limits(volume: PlaneReader) -> tuple[float, float]:
    """Densities that are black and white in a tomogram's preview."""
    *_, width, height = panel_boxes(volume.shape)[0]
    return grey_limits(_resized(volume.planes_z(*middle(volume.shape[0])), width, height))


def middle(n: int) -> tuple[int, int]:
    """First and last (exclusive) of the central planes of an axis that a picture averages."""
    thickness = min(PLANES, n)
    start = (n - thickness) // 2
    return start, start + thickness


def _resized(plane: Plane, width: int, height: int) -> Plane:
    from PIL import Image

    picture = Image.fromarray(np.ascontiguousarray(plane, dtype=np.float32))
    # Hamming does not overshoot: beads get no bright rings.
    return np.asarray(picture.resize((width, height), Image.Resampling.HAMMING))


def grey_limits(plane: Plane) -> tuple[float, float]:
    """Grey levels of a picture: mean -+ 3 standard deviations, edges and outliers left out."""
    height, width = plane.shape
    y, x = height // 20, width // 20
    values = plane[y : height - y, x : width - x].ravel()
    values = values[np.isfinite(values)].astype(np.float64)
    for _ in range(5):
        mean, deviation = float(values.mean()), float(values.std())
        kept = values[np.abs(values - mean) <= 3 * deviation]
        if len(kept) == len(values) or len(kept) == 0:
            break
        values = kept
    deviation = deviation or 1.0
    return mean - 3 * deviation, mean + 3 * deviation


def _grey(panel: _Panel, low: float, high: float) -> Image.Image:
    from PIL import Image

    levels = np.clip((panel.plane - low) * (255.0 / (high - low)), 0, 255)
    upwards = np.nan_to_num(levels)[::-1]  # the second axis of every panel points up
    return Image.fromarray((upwards + 0.5).astype(np.uint8))


def _label(draw: ImageDraw.ImageDraw, panel: _Panel) -> None:
    """Name the panel in its upper left corner, where there is room for it."""
    left, top, width, height = panel.box
    if min(width, height) >= 48:
        draw.rounded_rectangle((left + 8, top + 8, left + 40, top + 32), 4, fill=BAR_PLATE)
        draw.text((left + 24, top + 20), panel.name, font=_font(15), fill=INK, anchor="mm")


def _scale_bar(draw: ImageDraw.ImageDraw, box: tuple[int, int, int, int], pixel_nm: float) -> None:
    """Bar of a round length, about a fifth of the panel, in its lower left corner."""
    left, top, width, height = box
    if not pixel_nm > 0 or width < 120 or height < 80:
        return
    wanted = width * pixel_nm / 4
    decade = 10.0 ** math.floor(math.log10(wanted))
    length_nm = max(step * decade for step in (1, 2, 5) if step * decade <= wanted)
    bar = round(length_nm / pixel_nm)
    label = f"{length_nm:g} nm"
    plate_width = max(bar, round(draw.textlength(label, font=_font(TEXT)))) + 24
    x, y = left + 10, top + height - 10
    draw.rounded_rectangle((x, y - 46, x + plate_width, y), 4, fill=BAR_PLATE)
    draw.text((x + plate_width / 2, y - 29), label, font=_font(TEXT), fill=INK, anchor="mm")
    start = x + (plate_width - bar) // 2
    draw.rectangle((start, y - 13, start + bar - 1, y - 10), fill=INK)


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    from PIL import ImageFont

    return ImageFont.load_default(size)
