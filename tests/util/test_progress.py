"""Shares of work whose parts count in units of their own."""

import pytest

from tomofilt.util.progress import Progress


@pytest.fixture
def told():
    return []


def test_units_become_shares(told):
    progress = Progress(told.append, 4)
    progress.advance()
    progress.advance(2)
    progress.advance(3)  # more than there was to do
    assert told == [0.25, 0.75, 1.0]


def test_a_part_has_units_of_its_own(told):
    progress = Progress(told.append, 10)
    progress.advance(2)
    with progress.part(8, total=4) as part:
        for _ in range(4):
            part.advance()
    assert told == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])


def test_what_a_part_did_not_need_makes_the_whole_smaller(told):
    progress = Progress(told.append, 10)
    with progress.part(5, total=10) as part:
        part.advance(2)
    progress.advance(1)
    progress.finish()
    # 1 of 10 done; then 4 fewer to do
    assert told == pytest.approx([0.1, 2 / 6, 1.0])


def test_parts_within_parts(told):
    progress = Progress(told.append)
    with progress.part(0.5) as half:
        for _ in range(2):
            with half.part(0.5, total=5) as quarter:
                quarter.advance(5)
    assert told == pytest.approx([0.25, 0.5])


def test_no_work_is_done(told):
    Progress(told.append, 0).finish()
    assert told == [1.0]
