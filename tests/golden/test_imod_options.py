"""Options of tilt, newstack and ctfphaseflip against what IMOD's programs wrote."""

import shutil
from pathlib import Path

import mrcfile
import numpy as np
import pytest

from tomofilt.errors import InputError
from tomofilt.jobs.one import reconstruct
from tomofilt.reconstruction.settings import Settings
from tomofilt.reconstruction.setup import make_problem
from tomofilt_imod.project import PROJECT_TYPE

DATA = Path(__file__).parents[1] / "data"
MORE = DATA / "imod_more"
FIRST_ROW = {"xaxistilt5_edge_rows": 0, "padding_fftw": 0}


def put(name, tmp_path, files=("TS_01_ali.mrc", "TS_01.tlt")):
    for file in files:
        shutil.copy(DATA / "imod" / "TS_01" / file, tmp_path)
    for file in (MORE / name).iterdir():
        shutil.copy(file, tmp_path / file.name)
    return PROJECT_TYPE.open(tmp_path)


def run(project, tmp_path, spec="imod"):
    settings = Settings(filter=spec, orientation="xzy", preview=False)
    (name,) = project.names
    result = reconstruct(project.read(name), tmp_path / "out" / "rec.mrc", settings)
    return mrcfile.read(result.destination.volume)


def difference(own, imod):
    """Rms of the difference over the standard deviation."""
    return np.sqrt(np.mean((own.astype(float) - imod) ** 2)) / imod.astype(float).std()


@pytest.mark.parametrize(
    ("name", "largest"),
    [
        ("cosinterp_1_1", 1e-4),
        ("cosinterp_2_3", 1e-4),
        ("densweight_3_1_1_1", 1e-4),
        ("flatfilter_0.3", 1e-4),
        ("flatfilter_1", 1e-4),
        ("local_only", 1e-4),
        ("local_xaxistilt4", 1e-4),
        ("local_zfac_noflag", 1e-4),
        ("padding_fftw", 1e-4),
        ("weightfile", 1e-4),
        ("xaxistilt5_edge_rows", 1e-4),
        ("xtilt5_direct", 1e-4),
        ("xtilt_varying", 1e-4),
        ("xtiltinterp_3", 1e-4),
        ("zfac_xaxistilt4", 1e-4),
    ],
)
def test_tilt(tmp_path, name, largest):
    own = run(put(name, tmp_path), tmp_path)
    imod = mrcfile.read(tmp_path / "expected.mrc")
    first = FIRST_ROW.get(name, 40)
    apart = difference(own[first : first + len(imod)], imod)
    print(name, f"{apart:.1e}")
    assert apart <= largest


def test_mask_is_refused(tmp_path):
    with pytest.raises(InputError, match="MASK is not followed"):
        run(put("mask_3", tmp_path), tmp_path)


@pytest.mark.parametrize(
    ("name", "key"),
    [("newst_fourier_reduce", "FourierReduceByFactor"), ("newst_reorder", "ReorderByTiltAngle")],
)
def test_newstack_options_that_make_another_stack_are_refused(tmp_path, name, key):
    project = put(name, tmp_path, ("TS_01.mrc", "TS_01.tlt", "TS_01.xf", "TS_01.xtilt"))
    with pytest.raises(InputError, match=f"uses {key}, which tomofilt does not follow"):
        project.read("TS_01")


def test_a_part_of_the_rows_needs_those_beside_it(tmp_path):
    """SLICE takes no row from the stack: voxels still fall on rows outside it."""
    project = put("local_xaxistilt4", tmp_path)
    whole = run(project, tmp_path)
    com = tmp_path / "tilt.com"
    com.write_text(com.read_text() + "SLICE 40 47\n")
    part = run(PROJECT_TYPE.open(tmp_path), tmp_path / "part")
    assert difference(part, whole[40:48]) < 1e-5


def flipped(name, tmp_path):
    """View 2 of white noise, its phases flipped here, and rows of it by ctfphaseflip."""
    for file in (MORE / name).iterdir():
        shutil.copy(file, tmp_path)
    noise = np.random.default_rng(1).standard_normal((3, 512, 512), dtype=np.float32) * 10 + 100
    with mrcfile.new(tmp_path / "TS_ali.mrc", noise) as file:
        file.voxel_size = 4.0
    series = PROJECT_TYPE.open(tmp_path).read("TS")
    problem = make_problem(series, Settings(filter="none", ctf="flip"))
    correct = problem.corrections.image_filter(
        series, problem.frame.padded_grid, problem.frame.image_from_aligned
    )
    view = int(np.flatnonzero(series.tilt_deg == 0)[0])
    image = series.images.read(int(series.views[view])).astype(np.float32)
    own = correct(view, image - image.mean())
    rows = np.load(tmp_path / "expected_view2_rows200-311.npy")
    return own[200:312].astype(float), rows.astype(float), series.notes


def shell_correlations(a, b):
    """Correlation per shell of 0.1 cycles per pixel, inside a window."""
    ny, nx = a.shape
    window = np.hanning(ny)[:, None] * np.hanning(nx)
    fa, fb = (np.fft.fft2((each - each.mean()) * window) for each in (a, b))
    k = np.hypot(np.fft.fftfreq(ny)[:, None], np.fft.fftfreq(nx))
    found = []
    for low in (0.0, 0.1, 0.2, 0.3, 0.4):
        shell = (k >= low) & (k < low + 0.1)
        both = (fa[shell] * fb[shell].conj()).sum().real
        found.append(both / np.sqrt((abs(fa[shell]) ** 2).sum() * (abs(fb[shell]) ** 2).sum()))
    return np.array(found)


def test_astigmatism_is_ctfphaseflips(tmp_path):
    own, imod, notes = flipped("ctf_astig", tmp_path)
    found = shell_correlations(own, imod)
    print(found)
    assert np.all(found > [0.97, 0.97, 0.95, 0.92, 0.9])
    assert not [note for note in notes if "astigmatism" in note]


def test_axes_are_turned_even_where_ctfphaseflip_does_not(tmp_path):
    own, imod, notes = flipped("ctf_astig_noxf", tmp_path)
    print(shell_correlations(own, imod))
    assert [note for note in notes if "has no TransformFile" in note]
