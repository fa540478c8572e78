"""A record is read as it was written, or is one clear error."""

import json

import numpy as np
import pytest
from strategies_records import a_record

from tomofilt.errors import InputError
from tomofilt.io.record import (
    Denoising,
    Fact,
    is_record,
    read_record,
    record_as_json,
    write_record,
)


def test_written_and_read_again(tmp_path):
    told = Denoising(fingerprint="1", refused=None, measured={"seed": 0, "gain": 0.25})
    record = a_record(denoising=told, applied={"axis": Fact(value=85.5, source="tilt.com")})
    path = tmp_path / "rec.json"
    write_record(path, record)
    assert read_record(path) == record
    assert json.loads(path.read_text()) == json.loads(json.dumps(record_as_json(record)))
    assert path.read_text().startswith('{\n "program": "tomofilt",')


def test_numbers_and_paths_of_other_kinds(tmp_path):
    facts = {
        "size": Fact(value=np.array([3, 4]), source=""),
        "n": Fact(value=np.int64(7), source=""),
        "file": Fact(value=tmp_path, source=""),
    }
    write_record(tmp_path / "rec.json", a_record(applied=facts))
    read = read_record(tmp_path / "rec.json")
    assert [fact.value for fact in read.applied.values()] == [[3, 4], 7, str(tmp_path)]


@pytest.mark.parametrize(
    ("change", "place"),
    [
        (lambda j: j.update(views=None), "views"),
        (lambda j: j.update(views=[]), "views"),
        (lambda j: j.update(settings=[]), "settings"),
        (lambda j: j.update(filter=None), "filter"),
        (lambda j: j["views"][0].pop("image_from_volume"), "image_from_volume"),
        (lambda j: j["views"][0].update(image_from_volume=[[1, 2], [3, 4]]), "image_from_volume"),
        (lambda j: j["output"].update(voxel_angst="10 A"), "voxel_angst"),
        (lambda j: j.update(schema=1), "schema"),
        (lambda j: j.pop("schema"), "schema"),
    ],
)
def test_damage_is_told_with_its_place(tmp_path, change, place):
    plain = record_as_json(a_record())
    hurt = json.loads(json.dumps(plain))
    change(hurt)
    path = tmp_path / "rec.json"
    path.write_text(json.dumps(hurt))
    with pytest.raises(InputError, match=rf"rec\.json: the record is damaged.*{place}"):
        read_record(path)
    assert is_record(path)


def test_a_record_cut_short_is_still_tomofilts(tmp_path):
    path = tmp_path / "rec.json"
    write_record(path, a_record())
    path.write_bytes(path.read_bytes()[:200])
    assert is_record(path)
    with pytest.raises(InputError, match="the record is damaged"):
        read_record(path)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"program": "warp"}', "\0\1"])
def test_other_files_are_no_records(tmp_path, text):
    path = tmp_path / "rec.json"
    path.write_text(text)
    assert not is_record(path)
    assert read_record(path) is None
    assert read_record(tmp_path / "none.json") is None
