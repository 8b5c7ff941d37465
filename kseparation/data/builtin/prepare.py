"""Makes the songs once, side by side in processes, and keeps them in the cache."""

import fcntl
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tqdm import tqdm

from kseparation.data.builtin.settings import SPLITS, BuiltinSettings, resolve_renderer, settings_digest
from kseparation.data.builtin.song_folder import song_folder, write_song
from kseparation.data.builtin.song_processes import make_side_by_side
from kseparation.storage.atomic import explained_write_errors, remove_temporary


def prepare_builtin(settings: BuiltinSettings, cache: Path, progress: bool = True) -> Path:
    """Returns the root of a MUSDB18-HQ tree of generated songs; makes those that are not there yet.

    `<root>/{train,validation,test}/<song>/` holds `mixture`, `vocals`, `drums`, `bass` and `other` as 16-bit stereo
    wav, and `song.json` with tempo, key, sounds, voice and the licences of the sources. A song appears as a whole or
    not at all, so an interrupted call is continued by the next one.

    Args:
        settings: what to make.
        cache: folder in which the tree gets a folder of its own, named by a digest of everything that decides its
            bytes.
        progress: whether to show a progress bar on standard error.

    Raises:
        UserError: `settings.renderer` is `sampled` and its packages are missing.
    """
    renderer, reason = resolve_renderer(settings.renderer)
    root = Path(cache) / "builtin" / settings_digest(settings, renderer)
    jobs = [(split, index) for split in SPLITS for index in range(settings.songs.get(split, 0))]

    def missing() -> list[tuple[str, int]]:
        return [job for job in jobs if not song_folder(root, *job).is_dir()]

    if missing():
        if reason is not None:
            print(f"Built-in music: synthetic renderer, because {reason}.", file=sys.stderr)
        with _alone(root):
            _make_all(settings, renderer, root, missing(), progress)
    return root


@contextmanager
def _alone(root: Path) -> Iterator[None]:
    """Waits until no other process makes the same songs; what that one made is then there."""
    with explained_write_errors(root):
        root.mkdir(parents=True, exist_ok=True)
        lock = open(root.with_suffix(".lock"), "w")
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("Built-in music: waiting for another process that makes the same songs.", file=sys.stderr)
            fcntl.flock(lock, fcntl.LOCK_EX)
        for split in SPLITS:
            remove_temporary(root / split)
        yield


def _make_all(
    settings: BuiltinSettings, renderer: str, root: Path, jobs: list[tuple[str, int]], progress: bool
) -> None:
    workers = min(settings.workers, len(jobs))
    with _bar(len(jobs), progress) as bar:
        if workers > 1:
            make_side_by_side(settings, renderer, root, jobs, workers, bar.update)
            return
        for job in jobs:
            write_song(settings, renderer, root, *job)
            bar.update()


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
