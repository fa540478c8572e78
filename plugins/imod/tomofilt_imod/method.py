"""The method that ``-f imod`` stands for, as its entry point finds it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tomofilt.errors import InputError
from tomofilt_imod.tilt_filter import ImodFilter

if TYPE_CHECKING:
    from tomofilt_imod.tilt_method import ImodTilt  # loads numba, and names are listed without it

__all__ = ["imod_tilt"]


def imod_tilt(argument: str, native: object, *, local: bool) -> ImodTilt:
    """As the project's tilt.com, in IMOD's scale.

    Parameters
    ----------
    argument : str
        Must be empty.
    native : object
        What the project's tilt.com says, if it has one; otherwise what etomo writes into a new one.
    local : bool
        Whether the series is aligned locally: ``tilt`` stretches no lines then.
    """
    from tomofilt_imod.tilt_method import ImodTilt

    if argument:
        raise InputError(f"it takes no argument, but {argument!r} was given")
    if not isinstance(native, ImodFilter):
        native = ImodFilter(radial_cutoff=0.35, radial_falloff=0.035, true_sigma=True)
    return ImodTilt(replace(native, cosine_stretch=native.cosine_stretch and not local))
