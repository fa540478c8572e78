"""STAR documents as programs write them, with the values that a reader must return."""

import re
import string

from hypothesis import strategies as st

#: What programs write into STAR files, numeric-looking names and spellings of nan among them.
_CHARACTERS = string.ascii_letters + string.digits + "_.,+-*/[]@:;<>=|~^&%$!?()"
_WORDS = st.text(_CHARACTERS, min_size=1, max_size=12)
_TRICKY = st.sampled_from(
    [
        *("001", "1e5", "1.0", "-0", "0x10", "1_000", "inf", "nan", "NaN", "-nan", "<NA>", "N/A"),
        *("None", "null", "True", "empty", "a b", "", "[1,0,0,0]", "000001@stack.mrcs"),
    ]
)


def _is_plain(value):
    """Whether a value is no STAR keyword, which would have to be quoted."""
    return not value.lower().startswith(
        ("data_", "loop_", "save_", "stop_", "global_", "_", ";", "$")
    )


values = st.one_of(_WORDS.filter(_is_plain), _TRICKY)
#: Any value that is written: quotes, hashes, keywords and letters of all kinds, but no double
#: quotes before a space or a #, or in a value that begins with a sign.
any_values = st.one_of(
    values,
    st.text(st.sampled_from("'\"# _;$ab\\äβ"), max_size=8),
    st.sampled_from(["O'Brien", "TS#1", "data_1", "loop_", "_x", "#1", "'", '"', '"quoted"']),
).filter(lambda value: '"' not in value or not re.search(r"^[\"'#_;$]|\"[ #]", value))
names = st.from_regex(r"[A-Za-z][A-Za-z0-9_.-]{0,14}", fullmatch=True)


@st.composite
def tables(draw):
    """Columns of a loop, or of name-value pairs: (columns, is_loop)."""
    columns = draw(st.lists(names, min_size=1, max_size=6, unique_by=str.lower))
    is_loop = draw(st.booleans())
    rows = draw(st.integers(1, 5)) if is_loop else 1
    table = {name: draw(st.lists(values, min_size=rows, max_size=rows)) for name in columns}
    return table, is_loop


def _written(value, quote):
    return f"{quote}{value}{quote}" if not value or " " in value else value


@st.composite
def documents(draw):
    """A document's text and what it holds: {block: (columns, is_loop)}."""
    blocks = dict(
        zip(
            draw(st.lists(names, min_size=1, max_size=4, unique_by=str.lower)),
            draw(st.lists(tables(), min_size=4, max_size=4)),
            strict=False,
        )
    )
    quote = draw(st.sampled_from("\"'"))
    gap = draw(st.sampled_from([" ", "\t", "     ", " \t "]))
    blank = draw(st.sampled_from(["", " ", '# a comment with O\'Brien, "quotes" and nan']))
    lines = [draw(st.sampled_from(["", "# version 50001"]))]
    for name, (columns, is_loop) in blocks.items():
        lines += [f"data_{name}", blank]
        if is_loop:
            numbered = draw(st.booleans())
            lines += ["loop_ "]
            lines += [
                f"_{column}" + (f" #{number} " if numbered else "")
                for number, column in enumerate(columns, start=1)
            ]
            for row in zip(*columns.values(), strict=True):
                lines.append(gap + gap.join(_written(value, quote) for value in row) + " ")
        else:
            lines += [f"_{c}{gap}{_written(v[0], quote)}" for c, v in columns.items()]
        lines += [blank, ""]
    return draw(st.sampled_from(["\n", "\r\n"])).join(lines), blocks
