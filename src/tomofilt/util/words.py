"""Numbers as words of a message."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["listed"]


def listed(numbers: Iterable[int]) -> str:
    """Spell whole numbers as ``--exclude`` takes them: ``1-3,7``."""
    runs: list[list[int]] = []
    for number in sorted({int(number) for number in numbers}):
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ",".join(f"{run[0]}" if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)
