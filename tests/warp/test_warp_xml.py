"""Warp's .xml files: encodings, lists, grids, and what is wrong with them."""

import numpy as np
import pytest
from strategies_warp import ANGLES, grid_xml, per_tilt, xml_text

from tomofilt.errors import InputError, MissingFileError
from tomofilt_warp.xml import looks_like_tilt_series, read_xml


def written(tmp_path, text, encoding="utf-8"):
    path = tmp_path / "TS_1.xml"
    path.write_bytes(text.encode(encoding))
    return path


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_encodings(tmp_path, encoding):
    text = xml_text().replace('encoding="utf-8"', f'encoding="{encoding.removesuffix("-sig")}"')
    path = written(tmp_path, text, encoding)
    assert looks_like_tilt_series(path)
    xml = read_xml(path)
    np.testing.assert_array_equal(xml.numbers("Angles"), ANGLES)
    assert xml.texts("MoviePath")[1] == "../frames/tilt 1.tif"
    assert xml.ctf["Voltage"] == "200"


def test_grids_and_attributes(tmp_path):
    values = np.arange(18.0).reshape(3, 2, 3)
    text = xml_text(
        'LevelAngleX="1.5" VolumeDimensionsAngstrom="400, 300, 0"',
        grids=[grid_xml("GridMovementX", values), per_tilt("GridCTF", [1.0, 2.0, 3.0])],
    )
    xml = read_xml(written(tmp_path, text))
    np.testing.assert_array_equal(xml.image_grid("GridMovementX"), values)
    np.testing.assert_array_equal(xml.per_tilt("GridMovementX"), [2.5, 8.5, 14.5])
    np.testing.assert_array_equal(xml.per_tilt("GridCTF"), [1, 2, 3])
    assert xml.per_tilt("GridCTFPhase") is None
    assert xml.number("LevelAngleX") == 1.5
    assert xml.number("LevelAngleY") == 0.0
    np.testing.assert_array_equal(xml.vector("VolumeDimensionsAngstrom", 3), [400, 300, 0])


def test_a_grid_of_fewer_tilts_is_not_one_a_tilt(tmp_path):
    xml = read_xml(written(tmp_path, xml_text(grids=[per_tilt("GridCTF", [1.0, 2.0])])))
    assert xml.per_tilt("GridCTF") is None
    xml = read_xml(written(tmp_path, xml_text(grids=[per_tilt("GridCTF", [1.0])])))
    np.testing.assert_array_equal(xml.per_tilt("GridCTF"), [1, 1, 1])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (xml_text(lists={"Dose": [1.0, 2.0]}), "3 Angles, but 2 values in Dose"),
        (xml_text(lists={"Dose": [1.0, "x", 2.0]}), "Dose holds something that is no number"),
        (xml_text(lists={"Dose": None}), "has no Dose: align the tilt series in Warp first"),
    ],
)
def test_lists_that_cannot_be_used(tmp_path, text, message):
    with pytest.raises(InputError, match=message):
        read_xml(written(tmp_path, text)).alignment("Dose")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<TiltSeries>\n<Angles>1\n2</Dose></TiltSeries>", r"TS_1.xml line 3: not readable XML"),
        ("<Movie></Movie>", "holds a Movie, and not a TiltSeries"),
        ("<TiltSeries><Dose>1</Dose></TiltSeries>", "has no Angles"),
        (
            '<TiltSeries><Angles>1</Angles><GridCTF Depth="2"><Node Value="1" /></GridCTF>'
            "</TiltSeries>",
            "GridCTF has 1 values, not one for each of 1 x 2 x 1 x 1 nodes",
        ),
    ],
)
def test_files_that_cannot_be_read(tmp_path, text, message):
    with pytest.raises(InputError, match=message):
        read_xml(written(tmp_path, text))


def test_what_is_no_tilt_series(tmp_path):
    with pytest.raises(MissingFileError):
        read_xml(tmp_path / "TS_1.xml")
    assert not looks_like_tilt_series(tmp_path / "TS_1.xml")
    assert not looks_like_tilt_series(written(tmp_path, "<Movie></Movie>"))
