"""Being told to stop: what ends a program from outside ends it as Ctrl-C does, tidily."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["interrupt_main_thread", "stoppable"]

#: Sent by schedulers and ``kill``, and when a terminal is closed.
_STOPS = (signal.SIGTERM, signal.SIGHUP)


@contextmanager
def stoppable() -> Iterator[None]:
    """Let SIGTERM and SIGHUP raise KeyboardInterrupt in the main thread, as Ctrl-C does.

    A signal that is ignored (SIGHUP under ``nohup``), or that the program around this one handles
    itself, stays as it is; so does everything where this is not the main thread.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    ours = [each for each in _STOPS if signal.getsignal(each) is signal.SIG_DFL]
    for each in ours:
        signal.signal(each, signal.default_int_handler)
    try:
        yield
    finally:
        for each in ours:
            signal.signal(each, signal.SIG_DFL)


def interrupt_main_thread() -> None:
    """Raise KeyboardInterrupt in the main thread, wherever it is, from another thread.

    Works within :func:`stoppable`. SIGINT would not do: shells start background jobs with it
    ignored.
    """
    if signal.getsignal(signal.SIGTERM) is signal.default_int_handler:
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)
