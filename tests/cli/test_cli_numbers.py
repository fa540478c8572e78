"""Every number of every command is refused in tomofilt's words, with what is wanted instead."""

import re
from typing import get_args, get_type_hints

import pytest
import typer

from tomofilt.cli.app import make_app


def options_with_numbers(command, path=()):
    """Words up to such an option, how many numbers it takes, and how many words have to follow."""
    for name, sub in getattr(command, "commands", {}).items():
        yield from options_with_numbers(sub, (*path, name))
    hints = get_type_hints(command.callback) if command.callback else {}
    needed = [each for each in command.params if each.param_type_name == "argument"]
    for option in command.params:
        kinds = get_args(hints.get(option.name)) or (hints.get(option.name),)
        is_number = any(kind in (int, float) or int in get_args(kind) for kind in kinds)
        if option.opts and option.opts[0].startswith("--") and is_number:
            yield (*path, option.opts[0]), option.nargs, len(needed)


FOUND = [
    pytest.param(words, count, needed, id=" ".join(words))
    for words, count, needed in options_with_numbers(typer.main.get_command(make_app()))
]


def test_there_are_such_options():
    assert len(FOUND) > 40


@pytest.mark.parametrize("text", ["nan", "-inf", "5um", "x"])
@pytest.mark.parametrize(("words", "count", "needed"), FOUND)
def test_numbers_that_are_none(run, words, count, needed, text):
    code, _, err = run(*words, *[text] * count, *["x"] * needed)
    assert code == 2
    assert re.match(rf"tomofilt: {words[-1]} {text}: give .*\S", err), err
