"""What an error that ends a series, or the program, means for the user."""

from __future__ import annotations

from collections.abc import Sequence

from tomofilt.errors import TomofiltError

__all__ = ["exit_code", "explain"]


def explain(error: Exception) -> tuple[str, int]:
    """Message and exit code for an error that ends a series or the program."""
    match error:
        case TomofiltError():
            return str(error), error.exit_code
        case MemoryError():
            return "out of memory: give --max-memory, a larger --bin or fewer --threads", 3
        case OSError():
            return str(error), 2
    return (
        f"{type(error).__name__}: {error}\n"
        "This is a bug in tomofilt. Please report it in the project's issue tracker, with what the "
        "same command prints with TOMOFILT_DEBUG=1 set, and with the output of `tomofilt doctor`.",
        1,
    )


def exit_code(errors: Sequence[Exception | None]) -> int:
    """Exit code for the errors of several series, None for those that went well.

    0 without errors; 1 when some series went well or the reasons differ; else the one reason's:
    2 for input that cannot be used, 3 for want of memory or a device.
    """
    codes = {explain(error)[1] if error else 0 for error in errors}
    return codes.pop() if len(codes) == 1 else int(bool(codes))
