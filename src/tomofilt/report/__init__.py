"""Reports: tomograms, what was measured about them and how they were made, as one HTML page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tomofilt.errors import InputError, OutputError, OutputExistsError
from tomofilt.evaluate.scores import Scores
from tomofilt.evaluate.tomograms import Tomogram

__all__ = ["write_report"]


def write_report(
    path: Path, scores: Sequence[Scores], truth: Path | None = None, threads: int = 1
) -> None:
    """Write a page that opens offline: pictures, curves and style are all inside.

    Parameters
    ----------
    path : Path
        The HTML file; only an earlier report is replaced.
    scores : sequence of Scores
        See :func:`tomofilt.evaluate.scores.measure`.
    truth : Path, optional
        A volume to draw beside the tomograms.
    threads : int

    Raises
    ------
    InputError
        There are no tomograms.
    OutputExistsError
        Another file has that name.
    OutputError
        The file cannot be written.
    """
    from tomofilt.io.files import write_text_atomic
    from tomofilt.report.page import GENERATOR, page

    if not scores:
        raise InputError("a report needs a tomogram")
    if not path.parent.is_dir():
        raise OutputError(f"{path.parent}: there is no such folder; make it, or write elsewhere")
    if path.exists():
        with path.open(errors="replace") as file:
            head = file.read(1000)
        if f'name="generator" content="{GENERATOR}' not in head:
            raise OutputExistsError(
                f"{path} exists and is no report of tomofilt: move it away, or give another name"
            )
    text = page(scores, Tomogram(truth) if truth else None, threads)
    write_text_atomic(path, text, replace=True)
