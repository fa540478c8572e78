"""Charts of a report: inline SVG that a page gives its colours, the same each time."""

import xml.etree.ElementTree as ET

import numpy as np
import pytest

from tomofilt.draw.charts import Axis, Line, image_chart, line_chart

X, Y = Axis("cycles / px", 0.0, 0.5), Axis("gain", 0.0, 1.0)
K = np.linspace(0, 0.5, 9)


def curves():
    holes = np.where(K[4] == K, np.nan, 2 * K)
    errors = np.full(9, 0.1)
    return [Line("<a> & b", K, holes, 0), Line("c", K, 1 - K, 9, dashed=True, errors=errors)]


def drawn():
    yield line_chart("t", curves(), X, Y, guides=(0.143,), voxel_angst=80.0)
    yield line_chart("t", curves()[1:], X, Axis("power", 1e-4, 1.0, logarithmic=True))
    yield image_chart("t", np.outer(np.arange(3) / 2, K), X, [(0, "-60°"), (2, "60°")])


@pytest.mark.parametrize("number", range(3))
def test_chart_is_whole_and_the_same_each_time(number):
    svg = list(drawn())[number]
    assert svg == list(drawn())[number]
    ET.fromstring(svg.replace("xlink:href", "href"))  # well-formed
    assert "http" not in svg
    assert "nan" not in svg.partition("base64")[0]


def test_colours_are_the_pages_and_names_are_shown():
    svg = next(drawn())
    names = [title.text for title in ET.fromstring(svg.replace("xlink:", "")).iter("title")]
    assert names == ["<a> & b", "c"]
    # the tenth colour is the second again
    assert "stroke: var(--line-0)" in svg
    assert "stroke: var(--line-1)" in svg
    assert "fill: var(--ink)" in svg
    for label in ("800 Å", "160 Å", "0.143", "cycles / px"):
        assert f">{label}<" in svg
