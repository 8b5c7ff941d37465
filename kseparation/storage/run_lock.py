"""One writer per run folder."""

import fcntl
import json
import os
import socket
from pathlib import Path

from kseparation.errors import MachineError
from kseparation.storage.atomic import explained_write_errors


class RunLock:
    """Keeps a second process from writing into the same run folder; a context manager.

    The system holds the lock for the process and lets it go when the process ends, however it ends: the `run.lock` that
    a killed process leaves behind blocks nobody.

    Args:
        folder: the run folder; created if missing.

    Raises:
        MachineError: on entering, when another process holds the lock; it names pid and host.

    Example:

    >>> import tempfile
    >>> with RunLock(tempfile.mkdtemp()):
    ...     pass
    """

    def __init__(self, folder: str | Path) -> None:
        self.path = Path(folder) / "run.lock"
        self._descriptor: int | None = None

    def __enter__(self) -> "RunLock":
        with explained_write_errors(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _holder(descriptor)
            os.close(descriptor)
            raise MachineError(
                f"`{self.path.parent}` is in use by another process. Received: {holder}. "
                "Wait for it, stop it, or choose another run folder."
            ) from None
        except OSError as error:
            os.close(descriptor)
            raise MachineError(
                f"`{self.path}` cannot be locked: {error.strerror}. Choose a run folder on a local disk."
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps({"pid": os.getpid(), "host": socket.gethostname()}).encode(), 0)
        self._descriptor = descriptor
        return self

    def __exit__(self, *_: object) -> None:
        # The file stays: deleting it would let a third process lock a new one while a second holds the old.
        os.ftruncate(self._descriptor, 0)
        fcntl.flock(self._descriptor, fcntl.LOCK_UN)  # closing alone would leave it to forked workers that still run
        os.close(self._descriptor)
        self._descriptor = None


def _holder(descriptor: int) -> str:
    try:
        who = json.loads(os.pread(descriptor, 4096, 0))
        return f"pid={who['pid']}, host={who['host']}"
    except (ValueError, KeyError, TypeError):  # between its lock and its note
        return "pid unknown"
