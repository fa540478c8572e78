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
    """

    facts: dict[str, Sourced] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)

    def fact(self, name: str, value: object, source: str) -> None:
        """Record a value and its source."""
        self.facts[name] = Sourced(value, source)
