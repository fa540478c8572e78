"""Every kind of input file is hurt in many ways: tomofilt says what is wrong, or copes.

Cases are drawn with a seed that is named when one fails. Whatever is thrown at it: exit code 0, 2
or 3, no traceback, no "bug", nothing left behind after a failure, and the inputs as they were.
"""

import random
import re
import shutil
import signal
import zlib
from contextlib import contextmanager

import mrcfile
import numpy as np
import pytest
from strategies_imod import format_xf, rotation_xf

from tomofilt.cli.app import main
from tomofilt.io.star import Table, write_star
from tomofilt.series.geometry import TiltGeometry, VolumeGrid
from tomofilt.series.projects import Acquisition, project_type
from tomofilt.series.tiltseries import TiltSeries
from tomofilt.simulate.series import ImagesInMemory

VIEWS, NY, NX = 7, 20, 16
TILTS = np.linspace(-45, 45, VIEWS)
CASES_A_FILE = 16
LIMIT_S = 10

NUMBER = re.compile(r"-?\d+\.?\d*(?:[eE][-+]?\d+)?")
WORSE = ("nan", "inf", "-inf", "1e30", "1e400", "-1", "0", "900", "x", "", "1,5", "1e-300", "٣")


def write_mrc(path, values, pixel=10.0):
    with mrcfile.new(path) as mrc:
        mrc.set_data(values.astype(np.float32))
        mrc.voxel_size = pixel


def stacks():
    even, odd = np.random.default_rng(4).normal(size=(2, VIEWS, NY, NX))
    return {"": even + odd, "_EVN": even, "_ODD": odd}


#: A local alignment of 2 x 2 patches that does nothing.
LOCAL = "2 2 2 2 10 12\n" + 4 * ("0\n" * VIEWS + format_xf(rotation_xf(0.0, [(0.0, 0.0)] * VIEWS)))


def imod(folder):
    """A folder with every kind of file that is read."""
    folder.mkdir()
    for half, values in stacks().items():
        write_mrc(folder / f"TS{half}.mrc", values)
    lines = [f"{tilt:.2f}" for tilt in TILTS]
    defocus = "".join(f"{i + 1} {i + 1} {t} {t} 3000\n" for i, t in enumerate(lines))
    mdoc = "PixelSpacing = 10\nVoltage = 300\n" + "".join(
        f"\n[ZValue = {i}]\nTiltAngle = {tilt}\nPriorRecordDose = {3 * i}\n"
        for i, tilt in enumerate(lines)
    )
    texts = {
        "TS.tlt": "\n".join(lines) + "\n",
        "TS.xtilt": "1.5\n" * VIEWS,
        "TS.zfac": "0.01 0.02\n" * VIEWS,
        "TS.xf": format_xf(rotation_xf(-5.0, [(0.5 * i, -1.0) for i in range(VIEWS)])),
        "TSlocal.xf": LOCAL,
        "TS.defocus": defocus,
        "TS.mrc.mdoc": mdoc,
        "ctfcorrection.com": "$ctfphaseflip -StandardInput\nDefocusFile TS.defocus\nVoltage 300\n"
        "SphericalAberration 2.7\nAmplitudeContrast 0.07\n",
        "newst.com": "$newstack -StandardInput\nInputFile TS.mrc\nTransformFile TS.xf\n"
        f"SizeToOutputInXandY {NX},{NY}\nOffsetsInXandY 0,0\nBinByFactor 1\n",
        "align.com": "$tiltalign -StandardInput\nExcludeList 2\n",
        "tilt.com": "$tilt -StandardInput\nInputProjections TS_ali.mrc\nTILTFILE TS.tlt\n"
        f"THICKNESS 8\nWIDTH {NX}\nFULLIMAGE {NX} {NY}\nSUBSETSTART 0 0\nSLICE 0 {NY - 1}\n"
        "XTILTFILE TS.xtilt\nZFACTORFILE TS.zfac\nLOCALFILE TSlocal.xf\nOFFSET 1.0 0.5\n"
        "XAXISTILT 2.0\nSHIFT 1 0.5\nIMAGEBINNED 1\nRADIAL 0.35 0.035\nSCALE 0 10\nMODE 2\n"
        "EXCLUDELIST2 2\nFakeSIRTiterations 5\n",
        "TS.edf": "Setup.DatasetName=TS\nSetup.AxisType=Single Axis\nSetup.RawImageStackExt=mrc\n",
    }
    for name, text in texts.items():
        (folder / name).write_text(text)
    return ["--imod-dir", str(folder)]


def relion(folder):
    """A RELION 5 project of one series."""
    (folder / "tilt_series").mkdir(parents=True)
    for half, values in stacks().items():
        write_mrc(folder / f"TS{half}.mrcs", values)
    zero = ["0.0"] * VIEWS
    columns = {
        f"rlnMicrographName{column}": [f"{i + 1:06d}@TS{half}.mrcs" for i in range(VIEWS)]
        for column, half in (("", ""), ("Even", "_EVN"), ("Odd", "_ODD"))
    } | {
        "rlnMicrographPreExposure": [f"{3.0 * i}" for i in range(VIEWS)],
        "rlnDefocusU": ["30000.0"] * VIEWS,
        "rlnDefocusV": ["29000.0"] * VIEWS,
        "rlnDefocusAngle": ["10.0"] * VIEWS,
        "rlnTomoXTilt": zero,
        "rlnTomoYTilt": [f"{tilt:.2f}" for tilt in TILTS],
        "rlnTomoZRot": ["5.0"] * VIEWS,
        "rlnTomoXShiftAngst": zero,
        "rlnTomoYShiftAngst": zero,
    }
    write_star(folder / "tilt_series/TS.star", {"TS": Table(columns)}, replace=False)
    write_star(folder / "set.star", {"global": Table(GLOBAL | STAR_FILE)}, replace=False)
    return ["--relion-star", str(folder / "set.star")]


GLOBAL = {
    "rlnTomoName": ["TS"],
    "rlnVoltage": ["300.0"],
    "rlnSphericalAberration": ["2.7"],
    "rlnAmplitudeContrast": ["0.1"],
    "rlnTomoHand": ["-1.0"],
    "rlnTomoTiltSeriesPixelSize": ["10.0"],
    "rlnTomoSizeX": [f"{NX}"],
    "rlnTomoSizeY": [f"{NY}"],
    "rlnTomoSizeZ": ["8"],
}
STAR_FILE = {"rlnTomoTiltSeriesStarFile": ["tilt_series/TS.star"]}


def relion4(folder):
    """A RELION 4 set of one series, with matrices."""
    folder.mkdir()
    write_mrc(folder / "TS.st", stacks()[""])
    centre = np.array([NX // 2, NY // 2, 4])
    vectors = {f"rlnTomoProj{row}": [] for row in "XYZW"}
    for tilt in np.radians(TILTS):
        c, s = np.cos(tilt), np.sin(tilt)
        turn = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
        shift = np.array([NX // 2, NY // 2, 0]) - turn @ centre
        for row, line, last in zip("XYZW", [*turn, np.zeros(3)], [*shift, 1.0], strict=True):
            numbers = ",".join(f"{value:.6f}" for value in [*line, last])
            vectors[f"rlnTomoProj{row}"].append(f"[{numbers}]")
    table = GLOBAL | {"rlnTomoTiltSeriesName": ["TS.st:mrc"], "rlnTomoFrameCount": [f"{VIEWS}"]}
    blocks = {"global": Table(table), "TS": Table(vectors)}
    write_star(folder / "set.star", blocks, replace=False)
    return ["--relion-star", str(folder / "set.star")]


def created(kind):
    """A project of another kind, as its plug-in writes it; any of its files is hurt."""

    def create(folder):
        halves = stacks()
        whole, even, odd = (
            ImagesInMemory(halves[name].astype(np.float32), 10.0) for name in ("", "_EVN", "_ODD")
        )
        series = TiltSeries(
            name="TS",
            images=whole,
            halves=(even, odd),
            geometry=TiltGeometry.from_angles(TILTS, 5.0, 0.0, (3.0, -2.0)),
            views=np.arange(VIEWS),
            tilt_deg=TILTS,
            grid=VolumeGrid.centred((8, NY, NX), 10.0),
            dose_e_per_a2=3.0 * np.arange(VIEWS),
        )
        defocus = np.full(VIEWS, 30000.0)
        acquisition = Acquisition(TILTS, 3.0, defocus, 300.0, 2.7, 0.1, -1)
        return [str(project_type(kind).create(folder, series, acquisition))]

    return create


PROJECTS = {"imod": imod, "relion": relion, "relion4": relion4} | {
    kind: created(kind) for kind in ("aretomo", "warp")
}
FILES = {
    "imod": [
        *("TS.tlt", "TS.xtilt", "TS.zfac", "TS.xf", "TSlocal.xf", "TS.defocus", "TS.mrc.mdoc"),
        *("ctfcorrection.com", "newst.com", "align.com", "tilt.com", "TS.edf"),
        *("TS.mrc", "TS_ODD.mrc"),
    ],
    "relion": ["set.star", "tilt_series/TS.star", "TS.mrcs", "TS_EVN.mrcs"],
    "relion4": ["set.star", "TS.st"],
    "aretomo": ["*"] * 2,
    "warp": ["*"] * 2,
}
#: Files of which every number is used, so that none may be infinite or NaN.
EVERY_NUMBER_COUNTS = ("TS.tlt", "TS.xtilt", "TS.zfac", "TS.xf", "TSlocal.xf")


# ------------------------------------------------------------------------------------- ways to hurt


def number_replaced(text, draw):
    found = list(NUMBER.finditer(text)) or [re.search("=", text)]
    one = draw.choice(found)
    return text[: one.start()] + draw.choice(WORSE) + text[one.end() :]


def line_lost(text, draw):
    lines = text.splitlines(True)
    lines.pop(draw.randrange(len(lines)))
    return "".join(lines)


def line_twice(text, draw):
    lines = text.splitlines(True)
    place = draw.randrange(len(lines))
    return "".join([*lines[:place], lines[place], *lines[place:]])


def lines_swapped(text, draw):
    lines = text.splitlines(True)
    draw.shuffle(lines)
    return "".join(lines)


def cut_short(text, draw):
    return text[: draw.randrange(len(text))]


def more_columns(text, draw):
    return re.sub(r"(?m)$", f" {draw.choice(['0', '17', 'nan', 'x', '# y'])}", text)


def other_letters(text, draw):
    place = draw.randrange(len(text))
    return (
        text[:place]
        + draw.choice(["\0", "\ufeff", "'", '"', "#", "é", "\x1b[31m", "\u2028"])
        + text[place:]
    )


def other_line_ends(text, draw):
    return text.replace("\n", draw.choice(["\r\n", "\r", "\n\n", " "]))


HURT_TEXT = [
    *(number_replaced,) * 4,
    *(line_lost, line_twice, lines_swapped, cut_short, more_columns, other_letters),
    other_line_ends,
]


def word_changed(raw, draw):
    place = 4 * draw.choice([*range(16), 19, 20, 21, 22, 23, 27, 38, 39, 49, 50, 51, 52, 53, 55])
    word = draw.choice([0, -1, 1, 2**31 - 1, -(2**31), draw.randrange(2**31), 10**6, 3, 0x7FC00000])
    return raw[:place] + word.to_bytes(4, "little", signed=True) + raw[place + 4 :]


def shortened(raw, draw):
    return raw[: draw.choice([0, 3, 1023, 1024, draw.randrange(len(raw)), len(raw) - 1])]


def lengthened(raw, draw):
    return raw + bytes(draw.choice([1, 200, 5000, 100000]))


def pixels_broken(raw, draw):
    place = 1024 + 4 * draw.randrange((len(raw) - 1024) // 4)
    worse = np.float32(draw.choice([np.nan, np.inf, 1e38, -1e38])).tobytes()
    return raw[:place] + worse + raw[place + 4 :]


def blank(raw, draw):
    return raw[:1024] + bytes(len(raw) - 1024)


HURT_IMAGES = [
    word_changed,
    word_changed,
    word_changed,
    shortened,
    lengthened,
    pixels_broken,
    blank,
]


# ----------------------------------------------------------------------------------------- the test


@contextmanager
def limited(what):
    """End a case that hangs; cases take a fraction of a second."""

    def too_long(number, frame):
        raise AssertionError(f"{what} took longer than {LIMIT_S} s")

    before = signal.signal(signal.SIGALRM, too_long)
    signal.alarm(LIMIT_S)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def digests(folder):
    return {path: zlib.crc32(path.read_bytes()) for path in folder.rglob("*") if path.is_file()}


def attempt(given, output, capfd, what):
    """Reconstruct; the exit code, and what was printed."""
    with limited(what):
        code = main(
            ["reconstruct", *given, "-o", str(output), "-f", "ramp", "--no-preview", "-j", "1"]
        )
    out, err = capfd.readouterr()
    text = out + err
    assert code in (0, 2, 3), f"{what}: exit {code}\n{text}"
    for word in ("Traceback", "bug in tomofilt", "Warning:"):
        assert word not in text, f"{what}:\n{text}"
    left = [path for path in output.rglob("*") if path.is_file()] if output.exists() else []
    if code:
        assert not left, f"{what}: left {left}"
        assert len(err.strip()) > 20, f"{what}: says nothing"
    else:
        with mrcfile.open(next(path for path in left if path.suffix == ".mrc")) as mrc:
            assert np.isfinite(mrc.data).all(), what
    return code, text


@pytest.fixture(autouse=True, scope="module")
def compiled(tmp_path_factory):
    """Compile what has to be, outside the limit of time of a case."""
    folder = tmp_path_factory.mktemp("compile")
    given = imod(folder / "first")
    assert main(["reconstruct", *given, "-o", str(folder), "-f", "ramp", "--no-preview"]) == 0


@pytest.mark.parametrize("kind", PROJECTS)
def test_unhurt_projects_are_reconstructed(kind, tmp_path, capfd):
    given = PROJECTS[kind](tmp_path / "whole")
    assert attempt(given, tmp_path / "out", capfd, kind)[0] == 0


@pytest.mark.parametrize(
    ("kind", "name", "seed"),
    [(kind, name, i) for kind, names in FILES.items() for i, name in enumerate(names)],
)
def test_hurt_files(kind, name, seed, tmp_path, capfd):
    whole = tmp_path / "whole"
    given = [word.replace(str(whole), str(tmp_path / "hurt")) for word in PROJECTS[kind](whole)]
    for case in range(CASES_A_FILE):
        draw = random.Random(f"{kind} {name} {seed} {case}")
        shutil.copytree(whole, tmp_path / "hurt")
        found = sorted(path for path in (tmp_path / "hurt").rglob(name) if path.is_file())
        path = draw.choice(found)
        if path.suffix in (".mrc", ".mrcs", ".st"):
            how = draw.choice(HURT_IMAGES)
            path.write_bytes(how(path.read_bytes(), draw))
        else:
            how = draw.choice(HURT_TEXT)
            path.write_text(how(path.read_text(), draw), newline="")
        before = digests(tmp_path / "hurt")
        what = f"{kind} {path.name}, case {case} ({how.__name__})"
        code, _ = attempt(given, tmp_path / "out", capfd, what)
        if name in EVERY_NUMBER_COUNTS and re.search("nan|inf|1e400", path.read_text()):
            assert code == 2, f"{what}: accepted what is no number"
        assert digests(tmp_path / "hurt") == before, what
        shutil.rmtree(tmp_path / "hurt")
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
