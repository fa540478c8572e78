"""STAR files as text: every value as it is written, every column kept, in its order.

``gemmi`` reads, because it takes every value that RELION writes (``O'Brien`` and ``TS#1`` among
them), leaves it as text (``001`` stays ``001``) and is fast. ``starfile``, which the field's Python
tools share, writes, so that files look as those tools expect them. Both follow CIF, which allows
more than RELION reads: what RELION would read otherwise than gemmi is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tomofilt.errors import InputError
from tomofilt.io.files import read_input, write_text_atomic

__all__ = ["Table", "format_star", "read_star", "write_star"]

_BLOCK = re.compile(r"^[ \t]*data_", re.MULTILINE)
_GEMMI_MESSAGE = re.compile(r"data:(\d+)\S*:? (.*?)( in loop _.*)?")
# A value that starts like this would be taken for something else if it stood there as it is.
_NEEDS_QUOTES = re.compile(r"[\"'#_;$]|(data_|loop_|save_|stop_|global_)", re.IGNORECASE)


@dataclass(frozen=True, eq=False)
class Table:
    """One block of a STAR file.

    Parameters
    ----------
    columns : mapping of str to sequence of str
        Values by column name, without the leading underscore.
    is_loop : bool
        False for a block of name-value pairs, whose columns have one value each.
    """

    columns: Mapping[str, Sequence[str]]
    is_loop: bool = True

    def __contains__(self, name: object) -> bool:
        return name in self.columns

    def __getitem__(self, name: str) -> Sequence[str]:
        return self.columns[name]

    def __len__(self) -> int:
        """Rows."""
        return len(next(iter(self.columns.values()), ()))

    def rows(self) -> Iterator[dict[str, str]]:
        """Each row, by column name."""
        for values in zip(*self.columns.values(), strict=True):
            yield dict(zip(self.columns, values, strict=True))

    def replaced(self, columns: Mapping[str, Sequence[str]]) -> Table:
        """Return the table with columns replaced in their places or added at the end."""
        return Table({**self.columns, **columns}, self.is_loop)


def read_star(path: Path, *, first_block_only: bool = False) -> dict[str, Table]:
    """Read the blocks of a STAR file, by name without ``data_``.

    Parameters
    ----------
    path : Path
    first_block_only : bool
        Leave the others unread, for files with a block for each of a thousand tilt series.

    Raises
    ------
    MissingFileError
        There is no such file.
    InputError
        It is not a STAR file, or holds what RELION would read otherwise.
    """
    text = _text(path)
    starts = [match.start() for match in _BLOCK.finditer(text)]
    if not starts:
        raise InputError(f"{path} is not a STAR file: no line in it starts with data_")
    if first_block_only:
        text = text[: [*starts, len(text)][1]]
    ascii_only = text.isascii()
    if not ascii_only:  # gemmi reads ASCII: other letters pass through it as \\u escapes
        text = text.replace("\\", "\\\\").encode("ascii", "backslashreplace").decode("ascii")
    tables: dict[str, Table] = {}
    rows: list[list[str]] = []
    for block in _parsed(path, text):
        name = block.name.strip()
        names, raw, is_loop = _items(f"{path}, block data_{name},", block)
        if name in tables:
            raise InputError(f"{path} has two blocks data_{name}: remove or rename one")
        if is_loop:
            rows += [raw[i : i + len(names)] for i in range(0, len(raw), len(names))]
        values = [value[1:-1] if value[0] in "\"'" else value for value in raw]
        if not ascii_only:
            values = [value.encode("ascii").decode("unicode_escape") for value in values]
        columns = {column: values[i :: len(names)] for i, column in enumerate(names)}
        tables[name] = Table(columns, is_loop)
    _check_lines(path, text, rows)
    return tables


def format_star(blocks: Mapping[str, Table], *, comment: str = "") -> str:
    """Text of a STAR file.

    Parameters
    ----------
    blocks : mapping of str to Table
    comment : str, optional
        First line of the file.

    Raises
    ------
    InputError
        A value cannot stand in a STAR file that RELION understands.
    """
    import starfile
    from pandas import DataFrame

    given: dict[str, Any] = {}
    for name, table in blocks.items():
        columns = {
            column: [_quoted(f"{column} in data_{name}", value) for value in values]
            for column, values in table.columns.items()
        }
        given[name] = (
            DataFrame(columns, dtype=object)
            if table.is_loop
            else {column: values[0] for column, values in columns.items()}
        )
    # starfile's first line holds the time, which would make each file another
    rest = str(starfile.to_string(given)).partition("\n")[2]
    return f"# {comment}\n{rest}" if comment else rest


def write_star(
    path: Path, blocks: Mapping[str, Table], *, replace: bool, comment: str = ""
) -> None:
    """Write a STAR file, whole or not at all: see :func:`format_star`.

    Parameters
    ----------
    path : Path
    replace : bool
        Whether an existing file may be replaced.

    Raises
    ------
    InputError
        As :func:`format_star`.
    OutputError
        As :class:`tomofilt.io.files.PartialFile`.
    """
    write_text_atomic(path, format_star(blocks, comment=comment), replace=replace)


def _text(path: Path) -> str:
    try:
        text = read_input(path).decode("utf-8-sig")  # without a byte order mark, if it has one
        return text.replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError:
        raise InputError(f"{path} is not a STAR file: it is not text (in UTF-8)") from None


def _parsed(path: Path, text: str) -> Any:
    from gemmi import cif

    try:
        # 0: names that differ only in upper and lower case are different to RELION
        return cif.read_string(text.encode("ascii"), check_level=0)
    except ValueError as error:
        found = _GEMMI_MESSAGE.fullmatch(str(error))
        line, what = found.group(1, 2) if found else ("?", str(error))
        raise InputError(
            f"{path} cannot be read as a STAR file. Line {line}: {what}. Each row "
            "needs one value for each column, and a value with spaces needs quotes"
        ) from None


def _items(place: str, block: Any) -> tuple[list[str], list[str], bool]:
    """Names and values of a block as they are written, and whether it is a loop."""
    items = list(block)
    loops = [item.loop for item in items if item.loop is not None]
    pairs = [item.pair for item in items if item.pair is not None]
    if len(loops) + bool(pairs) > 1 or len(loops) + len(pairs) < len(items):
        raise InputError(f"{place} holds more than one table: give each a block of its own")
    tags = list(loops[0].tags) if loops else [tag for tag, _ in pairs]
    raw = list(loops[0].values) if loops else [value for _, value in pairs]
    if twice := next((tag for tag in tags if tags.count(tag) > 1), None):
        raise InputError(f"{place} has two columns {twice}: remove or rename one")
    if "" in raw:
        raise InputError(f"{place} has a name without a value: give one, or remove the name")
    return [tag[1:] for tag in tags], raw, bool(loops)


def _check_lines(path: Path, text: str, rows: Sequence[Sequence[str]]) -> None:
    """Refuse rows that do not stand on one line each, which CIF allows and RELION does not."""
    left = iter(rows)
    lines = text.split("\n")
    for number, line in enumerate(lines, start=1):
        words = line.split()
        if not words or words[0].startswith(("#", "_", "data_", "loop_")):
            continue
        row = next(left, ())
        if words != row:
            expected = " ".join(row).split()
            rest = words[len(expected) :]
            if words[: len(expected)] != expected or (rest and rest[0][0] != "#"):
                raise InputError(
                    f"{path}, line {number}, is no whole row of its loop: each row must have "
                    f"all its values on one line ({line.strip()[:60]})"
                )


def _quoted(place: str, value: str) -> str:
    """Value as starfile has to get it; starfile itself quotes what is empty or has spaces."""
    needs_quotes = _NEEDS_QUOTES.match(value) is not None
    ambiguous = re.search('"[ #]', value) or ('"' in value and needs_quotes)
    if ambiguous or "\t" in value or value.splitlines() not in ([], [value]):
        raise InputError(
            f"{place} is {value!r}, which cannot stand in a STAR file: a value must not hold line "
            "breaks or tabs, nor double quotes before a space or a #, or after a sign at its start"
        )
    return f'"{value}"' if needs_quotes and " " not in value else value
