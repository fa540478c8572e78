"""RELION's command line and its marker files."""

import os
import signal
import threading
from pathlib import Path

import pytest

from tomofilt.errors import InputError, OutputError
from tomofilt.util.signals import stoppable
from tomofilt_relion.job import (
    JobAborted,
    JobControl,
    JobReporter,
    Request,
    control_folder,
    split_labels,
)
from tomofilt_relion.projections import Projection
from tomofilt_relion.ranks import Rank, RankFile, wait_for_others

KNOWN = {
    "--threads": 1,
    "--thickness": 1,
    "--thickness-px": 1,
    "--pixel-size": 1,
    "--binned-angpix": 1,
    "--shape": 3,
    "--filter": 1,
    "--normalise": 1,
    "--projector": 1,
    "--halves": 1,
    "--ctf": 1,
    "--tomogram-name": None,
    "--tn": None,
    "--invert": 0,
    "--only-do-unfinished": 0,
}
EXTERNAL = "--o External/job010/ --in_mics Align/job005/aligned.star"


def read(line):
    return Request.read(split_labels(line.split()), KNOWN)


def test_external_job():
    request = read(f"{EXTERNAL} --thickness 3000 --invert --j 4")
    assert request == Request(
        Path("External/job010"),
        (
            *("--relion-star", "Align/job005/aligned.star", "--output-dir", "External/job010"),
            *("--thickness", "3000", "--invert", "--threads", "4"),
        ),
    )


@pytest.mark.parametrize("name", ["--in_mics", "--in_movies", "--in_tomograms", "--t", "--in-mics"])
def test_names_of_the_input(name):
    assert read(f"--o x/ {name} a.star").options[:2] == ("--relion-star", "a.star")


def test_native_job():
    request = read(
        "--t a.star --o Tomograms/job007/ --w 4000 --h 4100 --d 2000 --binned_angpix 10 --fourier "
        "--ctf_intact_first_peak --SNR 10 --do_proj --centre_proj 0 --thickness_proj 10 "
        "--tiltangle_offset -2 --only_do_unfinished --j 1 --pipeline_control Tomograms/job007/"
    )
    assert request.options[4:] == (
        *("--binned-angpix", "10", "--only-do-unfinished", "--threads", "1"),
        *("--shape", "4000", "4100", "2000"),
    )
    assert request.tilt_offset_deg == -2
    assert request.without_meaning == ("--fourier", "--ctf-intact-first-peak", "--snr")
    assert request.projection == Projection(centre=0, thickness=10)
    assert read("--t a.star --o x/").projection is None


def test_options_that_relions_own_jobs_give_now_and_then():
    request = read("--i optimisation_set.star --o x/ --td 20 --tf 5 --x0 0 --y0 0 --z0 0 --noctf")
    assert request.options == (
        *("--relion-star", "optimisation_set.star", "--output-dir", "x", "--ctf", "none"),
    )
    assert request.without_meaning == ("--td", "--tf")


@pytest.mark.parametrize(
    ("given", "device"), [("", ()), ("0", ("cuda:0",)), ("0:1", ("cuda:0,1",))]
)
def test_gpus(given, device):
    request = Request.read(split_labels(["--t", "a.star", "--o", "x/", "--gpu", given]), KNOWN)
    assert request.options[4:] == (("--device", *device) if device else ())


def test_ctf_is_a_flag_in_relion_and_has_a_value_here():
    assert read("--t a.star --o x/ --ctf --skip_wiener").options[4:] == ("--ctf", "wiener")
    assert read("--t a.star --o x/ --ctf none").options[4:] == ("--ctf", "none")


def test_native_options_with_a_meaning_here():
    request = read("--t a.star --o x/ --tn TS_01 --d 300 --generate_split_tomograms --no_weight")
    assert request.options[4:] == (
        *("--tn", "TS_01", "--halves", "frames"),
        *("--filter", "none", "--normalise", "count", "--projector", "direct"),
        *("--thickness-px", "300"),
    )


def test_values_that_look_like_labels_or_come_in_numbers():
    assert read(f"{EXTERNAL} --thickness=-5 --shape 1 2 3").options[4:] == (
        *("--thickness", "-5", "--shape", "1", "2", "3"),
    )
    assert read(f"{EXTERNAL} --tomogram-name TS_01 TS_02").options[4:] == (
        *("--tomogram-name", "TS_01", "--tomogram-name", "TS_02"),
    )
    assert read(f"{EXTERNAL} -f hann -j 2").options[4:] == ("--filter", "hann", "--threads", "2")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (f"{EXTERNAL} --thicknes 3", r"no option --thicknes\. Did you mean --thickness\? Options"),
        (f"{EXTERNAL} --zzz", r"no option --zzz\. Options: --binned-angpix, .*--ctf, --d, .*--w$"),
        (f"{EXTERNAL} --thickness", "--thickness needs a value"),
        (f"{EXTERNAL} --tomogram-name", "--tomogram-name needs a value"),
        (f"{EXTERNAL} --shape 1 2", "--shape needs 3 values, but '1 2'"),
        (f"{EXTERNAL} --invert Yes", "--invert takes no value, but 'Yes' was given: leave it"),
        (f"{EXTERNAL} --fourier 1", "--fourier takes no value"),
        (f"{EXTERNAL} --w 4000 --d 3", "--w, --h and --d belong together"),
        (f"{EXTERNAL} --tiltangle_offset x", "--tiltangle_offset x is no angle"),
        (f"{EXTERNAL} --t other.star", "two inputs are given"),
        (f"{EXTERNAL} --x0 12", "--x0 12 would move the tomogram"),
        (f"{EXTERNAL} --do_proj --centre_proj x", "--centre_proj x is no number of slices"),
        ("--o External/job010/", "the tilt series are missing"),
        ("--t a.star", "the folder of the job is missing"),
        ("a.star --o x", "'a.star' stands before the first label"),
    ],
)
def test_command_lines_that_cannot_be_meant(line, message):
    with pytest.raises(InputError, match=message):
        read(line)


def test_folder_that_is_watched():
    both = split_labels(["--o", "a/", "--pipeline_control", "b/"])
    assert control_folder(both) == Path("b")
    assert control_folder(both[:1]) == Path("a")
    with pytest.raises(InputError, match="the folder of the job is missing"):
        control_folder(split_labels(["--o"]))


def markers(folder):
    return sorted(path.name.removeprefix("RELION_JOB_") for path in folder.iterdir())


def test_success_replaces_what_an_earlier_run_left(tmp_path):
    (tmp_path / "RELION_JOB_EXIT_FAILURE").touch()
    with JobControl(tmp_path) as control:
        assert markers(tmp_path) == []
        control.succeeded = True
    assert markers(tmp_path) == ["EXIT_SUCCESS"]


def test_failure(tmp_path):
    with JobControl(tmp_path / "new"):
        pass
    assert markers(tmp_path / "new") == ["EXIT_FAILURE"]
    control = JobControl(tmp_path).__enter__()
    control.succeeded = True
    control.__exit__(ValueError, ValueError(), None)
    assert "EXIT_FAILURE" in markers(tmp_path)


def work(folder, meanwhile):
    """A job that would take a minute."""
    with stoppable(), JobControl(folder):
        meanwhile()
        threading.Event().wait(60)


def test_a_request_to_stop_interrupts_whatever_is_done(tmp_path):
    def ask():
        (tmp_path / "RELION_JOB_ABORT_NOW").touch()

    with pytest.raises(JobAborted, match="ABORT_NOW asked the job to stop"):
        work(tmp_path, ask)
    assert markers(tmp_path) == ["EXIT_ABORTED"]


def test_being_killed_is_an_abort_too(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        work(tmp_path, lambda: os.kill(os.getpid(), signal.SIGTERM))
    assert markers(tmp_path) == ["EXIT_ABORTED"]


def test_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"cannot be written.*is it the job's folder"):
        JobControl(tmp_path / "file" / "job").__enter__()


def test_output_nodes(tmp_path):
    JobControl(tmp_path).write_nodes("External/job010/tomograms.star")
    assert (tmp_path / "RELION_OUTPUT_NODES.star").read_text().split() == [
        *("data_output_nodes", "loop_"),
        *("_rlnPipeLineNodeName", "#1", "_rlnPipeLineNodeTypeLabel", "#2"),
        "External/job010/tomograms.star",
        "TomogramGroupMetadata.star.relion.tomo.reconstruct",
    ]


def test_log(capsys, monkeypatch):
    reporter = JobReporter()
    reporter.start("TS_01", 1, 2)
    for done in (10, 300, 350, 800):
        monkeypatch.setattr("time.monotonic", lambda done=done: 1e9 + done)
        reporter.progress(done, 1000)
    assert capsys.readouterr().out.split("\n")[:-1] == [
        "TS_01 (1 of 2): 30%",
        "TS_01 (1 of 2): 80%",
    ]


# ------------------------------------------------------------------------- several processes


@pytest.mark.parametrize(
    ("environment", "rank"),
    [
        ({}, Rank()),
        (
            {
                "OMPI_COMM_WORLD_RANK": "2",
                "OMPI_COMM_WORLD_SIZE": "3",
                "PMIX_NAMESPACE": "12-1",
                "SLURM_PROCID": "0",
                "SLURM_NTASKS": "1",
            },
            Rank(2, 3, "121"),
        ),
        ({"PMI_RANK": "1", "PMI_SIZE": "2"}, Rank(1, 2)),
        ({"SLURM_PROCID": "3", "SLURM_NTASKS": "4", "SLURM_JOB_ID": "77"}, Rank(3, 4, "77")),
        ({"SLURM_JOB_ID": "77"}, Rank()),
    ],
)
def test_rank_from_the_environment(environment, rank):
    assert Rank.from_environment(environment) == rank


def part(folder, rank, succeeded):
    with RankFile(folder, rank) as said, JobControl(folder, rank) as control:
        said.succeeded = control.succeeded = succeeded


@pytest.mark.parametrize(
    ("parts", "state"), [((True, True), "SUCCESS"), ((True, False), "FAILURE")]
)
def test_the_first_process_tells_of_all(tmp_path, parts, state):
    for number, succeeded in enumerate(parts, start=1):
        part(tmp_path, Rank(number, 3, "run"), succeeded)
        assert markers(tmp_path)[0].startswith(".tomofilt_run_rank")
    part(tmp_path, Rank(0, 3, "run"), True)
    assert markers(tmp_path) == [f"EXIT_{state}"]


def test_a_process_that_is_silent_is_taken_for_dead(tmp_path):
    first = Rank(0, 2, "run")
    first.path(tmp_path, 1).write_text("working 3")
    assert not wait_for_others(tmp_path, first, silent_s=0.05)


def test_files_of_a_run_that_was_killed_do_not_stay(tmp_path):
    Rank(1, 2, "old").path(tmp_path).write_text("working 3")
    part(tmp_path, Rank(0, 1, "new"), True)
    assert markers(tmp_path) == ["EXIT_SUCCESS"]
