"""Logs that grow entry by entry and outlive a disk that is full for a while."""

import bisect
import contextlib
import logging
import os
from pathlib import Path

from kseparation.errors import OF_THE_DISK

logger = logging.getLogger("kseparation")


class PatientFile:
    """Appends entries to a file; what a full or failing disk refuses waits in memory, in order, for the next write.

    The file holds whole entries, each once: after a refusal it is cut back to the last whole one, and what a failing `fsync` may have lost is written again over itself. The
    first refusal is a warning, and so is the end of them. Any other error, such as a missing permission, is raised. A context manager, for one writer.

    Args:
        path: the file; it is created where it is missing, but not its folder.

    Example:

    >>> import tempfile
    >>> with PatientFile(Path(tempfile.mkdtemp()) / "a.log") as file:
    ...     file.write("one line\\n")
    ...     file.path.read_text()
    'one line\\n'
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        # Written at places of our own, for a file that is opened to be appended to takes every write at its end.
        self._descriptor: int | None = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666)
        self._safe = os.fstat(self._descriptor).st_size  # all up to here is on the disk
        self._tail = bytearray()  # what follows
        self._ends: list[int] = []  # of the entries in the tail
        self._written = 0  # of the tail, as far as the system says
        self._torn = False  # whether half an entry follows that in the file
        self._refused = False

    def __enter__(self) -> "PatientFile":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def waiting(self) -> int:
        """Number of entries that wait for the disk."""
        return len(self._ends) - bisect.bisect_right(self._ends, self._written)

    def write(self, entry: str | bytes) -> None:
        """Gives an entry, such as a line, to the system, after those that wait; where the disk refuses, it waits too."""
        self._tail += entry.encode("utf-8") if isinstance(entry, str) else entry
        self._ends.append(len(self._tail))
        # After a refusal only what a `fsync` has confirmed is believed.
        self._try(sync=self._refused)

    def flush(self) -> None:
        """Puts everything on the disk, as far as it lets."""
        self._try(sync=True)

    def content(self) -> bytes:
        """Returns all entries, those that wait for the disk too."""
        with open(self.path, "rb") as file:
            return file.read(self._safe) + bytes(self._tail)

    def truncate(self, size: int) -> None:
        """Forgets what follows the first `size` bytes of `content`, the end of an entry; a full disk does not refuse that."""
        if size < self._safe:
            os.ftruncate(self._descriptor, size)
            self._safe, self._tail, self._ends, self._written, self._torn = size, bytearray(), [], 0, False
            return
        tail = size - self._safe
        del self._tail[tail:]
        self._ends = [end for end in self._ends if end <= tail]
        if self._written > tail:
            self._written, self._torn = tail, True
            os.ftruncate(self._descriptor, size)
            self._torn = False

    def close(self) -> None:
        """Flushes and closes; a warning says how many entries the disk still refuses."""
        if self._descriptor is None:
            return
        try:
            self.flush()
            if self.waiting:
                logger.warning("The last %d entries of `%s` could not be put on the disk.", self.waiting, self.path)
        finally:
            descriptor, self._descriptor = self._descriptor, None
            with contextlib.suppress(OSError):  # all was flushed or has been told
                os.close(descriptor)

    def _try(self, sync: bool) -> None:
        try:
            self._write_tail()
            if sync:
                self._confirm()
        except OSError as error:
            if error.errno not in OF_THE_DISK:
                raise
            self._cut_to_whole_entries()
            if not self._refused:
                logger.warning("`%s` cannot be written: %s. What belongs there waits in memory, and is tried again with each new entry.", self.path, error.strerror)
            self._refused = True
            return
        if sync and self._refused:
            logger.warning("`%s` is whole again: all that waited is on the disk.", self.path)
            self._refused = False

    def _write_tail(self) -> None:
        if self._torn:
            os.ftruncate(self._descriptor, self._safe + self._written)
            self._torn = False
        with memoryview(self._tail) as tail:
            while self._written < len(tail):
                with tail[self._written :] as rest:
                    self._written += os.pwrite(self._descriptor, rest, self._safe + self._written)

    def _confirm(self) -> None:
        try:
            os.fsync(self._descriptor)
        except OSError:
            self._written = 0  # the system may have dropped what it could not put on the disk, and says so only once
            raise
        self._safe += len(self._tail)
        self._tail.clear()
        self._ends.clear()
        self._written = 0

    def _cut_to_whole_entries(self) -> None:
        whole = self._ends[len(self._ends) - self.waiting - 1] if self.waiting < len(self._ends) else 0
        if whole < self._written:
            self._written, self._torn = whole, True
            with contextlib.suppress(OSError):  # done before the next write
                os.ftruncate(self._descriptor, self._safe + whole)
                self._torn = False
