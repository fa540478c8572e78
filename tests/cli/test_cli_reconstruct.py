"""`tomofilt reconstruct`: options become settings and jobs; outcomes become exit codes and text."""

import json
import logging
from pathlib import Path

import pytest
from strategies_records import a_record

from tomofilt.errors import InputError, ResourceError
from tomofilt.io.record import write_record
from tomofilt.projectors import select
from tomofilt.reconstruction.settings import Settings
from tomofilt.series.projects import SeriesOptions


def test_defaults_are_the_librarys(stage, run):
    code, out, err = run("reconstruct", "--imod-dir", "TS_01")
    assert (code, out) == (0, "")
    assert "TS_01: 44 x 38 x 16 at 16 A, 0.0 s, OK" in err
    assert stage.settings == Settings()
    assert [(kind, path) for kind, path, _ in stage.opened] == [("imod", Path("TS_01"))]
    project = stage.opened[0][2]
    assert project.read_with == {"TS_01": SeriesOptions()}
    assert [list(finished) for finished, _ in project.committed] == [["TS_01"]]


@pytest.mark.parametrize(
    "arguments",
    [
        ["--imod-dir", "A", "--imod-dir", "B", "--imod-dir", "C"],
        ["--imod-dir", "A", "B", "C"],  # as the shell expands --imod-dir TS_*
        ["--imod_dir", "A", "B", "C"],
        ["--imod_dir=A", "-f", "ramp", "B", "--bin", "2", "C"],
        ["--imod-dir", "A", "B", "C", "B"],
    ],
)
def test_many_folders(stage, run, arguments):
    assert run("reconstruct", *arguments)[0] == 0
    assert [(kind, str(path)) for kind, path, _ in stage.opened] == [
        ("imod", "A"),
        ("imod", "B"),
        ("imod", "C"),
    ]


@pytest.mark.parametrize("option", ["--relion-star", "--relion_star", "--t", "--in_tomograms"])
@pytest.mark.parametrize("name", ["--tomogram-name", "--tomogram_name", "--tn"])
@pytest.mark.parametrize("output", ["-o", "--o", "--output-dir", "--output_dir"])
def test_relion_and_its_spellings(stage, run, option, name, output):
    stage.names = ["TS_01", "TS_02", "TS_03"]
    assert run("reconstruct", option, "t.star", name, "TS_02", output, "job")[0] == 0
    assert [(kind, str(path)) for kind, path, _ in stage.opened] == [("relion", "t.star")]
    assert [(n, str(d.volume)) for n, d, _ in stage.calls] == [("TS_02", "job/TS_02_rec.mrc")]


def test_all_series_of_a_project_by_default(stage, run):
    stage.names = ["TS_01", "TS_02"]
    code, _, err = run("reconstruct", "t.star")
    assert code == 0
    assert [kind for kind, _, _ in stage.opened] == ["detected"]
    assert [name for name, _, _ in stage.calls] == stage.names
    assert "2 series: 2 reconstructed, 0 finished before, 0 to look at, 0 failed" in err


@pytest.mark.parametrize(
    ("arguments", "changes"),
    [
        (["-f", "gaussian:60A"], {"filter": "gaussian:60A"}),
        (["--filter", "ramp", "--cutoff", "0.3"], {"filter": "ramp", "cutoff": "0.3"}),
        (["--pixel-size", "13.48"], {"pixel_angst": 13.48}),
        (["--angpix", "13.48"], {"pixel_angst": 13.48}),
        (["--apix=13.48"], {"pixel_angst": 13.48}),
        (["--binned_angpix", "13.48"], {"pixel_angst": 13.48}),
        (["--bin", "2.5"], {"bin": 2.5}),
        (["--halves", "tilts"], {"halves": "tilts"}),
        (["--interpolation", "linear"], {"interpolation": "linear"}),
        (["--ctf", "wiener"], {"ctf": "wiener"}),
        (["--dose-weight", "off"], {"dose_weight": "off"}),
        (["--projector", "direct"], {"projector": "direct"}),
        (["--orientation", "xzy"], {"orientation": "xzy"}),
        (["--dtype", "int16"], {"dtype": "int16"}),
        (["--invert", "--flip-z"], {"invert": True, "flip_z": True}),
        (["--flip_z"], {"flip_z": True}),
        (["--no-preview"], {"preview": False}),
        (["--overwrite"], {"overwrite": True}),
        (["--only_do_unfinished"], {}),
        (["-j", "7"], {"threads": 7}),
        (["--max-memory", "16GB"], {"max_memory_bytes": 16_000_000_000}),
        (["--max_memory", "1.5 GiB"], {"max_memory_bytes": 3 * 2**29}),
        (["--device", "cpu"], {"device": "cpu"}),
        (["--device", "auto"], {}),
    ],
)
def test_each_option_arrives(stage, run, arguments, changes):
    assert run("reconstruct", "--imod-dir", "TS_01", *arguments)[0] == 0
    assert stage.settings == Settings(**changes)


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        (["--input-pixel-size", "1.35"], {"input_pixel_angst": 1.35}),
        (["--alignment-pixel-size", "5.4"], {"alignment_pixel_angst": 5.4}),
        (["--exclude", "1-3,40, 2"], {"exclude": (1, 2, 3, 40)}),
        (["--thickness", "1500"], {"thickness_angst": 1500.0}),
        (["--thickness-px", "800"], {"thickness_px": 800.0}),
        (["--shape", "512", "400", "200"], {"shape_px": (512, 400, 200)}),
    ],
)
def test_what_the_user_says_about_the_input(stage, run, arguments, options):
    assert run("reconstruct", "--imod-dir", "TS_01", *arguments)[0] == 0
    assert stage.settings == Settings()
    assert stage.opened[0][2].read_with["TS_01"] == SeriesOptions(**options)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "give --imod-dir DIR or --relion-star FILE"),
        (["--imod-dir", "A", "--relion-star", "t.star"], "exclude each other"),
        (["--relion-star", "t.star", "A"], "A: unexpected beside --relion-star"),
        (["--imod-dir", "A", "--bin", "2", "--pixel-size", "10"], "--pixel-size and --bin"),
        (["A", "--thickness", "900", "--thickness-px", "200"], "--thickness and --thickness-px"),
        (["A", "--overwrite", "--only-do-unfinished"], "exclude each other"),
        (["--imod-dir", "absent"], "absent: there is no such folder"),
        (["--imod-dir", "A", "--tomogram-name", "B"], "there is A"),
        (["A", "--exclude", "0-3"], "'0-3' is no view"),
        (["A", "--exclude", "5-3"], "'5-3' is no view"),
        (["A", "--exclude", "three"], "'three' is no view"),
        (["A", "--exclude", "1-99999999999"], "give numbers from 1 to 9999"),
        (
            ["A", "--thickness", "5um"],
            "--thickness 5um: give a length in angstrom, above 0, without",
        ),
        (["A", "--thickness", "5um"], "without a unit: 50000"),
        (["A", "--thickness", "1500px"], "--thickness 1500px: give a length in angstrom, above 0"),
        (["A", "--thickness", "nan"], "--thickness nan: give a length"),
        (["A", "--thickness-px", "-300"], "--thickness-px -300: give a number of unbinned pixels"),
        (["A", "--pixel-size", "inf"], "--pixel-size inf: give a length"),
        (["A", "--input-pixel-size", "0"], "--input-pixel-size 0: give a length"),
        (["A", "--shape", "512", "4e2", "200"], "--shape 4e2: give three whole numbers"),
        (["A", "--shape", "512", "-4", "200"], "--shape -4: give three whole numbers"),
        (["A", "--max-memory", "lots"], "--max-memory lots is no size"),
        (["A", "--max-memory", "0GB"], "no memory"),
        (["A", "--device", "tpu"], "--device tpu is unknown"),
        (["A", "--halves", "thirds"], "--halves"),
        (["A", "--bin", "two"], "--bin two: give a factor above 0"),
        (["A", "--threads", "0"], "--threads 0: give a whole number of threads, 1 or more"),
        (["A", "--frobnicate"], "--frobnicate"),
    ],
)
def test_usage_errors(stage, run, arguments, said):
    code, out, err = run("reconstruct", *arguments)
    assert code == 2
    assert out == ""
    assert said in err
    assert "Traceback" not in err
    assert stage.calls == []


@pytest.mark.parametrize(("wish", "gpus"), [(["--device", "cuda"], "0"), (["--gpu", "0,1"], "0,1")])
def test_gpus(stage, run, monkeypatch, wish, gpus):
    monkeypatch.setattr(
        select, "unusable", lambda gpu, engine: "no NVIDIA driver" if gpu == 0 else None
    )
    code, _, err = run("reconstruct", "A", *wish)
    assert code == 3
    assert f"GPU {gpus} cannot be used: no NVIDIA driver; or compute with --device cpu" in err
    assert stage.opened == []
    monkeypatch.setattr(select, "unusable", lambda gpu, engine: None)
    assert run("reconstruct", "A", *wish)[0] == 0
    assert stage.settings == Settings(device=f"cuda:{gpus}")


def test_some_fail(stage, run):
    code, _, err = run("reconstruct", "--imod-dir", "bad_1", "TS_02")
    assert code == 1
    assert "bad_1: bad_1.tlt has 41 angles but bad_1.xf has 40 transforms" in err
    assert "2 series: 1 reconstructed, 0 finished before, 0 to look at, 1 failed" in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("error", "code"),
    [(InputError("no"), 2), (ResourceError("no"), 3), (PermissionError(13, "denied"), 2)],
)
def test_the_only_one_fails(stage, run, error, code):
    def work(*_):
        raise error

    stage.work = work
    found, _, err = run("reconstruct", "A", "--quiet")
    assert found == code
    assert str(error) in err


def test_a_bug_says_so(stage, run, monkeypatch):
    def work(*_):
        raise KeyError("rlnTomoName")

    stage.work = work
    code, _, err = run("reconstruct", "A")
    assert code == 1
    assert "KeyError: 'rlnTomoName'" in err
    assert "bug in tomofilt" in err
    assert "Traceback" not in err
    monkeypatch.setenv("TOMOFILT_DEBUG", "1")
    assert "Traceback" in run("reconstruct", "A")[2]


def test_interruption(stage, run):
    def work(*_):
        raise KeyboardInterrupt

    stage.work = work
    code, _, err = run("reconstruct", "--imod-dir", "A", "B")
    assert code == 130
    assert "interrupted" in err
    assert len(stage.calls) == 1
    assert "Traceback" not in err


def test_dry_run_prints_the_plan_and_writes_nothing(stage, run, tmp_path):
    code, out, _ = run("reconstruct", "t.star", "--bin", "2", "-o", tmp_path, "--dry-run")
    assert code == 0
    assert "20 x 15 x 6 voxels" in out
    assert str(tmp_path / "TS_01_rec.mrc") in out
    assert stage.calls == []
    assert stage.opened[0][2].committed == []
    assert list(tmp_path.iterdir()) == []


def test_json(stage, run):
    def work(series, destination, settings, tell):
        destination.record.parent.mkdir()
        write_record(destination.record, a_record())

    stage.work = work
    code, out, err = run("reconstruct", "--imod-dir", "bad", "TS_02", "--json")
    assert code == 1
    told = json.loads(out)
    assert told["exit_code"] == 1
    failed, done = told["results"]
    assert failed["status"] == "failed"
    assert failed["error"].startswith("bad.tlt has 41 angles")
    assert done["status"] == "done"
    assert done["volume"] == "TS_02/TS_02_rec.mrc"
    assert done["seconds"]["back-project"] == 2.0
    assert done["record"]["fingerprint"] == "0123"
    assert "TS_02: 44 x 38" in err


def test_json_of_a_plan(stage, run):
    _, out, _ = run("reconstruct", "A", "--json", "--dry-run")
    [planned] = json.loads(out)["results"]
    assert planned["status"] == "planned"
    assert planned["plan"][0].startswith("TS_01: 4 views, 1 excluded")


def test_quiet_and_verbose(stage, run):
    stage.work = lambda *_: logging.getLogger("tomofilt.test").info("a remark")
    assert run("reconstruct", "A", "--quiet") == (0, "", "")
    err = run("reconstruct", "A")[2]
    assert "a remark" not in err
    assert "back-project" not in err
    err = run("reconstruct", "A", "--verbose")[2]
    assert "a remark" in err
    assert [line.split() for line in err.splitlines() if "back-project" in line] == [
        ["back-project", "2.00", "50%"]
    ]


def test_names_that_look_like_markup_are_printed_as_they_are(stage, run):
    stage.names = ["[bold]TS", ":smile:"]
    err = run("reconstruct", "t.star")[2]
    assert "[bold]TS: 44 x 38" in err
    assert ":smile:: 44 x 38" in err
