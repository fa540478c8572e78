"""One failure does not stop the others; projects are told last; exit codes."""

from pathlib import Path

import pytest
from strategies_projects import FakeProject

from tomofilt.errors import InputError, MissingFileError, OutputError, ResourceError
from tomofilt.jobs import many as batch
from tomofilt.jobs.many import Job, exit_code, explain
from tomofilt.jobs.one import Result
from tomofilt.reconstruction.settings import Settings
from tomofilt.series.projects import SeriesOptions


class Listener:
    def __init__(self):
        self.heard = []

    def start(self, name, number, count):
        self.heard.append(("start", name, number, count))

    def finish(self, outcome):
        self.heard.append(("finish", outcome.name))

    def progress(self, done, total):
        self.heard.append(("progress", done, total))


@pytest.fixture
def engine(monkeypatch, tmp_path):
    """Stands in for reconstruct(): keeps its calls, fails where it is told to."""
    monkeypatch.chdir(tmp_path)  # overviews are written where results would be
    calls, failures = [], {}

    def reconstruct(series, destination, settings, tell):
        calls.append((series.name, destination.volume, settings))
        if series.name in failures:
            raise failures[series.name]
        return Result(destination, skipped=series.name == "done before")

    monkeypatch.setattr(batch, "reconstruct", reconstruct)
    reconstruct.calls, reconstruct.failures = calls, failures
    return reconstruct


def jobs_of(project, output_dir=None, **options):
    return [Job(project, name, output_dir, SeriesOptions(**options)) for name in project.names]


def test_all_go_well(engine):
    project, listener = FakeProject(["TS_01", "done before"]), Listener()
    settings = Settings(bin=4)
    summary = batch.run(jobs_of(project, exclude=(3,)), settings, listener)

    assert summary.exit_code == 0
    assert engine.calls == [
        (name, Path(f"data/{name}_rec.mrc"), settings) for name in project.names
    ]
    assert project.read_with == {key: SeriesOptions(exclude=(3,)) for key in project.names}
    assert listener.heard == [
        ("start", "TS_01", 1, 2),
        ("finish", "TS_01"),
        ("start", "done before", 2, 2),
        ("finish", "done before"),
    ]
    # what was finished before belongs to the project's list just as well
    [(finished, output_dir)] = project.committed
    assert list(finished) == list(project.names)
    assert output_dir is None


def test_a_failure_does_not_stop_the_others(engine):
    project = FakeProject(["bad_1", "TS_02", "TS_03", "TS_04"])
    engine.failures["TS_03"] = ZeroDivisionError("nobody foresaw this")
    summary = batch.run(jobs_of(project, Path("out")), Settings(), Listener())

    assert [type(outcome.error) for outcome in summary.outcomes] == [
        InputError,
        type(None),
        ZeroDivisionError,
        type(None),
    ]
    assert summary.exit_code == 1
    [(finished, output_dir)] = project.committed
    assert list(finished) == ["TS_02", "TS_04"]
    assert finished["TS_02"].volume == Path("out/TS_02_rec.mrc")
    assert output_dir == Path("out")


def test_each_project_is_told_of_its_own(engine):
    projects = [FakeProject(["a"]), FakeProject(["b"], Path("elsewhere"))]
    batch.run([job for project in projects for job in jobs_of(project)], Settings(), Listener())
    assert [list(p.committed[0][0]) for p in projects] == [["a"], ["b"]]


def test_nothing_finished_tells_nobody(engine):
    project = FakeProject(["bad"])
    assert batch.run(jobs_of(project), Settings(), Listener()).exit_code == 2
    assert project.committed == []


def test_a_project_that_cannot_be_told(engine):
    first, second = FakeProject(["a"]), FakeProject(["b"], Path("elsewhere"))

    def refuse(finished, output_dir):
        raise OutputError("tomograms.star cannot be written: the disk is full")

    first.commit = refuse
    summary = batch.run([*jobs_of(first), *jobs_of(second)], Settings(), Listener())
    assert [str(error) for error in summary.commit_errors] == [
        "tomograms.star cannot be written: the disk is full"
    ]
    assert summary.exit_code == 2
    assert list(second.committed[0][0]) == ["b"]


def test_interruption_stops_at_once(engine):
    project = FakeProject(["TS_01", "TS_02", "TS_03"])
    engine.failures["TS_02"] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        batch.run(jobs_of(project), Settings(), Listener())
    assert [name for name, _, _ in engine.calls] == ["TS_01", "TS_02"]
    assert project.committed == []


def test_two_series_of_one_name_do_not_share_a_result(engine):
    twins = [FakeProject(["TS_01"], Path("a")), FakeProject(["TS_01"], Path("b"))]
    jobs = [job for project in twins for job in jobs_of(project, Path("out"))]
    summary = batch.run(jobs, Settings(), Listener())
    assert [outcome.error is None for outcome in summary.outcomes] == [True, False]
    assert "out/TS_01_rec.mrc is already the result" in str(summary.outcomes[1].error)
    assert len(engine.calls) == 1


def test_plan_works_out_and_does_nothing(engine, tmp_path):
    project = FakeProject(["TS_01", "bad"], tmp_path)
    summary = batch.plan(jobs_of(project), Settings(bin=2), Listener())
    good, bad = summary.outcomes
    assert good.plan is not None
    assert good.plan.problem.grid.shape == (6, 15, 20)
    assert isinstance(bad.error, InputError)
    assert summary.exit_code == 1
    assert engine.calls == []
    assert project.committed == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("errors", "code"),
    [
        ([], 0),
        ([None, None], 0),
        ([None, InputError("x")], 1),
        ([None, ResourceError("x")], 1),
        ([InputError("x")], 2),
        ([InputError("x"), MissingFileError("y"), PermissionError(13, "denied")], 2),
        ([ResourceError("x"), MemoryError()], 3),
        ([InputError("x"), ResourceError("y")], 1),
        ([ZeroDivisionError()], 1),
    ],
)
def test_exit_codes(errors, code):
    assert exit_code(errors) == code


def test_messages():
    assert explain(MissingFileError("TS_01.xf is not there")) == ("TS_01.xf is not there", 2)
    message, code = explain(KeyError("rlnTomoName"))
    assert code == 1
    assert "KeyError: 'rlnTomoName'" in message
    assert "bug in tomofilt" in message
    assert "--max-memory" in explain(MemoryError())[0]
