"""BSS Eval of whole songs while others are separated: songs wait on the disk, and what has been scored once is not scored again."""

import shutil
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from kseparation.metrics.bss_eval import BSSEvalJobs, read_museval
from kseparation.storage.atomic import TEMPORARY_PREFIX, explained_write_errors, read_json, write_json
from kseparation.storage.hashes import file_sha256

DIGESTS = ".scored.json"


class WholeSongScores:
    """Scores of museval by song, in its own files `<folder>/<song>.json`. A context manager.

    A song that is scored again with the same sound, bit for bit, keeps its scores: an evaluation that was interrupted goes on where it was.

    Args:
        folder: for the files of museval.
        stems: their names in the order of the arrays.
        sample_rate: in Hz.
        channels: of the sound.
        jobs: songs that are scored at a time.
    """

    def __init__(self, folder: str | Path, stems: Sequence[str], sample_rate: int, channels: int, jobs: int = 2):
        self.folder = Path(folder)
        self.stems = tuple(stems)
        self.channels = channels
        self._jobs = BSSEvalJobs(stems, sample_rate, jobs)
        self._free = threading.Semaphore(jobs + 1)  # songs on the disk, which are large
        self._lock = threading.Lock()
        self._scores = {}

    def __enter__(self) -> "WholeSongScores":
        with explained_write_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            self._waiting = Path(tempfile.mkdtemp(prefix=TEMPORARY_PREFIX, dir=self.folder))
        file = self.folder / DIGESTS
        self._digests = read_json(file) if file.is_file() else {}
        return self

    def __exit__(self, *error: object) -> None:
        self._jobs.__exit__(*error)
        shutil.rmtree(self._waiting, ignore_errors=True)

    def song(self, name: str, samples: int) -> "WaitingSong":
        """Returns a song to be filled block by block; waits while too many are on the disk."""
        self._free.acquire()
        return WaitingSong(self, name, Path(tempfile.mkdtemp(dir=self._waiting)), (len(self.stems), samples, self.channels))

    def submit(self, song: "WaitingSong") -> None:
        """Has a song scored whose sound is complete."""
        digest = "".join(file_sha256(song.folder / f"{part}.npy") for part in ("reference", "estimate"))
        out = self.folder / f"{song.name}.json"
        if self._digests.get(song.name) == digest and out.is_file():
            self._scores[song.name] = read_museval(out)
            shutil.rmtree(song.folder)
            self._free.release()
            return
        future = self._jobs.score(song.folder, song.name, out)
        future.add_done_callback(lambda done: self._scored(song.name, digest, done))
        self._scores[song.name] = future

    def _scored(self, name, digest, done):
        self._free.release()
        if done.cancelled() or done.exception():
            return
        with self._lock:
            self._digests[name] = digest
            write_json(self.folder / DIGESTS, self._digests)

    def results(self) -> dict[str, dict[str, dict[str, float | None]]]:
        """Waits for all songs; returns song -> stem -> score, as `read_museval` gives them."""
        bar = tqdm(self._scores.items(), desc="museval", unit="song", disable=not sys.stderr.isatty(), leave=False)
        return {name: scores if isinstance(scores, dict) else scores.result() for name, scores in bar}


class WaitingSong:
    """Sound of one song on the disk, filled block by block."""

    def __init__(self, owner: WholeSongScores, name: str, folder: Path, shape: tuple[int, int, int]):
        self.owner, self.name, self.folder = owner, name, folder
        self._position = 0
        self._arrays = [np.lib.format.open_memmap(folder / f"{part}.npy", "w+", "float32", shape) for part in ("reference", "estimate")]

    def add(self, reference: np.ndarray, estimate: np.ndarray) -> None:
        """Appends a block, `(stems, samples, channels)` each."""
        length = estimate.shape[1]
        for array, block in zip(self._arrays, (reference, estimate), strict=True):
            array[:, self._position : self._position + length] = block
        self._position += length

    def complete(self) -> None:
        """Hands the song over to be scored."""
        for array in self._arrays:
            array.flush()
        self._arrays = []
        self.owner.submit(self)
