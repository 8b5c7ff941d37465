"""The generated songs as a data set."""

from collections.abc import Mapping, Sequence

from kseparation.data.builtin.prepare import prepare_builtin
from kseparation.data.builtin.settings import BuiltinSettings
from kseparation.data.track_folder import TrackFolder
from kseparation.storage.cache import cache_folder


class BuiltinMusic(TrackFolder):
    """Songs that this package composes and plays itself, made on first use and kept in the cache folder.

    Args:
        root: must be left out; the songs live in the cache.
        stems: names of the stems to read, of vocals, drums, bass, other.
        sample_rate: at which to read, in Hz.
        channels: number of channels at which to read.
        validation_split: share of the training songs that is put aside where `songs` names no validation, as in `TrackFolder`.
        songs: number of songs of each split, `train`, `validation`, `test`.
        song_seconds: length of a song in seconds.
        seed: same seed, same songs.
        renderer: `auto`, `sampled` or `synthetic`, see `BuiltinSettings`.

    Attributes:
        made_by: digest of the settings, the renderer and the version of the generator, which decide how the songs sound as long as the packages of the renderer stay the same.
    """

    def __init__(
        self,
        stems: Sequence[str] = ("vocals", "drums", "bass", "other"),
        sample_rate: int = 44100,
        channels: int = 2,
        validation_split: float = 0.1,
        songs: Mapping[str, int] | None = None,
        song_seconds: float = 20.0,
        seed: int = 0,
        renderer: str = "auto",
    ):
        arguments = {"songs": dict(songs)} if songs else {}
        settings = BuiltinSettings(seed=seed, song_seconds=song_seconds, renderer=renderer, **arguments)
        root = prepare_builtin(settings, cache_folder())
        super().__init__(str(root), stems, sample_rate, channels, validation_split)
        self.made_by = root.name
