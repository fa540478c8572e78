"""The command ``tomofilt simulate``, from options to folders."""

import json
import subprocess
import sys

import mrcfile
import numpy as np
import pytest

from tomofilt.cli.app import main

SMALL = ("--shape", "64", "56", "40", "--molecule", "1bxn", "--membranes", "1", "-j", "2")


@pytest.fixture
def simulate(tmp_path, capsys):
    """Run it into a folder; exit code, output, errors."""

    def run(*arguments, out="out"):
        code = main(["simulate", str(tmp_path / out), *map(str, arguments)])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def test_what_it_prints_works(simulate, tmp_path, capsys):
    """The two commands it ends with reconstruct, and find the truth's densities."""
    code, printed, _ = simulate(*SMALL, "--gold", 1, "--seed", 5)
    assert code == 0
    record = json.loads((tmp_path / "out/truth/record.json").read_text())
    assert f"{record['particles']['1bxn']} 1bxn" in printed
    commands = [line.split()[1:] for line in printed.splitlines() if "reconstruct" in line]
    truth = mrcfile.read(tmp_path / "out" / "truth" / "volume.mrc")
    for command in commands:
        assert main([*command, "--no-preview", "-q"]) == 0
    capsys.readouterr()
    found = [
        tmp_path / "out/imod/TS_01_tomofilt_rec.mrc",
        tmp_path / "out/relion/Tomograms/job006/tomograms/rec_TS_01.mrc",
    ]
    for path in found:
        assert np.corrcoef(mrcfile.read(path).ravel(), truth.ravel())[0, 1] > 0.3


def test_same_seed_same_files(simulate, tmp_path):
    for out in ("a", "b"):
        assert simulate(*SMALL, "--tilts", "-40:40:20", "-q", out=out)[:2] == (0, "")
    simulate(*SMALL, "--tilts", "-40:40:20", "-q", "--seed", "1", out="c")
    first, again, other = (
        (tmp_path / out / "imod/TS_01.mrc").read_bytes() for out in ("a", "b", "c")
    )
    assert first == again != other
    records = [(tmp_path / out / "truth/record.json").read_bytes() for out in ("a", "b")]
    assert records[0] == records[1]


def test_options_reach_the_simulation(simulate, tmp_path):
    (tmp_path / "real.tlt").write_text("-30.0\n-10.5\n 9.5\n29\n")
    code, _, _ = simulate(
        *SMALL,
        *("--tilts", tmp_path / "real.tlt", "--pretilt", "8", "--exclude", "4"),
        *("--order", "continuous", "--dose", "2.5", "--defocus", "4", "--axis", "-5"),
        *("--pixel-size", "8", "--ice", "250", "--shift", "0", "--crowding", "0.1"),
    )
    assert code == 0
    record = json.loads((tmp_path / "out/truth/record.json").read_text())
    assert [view["tilt_deg"] for view in record["views"]] == [-22.0, -2.5, 17.5]
    assert [view["stage_deg"] for view in record["views"]] == [-30.0, -10.5, 9.5]
    assert [view["acquired"] for view in record["views"]] == [1, 2, 3]
    assert record["dose_e_per_a2"] == 2.5
    assert record["voxel_angst"] == 8.0
    assert record["shape_zyx"] == [40, 56, 64]
    assert record["settings"]["ice"] == 250
    star = (tmp_path / "out/relion/AlignTiltSeries/job005/tilt_series/TS_01.star").read_text()
    assert "40000.000000" in star
    assert "-5.000000" in star
    images = mrcfile.read(tmp_path / "out/imod/TS_01.mrc")
    assert images.shape == (3, 56, 64)
    assert images.mean() == pytest.approx(2.5 * 64 * np.exp(-250 / 3000), rel=0.05)


def test_like_a_real_series(simulate, tmp_path):
    simulate(*SMALL, "--shape", 96, 96, 40, "--tilts", "-48:48:4", "--axis", "0", out="real")
    volume = tmp_path / "real/truth/volume.mrc"
    code, printed, errors = simulate("--from", volume, "--like", tmp_path / "real/imod")
    assert code == 0, errors
    assert "25 images of 96 x 96 px" in printed
    assert "in the tomogram" not in printed
    assert "--invert" not in printed
    record = json.loads((tmp_path / "out/truth/record.json").read_text())
    assert len(record["snr_of_views"]) == 25
    assert record["like"].endswith("real/imod")
    assert not (tmp_path / "out/truth/labels.mrc").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--from", "volume.mrc"), "belong together"),
        (("--tilts", "60:-60:3"), "give first, last and step"),
        (("--tilts", "a:b:c"), "-60:60:3"),
        (("--tilts", "absent.tlt"), "absent.tlt"),
        (("--tilts", "0:6:3", "--exclude", "1-3"), "no tilt is left"),
        (("--molecule", "absent.mrc"), "absent.mrc"),
        (("--pixel-size", "0"), "--pixel-size"),
        (("--dose", "0"), "--dose"),
        (("--ice", "5000"), "thicker"),
        (("--like", "absent", "--from", "absent.mrc"), "absent.mrc"),
    ],
)
def test_what_cannot_be_is_said(simulate, tmp_path, arguments, message):
    code, _, errors = simulate(*SMALL, *arguments)
    assert code == 2
    assert message in errors
    assert "Traceback" not in errors
    assert not (tmp_path / "out").exists()


def test_volume_with_nan(simulate, tmp_path):
    with mrcfile.new(tmp_path / "nan.mrc") as mrc:
        mrc.set_data(np.zeros((4, 5, 6), np.float32))
        mrc.data[1, 1, 1] = np.nan
        mrc.voxel_size = 10.0
    for option in ("--from", "--molecule"):
        like = ("--like", tmp_path) if option == "--from" else ()
        code, _, errors = simulate(option, tmp_path / "nan.mrc", *like)
        assert code == 2
        assert "nan.mrc: 1 of 120 voxels are NaN" in errors


def test_occupied_folder(simulate, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("x")
    code, _, errors = simulate(*SMALL)
    assert code == 2
    assert "choose a new one" in errors


def test_help_loads_nothing_heavy():
    script = (
        "import sys\nfrom tomofilt.cli.app import main\nmain(['simulate', '--help'])\n"
        "print([m for m in ('torch', 'numba', 'scipy', 'matplotlib') if m in sys.modules])"
    )
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_tilts_mean_the_same_to_every_command(simulate, tmp_path):
    """29 angles, the last at 48 degrees: never beyond the one that was given."""
    table = tmp_path / "gains.csv"
    tilts = ("--tilts", "-50:50:3.5")
    assert main(["filters", "export", "ramp", *tilts, "-o", str(table)]) == 0
    columns = table.read_text().splitlines()[0].split(",")
    assert (len(columns), columns[-1]) == (30, "48 deg")
    assert simulate("--shape", 40, 32, 24, "--molecule", "1bxn", "--membranes", 1, *tilts)[0] == 0
    angles = (tmp_path / "out/imod/TS_01.tlt").read_text().split()
    assert (len(angles), float(angles[-1])) == (29, 48.0)
