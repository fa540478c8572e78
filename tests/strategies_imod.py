"""IMOD's files for tests: writers, a folder with a small tilt series, and Hypothesis strategies."""

from pathlib import Path

import mrcfile
import numpy as np
from hypothesis import strategies as st

from tomofilt.series.projects import SeriesOptions

VIEWS, NY, NX = 5, 12, 10
PIXEL_ANGST = 2.0
TILTS = (-40.0, -20.0, 1.0, 20.0, 40.0)


def write_stack(path, shape=(VIEWS, NY, NX), pixel_angst=PIXEL_ANGST):
    with mrcfile.new(path) as mrc:
        mrc.set_data(np.arange(np.prod(shape), dtype=np.float32).reshape(shape))
        mrc.voxel_size = pixel_angst
    return path


def format_xf(transforms):
    """Text of an .xf file as IMOD writes it: columns of 12 characters."""
    lines = []
    for (a11, a12, dx), (a21, a22, dy) in transforms:
        matrix = "".join(f"{number:12.7f}" for number in (a11, a12, a21, a22))
        lines.append(f"{matrix}{dx:12.3f}{dy:12.3f}\n")
    return "".join(lines)


def rotation_xf(angle_deg, shifts=((0.0, 0.0),) * VIEWS, scale=1.0):
    c, s = scale * np.cos(np.radians(angle_deg)), scale * np.sin(np.radians(angle_deg))
    return np.array([[[c, -s, dx], [s, c, dy]] for dx, dy in shifts])


def format_local(*, x0=3, y0=4, dx=5, dy=6, tilt=None, xtilt=None, z=None, xf=None, pixel=2.0):
    """Text of a 2 x 2 local alignment; arrays (2, 2, VIEWS, ...) default to doing nothing."""
    zeros = np.zeros((2, 2, VIEWS))
    tilt = zeros if tilt is None else tilt
    identity = np.broadcast_to([[1.0, 0, 0], [0, 1, 0]], (2, 2, VIEWS, 2, 3))
    xf = identity if xf is None else xf
    text = f" 2 2 {x0} {y0} {dx} {dy} {int(xtilt is not None)} {pixel} {int(z is not None)}\n"
    for iy, ix in np.ndindex(2, 2):
        for values in (tilt, xtilt, z):
            if values is not None:
                text += " ".join(f"{value:.6f}" for value in values[iy, ix].ravel()) + "\n"
        text += format_xf(xf[iy, ix])
    return text


class ImodFolder:
    """A folder with tilt.com, .tlt and an aligned stack, to which tests add what they are about."""

    def __init__(self, path: Path, name: str = "TS"):
        path.mkdir(exist_ok=True)
        self.path, self.name = path, name
        self.tilt()
        self.write(".tlt", "".join(f"{tilt:7.2f}\n" for tilt in TILTS))
        self.ali = write_stack(path / f"{name}_ali.mrc")

    def write(self, suffix: str, text: str) -> Path:
        path = self.path / (suffix if suffix.endswith(".com") else self.name + suffix)
        path.write_text(text)
        return path

    def tilt(self, *lines: str, thickness: int | None = 8) -> None:
        start = ["$tilt -StandardInput", f"InputProjections {self.name}_ali.mrc"]
        start += [] if thickness is None else [f"THICKNESS {thickness}"]
        self.write("tilt.com", "\n".join([*start, f"TILTFILE {self.name}.tlt", *lines, ""]))

    def newst(self, *lines: str) -> None:
        start = ["$newstack -StandardInput", f"InputFile {self.name}.st"]
        self.write("newst.com", "\n".join([*start, f"TransformFile {self.name}.xf", *lines, ""]))

    def raw(self, transforms, shape=(VIEWS, NY, NX)) -> None:
        """Put a raw stack with transforms in the place of the aligned stack."""
        self.ali.unlink()
        write_stack(self.path / f"{self.name}.st", shape)
        self.write(".xf", format_xf(transforms))

    def read(self, **options):
        from tomofilt_imod.project import PROJECT_TYPE

        return PROJECT_TYPE.open(self.path).read(self.name, SeriesOptions(**options))


def seen_px(series, points_px):
    """Image index (view, point, (x, y)) of points (x, y, z) in pixels about the specimen centre."""
    pixel = series.images.pixel_angst
    ny, nx = series.images.shape[1:]
    seen = series.geometry.project(np.asarray(points_px) * pixel) / pixel
    return seen + np.array([nx - 1, ny - 1]) / 2


shifts = st.floats(-1e5, 1e5).map(lambda value: round(value, 3))
coefficients = st.floats(-2, 2).map(lambda value: round(value, 7))
transforms = st.lists(
    st.tuples(*[coefficients] * 4, shifts, shifts)
    .filter(lambda t: abs(t[0] * t[3] - t[1] * t[2]) > 1e-3)
    .map(lambda t: [[t[0], t[1], t[4]], [t[2], t[3], t[5]]]),
    min_size=1,
    max_size=8,
).map(np.array)

separators = st.sampled_from(["\n", " ", ", ", ",", "\r\n", "\n\n", "\t"])
view_sets = st.sets(st.integers(1, 60), min_size=1, max_size=20)


@st.composite
def view_lists(draw):
    """A set of views, and lines that spell it in one of the ways IMOD accepts."""
    views = draw(view_sets)
    parts = []
    left = sorted(views)
    while left:
        run = next((i for i in range(1, len(left)) if left[i] != left[0] + i), len(left))
        length = draw(st.integers(1, run))
        dash = draw(st.sampled_from(["-", " - ", " -", "- "]))
        parts.append(f"{left[0]}{dash}{left[length - 1]}" if length > 1 else f"{left[0]}")
        left = left[length:]
    lines = [""]
    for part in draw(st.permutations(parts)):
        if lines[-1] and draw(st.booleans()):
            lines.append("")
        lines[-1] += (draw(st.sampled_from([",", ", ", " "])) if lines[-1] else "") + part
    return views, lines


@st.composite
def com_lines(draw, values):
    """Lines of a com file that hold ``values`` (full key to text) in a spelling of the grammar."""
    lines = []
    for key, value in values.items():
        spelling = draw(st.sampled_from([key, key.lower(), key.upper(), key.capitalize()]))
        separator = draw(st.sampled_from([" ", "\t", " = ", "=", "   "]))
        comment = draw(st.sampled_from(["", " # as measured", "\t#", "  "]))
        lines.append(
            f"{draw(st.sampled_from(['', ' ', chr(9)]))}{spelling}{separator}{value}{comment}"
        )
        lines += draw(st.sampled_from([[], [""], ["# THICKNESS 999"], ["   "]]))
    return draw(st.sampled_from(["\n", "\r\n"])).join(["$tilt -StandardInput", *lines, ""])
