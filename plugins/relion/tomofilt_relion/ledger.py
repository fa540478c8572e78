"""What was read on the way to a series, from where, and what was left aside."""

from __future__ import annotations

from dataclasses import dataclass, field

from tomofilt.series.tiltseries import Sourced

__all__ = ["Ledger"]


@dataclass
class Ledger:
    """What was read and used on the way."""

    facts: dict[str, Sourced] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def fact(self, name: str, value: object, source: str) -> None:
        """Keep a value and where it was taken from."""
        self.facts[name] = Sourced(value, source)
