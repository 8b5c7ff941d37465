"""Batches of a training that are drawn anew, because those drawn first did harm or could not be read."""

import threading
from bisect import bisect_left, bisect_right, insort
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
        # The windows that cover a position are those that have begun, less those that are over.
        self._firsts = sorted(first for first, _ in self._windows)
        self._lasts = sorted(last for _, last in self._windows)
        self._lock = threading.Lock()

    def add(self, first: int, last: int) -> None:
        """Has the batches from `first` to `last` drawn once more."""
        if last < first:
            raise ValueError(f"`last` must not lie before `first`. Received: first={first}, last={last}")
        first = max(first, 0)
        with self._lock:
            self._windows.append((first, last))
            insort(self._firsts, first)
            insort(self._lasts, last)

    def forget_before(self, position: int) -> None:
        """Drops the windows that end before a batch, where the training cannot return to before it: what is kept, and stands in each checkpoint, would grow without end."""
        with self._lock:
            self._windows = [window for window in self._windows if window[1] >= position]
            self._firsts = sorted(first for first, _ in self._windows)
            self._lasts = sorted(last for _, last in self._windows)

    def draw(self, position: int) -> int:
        """Returns how many windows cover a batch: 0 for the batch that was drawn first."""
        with self._lock:
            return bisect_right(self._firsts, position) - bisect_left(self._lasts, position)

    def windows(self) -> list[list[int]]:
        """Returns all windows as JSON values, in the order in which they came."""
        with self._lock:
            return [list(window) for window in self._windows]
