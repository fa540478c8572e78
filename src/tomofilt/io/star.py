"""STAR files as text: every value as it is written, every column kept, in its order.

Files are read by ``starfile``, which the field's Python tools share. It is made for data frames,
though, and changes what it reads: ``001`` becomes 1 and ``1e5`` 100000.0, ``nan`` is
no text, ``O'Brien`` turns into ``O"Brien``, ``TS#1`` ends a row, and after a file it could not
parse it returns that file's old lines for good. Here every column is read as text, and what
``starfile`` cannot hold is refused before it is misread.
"""

from __future__ import annotations

import linecache
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tomofilt.errors import InputError
from tomofilt.io.files import read_input, write_text_atomic

__all__ = ["Table", "format_star", "read_star", "write_star"]

_VALUE = r"""(?:[^\s"'#]+|"[^"'#\n]*"|'[^"'#\n]*')"""
_VALUES = re.compile(_VALUE, re.ASCII)
# A comment starts behind a space; a quote or a # inside a value does not.
_LINE = re.compile(rf"[^\S\n]*(?:{_VALUE}(?:[^\S\n]+|$))*(?:\#.*)?", re.ASCII)
_COLUMN = re.compile(r"^[ \t]*_(\S+)", re.MULTILINE)
_BLOCK = re.compile(r"^[ \t]*data_(.*)$", re.MULTILINE)
_NOT_A_NUMBER = ("nan", "NaN", "<NA>")
_PLAIN = re.compile(r"""[^\s"'#]+|[^"'#\n\r\t]*""", re.ASCII)


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
        It is not a STAR file, or holds what cannot be read without changing it.
    """
    text = _text(path)
    names = [match.strip() for match in _BLOCK.findall(text)]
    if not names:
        raise InputError(f"{path} is not a STAR file: no line in it starts with data_")
    if first_block_only:
        starts = [match.start() for match in _BLOCK.finditer(text)]
        text, names = text[: [*starts, len(text)][1]], names[:1]
    not_numbers = _checked(path, text)
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f"{path} has two blocks data_{twice}: remove or rename one")
    blocks = _parse(path, set(_COLUMN.findall(text)), len(names))
    if list(blocks) != names:
        raise InputError(
            f"{path} has the blocks {', '.join(names)}, but only {', '.join(blocks) or 'none'} "
            "could be read: remove blocks that are empty"
        )
    spellings = iter(not_numbers)
    return {name: _restored(table, spellings) for name, table in blocks.items()}


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
        A value cannot stand in a STAR file that every reader of the field understands.
    """
    lines = [f"# {comment}"] if comment else []
    for name, table in blocks.items():
        lines += ["", f"data_{name}", ""]
        if table.is_loop:
            numbered = enumerate(table.columns, start=1)
            lines += ["loop_", *(f"_{column} #{number}" for number, column in numbered)]
            quoted = [_quoted(name, *column) for column in table.columns.items()]
            lines += ["\t".join(row) for row in zip(*quoted, strict=True)]
        else:
            lines += [
                f"_{column}\t{_quoted(name, column, values)[0]}"
                for column, values in table.columns.items()
            ]
        lines += [""]
    return "\n".join(lines) + "\n"


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
        return read_input(path).decode("utf-8").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError:
        raise InputError(f"{path} is not a STAR file: it is not text (in UTF-8)") from None


class _Check:
    """Goes through the lines of a file and refuses the first that starfile would misread.

    Attributes
    ----------
    not_numbers : list of str
        The spellings of ``nan`` among the values of loops, in their order.
    """

    def __init__(self) -> None:
        self.not_numbers: list[str] = []
        self._part = ""  # of a block: data_, pairs, loop_ or rows
        self._names: set[str] = set()

    def line(self, line: str) -> str | None:
        """Take the next line; say what is wrong with it, if anything."""
        words = line.split()
        word = words[0] if words else "#"
        if word[0] == "#":
            return None
        if not _LINE.fullmatch(line):
            return "a quote or a # inside a value"
        if word.startswith(("data_", "loop_")):
            return self._start(words)
        return self._name(line) if word[0] == "_" else self._row(line)

    def _start(self, words: Sequence[str]) -> str | None:
        part, self._part = self._part, words[0][:5]
        if part == "data_" or self._part == "data_":
            self._names = set()
            return "more than one word" if len(words) > 1 else None
        return "a second loop in a block, or one outside of any block"

    def _name(self, line: str) -> str | None:
        name = line.split(maxsplit=1)[0]
        if name in self._names:
            return "the same name for a second time"
        self._names.add(name)
        if self._part == "data_":
            self._part = "pairs"
        if self._part == "pairs" and "\\" in line:
            return "a backslash"
        return "a name where a value is expected" if self._part in ("", "rows") else None

    def _row(self, line: str) -> str | None:
        if self._part not in ("loop_", "rows") or line.lstrip()[0] == ";":
            return "text that does not belong to a loop"
        self._part = "rows"
        words = [word.strip("\"'") for word in _VALUES.findall(line.partition("#")[0])]
        self.not_numbers += [word for word in words if word in _NOT_A_NUMBER]
        if len(words) != len(self._names):
            return f"{len(words)} values for the {len(self._names)} columns of its loop"
        return None


def _checked(path: Path, text: str) -> list[str]:
    """Refuse what starfile would misread; else return what it takes for missing values."""
    check = _Check()
    for number, line in enumerate(text.split("\n"), start=1):
        if what := check.line(line):
            raise InputError(
                f"{path}, line {number}, has {what}, so that it cannot be read as it is meant: "
                f"correct it ({line.strip()[:60]})"
            )
    return check.not_numbers


def _parse(path: Path, columns: set[str], count: int) -> dict[str, Table]:
    import starfile

    # starfile reads through linecache, which keeps lines of files that could not be parsed, or that
    # have changed meanwhile.
    linecache.clearcache()
    try:
        found = starfile.read(
            path, read_n_blocks=count, always_dict=True, parse_as_string=sorted(columns)
        )
    except (ValueError, IndexError, KeyError, TypeError) as error:  # pandas' errors are ValueErrors
        raise InputError(f"{path} is not a STAR file that can be read: {error}") from error
    finally:
        linecache.clearcache()
    return {
        name: Table({key: [value] for key, value in block.items()}, is_loop=False)
        if isinstance(block, dict)
        else Table(block.to_dict("list"))
        for name, block in found.items()
    }


def _restored(table: Table, spellings: Iterator[str]) -> Table:
    """Put back what pandas takes for missing values: each is the next of the spellings of nan."""
    columns = {column: list(values) for column, values in table.columns.items()}
    for row in range(len(table)):
        for values in columns.values():
            if not isinstance(values[row], str):
                values[row] = next(spellings)
    return Table(columns, table.is_loop)


def _quoted(block: str, column: str, values: Sequence[str]) -> list[str]:
    """Values as they stand in a file, quoted where they hold spaces or nothing."""
    for value in values:
        if not _PLAIN.fullmatch(value):
            raise InputError(
                f"{column} = {value!r} in data_{block} cannot stand in a STAR file: "
                "a value must not hold quotes, # or line breaks"
            )
    return [f'"{value}"' if not value or " " in value else value for value in values]
