"""Training batches in their order, read ahead in threads."""

import traceback
from collections import deque
from collections.abc import Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from kseparation.data.batches import SegmentBatches
from kseparation.data.detours import Detours
from kseparation.errors import MachineError

# A batch that cannot be read is drawn anew; where the third draw cannot be read either, it is no accident.
MOST_DRAWS = 3


@dataclass(frozen=True)
class ReadFailure:
    """A batch that could not be read: its position in the run, which draw of it, the error and where that came from."""

    position: int
    draw: int
    error: Exception
    trace: str


class UnreadableBatch(Exception):
    """No draw of a batch could be read; `failures` tells of each."""

    def __init__(self, failures):
        super().__init__(str(failures[-1].error))
        self.failures = failures


class SegmentStream(Iterator):
    """Gives batches in order from batch `first_index` of `first_epoch` on, without end until it is closed; a context manager.

    An object and no generator, because one thread may close it while another waits in it for a batch.

    Args:
        batches: where they come from.
        steps_per_epoch: batches in an epoch.
        first_epoch: epoch to begin with.
        workers: threads that read ahead; 0 reads when asked. The order and content do not depend on it.
        first_index: batch of that epoch to begin with.
        detours: batches that are drawn anew. One that cannot be read takes the next draw, which whoever trains on it adds to the detours: what was read ahead and never trained on leaves no
            trace. None lets the error pass.
        keep: number of batches that were handed out last and can be looked at again.

    Attributes:
        failures: what could not be read, as the batches that took its place were handed out.
        handed_out: (position, batch) of the last ones.
    """

    def __init__(
        self,
        batches: SegmentBatches,
        steps_per_epoch: int,
        first_epoch: int = 0,
        workers: int = 2,
        first_index: int = 0,
        detours: Detours | None = None,
        keep: int = 0,
    ):
        self.batches = batches
        self.steps_per_epoch = steps_per_epoch
        self.failures: deque[ReadFailure] = deque()
        self.handed_out: deque[tuple[int, tuple[np.ndarray, np.ndarray]]] = deque(maxlen=keep)
        self._detours = detours
        self._position = first_epoch * steps_per_epoch + first_index
        self._ahead = 2 * workers
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="batches") if workers else None
        self._waiting = deque()
        self._closed = False

    def __next__(self) -> tuple[np.ndarray, np.ndarray]:
        try:
            if self._closed:
                raise StopIteration
            if self._pool is None:
                position, batch, failures = self._read(self._next_position())
            else:
                while len(self._waiting) <= self._ahead:
                    self._waiting.append(self._pool.submit(self._read, self._next_position()))
                position, batch, failures = self._waiting.popleft().result()
        except (CancelledError, RuntimeError):
            if self._closed:
                raise StopIteration from None
            raise
        self.failures.extend(failures)
        self.handed_out.append((position, batch))
        return batch

    def _next_position(self):
        position, self._position = self._position, self._position + 1
        return position

    def _read(self, position):
        """Returns the position, its batch, and the failures of its earlier draws."""
        place = divmod(position, self.steps_per_epoch)
        if self._detours is None:
            return position, self.batches.batch(*place), ()
        failures, first = [], self._detours.draw(position)
        for draw in range(first, first + MOST_DRAWS):
            try:
                return position, self.batches.batch(*place, draw), failures
            except (MachineError, MemoryError):
                raise
            except Exception as error:
                failures.append(ReadFailure(position, draw, error, traceback.format_exc()))
        raise UnreadableBatch(failures) from failures[-1].error

    def close(self) -> None:
        """Ends the stream; a batch that is being read is let finish."""
        self._closed = True
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def __enter__(self) -> "SegmentStream":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
