"""Options for many series, `tomofilt submit` and `tomofilt overview`."""

import importlib.util
import json

import pytest
from msgspec import structs
from strategies_records import a_record

from tomofilt.io.record import Flag, write_record
from tomofilt.jobs import many

FLAG = Flag(name="views disagree", sentence="5 of 9 views lie apart", mend="align again")


def test_strict(stage, run, monkeypatch):
    whole = stage.reconstruct

    def flagged(*arguments):
        result = whole(*arguments)
        return type(result)(
            result.destination, False, result.seconds, structs.replace(result.record, flags=(FLAG,))
        )

    monkeypatch.setattr(many, "reconstruct", flagged)
    code, out, err = run("reconstruct", "A", "--json")
    assert code == 0
    assert json.loads(out)["results"][0]["flags"] == [
        {"name": "views disagree", "sentence": "5 of 9 views lie apart", "mend": "align again"}
    ]
    assert "5 of 9 views lie apart: align again" in err
    assert run("reconstruct", "A", "--strict")[0] == 1


def test_nth(stage, run):
    stage.names = ["TS_01", "TS_02", "TS_03"]
    assert run("reconstruct", "t.star", "--nth", "2")[0] == 0
    assert [name for name, _, _ in stage.calls] == ["TS_02"]
    assert stage.opened[-1][2].committed == []  # left to the job after the array
    code, _, err = run("reconstruct", "t.star", "--nth", "4")
    assert code == 2
    assert "there are 3 series" in err


def test_submit(stage, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    stage.names = ["TS_01", "TS_02"]
    (tmp_path / "site.toml").write_text(
        'scheduler = "slurm"\ncores = 8\nmemory = "16GB"\nqueue = "cpu"\n'
        'prologue = ["module load x"]\ndirectives = ["--constraint=avx2"]\n'
    )
    code, out, _ = run(
        "submit", "--script", "b.sbatch", "--cluster", "site.toml", "my t.star", "--bin", "4"
    )
    assert code == 0
    assert out == "sbatch --dependency=afterany:$(sbatch --parsable b.sbatch) b_last.sbatch\n"
    assert (tmp_path / "b.sbatch").read_text().splitlines() == [
        "#!/bin/bash",
        "#SBATCH --array=1-2",
        "#SBATCH --cpus-per-task=8",
        "#SBATCH --partition=cpu",
        "#SBATCH --mem=16G",
        "#SBATCH --constraint=avx2",
        "set -e",
        f"cd {tmp_path}",
        "module load x",
        "tomofilt reconstruct 'my t.star' --bin 4 --nth \"$SLURM_ARRAY_TASK_ID\"",
    ]
    last = (tmp_path / "b_last.sbatch").read_text().splitlines()
    assert last[-1] == "tomofilt reconstruct 'my t.star' --bin 4"
    assert "#SBATCH --array=1-2" not in last
    assert stage.calls == []


def test_what_the_array_made_is_not_made_again(stage, run, tmp_path):
    assert run("submit", "--script", "b.sbatch", "a.star", "--overwrite")[0] == 0
    [array, last] = [
        (tmp_path / name).read_text().splitlines()[-1] for name in ("b.sbatch", "b_last.sbatch")
    ]
    assert array.startswith("tomofilt reconstruct a.star --overwrite --nth")
    assert last == "tomofilt reconstruct a.star"


@pytest.mark.parametrize("option", ["--watch", "--nth 2", "--workers 2", "--dry-run"])
def test_options_that_an_array_has_no_use_for(stage, run, tmp_path, option):
    code, _, err = run("submit", "--script", "b.sbatch", "a.star", *option.split())
    assert code == 2
    assert f"{option.split()[0]} is for one program that stays" in err
    assert not (tmp_path / "b.sbatch").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--watch", "--dry-run"], "leave one out"),
        (["--idle", "1h"], "is for --watch"),
        (["--watch", "--idle", "soon"], "give a time with its unit"),
        (["--cluster", "x.toml"], "give --workers too"),
        (["--dask-scheduler", "tcp://x:1", "--workers", "2"], "give it alone"),
    ],
)
def test_options_that_do_not_go_together(stage, run, arguments, said):
    code, _, err = run("reconstruct", "A", *arguments)
    assert code == 2
    assert said in err


def test_watch_over_folders_that_match(stage, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "TS_1").mkdir()
    (tmp_path / "TS_2.html").touch()
    (tmp_path / "stop").touch()
    assert run("reconstruct", "--imod-dir", "TS_*", "--watch")[0] == 0
    assert [(kind, path.name) for kind, path, _ in stage.opened] == [("imod", "TS_1")]


def test_overview(run, tmp_path):
    write_record(tmp_path / "TS_01.json", a_record())
    code, out, _ = run("overview", tmp_path)
    assert (code, out) == (0, f"{tmp_path / 'tomofilt_session.html'}: 1 tomogram\n")
    (tmp_path / "empty").mkdir()
    code, _, err = run("overview", tmp_path / "empty")
    assert code == 2
    assert "no tomogram of tomofilt's" in err


def test_zarr_that_is_not_installed_is_said_before_any_work(stage, run, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    code, _, err = run("reconstruct", "A", "--zarr")
    assert code == 2
    assert "pip install 'tomofilt[zarr]'" in err
    assert stage.opened == stage.calls == []
