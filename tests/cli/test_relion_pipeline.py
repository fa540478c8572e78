"""tomofilt as a job of RELION's pipeline, end to end on small projects."""

import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import mrcfile
import numpy as np
import pytest

from tomofilt.cli.app import main
from tomofilt.filters.learned import LearnedFilter, RadialNodes
from tomofilt.io.bundle import SUFFIX, save_bundle
from tomofilt.io.mrc import MrcStack, read_header
from tomofilt.io.star import Table, read_star, write_star
from tomofilt_relion import shim

EXAMPLE = Path(__file__).parents[2] / "examples" / "relion_project"
ALIGNED = "AlignTiltSeries/job005/aligned_tilt_series.star"
JOB = ["relion", "--o", "External/job010/", "--in_mics", ALIGNED, "--thickness", "256"]


@pytest.fixture(scope="session")
def make_project():
    spec = importlib.util.spec_from_file_location("make_project", EXAMPLE / "make_project.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.make_project


@pytest.fixture(scope="session")
def two_series(make_project, tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    make_project(folder, 2)
    return folder


@pytest.fixture
def project(two_series, tmp_path, monkeypatch):
    """A RELION project with two series, as the working folder."""
    shutil.copytree(two_series, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def tilts(name):
    return Path("AlignTiltSeries/job005/tilt_series") / f"{name}.star"


def change(path, block, columns=None, without=(), rename=None):
    blocks = read_star(path)
    table = blocks.pop(block).replaced(columns or {})
    kept = {name: values for name, values in table.columns.items() if name not in without}
    write_star(path, {**blocks, rename or block: Table(kept)}, replace=True)


def state(folder):
    """Marker files of a job."""
    return [path.name for path in Path(folder).glob("RELION_JOB_*")]


def times(folder):
    return {path.name: path.stat().st_mtime_ns for path in Path(folder).glob("tomograms/*.mrc")}


def voxels(path):
    return path.read_bytes()[1024:]


# ------------------------------------------------------------------------------ External job


def test_external_job(project, capsys):
    assert main([*JOB, "--bin", "2", "--halves", "frames", "--j", "2"]) == 0
    job = project / "External/job010"
    assert state(job) == ["RELION_JOB_EXIT_SUCCESS"]
    nodes = read_star(job / "RELION_OUTPUT_NODES.star")["output_nodes"]
    assert dict(nodes.columns) == {
        "rlnPipeLineNodeName": ["External/job010/tomograms.star"],
        "rlnPipeLineNodeTypeLabel": ["TomogramGroupMetadata.star.relion.tomo.reconstruct"],
    }
    table = read_star(job / "tomograms.star")["global"]
    assert table["rlnTomoName"] == ["TS_01", "TS_02"]
    assert table["rlnTomoSizeZ"] == ["32", "32"]
    for column in ("", "Half1", "Half2"):
        for path in table[f"rlnTomoReconstructedTomogram{column}"]:
            header = read_header(project / path)
            assert header.shape == (16, 36, 40)
            assert header.spacing_angst == pytest.approx((16.0, 16.0, 16.0))
    for path in table["rlnTomoTiltSeriesStarFile"]:
        assert (project / path).parent == job / "tilt_series"
    output = capsys.readouterr()
    assert "TS_02 (2 of 2): done" in output.out
    assert not output.err

    # its output is the input of the next job
    star = "External/job010/tomograms.star"
    assert main(["relion", "--o", "External/job011/", "--in_tomograms", star]) == 0
    again = read_star(project / "External/job011/tomograms.star")["global"]
    assert again["rlnTomoTomogramBinning"] == ["2.000000"] * 2
    assert read_header(project / again["rlnTomoReconstructedTomogram"][0]).shape == (16, 36, 40)


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning")
def test_series_of_a_job_on_workers(project):
    assert main([*JOB, "--filter", "ramp"]) == 0
    job = project / "External/job010"
    plain = {path.name: voxels(path) for path in (job / "tomograms").glob("*.mrc")}
    table = (job / "tomograms.star").read_text()
    shutil.rmtree(job)
    assert main([*JOB, "--filter", "ramp", "--workers", "2"]) == 0
    assert state(job) == ["RELION_JOB_EXIT_SUCCESS"]
    assert {path.name: voxels(path) for path in (job / "tomograms").glob("*.mrc")} == plain
    assert (job / "tomograms.star").read_text() == table


def test_a_learned_filter(project, tmp_path, capsys):
    nodes = RadialNodes(np.array([0.002, 0.06]))
    learned = LearnedFilter("ramp", "per-tilt", nodes, np.arange(-60.0, 61, 2), np.ones((61, 2)))
    path = tmp_path / f"flat{SUFFIX}"
    save_bundle(path, learned.to_bundle({}))
    assert main([*JOB, "--bin", "2", "--model", str(path)]) == 0
    assert "filter learned:flat" in capsys.readouterr().out
    [first, _] = sorted((project / "External/job010/tomograms").glob("*.json"))
    assert json.loads(first.read_text())["filter"]["spec"] == "learned:flat"


def test_continue_keeps_what_is_finished_and_makes_the_rest(project):
    assert main([*JOB, "--tomogram-name", "TS_02", "--halves", "tilts"]) == 0
    job = project / "External/job010"
    before = times(job)
    assert len(before) == 3
    assert main([*JOB, "--halves", "tilts"]) == 0
    after = times(job)
    assert len(after) == 6
    assert before.items() <= after.items()
    table = read_star(job / "tomograms.star")["global"]
    assert table["rlnTomoReconstructedTomogramHalf2"] == [
        f"External/job010/tomograms/rec_TS_0{i}_half2.mrc" for i in (1, 2)
    ]
    assert main([*JOB, "--halves", "tilts"]) == 0
    assert times(job) == after
    assert state(job) == ["RELION_JOB_EXIT_SUCCESS"]


def test_continue_redoes_what_is_cut_off(project):
    command = [*JOB, "--halves", "tilts"]
    assert main(command) == 0
    folder = project / "External/job010/tomograms"
    whole = {path.name: voxels(path) for path in folder.glob("*.mrc")}
    cut, gone = folder / "rec_TS_01.mrc", folder / "rec_TS_02_half1.mrc"
    cut.write_bytes(cut.read_bytes()[:20000])
    gone.unlink()
    before = times(folder.parent)
    assert main(command) == 0
    after = times(folder.parent)
    assert {path.name: voxels(path) for path in folder.glob("*.mrc")} == whole
    assert {name for name in after if before.get(name) != after[name]} == {cut.name, gone.name}


def test_other_settings_do_not_mix(project, capsys):
    assert main([*JOB, "--filter", "hann"]) == 0
    assert main([*JOB, "--filter", "ramp"]) == 2
    assert state("External/job010") == ["RELION_JOB_EXIT_FAILURE"]
    assert "was made with other settings" in capsys.readouterr().err
    assert main([*JOB, "--filter", "ramp", "--overwrite"]) == 0
    record = json.loads(Path("External/job010/tomograms/rec_TS_01.json").read_text())
    assert record["filter"]["spec"].startswith("ramp")


def test_marker_files_go_where_relion_looks(project):
    (project / "control").mkdir()
    assert main([*JOB, "--pipeline_control", "control/"]) == 0
    assert state("control") == ["RELION_JOB_EXIT_SUCCESS"]
    assert state("External/job010") == []


# ----------------------------------------------------------------------------------- failure


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--thicknes", "3"], r"no option --thicknes\. Did you mean --thickness\? Options: .*--w"),
        (["--imod_dir", "x"], "no option --imod-dir"),
        (["--filter", "sharp"], "there is no filter 'sharp'"),
        (["--in_movies", "x.star"], "two inputs are given"),
        (["--tn", "TS_03"], "there is no series of this name"),
        (["--bin", "much"], "tomofilt: --bin much: give a factor above 0"),
    ],
)
def test_options_that_cannot_be_used(project, capsys, arguments, message):
    assert main([*JOB, *arguments]) == 2
    assert state("External/job010") == ["RELION_JOB_EXIT_FAILURE"]
    assert re.search(message, capsys.readouterr().err)


BAD = {
    "no alignment": (
        lambda: change(tilts("TS_02"), "TS_02", without=("rlnTomoYTilt", "rlnTomoZRot")),
        r"lacks rlnTomoYTilt, rlnTomoZRot \(from RELION's Align tilt-series job\)",
    ),
    "no images": (
        lambda: change(tilts("TS_02"), "TS_02", without=("rlnMicrographName",)),
        r"lacks rlnMicrographName \(from RELION's Motion correction job\)",
    ),
    "block name": (
        lambda: change(tilts("TS_02"), "TS_02", rename="TS_2"),
        "has no data_TS_02 but data_TS_2",
    ),
    "size": (
        lambda: shutil.copy(
            Path(__file__).parents[1] / "data/relion/MotionCorr/job002/frames/TS_01_000.mrc",
            "MotionCorr/job002/frames/TS_02_003.mrc",
        ),
        r"TS_02_003\.mrc has images of 96 x 80 pixels but .*TS_02_000\.mrc of 80 x 72",
    ),
    "missing image": (
        lambda: Path("MotionCorr/job002/frames/TS_02_003.mrc").unlink(),
        r"TS_02_003\.mrc: there is no such file",
    ),
    "missing table": (lambda: tilts("TS_02").unlink(), r"TS_02\.star: there is no such file"),
    "name": (
        lambda: change(Path(ALIGNED), "global", {"rlnTomoName": ["TS_01", "../TS_02"]}),
        "cannot become a file name",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_one_bad_series_does_not_stop_the_others(project, capsys, case):
    spoil, message = BAD[case]
    spoil()
    assert main(JOB) == 1
    assert state("External/job010") == ["RELION_JOB_EXIT_FAILURE"]
    errors = capsys.readouterr().err
    assert re.search(message, errors)
    assert errors.count("tomofilt:") == 1
    table = read_star(Path("External/job010/tomograms.star"))["global"]
    assert table["rlnTomoName"] == ["TS_01"]

    command = ["reconstruct", "--relion-star", ALIGNED, "-o", "out", "--thickness", "256"]
    assert main(command) == 1
    assert re.search(message, capsys.readouterr().err.replace("\n", " "))


@pytest.mark.parametrize("case", ["no alignment", "no images"])
def test_a_set_that_was_never_aligned(project, capsys, case):
    without = {
        "no alignment": ("rlnTomoYTilt", "rlnTomoZRot"),
        "no images": ("rlnMicrographName", "rlnTomoYTilt", "rlnTomoZRot", "rlnTomoXShiftAngst"),
    }[case]
    for name in ("TS_01", "TS_02"):
        change(tilts(name), name, without=without)
    assert main(JOB) == 2
    assert state("External/job010") == ["RELION_JOB_EXIT_FAILURE"]
    assert "(from RELION's Align tilt-series job)" in capsys.readouterr().err
    assert not Path("External/job010/tomograms.star").exists()


def test_nothing_to_read(project, capsys):
    Path(ALIGNED).unlink()
    assert main(JOB) == 2
    assert state("External/job010") == ["RELION_JOB_EXIT_FAILURE"]
    assert f"{ALIGNED}: there is no such file" in capsys.readouterr().err


def test_no_folder_to_put_a_marker_in(project, capsys):
    assert main(["relion", "--in_mics", ALIGNED]) == 2
    assert "the folder of the job is missing" in capsys.readouterr().err


def test_help_names_the_ways_in(capsys):
    assert main(["relion", "--help"]) == 0
    page = capsys.readouterr().out
    assert "native" in page
    assert "shim-path" in page
    for command in ("job", "native"):
        assert main(["relion", command, "--help"]) == 0
        assert "relion" in capsys.readouterr().out


# ------------------------------------------------------------------- killed, aborted, resumed


@pytest.fixture(scope="session")
def five_series(make_project, tmp_path_factory):
    folder = tmp_path_factory.mktemp("five")
    make_project(folder, 5)
    return folder


def start(project, job):
    """Run a job of five series in a process of its own, until two tomograms are there."""
    command = [sys.executable, "-m", "tomofilt", "relion", "--o", f"{job}/", "--in_mics", ALIGNED]
    command += ["--thickness", "256", "--halves", "frames", "--j", "2"]
    process = subprocess.Popen(command, cwd=project, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while len(list((project / job).glob("tomograms/rec*.mrc"))) < 2:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return process


def run_to_the_end(project, job, monkeypatch):
    monkeypatch.chdir(project)
    arguments = ["--in_mics", ALIGNED, "--thickness", "256", "--halves", "frames", "--j", "2"]
    assert main(["relion", "--o", f"{job}/", *arguments]) == 0
    assert state(project / job) == ["RELION_JOB_EXIT_SUCCESS"]


def test_killed_job_ends_as_if_nothing_had_happened(five_series, monkeypatch):
    killed, whole = "External/job020", "External/job021"
    process = start(five_series, killed)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert state(five_series / killed) == []
    before = times(five_series / killed)
    assert 2 <= len(before) < 15
    assert not (five_series / killed / "tomograms.star").exists()

    run_to_the_end(five_series, killed, monkeypatch)
    run_to_the_end(five_series, whole, monkeypatch)
    after = times(five_series / killed)
    assert len(after) == 15
    recorded = {
        path.with_suffix(".mrc").name
        for path in (five_series / killed / "tomograms").glob("*.json")
    }
    assert recorded == set(after)
    kept = {name for name, when in before.items() if after[name] == when}
    assert len(kept) >= len(before) - 1  # one may have had its name but no record yet
    for name in after:
        one, other = (five_series / job / "tomograms" / name for job in (killed, whole))
        assert voxels(one) == voxels(other)
    for name in ("tomograms.star", *(f"tilt_series/TS_0{i}.star" for i in range(1, 6))):
        one, other = ((five_series / job / name).read_text() for job in (killed, whole))
        assert one.replace(killed, whole) == other
    assert not list((five_series / killed).rglob("*.tomofilt-part"))


@pytest.mark.parametrize("how", ["asked", "SIGTERM", "SIGHUP"])
def test_abort_and_continue(five_series, monkeypatch, how):
    job = f"External/job_{how}"
    process = start(five_series, job)
    if how == "asked":
        (five_series / job / "RELION_JOB_ABORT_NOW").touch()
    else:
        process.send_signal(getattr(signal, how))
    assert process.wait(timeout=30) == 130
    assert state(five_series / job) == ["RELION_JOB_EXIT_ABORTED"]
    assert 2 <= len(times(five_series / job)) < 15
    assert not list((five_series / job).rglob("*.tomofilt-part"))
    run_to_the_end(five_series, job, monkeypatch)


# --------------------------------------------------------------------------- the stand-in

NATIVE = (
    f"--t {ALIGNED} --o Tomograms/job007/ --w 72 --h 64 --d 32 --binned_angpix 16 --fourier "
    "--ctf_intact_first_peak --do_proj --centre_proj 0 --thickness_proj 10 "
    "--tiltangle_offset -2 --only_do_unfinished --j 1 --pipeline_control Tomograms/job007/"
)


@pytest.fixture
def stand_in(tmp_path_factory, monkeypatch):
    """The folder that `tomofilt relion shim-path` prints, in a place of this test's own."""
    monkeypatch.setattr(sys, "prefix", str(tmp_path_factory.mktemp("prefix")))
    return shim.install()


def test_stand_in_for_relions_program(project, stand_in):
    environment = os.environ | {"PATH": f"{stand_in}{os.pathsep}{os.environ['PATH']}"}
    # a module in the project's folder must not get in the way
    (project / "typing.py").write_text("raise SystemExit('typing.py of the project was loaded')")
    command = f"`which relion_tomo_reconstruct_tomogram` {NATIVE}"
    done = subprocess.run(
        ["sh", "-c", command],
        cwd=project,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "of no meaning to tomofilt: --fourier, --ctf-intact-first-peak\n" in done.stdout
    job = project / "Tomograms/job007"
    assert state(job) == ["RELION_JOB_EXIT_SUCCESS"]
    assert not (job / "RELION_OUTPUT_NODES.star").exists()  # RELION knows its own job's nodes
    table = read_star(job / "tomograms.star")["global"]
    assert table["rlnTomoSizeX"] == ["72"] * 2
    assert table["rlnTomoTomogramBinning"] == ["2.000000"] * 2
    moved = read_star(job / "tilt_series/TS_01.star")["TS_01"]["rlnTomoYTilt"]
    assert moved[0] == "-62.000000"


def test_native_halves_and_single_series(project):
    assert main(["relion", "native", *NATIVE.split(), "--tn", "TS_02"]) == 0
    assert len(times("Tomograms/job007")) == 1
    arguments = NATIVE.replace("job007", "job008").replace("--fourier", "")
    assert main(["relion", "native", *arguments.split(), "--generate_split_tomograms"]) == 0
    assert len(times("Tomograms/job008")) == 6


def test_projections_are_sums_of_slices(project):
    arguments = NATIVE.replace(
        "--centre_proj 0 --thickness_proj 10", "--centre_proj 1 --thickness_proj 4"
    )
    options = [*arguments.split(), "--generate_split_tomograms"]
    assert main(["relion", "native", *options]) == 0
    table = read_star("Tomograms/job007/tomograms.star")["global"]
    for column, half in (
        ("rlnTomogramProjection", ""),
        ("rlnTomogramProjectionHalf1", "_half1"),
        ("rlnTomogramHProjectionalf2", "_half2"),
    ):
        assert table[column] == [
            f"Tomograms/job007/projections/rec_TS_0{i}{half}.mrc" for i in (1, 2)
        ]
        tomogram = MrcStack(Path(f"Tomograms/job007/tomograms/rec_TS_01{half}.mrc"))
        picture = MrcStack(Path(table[column][0]))
        assert (picture.shape[0], picture.pixel_angst) == (1, tomogram.pixel_angst)
        middle = tomogram.shape[0] // 2
        own = sum(tomogram.read(z).astype(float) for z in range(middle - 1, middle + 4))
        np.testing.assert_allclose(picture.read(0), own, rtol=1e-6, atol=1e-6)
    # without it, the next run's table has no such columns
    without = NATIVE.replace("--do_proj --centre_proj 0 --thickness_proj 10 ", "")
    assert main(["relion", "native", *without.split(), "--generate_split_tomograms"]) == 0
    assert "rlnTomogramProjection" not in read_star("Tomograms/job007/tomograms.star")["global"]


def test_foreign_projections_stay(project, capsys):
    folder = project / "Tomograms/job007/projections"
    folder.mkdir(parents=True)
    with mrcfile.new(folder / "rec_TS_01.mrc", np.ones((3, 3), np.float32)):
        pass
    assert main(["relion", "native", *NATIVE.split(), "--tn", "TS_01"]) != 0
    assert "rec_TS_01.mrc exists and tomofilt did not write it" in capsys.readouterr().err
    assert mrcfile.read(folder / "rec_TS_01.mrc").shape == (3, 3)


def test_optimisation_set(project):
    sets = Table({"rlnTomoTomogramsFile": [ALIGNED], "rlnTomoParticlesFile": ["none.star"]})
    write_star(project / "optimisation_set.star", {"optimisation_set": sets}, replace=False)
    arguments = NATIVE.replace(f"--t {ALIGNED}", "--i optimisation_set.star")
    assert main(["relion", "native", *arguments.split(), "--noctf", "--tn", "TS_01"]) == 0
    assert len(times("Tomograms/job007")) == 1


# ------------------------------------------------------------------------------ mpirun


def mpi_command(stand_in, processes, job):
    words = NATIVE.replace("Tomograms/job007", job).split()
    root = ["--allow-run-as-root"] if os.geteuid() == 0 else []
    mpirun = ["mpirun", *root, "--oversubscribe", "-n", str(processes)]
    return [*mpirun, str(stand_in / "relion_tomo_reconstruct_tomogram_mpi"), *words]


@pytest.fixture
def four_series(five_series):
    change(five_series / ALIGNED, "global", first(five_series / ALIGNED, 4))
    return five_series


def first(path, count):
    table = read_star(path)["global"]
    return {name: values[:count] for name, values in table.columns.items()}


@pytest.mark.skipif(shutil.which("mpirun") is None, reason="needs mpirun (openmpi-bin)")
def test_processes_of_mpirun_share_the_series(four_series, stand_in):
    job = four_series / "Tomograms/job007"
    command = mpi_command(stand_in, 3, "Tomograms/job007")
    done = subprocess.run(command, cwd=four_series, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert state(job) == ["RELION_JOB_EXIT_SUCCESS"]
    table = read_star(job / "tomograms.star")["global"]
    assert table["rlnTomoName"] == [f"TS_0{i}" for i in range(1, 5)]
    assert table["rlnTomogramProjection"][3] == "Tomograms/job007/projections/rec_TS_04.mrc"
    assert len(times(job)) == 4
    assert not list(job.glob(".tomofilt*"))
    assert done.stdout.count("(1 of 2)") >= 1  # the first process has two of the four


@pytest.mark.skipif(shutil.which("mpirun") is None, reason="needs mpirun (openmpi-bin)")
def test_a_killed_process_is_made_up_for_by_the_rerun(four_series, stand_in):
    job = four_series / "Tomograms/job008"
    command = mpi_command(stand_in, 3, "Tomograms/job008")
    process = subprocess.Popen(
        command, cwd=four_series, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    one = wait_for_rank(job)
    os.kill(one, signal.SIGKILL)
    assert process.wait(timeout=120) != 0
    assert "RELION_JOB_EXIT_SUCCESS" not in state(job)
    done = subprocess.run(command, cwd=four_series, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert state(job) == ["RELION_JOB_EXIT_SUCCESS"]
    table = read_star(job / "tomograms.star")["global"]
    assert table["rlnTomoName"] == [f"TS_0{i}" for i in range(1, 5)]
    assert not list(job.rglob("*.tomofilt-part"))
    assert not list(job.glob(".tomofilt*"))


def wait_for_rank(job):
    """Process of rank 1, once it works on a series."""
    for _ in range(1200):
        for path in Path("/proc").glob("[0-9]*/environ"):
            try:
                environment = path.read_bytes().split(b"\0")
                command = path.with_name("cmdline").read_bytes()
            except OSError:
                continue
            if b"OMPI_COMM_WORLD_RANK=1" in environment and str(job.name).encode() in command:
                folder = path.with_name("cwd").resolve()
                if folder == job.parents[1] and list(job.glob("tomograms/*.tomofilt-part")):
                    return int(path.parent.name)
        time.sleep(0.05)
    raise AssertionError("no process of rank 1 was seen")


def test_native_without_weighting(project):
    arguments = f"--t {ALIGNED} --o Tomograms/job009/ --d 32 --no_weight --tn TS_01"
    assert main(["relion", "native", *arguments.split()]) == 0
    record = json.loads(Path("Tomograms/job009/tomograms/rec_TS_01.json").read_text())
    assert record["filter"]["spec"] == "none"
    assert record["settings"]["normalise"] == "count"
    tomogram = MrcStack(Path("Tomograms/job009/tomograms/rec_TS_01.mrc"))
    assert abs(np.mean([tomogram.read(z).mean() for z in range(32)])) < 0.2


def test_shim_path_is_printed_and_holds_the_program_alone(stand_in, capsys):
    assert main(["relion", "shim-path"]) == 0
    assert capsys.readouterr().out == f"{stand_in}\n"
    program, for_mpi = sorted(stand_in.iterdir())
    assert program.name == "relion_tomo_reconstruct_tomogram"
    assert for_mpi.name == "relion_tomo_reconstruct_tomogram_mpi"
    assert all(os.access(each, os.X_OK) for each in (program, for_mpi))
    before = program.stat().st_mtime_ns
    assert shim.install() == stand_in
    assert program.stat().st_mtime_ns == before
    program.chmod(0o644)
    shim.install()
    assert os.access(program, os.X_OK)


def test_shim_goes_to_the_cache_where_python_is_not_ours(tmp_path, monkeypatch):
    (tmp_path / "prefix").touch()  # a file: no folder can be made in it, not even by root
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "prefix"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = shim.install()
    assert folder.is_relative_to(tmp_path / "cache" / "tomofilt")
    assert all(os.access(folder / program, os.X_OK) for program in shim.PROGRAMS)


# ----------------------------------------------------------------------- size, walk-through


@pytest.mark.parametrize("version", [5, 4])
def test_a_thousand_series_are_listed_without_reading_them(tmp_path, version):
    """Opening reads the first block of one file: under a second."""
    data = Path(__file__).parents[1] / "data/relion"
    names = [f"TS_{i:04d}" for i in range(1000)]
    source = data / ("relion4_tomograms.star" if version == 4 else ALIGNED)
    blocks = read_star(source)
    row = {name: values[-1] for name, values in blocks["global"].columns.items()}
    columns = {name: [value] * 1000 for name, value in row.items()} | {"rlnTomoName": names}
    big = {"global": Table(columns)}
    if version == 4:
        big |= dict.fromkeys(names, blocks["TS_02"])
    write_star(tmp_path / "set.star", big, replace=False)
    for folder in ("AlignTiltSeries", "MotionCorr"):
        (tmp_path / folder).symlink_to(data / folder)
    script = (
        "from pathlib import Path; from gemmi import cif; parse, calls = cif.read_string, []; "
        "cif.read_string = lambda *a, **k: calls.append(a) or parse(*a, **k); "
        "from tomofilt_relion.project import PROJECT_TYPE; "
        "assert len(PROJECT_TYPE.open(Path('set.star')).names) == 1000; "
        "print(len(calls))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert int(done.stdout) == 1


def test_walk_through(tmp_path, stand_in):
    """The commands of the example's README, as they stand there."""
    commands = re.findall(r"```sh\n(.*?)```", (EXAMPLE / "README.md").read_text(), re.DOTALL)
    assert len(commands) == 4
    shutil.copy(EXAMPLE / "make_project.py", tmp_path)
    tools = tmp_path / "tools"
    tools.mkdir()
    for name, module in (("python", ""), ("tomofilt", "-m tomofilt")):
        (tools / name).write_text(f'#!/bin/sh\nexec {sys.executable} {module} "$@"\n')
        (tools / name).chmod(0o755)
    environment = os.environ | {
        "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}",
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
    }
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", "\n".join(commands)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for job in ("Tomograms/job006", "External/job007", "Tomograms/job008"):
        table = read_star(tmp_path / "project" / job / "tomograms.star")["global"]
        assert table["rlnTomoTomogramBinning"] == ["2.000000"] * 2
        for path in table["rlnTomoReconstructedTomogram"]:
            assert (tmp_path / "project" / path).is_file()
