"""Scalars for TensorBoard."""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path


class TensorboardScalars:
    """An event file of TensorBoard, written by the thread that calls: `tensorboardX.SummaryWriter` has a thread that dies of a full disk and leaves its callers waiting.

    Args:
        folder: in which the file is made.
        first_step: steps done before this process; events of an earlier process after it are hidden.
    """

    def __init__(self, folder: Path, first_step: int = 0):
        # Imported here, for it loads torch, where it is installed, on every backend.
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto.event_pb2 import Event, SessionLog
        from tensorboardX.proto.summary_pb2 import Summary

        folder.mkdir(parents=True, exist_ok=True)
        self._event, self._summary = Event, Summary
        self._file = EventsWriter(str(folder / "events"))
        # TensorBoard hides the step of this mark and later ones.
        self._write(first_step + 1, session_log=SessionLog(status=SessionLog.START))

    def add_scalar(self, name: str, value: float, step: int) -> None:
        """Adds a point of the curve `name`."""
        self._write(step, summary=self._summary(value=[self._summary.Value(tag=name, simple_value=value)]))

    def _write(self, step, **what):
        self._file.write_event(self._event(wall_time=time.time(), step=step, **what))

    def flush(self) -> None:
        """Gives all events to the system."""
        self._file.flush()

    def close(self) -> None:
        """Ends the file."""
        self._file.close()


@contextlib.contextmanager
def tensorboard_scalars(folder: Path, wanted: bool, first_step: int = 0) -> Iterator[TensorboardScalars | None]:
    """Yields a `TensorboardScalars`, or None where it is not wanted."""
    if not wanted:
        yield None
        return
    with contextlib.closing(TensorboardScalars(folder, first_step)) as scalars:
        yield scalars
