"""Default output has plain words, and terms that the glossary explains."""

import re
import shutil
from pathlib import Path

import pytest

from tomofilt.cli.app import main

ROOT = Path(__file__).parents[2]
#: What is no word: paths, names of files and fields, options, filters, and whatever has a digit.
NO_WORD = r"\S*/\S*|\S+\.(?:mrc|json|png|com|tlt|xf|html)\b\S*|\S*_\S*|(?<!\S)--?\S+|\S*\d\S*"


def words(text):
    return set(re.findall(r"[a-z][a-z'.-]*[a-z]|[a-z]", re.sub(NO_WORD, " ", text).lower()))


def glossary_words():
    """Words of the glossary's terms, with their plurals."""
    terms = re.findall(r"^\*\*(.+)\*\*$", (ROOT / "docs/glossary.md").read_text(), re.MULTILINE)
    known = {word for term in terms for word in re.split(r"[ ,]+", term.lower())}
    return known | {f"{word}s" for word in known}


def plain_words():
    lines = (Path(__file__).parent / "plain_words.txt").read_text().splitlines()
    return {word for line in lines if not line.startswith("#") for word in line.split()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("words") / "mycoplasma"
    shutil.copytree(ROOT / "examples" / "mycoplasma", folder)
    return folder


def test_default_output(folder, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.chdir(folder.parent)
    tomogram = "mycoplasma/00254_tomofilt_rec.mrc"
    for command in (
        ["reconstruct", "--imod-dir", "mycoplasma", "--bin", "2"],
        ["reconstruct", "--imod-dir", "mycoplasma", "--bin", "2"],
        ["inspect", "mycoplasma"],
        ["evaluate", tomogram, "--series", "mycoplasma"],
    ):
        assert main(command) == 0
    output = capsys.readouterr()
    printed = words(output.out + output.err)
    assert {"tomogram", "views", "filter", "correlation"} & printed  # something was understood
    assert sorted(printed - plain_words() - glossary_words()) == []
