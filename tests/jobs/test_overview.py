"""The overview: one row a series, the worst first, in files that are tomofilt's own."""

import csv

import pytest
from strategies_records import a_record

from tomofilt.errors import InputError
from tomofilt.io.record import Flag, write_record
from tomofilt.jobs import overview as module
from tomofilt.jobs.overview import Overview, records_below
from tomofilt.series.projects import Destination

FLAG = Flag(name="views disagree", sentence="5 of 9 <views> lie apart", mend="align again")


def finished(folder, name, flags=()):
    destination = Destination(folder / name / f"{name}.mrc")
    destination.volume.parent.mkdir(exist_ok=True)
    record = a_record(series=name, output={"file": f"{name}.mrc"}, flags=flags)
    write_record(destination.record, record)
    return destination


def table(folder):
    with (folder / "tomofilt_session.csv").open() as file:
        return list(csv.DictReader(file))


def test_the_worst_first(tmp_path):
    page = Overview(tmp_path)
    page.add("good", finished(tmp_path, "good"), None, 2.0)
    page.add("odd", finished(tmp_path, "odd", (FLAG,)), None, 3.0)
    page.add("bad", Destination(tmp_path / "bad.mrc"), InputError("bad: no .xf: make one"), 1.0)
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


def test_what_failed_and_is_done_now_has_one_row(tmp_path):
    page, destination = Overview(tmp_path), finished(tmp_path, "TS")
    page.add("TS", destination, InputError("no"), 1.0)
    page.add("TS", destination, None, 1.0)
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
    page.add("TS", finished(tmp_path, "TS"), None, 1.0)
    assert page.write() is None
    assert "tomofilt did not make it" in caplog.text
    assert (tmp_path / "tomofilt_session.html").read_text() == "mine"


def test_not_more_often_than_every_ten_seconds(tmp_path, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    page, times = Overview(tmp_path), []
    page.add("TS", finished(tmp_path, "TS"), None, 1.0)
    monkeypatch.setattr(
        module, "sorted", lambda *_, **__: times.append(now[0]) or [], raising=False
    )
    for now[0] in (100.0, 101.0, 109.0, 110.5, 111.0):
        page.write_now_and_then()
    assert times == [100.0, 110.5]


def test_the_picture_comes_from_the_preview(tmp_path):
    from PIL import Image

    destination = finished(tmp_path, "TS")
    Image.new("RGB", (900, 900), "white").save(destination.preview)
    page = Overview(tmp_path)
    page.add("TS", destination, None, 1.0)
    assert "data:image/jpeg;base64," in page.write().read_text()
