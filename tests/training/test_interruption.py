import os
import signal
import threading

import pytest

from kseparation.training.interruption import Interruption


@pytest.fixture(autouse=True)
def as_in_the_foreground():
    """A shell that starts the tests in the background has them ignore Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_waits_until_it_is_acted_upon(number: int, capfd) -> None:
    before = signal.getsignal(number)
    with Interruption() as interruption:
        assert interruption.received is None
        os.kill(os.getpid(), number)
        assert interruption.received == number
        with pytest.raises(KeyboardInterrupt):
            interruption.act()
    assert signal.getsignal(number) is before
    assert "interrupted: a checkpoint is written after this step" in capfd.readouterr().err


def test_the_second_signal_acts_at_once() -> None:
    with Interruption() as interruption:
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
        assert interruption.received == signal.SIGINT


def test_the_handler_before_it_decides_what_a_signal_does() -> None:
    class Ended(KeyboardInterrupt):
        pass

    def end(number, frame):
        raise Ended

    before = signal.signal(signal.SIGTERM, end)
    try:
        with Interruption() as interruption:
            os.kill(os.getpid(), signal.SIGTERM)
            with pytest.raises(Ended):
                interruption.act()
    finally:
        signal.signal(signal.SIGTERM, before)


def test_an_ignored_signal_stays_ignored() -> None:
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with Interruption() as interruption:
            os.kill(os.getpid(), signal.SIGTERM)
            assert interruption.received is None
    finally:
        signal.signal(signal.SIGTERM, before)


def test_outside_the_main_thread_nothing_is_held_back() -> None:
    handlers = []

    def work():
        with Interruption():
            handlers.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert handlers == [signal.getsignal(signal.SIGINT)]
