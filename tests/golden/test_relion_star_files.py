"""STAR files that RELION, Warp and starfile wrote: every value kept, as starfile reads it."""

import re
from pathlib import Path

import pytest
import starfile

from tomofilt.io.star import read_star, write_star

DATA = Path(__file__).parents[1] / "data" / "relion"
FILES = sorted(path.relative_to(DATA) for path in DATA.rglob("*.star"))


def by_starfile(path):
    columns = re.findall(r"^_(\S+)", path.read_text(), re.MULTILINE)
    found = starfile.read(path, always_dict=True, parse_as_string=columns)
    return {name: block.to_dict("list") for name, block in found.items()}


def test_the_files_are_there():
    assert len(FILES) == 11


@pytest.mark.parametrize("name", FILES, ids=str)
def test_every_value_survives_reading_and_writing(name, tmp_path):
    expected = by_starfile(DATA / name)
    read = read_star(DATA / name)
    assert {block: dict(table.columns) for block, table in read.items()} == expected
    assert [list(table.columns) for table in read.values()] == [list(c) for c in expected.values()]

    write_star(tmp_path / "copy.star", read, replace=False)
    assert by_starfile(tmp_path / "copy.star") == expected
