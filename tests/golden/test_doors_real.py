"""A real series through IMOD, AreTomo and Warp: the tomograms are the same."""

import re
import shutil
from pathlib import Path

import mrcfile
import numpy as np
import pytest
from runs import reconstructed
from strategies_aretomo import aln_text

from tomofilt.io.mrc import MrcStack
from tomofilt.reconstruction.settings import Settings
from tomofilt.series.projects import SeriesOptions, detect, write_stack
from tomofilt.simulate.series import ImagesInMemory

REAL = Path(__file__).parents[2] / "examples" / "mycoplasma"
WARP = Path(__file__).parents[1] / "data" / "warp" / "00254.xml"


def tomogram(tmp_path, path, name, options=SeriesOptions()):  # noqa: B008
    series = detect(path).read("00254", options)
    # images are resampled half a pixel apart, so that the finest detail, noise, is another one
    settings = Settings(filter="gaussian:0.12", preview=False, ctf="none")
    result, _ = reconstructed(series, tmp_path / f"{name}.mrc", settings)
    return mrcfile.read(result.destination.volume)


def correlation(volume, other):
    # away from the sides, where the sizes of aligned images count
    inside = np.s_[:, 10:-10, 10:-10]
    return np.corrcoef(volume[inside].ravel(), other[inside].ravel())[0, 1]


@pytest.fixture(scope="module")
def imod(tmp_path_factory):
    return tomogram(tmp_path_factory.mktemp("imod"), REAL, "imod")


def test_through_aretomo(tmp_path, imod):
    """The .aln that belongs to the .xf: shifts are -A^-1 d, in the frame of the raw images."""
    numbers = np.loadtxt(REAL / "00254.xf")
    a, d = numbers[:, :4].reshape(-1, 2, 2), numbers[:, 4:]
    rotation = -np.degrees(np.arctan2(a[:, 1, 0], a[:, 0, 0]))
    shift = -np.linalg.solve(a, d[..., None])[..., 0]
    tilt = np.loadtxt(REAL / "00254.tlt")
    rows = [(i + 1, rotation[i], *shift[i], tilt[i]) for i in range(len(tilt))]
    stack = MrcStack(REAL / "00254.mrc")
    views, ny, nx = stack.shape
    text = aln_text(rows, (nx, ny, views), thickness=imod.shape[0])
    (tmp_path / "00254.aln").write_text(text)
    shutil.copy(stack.path, tmp_path)
    # newst.com makes the images smaller by a row and a column
    options = SeriesOptions(shape_px=imod.shape[::-1])
    found = tomogram(tmp_path, tmp_path / "00254.aln", "aretomo", options)
    assert correlation(found, imod) > 0.995


def test_through_warp(tmp_path, imod):
    """Warp's own import of the alignment, with its tomogram's z against that of IMOD's.

    The angles were imported as they are, so that Warp turns the specimen the other way. Its middle
    is at N / 2 voxels: with one plane more, planes coincide once the tomogram is mirrored.
    """
    text = WARP.read_text(encoding="utf-8-sig")
    movies = re.search(r"<MoviePath>(.*?)</MoviePath>", text, re.DOTALL)[1].split()
    stack = MrcStack(REAL / "00254.mrc")
    (tmp_path / "2" / "average").mkdir(parents=True)
    (tmp_path / "3").mkdir()
    shutil.copy(WARP, tmp_path / "3")
    for view, movie in enumerate(movies):
        image = ImagesInMemory(stack.read(view)[None], stack.pixel_angst)
        write_stack(tmp_path / "2" / "average" / f"{Path(movie).stem}.mrc", image)
    nz = imod.shape[0] + 1
    found = tomogram(tmp_path, tmp_path / "3" / "00254.xml", "warp", SeriesOptions(thickness_px=nz))
    mirrored = found[::-1][: nz - 1]
    assert correlation(mirrored, imod) > 0.99
    assert correlation(found[: nz - 1], imod) < 0.5
