"""Rows filtered on a GPU: what :class:`~tomofilt.filters.apply.RowFilter` does, by torch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from tomofilt.errors import InputError
from tomofilt.filters.apply import RowFilter

__all__ = ["DeviceRowFilter"]


class DeviceRowFilter:
    """Filters rows across the tilt axis on the device that they are on.

    Parameters
    ----------
    rows : RowFilter
    device : torch.device or str

    Raises
    ------
    InputError
        If rows are extended or sampled as IMOD does it, which is left to the CPU.
    """

    def __init__(self, rows: RowFilter, device: torch.device | str) -> None:
        extension, gains = rows._extension, rows._gains
        if rows.interpolation == "imod" or extension._padding == "imod":
            raise InputError("IMOD's way of filtering rows is for the CPU only: use --device cpu")
        self.samples = int(rows.samples.max())
        self._length = rows.padded_px * rows._oversampling
        self._gains = None if gains is None else torch.from_numpy(gains).to(device)
        self._mirrored = torch.from_numpy(extension._mirrored).to(device)
        self._taper = torch.from_numpy(extension._taper).to(device)

    def filter_rows(self, views: Sequence[int], rows: Tensor) -> Tensor:
        """Filter and sample rows of several views.

        Parameters
        ----------
        views : sequence of int
            Index of each view.
        rows : (view, n, width_px) float32

        Returns
        -------
        (view, n, samples) float32
        """
        if self._gains is None:
            return rows
        filtered = rows.new_empty((*rows.shape[:2], self.samples))
        # view by view: the padded rows and spectra of all would take several times the room
        for target, view, lines in zip(filtered, views, rows, strict=True):
            extended = torch.cat([lines, lines[:, self._mirrored] * self._taper], dim=1)
            spectrum = torch.fft.rfft(extended) * self._gains[view]
            target.copy_(torch.fft.irfft(spectrum, self._length)[:, : self.samples])
        return filtered
