"""BSS Eval v4 of whole songs, scored by museval in processes beside the separation.

museval takes longer than the separation, and holds a song in float64: it is no work for the process that holds the model.
"""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np

from kseparation.errors import CheckFailed, MachineError, UserError
from kseparation.metrics.bss_eval_process import NOT_WRITTEN
from kseparation.storage.atomic import explained_write_errors

# Key of summary.json -> name in museval's files.
MUSEVAL_SCORES = {"sdr_museval_median": "SDR", "isr": "ISR", "sir": "SIR", "sar": "SAR"}
_PROCESS = Path(__file__).with_name("bss_eval_process.py")


class BSSEvalJobs:
    """Scores songs in the background, some at a time. A context manager: it waits for what is under way, or ends it where an error leaves it.

    Args:
        stems: their names in the order of the arrays.
        sample_rate: in Hz.
        jobs: processes at a time.

    Raises:
        UserError: on entering, where museval does not work.

    References: Stöter, Liutkus and Ito 2018, The 2018 Signal Separation Evaluation Campaign (arXiv 1804.06267).
    """

    def __init__(self, stems: Sequence[str], sample_rate: int, jobs: int = 2):
        self.stems = tuple(stems)
        self.sample_rate = sample_rate
        self._pool = ThreadPoolExecutor(jobs)
        self._lock = threading.Lock()
        self._running, self._ended = set(), False

    def __enter__(self) -> "BSSEvalJobs":
        code, said = self._call("--check")
        if code:
            raise UserError(f"`metrics` has bss_eval, and museval does not work: {said}. It needs the packages of kseparation[eval] and the program ffmpeg. Or: --metrics=sdr,si_sdr")
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        if kind is not None:
            with self._lock:
                self._ended = True
                for process in self._running:
                    process.terminate()
        self._pool.shutdown(cancel_futures=kind is not None)

    def score(self, folder: str | Path, name: str, out: str | Path, stems: Sequence[str] = ()) -> Future:
        """Begins to score a song; the result is what `read_museval` gives, CheckFailed where museval fails.

        Args:
            folder: holds `reference.npy` and `estimate.npy`, float32 `(stems, samples, channels)`, which are removed afterwards. On the file system of `out`.
            name: of the song.
            out: the file of museval's format, which appears when it is complete.
            stems: the first of them, where not all count.
        """
        return self._pool.submit(self._scored, Path(folder), name, Path(out), stems or self.stems)

    def _scored(self, folder, name, out, stems):
        # The process writes beside the sound: one that outlives this one would else replace scores that were made after it.
        scored = folder / "scores.json"
        code, said = self._call(str(folder / "reference.npy"), str(folder / "estimate.npy"), str(self.sample_rate), name, str(scored), *stems)
        for file in folder.glob("*.npy"):
            file.unlink()
        if code == NOT_WRITTEN:
            raise MachineError(f"`{out}` cannot be written: {said}. Free space there, or choose another disk.")
        if code:
            raise CheckFailed(f"museval could not score `{name}`: {said}")
        with explained_write_errors(out):
            os.replace(scored, out)
        return read_museval(out)

    def _call(self, *arguments):
        """Exit code of the process, and its last words."""
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        with self._lock:
            if self._ended:
                return -1, "interrupted"
            process = subprocess.Popen([sys.executable, str(_PROCESS), *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, errors="replace", env=environment)
            self._running.add(process)
        said = (process.communicate()[1].strip().splitlines() or ["it said nothing"])[-1].rstrip(".")
        with self._lock:
            self._running.discard(process)
        return process.returncode, f"ended by signal {-process.returncode}, as where the memory does not suffice" if process.returncode < 0 else said


def read_museval(path: str | Path) -> dict[str, dict[str, float | None]]:
    """Returns the median over the frames of each score of a file of museval: stem -> key of `MUSEVAL_SCORES` -> dB, None where no frame is defined.

    Args:
        path: one song's JSON, written here or by museval itself.
    """
    scores = json.loads(Path(path).read_text(encoding="utf-8"))

    def median(frames, name):
        defined = [value for value in (frame["metrics"][name] for frame in frames) if value is not None and np.isfinite(value)]
        return float(np.median(defined)) if defined else None

    return {target["name"]: {key: median(target["frames"], name) for key, name in MUSEVAL_SCORES.items()} for target in scores["targets"]}
