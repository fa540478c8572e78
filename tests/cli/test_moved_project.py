"""A project that was moved is finished where it is now; what changed in it is found."""

import shutil

import mrcfile
import numpy as np
import pytest

from tomofilt.cli.app import main

SERIES, VIEWS, SIZE = 20, 9, 24


def make_series(folder, number):
    name = f"TS_{number:02d}"
    folder = folder / name
    folder.mkdir(parents=True)
    images = np.random.default_rng(number).normal(100, 10, (VIEWS, SIZE, SIZE))
    with mrcfile.new(folder / f"{name}.mrc") as file:
        file.set_data(images.astype(np.float32))
        file.voxel_size = 10.0
    tilts = np.linspace(-48, 48, VIEWS)
    (folder / f"{name}.tlt").write_text("".join(f"{tilt:.2f}\n" for tilt in tilts))
    (folder / f"{name}.xf").write_text("0.996 -0.087 0.087 0.996 1.0 -2.0\n" * VIEWS)
    (folder / "newst.com").write_text(
        f"$newstack -StandardInput\nInputFile {name}.mrc\nOutputFile {name}_ali.mrc\n"
        f"TransformFile {name}.xf\n"
    )
    (folder / "tilt.com").write_text(
        f"$tilt -StandardInput\nInputProjections {name}_ali.mrc\nOutputFile {name}_full_rec.mrc\n"
        f"TILTFILE {name}.tlt\nTHICKNESS 12\nFULLIMAGE {SIZE} {SIZE}\n"
    )


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lab") / "project"
    for number in range(SERIES):
        make_series(folder, number)
    assert reconstruct(folder) == 0
    return folder


def reconstruct(folder):
    series = sorted(map(str, folder.iterdir()))
    return main(["reconstruct", "-f", "ramp", "-j", "1", "--device", "cpu", "--imod-dir", *series])


def states(folder):
    """When each tomogram, record and picture was written, and by which file."""
    return {
        path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in folder.rglob("*_rec.*")
    }


@pytest.fixture
def copy(project, tmp_path):
    folder = shutil.copytree(project, tmp_path / "elsewhere", copy_function=shutil.copy)
    assert len(states(folder)) == 3 * SERIES
    return folder


def test_nothing_is_made_again_after_a_copy(copy):
    before = states(copy)
    assert reconstruct(copy) == 0
    assert states(copy) == before


def test_nor_after_a_move_nor_by_another_mount_nor_from_inside(copy, tmp_path, monkeypatch):
    moved = copy.rename(tmp_path / "moved")
    before = states(moved)
    for file in moved.rglob("*"):
        file.touch()
    (tmp_path / "mount").symlink_to(moved)
    assert reconstruct(tmp_path / "mount") == 0
    monkeypatch.chdir(moved)
    assert reconstruct(moved.relative_to(moved)) == 0
    after = states(moved)
    assert {name: inode for name, (inode, _) in after.items()} == {
        name: inode for name, (inode, _) in before.items()
    }


def test_one_changed_alignment_is_one_series(copy, capsys):
    (copy / "TS_07/TS_07.xf").write_text("0.996 -0.087 0.087 0.996 1.0 -2.5\n" * VIEWS)
    before = states(copy)
    assert reconstruct(copy) == 1
    said = capsys.readouterr().err
    # once where it happens, once again at the end
    assert said.count("was made with other settings or inputs") == 2
    assert "TS_07_tomofilt_rec.mrc was made with other settings or inputs (differs: " in said
    assert "alignment" in said
    assert said.count("finished already") == SERIES - 1
    assert "1 failed" in said
    assert states(copy) == before
    assert reconstruct_one(copy / "TS_07", "--overwrite") == 0
    changed = {name for name, state in states(copy).items() if state != before[name]}
    assert changed == {f"TS_07_tomofilt_rec.{suffix}" for suffix in ("mrc", "json", "png")}


def reconstruct_one(folder, *options):
    return main(
        ["reconstruct", "-f", "ramp", "--device", "cpu", "--imod-dir", str(folder), *options]
    )
