"""BSS Eval of whole songs while others are separated: songs wait on the disk, and what has been scored once is not scored again."""

import contextlib
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from kseparation.audio.track import is_heard_beside
from kseparation.data.builtin.form import STEMS
from kseparation.errors import CheckFailed, KSeparationError, UserError
from kseparation.metrics.bss_eval import BSSEvalJobs, read_museval
from kseparation.storage.atomic import TEMPORARY_PREFIX, explained_write_errors, read_json, remove_temporary, write_json
from kseparation.storage.hashes import file_sha256
from kseparation.storage.run_lock import RunLock

# Rate, stems and hashes of the sound that was scored, and of the scores beside it; no name that museval's loader takes for scores.
DIGESTS = "scored.digests"
# What the stems of a model leave of the mixture, as museval calls it.
REST = "accompaniment"
MOST_JOBS = 4


class WholeSongScores:
    """Scores of museval by song, in its own files `<folder>/<song>.json`. A context manager.

    A song that is scored again with the same sound, bit for bit, keeps its scores: an evaluation that was interrupted goes on where it was. Where the model has not all of the
    four common stems, what they leave of the mixture is scored as one more, `accompaniment`: without it there would be nothing to interfere with a single stem.

    Args:
        folder: for the files of museval.
        stems: their names in the order of the arrays.
        sample_rate: in Hz.
        channels: of the sound.
        jobs: songs that are scored at a time; by default one for each processor, up to four, for each takes gigabytes.
    """

    def __init__(self, folder: str | Path, stems: Sequence[str], sample_rate: int, channels: int, jobs: int | None = None):
        jobs = jobs or min(os.cpu_count() or 1, MOST_JOBS)
        self.folder = Path(folder)
        self.stems = tuple(stems)
        self.has_rest = not set(STEMS) <= set(stems) and REST not in stems
        self.channels = channels
        self.failures: dict[str, str] = {}
        self._scored_as = f"{sample_rate} Hz {','.join(self.stems)} "
        self._jobs = BSSEvalJobs((*self.stems, REST) if self.has_rest else self.stems, sample_rate, jobs)
        self._writer = RunLock(self.folder)
        self._free = threading.Semaphore(jobs + 1)  # songs on the disk, which are large
        self._lock = threading.Lock()
        self._scores = {}

    def __enter__(self) -> "WholeSongScores":
        self._writer.__enter__()
        try:
            remove_temporary(self.folder)
            self._digests = _known(self.folder / DIGESTS)
            self._jobs.__enter__()
            with explained_write_errors(self.folder):
                self._waiting = Path(tempfile.mkdtemp(prefix=TEMPORARY_PREFIX, dir=self.folder))
        except BaseException:
            self._writer.__exit__()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self._jobs.__exit__(*error)
        shutil.rmtree(self._waiting, ignore_errors=True)
        self._writer.__exit__()

    def song(self, name: str, samples: int) -> "WaitingSong":
        """Returns a song to be filled block by block; waits while too many are on the disk."""
        self._free.acquire()
        with explained_write_errors(self.folder):
            folder = Path(tempfile.mkdtemp(dir=self._waiting))
        return WaitingSong(self, name, folder, (len(self._jobs.stems), samples, self.channels))

    def submit(self, song: "WaitingSong") -> None:
        """Has a song scored whose sound is complete."""
        digest = self._scored_as + "".join(file_sha256(song.folder / f"{part}.npy") for part in ("reference", "estimate"))
        out = self.folder / f"{song.name}.json"
        if out.is_file() and self._digests.get(song.name) == digest + file_sha256(out):
            self._scores[song.name] = read_museval(out)
            shutil.rmtree(song.folder)
            self._free.release()
            return
        with explained_write_errors(out):  # scores of other sound must not be taken for those of this one, whatever happens now
            out.unlink(missing_ok=True)
        future = self._jobs.score(song.folder, song.name, out, self._jobs.stems if song.rest_is_heard else self.stems)
        future.add_done_callback(lambda done: self._scored(song.name, out, digest, done))
        self._scores[song.name] = future

    def _scored(self, name, out, digest, done):
        self._free.release()
        if done.cancelled() or done.exception():
            return
        with self._lock, contextlib.suppress(KSeparationError, OSError):  # without its digest a song is scored again
            self._digests[name] = digest + file_sha256(out)
            write_json(self.folder / DIGESTS, self._digests)

    def results(self) -> dict[str, Mapping[str, Mapping[str, float | None]]]:
        """Waits for all songs; returns song -> stem -> score, as `read_museval` gives them. A song that museval could not score has none, and a line in `failures`."""
        found = {}
        for name, scores in tqdm(self._scores.items(), desc="museval", unit="song", disable=not sys.stderr.isatty(), leave=False):
            try:
                scores = scores if isinstance(scores, dict) else scores.result()
                found[name] = {stem: scores[stem] for stem in self.stems}
            except CheckFailed as error:
                found[name], self.failures[name] = {}, str(error)
        return found


def _known(file):
    try:
        digests = read_json(file)
    except UserError:  # none yet, or damaged: all is scored anew
        return {}
    return digests if isinstance(digests, dict) else {}


class WaitingSong:
    """Sound of one song on the disk, filled block by block."""

    def __init__(self, owner: WholeSongScores, name: str, folder: Path, shape: tuple[int, int, int]):
        self.owner, self.name, self.folder = owner, name, folder
        self._shape = shape
        self._position = 0
        self._energy = np.zeros(2)  # of the mixture, and of what the stems leave of it
        # Not mapped into memory: a disk that is full would then end the process without a word.
        self._paths = [folder / f"{part}.npy" for part in ("reference", "estimate")]
        with explained_write_errors(folder):
            for path in self._paths:
                with open(path, "wb") as file:
                    np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})
                    self._begin = file.tell()

    @property
    def rest_is_heard(self) -> bool:
        """Whether the stems leave more of the mixture than rounding."""
        mixture, rest = np.sqrt(self._energy / max(self._position * self._shape[2], 1))
        return is_heard_beside(rest, mixture)

    def add(self, reference: np.ndarray, estimate: np.ndarray, mixture: np.ndarray) -> None:
        """Appends a block, stems `(stems, samples, channels)` each, and the mixture `(samples, channels)`."""
        stems, samples, channels = self._shape
        with explained_write_errors(self.folder):
            for path, block in zip(self._paths, (reference, estimate), strict=True):
                with open(path, "r+b") as file:
                    for index, sound in enumerate([*block, mixture - block.sum(axis=0)][:stems]):
                        file.seek(self._begin + (index * samples + self._position) * channels * 4)
                        file.write(sound.astype("<f4").tobytes())
        self._energy += [np.square(sound, dtype="float64").sum() for sound in (mixture, mixture - reference.sum(axis=0))]
        self._position += estimate.shape[1]

    def complete(self) -> None:
        """Hands the song over to be scored."""
        self.owner.submit(self)
