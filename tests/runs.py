"""Reconstructions for tests: with what was said about them, or in memory."""

from pathlib import Path

from tomofilt.jobs.one import reconstruct
from tomofilt.reconstruction.measure import measured
from tomofilt.reconstruction.settings import Settings
from tomofilt.reconstruction.setup import make_problem
from tomofilt.series.projects import Destination
from tomofilt.util.log import notes_told_to


class Heard:
    """What a reconstruction said and how far it was, step by step."""

    def __init__(self):
        self.notes, self.steps = [], []

    @property
    def text(self):
        return "\n".join(self.notes)


def reconstructed(series, destination, settings=None):
    """The result of a reconstruction, and what was heard of it."""
    heard = Heard()
    if isinstance(destination, Path):
        destination = Destination(destination)
    with notes_told_to(heard.notes.append):
        result = reconstruct(
            series,
            destination,
            settings or Settings(),
            lambda done: heard.steps.append(done / 1000),
        )
    return result, heard


def problem_of(series, **settings):
    """A problem whose filter has been measured."""
    problem = make_problem(series, Settings(**{"device": "cpu", **settings}))
    with problem.images() as images:
        return measured(problem, images)


def tomogram_of(problem):
    """The tomogram of a problem, (z, y, x)."""
    with problem.images() as images:
        return measured(problem, images).volume(images)
