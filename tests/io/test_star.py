"""STAR files: what is refused, what is kept, what is written."""

import os

import pytest
import starfile

from tomofilt.errors import InputError, MissingFileError, OutputExistsError
from tomofilt.io.star import Table, format_star, read_star, write_star


@pytest.fixture
def star(tmp_path):
    """Write a STAR file."""

    def write(text, name="x.star"):
        path = tmp_path / name
        path.write_bytes(text.encode())
        return path

    return write


LOOP = "data_global\n\nloop_\n_rlnTomoName #1\n_rlnVoltage #2\n{}\n"


def test_numbers_stay_as_they_are_written(star):
    table = read_star(star(LOOP.format("001 1e5\n010 300.000000")))["global"]
    assert table["rlnTomoName"] == ["001", "010"]
    assert table["rlnVoltage"] == ["1e5", "300.000000"]
    assert list(table.rows())[1] == {"rlnTomoName": "010", "rlnVoltage": "300.000000"}


def test_spellings_of_nan_come_back_in_their_places(star):
    text = LOOP.format('TS_1 <NA>\n# nan here is no value\nnan NaN # nor here nan\n"a nan b" 1')
    table = read_star(star(text + "\ndata_b\n\nloop_\n_x\n'nan'\n"))
    assert table["global"]["rlnTomoName"] == ["TS_1", "nan", "a nan b"]
    assert table["global"]["rlnVoltage"] == ["<NA>", "NaN", "1"]
    assert table["b"]["x"] == ["nan"]


def test_file_that_changed_or_could_not_be_read_is_read_anew(star):
    path = star(LOOP.format("TS_1 300\nTS_2"))
    with pytest.raises(InputError, match="Wrong number of values"):
        read_star(path)
    star(LOOP.format("TS_1 300\nTS_2 300"))
    assert len(read_star(path)["global"]) == 2
    star(LOOP.format("TS_1 200"))
    assert read_star(path)["global"]["rlnVoltage"] == ["200"]


def test_letters_beyond_ascii(star):
    path = star(LOOP.format("Zellwände 300"))
    assert read_star(path)["global"]["rlnTomoName"] == ["Zellwände"]
    write_star(path, read_star(path), replace=True)
    assert read_star(path)["global"]["rlnTomoName"] == ["Zellwände"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (LOOP.format("'TS 300"), r"Line 6: unterminated 'string'"),
        (LOOP.format("data_2024/x.mrc 300"), r"Line 6: parse error"),
        (LOOP.format(";\nmany lines\n;"), r"Wrong number of values"),
        (LOOP.format("TS_1\n;two\nlines\n;"), r"line 6, is no whole row"),
        (LOOP.format("TS_1 300 4"), r"Line 3: Wrong number of values. Each row needs"),
        (LOOP.format("TS_1\nTS_2 300 300"), r"line 6, is no whole row of its loop"),
        (LOOP.format("TS_1 300 TS_2 300"), r"line 6, is no whole row of its loop"),
        (LOOP.format("TS_1 # 300\n300"), r"line 6, is no whole row of its loop"),
        (LOOP.format('TS_1 300\n"TS_2 300" # 4'), r"Wrong number of values"),
        (LOOP.format("TS_1 300\n_name here"), r"more than one table"),
        (LOOP.format("TS_1 300\nloop_\n_b\n1"), r"more than one table"),
        ("data_\n\n_a 1\n_a 2\n", r"block data_, has two columns _a"),
        ("data_a\n\nloop_\n_b\n_b\n1 2\n", r"block data_a, has two columns _b"),
        ("data_a\n\n_b 1\nloop_\n_c\n2\n", r"more than one table"),
        ("data_a\n\n_b 1\n3 4\n", r"Line 4: parse error"),
        ("data_a\n\n_b 1 2\n", r"Line 3: parse error"),
        ("data_a\n\n_b\n_c 1\n", r"a name without a value"),
        ("data_a\n\n_b\n1\n", r"line 4, is no whole row"),
        ("data_a\n\n_c 1\ndata_a\n\n_c 2\n", r"two blocks data_a"),
        ("T = a.mdoc\n[ZValue = 0]\n", r"is not a STAR file: no line in it starts with data_"),
        ("T = a.mdoc\ndata_a\n\n_b 1\n", r"Line 1: expected block header"),
        ("", r"is not a STAR file"),
    ],
)
def test_what_relion_would_read_otherwise_is_refused(star, text, message):
    with pytest.raises(InputError, match=message) as caught:
        read_star(star(text))
    assert "x.star" in str(caught.value)


def test_unreadable_files(tmp_path):
    with pytest.raises(MissingFileError, match=r"absent\.star: there is no such file"):
        read_star(tmp_path / "absent.star")
    (tmp_path / "image.star").write_bytes(b"\xff\xfe\x00data_")
    with pytest.raises(InputError, match="it is not text"):
        read_star(tmp_path / "image.star")
    with pytest.raises(InputError, match="is a folder, not a regular file"):
        read_star(tmp_path)


def test_empty_loop_keeps_its_columns(star):
    table = read_star(star("data_global\n\nloop_\n_a #1\n_b #2\n\n\ndata_c\n\n_d 1\n"))["global"]
    assert list(table.columns) == ["a", "b"]
    assert len(table) == 0


def test_first_block_alone(star):
    path = star(LOOP.format("TS_1 300") + "\ndata_TS_1\n\nloop_\n_x\n'O Brien\n")
    assert list(read_star(path, first_block_only=True)) == ["global"]
    with pytest.raises(InputError, match="unterminated"):
        read_star(path)


def test_columns_are_replaced_in_place_or_added():
    table = Table({"a": ["1"], "b": ["2"]}).replaced({"a": ["3"], "c": ["4"]})
    assert dict(table.columns) == {"a": ["3"], "b": ["2"], "c": ["4"]}
    assert "c" in table
    assert "d" not in table


def test_text_of_a_file():
    blocks = {
        "global": Table({"rlnTomoName": ["001", "a b"], "rlnX": ["", "_1"]}),
        "general": Table({"rlnY": ["x y"], "rlnZ": ["2"]}, is_loop=False),
    }
    assert format_star(blocks, comment="Created by a test") == (
        "# Created by a test\n\n\ndata_global\n\nloop_\n_rlnTomoName #1\n_rlnX #2\n"
        '001\t""\n"a b"\t"_1"\n\n\ndata_general\n\n_rlnY\t\t\t"x y"\n_rlnZ\t\t\t2\n\n\n'
    )
    assert format_star(blocks) == format_star(blocks, comment="x").removeprefix("# x\n")


@pytest.mark.parametrize("value", ["two\nlines", "end\r", "a\tb", 'a" b', "a\u2028b"])
def test_what_cannot_stand_in_a_file_is_not_written(tmp_path, value):
    with pytest.raises(InputError, match=r"rlnX in data_global is .* cannot stand in a STAR"):
        write_star(tmp_path / "x.star", {"global": Table({"rlnX": [value]})}, replace=False)
    assert not list(tmp_path.iterdir())


def test_files_are_replaced_only_on_request(tmp_path):
    path = tmp_path / "x.star"
    write_star(path, {"a": Table({"b": ["1"]})}, replace=False)
    with pytest.raises(OutputExistsError):
        write_star(path, {"a": Table({"b": ["2"]})}, replace=False)
    write_star(path, {"a": Table({"b": ["2"]})}, replace=True)
    assert read_star(path)["a"]["b"] == ["2"]


@pytest.mark.parametrize(
    "written",
    [
        "O'Brien",
        "TS#1",
        '"TS #1"',
        'TS"1',
        '"O\'Brien 2"',
        "'a\"b c'",
        '"#1"',
        '"\'"',
        ";x",
        r"C:\n",
    ],
)
def test_quotes_and_hashes_inside_values(star, tmp_path, written):
    value = written[1:-1] if written[0] in "\"'" else written
    for comment in ("", " # not O'Brien", " # Zellwände\n"):
        table = read_star(star(LOOP.format(f"1 {written}{comment}")))["global"]
        assert table["rlnVoltage"] == [value]
    write_star(tmp_path / "copy.star", {"global": table}, replace=False)
    assert read_star(tmp_path / "copy.star")["global"]["rlnVoltage"] == [value]


def test_byte_order_mark(star):
    path = star("\ufeff# made by hand\n" + LOOP.format("TS_1 300"))
    assert read_star(path)["global"]["rlnTomoName"] == ["TS_1"]
    assert list(read_star(star("\ufeffdata_a\n\n_b 1\n"))) == ["a"]


def test_empty_block_and_names_that_differ_in_case(star):
    blocks = read_star(star("data_a\n\ndata_A\n\n_b 1\n_B 2\n"))
    assert {name: dict(table.columns) for name, table in blocks.items()} == {
        "a": {},
        "A": {"b": ["1"], "B": ["2"]},
    }


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "x.star")
    with pytest.raises(InputError, match=r"x\.star is a pipe \(FIFO\), not a regular"):
        read_star(tmp_path / "x.star")


def test_starfile_reads_what_is_written(tmp_path):
    columns = {"rlnTomoName": ["001", "a b", "Zellwände"], "rlnX": ["1e5", "", "[1,0]"]}
    write_star(tmp_path / "x.star", {"global": Table(columns)}, replace=False, comment="a test")
    found = starfile.read(tmp_path / "x.star", parse_as_string=list(columns))
    assert found.fillna("").to_dict("list") == columns
