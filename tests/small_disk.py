"""Disks that are full: refusals of the system that a test injects, and file systems of a few pages, real ones too where mounting is allowed."""

import abc
import contextlib
import ctypes
import errno
import functools
import os
import tempfile
from pathlib import Path

import pytest

REFUSALS = [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO]


def refuse(monkeypatch: pytest.MonkeyPatch, name: str, number: int, times: int = 10**9) -> list:
    """Has `os.<name>` fail that often; returns the list of its calls, which grows."""
    real, calls = getattr(os, name), []

    def call(*arguments, **named):
        calls.append(arguments)
        if len(calls) <= times:
            raise OSError(number, os.strerror(number))
        return real(*arguments, **named)

    monkeypatch.setattr(os, name, call)
    return calls


class SmallDisk(contextlib.AbstractContextManager):
    """A file system of a few kilobytes; a context manager.

    Args:
        folder: that it makes, and where it lies.
        kilobytes: its size.

    Attributes:
        path: the folder.
    """

    def __init__(self, folder: Path, kilobytes: int) -> None:
        self.path, self.size = folder, 1024 * kilobytes

    @abc.abstractmethod
    def fill(self, leaving: int = 0) -> None:
        """Takes all room but so many bytes, for a file that needs another page than those it has."""

    @abc.abstractmethod
    def empty(self) -> None:
        """Gives back what `fill` took."""


class MountedDisk(SmallDisk):
    """A real one, of pages in memory."""

    def __enter__(self) -> "MountedDisk":
        self.path.mkdir()
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.mount(b"tmpfs", os.fsencode(self.path), b"tmpfs", 0, f"size={self.size}".encode()) != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(self.path))
        return self

    def __exit__(self, *_: object) -> None:
        ctypes.CDLL(None).umount2(os.fsencode(self.path), 2)  # MNT_DETACH: whatever a failed test still holds open

    def fill(self, leaving: int = 0) -> None:
        file = self.path / "ballast"
        with contextlib.suppress(OSError), open(file, "wb", buffering=0) as ballast:
            while True:
                ballast.write(bytes(4096))
        os.truncate(file, max(0, file.stat().st_size - leaving))

    def empty(self) -> None:
        (self.path / "ballast").unlink(missing_ok=True)


class PretendedDisk(SmallDisk):
    """One whose refusals come from `os.pwrite` and, as of a disk that gives room only when it writes, from `os.fsync`."""

    def __enter__(self) -> "PretendedDisk":
        self.path.mkdir()
        self.ballast = 0
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(os, "pwrite", functools.partial(self._pwrite, os.pwrite))
        self.patch.setattr(os, "fsync", functools.partial(self._fsync, os.fsync))
        return self

    def __exit__(self, *_: object) -> None:
        self.patch.undo()

    def fill(self, leaving: int = 0) -> None:
        self.ballast = max(0, self.size - self._used() - leaving)

    def empty(self) -> None:
        self.ballast = 0

    def _used(self):
        return sum(-(-path.stat().st_size // 4096) * 4096 for path in self.path.rglob("*") if path.is_file())

    def _room(self):
        return self.size - self._used() - self.ballast

    def _pwrite(self, real, descriptor, content, offset):
        if not self._holds(descriptor):
            return real(descriptor, content, offset)
        length = os.fstat(descriptor).st_size
        fits = max(0, -(-length // 4096) * 4096 + max(0, self._room()) - offset)
        if not fits:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(descriptor, content[:fits], offset)

    def _fsync(self, real, descriptor):
        if self._holds(descriptor) and self._room() < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(descriptor)

    def _holds(self, descriptor):
        return Path(os.readlink(f"/proc/self/fd/{descriptor}")).is_relative_to(self.path.resolve())


def _can_mount():
    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(OSError), MountedDisk(Path(folder, "disk"), 4):
        return True
    return False


DISKS = [MountedDisk, PretendedDisk] if _can_mount() else [PretendedDisk]
