"""The command line above fake projects and, unless asked for, a fake reconstruction."""

import pytest
from strategies_projects import FakeProject
from strategies_records import a_record

from tomofilt.cli.app import main
from tomofilt.errors import MissingFileError
from tomofilt.jobs import many as batch
from tomofilt.jobs.one import Result
from tomofilt.series import projects


class Stage:
    """What the command line opened and asked for."""

    def __init__(self):
        self.names = ["TS_01"]
        self.opened, self.calls = [], []
        self.work = lambda series, destination, settings, tell: None

    def open(self, kind, path):
        if "absent" in str(path):
            raise MissingFileError(f"{path}: there is no such folder")
        names = [path.name] if kind == "imod" else self.names
        project = FakeProject(names, path)
        self.opened.append((kind, path, project))
        return project

    def reconstruct(self, series, destination, settings, tell):
        self.calls.append((series.name, destination, settings))
        self.work(series, destination, settings, tell)
        seconds = {"align": 1.5, "filter": 0.25, "back-project": 2.0, "write": 0.25}
        return Result(destination, False, seconds, a_record())

    @property
    def settings(self):
        return self.calls[-1][2]


@pytest.fixture
def stage(monkeypatch, tmp_path):
    stage = Stage()
    monkeypatch.chdir(tmp_path)  # overviews are written where results would be

    class Kind:
        def __init__(self, name):
            self.name = name

        def open(self, path):
            return stage.open(self.name, path)

    monkeypatch.setattr(projects, "project_type", Kind)
    monkeypatch.setattr(projects, "detect", Kind("detected").open)
    monkeypatch.setattr(batch, "reconstruct", stage.reconstruct)
    monkeypatch.delenv("TOMOFILT_DEBUG", raising=False)
    monkeypatch.setenv("COLUMNS", "120")
    return stage


@pytest.fixture
def call(capsys):
    """Run a command line; its exit code, standard output and standard error."""

    def call(*arguments):
        code = main([str(argument) for argument in arguments])
        output = capsys.readouterr()
        return code, output.out, output.err

    return call


@pytest.fixture
def run(stage, call):
    """Run a command line above the fake projects."""
    return call
