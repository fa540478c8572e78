"""A log gets few lines of progress, a terminal gets a bar."""

import io
from pathlib import Path

import pytest
from rich.console import Console
from strategies_records import a_record

from tomofilt.cli import reporter as reporter_module
from tomofilt.cli.reporter import ConsoleReporter
from tomofilt.io.record import Denoising, Flag
from tomofilt.jobs.many import Outcome
from tomofilt.jobs.one import Result
from tomofilt.series.projects import Destination


@pytest.fixture
def clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(reporter_module.time, "monotonic", lambda: now[0])
    return now


def report(clock, seconds_per_permille, *, terminal=False, quiet=False, count=1, **facts):
    reporter = ConsoleReporter(quiet=quiet)
    text = io.StringIO()
    reporter.console = Console(file=text, force_terminal=terminal, width=100, markup=False)
    destination = Destination(Path("TS_01_rec.mrc"))
    record = a_record(**facts)
    with reporter:
        reporter.start("TS_01", 1, count)
        for done in range(1001):
            reporter.progress(done, 1000)
            clock[0] += seconds_per_permille
        result = Result(destination, False, record=record)
        reporter.finish(Outcome("TS_01", destination, result, seconds=5.0, flags=record.flags))
    return text.getvalue()


def test_a_quick_series_has_no_lines_of_progress(clock):
    assert report(clock, 0.005) == "TS_01: 44 x 38 x 16 at 16 A, 5.0 s, OK\n"


@pytest.mark.parametrize(("refused", "said"), [(None, "denoised"), ("because", "not denoised")])
def test_what_became_of_denoising(clock, refused, said):
    denoising = Denoising(fingerprint="", refused=refused, measured={})
    text = report(clock, 0.005, denoising=denoising)
    assert text == f"TS_01: 44 x 38 x 16 at 16 A, {said}, 5.0 s, OK\n"


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


class TestTimeLeft:
    """What the bars say of the time left, at a clock that goes as the work does."""

    @pytest.fixture
    def reporter(self, clock):
        reporter = ConsoleReporter()
        reporter.console = Console(file=io.StringIO(), force_terminal=True, width=100)
        with reporter:
            yield reporter

    def left(self, reporter, clock):
        """Seconds left of the batch and of the series, where they are known."""
        tasks = reporter._bars.tasks
        ends = [task.fields["ends_at"] for task in tasks]
        return [None if end is None else end - clock[0] for end in ends]

    def work(self, reporter, clock, number, seconds, skipped=False, until=1.0):
        reporter.start(f"TS_{number}", number, 10)
        for step in range(round(100 * until)):
            clock[0] += seconds / 100
            reporter.progress(step + 1, 100)
        if until == 1.0:
            destination = Destination(Path("TS_rec.mrc"))
            reporter.finish(Outcome(f"TS_{number}", destination, Result(destination, skipped)))

    def test_it_is_what_the_rest_takes_at_this_pace(self, reporter, clock):
        clock[0] = 1000.0
        self.work(reporter, clock, 1, 20.0, until=0.25)
        assert self.left(reporter, clock) == pytest.approx([195.0, 15.0])

    def test_series_that_were_finished_do_not_count(self, reporter, clock):
        for number in range(1, 6):
            self.work(reporter, clock, number, 0.5, skipped=True)
        assert self.left(reporter, clock) == [None]
        self.work(reporter, clock, 6, 60.0)
        assert self.left(reporter, clock) == pytest.approx([240.0])
        self.work(reporter, clock, 7, 60.0, until=0.5)
        assert self.left(reporter, clock) == pytest.approx([210.0, 30.0])

    def test_it_counts_down_while_nothing_is_heard(self, reporter, clock):
        self.work(reporter, clock, 1, 20.0, until=0.5)
        column = reporter._bars.columns[-1]
        texts = []
        for _ in range(3):
            texts.append(str(column.render(reporter._bars.tasks[-1])))
            clock[0] += 6.0
        assert texts == ["0:10 left", "0:04 left", "0:00 left"]
