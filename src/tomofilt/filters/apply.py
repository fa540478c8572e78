"""From gains to filtered rows and images.

Rows are padded, transformed, multiplied by the gains of their view and transformed back, all in
single precision. Objects here are immutable once made, so that threads may share them.
"""

from __future__ import annotations

from hashlib import sha256
from math import ceil

import numpy as np
from numpy.typing import NDArray

from tomofilt.filters.imod import imod_padded_length
from tomofilt.filters.protocol import Filter, FilterContext, Interpolation, Padding
from tomofilt.series.geometry import SliceGeometry

__all__ = ["DC_BIN", "Extension", "ImageFilter", "RowFilter", "padded_length"]

FloatArray = NDArray[np.float64]
Image = NDArray[np.float32]

# Where a ramp has the value that the band-limited real-space kernel (h0 = 1/4,
# h_odd = -1 / (pi n)^2, cut to the padded row) has at zero frequency; in bins.
DC_BIN = 2 / np.pi**2
# IMOD resamples no line beyond this tilt.
_STEEPEST_STRETCH_DEG = 80.0
# Against the ramp of a wider specimen, rows padded to 1.5 and to 2 times their length are equally
# wrong (6 % in rms for an amplitude spectrum of 1 / k, nearly all of it at the ends).
_ROW_PADDING = 1.5
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
    interpolation : "fine", "linear" or "imod"
        ``"fine"``: two samples a pixel, made in Fourier space, with the gains divided by the
        transfer function of linear interpolation between them. ``"linear"``: the pixels.
        ``"imod"``: two samples per pixel / cos(tilt), interpolated linearly from the pixels
        (IMOD's cosine stretch).
    needed_px : (view,), optional
        Lowest pixel coordinate that a voxel of the tomogram falls on. With ``"imod"``, samples
        start there if that is inside the row, as in IMOD; else at pixel 0.

    Attributes
    ----------
    padded_px : int
        Length that rows are padded to.
    interpolation : Interpolation
    step_px, first_px : (view,)
        Distance of the samples and position of the first, in pixels.
    samples : (view,) int
        Number of samples of a filtered row. The last one lies at the last pixel, or beyond it
        by less than a step and repeats it ("imod").
    last_sample : (view,)
        The last pixel, counted in samples, in general not an integer: a row's data end there.
    dc_gain : (view,)
        Gain of the filter at zero frequency (1 for two-dimensional filters).
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
        needed_px: FloatArray | None = None,
    ) -> None:
        self.width_px = width_px
        self.interpolation: Interpolation = interpolation
        self.padded_px = _padded_row(filter, width_px)
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
        self._oversampling = 2 if self.interpolation == "fine" else 1
        if self._oversampling == 2:
            gains = 2 * gains / np.sinc(k_across * pixel_angst / 2) ** 2
            # The highest bin stands for two once the spectrum goes on behind it.
            gains[:, -1] /= 2
        is_identity = filter.two_dimensional and self._oversampling == 1
        self._gains: Image | None = None if is_identity else gains.astype(np.float32)
        self._extension = Extension(width_px, self.padded_px, filter.padding)
        self._set_samples(slices, needed_px)

    def _set_samples(self, slices: SliceGeometry, needed_px: FloatArray | None) -> None:
        n_views = len(slices.a)
        self.first_px: FloatArray = np.zeros(n_views)
        self.step_px: FloatArray = np.full(n_views, 1 / self._oversampling)
        self._stretched = np.zeros(n_views, dtype=bool)
        if self.interpolation == "imod":
            self._stretched = np.abs(slices.tilt_deg) <= _STEEPEST_STRETCH_DEG
            self.step_px = np.where(self._stretched, np.abs(slices.a) / 2, 1.0)
            if needed_px is not None:
                inside = np.clip(needed_px, 0.0, self.width_px - 1)
                self.first_px = np.where(self._stretched, inside, 0.0)
        self.last_sample: FloatArray = (self.width_px - 1 - self.first_px) / self.step_px
        self.samples: NDArray[np.intp] = np.ceil(self.last_sample - 1e-9).astype(np.intp) + 1

    def gains_sha256(self) -> str:
        """Digest of the gains as they are applied to rows, for the record."""
        gains = np.ones(1, np.float32) if self._gains is None else self._gains
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
            if self._gains is not None:
                lines = self._filter(self._gains[view], lines)
            filtered[block] = self._stretch(view, lines) if self._stretched[view] else lines
        return filtered

    def _filter(self, gains: Image, rows: Image) -> Image:
        from scipy import fft

        spectrum = fft.rfft(self._extension.extend(rows), overwrite_x=True)
        spectrum *= gains
        lines: Image = fft.irfft(spectrum, self._oversampling * self.padded_px, overwrite_x=True)
        return lines[:, : self._oversampling * (self.width_px - 1) + 1]

    def _stretch(self, view: int, lines: Image) -> Image:
        last = self.width_px - 1
        position = self.first_px[view] + self.step_px[view] * np.arange(self.samples[view])
        position = np.minimum(position, last)
        left = np.minimum(position.astype(np.intp), max(last - 1, 0))
        fraction = (position - left).astype(np.float32)
        right = np.minimum(left + 1, last)
        stretched: Image = lines[:, left] * (1 - fraction) + lines[:, right] * fraction
        return stretched


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
        padding: Padding = "zero" if filter.padding == "zero" else "reflect"
        # Along the tilt axis nothing is as long as a ramp's kernel.
        padded_y = padded_length(ny, 1.0 if warp is None else _ROW_PADDING)
        self._extend_y = Extension(ny, padded_y, padding)
        self._extend_x = Extension(nx, padded_length(nx), padding)
        self.shape = shape
        self.padded_shape = (padded_y, self._extend_x.padded_px)
        self._filter, self._warp = filter, warp
        self._context = FilterContext(
            tilt_deg=slices.tilt_deg,
            scale=slices.scale,
            pixel_angst=across_angst,
            density_pixel_angst=density_pixel_angst,
            thickness_angst=thickness_angst,
            width_px=across_px,
            padded_px=_padded_row(filter, across_px),
        )
        first_k = 1 / (padded_length(across_px) * across_angst)
        self._lowest_k = DC_BIN * first_k
        self.k_y = _float64(np.fft.fftfreq(self._extend_y.padded_px, pixel_angst[0]))
        self.k_x = _float64(np.fft.rfftfreq(self._extend_x.padded_px, pixel_angst[1]))
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

        extended = self._extend_y.extend_columns(self._extend_x.extend(image))
        spectrum: NDArray[np.complex64] = fft.rfft2(extended, overwrite_x=True)
        self._multiply(view, spectrum)
        return spectrum

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
    padding : "reflect", "zero" or "imod"
    """

    def __init__(self, width_px: int, padded_px: int, padding: Padding) -> None:
        self.width_px, self.padded_px, self._padding = width_px, padded_px, padding
        n_pad = padded_px - width_px
        n_right = (n_pad + 1) // 2
        step = np.arange(n_pad)
        position = np.where(step < n_right, width_px + step, step - n_pad)
        folded = position % (2 * width_px)
        self._mirrored = np.minimum(folded, 2 * width_px - 1 - folded)
        depth = np.where(step < n_right, step + 1, n_pad - step)
        taper = 0.0 if padding == "zero" else np.cos(np.pi / 2 * depth / (n_right + 1)) ** 2
        self._taper = np.full(n_pad, taper, dtype=np.float32)
        self._slope = ((step + 1) / (n_pad + 1)).astype(np.float32)

    def extend(self, rows: Image) -> Image:
        """Extend along the last axis of (n, width_px) rows."""
        extended = np.empty((len(rows), self.padded_px), dtype=np.float32)
        extended[:, : self.width_px] = rows
        pad = extended[:, self.width_px :]
        if self._padding == "imod":
            first, last = rows[:, :1], rows[:, -1:]
            np.subtract(first, last, out=pad)
            pad *= self._slope
            pad += last
        else:
            np.take(rows, self._mirrored, axis=1, out=pad, mode="clip")
            pad *= self._taper
        return extended

    def extend_columns(self, image: Image) -> Image:
        """Extend along the first axis of a (width_px, n) image, mirrored and tapered."""
        extended = np.empty((self.padded_px, image.shape[1]), dtype=np.float32)
        extended[: self.width_px] = image
        pad = extended[self.width_px :]
        np.take(image, self._mirrored, axis=0, out=pad, mode="clip")
        pad *= self._taper[:, None]
        return extended


def _padded_row(filter: Filter, width_px: int) -> int:
    return imod_padded_length(width_px) if filter.padding == "imod" else padded_length(width_px)


def padded_length(width_px: int, factor: float = _ROW_PADDING) -> int:
    """Even, fast to transform, and long enough that what wraps around does not matter, in pixels.

    Parameters
    ----------
    width_px : int
    factor : float
        Of ``width_px``, at least.
    """
    from scipy import fft

    shortest = max(ceil(factor * width_px), width_px + 64)
    return 2 * int(fft.next_fast_len((shortest + 1) // 2, real=True))


def _float64(values: NDArray[np.floating]) -> FloatArray:
    return np.asarray(values, dtype=np.float64)


def _frequencies(padded_px: int, pixel_angst: float) -> FloatArray:
    k_across = np.fft.rfftfreq(padded_px, pixel_angst).astype(np.float64)
    k_across[0] = DC_BIN * k_across[1]
    return k_across
