"""The ledger of an IMOD folder, in which com files are quoted."""

from __future__ import annotations

from tomofilt.series import ledger
from tomofilt_imod.com import Command

__all__ = ["Ledger"]


class Ledger(ledger.Ledger):
    """Facts, notes and files, with entries of com files among the facts."""

    def entry(self, command: Command, key: str, name: str, value: object) -> None:
        """Record a value that follows from a com file's entry, if it has that."""
        if command.text(key) is not None:
            self.fact(name, value, command.source(key))
