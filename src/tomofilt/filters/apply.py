"""From gains to filtered rows and images.

Rows are padded, transformed, multiplied by the gains of their view and transformed back, all in
single precision. Objects here are immutable once made, so that threads may share them.
"""

from __future__ import annotations

from hashlib import sha256
from math import ceil

import numpy as np
from numpy.typing import NDArray

from tomofilt.filters.protocol import (
    ROW_PADDING,
    Filter,
    FilterContext,
    Interpolation,
    Padding,
    padded_length,
)
from tomofilt.series.geometry import SliceGeometry

__all__ = ["DC_BIN", "Extension", "ImageFilter", "RowFilter"]

FloatArray = NDArray[np.float64]
Image = NDArray[np.float32]

# Where a ramp has the value that the band-limited real-space kernel (h0 = 1/4,
# h_odd = -1 / (pi n)^2, cut to the padded row) has at zero frequency; in bins.
DC_BIN = 2 / np.pi**2
# So many rows that their spectra stay in the cache.
_ROWS_AT_ONCE = 64


class RowFilter:
    """Filters rows across the tilt axis, and samples them for the projector.

    Sample i of a filtered row of view v is the value at pixel coordinate
    ``first_px[v] + i * step_px[v]``; between samples, linear interpolation is meant.

    For filters with ``two_dimensional`` gains, which :class:`ImageFilter` applies, this does only
    what the interpolation needs.

    Parameters
    ----------
    filter : Filter
    slices : SliceGeometry
        Geometry of the views, in their order.
    pixel_angst : float
        Pixel size of the rows.
    density_pixel_angst, thickness_angst : float
        See :class:`~tomofilt.filters.protocol.FilterContext`.
    width_px : int
        Length of a row.
    interpolation : "fine" or "linear"
        ``"fine"``: two samples a pixel, made in Fourier space, with the gains divided by the
        transfer function of linear interpolation between them. ``"linear"``: the pixels.

    Attributes
    ----------
    padded_px : int
        Length that rows are padded to.
    interpolation : Interpolation
    step_px, first_px : (view,)
        Distance of the samples and position of the first, in pixels.
    samples : (view,) int
        Number of samples of a filtered row. The last one lies at the last pixel, or beyond it
        by less than a step.
    last_sample : (view,)
        The last pixel, counted in samples, in general not an integer: a row's data end there.
    dc_gain : (view,)
        Gain of the filter at zero frequency (1 for two-dimensional filters).
    gains : (view, frequency) float32, or None
        What the spectra of padded rows are multiplied by; None where rows stay as they are.
    oversampling : int
        Samples a pixel that come back from a spectrum.
    extension : Extension
        How rows are padded.
    """

    def __init__(
        self,
        filter: Filter,
        slices: SliceGeometry,
        *,
        pixel_angst: float,
        density_pixel_angst: float,
        thickness_angst: float,
        width_px: int,
        interpolation: Interpolation = "fine",
    ) -> None:
        self.width_px = width_px
        self.interpolation: Interpolation = interpolation
        # between samples nothing is as long as a ramp's kernel
        shortest = padded_length(width_px, 1.0)
        self.padded_px = shortest if filter.two_dimensional else filter.padded_px(width_px)
        n_views = len(slices.a)
        k_across = _frequencies(self.padded_px, pixel_angst)
        if filter.two_dimensional:
            gains = np.ones((n_views, len(k_across)))
        else:
            context = FilterContext(
                tilt_deg=slices.tilt_deg,
                scale=slices.scale,
                pixel_angst=pixel_angst,
                density_pixel_angst=density_pixel_angst,
                thickness_angst=thickness_angst,
                width_px=width_px,
                padded_px=self.padded_px,
            )
            gains = filter.gains(k_across, np.zeros(1), context)
        self.dc_gain: FloatArray = gains[:, 0].copy()
        self.oversampling = 2 if self.interpolation == "fine" else 1
        if self.oversampling == 2:
            gains = 2 * gains / np.sinc(k_across * pixel_angst / 2) ** 2
            # The highest bin stands for two once the spectrum goes on behind it.
            gains[:, -1] /= 2
        is_identity = filter.two_dimensional and self.oversampling == 1
        self.gains: Image | None = None if is_identity else gains.astype(np.float32)
        self.extension = Extension(width_px, self.padded_px, filter.padding)
        self.place_samples(np.zeros(n_views), np.full(n_views, 1 / self.oversampling))

    def place_samples(self, first_px: FloatArray, step_px: FloatArray) -> None:
        """Settle where the samples of each view are, up to the last pixel."""
        self.first_px, self.step_px = first_px, step_px
        self.last_sample: FloatArray = (self.width_px - 1 - first_px) / step_px
        self.samples: NDArray[np.intp] = np.ceil(self.last_sample - 1e-9).astype(np.intp) + 1

    def gains_sha256(self) -> str:
        """Digest of the gains as they are applied to rows, for the record."""
        gains = np.ones(1, np.float32) if self.gains is None else self.gains
        return sha256(gains.tobytes()).hexdigest()

    def filter_rows(self, view: int, rows: Image) -> Image:
        """Filter and sample rows of one view.

        Parameters
        ----------
        view : int
            Index of the view.
        rows : (n, width_px) float32

        Returns
        -------
        (n, samples[view]) float32
            A row's result does not depend on the other rows.
        """
        filtered = np.empty((len(rows), self.samples[view]), dtype=np.float32)
        for start in range(0, len(rows), _ROWS_AT_ONCE):
            block = slice(start, start + _ROWS_AT_ONCE)
            lines = rows[block]
            if self.gains is not None:
                lines = self._filter(self.gains[view], lines)
            self.sample(view, lines, filtered[block])
        return filtered

    def sample(self, view: int, lines: Image, out: Image) -> None:
        """Take the samples of filtered lines; here, what comes back from the spectrum."""
        out[:] = lines

    def _filter(self, gains: Image, rows: Image) -> Image:
        from scipy import fft

        spectrum = fft.rfft(self.extension.extend(rows), overwrite_x=True)
        spectrum *= gains
        lines: Image = fft.irfft(spectrum, self.oversampling * self.padded_px, overwrite_x=True)
        return lines[:, : self.oversampling * (self.width_px - 1) + 1]


class ImageFilter:
    """Filters whole images, with gains across and along the tilt axis.

    Parameters
    ----------
    filter : Filter
        Its gains may be one- or two-dimensional.
    slices : SliceGeometry
        Geometry of the views, in their order.
    shape : (ny, nx)
        Shape of the images.
    pixel_angst : (y, x)
        Pixel size of the images.
    density_pixel_angst, thickness_angst : float
        See :class:`~tomofilt.filters.protocol.FilterContext`.
    image_from_aligned : (view, 2, 2), optional
        In-plane matrices W from the frame with the tilt axis on y to the frame of the images;
        frequencies across and along the axis are ``W^T k``. Identity without.

    Attributes
    ----------
    shape, padded_shape : (y, x)
        Of the images, and of what is transformed.
    k_y, k_x : (y,), (x,)
        Frequencies of the spectra, 1/angstrom.
    extend_y, extend_x : Extension
        How images are padded.
    dc_gain : (view,)
        Gain of the filter at zero frequency.
    """

    def __init__(
        self,
        filter: Filter,
        slices: SliceGeometry,
        shape: tuple[int, int],
        *,
        pixel_angst: tuple[float, float],
        density_pixel_angst: float,
        thickness_angst: float,
        image_from_aligned: FloatArray | None = None,
    ) -> None:
        ny, nx = shape
        warp = None if image_from_aligned is None else image_from_aligned[:, :, :2]
        # Which image axis runs across the tilt axis, if only roughly.
        is_turned = warp is not None and np.sum(warp[:, 1, 0] ** 2) > np.sum(warp[:, 0, 0] ** 2)
        across_px, across_angst = (ny, pixel_angst[0]) if is_turned else (nx, pixel_angst[1])
        # Along the tilt axis nothing is as long as a ramp's kernel.
        padded_y = padded_length(ny, 1.0 if warp is None else ROW_PADDING)
        self.extend_y = Extension(ny, padded_y, filter.padding)
        self.extend_x = Extension(nx, padded_length(nx), filter.padding)
        self.shape = shape
        self.padded_shape = (padded_y, self.extend_x.padded_px)
        self._filter, self._warp = filter, warp
        self._context = FilterContext(
            tilt_deg=slices.tilt_deg,
            scale=slices.scale,
            pixel_angst=across_angst,
            density_pixel_angst=density_pixel_angst,
            thickness_angst=thickness_angst,
            width_px=across_px,
            padded_px=filter.padded_px(across_px),
        )
        first_k = 1 / (padded_length(across_px) * across_angst)
        self._lowest_k = DC_BIN * first_k
        self.k_y = _float64(np.fft.fftfreq(self.extend_y.padded_px, pixel_angst[0]))
        self.k_x = _float64(np.fft.rfftfreq(self.extend_x.padded_px, pixel_angst[1]))
        self.dc_gain: FloatArray = filter.gains(
            np.array(self._lowest_k), np.zeros(()), self._context
        )
        # Gains are read off a table that ends at the highest frequency.
        stretch = 1.0 if warp is None else float(np.linalg.norm(warp, 2, axis=(1, 2)).max())
        highest_k = stretch * float(np.hypot(np.abs(self.k_y).max(), self.k_x.max()))
        if filter.two_dimensional:
            from tomofilt.filters.table import GainTable

            self._table = GainTable(filter, self._context, self._lowest_k, highest_k)
        else:
            self._nodes = _float64(first_k * np.arange(ceil(highest_k / first_k) + 1))
            self._nodes[0] = self._lowest_k
            self._curves = filter.gains(self._nodes, np.zeros(1), self._context)

    def filter_image(self, view: int, image: Image) -> Image:
        """Filter one image of one view.

        Parameters
        ----------
        view : int
            Index of the view.
        image : (ny, nx) float32

        Returns
        -------
        (ny, nx) float32
        """
        return self.crop(self.spectrum(view, image))

    def spectrum(self, view: int, image: Image) -> NDArray[np.complex64]:
        """Spectrum of an image, padded and filtered, of frequencies ``k_y`` and ``k_x``."""
        from scipy import fft

        extended = self.extend_y.extend_columns(self.extend_x.extend(image))
        spectrum: NDArray[np.complex64] = fft.rfft2(extended, overwrite_x=True)
        self._multiply(view, spectrum)
        return spectrum

    def spectrum_gains(self, view: int) -> Image:
        """What :meth:`spectrum` multiplies the spectrum of a padded image by, (k_y, k_x)."""
        ones = np.ones((len(self.k_y), len(self.k_x)), dtype=np.complex64)
        self._multiply(view, ones)
        return np.ascontiguousarray(ones.real)

    def crop(self, spectrum: NDArray[np.complex64]) -> Image:
        """Go back from a spectrum, which is used up, to an image of the size of the images."""
        from scipy import fft

        extended: Image = fft.irfft2(spectrum, self.padded_shape, overwrite_x=True)
        ny, nx = self.shape
        return np.ascontiguousarray(extended[:ny, :nx])

    def _multiply(self, view: int, spectrum: NDArray[np.complex64]) -> None:
        turn = np.eye(2) if self._warp is None else self._warp[view].T
        if self._filter.two_dimensional:
            self._table.multiply(view, spectrum, self.k_y, self.k_x, np.ascontiguousarray(turn))
            return
        k_across = turn[0, 0] * self.k_x + turn[0, 1] * self.k_y[:, None]
        gains = np.interp(np.abs(k_across), self._nodes, self._curves[view])
        spectrum *= gains.astype(np.float32)


class Extension:
    """Extends rows to their padded length; what stands behind the end wraps to the front.

    Parameters
    ----------
    width_px, padded_px : int
        Length of a row before and after.
    padding : "reflect" or "zero"

    Attributes
    ----------
    mirrored : (n,) int
        The elements of a row that are repeated behind its end.
    taper : (n,) float32
        What they are multiplied by.
    """

    def __init__(self, width_px: int, padded_px: int, padding: Padding) -> None:
        self.width_px, self.padded_px = width_px, padded_px
        n_pad = padded_px - width_px
        n_right = (n_pad + 1) // 2
        step = np.arange(n_pad)
        position = np.where(step < n_right, width_px + step, step - n_pad)
        folded = position % (2 * width_px)
        self.mirrored = np.minimum(folded, 2 * width_px - 1 - folded)
        depth = np.where(step < n_right, step + 1, n_pad - step)
        taper = 0.0 if padding == "zero" else np.cos(np.pi / 2 * depth / (n_right + 1)) ** 2
        self.taper = np.full(n_pad, taper, dtype=np.float32)

    def extend(self, rows: Image) -> Image:
        """Extend along the last axis of (n, width_px) rows."""
        extended = np.empty((len(rows), self.padded_px), dtype=np.float32)
        extended[:, : self.width_px] = rows
        pad = extended[:, self.width_px :]
        np.take(rows, self.mirrored, axis=1, out=pad, mode="clip")
        pad *= self.taper
        return extended

    def extend_columns(self, image: Image) -> Image:
        """Extend along the first axis of a (width_px, n) image, mirrored and tapered."""
        extended = np.empty((self.padded_px, image.shape[1]), dtype=np.float32)
        extended[: self.width_px] = image
        pad = extended[self.width_px :]
        np.take(image, self.mirrored, axis=0, out=pad, mode="clip")
        pad *= self.taper[:, None]
        return extended


def _float64(values: NDArray[np.floating]) -> FloatArray:
    return np.asarray(values, dtype=np.float64)


def _frequencies(padded_px: int, pixel_angst: float) -> FloatArray:
    k_across = np.fft.rfftfreq(padded_px, pixel_angst).astype(np.float64)
    k_across[0] = DC_BIN * k_across[1]
    return k_across
