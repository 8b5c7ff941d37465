"""Makes the songs once, side by side in processes, and keeps them in the cache."""

import multiprocessing
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from tqdm import tqdm

from kseparation.audio.writing import write_audio
from kseparation.data.builtin.settings import SPLITS, BuiltinSettings, resolve_renderer, settings_digest
from kseparation.data.builtin.song import make_song
from kseparation.storage.atomic import atomic_folder, write_json


def prepare_builtin(settings: BuiltinSettings, cache: Path, progress: bool = True) -> Path:
    """Returns the root of a MUSDB18-HQ tree of generated songs; makes those that are not there yet.

    `<root>/{train,validation,test}/<song>/` holds `mixture`, `vocals`, `drums`, `bass` and `other` as 16-bit stereo
    wav, and `song.json` with tempo, key, sounds,
    voice and the licences of the sources. A song appears as a whole or not at all, so an interrupted call is continued
    by the next one.

    Args:
        settings: what to make.
        cache: folder in which the tree gets a folder of its own, named by a digest of everything that decides its
            bytes.
        progress: whether to show a progress bar on standard error.

    Raises:
        UserError: `settings.renderer` is `sampled` and its packages are missing.

    Example:

    >>> prepare_builtin(BuiltinSettings(songs={"train": 2}, song_seconds=4.0), cache_folder())  # doctest: +SKIP
    """
    renderer, reason = resolve_renderer(settings.renderer)
    root = Path(cache) / "builtin" / settings_digest(settings, renderer)
    jobs = [(split, index) for split in SPLITS for index in range(settings.songs.get(split, 0))]
    missing = [job for job in jobs if not song_folder(root, *job).is_dir()]
    if missing:
        if reason is not None:
            print(f"Built-in music: synthetic renderer, because {reason}.", file=sys.stderr)
        _make_all(settings, renderer, root, missing, progress)
    return root


def song_folder(root: Path, split: str, index: int) -> Path:
    """Returns the folder of a song."""
    return root / split / f"{split}_{index:03d}"


def _make_all(
    settings: BuiltinSettings, renderer: str, root: Path, jobs: list[tuple[str, int]], progress: bool
) -> None:
    workers = min(settings.workers, len(jobs))
    with _bar(len(jobs), progress) as bar:
        if workers == 1:
            for job in jobs:
                _make_one(settings, renderer, root, *job)
                bar.update()
            return
        # spawn: a forked copy of a process that runs TensorFlow, torch or JAX can hang.
        pool = ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"))
        try:
            for future in as_completed([pool.submit(_make_one, settings, renderer, root, *job) for job in jobs]):
                future.result()
                bar.update()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def _bar(total: int, progress: bool) -> Iterator[tqdm]:
    # A bar on a terminal; elsewhere tqdm would write a line per update, so it reports every 15 seconds.
    every = 0.1 if sys.stderr.isatty() else 15.0
    with tqdm(
        total=total,
        desc="built-in music",
        unit="song",
        disable=not progress,
        mininterval=every,
        ascii=not sys.stderr.isatty(),
    ) as bar:
        yield bar


def _make_one(settings: BuiltinSettings, renderer: str, root: Path, split: str, index: int) -> None:
    mixture, stems, record = make_song(settings, renderer, split, index)
    folder = song_folder(root, split, index)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with atomic_folder(folder) as temporary:
        for name, audio in ({"mixture": mixture} | stems).items():
            write_audio(temporary / f"{name}.wav", audio.astype(np.float32) / 32768.0, settings.sample_rate)
        write_json(temporary / "song.json", record)
