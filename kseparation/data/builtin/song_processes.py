"""Processes that make songs side by side, each a fresh Python that takes one job after another.

Not `multiprocessing`: a forked copy of a process that runs TensorFlow, torch or JAX can hang, and a spawned one runs the
caller's script again, which breaks in scripts without a main guard, in notebooks and at the prompt.
"""

import contextlib
import json
import os
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import asdict
from pathlib import Path

import kseparation
from kseparation import errors
from kseparation.data.builtin.settings import BuiltinSettings

Job = tuple[str, int]


def make_side_by_side(
    settings: BuiltinSettings, renderer: str, root: Path, jobs: list[Job], workers: int, done: Callable[[], None]
) -> None:
    """Makes songs in `workers` processes and returns when all are made.

    Args:
        settings: what to make.
        renderer: `sampled` or `synthetic`.
        root: the tree of songs.
        jobs: (split, index) of each song.
        workers: number of processes.
        done: called after each song.

    Raises:
        KSeparationError: what a process reported; the other processes are ended.
    """
    waiting, lock = deque(jobs), threading.Lock()

    def work(process: subprocess.Popen) -> None:
        while True:
            with lock:
                if not waiting:
                    return
                split, index = waiting.popleft()
            _ask(process, split, index)
            with lock:
                done()

    with contextlib.ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor(workers))
        # Left in reverse order: the processes end first, which sets free the threads that wait for them.
        processes = [stack.enter_context(_process(settings, renderer, root)) for _ in range(workers)]
        finished, _ = wait([pool.submit(work, process) for process in processes], return_when=FIRST_EXCEPTION)
        for future in finished:
            future.result()


@contextlib.contextmanager
def _process(settings: BuiltinSettings, renderer: str, root: Path) -> Iterator[subprocess.Popen]:
    request = {"settings": asdict(settings) | {"songs": dict(settings.songs)}, "renderer": renderer, "root": str(root)}
    home = str(Path(kseparation.__file__).parents[1])
    path = os.pathsep.join([home, *filter(None, [os.environ.get("PYTHONPATH")])])
    process = subprocess.Popen(
        [sys.executable, "-m", "kseparation.data.builtin.song_process", json.dumps(request)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": path},
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait()
        with contextlib.suppress(BrokenPipeError):  # what an ended process has not read
            process.stdin.close()
        process.stdout.close()


def _ask(process: subprocess.Popen, split: str, index: int) -> None:
    answer = ""
    with contextlib.suppress(BrokenPipeError):
        process.stdin.write(json.dumps([split, index]) + "\n")
        process.stdin.flush()
        answer = process.stdout.readline()
    if not answer:
        raise errors.MachineError(
            f"A process that makes songs ended before `{split}` song {index} was made. Received: exit code {process.wait()}. "
            "Free memory, and run the same command again: songs that are made are kept."
        )
    report = json.loads(answer)
    if report["error"] is not None:
        raise getattr(errors, report["error"])(report["message"])
