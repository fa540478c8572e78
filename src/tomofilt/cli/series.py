"""From options to projects and their tilt series."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tomofilt.errors import InputError

if TYPE_CHECKING:
    from tomofilt.series.projects import Project

__all__ = ["chosen_series", "one_series"]


def chosen_series(
    projects: Iterable[Project], names: Sequence[str] | None, axis: str | None = None
) -> list[tuple[Project, str]]:
    """Each project with each of its series that is wanted; all of them without ``names``.

    Parameters
    ----------
    projects : iterable of Project
    names : sequence of str, optional
    axis : "a" or "b", optional
        Of dual-axis sets, only this one.

    Raises
    ------
    InputError
        When there is no series at all, or none of a wanted name.
    """
    found = [(project, name) for project in projects for name in project.names]
    if not found:
        raise InputError("there is no tilt series here")
    if axis is not None:
        found = [(project, name) for project, name in found if name.endswith(axis)]
        if not found or any(len(project.names) > len("ab") for project, _ in found):
            raise InputError(f"--axis {axis} is for dual-axis sets of IMOD: leave it out")
    present = {name for _, name in found}
    for name in names or ():
        if name not in present:
            near = difflib.get_close_matches(name, present, n=3) or sorted(present)[:3]
            raise InputError(
                f"--tomogram-name {name}: there is no series of this name among {len(present)}; "
                f"there is {', '.join(near)}"
            )
    return [(project, name) for project, name in found if not names or name in names]


def one_series(project: Project, path: Path, name: str | None) -> str:
    """The name of the one series of a project, or of the one that is named.

    Raises
    ------
    InputError
        When there are several and none is named, or there is none of that name.
    """
    found = [each for _, each in chosen_series([project], [name] if name else None)]
    if len(found) > 1:
        raise InputError(
            f"{path} holds {len(found)} tilt series: choose one with --tomogram-name, "
            f"{found[0]} say"
        )
    return found[0]
