"""One song on the disk."""

from pathlib import Path

import numpy as np

from kseparation.audio.writing import write_audio
from kseparation.data.builtin.settings import BuiltinSettings
from kseparation.storage.atomic import atomic_folder, write_json


def song_folder(root: Path, split: str, index: int) -> Path:
    """Returns the folder of a song.

    Example:

    >>> song_folder(Path("music"), "train", 3).name
    'train_003'
    """
    return root / split / f"{split}_{index:03d}"


def write_song(settings: BuiltinSettings, renderer: str, root: Path, split: str, index: int) -> None:
    """Makes a song and writes its five wav files and `song.json`, as a whole or not at all; arguments as `make_song`."""
    # A second of imports (scipy.signal), of which commands that make no songs are spared.
    from kseparation.data.builtin.song import make_song

    mixture, stems, record = make_song(settings, renderer, split, index)
    with atomic_folder(song_folder(root, split, index)) as temporary:
        for name, audio in ({"mixture": mixture} | stems).items():
            write_audio(temporary / f"{name}.wav", audio.astype(np.float32) / 32768.0, settings.sample_rate)
        write_json(temporary / "song.json", record)
