"""Filters on a GPU: what :mod:`tomofilt.filters.apply` does, by torch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tomofilt.errors import InputError
from tomofilt.filters.apply import Extension, ImageFilter, RowFilter

__all__ = ["DeviceImageFilter", "DeviceRowFilter"]


class DeviceRowFilter:
    """Filters rows across the tilt axis on the device that they are on.

    Parameters
    ----------
    rows : RowFilter
    device : torch.device or str

    Raises
    ------
    InputError
        If rows are extended or sampled in a way of their own, which is left to the CPU.
    """

    def __init__(self, rows: RowFilter, device: torch.device | str) -> None:
        if type(rows) is not RowFilter:
            raise InputError("this way of filtering rows is for the CPU only: use --device cpu")
        self.samples = int(rows.samples.max())
        self._length = rows.padded_px * rows.oversampling
        self._gains = None if rows.gains is None else torch.from_numpy(rows.gains).to(device)
        self._extension = _DeviceExtension(rows.extension, device)

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
            spectrum = torch.fft.rfft(self._extension.extend(lines, 1)) * self._gains[view]
            target.copy_(torch.fft.irfft(spectrum, self._length)[:, : self.samples])
        return filtered


class DeviceImageFilter:
    """Filters whole images on a device, with gains across and along the tilt axis.

    Parameters
    ----------
    images : ImageFilter
    device : torch.device or str
    """

    def __init__(self, images: ImageFilter, device: torch.device | str) -> None:
        self._images, self._device = images, device
        self._extend_y = _DeviceExtension(images.extend_y, device)
        self._extend_x = _DeviceExtension(images.extend_x, device)

    def filter_image(self, view: int, image: NDArray[np.float32]) -> NDArray[np.float32]:
        """Filter one image (ny, nx) of one view, as :meth:`ImageFilter.filter_image` does."""
        ny, nx = self._images.shape
        lines = self._extend_x.extend(torch.tensor(image, device=self._device), 1)
        spectrum = torch.fft.rfft2(self._extend_y.extend(lines, 0))
        # the gains come from the CPU's table: a third of the CPU's work on an image
        spectrum *= torch.from_numpy(self._images.spectrum_gains(view)).to(self._device)
        filtered = torch.fft.irfft2(spectrum, self._images.padded_shape)[:ny, :nx]
        return np.ascontiguousarray(filtered.cpu().numpy())


class _DeviceExtension:
    """Extends images to their padded length, mirrored and tapered, on a device."""

    def __init__(self, extension: Extension, device: torch.device | str) -> None:
        self._mirrored = torch.from_numpy(extension.mirrored).to(device)
        self._taper = torch.from_numpy(extension.taper).to(device)

    def extend(self, image: Tensor, axis: int) -> Tensor:
        """Extend along one axis of a (y, x) image."""
        taper = self._taper if axis == 1 else self._taper[:, None]
        return torch.cat([image, image.index_select(axis, self._mirrored) * taper], dim=axis)
