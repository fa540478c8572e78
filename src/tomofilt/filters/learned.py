"""Filters that were learned: coefficients on tilt angle and physical frequency.

Every parametrisation is a product of three things::

    gains_m(k) = base_m(k) * sum_i V[m, i] * sum_n W[k, n] * c[i, n]

``base`` holds what belongs to a series and not to the filter: the angular step of each view, its
magnification and the unit of densities. ``V`` are functions of the tilt angle, ``W`` is linear
interpolation between nodes on frequency, and ``c``, which is learned, has no unit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tomofilt.errors import InputError
from tomofilt.filters.analytic import ramp_weights
from tomofilt.filters.nodes import GridNodes, RadialNodes
from tomofilt.filters.protocol import Filter, FilterContext
from tomofilt.io.bundle import SUFFIX, Bundle, load_bundle, save_bundle

__all__ = [
    "Angles",
    "Base",
    "GridNodes",
    "LearnedFilter",
    "RadialNodes",
    "fit",
    "read_filter",
    "same_scheme",
    "save_filter",
    "tilts_in_words",
]

FloatArray = NDArray[np.float64]

Base = Literal["flat", "ramp", "radial-ramp"]
Angles = Literal["shared", "per-tilt", "polynomial"]

#: Views closer than this are at the same tilt: alignment refines angles by less.
SAME_TILT_DEG = 0.05
#: Series of as many views, none of which is farther off, are of one scheme: stages are that exact.
_SAME_SCHEME_DEG = 1.0
_HIGHEST_ORDER = 12


@dataclass(frozen=True, eq=False)
class LearnedFilter(Filter):
    """Gains from learned coefficients; see the module.

    Parameters
    ----------
    base : "flat", "ramp" or "radial-ramp"
        What the coefficients are factors on: the ramp of each view at its last node across the tilt
        axis, its ramp, or its ramp on the length of the frequency.
    angles : "shared", "per-tilt" or "polynomial"
        How gains depend on the tilt: not at all, freely on the tilts of the training, or as
        Legendre polynomials in tilt / 90 degrees.
    nodes : RadialNodes or GridNodes
    tilt_deg : (tilt,)
        Tilts of the training. Beyond their range, polynomials stay as they are at its ends.
    coefficients : (term, *nodes.shape)
        One term if shared, one for each tilt, or ``order + 1``.
    order : int
        Of the polynomials.
    name : str
        What logs call the filter.
    bundle : Bundle, optional
        What it was read from.
    notes : tuple of str
        What was done to it since.

    Raises
    ------
    InputError
        If shapes or values do not go together.
    """

    two_dimensional: ClassVar[bool] = True
    weighs_views: ClassVar[bool] = True

    base: Base
    angles: Angles
    nodes: RadialNodes | GridNodes
    tilt_deg: FloatArray
    coefficients: NDArray[np.floating]
    order: int = 0
    name: str = ""
    bundle: Bundle | None = field(default=None, repr=False)
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.base not in get_args(Base) or self.angles not in get_args(Angles):
            raise InputError(
                f"base {self.base!r:.40} and angles {self.angles!r:.40} of a learned filter: "
                f"there are {', '.join(get_args(Base))} and {', '.join(get_args(Angles))}"
            )
        if type(self.order) is not int or not 0 <= self.order <= _HIGHEST_ORDER:
            raise InputError(f"order {self.order!r:.40}: polynomials go from 0 to {_HIGHEST_ORDER}")
        tilts = self.tilt_deg
        if tilts.ndim != 1 or not len(tilts) or not np.all(np.abs(tilts) <= 90):
            raise InputError("tilt_deg: give the tilts of the training, within -90 to 90 degrees")
        terms = {"shared": 1, "per-tilt": len(tilts), "polynomial": self.order + 1}[self.angles]
        expected = (terms, *self.nodes.shape)
        if self.coefficients.shape != expected:
            raise InputError(
                f"coefficients of shape {self.coefficients.shape} where {self.angles} angles and "
                f"the nodes need {expected}"
            )

    def __repr__(self) -> str:
        digest = sha256(f"{self.base} {self.angles} {self.order}".encode())
        for values in (*self.nodes.axes, self.tilt_deg, self.coefficients):
            digest.update(np.ascontiguousarray(values, dtype=np.float64).tobytes())
        # the fingerprint of a tomogram rests on it: contents, not names
        return f"LearnedFilter({digest.hexdigest()})"

    @property
    def spec(self) -> str:
        """``"learned:NAME"``."""
        return f"learned:{self.name}"

    @property
    def pixel_angst(self) -> float:
        """Pixel size of the training; if it is not known, the one that the nodes fit."""
        for each in _training_series(self):
            pixel = each.get("pixel_angst")
            if isinstance(pixel, (int, float)) and 0 < pixel < 1e6:
                return float(pixel)
        return 0.5 / self.nodes.highest_k

    def facts(self) -> dict[str, object]:
        """Where it is from; see :meth:`Filter.facts`."""
        facts: dict[str, object] = {"name": self.name, "notes": list(self.notes)}
        if self.bundle is not None:
            facts |= {"sha256": self.bundle.sha256, "metadata": dict(self.bundle.metadata)}
        return facts

    def angle_basis(self, tilt_deg: FloatArray) -> FloatArray:
        """Functions of the tilt at given tilts: V of the module's formula.

        Parameters
        ----------
        tilt_deg : (view,)

        Returns
        -------
        (view, term) array

        Raises
        ------
        InputError
            If the angles are "per-tilt" and a view's is none of the training's: such a filter has
            to be transferred, see :mod:`tomofilt.filters.transfer`.
        """
        tilt_deg = np.asarray(tilt_deg, dtype=np.float64)
        if self.angles == "shared":
            return np.ones((len(tilt_deg), 1))
        if self.angles == "polynomial":
            inside = np.clip(tilt_deg, self.tilt_deg.min(), self.tilt_deg.max())
            return np.asarray(np.polynomial.legendre.legvander(inside / 90, self.order))
        distance = np.abs(tilt_deg[:, None] - self.tilt_deg)
        strangers = distance.min(axis=1) > SAME_TILT_DEG
        if strangers.any():
            raise InputError(
                f"{self.spec} was learned for {len(self.tilt_deg)} tilts, and a view at "
                f"{tilt_deg[strangers][0]:.2f} deg is none of them: transfer it first "
                "(tomofilt filters transfer)"
            )
        basis = np.zeros(distance.shape)
        if len(tilt_deg) == len(self.tilt_deg) and np.diagonal(distance).max() <= SAME_TILT_DEG:
            np.fill_diagonal(basis, 1.0)  # several views at one tilt keep their own
        else:
            basis[np.arange(len(tilt_deg)), distance.argmin(axis=1)] = 1.0
        return basis

    def base_gains(
        self, k_across: FloatArray, k_along: FloatArray, context: FilterContext
    ) -> FloatArray:
        """What the coefficients are factors on, of every view; see :meth:`gains`."""
        across, along = np.broadcast_arrays(np.abs(k_across), k_along)
        if self.base == "flat":
            shape = np.full(across.shape, self.nodes.highest_k)
        else:
            shape = across if self.base == "ramp" else np.hypot(across, along)
        return np.asarray(np.multiply.outer(ramp_weights(context), shape))

    def gains(
        self, k_across: FloatArray, k_along: FloatArray, context: FilterContext
    ) -> FloatArray:
        """Gains of every view; see :meth:`Filter.gains`, and :meth:`angle_basis` for errors."""
        gains = self.base_gains(k_across, k_along, context)
        of_views = self.angle_basis(context.tilt_deg) @ self._flat
        index, weight = self.nodes.interpolation(k_across, k_along)
        for view, values in enumerate(of_views):
            gains[view] *= np.einsum("...n,...n->...", values[index], weight)
        return gains

    def kinks(self) -> tuple[FloatArray, FloatArray]:
        """Frequencies of the nodes of a grid; see :meth:`Filter.kinks`."""
        return super().kinks() if isinstance(self.nodes, RadialNodes) else self.nodes.axes

    def radial_factors(self, context: FilterContext) -> tuple[FloatArray, FloatArray] | None:
        """The coefficients of every view, at radial nodes; see :meth:`Filter.radial_factors`."""
        if not isinstance(self.nodes, RadialNodes):
            return None
        # below the first node factors are those at the node
        k = np.unique(np.concatenate([[0.0], self.nodes.k_per_angst]))
        factors = self.angle_basis(context.tilt_deg) @ self._flat
        return k, factors[:, [0] * (len(k) - factors.shape[1]) + list(range(factors.shape[1]))]

    def without_radial_factors(self) -> LearnedFilter:
        """The base alone; see :meth:`Filter.without_radial_factors`."""
        if not isinstance(self.nodes, RadialNodes):
            return self
        nodes = RadialNodes(self.nodes.k_per_angst[-1:])
        return replace(self, angles="shared", nodes=nodes, coefficients=np.ones((1, 1)), order=0)

    @property
    def _flat(self) -> FloatArray:
        terms = len(self.coefficients)
        return np.asarray(self.coefficients, dtype=np.float64).reshape(terms, -1)

    def to_bundle(self, metadata: Mapping[str, Any]) -> Bundle:
        """The filter as a bundle.

        Parameters
        ----------
        metadata : mapping
            How it was trained, and all else that is known; ``"parametrisation"`` is added.
        """
        parametrisation = {"base": self.base, "angles": self.angles, "order": self.order}
        nodes = {name: np.asarray(value) for name, value in vars(self.nodes).items()}
        return Bundle(
            "filter",
            {"coefficients": self.coefficients, "tilt_deg": self.tilt_deg, **nodes},
            {**metadata, "parametrisation": parametrisation},
        )

    @classmethod
    def from_bundle(cls, bundle: Bundle, name: str = "") -> LearnedFilter:
        """The filter in a bundle.

        Raises
        ------
        InputError
            If something is missing in the bundle, or does not go together.
        """
        said = bundle.metadata.get("parametrisation")
        if bundle.kind != "filter" or not isinstance(said, dict):
            raise InputError(f"bundle {name}: it does not say what filter it is")
        arrays = {key: np.asarray(value) for key, value in bundle.tensors.items()}
        wanted = {"coefficients", "tilt_deg"}
        radial, grid = {"k_per_angst"}, {"across_per_angst", "along_per_angst"}
        if arrays.keys() not in (wanted | radial, wanted | grid):
            raise InputError(
                f"bundle {name} holds {', '.join(sorted(arrays))}: a filter is coefficients, "
                "tilt_deg and k_per_angst, or across_per_angst and along_per_angst"
            )
        axes = {key: arrays[key].astype(np.float64) for key in arrays.keys() - wanted}
        try:
            found = cls(
                said.get("base"),  # type: ignore[arg-type]  # it checks
                said.get("angles"),  # type: ignore[arg-type]
                RadialNodes(**axes) if axes.keys() == radial else GridNodes(**axes),
                arrays["tilt_deg"].astype(np.float64),
                arrays["coefficients"],
                said.get("order", 0),
                name=name,
                bundle=bundle,
            )
        except InputError as error:
            raise InputError(f"bundle {name}: {error}") from error
        said = bundle.metadata.get("notes", [])
        if not isinstance(said, list) or not all(isinstance(note, str) for note in said):
            raise InputError(f"bundle {name}: its notes are no list of texts")
        notes = [note for note in said if note.isprintable()]
        return replace(found, notes=(_in_words(found), *notes))


def save_filter(
    path: str | Path,
    k_per_angst: ArrayLike,
    factors: ArrayLike,
    tilt_deg: ArrayLike,
    *,
    overwrite: bool = False,
    **metadata: object,
) -> None:
    """Keep factors on the ramp, the same for all views, for ``tomofilt reconstruct -m``.

    Parameters
    ----------
    path : str or Path
        ``NAME.tomofilt.safetensors``.
    k_per_angst : (n,)
        Ascending frequencies, 1/angstrom; factors are interpolated between them.
    factors : (n,)
    tilt_deg : (view,)
        Tilts that they were found for.
    overwrite : bool
        Whether a bundle of that name may be replaced.
    **metadata
        How they were found, and all else that is worth telling; ready for JSON.

    Raises
    ------
    InputError
        If shapes or values do not go together.
    OutputExistsError
        If the file exists.
    """
    found = LearnedFilter(
        "ramp",
        "shared",
        RadialNodes(np.asarray(k_per_angst, dtype=np.float64)),
        np.asarray(tilt_deg, dtype=np.float64),
        np.asarray(factors, dtype=np.float64)[None],
    )
    save_bundle(Path(path), found.to_bundle(metadata), overwrite=overwrite)


def read_filter(path: Path) -> LearnedFilter:
    """Read a filter's bundle.

    Raises
    ------
    MissingFileError, InputError
        As :func:`tomofilt.io.bundle.load_bundle`, or if the bundle is of a kind that is no more.
    """
    bundle = load_bundle(path, "filter")
    if "base" in bundle.metadata:
        raise InputError(
            f"{path} holds gains on top of {bundle.metadata['base']!r:.40}, from `tomofilt train "
            "--self` of an earlier version, which made nothing better: use -f wiener-exact:match"
        )
    return LearnedFilter.from_bundle(bundle, Path(path).name.removesuffix(SUFFIX))


def same_scheme(trained_deg: FloatArray, tilt_deg: FloatArray) -> NDArray[np.intp] | None:
    """Pair the views of two series of one tilt scheme, by the rank of their tilts.

    Returns
    -------
    (view,) int
        Index into ``trained_deg`` for each of ``tilt_deg``; None when the numbers of views differ,
        or a pair by more than a degree.
    """
    if len(trained_deg) != len(tilt_deg):
        return None
    trained, order = np.argsort(trained_deg, kind="stable"), np.argsort(tilt_deg, kind="stable")
    if np.abs(trained_deg[trained] - tilt_deg[order]).max() > _SAME_SCHEME_DEG:
        return None
    pairs = np.empty(len(order), dtype=np.intp)
    pairs[order] = trained
    return pairs


def tilts_in_words(tilt_deg: FloatArray) -> str:
    """``"61 tilts from -60 to 60 deg"``, say."""
    count = len(tilt_deg)
    words = f"{count} tilt{'s' * (count > 1)}"
    return f"{words} from {tilt_deg.min():g} to {tilt_deg.max():g} deg"


def _in_words(chosen: LearnedFilter) -> str:
    """What the filter is and how it was trained, in one line."""
    nodes = " x ".join(str(count) for count in chosen.nodes.shape)
    base = {"flat": "a constant", "ramp": "the ramp", "radial-ramp": "the radial ramp"}[chosen.base]
    tilts = tilts_in_words(chosen.tilt_deg)
    angles = {
        "shared": f"one for all of {tilts}",
        "per-tilt": f"each for {tilts}",
        "polynomial": f"polynomials of order {chosen.order} over {tilts}",
    }[chosen.angles]
    words = f"{nodes} factors on {base}, {angles}, to {1 / chosen.nodes.highest_k:.3g} A"
    series, solver = _training_series(chosen), _training(chosen).get("solver")
    if series:
        words += f"; learned from {len(series)} series at {chosen.pixel_angst:g} A"
        words += f" ({solver})" if solver in ("closed-form", "adamw") else ""
    return words


def _training(chosen: LearnedFilter) -> dict[str, Any]:
    said = chosen.bundle.metadata.get("training") if chosen.bundle else None
    return said if isinstance(said, dict) else {}


def _training_series(chosen: LearnedFilter) -> list[dict[str, Any]]:
    """What the bundle says about the series of its training, as far as it makes sense."""
    said = _training(chosen).get("train")
    return [each for each in said if isinstance(each, dict)] if isinstance(said, list) else []


def fit(chosen: Filter, like: LearnedFilter, context: FilterContext) -> LearnedFilter:
    """Give a learned filter the coefficients that make it another filter: where training begins.

    At the nodes gains are the other filter's, at radial ones on the axis across the tilt axis; over
    views that share terms, by least squares.

    Parameters
    ----------
    chosen : Filter
        Any filter that has gains for ``context``: one with a formula, or one learned before.
    like : LearnedFilter
        Its coefficients are not used.
    context : FilterContext
        Of the training; with the tilts of ``like``.

    Returns
    -------
    LearnedFilter
    """
    # zero frequency as filters take it, see Filter.gains
    lowest_k = 2 / np.pi**2 / (context.padded_px * context.pixel_angst)
    places = like.nodes.places(lowest_k, 0.5 / context.pixel_angst)
    factors = chosen.gains(*places, context) / like.base_gains(*places, context)
    nodes = like.nodes.axes[0]
    if len(nodes) > 1 and nodes[0] < lowest_k < nodes[1]:
        # so that the interpolation has the value at the lowest frequency, not at the node
        share = (lowest_k - nodes[0]) / (nodes[1] - nodes[0])
        factors[:, 0] = (factors[:, 0] - share * factors[:, 1]) / (1 - share)
    basis = like.angle_basis(context.tilt_deg)
    flat = np.linalg.lstsq(basis, factors.reshape(len(factors), -1), rcond=None)[0]
    return replace(like, coefficients=flat.reshape(-1, *like.nodes.shape))
