"""Training batches in their order, read ahead in threads."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor

import numpy as np

from kseparation.data.batches import SegmentBatches


class SegmentStream(Iterator):
    """Gives batches in order from batch `first_index` of `first_epoch` on, without end until it is closed; a context manager.

    An object and no generator, because one thread may close it while another waits in it for a batch.

    Args:
        batches: where they come from.
        steps_per_epoch: batches in an epoch.
        first_epoch: epoch to begin with.
        workers: threads that read ahead; 0 reads when asked. The order and content do not depend on it.
        first_index: batch of that epoch to begin with.
    """

    def __init__(self, batches: SegmentBatches, steps_per_epoch: int, first_epoch: int = 0, workers: int = 2, first_index: int = 0):
        self.batches = batches
        self.steps_per_epoch = steps_per_epoch
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
                return self.batches.batch(*self._next_position())
            while len(self._waiting) <= self._ahead:
                self._waiting.append(self._pool.submit(self.batches.batch, *self._next_position()))
            return self._waiting.popleft().result()
        except (CancelledError, RuntimeError):
            if self._closed:
                raise StopIteration from None
            raise

    def _next_position(self):
        position, self._position = self._position, self._position + 1
        return divmod(position, self.steps_per_epoch)

    def close(self) -> None:
        """Ends the stream; a batch that is being read is let finish."""
        self._closed = True
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def __enter__(self) -> "SegmentStream":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
