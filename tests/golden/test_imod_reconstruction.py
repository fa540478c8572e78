"""Whole reconstructions against tomograms that IMOD's own programs wrote (tests/data/imod)."""

import json
import os
import shutil
from pathlib import Path

import mrcfile
import numpy as np
import pytest
from scipy.optimize import curve_fit

from tomofilt.cli.app import main
from tomofilt.io.mrc import MrcStack
from tomofilt.jobs.one import reconstruct
from tomofilt.reconstruction.settings import Settings
from tomofilt_imod.project import PROJECT_TYPE

GOLDEN = Path(__file__).parents[1] / "data" / "imod" / "TS_01"

# What each of IMOD's outputs was made with, as tilt.com entries.
VARIANTS = {
    "default_new": "",
    "nocos": "COSINTERP 0",
    "radial_legacy": "RADIAL 0.35,0.05",
    "fakesirt_10": "FakeSIRTiterations 10",
    "offset": "OFFSET 3.5,2.25",
    "shift": "SHIFT 5,7",
    "xaxistilt_4": "XAXISTILT 4",
    "exclude": "EXCLUDELIST2 1-3,20",
    "odd_61x31": "WIDTH 61\nTHICKNESS 31",
    "etomo": "RADIAL 0.35 0.035\nFalloffIsTrueSigma 1\nXTILTFILE TS_01.xtilt",
}


def run(folder, settings):
    project = PROJECT_TYPE.open(folder)
    (name,) = project.names
    destination = project.destination(name, folder / "out")
    return reconstruct(project.read(name), destination, settings)


def imod_folder(tmp_path, entries, files=("TS_01_ali.mrc", "TS_01.tlt", "TS_01.xf", "TS_01.xtilt")):
    for file in files:
        shutil.copy(GOLDEN / file, tmp_path / file)
    command = "$tilt -StandardInput\nInputProjections TS_01_ali.mrc\nOutputFile x.mrc\n"
    text = command + f"TILTFILE TS_01.tlt\nTHICKNESS 40\nSLICE 40 47\n{entries}\n"
    (tmp_path / "tilt.com").write_text(text)
    return tmp_path


def compare(own, imod):
    """(rms difference over the standard deviation, correlation, slope)."""
    own, imod = own.astype(float).ravel(), imod.astype(float).ravel()
    rms = np.sqrt(np.mean((own - imod) ** 2)) / imod.std()
    return rms, np.corrcoef(own, imod)[0, 1], np.polyfit(imod, own, 1)[0]


@pytest.mark.parametrize("variant", VARIANTS)
def test_imod_filter_returns_what_tilt_returns(tmp_path, variant):
    """Geometry, weights, filter, padding, interpolation, density scale: all to rounding."""
    folder = imod_folder(tmp_path, VARIANTS[variant])
    result = run(folder, Settings(filter="imod", orientation="xzy"))
    own = mrcfile.read(result.destination.volume)
    imod = mrcfile.read(GOLDEN / "variants" / f"{variant}.mrc")
    assert own.shape == imod.shape
    rms, correlation, slope = compare(own, imod)
    print(variant, rms)
    assert rms < 4e-5
    assert correlation > 0.9999
    assert slope == pytest.approx(1, abs=5e-4)


def test_header_is_like_imods(tmp_path):
    folder = imod_folder(tmp_path, "")
    result = run(folder, Settings(filter="imod", orientation="xzy"))
    with mrcfile.open(GOLDEN / "variants" / "default_new.mrc", permissive=True) as imod:
        theirs = imod.header.copy()
    with mrcfile.open(result.destination.volume) as own:
        mine = own.header
        for name in ("nx", "ny", "nz", "mx", "my", "mz", "mode", "mapc", "mapr", "maps", "ispg"):
            assert mine[name] == theirs[name], name
        assert mine.cella == theirs.cella
        assert mine.origin == theirs.origin
        for name in ("dmin", "dmax", "dmean"):
            assert mine[name] == pytest.approx(theirs[name], rel=1e-4)
    assert mrcfile.validate(result.destination.volume)


def test_orientations_are_trimvol_turned(tmp_path):
    """zyx is what trimvol -rx makes of xzy: rec[z, y, x] == full[y, n - 1 - z, x]."""
    folder = imod_folder(tmp_path, "")
    full = mrcfile.read(run(folder, Settings(orientation="xzy")).destination.volume)
    upright = run(folder, Settings(orientation="zyx", overwrite=True)).destination.volume
    np.testing.assert_array_equal(mrcfile.read(upright), full.transpose(1, 0, 2)[::-1])


def blob_positions(volume, truth):
    """Fitted minus true centre of every blob, (blob, 3) as (x, y, z) voxels."""
    errors = []
    zc, yc, xc = truth["centre_zyx"]
    for x, y, z, sigma, _ in truth["blobs_xyz_sigma_amp"]:
        centre = np.array([zc + z, yc + y, xc + x])
        low = np.floor(centre).astype(int) - 5
        box = volume[tuple(slice(i, i + 12) for i in low)].astype(float)
        grid = np.stack(np.meshgrid(*(np.arange(12.0),) * 3, indexing="ij"))

        def gaussian(grid, cz, cy, cx, sz, sy, sx, height, level):
            offsets = (grid - np.array([cz, cy, cx])[:, None, None, None]) / np.array([sz, sy, sx])[
                :, None, None, None
            ]
            return (level + height * np.exp(-0.5 * (offsets**2).sum(axis=0))).ravel()

        start = (*(centre - low), sigma, sigma, sigma, box.max(), np.median(box))
        fitted, _ = curve_fit(gaussian, grid, box.ravel(), start)
        errors.append((low + fitted[:3] - centre)[::-1])
    return np.array(errors)


@pytest.mark.parametrize("source", ["aligned", "raw"])
@pytest.mark.parametrize("projector", ["fast", "direct"])
def test_blobs_are_where_they_are(tmp_path, source, projector):
    """A wrong hand would miss by 4 to 24 voxels in z, a half pixel slip by half a voxel."""
    files = ["TS_01.mrc", "TS_01.tlt", "TS_01.xf", "newst.com", "tilt.com", "TS_01.xtilt"]
    for file in files + (["TS_01_ali.mrc"] if source == "aligned" else []):
        shutil.copy(GOLDEN / file, tmp_path / file)
    volume = mrcfile.read(run(tmp_path, Settings(projector=projector)).destination.volume)
    truth = json.loads((GOLDEN / "truth.json").read_text())
    assert np.abs(blob_positions(volume, truth)).max() < 0.15


def test_own_aligned_stack_is_newstacks(tmp_path):
    """Raw images through the .xf, by B-splines and by newstack's own cubic convolution.

    newstack rounded to integers, and tapered the edges of areas without data (TaperAtFill).
    """
    from tomofilt.align.levels import LevelledImages
    from tomofilt.align.stack import align
    from tomofilt.reconstruction.setup import make_problem

    for file in ("TS_01.mrc", "TS_01.tlt", "TS_01.xf", "newst.com", "tilt.com", "TS_01.xtilt"):
        shutil.copy(GOLDEN / file, tmp_path / file)
    project = PROJECT_TYPE.open(tmp_path)
    series = project.read("TS_01")
    frame = make_problem(series).frame
    images = LevelledImages(
        series.images, series.views, background="series", across_axis=0, log_base=None, threads=1
    )
    newstack = MrcStack(GOLDEN / "TS_01_ali.mrc")
    for like_newstack, least in ((False, 0.998), (True, 0.9998)):
        aligned = align(
            images,
            frame,
            "TS_01",
            correct=None,
            like_newstack=like_newstack,
            keep=False,
            threads=1,
            memory_bytes=2**30,
            folder=tmp_path,
        )
        inside = np.s_[12:-12, 12:-12]
        for view, image in enumerate(series.views):
            own, theirs = aligned.rows(view, 0, 96), newstack.read(int(image))
            assert np.corrcoef(own[inside].ravel(), theirs[inside].ravel())[0, 1] > least


@pytest.mark.skipif(
    "TOMOFILT_REAL_SERIES" not in os.environ,
    reason="TOMOFILT_REAL_SERIES=folder with EMPIAR-10499 00254 and imod_tilt_rows300-315.mrc",
)
def test_real_series_equals_imod(tmp_path):
    """newstack and tilt on a real series, from the raw stack: rows 300 to 315."""
    folder = Path(os.environ["TOMOFILT_REAL_SERIES"])
    project = PROJECT_TYPE.open(folder)
    destination = project.destination("00254", tmp_path)
    settings = Settings(filter="imod:5", orientation="xzy", preview=False)
    result = reconstruct(project.read("00254"), destination, settings)
    imod = mrcfile.read(folder / "imod_tilt_rows300-315.mrc")
    own = mrcfile.mmap(result.destination.volume).data[300:316]
    rms, correlation, slope = compare(own, imod)
    assert rms < 0.01
    assert correlation > 0.9999
    assert slope == pytest.approx(1, abs=1e-3)


def test_two_axes_are_what_tilt_makes_of_each(tmp_path, capsys):
    """SETa.rec and SETb.rec, as IMOD's combine takes them."""
    for axis in "ab":
        shutil.copy(GOLDEN / "TS_01_ali.mrc", tmp_path / f"TS{axis}.ali")
        shutil.copy(GOLDEN / "TS_01.tlt", tmp_path / f"TS{axis}.tlt")
        entries = f"InputProjections TS{axis}.ali\nOutputFile TS{axis}.rec\nTILTFILE TS{axis}.tlt"
        com = f"$tilt -StandardInput\n{entries}\nTHICKNESS 40\nSLICE 40 47\n"
        (tmp_path / f"tilt{axis}.com").write_text(com)
    command = ["reconstruct", "--imod-dir", str(tmp_path), "-f", "imod", "--no-preview"]
    assert main([*command, "--axis", "b"]) == 0
    assert not (tmp_path / "TSa.rec").exists()
    assert main(command) == 0
    imod = mrcfile.read(GOLDEN / "variants" / "default_new.mrc")
    for axis in "ab":
        own = mrcfile.read(tmp_path / f"TS{axis}.rec")
        assert own.shape == imod.shape
        assert compare(own, imod)[0] < 4e-5
    # what IMOD made itself stays
    shutil.copy(GOLDEN / "variants" / "default_new.mrc", tmp_path / "TSa.rec")
    (tmp_path / "TSa.json").unlink()
    assert main([*command, "--axis", "a"]) == 2
    assert "TSa.rec" in capsys.readouterr().err


def test_an_axis_of_a_single_axis_set_is_refused(tmp_path, capsys):
    folder = imod_folder(tmp_path, "")
    assert main(["reconstruct", "--imod-dir", str(folder), "--axis", "a"]) == 2
    assert "--axis a is for dual-axis sets" in capsys.readouterr().err
