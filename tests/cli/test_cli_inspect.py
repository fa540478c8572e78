"""`tomofilt inspect` shows what would be used, read back from the view maps."""

import json

import numpy as np
import pytest
from strategies_projects import FakeProject, tilt_series

from tomofilt.cli.inspect import describe
from tomofilt.series.geometry import LocalGeometry, TiltGeometry
from tomofilt.series.projects import SeriesOptions


def test_views_are_those_the_geometry_was_made_from():
    views = describe(tilt_series())["views"]
    assert [view["index"] for view in views] == [1, 2, 3, 4, 5]
    assert [view["used"] for view in views] == [True, False, True, True, True]
    used = [view for view in views if view["used"]]
    assert [view["tilt_deg"] for view in used] == [-20.0, 10.0, 25.0, 40.0]
    for i, view in enumerate(used):
        assert view["rotation_deg"] == 85.0
        assert view["xtilt_deg"] == 3.0
        assert (view["shift_x_angst"], view["shift_y_angst"]) == (2 * i, 2 * i + 1)
        assert view["scale"] == 1.0
        assert view["dose_e_per_a2"] == 3.0 * i
    assert views[1] == {"index": 2, "used": False}


def test_magnification_is_told_from_tilt():
    maps = tilt_series().geometry.image_from_volume.copy()
    maps[:, :, :3] *= 1.02
    views = describe(tilt_series(geometry=TiltGeometry(maps)))["views"]
    used = [view for view in views if view["used"]]
    assert [view["tilt_deg"] for view in used] == [-20.0, 10.0, 25.0, 40.0]
    assert [view["scale"] for view in used] == pytest.approx([1.02] * 4)


def test_json_holds_everything(stage, run):
    stage.names = ["TS_01", "TS_02"]
    code, out, err = run("inspect", "t.star", "--json", "--exclude", "2")
    assert (code, err) == (0, "")
    first, second = json.loads(out)["series"]
    assert second["name"] == "TS_02"
    assert first["images"] == {
        "count": 5,
        "size_px": [40, 30],
        "pixel_angst": 10.0,
        "files": ["blank.mrc"],
    }
    assert first["tomogram"]["size_px"] == [40, 30, 12]
    assert first["tomogram"]["thickness_angst"] == 120.0
    assert first["facts"] == {"thickness_px": {"value": 12, "source": "tilt.com THICKNESS"}}
    assert first["notes"] == ["nothing was found amiss"]
    assert first["files"] == ["blank.mrc", "tilt.com"]
    assert first["halves"] == []
    assert len(first["views"]) == 5
    assert stage.opened[0][2].read_with["TS_01"] == SeriesOptions(exclude=(2,))


def test_text(stage, run):
    code, out, _ = run("inspect", "TS_01")
    assert code == 0
    assert "images     5 of 40 x 30 px, 10 A/px" in out
    assert "views      4 used, 1 excluded; tilt -20.0 to 40.0 deg" in out
    assert "tomogram   40 x 30 x 12 px (x, y, z), 10 A/px, 120 A thick" in out
    rows = [line.split() for line in out.splitlines()]
    assert ["1", "-20.00", "85.00", "0.0", "1.0", "3.00", "0.0"] in rows
    assert ["2", "excluded"] in rows
    assert ["thickness_px", "12", "tilt.com", "THICKNESS"] in rows
    assert ["note", "nothing", "was", "found", "amiss"] in rows


def test_local_alignment_is_told(stage, run, monkeypatch):
    series = tilt_series()
    maps = np.broadcast_to(series.geometry.image_from_volume[:, None, None], (4, 2, 3, 2, 4))
    local = LocalGeometry(np.arange(3.0), np.arange(2.0), maps.copy())
    geometry = TiltGeometry(series.geometry.image_from_volume, local)
    monkeypatch.setattr(
        FakeProject, "read", lambda self, name, options: tilt_series(geometry=geometry)
    )
    assert "alignment in 3 x 2 patches" in run("inspect", "TS_01")[1]


def test_one_that_cannot_be_read_does_not_hide_the_others(stage, run):
    stage.names = ["bad", "TS_02"]
    code, out, err = run("inspect", "t.star")
    assert code == 1
    assert "TS_02" in out
    assert "bad.tlt has 41 angles but bad.xf has 40 transforms" in err
    stage.names = ["bad"]
    code, _, err = run("inspect", "t.star")
    assert code == 2
    assert "bad.tlt has 41 angles" in err


def test_only_the_named(stage, run):
    stage.names = ["TS_01", "TS_02"]
    _, out, _ = run("inspect", "t.star", "--tn", "TS_02", "--json")
    assert [series["name"] for series in json.loads(out)["series"]] == ["TS_02"]
    code, _, err = run("inspect", "t.star", "--tn", "TS_2")
    assert code == 2
    assert "--tomogram-name TS_2: there is no series of this name among 2; there is TS_02" in err
