"""Ending a training between two steps when the process is asked to stop."""

import os
import signal
import threading
from types import FrameType

NOTE = b"\ninterrupted: a checkpoint is written after this step (at the end of an epoch: after its validation), and the same command goes on from it (unless it says --resume=never); interrupt again to end at once\n"


class Interruption:
    """Holds SIGINT and SIGTERM back until a step is whole; a context manager.

    The first signal is noted, a second one acts at once as it would have without this. Outside the main thread, where Python allows no handlers, nothing is held
    back.

    Attributes:
        received: number of the signal that was held back, or None.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._previous = {}

    def __enter__(self) -> "Interruption":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._previous[number] = signal.signal(number, self._hold)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def act(self) -> None:
        """Hands the signal to the handler that was there before, and raises `KeyboardInterrupt` where that one returns."""
        handler = self._previous[self.received]
        if callable(handler):
            handler(self.received, None)
        raise KeyboardInterrupt

    def _hold(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None:
            self.act()
        self.received = number
        os.write(2, NOTE)  # a buffered stream may be in the middle of a write
