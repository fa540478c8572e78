"""Gains in columns, with bars, on a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from rich.table import Table

    from tomofilt.draw.filters import Curve

__all__ = ["gain_table"]

BAR_CELLS = 16
EIGHTHS = " ▏▎▍▌▋▊▉"


def gain_table(
    name: str,
    cycles_per_px: NDArray[np.float64],
    curves: list[Curve],
    pixel_angst: float,
    *,
    bars: bool = True,
) -> Table:
    """Curves against frequency, one column each, with a bar beside each value unless told not to.

    Parameters
    ----------
    name : str
        What the values are.
    cycles_per_px : (frequency,)
    curves : list of Curve
        Values at these frequencies.
    pixel_angst : float
        Pixel size, for the resolutions.
    bars : bool
    """
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("cycles\n/px", justify="right", no_wrap=True)
    table.add_column("resolution\nA", justify="right", no_wrap=True)
    for curve in curves:
        if bars:
            table.add_column(f"\n{name}", justify="right", no_wrap=True)
            table.add_column(curve.label.replace(", ", "\n"), no_wrap=True)
        else:
            table.add_column(curve.label, justify="right", overflow="fold")
    largest = max(float(curve.values.max()) for curve in curves)
    for i, cycles in enumerate(cycles_per_px):
        cells = [f"{cycles:.3f}", f"{pixel_angst / cycles:.4g}" if cycles else ""]
        for curve in curves:
            value = float(curve.values[i])
            cells += [f"{value:.3g}"]
            cells += [_bar(value / largest if largest > 0 else 0.0)] if bars else []
        table.add_row(*cells)
    return table


def _bar(share: float) -> str:
    eighths = round(max(share, 0.0) * BAR_CELLS * 8)
    return "█" * (eighths // 8) + EIGHTHS[eighths % 8].strip()
