"""SIGTERM and SIGHUP end the work as Ctrl-C does, and nothing else of the process changes."""

import os
import signal
import threading
from contextlib import suppress

import pytest

from tomofilt.util.signals import interrupt_main_thread, raise_if_stopped, stoppable


def work(meanwhile):
    """Something that would take a minute."""
    with stoppable():
        meanwhile()
        threading.Event().wait(60)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_is_an_interruption(number):
    with pytest.raises(KeyboardInterrupt):
        work(lambda: os.kill(os.getpid(), number))
    assert signal.getsignal(number) is signal.SIG_DFL


def test_what_is_ignored_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stoppable():
            os.kill(os.getpid(), signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_another_thread_interrupts_the_main_one():
    with pytest.raises(KeyboardInterrupt):
        work(threading.Thread(target=interrupt_main_thread).start)


def test_without_it_nothing_is_interrupted():
    interrupt_main_thread()


def test_an_interruption_that_came_out_as_another_error_is_not_forgotten():
    with stoppable():
        raise_if_stopped()
        with suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            raise_if_stopped()
    with stoppable():
        raise_if_stopped()
