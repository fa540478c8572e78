"""Methods by name: from ``NAME[:ARG]`` on the command line to a :class:`Method`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tomofilt.errors import InputError
from tomofilt.filters import registry as filters
from tomofilt.filters.analytic import Frequency
from tomofilt.filters.protocol import Filter
from tomofilt.reconstruction.settings import Settings
from tomofilt.series.tiltseries import TiltSeries
from tomofilt.util.plugins import plugins

if TYPE_CHECKING:
    # methods load numba, and names are listed without it
    from tomofilt.reconstruction.problem import Method

__all__ = ["GROUP", "available", "method_for", "parse"]

#: Entry points under which other packages offer methods. Each is a function from the argument
#: behind the colon, or an empty text, the series' native filter, and whether it is aligned locally
#: (by keyword, ``local``) to a :class:`Method`. Its docstring's first line is the description.
GROUP = "tomofilt.methods"

_ITERATIVE = (
    ("map", ":N", "N steps from wiener-exact:match to the most probable specimen: sharper, slower"),
    (
        "sirt",
        ":N[,SIGMA]",
        "N iterations of SIRT, not one back-projection: slow, for comparison; SIGMA: a low-pass",
    ),
)


def available() -> tuple[tuple[str, str, str], ...]:
    """Name, argument and one-line description of every filter and method."""
    installed = [(point.name, "", _first_line(point.load())) for point in plugins(GROUP)]
    return (*filters.available(), *_ITERATIVE, *installed)


def _first_line(method: object) -> str:
    return (method.__doc__ or "").strip().partition("\n")[0]


def parse(
    spec: str, *, cutoff: str | None = None, native: object = None, local: bool = False
) -> Method:
    """Make a method from its specification.

    Parameters
    ----------
    spec : str
        ``NAME`` or ``NAME:ARG``, see :func:`available`. Of a filter: filtered back-projection.
    cutoff : str, optional
        Cut-off of the windowed filters, another way to give their argument.
    native : object, optional
        The series' :attr:`~tomofilt.series.tiltseries.TiltSeries.native_filter`.
    local : bool
        Whether the series is aligned locally.

    Raises
    ------
    InputError
        If the name is unknown, or the argument or the cut-off does not go with it.
    """
    from tomofilt.reconstruction.methods.fbp import Fbp

    name, _, argument = (part.strip() for part in spec.partition(":"))
    installed = [point for point in plugins(GROUP) if point.name == name.lower()]
    own = {"map": _map, "sirt": _sirt}.get(name.lower())
    if own is None and not installed:
        return Fbp(filters.parse(spec, cutoff=cutoff))
    if cutoff is not None:
        raise InputError(f"filter {name!r} has no cut-off: leave {cutoff!r} out")
    try:
        if own is not None:
            return own(argument)
        method: Method = installed[0].load()(argument, native, local=local)
        return method
    except InputError as error:
        raise InputError(f"filter {spec!r}: {error}") from error


def method_for(series: TiltSeries, settings: Settings, voxel_angst: float) -> Method:
    """Make the method that the settings name, for a series.

    Parameters
    ----------
    series : TiltSeries
    settings : Settings
    voxel_angst : float
        Of the tomogram.

    Raises
    ------
    InputError
        If there is no method or filter of that name, or settings do not go with it.
    """
    from tomofilt.reconstruction.methods.direct import Direct, Mean
    from tomofilt.reconstruction.methods.fbp import Fbp

    local = series.geometry.local is not None
    direct = settings.projector == "direct" or settings.normalise == "count"
    if settings.model is not None:
        method: Method = Fbp(_learned(series, settings, voxel_angst))
    else:
        method = parse(
            settings.filter, cutoff=settings.cutoff, native=series.native_filter, local=local
        )
    if isinstance(method, Fbp):
        if settings.normalise == "count":
            method = Mean(method.filter)
        elif direct or local:
            method = Direct(method.filter)
    elif direct:
        raise InputError(
            f"-f {method.spec} goes with neither --projector direct nor --normalise count: "
            "leave them out"
        )
    if settings.interpolation is None:
        return method
    return method.replaced(interpolation=settings.interpolation)


def _learned(series: TiltSeries, settings: Settings, voxel_angst: float) -> Filter:
    from tomofilt.filters.learned import read_filter
    from tomofilt.filters.transfer import for_series

    assert settings.model is not None
    if settings.cutoff is not None:
        raise InputError(f"{settings.model} has no cut-off: leave {settings.cutoff!r} out")
    chosen = read_filter(settings.model)
    return for_series(chosen, series.geometry.factor()[1].tilt_deg, voxel_angst)


def _map(argument: str) -> Method:
    from tomofilt.reconstruction.methods.map import Map

    return Map(_count(argument, "map:3"))


def _sirt(argument: str) -> Method:
    from tomofilt.reconstruction.methods.sirt import LowPass, Sirt

    iterations, comma, sigma = argument.partition(",")
    count = _count(iterations, "sirt:10")
    return Sirt(count, LowPass(Frequency.parse(sigma)) if comma else LowPass())


def _count(text: str, example: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise InputError(f"{text!r} iterations: give a whole number, {example!r}") from error
