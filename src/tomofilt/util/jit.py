"""How numba kernels are compiled: one decorator for all of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

import numba

__all__ = ["kernel"]

Function = TypeVar("Function", bound=Callable[..., object])


def kernel(function: Function) -> Function:
    """Compile a function, once per machine, so that it runs without the interpreter lock.

    A product and the sum that follows may become one instruction (FMA), but no sum is reordered.
    So results do not depend on how the work was divided.
    """
    compile_ = numba.njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract"})
    return cast(Function, compile_(function))
