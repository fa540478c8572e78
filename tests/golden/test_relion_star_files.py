"""STAR files that RELION, Warp and starfile wrote: every value kept as text, as gemmi reads it."""

from pathlib import Path

import gemmi
import pytest

from tomofilt.io.star import read_star, write_star

DATA = Path(__file__).parents[1] / "data" / "relion"
FILES = sorted(path.relative_to(DATA) for path in DATA.rglob("*.star"))


def by_gemmi(path):
    blocks = {}
    for block in gemmi.cif.read(str(path)):
        (loop,) = [item.loop for item in block]
        blocks[block.name] = {
            tag[1:]: [gemmi.cif.as_string(loop[row, column]) for row in range(loop.length())]
            for column, tag in enumerate(loop.tags)
        }
    return blocks


def test_the_files_are_there():
    assert len(FILES) == 11


@pytest.mark.parametrize("name", FILES, ids=str)
def test_every_value_survives_reading_and_writing(name, tmp_path):
    expected = by_gemmi(DATA / name)
    read = read_star(DATA / name)
    assert {block: dict(table.columns) for block, table in read.items()} == expected
    assert [list(table.columns) for table in read.values()] == [list(c) for c in expected.values()]

    write_star(tmp_path / "copy.star", read, replace=False)
    assert by_gemmi(tmp_path / "copy.star") == expected
