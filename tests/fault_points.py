"""Kills a process exactly before, in or after its n-th call of the file system, and counts these calls."""

import builtins
import io
import os
import signal
from collections.abc import Callable

# Of the module `os`: what changes the disk, or the order in which changes reach it.
CALLS = ("open", "write", "pwrite", "fsync", "ftruncate", "truncate", "replace", "rename", "unlink", "remove", "rmdir", "mkdir")


class FaultPoints:
    """While it is armed, each call of the file system is a point at which the process may end by SIGKILL.

    Write access through `open` is counted at each write that reaches the system, which may also be done by half.

    Args:
        point: number of the call that ends the process, from 0; None ends it never.
        moment: `before`, `after`, or `half`, which is `before` for all calls but writes.

    Attributes:
        calls: names of the calls so far.
    """

    def __init__(self, point: int | None = None, moment: str = "before") -> None:
        self.point = point
        self.moment = moment
        self.calls: list[str] = []
        self.armed = False

    def install(self) -> "FaultPoints":
        """Puts itself between this process and its file system, for good; it begins unarmed."""
        for name in CALLS:
            setattr(os, name, self._watched(name, getattr(os, name)))
        self._open = io.open
        io.open = builtins.open = self._opened
        return self

    def _watched(self, name: str, real: Callable) -> Callable:
        def call(*arguments, **named):
            return self._pass(name, lambda: real(*arguments, **named))

        return call

    def _pass(self, name: str, real: Callable, half: Callable | None = None):
        if not self.armed:
            return real()
        due = len(self.calls) == self.point
        self.calls.append(name)
        if due and self.moment != "after":
            if self.moment == "half" and half is not None:
                half()
            die()
        try:
            return real()
        finally:
            if due:
                die()

    def _opened(self, file, mode="r", buffering=-1, encoding=None, errors=None, newline=None, closefd=True, opener=None):
        if not self.armed or not set(mode) & set("wax+"):
            return self._open(file, mode, buffering, encoding, errors, newline, closefd, opener)
        points = self

        class Watched(io.FileIO):
            def write(self, data):
                real = super().write
                return points._pass("write", lambda: real(data), lambda: real(memoryview(data).cast("B")[: memoryview(data).nbytes // 2]))

        raw = self._pass("open", lambda: Watched(file, mode.replace("b", "").replace("t", ""), closefd, opener))
        buffered = (io.BufferedRandom if "+" in mode else io.BufferedWriter)(raw)
        return buffered if "b" in mode else io.TextIOWrapper(buffered, encoding, errors, newline)


def die() -> None:
    """Ends this process as `kill -9` does."""
    os.kill(os.getpid(), signal.SIGKILL)


def in_a_child(work: Callable[[Callable[[str], None]], None], points: FaultPoints) -> tuple[list[str], bool]:
    """Lets a fork of this process work under fault points.

    Args:
        work: is given a function that reports a line.
        points: installed and armed in the child.

    Returns:
        The lines that were reported, and whether the child was killed. An error of its own is raised here.
    """
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 70
        try:
            os.close(read)
            report = os.write  # unwatched
            points.install()
            points.armed = True
            work(lambda line: report(write, line.encode() + b"\n") and None)
            code = 0
        except BaseException as error:
            report(write, f"{type(error).__name__}: {error}\n".encode())
        finally:
            os._exit(code)
    os.close(write)
    with open(read, encoding="utf-8") as lines:
        reported = lines.read().splitlines()
    status = os.waitpid(pid, 0)[1]
    killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    if not killed and os.waitstatus_to_exitcode(status) != 0:
        raise RuntimeError(f"The child failed: {reported[-1:]}")
    return reported, killed


def die_inside(owner: type, method: str, which: int, point: int, moment: str) -> None:
    """Has this process end in the `which`-th call of a method, from 0, or the next one that has so many fault points."""
    points, real, count = FaultPoints(point, moment).install(), getattr(owner, method), [0]

    def watched(self, *arguments, **named):
        points.calls.clear()
        points.armed = count[0] >= which
        count[0] += 1
        try:
            return real(self, *arguments, **named)
        finally:
            points.armed = False

    setattr(owner, method, watched)
