"""The first page stays short, readable and true to the files that it points to."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def sentences(text):
    """Sentences of the running text and of table cells, without code and addresses."""
    text = re.sub(r"```.*?```", "\n", text, flags=re.DOTALL)
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", text)
    for line in text.splitlines():
        for cell in line.split("|"):
            yield from re.split(r"(?<=[.:;!?])\s", cell)


def test_it_is_one_screen_and_a_half():
    assert len(README.split()) <= 600


def test_no_sentence_is_long():
    long = [sentence for sentence in sentences(README) if len(sentence.split()) > 35]
    assert not long


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "ARCHITECTURE.md"])
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", (ROOT / page).read_text())
    assert links
    assert [link for link in links if "://" not in link and not (ROOT / link).exists()] == []


def test_figures_are_those_of_the_measurements():
    """Times of the table stand on the page that says how they were measured."""
    table = README.partition("## Beside other programs")[2].partition("¹ Quoted")[0]
    times = re.findall(r"(?:about )?[\d.]+ s\b(?: of one core)?", table)
    assert len(times) == 4
    speed = (ROOT / "docs/speed.md").read_text()
    assert [time for time in times if time not in speed] == []
