"""Batches of a training that are drawn anew, because those drawn first did harm or could not be read."""

import threading
from collections.abc import Iterable, Sequence


class Detours:
    """Tells how often a batch was drawn anew.

    Batch `position` of a run, counted over all its epochs, is a pure function of the seed, the position and this number: so a training that left out a window of batches once
    leaves it out again after a resume, and everything outside the window stays as it was. May be used from several threads.

    Args:
        windows: (first, last) position of each window, both included.

    Example:

    >>> detours = Detours([(10, 19)])
    >>> detours.add(15, 15)
    >>> [detours.draw(position) for position in (9, 10, 15, 20)]
    [0, 1, 2, 0]
    """

    def __init__(self, windows: Iterable[Sequence[int]] = ()):
        self._windows = [(int(first), int(last)) for first, last in windows]
        self._lock = threading.Lock()

    def add(self, first: int, last: int) -> None:
        """Has the batches from `first` to `last` drawn once more."""
        if last < first:
            raise ValueError(f"`last` must not lie before `first`. Received: first={first}, last={last}")
        with self._lock:
            self._windows.append((max(first, 0), last))

    def draw(self, position: int) -> int:
        """Returns how many windows cover a batch: 0 for the batch that was drawn first."""
        with self._lock:
            return sum(first <= position <= last for first, last in self._windows)

    def windows(self) -> list[list[int]]:
        """Returns all windows as JSON values, in the order in which they came."""
        with self._lock:
            return [list(window) for window in self._windows]
