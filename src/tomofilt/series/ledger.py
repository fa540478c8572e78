"""The ledger of a reading: what was used, from where, and what was left aside."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from tomofilt.series.tiltseries import Sourced

__all__ = ["Ledger"]


@dataclass
class Ledger:
    """Facts, notes and files of one tilt series, as they come up.

    Parameters
    ----------
    facts : dict of str to Sourced
        Numbers that were applied.
    notes : list of str
        What was found and not used, or assumed.
    files : list of Path
        Files that were read.
    halves_refused : str, optional
        Why frame halves that were found are not used.
    """

    facts: dict[str, Sourced] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)
    halves_refused: str | None = None

    def fact(self, name: str, value: object, source: str) -> None:
        """Record a value and its source."""
        self.facts[name] = Sourced(value, source)

    def refuse_halves(self, why: str) -> None:
        """Record why frame halves that were found are not used."""
        self.halves_refused = why
        self.notes.append(why)
