"""Docstrings are written with Sphinx roles, which Markdown does not know: names become code."""

import re
from typing import Any

import griffe


class Roles(griffe.Extension):
    """``:class:`~tomofilt.a.B` `` becomes ``B`` in code letters."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rewrite the docstring of an object."""
        if obj.docstring:
            obj.docstring.value = re.sub(
                r":\w+:`(?:~[\w.]*\.)?([^`]+)`", r"`\1`", obj.docstring.value
            )
