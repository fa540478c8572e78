"""Which flags a record raises, at both sides of each threshold."""

from dataclasses import replace

import pytest
from msgspec import structs
from strategies_projects import tilt_series
from strategies_records import FILTER, a_record

from tomofilt.io.record import View
from tomofilt.jobs.flags import flags_of

GOOD = {
    "pairs": 40,
    "matching": 38,
    "shifted": 2,
    "median_shift_px": 5.0,
    "pixel_angst": 16.0,
    "all_together": 50.0,
    "unevenness": 0.05,
    "views_apart_angst": {},
    "views_unlike": [],
}


def record(neighbours=(), *, factors=(1.0,) * 20, changes=(), **measured):
    found = {
        "from": "neighbouring views",
        "has_signal": True,
        "specimen_thickness_angst": 200.0,
        "specimen_height_angst": 10.0,
        "spots": 0.01,
        "snr": {"factor": list(factors)},
        "neighbours": GOOD | dict(neighbours),
    }
    views = tuple(
        View(image=i + 3, tilt_deg=3.0 * i, image_from_volume=((1.0, 0, 0, 0), (0, 1.0, 0, 0)))
        for i in range(20)
    )
    applied = structs.replace(FILTER, measured=found | measured)
    return a_record(filter=applied, views=views, **dict(changes))


def names(made, **changes):
    return [flag.name for flag in flags_of(made, tilt_series(**changes))]


def test_a_good_series_has_none():
    assert names(record()) == []  # 256 A of box


@pytest.mark.parametrize(
    ("neighbours", "name"),
    [
        ({"shifted": 10, "matching": 30}, "views disagree"),
        ({"all_together": 7.0}, "views have nothing in common"),
        ({"unevenness": 0.5}, "neighbours are unlike"),
        ({"views_unlike": [4]}, "single views unlike"),
        ({"views_apart_angst": {"4": 90.0}}, "single views apart"),
    ],
)
def test_neighbours(neighbours, name):
    assert names(record(neighbours)) == [name]


@pytest.mark.parametrize(
    "neighbours",
    [
        {"shifted": 7, "matching": 33},
        {"shifted": 2, "matching": 2},
        {"all_together": 9.0},
        {"unevenness": 0.3},
    ],
)
def test_neighbours_that_pass(neighbours):
    assert names(record(neighbours)) == []


def test_the_worst_of_the_neighbours_alone_is_said_and_no_thickness_with_it():
    spoiled = record(
        {"shifted": 30, "matching": 2, "unevenness": 1.0}, specimen_thickness_angst=900.0
    )
    assert names(spoiled) == ["views disagree"]


def test_the_tilt_axis():
    [flag] = flags_of(
        record(tilt_axis={"off_deg": -4.3, "gain": 60.0, "share": 0.02}), tilt_series()
    )
    assert flag.name == "tilt axis off"
    assert "about 4 degrees" in flag.sentence
    assert names(record(tilt_axis={"off_deg": -4.3, "gain": 15.0, "share": 0.02})) == []
    assert names(record(tilt_axis={"off_deg": -4.3, "gain": 60.0, "share": 0.002})) == []


def test_the_box():
    [flag] = flags_of(record(specimen_thickness_angst=290.0), tilt_series())
    assert flag.name == "specimen thicker than the box"
    assert flag.sentence.startswith("the specimen is 290 A thick, the tomogram 256 A: 27 A are cut")
    assert flag.mend == "--thickness 400"
    guessed = {"from": "neighbouring views; the thickness is the tomogram's"}
    assert names(record(specimen_thickness_angst=290.0, **guessed)) == []
    assert names(record(specimen_height_angst=-50.0)) == ["specimen off the middle"]
    assert names(record(specimen_height_angst=-35.0)) == []


def test_little_thicker_than_the_box_counts_if_it_is_off_the_middle_too():
    thick = {"specimen_thickness_angst": 272.0}
    assert names(record(**thick, specimen_height_angst=3.0)) == []
    found = names(record(**thick, specimen_height_angst=-14.0))
    assert found == ["specimen thicker than the box"]


def test_views_without_weight():
    [flag] = flags_of(record(factors=[0.0] * 3 + [1.0] * 17), tilt_series())
    assert flag.name == "views without weight"
    assert flag.mend.endswith("--exclude 3,4,5")
    assert names(record(factors=[0.0] * 2 + [1.0] * 18)) == []


def test_what_is_said_of_images():
    assert names(record(changes={"blank": (4,)})) == ["blank views"]
    note = ("TS.mdoc says 2 A per pixel, but the header 1 A; give --input-pixel-size if so",)
    assert names(record(changes={"notes": note})) == ["pixel size in doubt"]
    assert names(record(spots=0.3)) == ["contrast in spots"]
    assert names(record(), halves_refused="TS_EVN.mrc has 40 images") == ["halves not used"]


def test_views_that_miss_the_tomogram():
    series = tilt_series()
    maps = series.geometry.image_from_volume.copy()
    maps[1, :, 3] = 1e5
    lost = replace(series, geometry=replace(series.geometry, image_from_volume=maps))
    [flag] = flags_of(record(), lost)
    assert flag.name == "views miss the tomogram"
    assert "1 of 4 views" in flag.sentence
    assert str(int(lost.views[1]) + 1) in flag.sentence


def test_another_filter_measures_nothing_and_raises_nothing():
    assert names(a_record()) == []
