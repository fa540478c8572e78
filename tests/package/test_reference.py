"""What ``--help`` says, the reference says; and it fits into 80 columns."""

import importlib.util
import re
from pathlib import Path

import pytest
import typer.main

from tomofilt.cli.app import main, make_app

ROOT = Path(__file__).parents[2]


def load_hooks():
    spec = importlib.util.spec_from_file_location("hooks", ROOT / "docs" / "hooks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def commands(command, words=()):
    """The words of every command and group: (), ("reconstruct",), ("train",) ..."""
    yield words
    for name, inner in getattr(command, "commands", {}).items():
        yield from commands(inner, (*words, name))


COMMANDS = list(commands(typer.main.get_command(make_app())))


@pytest.fixture(scope="module")
def sections():
    """The page of commands, by command."""
    parts = re.split(r"^#+ (.*)$", load_hooks().commands(), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


@pytest.fixture
def help_of(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")

    def help_of(words):
        assert main([*words, "--help"]) == 0
        return capsys.readouterr().out

    return help_of


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: " ".join(words) or "tomofilt")
def test_command(words, sections, help_of):
    text = help_of(words)
    title = "`" + " ".join(["tomofilt", *words]) + "`" if words else "Commands"
    section = sections[title]

    # options as the help lists them: at the beginning of a line of a box
    options = set(re.findall(r"^│[ *]*(--[\w-]+)", text, flags=re.MULTILINE))
    assert "--help" in options
    assert options <= set(re.findall(r"--[\w-]+", section))
    for name in re.findall(r"^│ ([a-z][\w-]+)  ", text.partition("Commands")[2], re.MULTILINE):
        assert f"`{' '.join(['tomofilt', *words, name])}`" in sections
    assert max(map(len, text.splitlines())) <= 80


def test_every_error_has_its_exit_code():
    page = load_hooks().exit_codes()
    assert "| `ResourceError` | 3 |" in page
    assert "| `InputError` | 2 |" in page


def test_filters():
    page = load_hooks().filters()
    for name in ("wiener-exact", "ramp", "sirt", "imod"):
        assert f"| `{name}" in page


def test_python_reference_has_every_public_name():
    import tomofilt

    page = load_hooks().python()
    for name in set(tomofilt.__all__) - {"__version__"}:
        assert f"{{heading: {name}, " in page
