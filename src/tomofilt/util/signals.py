"""Being told to stop: what ends a program from outside ends it as Ctrl-C does, tidily."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["interrupt_main_thread", "raise_if_stopped", "stoppable"]

#: Sent by schedulers and ``kill``, when a terminal is closed, and by Ctrl-C.
_STOPS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
_stopped = threading.Event()


@contextmanager
def stoppable() -> Iterator[None]:
    """Let SIGTERM and SIGHUP raise KeyboardInterrupt in the main thread, as Ctrl-C does.

    A signal that is ignored (SIGHUP under ``nohup``), or that the program around this one handles
    itself, stays as it is; so does everything where this is not the main thread.
    """
    _stopped.clear()
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    usual = (signal.SIG_DFL, signal.default_int_handler)
    before = {each: signal.getsignal(each) for each in _STOPS if signal.getsignal(each) in usual}
    for each in before:
        signal.signal(each, _stop)
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
        _stopped.clear()


def raise_if_stopped() -> None:
    """Raise KeyboardInterrupt if the program was told to stop.

    For whoever goes on after an error: an interruption within a library, while it is imported say,
    may come out of it as an error of another kind, or not at all.
    """
    if _stopped.is_set():
        raise KeyboardInterrupt


def interrupt_main_thread() -> None:
    """Raise KeyboardInterrupt in the main thread, wherever it is, from another thread.

    Works within :func:`stoppable`. SIGINT would not do: shells start background jobs with it
    ignored.
    """
    if signal.getsignal(signal.SIGTERM) is _stop:
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)


def _stop(number: int, frame: FrameType | None) -> None:
    _stopped.set()
    raise KeyboardInterrupt
