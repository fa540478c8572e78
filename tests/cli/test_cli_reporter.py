"""A log gets few lines of progress, a terminal gets a bar."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from tomofilt.cli import reporter as reporter_module
from tomofilt.cli.reporter import ConsoleReporter
from tomofilt.jobs.many import Outcome
from tomofilt.jobs.one import Result
from tomofilt.series.projects import Destination


@pytest.fixture
def clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(reporter_module.time, "monotonic", lambda: now[0])
    return now


def report(clock, seconds_per_permille, *, terminal=False, quiet=False):
    reporter = ConsoleReporter(quiet=quiet)
    text = io.StringIO()
    reporter.console = Console(file=text, force_terminal=terminal, width=100, markup=False)
    destination = Destination(Path("TS_01_rec.mrc"))
    with reporter:
        reporter.start("TS_01", 1, 2)
        for done in range(1001):
            reporter.progress(done, 1000)
            clock[0] += seconds_per_permille
        reporter.finish(Outcome("TS_01", destination, result=Result(destination, False)))
    return text.getvalue()


def test_a_quick_series_has_no_lines_of_progress(clock):
    assert report(clock, 0.005) == "TS_01: done in 5.0 s\n"


def test_not_more_than_one_line_every_ten_seconds(clock):
    lines = report(clock, 0.03).splitlines()
    assert [line for line in lines if "%" in line] == [
        "TS_01 (1 of 2): 33% after 10 s",
        "TS_01 (1 of 2): 67% after 20 s",
    ]


def test_not_more_than_one_line_every_tenth(clock):
    lines = [line for line in report(clock, 10.0).splitlines() if "%" in line]
    assert [line.split()[4] for line in lines] == [f"{10 * i}%" for i in range(1, 10)]


def test_a_terminal_gets_a_bar_and_no_lines(clock):
    text = report(clock, 0.03, terminal=True)
    assert "after 10 s" not in text
    assert "━" in text


def test_quiet_is_quiet(clock):
    assert report(clock, 10.0, terminal=True, quiet=True) == ""
