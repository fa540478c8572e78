"""Any STAR file comes back as text, in every column, as other readers have it."""

import re
import tempfile
from pathlib import Path

import starfile
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies_star import any_values, documents

from tomofilt.io.star import Table, read_star, write_star

_NOT_A_NUMBER = ("nan", "NaN", "<NA>")


def by_starfile(path, columns):
    """Columns of every block, read by an independent program; None for spellings of nan."""
    found = starfile.read(path, always_dict=True, parse_as_string=sorted(columns))
    return {
        name: {key: [block[key]] for key in block}
        if isinstance(block, dict)
        else {
            key: [value if isinstance(value, str) else None for value in block[key]]
            for key in block
        }
        for name, block in found.items()
    }


def by_relion(path):
    """Rows of a file with one loop, by the rules of RELION's reader as its source has them.

    A value that starts with a quote ends at the same quote before a space or the end of the line;
    others end at the next space.
    """
    lines = path.read_text(encoding="utf-8").split("\n")
    tokens = re.compile(r"""([\"'])(.*?)\1(?=[ \t]|$)|([^ \t]+)""")
    rows = [line for line in lines if line and not line.startswith(("_", "data_", "loop_"))]
    return [[m[2] if m[1] else m[3] for m in tokens.finditer(row)] for row in rows]


def ours(path):
    return {name: {c: list(v) for c, v in t.columns.items()} for name, t in read_star(path).items()}


@settings(max_examples=60)
@given(documents())
def test_every_value_is_kept_as_text(document):
    text, blocks = document
    expected = {name: columns for name, (columns, _) in blocks.items()}
    with tempfile.TemporaryDirectory() as folder:
        path, copy = Path(folder) / "given.star", Path(folder) / "written.star"
        path.write_bytes(text.encode())
        read = read_star(path)

        assert ours(path) == expected
        assert {name: table.is_loop for name, table in read.items()} == {
            name: is_loop for name, (_, is_loop) in blocks.items()
        }
        assert [list(table.columns) for table in read.values()] == [
            list(columns) for columns in expected.values()
        ]
        write_star(copy, read, replace=False)
        assert ours(copy) == expected
        numbers = {}
        for name, (columns, is_loop) in blocks.items():
            numbers[name] = {
                c: [None if is_loop and v in _NOT_A_NUMBER else v for v in vs]
                for c, vs in columns.items()
            }
        assert by_starfile(copy, {c for columns in expected.values() for c in columns}) == numbers


@settings(max_examples=100)
@given(st.lists(st.tuples(any_values, any_values), min_size=1, max_size=4))
def test_any_value_is_written_so_that_relion_reads_it(rows):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.star"
        first, second = (list(column) for column in zip(*rows, strict=True))
        write_star(path, {"a": Table({"rlnA": first, "rlnB": second})}, replace=False)
        assert ours(path) == {"a": {"rlnA": first, "rlnB": second}}
        assert by_relion(path) == [list(row) for row in rows]
