"""IMOD's text files read back what was written, however it is spelt."""

import tempfile
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from strategies_imod import com_lines, format_xf, separators, transforms, view_lists

from tomofilt.io.text import read_numbers
from tomofilt_imod.com import read_command
from tomofilt_imod.transforms import read_xf
from tomofilt_imod.views import parse_view_list

numbers = st.floats(-999, 999).map(lambda value: round(value, 3))
file_names = st.text("abcXYZ019_-. /", min_size=1).map(str.strip).filter(bool)


def read_back(read, text):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tilt.com"
        path.write_text(text, newline="")
        return read(path)


@given(transforms, st.sampled_from(["", "\n", "   \n\n"]), st.sampled_from(["\n", "\r\n"]))
def test_xf(written, end, newline):
    """Columns of 12 characters, also when large shifts leave no blank between them."""
    text = (format_xf(written) + end).replace("\n", newline)
    np.testing.assert_allclose(read_back(read_xf, text).matrices, written, atol=1e-12)


@given(transforms, st.sampled_from([" ", ",", ", ", "\t"]))
def test_xf_in_free_format(written, separator):
    lines = [
        separator.join(map(repr, [*xf[:, :2].ravel().tolist(), *xf[:, 2].tolist()]))
        for xf in written
    ]
    np.testing.assert_array_equal(read_back(read_xf, "\n".join(lines)).matrices, written)


@given(st.lists(st.tuples(numbers, separators), min_size=1))
def test_list_of_numbers(pairs):
    text = "".join(f"{number}{separator}" for number, separator in pairs)
    np.testing.assert_array_equal(read_back(read_numbers, text), [number for number, _ in pairs])


@given(view_lists())
def test_list_of_views(spelt):
    views, lines = spelt
    assert parse_view_list(lines, "here") == tuple(sorted(views))
    com = "\n".join(["$tilt -StandardInput", *(f"EXCLUDELIST {line}" for line in lines)])
    read = read_back(lambda path: read_command(path, "tilt"), com)
    assert read.views("EXCLUDELIST2") == tuple(sorted(views))


@given(st.data())
def test_com_file(data):
    name, pair, thickness = data.draw(file_names), data.draw(st.tuples(numbers, numbers)), 40
    comma = data.draw(st.sampled_from([",", " ", ", "]))
    values = {
        "InputProjections": name,
        "OFFSET": f"{pair[0]}{comma}{pair[1]}",
        "THICKNESS": f"{thickness}",
        "FalloffIsTrueSigma": "1",
    }
    text = data.draw(com_lines(values))
    read = read_back(lambda path: read_command(path, "tilt"), text)
    assert read.text("InputProjections") == name
    assert read.numbers("OFFSET", 1, 2) == pair
    assert read.integer("THICKNESS") == thickness
    assert read.flag("FalloffIsTrueSigma")
    assert not read.unknown


@given(st.sampled_from(["THICKNESS", "EXCLUDELIST2", "XAXISTILT", "FULLIMAGE"]), st.data())
def test_abbreviations(key, data):
    unique = {"THICKNESS": 2, "EXCLUDELIST2": 3, "XAXISTILT": 2, "FULLIMAGE": 2}
    short = key[: data.draw(st.integers(unique[key], len(key)))]
    read = read_back(lambda path: read_command(path, "tilt"), f"$tilt -S\n{short.lower()} 1 2\n")
    assert read.text(key) == "1 2"
