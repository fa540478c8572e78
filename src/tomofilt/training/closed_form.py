"""The best coefficients of a quadratic loss, without learning rate: a Krylov space and a shrinkage.

With u(c) linear in the coefficients, the mean squared error is J(c) = c.N c - 2 b.c + const. The
unknowns are scaled by the energy of the volume that each makes, which leaves N near a multiple of
one, and departures d from a filter that all views share are shrunk:

    minimise J(c0 + S d) + lambda |d|^2,    S = energy^(-1/2)

Lanczos' iteration (J. Res. Natl. Bur. Stand. 45, 255, 1950) needs N only as a product, one
back-projection and one projection of each series; its few vectors then give the solution for every
lambda, and held-out series say which is best.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from tomofilt.filters.learned import LearnedFilter, RadialNodes, fit
from tomofilt.training.losses import Loss
from tomofilt.training.model import FilteredBackProjection
from tomofilt.training.objective import backward, reconstruct

__all__ = ["SHRINKAGES", "Krylov", "Quadratic", "Solution", "mean_psnr_db", "solve"]

Float64 = NDArray[np.float64]

#: Trial values of lambda, as parts of the largest eigenvalue.
SHRINKAGES = (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
#: Residual, as a part of the right-hand side, at which an iteration ends.
_TOLERANCE = 1e-3
#: Coefficients with less than this part of the mean energy have none.
_NO_ENERGY = 1e-9


@dataclass(frozen=True, eq=False)
class Solution:
    """Coefficients and how they were chosen.

    Attributes
    ----------
    coefficients : array
    shrinkage : float
        Chosen part of the largest eigenvalue.
    trials : sequence of (shrinkage, validation PSNR in dB)
    iterations : int
        Products with the normal matrix.
    residual : float
        Of the normal equations at the chosen shrinkage, as a part of their right-hand side.
    """

    coefficients: Float64
    shrinkage: float
    trials: Sequence[tuple[float, float]]
    iterations: int
    residual: float


class Quadratic:
    """Products with the normal matrix of the mean squared error over several series.

    Parameters
    ----------
    models : sequence of FilteredBackProjection
    advance : callable
        Called after each product.
    """

    def __init__(
        self,
        models: Sequence[FilteredBackProjection],
        advance: Callable[[], None] = lambda: None,
    ) -> None:
        self.models, self._advance, self.products = models, advance, 0
        self.shape = models[0].shape
        energy = sum(model.energy / (model.truth.numel() * model.truth_std**2) for model in models)
        self.energy: Float64 = np.asarray(energy).ravel() / len(models)

    def normal(self, values: Float64) -> Float64:
        """N v."""
        return self._gradient(values, with_truth=False)

    def descent(self, values: Float64) -> Float64:
        """Half the direction of steepest descent, b - N v."""
        return -self._gradient(values, with_truth=True)

    def _gradient(self, values: Float64, *, with_truth: bool) -> Float64:
        dtype = self.models[0].truth.dtype
        coefficients = torch.from_numpy(values.reshape(self.shape)).to(dtype).requires_grad_()
        for model in self.models:
            backward(model, coefficients, Loss(), with_truth=with_truth)
        self.products += 1
        self._advance()
        assert coefficients.grad is not None
        gradient: Float64 = coefficients.grad.numpy().astype(np.float64).ravel()
        return gradient / (2 * len(self.models))


def solve(
    train: Sequence[FilteredBackProjection],
    validation: Sequence[FilteredBackProjection],
    filter: LearnedFilter,
    shared: LearnedFilter,
    *,
    iterations: int = 25,
    tolerance: float = _TOLERANCE,
    shrinkages: Sequence[float] = SHRINKAGES,
    advance: Callable[[], None] = lambda: None,
) -> Solution:
    """Solve for the coefficients of a filter.

    Parameters
    ----------
    train, validation : sequence of FilteredBackProjection
    filter : LearnedFilter
        Says what the coefficients mean.
    shared : LearnedFilter
        Radial gains of all views, which the others are drawn to.
    iterations : int
        Products with the normal matrix, at most.
    tolerance : float
        The iteration ends earlier when the residual is so small a part of what it was.
    shrinkages : sequence of float
        Ascending trial values of lambda, as parts of the largest eigenvalue. Radial gains that all
        views share are not shrunk.
    advance : callable
        Called after each product.
    """
    problem = Quadratic(train, advance)
    origin = np.zeros(problem.energy.shape)
    if filter.angles == "shared" and isinstance(filter.nodes, RadialNodes):
        shrinkages = (0.0,)
    else:
        common = _shared_gains(filter, shared, train[0])
        gains = Krylov(
            lambda v: common.T @ problem.normal(common @ v),
            common.T @ problem.descent(origin),
            (common**2).T @ problem.energy,
            iterations,
            tolerance,
        )
        origin = common @ gains.solution(0.0)
    right = problem.descent(origin)
    space = Krylov(problem.normal, right, problem.energy, iterations, tolerance, shrinkages[0])
    trials, best = [], (-np.inf, 0.0, origin)
    for shrinkage in shrinkages:
        coefficients = origin + space.solution(shrinkage)
        psnr = mean_psnr_db(validation, coefficients.reshape(problem.shape))
        trials.append((shrinkage, psnr))
        best = max(best, (psnr, shrinkage, coefficients), key=lambda trial: trial[0])
    _, shrinkage, coefficients = best
    return Solution(
        coefficients.reshape(problem.shape),
        shrinkage,
        trials,
        problem.products,
        space.residual(shrinkage),
    )


class Krylov:
    """Solutions of (S N S + lambda e I) S^-1 d = S b for every lambda, e the largest eigenvalue.

    Parameters
    ----------
    normal : callable
        N v.
    descent : (n,)
        b.
    energy : (n,)
        1 / S^2.
    iterations : int
        Products at most.
    tolerance : float
        The iteration ends where the residual is so small a part of S b.
    shrinkage : float
        With this shrinkage, the least that matters.
    """

    def __init__(
        self,
        normal: Callable[[Float64], Float64],
        descent: Float64,
        energy: Float64,
        iterations: int,
        tolerance: float,
        shrinkage: float = 0.0,
    ) -> None:
        used = energy > _NO_ENERGY * energy.mean()
        self._scale = np.where(used, 1 / np.sqrt(np.where(used, energy, 1.0)), 0.0)
        right = self._scale * descent
        self._norm = float(np.linalg.norm(right))
        vectors, diagonal, off = [right / (self._norm or 1.0)], [], []
        for _ in range(min(iterations, int(used.sum())) if self._norm else 0):
            next_ = self._scale * normal(self._scale * vectors[-1])
            diagonal.append(float(next_ @ vectors[-1]))
            basis = np.array(vectors)
            for _ in range(2):  # rounding would bring found vectors back
                next_ -= basis.T @ (basis @ next_)
            off.append(float(np.linalg.norm(next_)))
            self._decompose(diagonal, off)
            if self.residual(shrinkage) <= tolerance or off[-1] <= 1e-7 * self._largest:
                break
            vectors.append(next_ / off[-1])
        self._vectors = np.array(vectors[: len(diagonal)])

    def _decompose(self, diagonal: list[float], off: list[float]) -> None:
        from scipy.linalg import eigh_tridiagonal

        self._eigenvalues, self._rotation = eigh_tridiagonal(diagonal, off[:-1])
        self._largest = float(self._eigenvalues[-1])
        self._last_off = off[-1]

    def _steps(self, shrinkage: float) -> Float64:
        damped = self._eigenvalues + shrinkage * self._largest
        steps: Float64 = self._rotation @ (self._rotation[0] / damped)
        return steps

    def solution(self, shrinkage: float) -> Float64:
        """The departure d for a shrinkage."""
        if not self._norm:
            return np.zeros(len(self._scale))
        along = self._norm * self._steps(shrinkage) @ self._vectors
        return np.asarray(self._scale * along)

    def residual(self, shrinkage: float) -> float:
        """Norm of the residual, as a part of that of the right-hand side."""
        return self._last_off * abs(float(self._steps(shrinkage)[-1])) if self._norm else 0.0


def mean_psnr_db(models: Sequence[FilteredBackProjection], coefficients: Float64) -> float:
    """Mean over series of the PSNR after an affine match."""
    tensor = torch.from_numpy(coefficients).to(models[0].truth.dtype)
    return float(np.mean([model.case.psnr_db(reconstruct(model, tensor)) for model in models]))


def _shared_gains(
    filter: LearnedFilter, shared: LearnedFilter, model: FilteredBackProjection
) -> Float64:
    """Matrix from the coefficients of a shared filter to those that make the same gains."""
    context = model.case.problem.filter_context
    columns = []
    for coefficients in np.eye(shared.coefficients.size):
        one = replace(shared, coefficients=coefficients.reshape(shared.coefficients.shape))
        columns.append(fit(one, filter, context).coefficients.ravel())
    return np.stack(columns, axis=1)
