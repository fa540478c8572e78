"""Filters by name: from ``NAME[:ARG]`` on the command line to a :class:`Filter`."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint

from tomofilt.errors import InputError
from tomofilt.filters.analytic import (
    Exact,
    Frequency,
    Gaussian,
    Radial,
    SirtLike,
    Unfiltered,
    Windowed,
)
from tomofilt.filters.protocol import Filter
from tomofilt.filters.wiener import WienerExact
from tomofilt.util.plugins import plugins

__all__ = ["GROUP", "available", "parse"]

#: Entry points under which other packages offer filters. Each is a function from the argument
#: behind the colon, or an empty text, to a :class:`Filter`. Its docstring's first line is the
#: filter's description.
GROUP = "tomofilt.filters"


@dataclass(frozen=True)
class _Entry:
    argument: str
    description: str
    build: Callable[[str], Filter]
    has_cutoff: bool = False


def _windowed(name: str) -> Callable[[str], Filter]:
    return lambda text: Windowed(name, Frequency.parse(text) if text else None)


def _gaussian(text: str) -> Filter:
    return Gaussian(Frequency.parse(text))


def _radial(text: str) -> Filter:
    cutoff, comma, sigma = text.partition(",")
    if not comma:
        raise InputError("give a cut-off and a sigma: 'radial:0.35,0.035'")
    return Radial(Frequency.parse(cutoff), Frequency.parse(sigma))


def _sirt_like(text: str) -> Filter:
    return SirtLike(_iterations(text, "sirt-like:10"))


def _iterations(text: str, example: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise InputError(f"{text!r} iterations: give a whole number, {example!r}") from error


def _exact(text: str) -> Filter:
    if not text:
        return Exact()
    try:
        thickness_angst = float(text.removesuffix("A"))
    except ValueError as error:
        raise InputError(
            f"{text!r} is not a thickness: give it in angstrom, 'exact:2000'"
        ) from error
    return Exact(thickness_angst)


def _wiener_exact(text: str) -> Filter:
    return WienerExact(text) if text else WienerExact()  # type: ignore[arg-type]  # it checks


def _without_argument(filter_type: type[Filter]) -> Callable[[str], Filter]:
    def build(text: str) -> Filter:
        if text:
            raise InputError(f"it takes no argument, but {text!r} was given")
        return filter_type()

    return build


_CUTOFF = "[:CUTOFF]"
_ENTRIES: Mapping[str, _Entry] = {
    "ramp": _Entry(_CUTOFF, "|k| up to the cut-off: sharpest, noisiest", _windowed("ramp"), True),
    "shepp-logan": _Entry(
        _CUTOFF, "ramp x sinc: slightly smoothed ramp", _windowed("shepp-logan"), True
    ),
    "cosine": _Entry(_CUTOFF, "ramp x cosine", _windowed("cosine"), True),
    "hamming": _Entry(_CUTOFF, "ramp x Hamming window", _windowed("hamming"), True),
    "hann": _Entry(
        _CUTOFF, "ramp x Hann window: smoothest of the windows", _windowed("hann"), True
    ),
    "gaussian": _Entry(
        ":SIGMA", "ramp x Gaussian across and along the tilt axis: 'gaussian:60A'", _gaussian
    ),
    "radial": _Entry(
        ":CUTOFF,SIGMA", "ramp, then constant x Gaussian: IMOD's RADIAL in density scale", _radial
    ),
    "sirt-like": _Entry(":N", "looks like N iterations of SIRT", _sirt_like),
    "exact": _Entry(
        "[:THICKNESS]",
        "weighs by how many views measured a frequency of a specimen THICKNESS angstrom thick",
        _exact,
    ),
    "wiener-exact": _Entry(
        "[:view|:match]",
        "made from the SNR of the series itself; view: smoothed for the eye, match: not",
        _wiener_exact,
    ),
    "none": _Entry("", "plain back-projection, gain 1", _without_argument(Unfiltered)),
}


def available() -> tuple[tuple[str, str, str], ...]:
    """Name, argument and one-line description of every filter.

    In arguments, a CUTOFF or SIGMA is in cycles per pixel of the tomogram, or, as ``60A``, a
    resolution.
    """
    own = [(name, entry.argument, entry.description) for name, entry in _ENTRIES.items()]
    return (*own, *(_described(point) for point in plugins(GROUP)))


def _described(point: EntryPoint) -> tuple[str, str, str]:
    words = (point.load().__doc__ or "").strip().splitlines()
    return point.name, "[:ARG]", words[0] if words else f"from {point.value}"


def _installed(name: str) -> _Entry | None:
    """The filter that another package offers under a name."""
    for point in plugins(GROUP):
        if point.name == name:
            return _Entry(*_described(point)[1:], build=point.load())
    return None


def parse(spec: str, *, cutoff: str | None = None) -> Filter:
    """Make a filter from its specification.

    Parameters
    ----------
    spec : str
        ``NAME`` or ``NAME:ARG``, see :func:`available`.
    cutoff : str, optional
        Cut-off of the windowed filters, another way to give their argument.

    Raises
    ------
    InputError
        If the name is unknown, or the argument or the cut-off does not go with it.
    """
    name, _, argument = (part.strip() for part in spec.partition(":"))
    name = name.lower()
    entry = _ENTRIES.get(name) or _installed(name)
    if entry is None:
        close = difflib.get_close_matches(name, _ENTRIES, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise InputError(f"there is no filter {name!r}.{hint} Filters: {', '.join(_ENTRIES)}")
    if cutoff is not None:
        if not entry.has_cutoff:
            names = ", ".join(other for other, each in _ENTRIES.items() if each.has_cutoff)
            raise InputError(f"filter {name!r} has no cut-off; {names} have one")
        if argument:
            raise InputError(
                f"filter {spec!r} and the cut-off {cutoff!r} both give a cut-off: keep one"
            )
        argument = cutoff
    try:
        return entry.build(argument)
    except InputError as error:
        raise InputError(f"filter {spec!r}: {error}") from error
