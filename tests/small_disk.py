"""Disks that are full: refusals of the system that a test injects, and file systems of a few pages where mounting is allowed."""

import contextlib
import ctypes
import errno
import os
from collections.abc import Iterator
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


@contextlib.contextmanager
def small_disk(folder: Path, kilobytes: int) -> Iterator[Path]:
    """Mounts a file system of that size on a new folder; the test is skipped where the system does not allow it."""
    libc = ctypes.CDLL(None, use_errno=True)
    folder.mkdir()
    if libc.mount(b"tmpfs", os.fsencode(folder), b"tmpfs", 0, f"size={kilobytes}k".encode()) != 0:
        pytest.skip(f"no file system can be mounted here: {os.strerror(ctypes.get_errno())}")
    try:
        yield folder
    finally:
        libc.umount2(os.fsencode(folder), 2)  # MNT_DETACH: whatever a failed test still holds open


def fill(folder: Path, leaving: int = 0) -> Path:
    """Takes all room of a small disk but so many bytes; returns the file that takes it."""
    file = folder / "ballast"
    with contextlib.suppress(OSError), open(file, "wb", buffering=0) as ballast:
        while True:
            ballast.write(bytes(4096))
    os.truncate(file, max(0, file.stat().st_size - leaving))
    return file
