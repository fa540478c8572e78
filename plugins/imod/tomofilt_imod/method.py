"""The method that ``-f imod`` stands for, as its entry point finds it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tomofilt.errors import InputError
from tomofilt_imod.tilt_program import ETOMO, TiltProgram

if TYPE_CHECKING:
    from tomofilt_imod.tilt_method import ImodTilt  # loads numba, and names are listed without it

__all__ = ["imod_tilt"]


def imod_tilt(argument: str, native: object, *, local: bool) -> ImodTilt:
    """As the project's tilt.com, in IMOD's scale; imod:5 as an IMOD that was built without FFTW.

    Parameters
    ----------
    argument : str
        Largest prime factor of padded lines, see
        :func:`~tomofilt_imod.tilt_filter.imod_padded_length`; empty for the usual one.
    native : object
        What the project's tilt.com says, if it has one; otherwise what etomo writes into a new one.
    local : bool
        Whether the series is aligned locally: ``tilt`` stretches no lines then.
    """
    from tomofilt_imod.tilt_method import ImodTilt

    program = native if isinstance(native, TiltProgram) else ETOMO
    if program.refused:
        raise InputError(program.refused)
    if argument:
        if not argument.isdecimal():
            raise InputError(f"{argument!r} is no prime number: give 13, 5 or 19, or leave it out")
        chosen = replace(program.filter, largest_prime=int(argument))
        program = replace(program, filter=chosen)
    return ImodTilt(replace(program, cosine=(0, 0)) if local else program)
