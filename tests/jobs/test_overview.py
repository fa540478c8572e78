"""The overview: one row a series, the worst first, in files that are tomofilt's own."""

import csv
from dataclasses import replace

import pytest
from strategies_records import a_record

from tomofilt.errors import InputError
from tomofilt.io.record import Flag, write_record
from tomofilt.jobs import overview as module
from tomofilt.jobs.many import Outcome
from tomofilt.jobs.one import Result
from tomofilt.jobs.overview import Overview, records_below
from tomofilt.series.projects import Destination

FLAG = Flag(name="views disagree", sentence="5 of 9 <views> lie apart", mend="align again")


def finished(folder, name, flags=(), seconds=1.0, **output):
    destination = Destination(folder / name / f"{name}.mrc")
    destination.volume.parent.mkdir(exist_ok=True)
    record = a_record(series=name, output={"file": f"{name}.mrc", **output}, flags=flags)
    write_record(destination.record, record)
    return Outcome(name, destination, Result(destination, False, record=record), seconds=seconds)


def table(folder):
    with (folder / "tomofilt_session.csv").open() as file:
        return list(csv.DictReader(file))


def test_the_worst_first(tmp_path):
    page = Overview(tmp_path)
    page.add(finished(tmp_path, "good", seconds=2.0))
    page.add(finished(tmp_path, "odd", (FLAG,)))
    error = InputError("bad: no .xf: make one")
    page.add(Outcome("bad", Destination(tmp_path / "bad.mrc"), error=error))
    path = page.write()
    rows = table(tmp_path)
    assert [(row["series"], row["state"]) for row in rows] == [
        ("bad", "failed"),
        ("odd", "look"),
        ("good", "ok"),
    ]
    assert rows[0]["message"] == "no .xf: make one"
    assert rows[1]["flags"] == "views disagree"
    assert rows[1]["message"] == "5 of 9 <views> lie apart: align again."
    assert (rows[2]["x"], rows[2]["box_angst"], rows[2]["seconds"]) == ("44", "256.0", "2.0")
    html = path.read_text()
    assert html.index("no .xf") < html.index("5 of 9 &lt;views&gt;") < html.index("good/good.mrc")


def test_a_finished_one_keeps_the_time_of_making_it(tmp_path):
    page, done = Overview(tmp_path), finished(tmp_path, "TS", seconds=99.0)
    page.add(replace(done, result=replace(done.result, skipped=True)))
    page.write()
    made = sum(done.result.record.seconds.values())
    assert float(table(tmp_path)[0]["seconds"]) == pytest.approx(made, abs=0.05)


def test_what_failed_and_is_done_now_has_one_row(tmp_path):
    page, done = Overview(tmp_path), finished(tmp_path, "TS")
    page.add(Outcome("TS", done.destination, error=InputError("no")))
    page.add(done)
    page.write()
    assert [row["state"] for row in table(tmp_path)] == ["ok"]


def test_it_is_made_again_from_the_records(tmp_path):
    for name in ("a", "b"):
        finished(tmp_path, name)
    (tmp_path / "other.json").write_text("{}")
    found = records_below(tmp_path)
    assert [record.series for record, _ in found] == ["a", "b"]
    with pytest.raises(InputError, match="no such folder"):
        records_below(tmp_path / "absent")


def test_other_peoples_files_stay(tmp_path, caplog):
    (tmp_path / "tomofilt_session.html").write_text("mine")
    page = Overview(tmp_path)
    page.add(finished(tmp_path, "TS"))
    assert page.write() is None
    assert page.write() is None
    assert caplog.text.count("tomofilt did not make it") == 1
    assert (tmp_path / "tomofilt_session.html").read_text() == "mine"


def test_the_table_of_an_earlier_version_is_replaced(tmp_path):
    (tmp_path / "tomofilt_session.csv").write_text("series,state,flags,halves_agree\n")
    page = Overview(tmp_path)
    page.add(finished(tmp_path, "TS"))
    assert page.write() is not None


def test_not_more_often_than_every_ten_seconds(tmp_path, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    page, times = Overview(tmp_path), []
    page.add(finished(tmp_path, "TS"))
    monkeypatch.setattr(
        module, "sorted", lambda *_, **__: times.append(now[0]) or [], raising=False
    )
    for now[0] in (100.0, 101.0, 109.0, 110.5, 111.0):
        page.write_now_and_then()
    assert times == [100.0, 110.5]


def test_the_picture_comes_from_the_preview(tmp_path):
    from PIL import Image

    outcome = finished(tmp_path, "TS")
    Image.new("RGB", (900, 900), "white").save(outcome.destination.preview)
    page = Overview(tmp_path)
    page.add(outcome)
    assert "data:image/jpeg;base64," in page.write().read_text()


def test_a_picture_is_made_once_for_each_content(tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(
        module,
        "_thumbnail",
        lambda preview, _: made.append(preview.stem) or "data:image/jpeg;base64,AAAA",
    )
    for data in ("a", "a", "b"):
        page = Overview(tmp_path)
        page.add(finished(tmp_path, "TS", data=data))
        assert 'src="data:image/jpeg;base64,AAAA"' in page.write().read_text()
    assert made == ["TS", "TS"]
