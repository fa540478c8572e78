"""What is precious is written first, and nobody else's file is replaced."""

import pytest

from tomofilt.cli.app import main
from tomofilt.io import files
from tomofilt.io.bundle import load_bundle

TINY = ("--simulate", "1", "--shape", "24", "20", "14", "--tilts", "-60:60:20", "--nodes", "5")
NAME = "small.tomofilt.safetensors"


def train(folder, *options):
    return main(["train", "filter", "-o", str(folder / NAME), *TINY, *options])


def test_no_room_for_the_picture_costs_the_picture_alone(tmp_path, monkeypatch, capsys):
    def pwrite_all(self, offset, buffer, write=files.PartialFile.pwrite_all):
        if self.final.suffix == ".png":
            raise files.OutputError(f"{self.final} cannot be written: the disk is full")
        write(self, offset, buffer)

    monkeypatch.setattr(files.PartialFile, "pwrite_all", pwrite_all)
    assert train(tmp_path) == 0
    assert "small.png cannot be written: the disk is full" in capsys.readouterr().err
    assert load_bundle(tmp_path / NAME).kind == "filter"
    assert not (tmp_path / "small.png").exists()


@pytest.mark.parametrize("suffix", ["png", "jsonl", "checkpoint.safetensors"])
def test_overwrite_is_for_tomofilts_own_files(tmp_path, capsys, suffix):
    foreign = tmp_path / f"small.{suffix}"
    foreign.write_text("mine")
    assert train(tmp_path, "--overwrite") == 2
    assert f"small.{suffix} exists and tomofilt did not make it" in capsys.readouterr().err
    assert foreign.read_text() == "mine"


def test_its_own_are_replaced(tmp_path):
    assert train(tmp_path) == 0
    before = (tmp_path / "small.png").stat().st_mtime_ns
    assert train(tmp_path, "--overwrite") == 0
    assert (tmp_path / "small.png").stat().st_mtime_ns > before
