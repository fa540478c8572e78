"""A log gets few lines of progress, a terminal gets a bar."""

import io
from pathlib import Path

import pytest
from rich.console import Console
from strategies_records import a_record

from tomofilt.cli import reporter as reporter_module
from tomofilt.cli.reporter import ConsoleReporter
from tomofilt.io.record import Flag
from tomofilt.jobs.many import Outcome
from tomofilt.jobs.one import Result
from tomofilt.series.projects import Destination


@pytest.fixture
def clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(reporter_module.time, "monotonic", lambda: now[0])
    return now


def report(clock, seconds_per_permille, *, terminal=False, quiet=False, count=1, flags=()):
    reporter = ConsoleReporter(quiet=quiet)
    text = io.StringIO()
    reporter.console = Console(file=text, force_terminal=terminal, width=100, markup=False)
    destination = Destination(Path("TS_01_rec.mrc"))
    record = a_record(flags=flags)
    with reporter:
        reporter.start("TS_01", 1, count)
        for done in range(1001):
            reporter.progress(done, 1000)
            clock[0] += seconds_per_permille
        reporter.finish(
            Outcome("TS_01", destination, Result(destination, False, record=record), seconds=5.0)
        )
    return text.getvalue()


def test_a_quick_series_has_no_lines_of_progress(clock):
    assert report(clock, 0.005) == "TS_01: 44 x 38 x 16 at 16 A, 5.0 s, OK\n"


def test_not_more_than_one_line_every_ten_seconds(clock):
    lines = report(clock, 0.03).splitlines()
    assert [line for line in lines if "%" in line] == [
        "TS_01: 33% after 10 s",
        "TS_01: 67% after 20 s",
    ]


def test_not_more_than_one_line_every_tenth(clock):
    lines = [line for line in report(clock, 10.0).splitlines() if "%" in line]
    assert [line.split()[1] for line in lines] == [f"{10 * i}%" for i in range(1, 10)]


def test_a_terminal_gets_a_bar_and_no_lines(clock):
    text = report(clock, 0.03, terminal=True)
    assert "after 10 s" not in text
    assert "━" in text


def test_quiet_is_quiet(clock):
    assert report(clock, 10.0, terminal=True, quiet=True) == ""


FLAG = Flag(name="views disagree", sentence="5 of 9 views lie apart", mend="align again")


def test_a_flag_is_in_the_line_and_of_a_single_series_with_its_mend(clock):
    assert report(clock, 0.005, flags=(FLAG,)).splitlines() == [
        "TS_01: 44 x 38 x 16 at 16 A, 5.0 s, look: views disagree",
        "  5 of 9 views lie apart: align again",
    ]


def test_a_batch_has_one_line_a_series(clock):
    assert report(clock, 10.0, count=2, flags=(FLAG,)).splitlines() == [
        "TS_01: 44 x 38 x 16 at 16 A, 5.0 s, look: views disagree"
    ]


def test_a_batch_has_a_bar_of_its_own(clock):
    text = report(clock, 0.1, terminal=True, count=2)
    assert "series 1 of 2" in text
