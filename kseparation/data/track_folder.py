"""A folder of songs, one folder for each, with one audio file per stem."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from kseparation.audio.track import Track
from kseparation.errors import UserError

SPLITS = {"train": ("train",), "validation": ("validation", "valid"), "test": ("test",)}
EXTENSIONS = (".wav", ".flac", ".ogg", ".mp3")
SUMS = ("accompaniment", "instrumental")
# Shares of a song at which its files are compared.
LOOKS = (0.25, 0.5, 0.75)


class TrackFolder:
    """Songs in the layout of MUSDB18-HQ; wav, flac, ogg or mp3.

    ```
    root/train/<song>/{mixture,vocals,drums,bass,other}.wav
    root/validation/<song>/...      where it is missing, songs of train are put aside
    root/test/<song>/...
    ```

    Args:
        root: the folder.
        stems: names of the stems to read, each a file of every song. What else the song holds, by its file `mixture` or else its other files, stays part of the
            mixture; files called `accompaniment`, `instrumental` or `no_<stem>` are sums and no sources of their own.
        sample_rate: at which to read, in Hz; files of another rate are resampled.
        channels: number of channels at which to read.
        validation_split: share of the training songs that is put aside where there is no folder `validation` or `valid`. A song is chosen by a hash of its name,
            so that the share is met on average and adding songs moves no other one, unless the set is so small that nothing or all would have been put aside.

    Raises:
        UserError: the folder is missing, has no songs, a song lacks a stem, or has no `mixture` and files from which it cannot be told.
    """

    def __init__(
        self,
        root: str,
        stems: Sequence[str] = ("vocals", "drums", "bass", "other"),
        sample_rate: int = 44100,
        channels: int = 2,
        validation_split: float = 0.1,
    ):
        self.root = Path(root)
        self.stems = tuple(stems)
        self.sample_rate = sample_rate
        self.channels = channels
        self.validation_split = validation_split
        if not self.root.is_dir():
            raise UserError(f"`data.root` is not a folder. Received: {root}. Give a folder that holds train/<song>/<stem>.wav.")

    def has(self, split: str) -> bool:
        """Whether there are songs of `train`, `validation` or `test`."""
        return bool(self._song_folders(split))

    def tracks(self, split: str) -> list[Track]:
        """Returns the songs of `train`, `validation` or `test`, sorted by name."""
        folders = self._song_folders(split)
        if split in ("train", "validation") and not self._song_folders("validation"):
            aside = self._put_aside(self._song_folders("train"))
            folders = [folder for folder in self._song_folders("train") if (folder in aside) == (split == "validation")]
        if not folders:
            expected = " or ".join(str(self.root / name) for name in SPLITS[split])
            other = f", or two songs or more in train and a `data.validation_split` above 0 (here {self.validation_split:g})" if split == "validation" else ""
            raise UserError(f"0 tracks found for `{split}`. Required: folders of songs in {expected}, each with <stem>.wav{other}. Received: data.root={self.root}")
        return [self._track(folder) for folder in folders]

    def _song_folders(self, split):
        parents = [self.root / name for name in SPLITS[split] if (self.root / name).is_dir()]
        return sorted(folder for parent in parents for folder in parent.iterdir() if folder.is_dir() and not folder.name.startswith("."))

    def _put_aside(self, folders):
        if len(folders) < 2 or not self.validation_split:
            return set()
        # Each song has a fixed number between 0 and 1; counting off the lowest would move songs whenever one is added.
        ranked = sorted((int(hashlib.sha256(os.fsencode(folder.name)).hexdigest(), 16) / 2**256, folder) for folder in folders)
        chosen = {folder for number, folder in ranked if number < self.validation_split}
        if len(chosen) == len(folders):
            return {folder for _, folder in ranked[:-1]}
        return chosen or {ranked[0][1]}

    def _track(self, folder):
        files = _audio_files(folder)
        missing = [stem for stem in self.stems if stem not in files]
        if missing:
            present = ", ".join(file.name for file in files.values())
            raise UserError(f"A song lacks the stem `{missing[0]}`: {folder}. Found: {present or 'no audio'}. Required: {', '.join(self.stems)}.")
        stems = {stem: files.pop(stem) for stem in self.stems}
        mixture = files.pop("mixture", None)
        if mixture or not files:
            return Track(folder.name, stems, mixture, self.sample_rate, self.channels)
        track = Track(folder.name, stems, None, self.sample_rate, self.channels, others=files.values())
        return Track(folder.name, stems, None, self.sample_rate, self.channels, track.samples, _what_else_sounds(track, files))


def _what_else_sounds(track, files):
    """Of the files that are no stems those that are no sum of others: with the stems they make the mixture, of which the song has no file.

    Raises:
        UserError: a file would be heard twice, or holds what no other file holds, so that the mixture is not known.
    """
    starts = [max(0, int(track.samples * look) - track.sample_rate // 2) for look in LOOKS]
    every = {**track.stems, **files}
    heard = {name: np.concatenate([track.read_file(file, start, track.sample_rate) for start in starts]) for name, file in every.items()}
    sources = {name: audio for name, audio in heard.items() if not _left_out(name)}
    others = [name for name in files if not _left_out(name)]
    for name in filter(_left_out, every):
        members = [audio for source, audio in sources.items() if source != _left_out(name)]
        if name in track.stems:
            others = [] if _same(heard[name], sum(members)) else others
        elif not members:  # a song of two files
            others = others or ([] if any(_left_out(stem) == _left_out(name) for stem in track.stems) else [name])
        elif not _same(heard[name], sum(members)):
            raise UserError(
                f"`{files[name]}` is not the sum of the other files of the song but {_left_out(name)}, so that the mixture is not known. "
                f"Received: {', '.join(sorted(every))}. Add a file mixture.wav, or take that one out of the folder."
            )
    for name in others:
        if _same_but_for_the_level(heard[name], sum(audio for source, audio in sources.items() if source != name)):
            raise UserError(
                f"`{files[name]}` is the sum of the other files of the song, and would be heard twice. "
                f"Rename it to mixture{files[name].suffix}, or take it out of the folder."
            )
    return [files[name] for name in others]


def _left_out(name):
    """The stem without which a file of this name is the sum of a song, or None."""
    return "vocals" if name in SUMS else name.removeprefix("no_") if name.startswith("no_") else None


def _same(audio, other):
    return np.sum(np.square(audio - other)) <= 0.01 * np.sum(np.square(audio))


def _same_but_for_the_level(audio, other):
    product = np.sum(audio * other)
    return product > 0 and product**2 > 0.99 * np.sum(np.square(audio)) * np.sum(np.square(other))


def _audio_files(folder):
    """The audio files of a song by name, sorted; of two formats of one name the first in EXTENSIONS."""
    found = [file for file in folder.iterdir() if file.suffix.lower() in EXTENSIONS and not file.name.startswith(".") and file.is_file()]
    best_last = sorted(found, key=lambda file: (file.stem, -EXTENSIONS.index(file.suffix.lower()), file.suffix))
    return {file.stem: file for file in best_last}
