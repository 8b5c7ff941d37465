"""BSS Eval v4 of whole songs, scored by museval in processes beside the separation.

museval takes longer than the separation, and holds a song in float64: it is no work for the process that holds the model.
"""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np

from kseparation.errors import UserError

_PROCESS = Path(__file__).with_name("bss_eval_process.py")


class BSSEvalJobs:
    """Scores songs in the background, some at a time. A context manager, which waits for what is under way.

    Args:
        stems: their names in the order of the arrays.
        sample_rate: in Hz.
        jobs: processes at a time.

    References: Stöter, Liutkus and Ito 2018, The 2018 Signal Separation Evaluation Campaign (arXiv 1804.06267).
    """

    def __init__(self, stems: Sequence[str], sample_rate: int, jobs: int = 2):
        self.stems = tuple(stems)
        self.sample_rate = sample_rate
        self._pool = ThreadPoolExecutor(jobs)

    def __enter__(self) -> "BSSEvalJobs":
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        self._pool.shutdown(cancel_futures=kind is not None)

    def score(self, folder: str | Path, name: str, out: str | Path) -> Future:
        """Begins to score a song.

        Args:
            folder: holds `reference.npy` and `estimate.npy`, float32 `(stems, samples, channels)`; removed afterwards.
            name: of the song.
            out: the file of museval's format.
        """
        return self._pool.submit(self._run, Path(folder), name, Path(out))

    def _run(self, folder, name, out):
        command = [sys.executable, str(_PROCESS), str(folder / "reference.npy"), str(folder / "estimate.npy"), str(self.sample_rate), name, str(out), *self.stems]
        ended = subprocess.run(command, capture_output=True, text=True, errors="replace", env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"})
        for file in folder.glob("*.npy"):
            file.unlink()
        if ended.returncode:
            last = (ended.stderr.strip().splitlines() or ["no message"])[-1]
            raise UserError(f"museval could not score `{name}`: {last}. It needs the packages of kseparation[eval] and the program ffmpeg. Leave out bss_eval: --metrics=sdr,si_sdr")
        return read_museval(out)


def read_museval(path: str | Path) -> dict[str, dict[str, float | None]]:
    """Returns the median over the frames of each score of a file of museval: stem -> `sdr_museval_median`, `isr`, `sir`, `sar`; None where no frame is defined.

    Args:
        path: one song's JSON, written here or by museval itself.
    """
    scores = json.loads(Path(path).read_text(encoding="utf-8"))
    keys = {"sdr_museval_median": "SDR", "isr": "ISR", "sir": "SIR", "sar": "SAR"}
    return {target["name"]: {key: _median(frame["metrics"][name] for frame in target["frames"]) for key, name in keys.items()} for target in scores["targets"]}


def _median(values):
    defined = [value for value in values if value is not None and np.isfinite(value)]
    return float(np.median(defined)) if defined else None
