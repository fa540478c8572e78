"""Filtered back-projection as a differentiable function of the filter's coefficients.

What is multiplied, cropped, sampled and back-projected here is what a reconstruction with the same
filter multiplies, crops, samples and back-projects; the tests compare the two.
"""

from __future__ import annotations

from math import prod
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import tomofilt.projectors.autograd  # noqa: F401 - registers the operators
from tomofilt.errors import InputError
from tomofilt.filters.apply import DC_BIN, Extension
from tomofilt.filters.learned import LearnedFilter, same_scheme
from tomofilt.filters.protocol import padded_length
from tomofilt.series.geometry import ImageGrid
from tomofilt.training.cases import Case

__all__ = ["FilteredBackProjection", "Padding"]

Padding = Literal["reflect", "zero", "none"]
Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

#: Interpolation between nodes is a dense matrix up to so many numbers: products are faster then.
_DENSE = 1 << 25


class FilteredBackProjection(nn.Module):
    """u(c) = BP(gains(c) y) of one series, as a function of the coefficients c of a filter.

    The gains of view m are ``base_m(k) sum_i V[m, i] sum_n W[k, n] c[i, n]`` (see
    :mod:`tomofilt.filters.learned`).

    Parameters
    ----------
    case : Case
    filter : LearnedFilter
        Says what the coefficients mean; its own are not used.
    padding : "reflect", "zero" or "none"
        How images are extended before the FFT: as in a reconstruction, by zeros, or not at all, so
        that one end wraps around to the other.
    dtype : torch.dtype

    Attributes
    ----------
    truth : (z, y, x) Tensor
        Without its mean.
    truth_std : float
    mean_response : Tensor, shape of the coefficients
        The mean of the volume is the sum of its products with the coefficients.
    energy : array, shape of the coefficients
        About the squared norm of the volume that each coefficient alone makes.

    Raises
    ------
    InputError
        The tilts of the series do not go with coefficients per tilt.
    """

    truth: Tensor
    mean_response: Tensor
    _spectra: Tensor
    _angles: Tensor
    _nodes: Tensor
    _sampling: Tensor
    _table: Tensor

    def __init__(
        self,
        case: Case,
        filter: LearnedFilter,
        padding: Padding = "reflect",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        from tomofilt.projectors.cpu import slice_table

        problem = case.problem.with_filter(filter)
        self.case, self.shape = case, filter.coefficients.shape
        grid = _Frequencies(case.problem.frame.grid, padding)
        spectra = grid.spectra(case.images)
        base = filter.base_gains(grid.across, grid.along, case.problem.filter_context)
        spectra *= np.broadcast_to(base, spectra.shape).astype(np.float32)
        angles = _angles(case, filter)
        nodes = _interpolation(filter, grid)
        power = grid.power(spectra).reshape(len(spectra), -1)
        energy = angles.T**2 @ (nodes.power(2).T @ power.T).T
        self.energy: Float64 = problem.grid.shape[0] * energy.reshape(self.shape)
        self._image_shape, self._padded = problem.frame.grid.shape, grid.padded
        self._volume_shape = problem.grid.shape
        rows = problem.row_filter
        # what rows undergo before they are back-projected is one linear map
        sampling = rows.filter_rows(0, np.eye(problem.frame.grid.shape[1], dtype=np.float32))
        table = slice_table(
            problem.frame.slices, problem.grid, problem.frame.grid, rows.first_px, rows.step_px
        )
        truth = case.truth - np.float32(case.truth.mean(dtype=np.float64))
        self.truth_std = float(truth.std(dtype=np.float64))
        complex_dtype = torch.complex128 if dtype == torch.float64 else torch.complex64
        for name, values, kind in (
            ("truth", truth, dtype),
            ("_spectra", spectra, complex_dtype),
            ("_angles", angles, dtype),
            ("_sampling", sampling, dtype),
            ("_table", table, torch.float64),
        ):
            self.register_buffer(name, torch.from_numpy(values).to(kind))
        self.register_buffer("_nodes", _as_tensor(nodes, dtype))
        self.register_buffer("mean_response", self._mean_response(dtype))

    def forward(self, coefficients: Tensor) -> Tensor:
        """The tomogram (z, y, x) of a filter's coefficients."""
        return self.backproject(self.filter(coefficients))

    def filter(self, coefficients: Tensor) -> Tensor:
        """Filtered images: (view, y, x)."""
        of_views = self._angles @ coefficients.reshape(self.shape[0], -1)
        gains = (
            of_views @ self._nodes
            if self._nodes.layout == torch.strided
            else (torch.sparse.mm(self._nodes.t(), of_views.T).T)
        )
        filtered: Tensor = _Multiply.apply(  # type: ignore[no-untyped-call]
            gains.reshape(self._spectra.shape), self._spectra, self._padded, self._image_shape
        )
        return filtered

    def backproject(self, filtered: Tensor) -> Tensor:
        """Rows of the tomogram (z, y, x) from the same rows of filtered images (view, y, x)."""
        nz, _, nx = self._volume_shape
        samples = filtered @ self._sampling
        volume: Tensor = torch.ops.tomofilt.backproject(
            samples, self._table, (nz, filtered.shape[1], nx)
        )
        return volume

    def project(self, volume: Tensor) -> Tensor:
        """The transpose of :meth:`backproject`."""
        shape = (len(self._table), volume.shape[1], self._sampling.shape[1])
        samples: Tensor = torch.ops.tomofilt.project(volume, self._table, shape)
        return samples @ self._sampling.T

    def _mean_response(self, dtype: torch.dtype) -> Tensor:
        nothing = torch.zeros(self.shape, dtype=dtype, requires_grad=True)
        mean: Tensor = self(nothing).mean()
        (response,) = torch.autograd.grad(mean, nothing)
        return response


class _Multiply(torch.autograd.Function):
    """Images from spectra times real gains; linear in the gains.

    As torch's own operators do it, but the half spectrum is counted in the gradient of the gains,
    which is real.
    """

    @staticmethod
    def forward(
        ctx: Any, gains: Tensor, spectra: Tensor, padded: tuple[int, int], shape: tuple[int, int]
    ) -> Tensor:
        ctx.save_for_backward(spectra)
        ctx.padded = padded
        images: Tensor = torch.fft.irfft2(spectra * gains, s=padded)
        return images[:, : shape[0], : shape[1]].contiguous()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        (spectra,) = ctx.saved_tensors
        gains = (torch.fft.rfft2(gradient, s=ctx.padded) * spectra.conj()).real
        scale = gains.new_full((gains.shape[-1],), 2 / prod(ctx.padded))
        scale[0] /= 2
        if ctx.padded[1] % 2 == 0:
            scale[-1] /= 2
        return gains * scale, None, None, None


class _Frequencies:
    """The FFT of extended images.

    Attributes
    ----------
    across, along : (1, kx), (ky, 1)
        Frequencies, 1/angstrom; zero across the tilt axis is replaced, see :meth:`Filter.gains`.
    padded : (y, x)
        Shape of the extended images.
    """

    def __init__(self, grid: ImageGrid, padding: Padding) -> None:
        ny, nx = grid.shape
        self._extensions: tuple[Extension, Extension] | None = None
        self.padded = (ny, nx)
        if padding != "none":
            self.padded = (padded_length(ny, 1.0), padded_length(nx))
            self._extensions = (
                Extension(ny, self.padded[0], padding),
                Extension(nx, self.padded[1], padding),
            )
        across = np.fft.rfftfreq(self.padded[1], grid.pixel_angst[1]).astype(np.float64)
        across[0] = DC_BIN * across[1]
        self.across: Float64 = across[None, :]
        along = np.fft.fftfreq(self.padded[0], grid.pixel_angst[0]).astype(np.float64)
        self.along: Float64 = along[:, None]

    def spectra(self, images: Float32) -> NDArray[np.complex64]:
        """Transforms of the extended images."""
        from scipy import fft

        spectra = np.empty((len(images), len(self.along), self.across.size), dtype=np.complex64)
        for spectrum, image in zip(spectra, images, strict=True):
            extended = image
            if self._extensions is not None:
                along, across = self._extensions
                extended = along.extend_columns(across.extend(image))
            spectrum[:] = fft.rfft2(extended)
        return spectra

    def power(self, spectra: NDArray[np.complex64]) -> Float32:
        """What each frequency adds to the squared norm of an image."""
        power = np.abs(spectra) ** 2 * np.float32(2 / prod(self.padded))
        power[:, :, 0] /= 2
        if self.padded[1] % 2 == 0:
            power[:, :, -1] /= 2
        return np.asarray(power, dtype=np.float32)


def _angles(case: Case, filter: LearnedFilter) -> Float64:
    """Angle basis at the views of a case; views of other series count as the nearest in order."""
    tilt = case.problem.frame.slices.tilt_deg
    if filter.angles != "per-tilt":
        return filter.angle_basis(tilt)
    if len(filter.tilt_deg) != len(tilt):
        raise InputError(
            f"{case.name} has {len(tilt)} views, and coefficients per tilt are trained for "
            f"{len(filter.tilt_deg)}: train on series of one tilt scheme, or choose polynomials in "
            "the tilt"
        )
    pairs = same_scheme(filter.tilt_deg, tilt)
    if pairs is None:
        off = float(np.abs(np.sort(filter.tilt_deg) - np.sort(tilt)).max())
        raise InputError(
            f"the tilts of {case.name} differ from the first series' by up to {off:.1f} deg: "
            "train on series of one tilt scheme, or choose polynomials in the tilt"
        )
    return np.eye(len(tilt))[pairs]


def _interpolation(filter: LearnedFilter, grid: _Frequencies) -> Any:
    """Sparse matrix from the values at the nodes to those at the frequencies, (ky kx, node)."""
    from scipy import sparse

    index, weight = filter.nodes.interpolation(grid.across, grid.along)
    rows = np.repeat(np.arange(index[..., 0].size), index.shape[-1])
    shape = (index[..., 0].size, prod(filter.nodes.shape))
    return sparse.coo_array((weight.ravel(), (rows, index.ravel())), shape=shape).tocsr()


def _as_tensor(matrix: Any, dtype: torch.dtype) -> Tensor:
    """Transposed, dense where it is small, else sparse."""
    matrix = matrix.T
    if prod(matrix.shape) <= _DENSE:
        return torch.from_numpy(np.ascontiguousarray(matrix.toarray())).to(dtype)
    matrix = matrix.tocsr().tocoo()
    index = torch.from_numpy(np.stack([matrix.row, matrix.col]).astype(np.int64))
    values = torch.from_numpy(matrix.data).to(dtype)
    return torch.sparse_coo_tensor(
        index, values, matrix.shape, check_invariants=True, is_coalesced=True
    )
