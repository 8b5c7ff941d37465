"""Scalars for TensorBoard."""

import contextlib
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path

from kseparation.storage.patient_file import PatientFile


class TensorboardScalars:
    """An event file of TensorBoard that outlives a full disk, where the thread of `tensorboardX.SummaryWriter` dies and leaves its callers waiting.

    Args:
        folder: in which the file is made.
        first_step: steps done before this process; events of an earlier process after it are hidden.
    """

    def __init__(self, folder: Path, first_step: int = 0):
        # Imported here, for it loads torch, where it is installed, on every backend.
        from tensorboardX.proto.event_pb2 import Event, SessionLog
        from tensorboardX.proto.summary_pb2 import Summary
        from tensorboardX.record_writer import masked_crc32c

        folder.mkdir(parents=True, exist_ok=True)
        self._event, self._summary, self._checksum = Event, Summary, masked_crc32c
        self._file = PatientFile(folder / f"events.out.tfevents.{int(time.time())}.{socket.gethostname()}")
        self._write(0, file_version="brain.Event:2")
        self._start = SessionLog(status=SessionLog.START)
        self.restart(first_step)

    def restart(self, step: int) -> None:
        """Hides the events of later steps that are in the folder already: the training goes on from the state of `step`."""
        # TensorBoard hides the step of this mark and later ones.
        self._write(step + 1, session_log=self._start)

    def add_scalar(self, name: str, value: float, step: int) -> None:
        """Adds a point of the curve `name`."""
        self._write(step, summary=self._summary(value=[self._summary.Value(tag=name, simple_value=value)]))

    def _write(self, step, **what):
        event = self._event(wall_time=time.time(), step=step, **what).SerializeToString()
        length = struct.pack("<Q", len(event))
        self._file.write(length + self._sum(length) + event + self._sum(event))

    def _sum(self, data):
        return struct.pack("<I", self._checksum(data))

    def flush(self) -> None:
        """Puts all events on the disk, as far as it lets."""
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
