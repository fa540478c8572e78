"""Any STAR file comes back as text, in every column, as gemmi reads it too."""

import tempfile
from pathlib import Path

import gemmi
from hypothesis import given, settings
from strategies_star import documents

from tomofilt.io.star import read_star, write_star


def by_gemmi(path):
    """Columns of every block, read by an independent program."""
    blocks = {}
    for block in gemmi.cif.read_string(Path(path).read_bytes()):
        columns = {}
        for item in block:
            if item.pair:
                columns[item.pair[0][1:]] = [gemmi.cif.as_string(item.pair[1])]
            elif item.loop:
                loop = item.loop
                for column, tag in enumerate(loop.tags):
                    texts = [loop[row, column] for row in range(loop.length())]
                    columns[tag[1:]] = [gemmi.cif.as_string(text) for text in texts]
        blocks[block.name] = columns
    return blocks


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
        # gemmi takes a bare "." or "?" for "no value", as CIF has it
        assert by_gemmi(copy) == by_gemmi(path)
        assert {
            name: {c: [v if v not in ".?" else "" for v in values] for c, values in block.items()}
            for name, block in expected.items()
        } == by_gemmi(copy)
